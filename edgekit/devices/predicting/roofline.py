"""Kernel times as sums of work over rates, by kernel group, and what trees add to them.

The roofline is physics and extrapolates; one gradient-boosted model over all groups then corrects
its logarithm where there is data for that (Ke et al. 2017, LightGBM).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.features import (
    TERMS,
    TREE_FEATURES,
    group_key,
    roofline_terms,
    tree_features,
)

Array = NDArray[np.float64]

MAX_LOG_RESIDUAL = 0.7
_MIN_SHAPES = 6
_GENERIC = ("call", "bytes_in", "bytes_out", "weight_bytes", "macs_padded")
_IS_GENERIC = np.array([name in _GENERIC for name in TERMS])
_SMALLEST_S = 1e-7
_FAR = 1.5
_WEIGHT_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Roofline:
    """Coefficients per kernel group.

    Attributes:
        coefficients_s: seconds per unit of each of ``TERMS``, by group key.
        fallback_s: the same over all groups, for kernels of a group that was not seen.
        range_s: shortest and longest time this roofline gives to the kernels it was fitted on, in
            seconds, by group key.
    """

    coefficients_s: Mapping[str, tuple[float, ...]]
    fallback_s: tuple[float, ...]
    range_s: Mapping[str, tuple[float, float]]

    def times_s(self, kernels: Sequence[Kernel]) -> Array:
        """(n_kernels,) seconds, at least 0.1 us each."""
        return np.asarray(np.maximum(self._work_s(kernels).sum(axis=1), _SMALLEST_S))

    def work_shares(self, kernels: Sequence[Kernel]) -> Array:
        """(n_kernels, n_terms) what of a kernel's time is work of each of ``TERMS``.

        Rows sum to 1; a kernel without a time counts as a call.
        """
        work_s = self._work_s(kernels)
        totals_s = work_s.sum(axis=1, keepdims=True)
        call = np.eye(len(TERMS))[TERMS.index("call")]
        return np.where(totals_s > 0, work_s / np.where(totals_s > 0, totals_s, 1.0), call)

    def _work_s(self, kernels: Sequence[Kernel]) -> Array:
        rates = np.array(
            [self.coefficients_s.get(group_key(kernel), self.fallback_s) for kernel in kernels]
        )
        return np.asarray(rates * np.array([roofline_terms(kernel) for kernel in kernels]))

    def extrapolates(self, kernels: Sequence[Kernel]) -> NDArray[np.bool_]:
        """(n_kernels,) whether a kernel lies outside of what its group was fitted on.

        That is where the roofline gives it half as much again as the longest of those kernels, or
        less than two thirds of the shortest. A group that was not seen has no such kernels.
        """
        ranges = np.array([self.range_s.get(group_key(k), (0.0, np.inf)) for k in kernels])
        times_s = self.times_s(kernels)
        low_s, high_s = ranges.reshape(-1, 2).T
        return np.asarray((times_s > _FAR * high_s) | (times_s < low_s / _FAR), dtype=np.bool_)


def fit_roofline(kernels: Sequence[Kernel], times_s: Array) -> Roofline:
    """Non-negative least squares on relative errors, group by group.

    Args:
        kernels: as they were timed; the same kernel may stand there often.
        times_s: (n_kernels,) seconds, above 0.
    """
    terms = np.array([roofline_terms(kernel) for kernel in kernels])
    members: dict[str, list[int]] = {}
    for index, kernel in enumerate(kernels):
        members.setdefault(group_key(kernel), []).append(index)
    fits = {}
    for key in sorted(members):
        rows = np.array(members[key])
        n_shapes = len({kernels[row] for row in members[key]})
        allowed = np.ones(len(TERMS), bool) if n_shapes >= _MIN_SHAPES else _IS_GENERIC
        fits[key] = _rates_s(terms[rows], times_s[rows], allowed)
    fitted = Roofline(fits, _rates_s(terms, times_s, _IS_GENERIC), {})
    given_s = fitted.times_s(kernels)
    ranges = {
        key: (float(given_s[rows].min()), float(given_s[rows].max()))
        for key, rows in members.items()
    }
    return Roofline(fitted.coefficients_s, fitted.fallback_s, ranges)


def _rates_s(terms: Array, times_s: Array, allowed: NDArray[np.bool_]) -> tuple[float, ...]:
    weights = times_s**-_WEIGHT_POWER
    size = np.abs(terms).max(axis=0)
    used = allowed & (size > 0)
    scaled = terms[:, used] / size[used]
    solution, _ = nnls(scaled * weights[:, None], times_s * weights)
    rates = np.zeros(len(TERMS))
    rates[used] = solution / size[used]
    return tuple(rates.tolist())


class Trees:
    """Boosted trees on the logarithm of a kernel's time over its roofline.

    Args:
        text: the model in LightGBM's own text form.
        groups: group keys in the order of their codes; a group that is not among them is left
            uncorrected.
    """

    def __init__(self, text: str, groups: Sequence[str]) -> None:
        self.text, self.groups = text, tuple(groups)
        self._codes = {key: code for code, key in enumerate(groups)}
        self._booster = lightgbm.Booster(model_str=text)

    def log_corrections(self, kernels: Sequence[Kernel], roofline_s: Array) -> Array:
        """(n_kernels,) what to add to the logarithm of the roofline, within +-0.7."""
        if not kernels:
            return np.zeros(0)
        values = self._booster.predict(_tree_rows(kernels, roofline_s, self._codes), num_threads=1)
        known = np.array([group_key(kernel) in self._codes for kernel in kernels])
        clipped = np.clip(
            np.asarray(values, dtype=np.float64), -MAX_LOG_RESIDUAL, MAX_LOG_RESIDUAL
        )
        return np.where(known, clipped, 0.0)


def fit_trees(
    kernels: Sequence[Kernel], times_s: Array, roofline_s: Array, weights: Array, seed: int
) -> Trees:
    """Fit the correction of a roofline.

    Args:
        kernels: as they were timed.
        times_s: (n_kernels,) seconds.
        roofline_s: (n_kernels,) what the roofline says, in seconds.
        weights: (n_kernels,) how much an error there matters.
        seed: of the subsampling.
    """
    groups = sorted({group_key(kernel) for kernel in kernels})
    codes = {key: code for code, key in enumerate(groups)}
    target = np.clip(np.log(times_s / roofline_s), -MAX_LOG_RESIDUAL, MAX_LOG_RESIDUAL)
    data = lightgbm.Dataset(
        _tree_rows(kernels, roofline_s, codes),
        target,
        weight=weights,
        feature_name=["group", "log_roofline", *TREE_FEATURES],
        categorical_feature=["group"],
    )
    booster = lightgbm.train(_settings(seed), data, num_boost_round=N_ROUNDS)
    return Trees(booster.model_to_string(), groups)


N_ROUNDS = 250


def _settings(seed: int) -> dict[str, object]:
    return {
        "objective": "regression_l1",
        "learning_rate": 0.06,
        "num_leaves": 12,
        "min_data_in_leaf": 15,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "feature_fraction": 0.7,
        "cat_smooth": 5.0,
        "lambda_l2": 1.0,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def _tree_rows(kernels: Sequence[Kernel], roofline_s: Array, codes: Mapping[str, int]) -> Array:
    features = np.array([tree_features(kernel) for kernel in kernels])
    keys = np.array([codes.get(group_key(kernel), -1) for kernel in kernels], dtype=np.float64)
    return np.column_stack([keys, np.log(roofline_s), features])
