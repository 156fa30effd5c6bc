"""Correcting a predictor by whole networks that were measured: a few are enough to move a whole family.

Every network's relative error is a share-weighted sum of unknown factors: one common, one per
kernel group, one per distinct kernel. Each has a normal prior around zero, so the posterior is a
ridge regression (Hoerl and Kennard 1970) with three strengths, solved in the space of the measured
networks; the strengths are chosen by the marginal likelihood (Rasmussen and Williams 2006,
equation 2.30). A kernel that was not measured still gets the factors of its group.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgekit.core.kernel import Kernel
from edgekit.devices.features import group_key

Array = NDArray[np.float64]
Column = TypeVar("Column", str, Kernel)

_COMMON = (0.05, 0.2)
_GROUP = (0.02, 0.1, 0.3)
_KERNEL = (0.0, 0.05, 0.2, 0.5)
_NOISE = (0.003, 0.01, 0.03, 0.08)
_SMALLEST, _LARGEST = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Correction:
    """Factors on kernel costs.

    Attributes:
        common: on every kernel.
        groups: added for the kernels of a group.
        kernels: added for this very kernel.
    """

    common: float
    groups: Mapping[str, float]
    kernels: Mapping[Kernel, float]

    def factor(self, kernel: Kernel) -> float:
        """What to multiply a kernel's cost by, 0.25 to 4."""
        total = self.common + self.groups.get(group_key(kernel), 0.0)
        return min(max(total + self.kernels.get(kernel, 0.0), _SMALLEST), _LARGEST)


NO_CORRECTION = Correction(1.0, {}, {})


def fit_correction(
    networks: Sequence[Sequence[Kernel]], costs_s: Sequence[Array], labels_s: Array
) -> tuple[Correction, Array]:
    """Factors that explain measured networks, and how far each is off without itself.

    Args:
        networks: kernels of each network.
        costs_s: their predicted costs, ``(n_kernels,)`` each, in seconds.
        labels_s: (n_networks,) measured, in seconds.

    Returns:
        The correction, and (n_networks,) leave-one-out errors: log of label over prediction.
    """
    totals = np.array([costs.sum() for costs in costs_s])
    ratios = labels_s / totals - 1
    groups = sorted({group_key(kernel) for network in networks for kernel in network})
    kernels = list(dict.fromkeys(kernel for network in networks for kernel in network))
    by_group = _shares([[group_key(k) for k in network] for network in networks], costs_s, groups)
    by_kernel = _shares(networks, costs_s, kernels)
    grams = (np.ones((len(totals),) * 2), by_group @ by_group.T, by_kernel @ by_kernel.T)
    strengths, noise = _most_likely(grams, ratios)
    covariance = sum(s**2 * gram for s, gram in zip(strengths, grams, strict=True))
    inverse = np.linalg.inv(covariance + noise**2 * np.eye(len(totals)))
    alpha = inverse @ ratios
    correction = Correction(
        1.0 + strengths[0] ** 2 * float(alpha.sum()),
        dict(zip(groups, (strengths[1] ** 2 * by_group.T @ alpha).tolist(), strict=True)),
        dict(zip(kernels, (strengths[2] ** 2 * by_kernel.T @ alpha).tolist(), strict=True)),
    )
    left_out = ratios - alpha / np.diag(inverse)
    return correction, np.log((1 + ratios) / np.maximum(1 + left_out, _SMALLEST))


def conformal_interval(log_errors: Array, coverage: float = 0.9) -> tuple[float, float]:
    """Bounds that a new error keeps with the given probability, if it is exchangeable with these.

    Split conformal prediction (Lei et al. 2018, arXiv 1604.04173, section 2.2), one quantile per
    side.

    Args:
        log_errors: (n,) errors of networks that were not fitted; not empty.
        coverage: wanted probability.
    """
    ordered = np.sort(log_errors)
    n = ordered.size
    upper = min(n, math.ceil((n + 1) * (1 + coverage) / 2)) - 1
    return float(ordered[n - 1 - upper]), float(ordered[upper])


def _shares(
    rows: Sequence[Sequence[Column]], costs_s: Sequence[Array], columns: Sequence[Column]
) -> Array:
    """(n_networks, n_columns) share of each column's kernels in a network's predicted time."""
    index = {value: i for i, value in enumerate(columns)}
    shares = np.zeros((len(rows), len(columns)))
    for row, (values, costs) in enumerate(zip(rows, costs_s, strict=True)):
        np.add.at(shares[row], [index[value] for value in values], costs / costs.sum())
    return shares


def _most_likely(
    grams: Sequence[Array], ratios: Array
) -> tuple[tuple[float, float, float], float]:
    """Prior deviations and noise with the highest marginal likelihood on a grid."""
    best = (-np.inf, (_COMMON[0], _GROUP[0], _KERNEL[0]), _NOISE[-1])
    for common, group, kernel in itertools.product(_COMMON, _GROUP, _KERNEL):
        strengths = (common, group, kernel)
        prior = sum(s**2 * gram for s, gram in zip(strengths, grams, strict=True))
        values, vectors = np.linalg.eigh(prior)
        projected = (vectors.T @ ratios) ** 2
        for noise in _NOISE:
            variances = np.maximum(values, 0) + noise**2
            likelihood = -float((projected / variances + np.log(variances)).sum()) / 2
            if likelihood > best[0]:
                best = (likelihood, strengths, noise)
    return best[1], best[2]
