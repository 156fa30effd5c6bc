"""Bayesian optimisation with a Gaussian process that knows what a space knows of its networks.

Expected improvement (Jones, Schonlau & Welch 1998) under a Gaussian process whose covariance is
the mean of one squared exponential per kind of feature: choices one by one, sizes and sums, and
what is predicted before an evaluation (such as latency). The scale of each is the most probable
one (type II maximum likelihood on a small grid). The error is learnt as a logarithm, bad ones cut
off: which of the good ones is best is what counts. Ours; no paper has it in this form.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.stats import norm

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import drawn_inside, inside_first, neighbours, pool
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
_CUT = 2.0
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
    return np.unique(np.concatenate([genes, *near]), axis=0)


def _expected_gain(problem: SearchProblem, genes: Genes, done: Sequence[Observed]) -> Floats:
    """How much smaller than the best each row is expected to be ``(n,)``, in deviations."""
    known = genes_of(done)
    groups = _features(problem, np.concatenate([known, genes]))
    far = [_distances(group[: len(known)], group) for group in groups]
    target = _target(values_of(done)[:, 0])
    mean, deviation = _posterior([d[:, : len(known)] for d in far], far, target)
    mean, deviation = mean[len(known) :], deviation[len(known) :]
    inside = np.array([problem.keeps(entry) for entry in done])
    best = target[inside].min() if inside.any() else target.max()
    z = (best - mean) / deviation
    return np.asarray(deviation * (z * norm.cdf(z) + norm.pdf(z)))


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


def _distances(a: Floats, b: Floats) -> Floats:
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))


def _target(error: Floats) -> Floats:
    """Logarithms, bad ones cut off, of mean 0 and deviation 1; as they are if one is 0 or less."""
    value = np.log(error) if (error > 0).all() else error
    middle = float(np.median(value))
    value = np.minimum(value, middle + _CUT * (middle - value.min()) + 1e-9)
    return np.asarray((value - value.mean()) / (value.std() + 1e-9))


def _posterior(
    among: list[Floats], towards: list[Floats], target: Floats
) -> tuple[Floats, Floats]:
    """Mean and deviation ``(n,)`` under the most probable scales and noise.

    Args:
        among: squared distances ``(known, known)`` of each kind.
        towards: squared distances ``(known, n)`` of each kind.
        target: ``(known,)``.
    """
    found = max(
        (
            _fitted(among, scales, noise, target)
            for scales in itertools.product(_SCALES, repeat=len(among))
            for noise in _NOISES
        ),
        key=lambda fit: fit.evidence,
    )
    across = _covariance(towards, found.scales)
    mean = across.T @ found.weights
    explained = solve_triangular(found.lower, across, lower=True)
    variance = found.amplitude * np.maximum(1 - (explained**2).sum(axis=0), 1e-9)
    return mean, np.sqrt(variance)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    evidence: float
    scales: tuple[float, ...]
    lower: Floats
    weights: Floats
    amplitude: float


def _fitted(among: list[Floats], scales: tuple[float, ...], noise: float, target: Floats) -> _Fit:
    covariance = _covariance(among, scales) + noise * np.eye(len(target))
    lower = cholesky(covariance, lower=True)
    weights = cho_solve((lower, True), target)
    amplitude = max(float(target @ weights) / len(target), 1e-9)
    evidence = -0.5 * len(target) * np.log(amplitude) - np.log(np.diag(lower)).sum()
    return _Fit(float(evidence), scales, lower, weights, amplitude)


def _covariance(distances: list[Floats], scales: tuple[float, ...]) -> Floats:
    parts = [np.exp(-scale * d) for d, scale in zip(distances, scales, strict=True)]
    return np.asarray(np.mean(parts, axis=0))
