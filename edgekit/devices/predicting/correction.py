"""Correcting a predictor by whole networks that were measured: a few move a whole family.

A network's relative error is taken for a sum of unknowns: a common factor, a factor on the share
of every kernel group, a time per kernel of every group, and, where the costs are those of another
device, a factor on the share of every kind of work inside a group: a provider that moves bytes as
fast and multiplies twice as fast as the known one differs there, not in its kernels. Each has a
normal prior around zero, so the posterior is a ridge regression (Hoerl and Kennard 1970) with one
strength each, solved in the space of the measured networks; the strengths are those of highest
marginal likelihood on a grid (Rasmussen and Williams 2006, equation 2.30).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.features import TERMS, group_key

Array = NDArray[np.float64]

N_FOLDS = 5
_COMMON = (0.05, 0.2)
_SHARES = (0.02, 0.1, 0.3)
_COUNTS = (0.0, 0.3, 1.0)
_WORK = (0.0, 0.1, 0.3, 0.6)
_NOISE = (0.003, 0.006, 0.012, 0.03, 0.08, 0.15)
_UNIT_S = 1e-6
_LEAST, _MOST = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Correction:
    """What to do to kernel costs.

    Attributes:
        common: factor on every kernel.
        factors: added to it for the kernels of a group.
        constants_s: added to the cost of the kernels of a group, in seconds.
        scale: factor on the given costs before all of this.
        work: added to the factor for the kernels of a group, by kind of work (``TERMS``), in
            proportion to the share of a kernel's cost that is work of this kind.
    """

    common: float
    factors: Mapping[str, float]
    constants_s: Mapping[str, float]
    scale: float = 1.0
    work: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def applied_s(
        self, kernels: Sequence[Kernel], costs_s: Array, shares: Array | None = None
    ) -> Array:
        """(n_kernels,) corrected seconds, from a quarter to four times the scaled ones.

        Args:
            kernels: of one network, or any others.
            costs_s: (n_kernels,) what they are thought to cost.
            shares: (n_kernels, n_terms) what of it is work of each kind; needed if there are
                factors on work.
        """
        costs_s = self.scale * costs_s
        keys = [group_key(kernel) for kernel in kernels]
        factors = np.array([self.common + self.factors.get(key, 0.0) for key in keys])
        if self.work:
            assert shares is not None, "factors on work need shares of work"
            none = (0.0,) * len(TERMS)
            factors += (np.array([self.work.get(key, none) for key in keys]) * shares).sum(axis=1)
        constants_s = np.array([self.constants_s.get(key, 0.0) for key in keys])
        corrected_s = factors * costs_s + constants_s
        return np.asarray(np.clip(corrected_s, _LEAST * costs_s, _MOST * costs_s))


NO_CORRECTION = Correction(1.0, {}, {})


def fit_correction(
    networks: Sequence[Sequence[Kernel]],
    costs_s: Sequence[Array],
    labels_s: Array,
    *,
    shares: Sequence[Array] | None = None,
) -> Correction:
    """What explains the labels of measured networks.

    Args:
        networks: kernels of each network; at least one network.
        costs_s: their predicted costs, ``(n_kernels,)`` each, in seconds.
        labels_s: (n_networks,) measured, in seconds.
        shares: given if the costs are those of another device: ``(n_kernels, n_terms)`` each,
            what of a kernel's cost is work of each kind. The other device may be many times as
            fast: the scale is the median ratio, and only the rest has a prior.
    """
    groups = sorted({group_key(kernel) for network in networks for kernel in network})
    totals_s = np.array([costs.sum() for costs in costs_s])
    scale = 1.0 if shares is None else float(np.median(labels_s / totals_s))
    totals_s = scale * totals_s
    costs_s = [scale * costs for costs in costs_s]
    by_group, counts = np.zeros((2, len(networks), len(groups)))
    by_work = np.zeros((len(networks), len(groups), len(TERMS)))
    for row, (network, costs) in enumerate(zip(networks, costs_s, strict=True)):
        columns = [groups.index(group_key(kernel)) for kernel in network]
        np.add.at(by_group[row], columns, costs / totals_s[row])
        np.add.at(counts[row], columns, _UNIT_S / totals_s[row])
        if shares is not None:
            np.add.at(by_work[row], columns, shares[row] * (costs / totals_s[row])[:, None])
    designs = [np.ones((len(networks), 1)), by_group, counts]
    strengths: list[tuple[float, ...]] = [_COMMON, _SHARES, _COUNTS]
    if shares is not None:
        designs.append(by_work.reshape(len(networks), -1))
        strengths.append(_WORK)
    common, factors, constants, *work = _posterior(designs, strengths, labels_s / totals_s - 1)
    kinds = [rates.reshape(len(groups), len(TERMS)).tolist() for rates in work]
    return Correction(
        1.0 + float(common[0]),
        dict(zip(groups, factors.tolist(), strict=True)),
        dict(zip(groups, (constants * _UNIT_S).tolist(), strict=True)),
        scale,
        dict(zip(groups, map(tuple, kinds[0]), strict=True)) if kinds else {},
    )


def left_out_errors(
    networks: Sequence[Sequence[Kernel]],
    costs_s: Sequence[Array],
    labels_s: Array,
    *,
    shares: Sequence[Array] | None = None,
) -> Array:
    """(n_networks,) log(label / corrected prediction), each by a fit to the other four fifths.

    Args:
        networks: as for ``fit_correction``; at least two.
        costs_s: as there.
        labels_s: as there.
        shares: as there.
    """
    errors = np.empty(len(networks))
    rows = range(len(networks))
    for fold in range(min(N_FOLDS, len(networks))):
        fitted = [i for i in rows if i % N_FOLDS != fold]
        correction = fit_correction(
            [networks[i] for i in fitted],
            [costs_s[i] for i in fitted],
            labels_s[fitted],
            shares=None if shares is None else [shares[i] for i in fitted],
        )
        for i in rows[fold::N_FOLDS]:
            own = None if shares is None else shares[i]
            predicted_s = correction.applied_s(networks[i], costs_s[i], own).sum()
            errors[i] = math.log(labels_s[i] / predicted_s)
    return errors


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


def _posterior(
    designs: Sequence[Array], grid: Sequence[Sequence[float]], ratios: Array
) -> list[Array]:
    """Mean of the coefficients of each design matrix."""
    grams = [design @ design.T for design in designs]
    strengths, noise = _most_likely(grams, grid, ratios)
    covariance = np.sum([s**2 * gram for s, gram in zip(strengths, grams, strict=True)], axis=0)
    alpha = np.linalg.solve(covariance + noise**2 * np.eye(ratios.size), ratios)
    return [s**2 * design.T @ alpha for s, design in zip(strengths, designs, strict=True)]


def _most_likely(
    grams: Sequence[Array], grid: Sequence[Sequence[float]], ratios: Array
) -> tuple[tuple[float, ...], float]:
    """Prior deviations and noise with the highest marginal likelihood on a grid."""
    best_likelihood, best = -np.inf, (tuple(values[0] for values in grid), _NOISE[-1])
    for strengths in itertools.product(*grid):
        prior = np.sum([s**2 * gram for s, gram in zip(strengths, grams, strict=True)], axis=0)
        values, vectors = np.linalg.eigh(prior)
        projected = (vectors.T @ ratios) ** 2
        for noise in _NOISE:
            variances = np.maximum(values, 0) + noise**2
            likelihood = -float((projected / variances + np.log(variances)).sum())
            if likelihood > best_likelihood:
                best_likelihood, best = likelihood, (strengths, noise)
    return best
