"""SimQ-NAS: LINAS over a vector of architecture and precision genes.

Cummings et al. 2022 (LINAS, arXiv 2205.10358) and Sridhar et al. 2023 (SimQ-NAS, arXiv
2312.13301): measure a population, fit a light predictor per objective on everything measured so
far, let an evolutionary algorithm search on the predictors, measure its best, repeat. Only what
was measured is reported.

As published: NSGA-II inside, masked inactive genes, and with ``fit_error=published_model``
(strategy ``simq-published``) one-hot features under ridge or RBF-SVR, chosen by 5-fold
cross-validation. Where we differ: the accuracy of few networks is learnt from ordered features
(``ordered_model``); the latency and size of a candidate come from the cost table instead of a
learnt predictor; limits are constraints of the inner search, and with any of them half of a
population is the most accurate predicted inside, half is spread over the latency range; without
limits, where a front is wanted, each next candidate is the one predicted to add most to the
hypervolume of what is measured and of those before it; candidates measured before make room for
the next (the released code measures some twice); the first population is drawn inside the limits,
and up to half of it are regular networks (such as the largest in int8), which random genes almost
never are; where a space knows beforehand what harms its network, the rest of it comes from an
inner search on that; each inner search has a seed of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pareto import gains
from edgekit.search.protocol.pool import drawn_inside, inside_first
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
from edgekit.search.strategies.nsga2 import evolve

_N_FOLDS = 5
_DETAIL = 0.3

ErrorModel = Callable[[Genes], NDArray[np.float64]]
"""Canonical genes ``(n, genes)`` to the predicted first objective ``(n,)``."""


def published_model(problem: SearchProblem, history: Sequence[Observed]) -> ErrorModel:
    """Ridge or RBF-SVR on masked one-hot genes, whichever cross-validates better.

    Args:
        problem: gives the features and the seed of the folds.
        history: at least 5 measured candidates.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    features = problem.space.features
    x, y = features(genes_of(history)), _percent(history)
    folds = KFold(_N_FOLDS, shuffle=True, random_state=problem.seed)
    grids = (
        (Ridge(), {"ridge__alpha": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0]}),
        (SVR(epsilon=0.0), {"svr__C": [1.0, 3.0, 10.0, 30.0, 100.0]}),
    )
    searches = [
        GridSearchCV(
            make_pipeline(StandardScaler(), model),
            grid,
            cv=folds,
            scoring="neg_mean_absolute_error",
        ).fit(x, y)
        for model, grid in grids
    ]
    model = max(searches, key=lambda search: search.best_score_).best_estimator_
    return lambda genes: np.asarray(model.predict(features(genes)) / 100)


def ordered_model(problem: SearchProblem, history: Sequence[Observed]) -> ErrorModel:
    """Bayesian ridge that knows the order of kernels and expansions, and their sums.

    One-hot genes forget that 5 lies between 3 and 7 and that a larger kernel helps in most blocks,
    and 32 networks are too few to learn it again. Here sizes and their sums carry most of the
    answer; one-hot genes, scaled down, add what is special to one block or one size. The strength
    of the ridge is the most probable one (MacKay 1992), without folds.

    Args:
        problem: gives the features.
        history: at least 2 measured candidates.
    """
    from sklearn.linear_model import BayesianRidge

    space = problem.space
    genes = genes_of(history)
    n_ordered = space.ordered_features(genes).shape[1]

    def both(genes: Genes) -> NDArray[np.float64]:
        return np.concatenate([space.ordered_features(genes), space.features(genes)], axis=1)

    x = both(genes)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale == 0] = 1.0
    scale[n_ordered:] /= _DETAIL
    model = BayesianRidge().fit((x - mean) / scale, _percent(history))
    return lambda genes: np.asarray(model.predict((both(genes) - mean) / scale) / 100)


def _percent(history: Sequence[Observed]) -> Floats:
    return np.asarray(100 * values_of(history)[:, 0])


@dataclass(frozen=True, slots=True)
class SimQStrategy:
    """LINAS with precision genes.

    Needs five measured candidates for its first predictor; until then it asks as for the first
    population.

    Attributes:
        n_generations: generations of the inner search, above 0.
        inner_population: its population, above 0.
        fit_error: learns the accuracy from what was measured.
    """

    n_generations: int = 120
    inner_population: int = 100
    fit_error: Callable[[SearchProblem, Sequence[Observed]], ErrorModel] = ordered_model

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n = problem.n_next(history)
        if n <= 0:
            return []
        done = succeeded(history)
        if len(done) < _N_FOLDS:
            first = _first_regular(problem)
            rest = self._of_least_harm(problem)
            rest = drawn_inside(problem, history) if rest is None else rest
            return fresh(np.concatenate([first, rest]), history, n)
        error = self.fit_error(problem, done)
        found = self._evolved(problem, error, history)
        both = np.concatenate([found, drawn_inside(problem, history)])
        return fresh(inside_first(problem, both, history), history, n)

    def _of_least_harm(self, problem: SearchProblem) -> Genes | None:
        """What an inner search on the harm that is known beforehand finds; None without any."""
        space = problem.space
        if space.harm(np.array([space.largest().genes])) is None:
            return None

        def error(genes: Genes) -> Floats:
            harm = space.harm(genes)
            assert harm is not None
            return harm

        return self._evolved(problem, error, [])

    def _evolved(
        self, problem: SearchProblem, error: ErrorModel, history: Sequence[Observed]
    ) -> Genes:
        """Everything an inner search on predicted error and latency has seen, best first.

        Returns:
            Canonical genes ``(n, genes)``. Without limits, those that add most to a front, then
            the others. Else those predicted inside the limits, in turn the one with the smallest
            error and the next of a spread over their latency range (so each stands there twice),
            then the others, nearest to the limits first.
        """
        space = problem.space

        def score(genes: Genes) -> tuple[Floats, Floats]:
            genes = space.canonical(genes)
            objectives = np.stack([error(genes), _latency(problem, genes)], axis=1)
            return objectives, problem.margins(genes, history).clip(min=0).sum(axis=1)

        start = [_regular_inside_limits(problem), drawn_inside(problem, [])]
        genes, objectives, violation = evolve(
            score,
            np.concatenate(start)[: self.inner_population],
            space.n_choices,
            n_generations=self.n_generations,
            rng=problem.rng(len(history)),
        )
        genes, first = np.unique(space.canonical(genes), axis=0, return_index=True)
        objectives, violation = objectives[first], violation[first]
        if not _is_limited(problem):
            return genes[_by_gain(problem, genes, objectives, history)]
        inside = violation == 0
        outside = genes[~inside][np.argsort(violation[~inside], kind="stable")]
        found = genes[inside]
        best = np.argsort(objectives[inside, 0], kind="stable")
        spread = _spread(objectives[inside], problem.population)
        return np.concatenate([found[np.stack([best, spread], axis=1).ravel()], outside])


def _regular_inside_limits(problem: SearchProblem) -> Genes:
    """The regular networks of the space inside the limits, costliest first."""
    genes = problem.space.regular()
    genes = genes[(problem.margins(genes) <= 0).all(axis=1)]
    return np.asarray(genes[np.argsort(-_latency(problem, genes), kind="stable")])


def _is_limited(problem: SearchProblem) -> bool:
    return any(np.isfinite(objective.limit) for objective in problem.objectives)


def _first_regular(problem: SearchProblem) -> Genes:
    """Half a population of regular networks: the costliest inside limits, else of all costs."""
    genes, n = _regular_inside_limits(problem), problem.population // 2
    if _is_limited(problem) or not len(genes):
        return genes[:n]
    return genes[np.unique(np.linspace(0, len(genes) - 1, n).astype(np.int64))]


def _by_gain(
    problem: SearchProblem,
    genes: Genes,
    objectives: NDArray[np.float64],
    history: Sequence[Observed],
) -> NDArray[np.int64]:
    """Indices of candidates, those first that add most to the hypervolume, one after the other.

    Args:
        problem: says how many are asked for at once.
        genes: ``(n, genes)``, canonical and distinct.
        objectives: ``(n, 2)``, predicted error and latency.
        history: everything evaluated so far; its candidates come last.
    """
    done, seen = succeeded(history), {entry.candidate for entry in history}
    is_new = np.array([Candidate(tuple(row)) not in seen for row in genes.tolist()], np.bool_)
    known = np.empty((0, 2))
    if done:
        errors, latencies = values_of(done)[:, 0], _latency(problem, genes_of(done))
        known = np.stack([errors, latencies], axis=1)
    worst = np.concatenate([known, objectives, [[1.0, 0.0]]]).max(axis=0)
    left, taken = np.flatnonzero(is_new), list[int]()
    for _ in range(min(problem.population, len(left))):
        found = gains(objectives[left], known, worst)
        place = int(found.argmax())
        if found[place] <= 0:
            break
        taken.append(int(left[place]))
        known = np.concatenate([known, objectives[taken[-1:]]])
        left = np.delete(left, place)
    best = left[np.argsort(objectives[left, 0], kind="stable")]
    return np.concatenate([np.array(taken, np.int64), best, np.flatnonzero(~is_new)])


def _latency(problem: SearchProblem, genes: Genes) -> Floats:
    """The prediction ``(n,)`` of the second objective; 0 where there is no second."""
    costs = problem.costs(genes)
    return np.asarray(costs[:, 1] if costs.shape[1] > 1 else np.zeros(len(genes)))


def _spread(objectives: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Indices ``(n,)``, best predicted first, spread over the latency range.

    The range is divided into bins that hold equally many; the candidate with the smallest error of
    each bin comes first, then the second of each, and so on.

    Args:
        objectives: ``(n, 2)``, error and latency; may be empty.
        n_bins: above 0.
    """
    error, latency = objectives.T
    by_latency = np.argsort(latency, kind="stable")
    bins = np.empty(len(error), dtype=np.int64)
    bins[by_latency] = np.arange(len(error)) * n_bins // max(1, len(error))
    by_bin = np.lexsort((error, bins))
    _, start, n_in_bin = np.unique(bins[by_bin], return_index=True, return_counts=True)
    place = np.empty(len(error), dtype=np.int64)
    place[by_bin] = np.arange(len(error)) - np.repeat(start, n_in_bin)
    return np.lexsort((error, place))
