"""Architecture and precision together, or one after the other?

    python -m tests.benchmarks.bench_joint --data DATA --work build/joint --out joint.json

The pretrained CIFAR ResNet-20 of DATA, adapted once; every candidate is exported, quantised, judged on the validation
images in the runtime and timed. Equal numbers of evaluations for `joint` (all genes), `architecture, then precision`
(half of them in float32, the other half on the precisions of four architectures spread over the front found), and
`precision` (of the original). All with simq and no limit. The hypervolume is that of (validation error, latency) over the
fixed reference (half of the answers wrong, the original's float32 latency), as a share of the whole; five seeds or more,
means with 95 % bootstrap intervals, and the paired Wilcoxon test of joint against each. A candidate that several
searches ask for is measured once: seeds differ in what they ask, not in noise.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
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
from edgekit.search.evaluate import Alone, Evaluator, Judge
from edgekit.search.evaluated import Evaluated, front
from edgekit.search.protocol.loop import search
from edgekit.search.run import problem_of
from edgekit.search.space import Genes
from edgekit.search.store import Trials
from edgekit.search.strategies import strategy_named
from edgekit.spaces import networks_of, space
from tests.benchmarks import vit

ROOT = Path(__file__).parents[2]
TARGET = Target("local")
N_ARCHITECTURES = 4
WORST_ERROR = 0.5
Row = dict[str, Any]
Evaluate = Callable[[Candidate], Evaluated]


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
    parser.add_argument("--adapt-only", action="store_true", help="train, measure nothing yet")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.adapt_only:
        _adapted(given)
        return
    whole, table, evaluate = _prepared(given)
    plain = evaluate(whole.largest())
    rows: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        for name, searched in SEARCHES.items():
            found = searched(whole, table, evaluate, given.evaluations, seed)
            rows.setdefault(name, []).append(hypervolume(found, plain.latency.p50_s))
            print(seed, name, f"{rows[name][-1]:.4f}", f"{len(found)} evaluations", flush=True)
    result = _statistics(rows)
    given.out.write_text(json.dumps({"hypervolume": rows, "statistics": result}, indent=1))
    for name, row in result.items():
        low, high = row["interval"]
        against = f", joint against it: p = {row['p']:.3f}" if "p" in row else ""
        print(f"{name:>30}: {row['mean']:.4f} ({low:.4f} to {high:.4f}){against}")


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


def _prepared(given: argparse.Namespace) -> tuple[ElasticSpace, CostTable, Evaluate]:
    task, networks = _adapted(given)
    whole = networks.space
    assert isinstance(whole, ElasticSpace)
    lowered = networks.lowered(given.work, n_threads=1, progress=Progress())
    profile = DeviceProfile.load(profile_folder(given.profile))
    known = {entry.candidate: entry for entry in Trials(given.work, whole).all()}
    judge = Judge(networks, task, given.work, probe(TARGET).int8_weight_max)
    measure = Evaluator(Alone(judge, Progress()), [(TARGET, profile.reference_fast_s)])
    trials = Trials(given.work, whole)

    def evaluate(candidate: Candidate) -> Evaluated:
        while candidate not in known:
            try:
                (known[candidate],) = measure(candidate)
                trials.add(known[candidate])
            except TooNoisy as error:
                print(f"again: {error}", file=sys.stderr)
        return known[candidate]

    return whole, lowered.priced(profile.predictor), evaluate


def _searched(
    held: Held, table: CostTable, evaluate: Evaluate, n: int, seed: int
) -> list[Evaluated]:
    problem = problem_of(
        held,
        table,
        Limits(),
        lambda candidate: evaluate(candidate).values("p50"),
        n_evaluations=n,
        population=8,
        seed=seed,
    )
    return [evaluate(entry.candidate) for entry in search(problem, strategy_named("simq"))]


def joint(
    whole: ElasticSpace, table: CostTable, evaluate: Evaluate, n: int, seed: int
) -> list[Evaluated]:
    """All genes at once."""
    return _searched(Held(whole, _free(whole)), table, evaluate, n, seed)


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


SEARCHES = {
    "joint": joint,
    "architecture, then precision": architecture_then_precision,
    "precision": precision,
}


def _free(whole: ElasticSpace) -> NDArray[np.int64]:
    return np.full(len(whole.n_choices), -1)


def hypervolume(found: Sequence[Evaluated], worst_s: float) -> float:
    """Share of the rectangle under the reference that the measured front dominates, 0..1."""
    points = sorted(
        (e.latency.p50_s / worst_s, (1 - e.accuracy.top1) / WORST_ERROR) for e in found
    )
    volume, error = 0.0, 1.0
    for latency, mine in points:
        if latency < 1 and mine < error:
            volume += (1 - latency) * (error - mine)
            error = mine
    return volume


def _statistics(rows: dict[str, list[float]]) -> dict[str, Row]:
    rng = np.random.default_rng(0)
    result: dict[str, Row] = {}
    for name, values in rows.items():
        means = rng.choice(values, (10_000, len(values))).mean(axis=1)
        result[name] = {
            "mean": float(np.mean(values)),
            "interval": np.quantile(means, (0.025, 0.975)).tolist(),
        }
        if name != "joint" and len(values) > 1:
            result[name]["p"] = float(wilcoxon(rows["joint"], values).pvalue)
    return result


if __name__ == "__main__":
    main()
