"""How well a profile's predictor does on networks drawn after its fit, beside baselines and floor.

    python -m tests.benchmarks.bench_predictor --out predictor.json

Profiles this machine (or takes ``--profile FOLDER``), then judges the predictor on

* networks of the search space ``mbconv``: random architecture and random precision of each block,
  with and without a correction by other networks of the space;
* networks of stock families that are not in the fit, without and with ten measured ones of each
  family.

The test networks are measured twice, in sessions of their own; the floor is the agreement of both.
Baselines: a line in the MACs, fitted to the very labels it is judged on; the sum of the network's
kernels, each timed alone in a hot loop.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edgekit.core.candidate import Candidate
from edgekit.core.figures import Measured
from edgekit.core.files import write_json
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.measuring.telemetry import load_1min
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.features import product_of
from edgekit.devices.predicting.plan import FITTED_STOCK, PRECISIONS, PlannedNetwork
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.predicting.validation import Accuracy, accuracy_of
from edgekit.devices.profile import PROFILE_FILE, DeviceProfile, profile_device
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from tests.benchmarks.isolated import isolated_times_s

Array = NDArray[np.float64]

STOCK = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "resnet20",
    "squeezenet",
    "efficientnet_b0",
    "mnasnet",
    "ghostnet",
)
N_SPACE, N_SPACE_CORRECTION = 72, 50
N_STOCK, N_STOCK_CORRECTION = 6, 10
N_PASSES, BLOCK_S = 10, 0.02
ANY_INTERVAL = 10.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A network of the benchmark; those that correct are not judged."""

    name: str
    family: str
    precision: str
    corrects: bool
    write: Callable[[], ModelProto]


def space_subjects(seed: int) -> list[Subject]:
    """Networks of the space at 32 pixels: a sixth all fp32, a sixth all int8, the others mixed."""
    space = MBConvSpace(MBConvRecipe.for_task(32, 10))
    genes = space.sample(N_SPACE + N_SPACE_CORRECTION, np.random.default_rng([seed, 7]))
    for index, row in enumerate(genes):
        if index % 6 < 2:
            row[space.n_positions :] = index % 6
    subjects = []
    for index, row in enumerate(space.canonical(genes)):
        candidate = Candidate(tuple(int(gene) for gene in row))
        precision = ("fp32", "int8", "mixed", "mixed", "mixed", "mixed")[index % 6]
        corrects = index >= N_SPACE
        subjects.append(
            Subject(
                f"mbconv-{index}",
                "mbconv",
                precision,
                corrects,
                lambda candidate=candidate: candidate_model(space, candidate),
            )
        )
    return subjects


def stock_subjects(seed: int) -> list[Subject]:
    """Networks of the stock families, with sizes of their own."""
    assert set(STOCK).isdisjoint(FITTED_STOCK)
    rng, subjects = np.random.default_rng([seed, 8]), []
    for family in STOCK:
        for index in range(N_STOCK + N_STOCK_CORRECTION):
            network = PlannedNetwork(
                family,
                PRECISIONS[index % 3],
                resolution=int(rng.choice([32, 40, 56, 64, 72, 96, 112, 144])),
                width=float(rng.choice([0.5, 0.6, 0.75, 0.9, 1.0])),
                width_multiple=int(rng.choice([8, 16])),
                seed=90_000 + index,
                held_out=True,
            )
            subjects.append(
                Subject(
                    f"{index}_{network.name}",
                    family,
                    network.precision,
                    index >= N_STOCK,
                    network.model,
                )
            )
    return subjects


def macs_line_s(macs: Array, precisions: Sequence[str], labels_s: Array) -> Array:
    """A line per precision, least squares on relative errors over the labels it is judged on."""
    estimates_s = np.empty_like(labels_s)
    for precision in set(precisions):
        rows = np.flatnonzero([p == precision for p in precisions])
        design = np.column_stack([np.ones(rows.size), macs[rows]]) / labels_s[rows, None]
        line = np.linalg.lstsq(design, np.ones(rows.size), rcond=None)[0]
        estimates_s[rows] = line[0] + line[1] * macs[rows]
    return estimates_s


def macs_of(kernels: Sequence[Kernel]) -> float:
    """Multiply-adds of a network."""
    return float(sum(work.macs for kernel in kernels if (work := product_of(kernel)) is not None))


@dataclass(frozen=True, slots=True)
class Judged:
    """The test networks of one part and what is known about them."""

    subjects: list[Subject]
    kernels: list[tuple[Kernel, ...]]
    labels_s: Array
    again_s: Array

    def rows(
        self, estimates_s: Array, intervals_s: Array | None = None
    ) -> dict[str, dict[str, float]]:
        """Statistics of an estimate, over all networks and by precision."""
        groups = {"all": np.arange(len(self.subjects))}
        for precision in PRECISIONS:
            groups[precision] = np.flatnonzero([s.precision == precision for s in self.subjects])
        result = {}
        for name, rows in groups.items():
            figures: dict[str, float] = asdict(accuracy_of(estimates_s[rows], self.labels_s[rows]))
            if intervals_s is not None:
                low, high = intervals_s[rows].T
                inside = (low <= self.labels_s[rows]) & (self.labels_s[rows] <= high)
                figures["coverage"] = float(inside.mean())
            result[name] = figures
        return result


def predicted(
    predictors: Sequence[KernelPredictor], kernels: Sequence[Sequence[Kernel]]
) -> tuple[Array, Array]:
    """(n,) estimates and (n, 2) intervals, in seconds, each network by its own predictor."""
    figures = [p.predict(network) for p, network in zip(predictors, kernels, strict=True)]
    return np.array([f.latency_s for f in figures]), np.array([f.interval_s for f in figures])


def measured(subjects: Sequence[Subject], target: Target, seed: int) -> dict[str, Measured]:
    """Figures of every network from one interleaved session."""
    models = {subject.name: subject.write().SerializeToString() for subject in subjects}
    return measure_models(
        models,
        target,
        n_passes=N_PASSES,
        block_s=BLOCK_S,
        seed=seed,
        max_relative_interval=ANY_INTERVAL,
    )


def judge(
    subjects: Sequence[Subject], predictor: KernelPredictor, target: Target, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """All rows of one part."""
    first = measured(subjects, target, seed)
    second = measured([s for s in subjects if not s.corrects], target, seed + 1)
    kernels = {
        s.name: tuple(placed.kernel for placed in lower(s.write(), n_threads=target.n_threads))
        for s in subjects
    }
    tests = [subject for subject in subjects if not subject.corrects]
    part = Judged(
        tests,
        [kernels[subject.name] for subject in tests],
        np.array([first[subject.name].label_s for subject in tests]),
        np.array([second[subject.name].label_s for subject in tests]),
    )
    families = {subject.family for subject in subjects}
    by_family = {
        family: predictor.corrected(
            [
                (kernels[s.name], first[s.name])
                for s in subjects
                if s.corrects and s.family == family
            ]
        )
        for family in families
    }
    alone_s = isolated_times_s([s.write() for s in tests], target)
    macs = np.array([macs_of(network) for network in part.kernels])
    precisions = [subject.precision for subject in tests]
    plain_s, plain_intervals_s = predicted([predictor] * len(tests), part.kernels)
    corrected_s, corrected_intervals_s = predicted(
        [by_family[subject.family] for subject in tests], part.kernels
    )
    return {
        "MACs line": part.rows(macs_line_s(macs, precisions, part.labels_s)),
        "isolated kernels": part.rows(alone_s),
        "predictor": part.rows(plain_s, plain_intervals_s),
        "corrected": part.rows(corrected_s, corrected_intervals_s),
        "floor": part.rows(part.again_s),
    }


def print_part(title: str, rows: dict[str, dict[str, dict[str, float]]]) -> None:
    """A table of one part."""
    print(f"\n{title}")
    print(
        f"{'':18s}{'':6s}{'n':>4s}{'MAPE':>8s}{'±5 %':>7s}{'±10 %':>7s}{'tau':>7s}{'in 90 %':>9s}"
    )
    for row, groups in rows.items():
        for group, f in groups.items():
            coverage = f"{f['coverage']:9.0%}" if "coverage" in f else ""
            print(
                f"{row:18s}{group:6s}{f['n_networks']:4.0f}{f['mape']:8.1%}{f['within_5']:7.0%}"
                f"{f['within_10']:7.0%}{f['tau']:7.3f}{coverage}"
            )


def as_text(accuracy: Accuracy) -> str:
    """One line for people."""
    return (
        f"MAPE {accuracy.mape:.1%}, ±5 % {accuracy.within_5:.0%}, "
        f"±10 % {accuracy.within_10:.0%}, tau {accuracy.tau:.3f}"
    )


def main() -> None:
    """Profile, measure, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="take the quick plan")
    parser.add_argument("--profile", type=Path, help="folder of a profile; made where absent")
    parser.add_argument("--part", choices=("both", "space", "stock"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/bench_predictor.json"))
    options = parser.parse_args()
    target = Target(f"local?threads={options.threads}")
    folder = options.profile or options.out.parent / "profile"
    started = time.perf_counter()
    if options.profile is None or not (folder / PROFILE_FILE).exists():
        profile_device(target, folder, quick=options.quick, progress=Progress())
    profile = DeviceProfile.load(folder)
    profile.check_current(target)
    taken = profile.provenance
    print(f"profile: {taken.n_networks} networks in {taken.duration_s:.0f} s")
    print(f"held-out families: {as_text(profile.validation.accuracy)}")
    print(f"their floor: {as_text(profile.validation.floor)}")
    makers = {"space": space_subjects, "stock": stock_subjects}
    parts = {}
    for name, subjects in makers.items():
        if options.part in ("both", name):
            parts[name] = judge(subjects(options.seed), profile.predictor, target, options.seed)
            print_part(name, parts[name])
    content: dict[str, object] = {
        "target": target.text,
        "facts": asdict(profile.facts),
        "profile": asdict(profile.provenance),
        "validation": asdict(profile.validation),
        "load_1min": load_1min(),
        "duration_s": time.perf_counter() - started,
        "parts": parts,
    }
    write_json(options.out, "bench-predictor", 1, content)
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
