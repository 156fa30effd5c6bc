"""Fitting a device's predictor from profiled networks, and saying how far off it is on families it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.devices.correction import conformal_interval
from edgekit.devices.features import is_integer
from edgekit.devices.predictor import KernelPredictor, Overhead, profiled_times_s
from edgekit.devices.roofline import Roofline, Trees, fit_roofline, fit_trees
from edgekit.devices.samples import NetworkSample

Array = NDArray[np.float64]

MIN_NETWORKS_FOR_TREES = 40
MIN_NETWORKS = 3
_N_FOLDS = 4
_SHORTEST_TIMED_S = 3e-7
_N_REWEIGHTINGS = 20
_SCALE_RANGE = (0.5, 2.0)
_CONSTANT_RANGE_S = (-2e-5, 2e-5)
_WIDE_LOG_INTERVAL = (-0.5, 0.5)


def fit_predictor(samples: Sequence[NetworkSample], *, seed: int = 0) -> KernelPredictor:
    """Fit roofline, trees (from 40 networks on) and overheads, with the interval of families left out.

    Args:
        samples: profiled networks, at least 3.
        seed: of the trees.

    Raises:
        InputError: fewer than 3 networks.
    """
    if len(samples) < MIN_NETWORKS:
        raise InputError(f"a fit needs at least {MIN_NETWORKS} networks, got {len(samples)}")
    predictor = _fitted(samples, seed)
    errors = _left_out_errors(samples, seed)
    interval = conformal_interval(errors) if errors.size else _WIDE_LOG_INTERVAL
    return KernelPredictor(predictor.roofline, predictor.trees, predictor.overheads, interval)


def _fitted(samples: Sequence[NetworkSample], seed: int) -> KernelPredictor:
    kernels = [kernel for sample in samples for kernel in sample.kernels]
    times_s = np.concatenate([sample.kernel_times_s for sample in samples])
    times_s = np.maximum(times_s, _SHORTEST_TIMED_S)
    roofline = fit_roofline(kernels, times_s)
    trees = None
    if len(samples) >= MIN_NETWORKS_FOR_TREES:
        shares = [sample.kernel_times_s / sample.kernel_times_s.sum() for sample in samples]
        weights = np.sqrt(np.concatenate(shares))
        trees = fit_trees(kernels, times_s, roofline.times_s(kernels), weights, seed)
    return KernelPredictor(
        roofline, trees, _overheads(samples, roofline, trees), _WIDE_LOG_INTERVAL
    )


def _overheads(
    samples: Sequence[NetworkSample], roofline: Roofline, trees: Trees | None
) -> tuple[Overhead, Overhead]:
    """Scale and constant for float and integer kernels, by least absolute relative error of the labels.

    Iteratively reweighted least squares, so that a network with a bad label does not pull; a mild
    prior holds the scale near 1 and the constant near 0 where one precision is rare.
    """
    rows = []
    for sample in samples:
        times_s = profiled_times_s(roofline, trees, sample.kernels)
        integer = np.array([is_integer(kernel) for kernel in sample.kernels])
        sums = [times_s[~integer].sum(), times_s[integer].sum()]
        rows.append([*sums, (~integer).sum() * 1e-6, integer.sum() * 1e-6])
    relative = np.array(rows) / np.array([[sample.label_s] for sample in samples])
    prior, strength = np.array([1.0, 1.0, 0.0, 0.0]), np.diag([1.0, 1.0, 0.01, 0.01])
    weights = np.ones(len(samples))
    for _ in range(_N_REWEIGHTINGS):
        weighted = relative * weights[:, None]
        solution = np.linalg.solve(
            weighted.T @ weighted + strength, weighted.T @ weights + strength @ prior
        )
        weights = 1 / np.sqrt(np.maximum(np.abs(relative @ solution - 1), 0.01))
    scales = np.clip(solution[:2], *_SCALE_RANGE)
    constants_s = np.clip(solution[2:] * 1e-6, *_CONSTANT_RANGE_S)
    return (
        Overhead(float(scales[0]), float(constants_s[0])),
        Overhead(float(scales[1]), float(constants_s[1])),
    )


def _left_out_errors(samples: Sequence[NetworkSample], seed: int) -> Array:
    """log(label / prediction) of every network, by fits without its family; empty for a single family."""
    families = sorted({sample.family for sample in samples})
    fold_of = {
        family: index % min(_N_FOLDS, len(families)) for index, family in enumerate(families)
    }
    errors: list[float] = []
    for fold in sorted(set(fold_of.values())):
        kept = [sample for sample in samples if fold_of[sample.family] != fold]
        if len(kept) < MIN_NETWORKS:
            continue
        predictor = _fitted(kept, seed)
        errors += [
            math.log(sample.label_s / predictor.kernel_costs_s(sample.kernels).sum())
            for sample in samples
            if fold_of[sample.family] == fold
        ]
    return np.array(errors)
