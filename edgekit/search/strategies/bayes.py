"""Bayesian optimisation with a Gaussian process that knows what a space knows of its networks.

Expected improvement (Jones, Schonlau & Welch 1998) under a Gaussian process whose covariance is
the mean of one exponential of the distance per kind of feature: choices one by one, sizes and
sums, and what is predicted before an evaluation (such as latency). No scale or noise is chosen:
the improvement is the mean over a small grid of them, each as probable as what was seen makes it.
The error is learnt as a logarithm, and all that are clearly bad count as equally bad: which of
the good ones is best is what counts. Ours; no paper has it in this form.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.stats import norm

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import (
    drawn_inside,
    first_of_equals,
    inside_first,
    neighbours,
    pool,
)
from edgekit.search.protocol.problem import (
    Floats,
    Observed,
    SearchProblem,
    fresh,
    genes_of,
    succeeded,
    values_of,
)
from edgekit.search.space import Genes

_SCALES = (0.3, 1.0, 3.0)
_NOISES = (0.01, 0.1)
_LEAST_WEIGHT = 0.03
"""Scales and noises that are less probable than that are left out of the mean."""

_CUT = 0.3
"""Bad from so far above the median, as a share of the distance from the median to the best."""

_N_NEAR = 5


@dataclass(frozen=True, slots=True)
class BayesStrategy:
    """Expected improvement of the first objective over a pool.

    The pool is all of a small space; of a large one 20,000 draws and the neighbours of the best.

    Attributes:
        n_start: random candidates inside the limits that come first, above 1.
    """

    n_start: int = 5

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n, done = problem.n_next(history), succeeded(history)
        if not n or len(done) < self.n_start:
            drawn = drawn_inside(problem, history)
            return fresh(drawn, history, min(n, max(1, self.n_start - len(history))))
        genes = _pool(problem, history)
        inside = (problem.margins(genes, history) <= 0).all(axis=1)
        gain = np.full(len(genes), -np.inf)
        gain[inside] = _expected_gain(problem, genes[inside], done) if inside.any() else 0.0
        ranked = genes[np.argsort(-gain, kind="stable")]
        return fresh(inside_first(problem, ranked, history), history, n)


def _pool(problem: SearchProblem, history: Sequence[Observed]) -> Genes:
    genes = pool(problem.space, problem.rng(len(history)))
    best = sorted(
        (e for e in history if problem.keeps(e) and e.values), key=lambda e: e.values or ()
    )
    near = [neighbours(problem.space, entry.candidate) for entry in best[:_N_NEAR]]
    both = np.concatenate([genes, *near])
    return np.asarray(both[first_of_equals(both)])


def _expected_gain(problem: SearchProblem, genes: Genes, done: Sequence[Observed]) -> Floats:
    """How much smaller than the best each row is expected to be ``(n,)``, in deviations."""
    known = genes_of(done)
    groups = _features(problem, np.concatenate([known, genes]))
    seen, asked = (slice(len(known)), slice(len(known), None))
    among = [_similar(group[seen], group[seen]) for group in groups]
    towards = [_similar(group[seen], group[asked]) for group in groups]
    target = _target(values_of(done)[:, 0])
    inside = np.array([problem.keeps(entry) for entry in done])
    best = target[inside].min() if inside.any() else target.max()
    gain = np.zeros(len(genes))
    for fit, weight in _probable(among, target):
        mean, deviation = fit.posterior(towards)
        z = (best - mean) / deviation
        gain += weight * deviation * (z * norm.cdf(z) + norm.pdf(z))
    return gain


def _features(problem: SearchProblem, genes: Genes) -> list[Floats]:
    """Kinds of features ``(n, features)``, each with a mean squared distance of 1."""
    costs = problem.costs(genes)
    known = costs[:, ~np.isnan(costs).any(axis=0)]
    space = problem.space
    kinds = [
        space.features(genes).astype(np.float64),
        space.ordered_features(genes),
        np.log(np.maximum(known, 1e-12)),
    ]
    spread = [2 * kind.var(axis=0).sum() for kind in kinds]
    return [k / np.sqrt(s) for k, s in zip(kinds, spread, strict=True) if s > 0]


_Similar = dict[float, Floats]
"""Covariances of one kind of feature, by scale."""


def _similar(a: Floats, b: Floats) -> _Similar:
    """Between the rows of ``(n, features)`` and ``(m, features)``: ``(n, m)`` for each scale."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    distance = np.sqrt(np.maximum(squared, 0.0))
    return {scale: np.exp(-scale * distance) for scale in _SCALES}


def _target(error: Floats) -> Floats:
    """Logarithms, bad ones cut off, of mean 0 and deviation 1; as they are if one is 0 or less."""
    value = np.log(error) if (error > 0).all() else error
    middle = float(np.median(value))
    value = np.minimum(value, middle + _CUT * (middle - value.min()) + 1e-9)
    return np.asarray((value - value.mean()) / (value.std() + 1e-9))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """A Gaussian process of given scales and noise; ``evidence`` is the log-likelihood."""

    evidence: float
    scales: tuple[float, ...]
    lower: Floats
    weights: Floats
    amplitude: float

    def posterior(self, towards: list[_Similar]) -> tuple[Floats, Floats]:
        """Mean and deviation ``(n,)`` where the known ones are so similar ``(known, n)``."""
        across = _covariance(towards, self.scales)
        explained = solve_triangular(self.lower, across, lower=True)
        variance = self.amplitude * np.maximum(1 - (explained**2).sum(axis=0), 1e-9)
        return across.T @ self.weights, np.sqrt(variance)


def _probable(among: list[_Similar], target: Floats) -> list[tuple[_Fit, float]]:
    """Processes and how probable each is, of all on the grid that are not improbable.

    Args:
        among: of the known ones ``(known, known)``, of each kind.
        target: ``(known,)``.
    """
    fits = [
        _fitted(among, scales, noise, target)
        for scales in itertools.product(_SCALES, repeat=len(among))
        for noise in _NOISES
    ]
    evidence = np.array([fit.evidence for fit in fits])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    return [(f, w) for f, w in zip(fits, weights.tolist(), strict=True) if w >= _LEAST_WEIGHT]


def _fitted(
    among: list[_Similar], scales: tuple[float, ...], noise: float, target: Floats
) -> _Fit:
    covariance = _covariance(among, scales) + noise * np.eye(len(target))
    lower = cholesky(covariance, lower=True)
    weights = cho_solve((lower, True), target)
    amplitude = max(float(target @ weights) / len(target), 1e-9)
    evidence = -0.5 * len(target) * np.log(amplitude) - np.log(np.diag(lower)).sum()
    return _Fit(float(evidence), scales, lower, weights, amplitude)


def _covariance(kinds: list[_Similar], scales: tuple[float, ...]) -> Floats:
    parts = [kind[scale] for kind, scale in zip(kinds, scales, strict=True)]
    return np.asarray(sum(parts) / len(parts))
