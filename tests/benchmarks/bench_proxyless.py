"""ProxylessNAS on CIFAR-10: networks derived at limits beside random ones of the same latency.

    python -m tests.benchmarks.bench_proxyless --data DATA/cifar10 --work build/proxyless --profile NAME --out proxyless.json

Space ``mbconv``, operations and precisions together. For each limit (a share of the predicted latency of the largest
network in float32) gates are trained, by gradients and by rewards, and the first network that each strategy asks for is
derived. They, ten random networks predicted within 2 % under the same limit, and the largest network are trained alone
for the same number of epochs and judged on the validation split, int8 simulated. All are measured side by side in the
end. Where a derived one measures above its limit, its strategy is told what was measured and asked again, as a search
does, until one keeps it; that one is trained as well (``kept``). Everything is kept in the work folder; the same command
goes on. With ``--others`` (targets, by commas) all are measured there too, and for three floors of
accuracy the fastest network of each target is shown on all of them: each should win at home. With ``--jobs`` several networks are trained at once; with
``--profile`` of another machine, ``--no-latency`` leaves the measuring to a later call.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

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
from edgekit.search.protocol.problem import Observed, SearchProblem, Values
from edgekit.search.proxyless.deriving import probable_pool
from edgekit.search.run import problem_of
from edgekit.search.strategies import STRATEGIES
from tests.benchmarks.bench_cifar import Stages

N_DRAWN = 200_000
NEAR = 0.02
MOST_ASKED = 8
FLOORS = (0.25, 0.5, 0.75)
DERIVED = {"derived": "proxyless", "rewarded": "proxyless-reward"}
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
    parser.add_argument("--ways", default="derived,rewarded", help="by gradients, by rewards")
    parser.add_argument("--batch", type=int, default=FULL.batch_size, help="images a step")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--others", default="", help="targets to measure on as well")
    parser.add_argument("--no-latency", action="store_true", help="measure nothing yet")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    bench, stage = Bench(given), Stages(given.work / "stages.json")
    works = {name: work for name, work in bench.works().items() if name not in stage.done}
    with ProcessPoolExecutor(given.jobs, get_context("spawn"), _begin, (given,)) as pool:
        rows = {pool.submit(_row, *work): name for name, work in works.items()}
        for row in as_completed(rows):
            stage(rows[row], row.result)
    if given.no_latency:
        return
    for word in given.ways.split(","):
        for share in map(float, given.shares.split(",")):
            name = f"{word} {share}"
            stage(f"kept {name}", partial(bench.kept, word, share, stage.done[name]))
    targets = [bench.target, *map(Target, filter(None, given.others.split(",")))]
    figures = {target.text: bench.measured(stage.done, target) for target in targets}
    homes = _homes(stage.done, figures) if len(targets) > 1 else []
    row = {"stages": stage.done, "measured_s": figures, "homes": homes}
    given.out.write_text(json.dumps(row, indent=1))
    _print(stage.done, figures[bench.target.text])
    for home in homes:
        print(json.dumps(home))


_bench: Bench


def _begin(given: argparse.Namespace) -> None:
    global _bench
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // given.jobs))
    _bench = Bench(given)


def _row(kind: str, share: float | None, candidate: Candidate | None) -> Row:
    candidate = candidate or _bench.derived(kind, share or 0.0)
    return _bench.judged(candidate, share)


class Bench:
    """The parts of the benchmark."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.folder = given, given.work
        self.effort = replace(FULL, batch_size=given.batch)
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
        """A search under a limit; nothing is evaluated by it."""
        limits = Limits(share * self.largest_s)
        return problem_of(
            self.space,
            self.table,
            limits,
            _never,
            n_evaluations=MOST_ASKED,
            population=1,
            seed=0,
            objectives=("latency",),
        )

    def works(self) -> dict[str, tuple[str, float | None, Candidate | None]]:
        """What is trained, the longest first: strategy, limit, and the network if it is known."""
        shares = [float(share) for share in self.given.shares.split(",")]
        found: dict[str, tuple[str, float | None, Candidate | None]] = {}
        for word in self.given.ways.split(","):
            strategy = DERIVED[word]
            found |= {f"{word} {share}": (strategy, share, None) for share in shares}
        found["largest"] = ("largest", None, self.space.largest())
        for share in shares:
            drawn = enumerate(self.drawn(share, self.given.random))
            found |= {f"random {share} {i}": ("random", share, c) for i, c in drawn}
        return found

    def derived(self, strategy: str, share: float, history: Sequence[Observed] = ()) -> Candidate:
        """What the strategy asks for, first or after what was measured."""
        folder = self.folder / f"{strategy}-{share}"
        folder.mkdir(exist_ok=True)
        n_images = self.given.epochs * len(self.task.train)
        recipe = self.effort.recipe(self.task, n_images, 0, is_pretrained=False)
        assert recipe is not None
        problem = self.problem(share)
        scores = probable_pool(
            self.space,
            problem,
            self.task,
            recipe,
            folder,
            weight_max=self.weight_max,
            by_reward=strategy == "proxyless-reward",
            progress=Progress(),
        )
        return STRATEGIES[strategy].ask(replace(problem, scores=scores), history)[0]

    def kept(self, word: str, share: float, first: Row) -> Row:
        """The first network that the strategy asks for and that measures under the limit."""
        candidate, history, limit_s = Candidate(tuple(first["genes"])), [], first["limit_s"]
        for _ in range(MOST_ASKED):
            model = self.networks.model(candidate)
            latency_s = measure_models({"it": model}, self.target, patience_s=300)["it"].p50_s
            history.append(Observed(candidate, (1 - first["top1_validation"], latency_s)))
            print(f"{word} {share}: {latency_s / limit_s:.1%} of the limit", flush=True)
            if latency_s <= limit_s:
                return self.judged(candidate, share) | {"asked_s": [e.values for e in history]}
            candidate = self.derived(DERIVED[word], share, history)
        raise EvaluationFailed(f"{MOST_ASKED} networks are above the limit of {word} {share}")

    def drawn(self, share: float, n: int) -> list[Candidate]:
        """Random networks within 2 % under a limit."""
        genes = self.space.sample(N_DRAWN, np.random.default_rng(1))
        shares = self.table.latencies_s(genes) / (share * self.largest_s)
        near = genes[(shares <= 1) & (shares > 1 - NEAR)][:n]
        return [Candidate(tuple(row)) for row in near.tolist()]

    def judged(self, candidate: Candidate, share: float | None) -> Row:
        """Trained alone; accuracy on the validation split."""
        n_images = self.given.alone_epochs * len(self.task.train)
        recipe = self.effort.recipe(self.task, n_images, 5, is_pretrained=False)
        folder = self.folder / "alone" / "-".join(map(str, candidate.genes))
        folder.mkdir(parents=True, exist_ok=True)
        net = finetuned(self.networks, folder, candidate, self.task, recipe, progress=Progress())
        ready = self.networks.prepared(net, candidate, self.task, self.weight_max)
        found = ready.accuracy(self.task.validation, self.task.preprocessing, "validation")
        predicted_s = self.latency_s(candidate)
        return {
            "genes": list(candidate.genes),
            "top1_validation": found.top1,
            "predicted_s": predicted_s,
            "limit_s": None if share is None else share * self.largest_s,
        }

    def measured(self, stages: dict[str, Row], target: Target) -> dict[str, float]:
        """Latency of all networks in one interleaved session, in s."""
        models = {
            name: self.networks.model(Candidate(tuple(row["genes"])))
            for name, row in stages.items()
        }
        figures = measure_models(models, target, patience_s=300, max_lost=len(models) // 10)
        return {name: figure.p50_s for name, figure in figures.items()}


def _never(candidate: Candidate) -> Values:
    raise EvaluationFailed(f"nothing is evaluated here, got {candidate.text}")


def _homes(stages: dict[str, Row], figures: dict[str, dict[str, float]]) -> list[Row]:
    """For floors of accuracy: the fastest network of each target, and its latency on all."""
    known = [name for name in stages if all(name in row for row in figures.values())]
    top1 = {name: stages[name]["top1_validation"] for name in known}
    found = []
    for floor in np.quantile(list(top1.values()), FLOORS).tolist():
        good = [name for name in known if top1[name] >= floor]
        for home, row in figures.items():
            name = min(good, key=lambda name: row[name])
            latencies_us = {text: round(1e6 * figures[text][name], 1) for text in figures}
            found.append(
                {"floor": floor, "home": home, "network": name, "top1": top1[name]} | latencies_us
            )
    return found


def _print(stages: dict[str, Row], figures: dict[str, float]) -> None:
    shares = sorted({name.split()[-1] for name in stages if name.split()[0] in DERIVED})
    names = [f"{word} {share}" for share in shares for word in DERIVED]
    names = [name for plain in names for name in (plain, f"kept {plain}")]
    for name in ("largest", *(name for name in names if name in stages)):
        row, measured_us = stages[name], figures.get(name, float("nan")) * 1e6
        predicted_us, limit_s = row["predicted_s"] * 1e6, row["limit_s"]
        over = "" if limit_s is None else f" ({row['predicted_s'] / limit_s:.1%} of the limit)"
        print(
            f"{name:>15}: {row['top1_validation']:.2%}, predicted {predicted_us:.0f} us{over}, "
            f"measured {measured_us:.0f} us"
        )
        if name == "largest":
            continue
        others = [
            row for key, row in stages.items() if key.startswith(f"random {name.split()[-1]} ")
        ]
        if not others:
            continue
        top1 = [other["top1_validation"] for other in others]
        better = sum(value >= row["top1_validation"] for value in top1)
        print(
            f"{'random':>15}: median {np.median(top1):.2%}, best {max(top1):.2%} of {len(top1)}; "
            f"{better} at least as good as the derived one"
        )


if __name__ == "__main__":
    main()
