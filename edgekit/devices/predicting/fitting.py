"""Fitting a device's predictor from profiled networks, with its error on unseen families."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.devices.predicting.correction import conformal_interval
from edgekit.devices.predicting.features import group_key, is_integer
from edgekit.devices.predicting.predictor import (
    LEAST_SHARE,
    KernelPredictor,
    Overhead,
    profiled_times_s,
)
from edgekit.devices.predicting.roofline import Roofline, Trees, fit_roofline, fit_trees
from edgekit.devices.predicting.samples import NetworkSample

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

MIN_NETWORKS_FOR_TREES = 40
MIN_NETWORKS = 3
_N_FOLDS = 4
_LARGE_FAMILY = 8
_SHORTEST_TIMED_S = 3e-7
_N_REWEIGHTINGS = 20
_GROUP_RIDGE = 0.05
_WIDE_LOG_INTERVAL = (-0.5, 0.5)


def fit_predictor(samples: Sequence[NetworkSample], *, seed: int = 0) -> KernelPredictor:
    """Fit roofline, trees (from 40 networks on), overhead and the interval of left-out families.

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
    return KernelPredictor(predictor.roofline, predictor.trees, predictor.overhead, interval)


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
        roofline, trees, _overhead(samples, roofline, trees), _WIDE_LOG_INTERVAL
    )


def _overhead(
    samples: Sequence[NetworkSample], roofline: Roofline, trees: Trees | None
) -> Overhead:
    """Scales and constants that turn sums of profiled times into labels.

    Least absolute relative error by iteratively reweighted least squares, so that a network with a
    bad label does not pull. A ridge holds the scales near 1 and the constants of groups near those
    of their element type. A kernel that would fall below its least share counts with that share.
    """
    kernels = [kernel for sample in samples for kernel in sample.kernels]
    network = np.repeat(np.arange(len(samples)), [len(sample.kernels) for sample in samples])
    groups = sorted({group_key(kernel) for kernel in kernels})
    code = {key: index for index, key in enumerate(groups)}
    profiled_s = profiled_times_s(roofline, trees, kernels)
    columns = np.array([(is_integer(kernel), 4 + code[group_key(kernel)]) for kernel in kernels])
    labels_s = np.array([sample.label_s for sample in samples])
    prior = np.array([1.0, 1.0, *[0.0] * (2 + len(groups))])
    strength = np.array([1.0, 1.0, 0.01, 0.01, *[_GROUP_RIDGE] * len(groups)])
    solution, weights = prior, np.ones(len(samples))
    for _ in range(_N_REWEIGHTINGS):
        design, fixed = _design(
            profiled_s / labels_s[network], 1e-6 / labels_s[network], network, columns, solution
        )
        weighted, target = design * weights[:, None], weights * (1 - fixed)
        solution = np.linalg.solve(
            weighted.T @ weighted + np.diag(strength), weighted.T @ target + strength * prior
        )
        weights = 1 / np.sqrt(np.maximum(np.abs(design @ solution + fixed - 1), 0.01))
    return Overhead(
        (float(solution[0]), float(solution[1])),
        (float(solution[2] * 1e-6), float(solution[3] * 1e-6)),
        dict(zip(groups, (solution[4:] * 1e-6).tolist(), strict=True)),
    )


def _design(
    profiled: Array, unit: Array, network: IntArray, columns: IntArray, solution: Array
) -> tuple[Array, Array]:
    """Design matrix of the labels, and the part that is fixed because kernels are at their least.

    Args:
        profiled: (n_kernels,) profiled time over the label of its network.
        unit: (n_kernels,) a microsecond over that label.
        network: (n_kernels,) index of the network.
        columns: (n_kernels, 2) 0 or 1 for float or integer, and the column of the group.
        solution: (n_columns,) the current one: two scales, two constants, one constant per group.
    """
    kind, group = columns[:, 0], columns[:, 1]
    share = solution[kind] * profiled + (solution[2 + kind] + solution[group]) * unit
    least = share < LEAST_SHARE * profiled
    n_networks = int(network.max()) + 1
    fixed = np.zeros(n_networks)
    np.add.at(fixed, network, LEAST_SHARE * profiled * least)
    design: Array = np.zeros((n_networks, solution.size))
    np.add.at(design, (network, kind), profiled * ~least)
    np.add.at(design, (network, 2 + kind), unit * ~least)
    np.add.at(design, (network, group), unit * ~least)
    return design, fixed


def _left_out_errors(samples: Sequence[NetworkSample], seed: int) -> Array:
    """log(label / prediction) of every network by a fit without it; may be empty.

    Small families are left out whole. A family with an eighth of all networks is taken for a
    random one that stands for shapes, and dealt out network by network.
    """
    sizes = Counter(sample.family for sample in samples)
    small = [family for family in sorted(sizes) if sizes[family] < len(samples) / _LARGE_FAMILY]
    folds = np.array(
        [
            (small.index(sample.family) if sample.family in small else index) % _N_FOLDS
            for index, sample in enumerate(samples)
        ]
    )
    errors: list[float] = []
    for fold in range(_N_FOLDS):
        kept = [sample for sample, its in zip(samples, folds, strict=True) if its != fold]
        if MIN_NETWORKS <= len(kept) < len(samples):
            predictor = _fitted(kept, seed)
            errors += [
                math.log(sample.label_s / predictor.kernel_costs_s(sample.kernels).sum())
                for sample, its in zip(samples, folds, strict=True)
                if its == fold
            ]
    return np.array(errors)
