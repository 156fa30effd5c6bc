"""RoBoT: learn how to mix training-free metrics, then walk down the ranking.

He, Shu, Dai & Low 2024 (arXiv 2403.07591, algorithm 1). Exploration: Bayesian optimisation over
the weights of a linear mix of metrics; each round the candidate that the mix puts first is
evaluated, and costs nothing where it was evaluated before. Exploitation: what is left goes down
the ranking of the best mix. As the authors' code has it: as many rounds as there are evaluations,
one uniform start, weights in -1..1, UCB with kappa 2.576 on a Gaussian process (Matern 5/2, noise
1e-6, targets normalised), metrics scaled to 0..1 over the pool by their extremes, a missing value
adding nothing, and of equally good mixes the later one.

Where we differ in every mode: candidates predicted outside the limits (before anything was
evaluated: the rounds are gone through again with every question) are not in the pool, and an
evaluation that fails counts as the worst seen. What ``robot`` changes besides can be switched one
by one, see ``RobotStrategy``; with none of it this is ``robot-published``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.protocol.pool import inside_first
from edgekit.search.protocol.problem import Floats, Observed, SearchProblem, fresh

_KAPPA = 2.576
_NOISE = 1e-6
_N_RESTARTS = 5
_N_DRAWN = 10_000
_N_CLIMBS = 10

Weights = tuple[float, ...]


def by_extremes(values: Floats) -> Floats:
    """Each column scaled to 0..1 by its extremes; NaN becomes 0.

    Args:
        values: ``(candidates, metrics)`` float64.
    """
    low, high = _extreme(np.nanmin, values), _extreme(np.nanmax, values)
    span = np.where(high > low, high - low, 1.0)
    return np.asarray(np.nan_to_num((values - low) / span))


def by_rank(values: Floats) -> Floats:
    """Each column as the rank of its values, 0..1; NaN becomes 0.

    Synflow, fisher and grasp reach over many powers of ten: by extremes nearly all candidates are
    alike.

    Args:
        values: ``(candidates, metrics)`` float64.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.where(np.isnan(values), -np.inf, values), axis=0, method="average")
    return np.asarray((ranks - 1) / max(1, len(values) - 1) * ~np.isnan(values))


def _extreme(of: Callable[..., Any], values: Floats) -> Floats:
    """Of each column, 0 where all of it is NaN."""
    known = ~np.isnan(values).all(axis=0)
    result = np.zeros(values.shape[1])
    result[known] = of(values[:, known], axis=0)
    return result


@dataclass(frozen=True, slots=True)
class RobotStrategy:
    """RoBoT over the pool of ``SearchProblem.scores``; evaluates one candidate at a time.

    Attributes:
        normalised: scales metrics ``(candidates, metrics)`` to 0..1.
        lowest_weight: -1 as published; 0 where every metric is known to be better high.
        begins_equal: whether the first mix has equal weights instead of random ones.
        learns_noise: whether the noise of the Gaussian process is fitted instead of 1e-6.
    """

    normalised: Callable[[Floats], Floats] = by_extremes
    lowest_weight: float = -1.0
    begins_equal: bool = False
    learns_noise: bool = False

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``.

        Raises:
            InputError: the problem has no scores.
        """
        n = problem.n_next(history)
        if problem.scores is None:
            raise InputError(
                "robot chooses by training-free metrics, the problem has none; give it scores"
            )
        if not n:
            return []
        genes, metrics = problem.scores.genes, self.normalised(problem.scores.values)
        inside = (problem.margins(genes) <= 0).all(axis=1)
        if not inside.any():
            return fresh(inside_first(problem, genes), history, n)
        genes, metrics = genes[inside], metrics[inside]
        candidate, weights = self._explored(problem, history, genes, metrics)
        if candidate is not None:
            return [candidate]
        ranking = np.argsort(-metrics @ np.array(weights), kind="stable")
        rest = inside_first(problem, problem.scores.genes)
        return fresh(np.concatenate([genes[ranking], rest]), history, n)

    def _explored(
        self,
        problem: SearchProblem,
        history: Sequence[Observed],
        genes: NDArray[np.int64],
        metrics: Floats,
    ) -> tuple[Candidate | None, Weights]:
        """The rounds again from the first: what they ask for next, or the best weights."""
        known = {entry.candidate: entry.values for entry in history}
        worst = min((-values[0] for values in known.values() if values), default=0.0)
        tried: list[tuple[Weights, float]] = []
        for _ in range(problem.n_evaluations):
            weights = self._weights(problem.seed, tuple(tried), metrics.shape[1])
            top = int(np.argmax(metrics @ np.array(weights)))
            candidate = Candidate(tuple(genes[top].tolist()))
            if candidate not in known:
                return candidate, weights
            values = known[candidate]
            tried.append((weights, -values[0] if values else worst))
        best = max(value for _, value in tried)
        return None, [weights for weights, value in tried if value == best][-1]

    def _weights(
        self, seed: int, tried: tuple[tuple[Weights, float], ...], n_metrics: int
    ) -> Weights:
        if not tried and self.begins_equal:
            return (1.0,) * n_metrics
        return _suggested(seed, tried, n_metrics, self.lowest_weight, self.learns_noise)


@lru_cache(maxsize=10_000)
def _suggested(
    seed: int,
    tried: tuple[tuple[Weights, float], ...],
    n_metrics: int,
    lowest: float,
    learns_noise: bool,
) -> Weights:
    """The weights whose upper confidence bound is highest; uniform where nothing was tried.

    A pure function, kept because a strategy goes through its rounds again with every question.
    """
    rng = np.random.default_rng((seed, len(tried)))
    drawn = rng.uniform(lowest, 1, (_N_DRAWN if tried else 1, n_metrics))
    if not tried:
        return tuple(drawn[0].tolist())
    bound = _upper_bound(tried, seed, learns_noise)
    starts = rng.uniform(lowest, 1, (_N_CLIMBS, n_metrics))
    found = [drawn[int(np.argmax(bound(drawn)))], *(_climbed(bound, s, lowest) for s in starts)]
    best = found[int(np.argmax(bound(np.array(found))))]
    return tuple(best.tolist())


def _upper_bound(
    tried: tuple[tuple[Weights, float], ...], seed: int, learns_noise: bool
) -> Callable[[Floats], Floats]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    kernel = Matern(nu=2.5)
    if learns_noise:
        kernel = kernel + WhiteKernel(0.1, (1e-4, 1.0))
    process = GaussianProcessRegressor(
        kernel,
        alpha=_NOISE,
        normalize_y=True,
        n_restarts_optimizer=_N_RESTARTS,
        random_state=seed,
    )
    points, values = zip(*tried, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(np.array(points), np.array(values))

    def bound(weights: Floats) -> Floats:
        mean, deviation = process.predict(weights, return_std=True)
        return np.asarray(mean + _KAPPA * deviation)

    return bound


def _climbed(bound: Callable[[Floats], Floats], start: Floats, lowest: float) -> Floats:
    from scipy.optimize import minimize

    def objective(weights: Floats) -> float:
        return -float(bound(weights[None])[0])

    found = minimize(objective, start, method="L-BFGS-B", bounds=[(lowest, 1.0)] * len(start))
    return np.asarray(np.clip(found.x, lowest, 1.0))
