"""Architecture and precision together, one after the other, or one alone?

    python -m tests.benchmarks.bench_joint --data DATA --work build/joint --profile NAME --out joint.json [--network vit]

The pretrained CIFAR ResNet-20 of DATA, or a small vision transformer trained here, adapted once; every candidate is
exported, quantised, judged on the validation images in the runtime and timed. Equal numbers of evaluations for

* `joint`: all genes, with simq; and with simq as published, nsga2, random;
* `architecture then int8`: half of them in float32, the other half the best of these in int8 throughout;
* `architecture then precision`: the other half on the precisions of four architectures spread over the front found;
* `precision`: of the original.

No limits. The hypervolume is that of (validation error, latency) over a fixed reference (half of the answers wrong for the
ResNet, three quarters for the transformer; the original's float32 latency), as a share of the whole; means with 95 %
bootstrap intervals, and the paired Wilcoxon test of joint against each. Evaluations to reach: nine tenths of joint's mean
hypervolume. Ratios: latency and size of the original in int8 throughout to those of the best candidate of a joint search
that has at least as many validation images right. A candidate that several searches ask for is measured once: seeds
differ in what they ask, not in noise.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.errors import TooNoisy
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.probe import probe
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.effort import FULL_MODULE
from edgekit.search.costs import CostTable
from edgekit.search.elastic.networks import ElasticNetworks
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.evaluate import Crew, Evaluator, Judge
from edgekit.search.evaluated import Evaluated, front
from edgekit.search.protocol.loop import search
from edgekit.search.run import problem_of
from edgekit.search.settings import OBJECTIVES
from edgekit.search.space import Genes, uniform_precision
from edgekit.search.store import Trials
from edgekit.search.strategies import strategy_named
from edgekit.search.workers import Staff
from edgekit.spaces import networks_of, space
from tests.benchmarks import vit

ROOT = Path(__file__).parents[2]
TARGET = Target("local")
N_ARCHITECTURES = 4
WORST_ERROR = {"resnet20": 0.5, "vit": 0.75}
REACHED = 0.9
Row = dict[str, Any]


class Held:
    """A space with some genes held at given values; see ``SearchSpace``."""

    def __init__(self, whole: ElasticSpace, values: NDArray[np.int64]) -> None:
        """``values`` has -1 where a gene is free."""
        self.whole, self.values = whole, values

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def canonical(self, genes: Genes) -> Genes:
        """With the held genes at their values."""
        return self.whole.canonical(np.where(self.values >= 0, self.values, genes))

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """Random in the free genes."""
        return self.canonical(self.whole.sample(n, rng))

    def regular(self) -> Genes:
        """Regular in the free genes."""
        return np.unique(self.canonical(self.whole.regular()), axis=0)


def main() -> None:
    """Search, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", type=Path, required=True, help="folder or shipped name")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=32)
    parser.add_argument("--network", choices=("resnet20", "vit"), default="resnet20")
    parser.add_argument("--adapt-epochs", type=float, default=1.5)
    parser.add_argument("--adapt-batch", type=int, default=FULL_MODULE.batch_size)
    parser.add_argument("--searches", default=",".join(SEARCHES))
    parser.add_argument("--workers", type=int, default=0, help="processes that judge")
    parser.add_argument("--adapt-only", action="store_true", help="train, measure nothing yet")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.adapt_only:
        _adapted(given)
        return
    with ExitStack() as stack:
        _compared(given, *_prepared(given, stack))


def _compared(
    given: argparse.Namespace, whole: ElasticSpace, table: CostTable, evaluate: Evaluate
) -> None:
    plain = evaluate(whole.largest())
    largest = np.array([whole.largest().genes])
    (genes,) = uniform_precision(whole, largest, Precision.INT8).tolist()
    int8 = evaluate(Candidate(tuple(genes)))
    worst = (plain.latency.p50_s, WORST_ERROR[given.network])
    traces: dict[str, list[list[float]]] = {}
    joined: list[Evaluated] = []
    for seed in range(given.seeds):
        for name in given.searches.split(","):
            found = SEARCHES[name](whole, table, evaluate, given.evaluations, seed)
            trace = [hypervolume(found[: n + 1], *worst) for n in range(len(found))]
            traces.setdefault(name, []).append(trace)
            joined += found if name == "joint" else []
            print(seed, name, f"{trace[-1]:.4f}", f"{len(found)} evaluations", flush=True)
    result = _statistics(traces)
    ratios = _ratios(joined, int8)
    row = {"traces": traces, "statistics": result, "ratios": ratios}
    given.out.write_text(json.dumps(row, indent=1))
    _print(result, ratios, plain, int8)


def _adapted(given: argparse.Namespace) -> tuple[Task, ElasticNetworks]:
    """The pretrained network, its shared weights adapted."""
    sys.path.insert(0, str(ROOT / "examples"))
    import fit_cifar_resnet as example

    task = Task.from_parquet(given.data / "cifar10", resolution=32)
    net: nn.Module
    if given.network == "vit":
        net = vit.trained(task, given.work)
    else:
        task = task.normalised(example.MEAN, example.STD)
        net = example.pretrained(given.data / "weights" / "cifar10_resnet20.safetensors")
    networks = networks_of(space(net, torch.zeros(2, 3, 32, 32)))
    n_images = round(given.adapt_epochs * len(task.train))
    effort = replace(FULL_MODULE, batch_size=given.adapt_batch)
    recipe = effort.recipe(task, n_images, 0, is_pretrained=True)
    networks.train(task, recipe, given.work, progress=Progress())
    return task, networks


def _prepared(
    given: argparse.Namespace, stack: ExitStack
) -> tuple[ElasticSpace, CostTable, Evaluate]:
    task, networks = _adapted(given)
    whole = networks.space
    assert isinstance(whole, ElasticSpace)
    lowered = networks.lowered(given.work, n_threads=1, progress=Progress())
    profile = DeviceProfile.load(profile_folder(given.profile))
    judge = Judge(networks, task, given.work, probe(TARGET).int8_weight_max)
    crew = stack.enter_context(
        Staff(given.workers).at_work(judge, whole.n_architecture, Progress())
    )
    measure = Evaluator(crew, [(TARGET, profile.reference_fast_s)])
    evaluate = Evaluate(Trials(given.work, whole), crew, measure)
    return whole, lowered.priced(profile.predictor), evaluate


class Evaluate:
    """Measures a candidate once, whoever asks for it."""

    def __init__(self, trials: Trials, crew: Crew, measure: Evaluator) -> None:
        self._known = {entry.candidate: entry for entry in trials.all()}
        self._trials, self._crew, self._measure = trials, crew, measure

    def ahead(self, candidates: Sequence[Candidate]) -> None:
        """Let workers begin with what is not known."""
        self._crew.ahead([c for c in candidates if c not in self._known])

    def __call__(self, candidate: Candidate) -> Evaluated:
        """Measured, now or before; again where the machine was too noisy."""
        while candidate not in self._known:
            try:
                (self._known[candidate],) = self._measure(candidate)
                self._trials.add(self._known[candidate])
            except TooNoisy as error:
                print(f"again: {error}", file=sys.stderr)
        return self._known[candidate]


def _searched(
    held: Held, table: CostTable, evaluate: Evaluate, n: int, seed: int, strategy: str = "simq"
) -> list[Evaluated]:
    problem = problem_of(
        held,
        table,
        Limits(),
        lambda candidate: evaluate(candidate).values(OBJECTIVES, "p50"),
        n_evaluations=n,
        population=8,
        seed=seed,
    )
    problem = replace(problem, ahead=evaluate.ahead)
    return [evaluate(entry.candidate) for entry in search(problem, strategy_named(strategy))]


def joint(
    whole: ElasticSpace,
    table: CostTable,
    evaluate: Evaluate,
    n: int,
    seed: int,
    strategy: str = "simq",
) -> list[Evaluated]:
    """All genes at once."""
    return _searched(Held(whole, _free(whole)), table, evaluate, n, seed, strategy)


def architecture_then_int8(
    whole: ElasticSpace, table: CostTable, evaluate: Evaluate, n: int, seed: int
) -> list[Evaluated]:
    """Half in float32, then the best of them, front by front, in int8 throughout."""
    values = _free(whole)
    values[whole.n_architecture :] = 0
    found = _searched(Held(whole, values), table, evaluate, n // 2, seed)
    left, ordered = list(found), list[Evaluated]()
    while left:
        best = front(left)
        ordered += best
        left = [entry for entry in left if entry not in best]
    genes = np.array([entry.candidate.genes for entry in ordered])
    genes = uniform_precision(whole, genes, Precision.INT8)[: n - len(found)]
    rounded = [Candidate(tuple(row)) for row in genes.tolist()]
    evaluate.ahead(rounded)
    return found + [evaluate(candidate) for candidate in rounded]


def architecture_then_precision(
    whole: ElasticSpace, table: CostTable, evaluate: Evaluate, n: int, seed: int
) -> list[Evaluated]:
    """Half in float32, then the precisions of some architectures of its front."""
    values = _free(whole)
    values[whole.n_architecture :] = 0
    found = _searched(Held(whole, values), table, evaluate, n // 2, seed)
    best = front(found)
    picked = np.unique(np.linspace(0, len(best) - 1, N_ARCHITECTURES).astype(int))
    left = n - len(found)
    for index, place in enumerate(picked):
        values = _free(whole)
        values[: whole.n_architecture] = best[place].candidate.genes[: whole.n_architecture]
        share = left // (len(picked) - index)
        more = _searched(Held(whole, values), table, evaluate, share, seed)
        found, left = [*found, *more], left - len(more)
    return found


def precision(
    whole: ElasticSpace, table: CostTable, evaluate: Evaluate, n: int, seed: int
) -> list[Evaluated]:
    """The original's precisions."""
    values = _free(whole)
    values[: whole.n_architecture] = whole.largest().genes[: whole.n_architecture]
    return _searched(Held(whole, values), table, evaluate, n, seed)


SEARCHES: dict[str, Callable[..., list[Evaluated]]] = {
    "joint": joint,
    "joint simq-published": partial(joint, strategy="simq-published"),
    "joint nsga2": partial(joint, strategy="nsga2"),
    "joint random": partial(joint, strategy="random"),
    "architecture then int8": architecture_then_int8,
    "architecture then precision": architecture_then_precision,
    "precision": precision,
}


def _free(whole: ElasticSpace) -> NDArray[np.int64]:
    return np.full(len(whole.n_choices), -1)


def hypervolume(found: Sequence[Evaluated], worst_s: float, worst_error: float) -> float:
    """Share of the rectangle under the reference that the measured front dominates, 0..1."""
    points = sorted(
        (e.latency.p50_s / worst_s, (1 - e.accuracy.top1) / worst_error) for e in found
    )
    volume, error = 0.0, 1.0
    for latency, mine in points:
        if latency < 1 and mine < error:
            volume += (1 - latency) * (error - mine)
            error = mine
    return volume


def _ratios(found: Sequence[Evaluated], int8: Evaluated) -> dict[str, Row]:
    """By how much the fastest and the smallest beat the original in int8, at losses allowed."""
    result: dict[str, Row] = {}
    for points in (0.0, 0.005, 0.01, 0.02):
        kept = [e for e in found if e.accuracy.top1 >= int8.accuracy.top1 - points]
        if kept:
            fastest = min(kept, key=lambda e: e.latency.p50_s)
            smallest = min(kept, key=lambda e: e.size_bytes)
            result[str(points)] = {
                "latency": int8.latency.p50_s / fastest.latency.p50_s,
                "latency_top1": fastest.accuracy.top1,
                "size": int8.size_bytes / smallest.size_bytes,
                "size_top1": smallest.accuracy.top1,
            }
    return result


def _statistics(traces: dict[str, list[list[float]]]) -> dict[str, Row]:
    rng = np.random.default_rng(0)
    rows = {name: [trace[-1] for trace in found] for name, found in traces.items()}
    wanted = REACHED * float(np.mean(rows["joint"]))
    result: dict[str, Row] = {}
    for name, values in rows.items():
        means = rng.choice(values, (10_000, len(values))).mean(axis=1)
        reached = [
            next((n + 1 for n, value in enumerate(trace) if value >= wanted), np.inf)
            for trace in traces[name]
        ]
        result[name] = {
            "mean": float(np.mean(values)),
            "interval": np.quantile(means, (0.025, 0.975)).tolist(),
            "median_evaluations_to_reach": float(np.median(reached)),
            "reached": int(np.isfinite(reached).sum()),
            "n": len(values),
        }
        if name != "joint" and len(values) > 1:
            result[name]["p"] = float(wilcoxon(rows["joint"], values).pvalue)
    return result


def _print(
    result: dict[str, Row], ratios: dict[str, Row], plain: Evaluated, int8: Evaluated
) -> None:
    for name, entry in (("original", plain), ("original in int8", int8)):
        print(
            f"{name:>28}: {entry.accuracy.top1:.2%}, {entry.latency.p50_s * 1e6:.0f} us, "
            f"{entry.size_bytes / 1e3:.0f} kB"
        )
    for name, row in result.items():
        low, high = row["interval"]
        against = f", joint against it: p = {row['p']:.3f}" if "p" in row else ""
        print(
            f"{name:>28}: {row['mean']:.4f} ({low:.4f} to {high:.4f}), evaluations to reach: "
            f"{row['median_evaluations_to_reach']:.0f} ({row['reached']} of {row['n']}){against}"
        )
    for points, row in ratios.items():
        print(
            f"at most {float(points):.1%} lost: {row['latency']:.2f} times as fast "
            f"({row['latency_top1']:.2%}), {row['size']:.2f} times as small "
            f"({row['size_top1']:.2%})"
        )


if __name__ == "__main__":
    main()
