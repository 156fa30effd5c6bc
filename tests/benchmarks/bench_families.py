"""Every family of networks held out in turn: how well does what was learnt from the others predict it?

    python -m tests.benchmarks.bench_families --threads 1 --out families.json

Sixteen networks of each stock family (convolutional and transformers; fp32, int8, mixed) and a hundred random ones are
timed with their kernels in one session. A family is predicted by a fit on all others; six of its networks are judged,
without and with a correction by the other ten, and with the kernels of these ten in the fit as well. The stock networks
are measured again, whole, in a session of their own: it gives the labels of these ten, and the floor; a network that a
slow machine left without a figure there is not judged. Beside it, fitted on the same other families: a line in the
MACs, gradient boosting on the whole network, and random forests per kernel group whose answers are added up (as
nn-Meter does, doi 10.1145/3458864.3467882); and the sum of the network's own kernels, each timed alone.
"""  # noqa: E501

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from edgekit.core.files import write_json
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.measuring.estimators import fast_state_s
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.networks.families import FAMILIES
from edgekit.devices.predicting.features import (
    TERMS,
    group_key,
    is_integer,
    roofline_terms,
    tree_features,
)
from edgekit.devices.predicting.fitting import fit_predictor
from edgekit.devices.predicting.plan import PRECISIONS, PlannedNetwork
from edgekit.devices.predicting.samples import NetworkSample, Source, take_samples
from edgekit.devices.predicting.validation import accuracy_of
from tests.benchmarks.bench_predictor import macs_of
from tests.benchmarks.isolated import isolated_times_s

Array = NDArray[np.float64]

RANDOM = {"mbconv_random": 40, "resnet_random": 30, "assorted_random": 30}
STOCK = tuple(family for family in FAMILIES if family not in RANDOM)
N_JUDGED, N_CORRECTION = 6, 10
N_PASSES, BLOCK_S = 12, 0.02
ANY_INTERVAL, PATIENCE_S = 10.0, 300.0
ROWS = (
    "MACs line",
    "whole-network boosting",
    "forests per kernel",
    "isolated kernels",
    "edgekit",
    "edgekit, 10 of the family",
    "edgekit, 10 profiled",
    "floor",
)


def networks(seed: int) -> list[PlannedNetwork]:
    """All networks, the judged ones of a family first; those are ``held_out``."""
    rng, drawn = np.random.default_rng([seed, 9]), []
    counts = {**RANDOM, **dict.fromkeys(STOCK, N_JUDGED + N_CORRECTION)}
    for family, n_networks in counts.items():
        for index in range(n_networks):
            drawn.append(
                PlannedNetwork(
                    family,
                    PRECISIONS[index % 3],
                    resolution=int(rng.choice([32, 48, 64, 80, 96, 128])),
                    width=float(rng.choice([0.35, 0.5, 0.75, 1.0])),
                    width_multiple=int(rng.choice([8, 16])),
                    seed=50_000 + len(drawn),
                    held_out=family in STOCK and index < N_JUDGED,
                )
            )
    return drawn


def macs_line_s(fitted: Sequence[NetworkSample], judged: Sequence[NetworkSample]) -> Array:
    """A line per precision, least squares on relative errors."""
    estimates_s = np.empty(len(judged))
    for precision in PRECISIONS:
        known = [s for s in fitted if s.precision == precision]
        labels_s = np.array([s.label_s for s in known])
        macs = np.array([macs_of(s.kernels) for s in known])
        design = np.stack([np.ones(len(known)), macs], axis=1) / labels_s[:, None]
        line = np.linalg.lstsq(design, np.ones(len(known)), rcond=None)[0]
        for row, sample in enumerate(judged):
            if sample.precision == precision:
                estimates_s[row] = line[0] + line[1] * macs_of(sample.kernels)
    return estimates_s


def whole_features(kernels: Sequence[Kernel]) -> list[float]:
    """Logarithms of the summed work of fp32 and of int8 kernels, and how many there are."""
    sums = []
    for integer in (False, True):
        terms = [roofline_terms(k) for k in kernels if is_integer(k) == integer]
        sums += (
            [float(v) for v in np.log1p(np.sum(terms, axis=0))] if terms else [0.0] * len(TERMS)
        )
    return sums


def boosting_s(fitted: Sequence[NetworkSample], judged: Sequence[NetworkSample]) -> Array:
    """Gradient-boosted trees from summed work to the logarithm of the latency."""
    model = HistGradientBoostingRegressor(max_iter=300, min_samples_leaf=5, random_state=0)
    labels = np.log([s.label_s for s in fitted])
    model.fit(np.array([whole_features(s.kernels) for s in fitted]), labels)
    found: Array = np.exp(model.predict(np.array([whole_features(s.kernels) for s in judged])))
    return found


def forests_s(fitted: Sequence[NetworkSample], judged: Sequence[NetworkSample]) -> Array:
    """A forest per kernel group on times inside the network; kernels of no group cost nothing."""
    rows: dict[str, list[tuple[tuple[float, ...], float]]] = defaultdict(list)
    for sample in fitted:
        for kernel, time_s in zip(sample.kernels, sample.kernel_times_s, strict=True):
            rows[group_key(kernel)].append((tree_features(kernel), max(time_s, 1e-7)))
    forests = {}
    for key, pairs in rows.items():
        forest = RandomForestRegressor(100, random_state=0, n_jobs=2)
        forests[key] = forest.fit([f for f, _ in pairs], [t for _, t in pairs])
    asked: dict[str, list[tuple[int, tuple[float, ...]]]] = defaultdict(list)
    for row, sample in enumerate(judged):
        for kernel in sample.kernels:
            asked[group_key(kernel)].append((row, tree_features(kernel)))
    estimates_s = np.zeros(len(judged))
    for key, items in asked.items():
        if key in forests:
            times_s = forests[key].predict([f for _, f in items])
            np.add.at(estimates_s, [row for row, _ in items], times_s)
    return estimates_s


def main() -> None:
    """Measure, hold out, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    target, started = Target(f"local?threads={options.threads}"), time.perf_counter()
    plan = networks(options.seed)
    names = [f"{i}_{network.name}" for i, network in enumerate(plan)]
    samples, blocks = take_samples(
        [Source(n, p.family, p.precision, p.model) for n, p in zip(names, plan, strict=True)],
        target,
        n_passes=N_PASSES,
        block_s=BLOCK_S,
        n_profiled_runs=4,
        seed=options.seed,
        progress=Progress(),
        max_noise=0.1,
    )
    timed_s = time.perf_counter() - started
    stock = [(n, p) for n, p in zip(names, plan, strict=True) if p.family in STOCK]
    models = {name: network.model().SerializeToString() for name, network in stock}
    again = measure_models(
        models,
        target,
        n_passes=N_PASSES,
        block_s=BLOCK_S,
        seed=options.seed + 1,
        max_relative_interval=ANY_INTERVAL,
        max_lost=len(models) // 10,
        patience_s=PATIENCE_S,
        known_fast_s=fast_state_s(np.array([block.reference_s for block in blocks])).tolist(),
    )
    planned = dict(zip(names, plan, strict=True))
    judged = [s for s in samples if planned[s.name].held_out and s.name in again]
    judged_names = {s.name for s in judged}
    labels_s = np.array([s.label_s for s in judged])
    estimates_s = {row: np.zeros(len(judged)) for row in ROWS}
    estimates_s["floor"] = np.array([again[s.name].label_s for s in judged])
    estimates_s["isolated kernels"] = isolated_times_s(
        [planned[s.name].model() for s in judged], target
    )
    inside = {row: np.zeros(len(judged), dtype=bool) for row in ROWS if row.startswith("edgekit")}
    for family in STOCK:
        others = [s for s in samples if s.family != family]
        own = np.flatnonzero([s.family == family for s in judged])
        tests = [judged[i] for i in own]
        rest = [s for s in samples if s.family == family and s.name not in judged_names]
        ten = [s for s in rest if s.name in again]
        plain = fit_predictor(others, seed=options.seed)
        corrected = plain.corrected([(s.kernels, again[s.name]) for s in ten])
        estimates_s["MACs line"][own] = macs_line_s(others, tests)
        estimates_s["whole-network boosting"][own] = boosting_s(others, tests)
        estimates_s["forests per kernel"][own] = forests_s(others, tests)
        profiled = fit_predictor([*others, *ten], seed=options.seed)
        profiled = profiled.corrected([(s.kernels, again[s.name]) for s in ten])
        for row, predictor in zip(inside, (plain, corrected, profiled), strict=True):
            found = [predictor.predict(s.kernels) for s in tests]
            estimates_s[row][own] = [f.latency_s for f in found]
            bounds_s = np.array([f.interval_s for f in found])
            within = (bounds_s[:, 0] <= labels_s[own]) & (labels_s[own] <= bounds_s[:, 1])
            inside[row][own] = within
        errors = [np.abs(estimates_s[row][own] / labels_s[own] - 1).mean() for row in inside]
        print(
            f"{family:<20} {errors[0]:.1%}, {errors[1]:.1%} with ten of it, "
            f"{errors[2]:.1%} with their kernels",
            flush=True,
        )
    table: dict[str, dict[str, float]] = {}
    print(f"{len(samples)} networks timed in {timed_s:.0f} s, {len(judged)} judged, {target.text}")
    print(f"{'':<27}{'MAPE':>8}{'within 10 %':>13}{'tau':>8}{'in 90 %':>9}")
    for row in ROWS:
        table[row] = asdict(accuracy_of(estimates_s[row], labels_s))
        covered = f"{inside[row].mean():9.0%}" if row in inside else ""
        if row in inside:
            table[row]["coverage"] = float(inside[row].mean())
        print(
            f"{row:<27}{table[row]['mape']:8.1%}{table[row]['within_10']:13.0%}"
            f"{table[row]['tau']:8.3f}{covered}"
        )
    content: dict[str, object] = {"target": target.text, "timed_s": timed_s, "rows": table}
    content["networks"] = [
        {"name": s.name, "label_s": s.label_s, **{r: float(estimates_s[r][i]) for r in ROWS}}
        for i, s in enumerate(judged)
    ]
    write_json(options.out, "bench-families", 1, content)


if __name__ == "__main__":
    main()
