"""ProxylessNAS on CIFAR-10: networks derived at limits beside random ones of the same latency.

    python -m tests.benchmarks.bench_proxyless --data DATA/cifar10 --work build/proxyless --profile NAME --out proxyless.json

Space ``mbconv``, operations and precisions together. For each limit (a share of the predicted latency of the largest
network in float32) gates are trained, by gradients, and the first network that the strategy asks for is derived. It, ten
random networks predicted within 2 % under the same limit, and the largest network are trained alone for the same number
of epochs and judged on the validation split, int8 simulated. All are measured side by side in the end; the limits are
those on the prediction, and the table shows by how much the measured latency misses them. Everything is kept in the work
folder; the same command goes on.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task, load_task
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.probe import probe
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.effort import FULL
from edgekit.search.costs import CostTable
from edgekit.search.finetuning import finetuned
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.protocol.problem import SearchProblem, Values
from edgekit.search.proxyless.deriving import probable_pool
from edgekit.search.run import problem_of
from edgekit.search.strategies import STRATEGIES
from tests.benchmarks.bench_cifar import Stages

N_DRAWN = 200_000
NEAR = 0.02
Row = dict[str, Any]


def main() -> None:
    """Train what is missing, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--profile", required=True, help="folder or shipped name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", default="0.4,0.55,0.7")
    parser.add_argument("--epochs", type=int, default=9, help="of the over-parameterised network")
    parser.add_argument("--alone-epochs", type=int, default=3, help="of each network alone")
    parser.add_argument("--random", type=int, default=10, help="networks for each limit")
    parser.add_argument("--reward", action="store_true", help="REINFORCE instead of gradients")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    bench, stage = Bench(given), Stages(given.work / "stages.json")
    stage("largest", partial(bench.judged, bench.space.largest()))
    for share in map(float, given.shares.split(",")):
        stage(f"derived {share}", partial(bench.judged_derived, share))
        for index, candidate in enumerate(bench.drawn(share, given.random)):
            stage(f"random {share} {index}", partial(bench.judged, candidate, share))
    figures = bench.measured(stage.done)
    given.out.write_text(json.dumps({"stages": stage.done, "measured_s": figures}, indent=1))
    _print(stage.done, figures)


class Bench:
    """The parts of the benchmark."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.folder = given, given.work
        self.task: Task = load_task(given.data, seed=0, resolution=32)
        self.space = MBConvSpace(MBConvRecipe.for_task(32, 10))
        self.networks = MBConvNetworks(self.space)
        self.networks.train(self.task, None, given.work, progress=Progress())
        profile = DeviceProfile.load(profile_folder(given.profile))
        self.target = Target(profile.target_text)
        self.weight_max = probe(self.target).int8_weight_max
        threads = self.target.n_threads
        lowered = self.networks.lowered(given.work, n_threads=threads, progress=Progress())
        self.table: CostTable = lowered.priced(profile.predictor)
        self.largest_s = self.latency_s(self.space.largest())

    def latency_s(self, candidate: Candidate) -> float:
        """Predicted."""
        return float(self.table.latencies_s(np.array([candidate.genes]))[0])

    def problem(self, share: float) -> SearchProblem:
        """One evaluation under a limit; nothing is evaluated by it."""
        limits = Limits(share * self.largest_s)
        return problem_of(
            self.space, self.table, limits, _never, n_evaluations=1, population=1, seed=0
        )

    def derived(self, share: float) -> Candidate:
        """What the strategy asks for first."""
        folder = self.folder / f"gates-{share}"
        folder.mkdir(exist_ok=True)
        n_images = self.given.epochs * len(self.task.train)
        recipe = FULL.recipe(self.task, n_images, 0, is_pretrained=False)
        assert recipe is not None
        problem = self.problem(share)
        scores = probable_pool(
            self.space,
            problem,
            self.task,
            recipe,
            folder,
            weight_max=self.weight_max,
            by_reward=self.given.reward,
            progress=Progress(),
        )
        name = "proxyless-reward" if self.given.reward else "proxyless"
        return STRATEGIES[name].ask(replace(problem, scores=scores), [])[0]

    def drawn(self, share: float, n: int) -> list[Candidate]:
        """Random networks within 2 % under a limit."""
        genes = self.space.sample(N_DRAWN, np.random.default_rng(1))
        shares = self.table.latencies_s(genes) / (share * self.largest_s)
        near = genes[(shares <= 1) & (shares > 1 - NEAR)][:n]
        return [Candidate(tuple(row)) for row in near.tolist()]

    def judged_derived(self, share: float) -> Row:
        """The derived network, trained alone."""
        return self.judged(self.derived(share), share)

    def judged(self, candidate: Candidate, share: float | None = None) -> Row:
        """Trained alone; accuracy on the validation split."""
        n_images = self.given.alone_epochs * len(self.task.train)
        recipe = FULL.recipe(self.task, n_images, 5, is_pretrained=False)
        net = finetuned(
            self.networks, self.folder, candidate, self.task, recipe, progress=Progress()
        )
        ready = self.networks.prepared(net, candidate, self.task, self.weight_max)
        found = ready.accuracy(self.task.validation, self.task.preprocessing, "validation")
        predicted_s = self.latency_s(candidate)
        return {
            "genes": list(candidate.genes),
            "top1_validation": found.top1,
            "predicted_s": predicted_s,
            "limit_s": None if share is None else share * self.largest_s,
        }

    def measured(self, stages: dict[str, Row]) -> dict[str, float]:
        """Latency of all networks in one interleaved session, in s."""
        models = {
            name: self.networks.model(Candidate(tuple(row["genes"])))
            for name, row in stages.items()
        }
        figures = measure_models(models, self.target, patience_s=300, max_lost=len(models) // 10)
        return {name: figure.p50_s for name, figure in figures.items()}


def _never(candidate: Candidate) -> Values:
    raise EvaluationFailed(f"nothing is evaluated here, got {candidate.text}")


def _print(stages: dict[str, Row], figures: dict[str, float]) -> None:
    shares = sorted({name.split()[1] for name in stages if name != "largest"})
    for name in ("largest", *(f"derived {share}" for share in shares)):
        row, measured_us = stages[name], figures.get(name, float("nan")) * 1e6
        predicted_us, limit_s = row["predicted_s"] * 1e6, row["limit_s"]
        over = "" if limit_s is None else f" ({row['predicted_s'] / limit_s:.1%} of the limit)"
        print(
            f"{name:>14}: {row['top1_validation']:.2%}, predicted {predicted_us:.0f} us{over}, "
            f"measured {measured_us:.0f} us"
        )
        if name == "largest":
            continue
        others = [row for key, row in stages.items() if key.startswith(f"random {name[8:]} ")]
        top1 = [other["top1_validation"] for other in others]
        better = sum(value >= row["top1_validation"] for value in top1)
        print(
            f"{'random':>14}: median {np.median(top1):.2%}, best {max(top1):.2%} of {len(top1)}; "
            f"{better} at least as good as the derived one"
        )


if __name__ == "__main__":
    main()
