"""SimQ-NAS: LINAS over a vector of architecture and precision genes.

Cummings et al. 2022 (LINAS, arXiv 2205.10358) and Sridhar et al. 2023 (SimQ-NAS, arXiv
2312.13301): measure a population, fit a light predictor per objective on everything measured so
far, let an evolutionary algorithm search on the predictors, measure its best, repeat. Only what
was measured is reported.

As published: one-hot features with inactive genes masked, ridge or RBF-SVR chosen by 5-fold
cross-validation for the accuracy, NSGA-II inside. Where we differ: the latency and size of a
candidate come from the cost table instead of a learnt predictor; limits are constraints of the
inner search; candidates measured before are removed and the next fronts move up (the released code
measures some twice); the first population is drawn inside the limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.search.costs import Genes
from edgekit.search.problem import Evaluated, SearchProblem, fresh


@dataclass(frozen=True, slots=True)
class SimQStrategy:
    """LINAS with precision genes.

    Attributes:
        n_generations: generations of the inner search, above 0.
        inner_population: its population, above 0.
    """

    n_generations: int = 120
    inner_population: int = 100

    def ask(self, problem: SearchProblem, history: Sequence[Evaluated]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n = min(problem.population, problem.n_evaluations - len(history))
        if n <= 0:
            return []
        if len(history) < problem.population:
            return fresh(_inside_limits(problem), history, n)
        score = AccuracyModel(problem, history)
        genes, objectives = self._evolve(problem, score)
        return fresh(_diverse(genes, objectives, problem), history, n)

    def _evolve(
        self, problem: SearchProblem, score: AccuracyModel
    ) -> tuple[Genes, NDArray[np.float64]]:
        """NSGA-II (Deb et al. 2002) on predicted error and latency.

        Returns:
            Every distinct candidate it saw inside the limits, ``(n, genes)``, and their objectives
            ``(n, 2)``: predicted error, 0..1 or a little beyond, and latency in seconds.
        """
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.optimize import minimize

        space, seen = problem.space, []

        class Inner(Problem):  # type: ignore[misc]
            def _evaluate(self, x: Genes, out: dict[str, Any], *_: object, **__: object) -> None:
                genes = space.canonical(x.astype(np.int64))
                error = 1.0 - score(genes)
                latency = problem.table.latencies_s(space, genes)
                out["F"], out["G"] = np.stack([error, latency], axis=1), problem.margins(genes)
                inside = (out["G"] <= 0).all(axis=1)
                seen.append((genes[inside], out["F"][inside]))

        upper = np.array(space.n_choices) - 1
        inner = Inner(n_var=len(upper), n_obj=2, n_ieq_constr=2, xl=0, xu=upper, vtype=int)
        algorithm = NSGA2(
            pop_size=self.inner_population,
            sampling=_inside_limits(problem)[: self.inner_population],
            crossover=SBX(prob=0.9, eta=15, vtype=float, repair=RoundingRepair()),
            mutation=PM(
                prob=1.0, prob_var=2 / len(upper), eta=20, vtype=float, repair=RoundingRepair()
            ),
            eliminate_duplicates=True,
        )
        minimize(inner, algorithm, ("n_gen", self.n_generations), seed=problem.seed, verbose=False)
        genes, figures = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        _, first = np.unique(genes, axis=0, return_index=True)
        return genes[np.sort(first)], figures[np.sort(first)]


def _inside_limits(problem: SearchProblem) -> Genes:
    """Random genes, those inside the limits first, then the nearest to them."""
    drawn = problem.space.sample(20_000, problem.rng(0))
    worst = problem.margins(drawn).max(axis=1)
    inside = np.flatnonzero(worst <= 0)
    outside = np.argsort(worst, kind="stable")
    outside = outside[worst[outside] > 0]
    return drawn[np.concatenate([inside, outside])]


def _diverse(genes: Genes, figures: NDArray[np.float64], problem: SearchProblem) -> Genes:
    """Predicted best first, spread over the latency range.

    The range is divided into as many bins as the population has places; the best predicted
    candidate of each bin comes first, then the second of each, and so on.
    """
    n_bins = problem.population
    edges = np.quantile(figures[:, 1], np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(edges, figures[:, 1])
    order = np.lexsort((figures[:, 0], bins))
    rank = np.empty(len(order), dtype=np.int64)
    counts: dict[int, int] = {}
    for index in order:
        key = int(bins[index])
        rank[index] = counts.get(key, 0)
        counts[key] = rank[index] + 1
    return genes[np.lexsort((figures[:, 0], rank))]


class AccuracyModel:
    """Ridge or RBF-SVR on masked one-hot genes, whichever has the smaller cross-validated error."""

    def __init__(self, problem: SearchProblem, history: Sequence[Evaluated]) -> None:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR

        self._space = problem.space
        x = self._space.features(np.array([entry.candidate.genes for entry in history]))
        y = 100 * np.array([entry.accuracy.top1 for entry in history])
        folds = KFold(min(5, len(history)), shuffle=True, random_state=problem.seed)
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
        self._model = max(searches, key=lambda search: search.best_score_).best_estimator_

    def __call__(self, genes: Genes) -> NDArray[np.float64]:
        """Predicted top-1 ``(n,)``, 0..1 or a little beyond."""
        predicted: NDArray[np.float64] = self._model.predict(self._space.features(genes)) / 100
        return predicted
