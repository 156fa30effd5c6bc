"""RoBoT against random search on edgekit's own space, with real short trainings as queries.

    python -m tests.benchmarks.bench_robot --data DATA/cifar10 --work build/robot --profile NAME --out robot.json

Space ``mbconv``, architecture and precision together, CIFAR-10, no supernet. A pool of architectures inside the limit, each
in some precisions, is scored by the metrics; a query trains the architecture alone on some images and counts right
answers on the validation split, int8 simulated. Latency is predicted by the cost table of the profile; the limit is a
share of the predicted latency of the largest network in float32. Every strategy has the same pool, seeds and number of
queries, random search too. An architecture is trained once, whoever asks for it, and kept in the work folder.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.progress import Progress
from edgekit.core.task import Task, load_task
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.effort import FULL
from edgekit.search.costs import CostTable
from edgekit.search.evaluate import MAX_VALIDATION
from edgekit.search.finetuning import finetuned
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.metrics.pool import scored_pool
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Observed, Scores, SearchProblem, Values, fresh
from edgekit.search.run import problem_of
from edgekit.search.strategies import strategy_named
from tests.benchmarks.bench_nb201 import interval

STRATEGIES = ("robot", "robot-published", "random")


class RandomOfPool:
    """Goes through the pool in random order."""

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next of the order that the seed gives."""
        assert problem.scores is not None
        order = np.random.default_rng(problem.seed).permutation(problem.scores.genes)
        return fresh(order, history, problem.n_next(history))


def main() -> None:
    """Search, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--profile", required=True, help="folder or shipped name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=30_000, help="a query is trained on")
    parser.add_argument("--architectures", type=int, default=36, help="of the pool")
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.6)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    problem = _problem(given)
    rows = {}
    for name in STRATEGIES:
        traces = []
        for seed in range(given.seeds):
            strategy = RandomOfPool() if name == "random" else strategy_named(name)
            history = list(search(replace(problem, seed=seed), strategy))
            best = [problem.best(history[:n]) for n in range(1, len(history) + 1)]
            traces.append([1 - b.values[0] if b and b.values else 0.0 for b in best])
        rows[name] = traces
        last = [trace[-1] for trace in traces]
        low, high = interval(last)
        means = " ".join(f"{100 * v:.1f}" for v in np.mean(traces, axis=0))
        print(
            f"{name:>16}: {100 * np.mean(last):.2f} % ({100 * low:.2f} to {100 * high:.2f}), "
            f"worst seed {100 * min(last):.2f}; after each query {means}",
            flush=True,
        )
    n_trained = len(list(given.work.glob("finetuned-*.safetensors")))
    print(f"{n_trained} networks were trained on {given.images} images each")
    given.out.write_text(json.dumps({"rows": rows, "n_trained": n_trained}, indent=1))


def _problem(given: argparse.Namespace) -> SearchProblem:
    task = load_task(given.data, seed=0, resolution=32)
    task = replace(task, train=task.train.evenly(given.images))
    space = MBConvSpace(MBConvRecipe.for_task(32, 10))
    networks = MBConvNetworks(space)
    networks.train(task, None, given.work, progress=Progress())
    profile = DeviceProfile.load(profile_folder(given.profile))
    n_threads = profile.facts.n_threads
    lowered = networks.lowered(given.work, n_threads=n_threads, progress=Progress())
    table = lowered.priced(profile.predictor)
    largest = np.array([space.largest().genes])
    problem = problem_of(
        space,
        table,
        Limits(given.share * float(table.latencies_s(largest)[0])),
        _query(given, networks, task, table),
        n_evaluations=given.queries,
        population=1,
        seed=0,
    )
    scores = scored_pool(networks, problem, task, given.work, progress=Progress())
    return replace(problem, scores=_few(scores, space, given.architectures))


def _few(scores: Scores, space: MBConvSpace, n: int) -> Scores:
    """The candidates of ``n`` architectures, drawn evenly over the pool."""
    plain = scores.genes[:, : space.n_architecture]
    _, index = np.unique(plain, axis=0, return_inverse=True)
    kept = np.random.default_rng(0).permutation(index.max() + 1)[:n]
    rows = np.isin(index.ravel(), kept)
    return Scores(scores.genes[rows], scores.names, scores.values[rows])


def _query(
    given: argparse.Namespace, networks: MBConvNetworks, task: Task, table: CostTable
) -> Callable[[Candidate], Values]:
    recipe = FULL.recipe(task, given.images, 5, is_pretrained=False)
    validation = task.validation.evenly(MAX_VALIDATION)
    path = given.work / "accuracies.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}

    def query(candidate: Candidate) -> Values:
        if candidate.text not in known:
            net = finetuned(networks, given.work, candidate, task, recipe, progress=Progress())
            ready = networks.prepared(net, candidate, task, FULL_WEIGHT_MAX)
            accuracy = ready.accuracy(validation, task.preprocessing, "validation")
            known[candidate.text] = accuracy.top1
            path.write_text(json.dumps(known))
        genes = np.array([candidate.genes])
        costs = table.latencies_s(genes), table.sizes_bytes(genes)
        return (1 - known[candidate.text], *(float(cost[0]) for cost in costs))

    return query


if __name__ == "__main__":
    main()
