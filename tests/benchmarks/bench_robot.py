"""RoBoT against random search on edgekit's own space, with real short trainings as queries.

    python -m tests.benchmarks.bench_robot --data DATA/cifar10 --work build/robot --profile NAME --out robot.json

Space ``mbconv``, architecture and precision together, CIFAR-10, no supernet: a query trains a candidate alone on some
images and counts its right answers on the validation split, int8 simulated. Latency and size are predicted by the cost
table of the profile; the limit is a share of the predicted latency of the largest network in float32. Same seeds and
budget for every strategy; the metrics of the pool are computed once. Trainings are kept in the work folder by
architecture, so an architecture that two searches ask for is trained once.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.progress import Progress
from edgekit.core.task import load_task
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.effort import FULL
from edgekit.search.evaluate import MAX_VALIDATION
from edgekit.search.finetuning import finetuned
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.metrics.pool import scored_pool
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import SearchProblem, Values
from edgekit.search.run import problem_of
from edgekit.search.strategies import strategy_named
from tests.benchmarks.bench_nb201 import interval

STRATEGIES = ("robot", "robot-published", "random")


def main() -> None:
    """Search, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--profile", required=True, help="folder or shipped name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=45_000, help="a query is trained on")
    parser.add_argument("--queries", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.6)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    problem = _problem(given)
    rows = {}
    for name in STRATEGIES:
        traces = []
        for seed in range(given.seeds):
            history = list(search(replace(problem, seed=seed), strategy_named(name)))
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
    space = MBConvSpace(MBConvRecipe.for_task(32, 10))
    networks = MBConvNetworks(space)
    networks.train(task, None, given.work, progress=Progress())
    profile = DeviceProfile.load(profile_folder(given.profile))
    n_threads = profile.facts.n_threads
    lowered = networks.lowered(given.work, n_threads=n_threads, progress=Progress())
    table = lowered.priced(profile.predictor)
    recipe = FULL.recipe(task, given.images, 5, is_pretrained=False)
    validation = task.validation.evenly(MAX_VALIDATION)

    def query(candidate: Candidate) -> Values:
        net = finetuned(networks, given.work, candidate, task, recipe, progress=Progress())
        ready = networks.prepared(net, candidate, task, FULL_WEIGHT_MAX)
        accuracy = ready.accuracy(validation, task.preprocessing, "validation")
        genes = np.array([candidate.genes])
        return (
            1 - accuracy.top1,
            float(table.latencies_s(genes)[0]),
            float(table.sizes_bytes(genes)[0]),
        )

    largest = np.array([space.largest().genes])
    problem = problem_of(
        space,
        table,
        Limits(given.share * float(table.latencies_s(largest)[0])),
        query,
        n_evaluations=given.queries,
        population=1,
        seed=0,
    )
    scores = scored_pool(networks, problem, task, given.work, progress=Progress())  # type: ignore[arg-type]
    return replace(problem, scores=scores)


if __name__ == "__main__":
    main()
