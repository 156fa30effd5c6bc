"""SimQ-NAS on a problem whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.protocol.pareto import hypervolume
from edgekit.search.protocol.problem import Observed, SearchProblem, genes_of, values_of
from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.simq import (
    ErrorModel,
    SimQStrategy,
    ordered_model,
    published_model,
)
from tests.search.synthetic import (
    best_top1,
    formula_problem,
    formula_top1,
    searched,
    top1_of,
)

LIMITS = Limits(2.2e-4, 230_000)
QUICK = SimQStrategy(n_generations=25, inner_population=30)


def _problem(seed: int, limits: Limits = LIMITS, n_evaluations: int = 30) -> SearchProblem:
    return formula_problem(seed, limits, n_evaluations, recipe=MBConvRecipe.quick(32, 10))


@pytest.fixture(scope="module")
def history() -> list[Observed]:
    """A whole search with seed 0."""
    return searched(QUICK, _problem(0))


def test_no_candidate_is_asked_twice_and_the_budget_is_used_up(history: list[Observed]) -> None:
    assert len({entry.candidate for entry in history}) == len(history) == 30


def test_what_is_asked_follows_from_the_history_alone(history: list[Observed]) -> None:
    problem = _problem(0)
    again = SimQStrategy(QUICK.n_generations, QUICK.inner_population)
    for n_done in (0, 20):
        asked = again.ask(problem, history[:n_done])
        assert asked == [entry.candidate for entry in history[n_done : n_done + 10]]
    assert again.ask(problem, history) == []
    assert QUICK.ask(_problem(1), []) != QUICK.ask(problem, [])


def test_every_candidate_keeps_the_limits_by_the_table_and_is_canonical(
    history: list[Observed],
) -> None:
    problem = _problem(0)
    genes = genes_of(history)
    assert (problem.margins(genes) <= 0).all()
    assert (genes == problem.space.canonical(genes)).all()


def test_limits_that_nothing_keeps_ask_for_what_is_nearest() -> None:
    problem = _problem(0, Limits(1e-6, 1_000), n_evaluations=20)
    history = searched(QUICK, problem)
    assert len(history) == 20
    drawn = problem.margins(problem.space.sample(2000, np.random.default_rng(0))).max(axis=1)
    asked = problem.margins(np.array([entry.candidate.genes for entry in history])).max(axis=1)
    assert asked.mean() < np.quantile(drawn, 0.05)


def _hypervolume(problem: SearchProblem, history: list[Observed]) -> float:
    """Area between the front inside the limits and (latency limit, top-1 of 0.5)."""
    assert LIMITS.latency_s is not None
    inside = sorted((e.values[1], top1_of(e)) for e in history if problem.keeps(e) and e.values)
    area, reached = 0.0, 0.5
    for latency_s, top1 in inside:
        if top1 > reached:
            area += (top1 - reached) * (LIMITS.latency_s - latency_s)
            reached = top1
    return area


def _optimum(problem: SearchProblem) -> float:
    """The best accuracy inside the limits that climbing from random candidates reaches."""
    space = problem.space
    drawn = space.sample(100_000, np.random.default_rng(99))
    starts = drawn[(problem.margins(drawn) <= 0).all(axis=1)][:3]
    return max(_climbed(problem, start) for start in starts)


def _climbed(problem: SearchProblem, genes: NDArray[np.int64]) -> float:
    """Top-1 where no change of one gene helps and keeps the limits."""
    space, best = problem.space, -1.0
    steps = [(i, value) for i, n in enumerate(space.n_choices) for value in range(n)]
    while True:
        near = np.tile(genes, (len(steps), 1))
        for row, (index, value) in zip(near, steps, strict=True):
            row[index] = value
        near = space.canonical(near)
        near = near[(problem.margins(near) <= 0).all(axis=1)]
        scores = [formula_top1(space, Candidate(tuple(row))) for row in near.tolist()]
        if max(scores) <= best + 1e-12:
            return best
        best, genes = max(scores), near[int(np.argmax(scores))]


@pytest.mark.parametrize("seed", range(5))
def test_it_beats_random_search_under_limits(seed: int) -> None:
    problem = _problem(seed)
    found, drawn = searched(QUICK, problem), searched(RandomStrategy(), problem)
    best = [best_top1(problem, history) for history in (found, drawn)]
    area = [_hypervolume(problem, history) for history in (found, drawn)]
    print(f"seed {seed}: best {best[0]:.4f} to {best[1]:.4f}, area {area[0]:.2e} to {area[1]:.2e}")
    assert best[0] > best[1]
    assert area[0] > area[1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_limits_its_front_beats_that_of_random_search(seed: int) -> None:
    problem = _problem(seed, Limits(), n_evaluations=24)
    largest = np.array([problem.space.largest().genes])
    box = np.array([0.6, problem.costs(largest)[0, 1]])
    found, others = (
        hypervolume(values_of(searched(strategy, problem))[:, :2], box)
        for strategy in (QUICK, RandomStrategy())
    )
    assert found > 1.05 * others


def test_it_comes_near_the_optimum() -> None:
    problem = _problem(0, n_evaluations=50)
    best, optimum = best_top1(problem, searched(QUICK, problem)), _optimum(problem)
    print(f"best {best:.4f}, optimum by climbing {optimum:.4f}")
    assert best >= optimum - 0.03


def _fitted(
    fit: Callable[[SearchProblem, Sequence[Observed]], ErrorModel], n: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted and true error of candidates that were not among the ``n`` it was fitted on."""
    problem = _problem(0)
    drawn = RandomStrategy().ask(formula_problem(5, Limits(), 200, 200, problem.space.recipe), [])
    history, unseen = (
        [Observed(c, problem.evaluate(c)) for c in part] for part in (drawn[:n], drawn[60:])
    )
    return fit(problem, history)(genes_of(unseen)), values_of(unseen)[:, 0]


@pytest.mark.parametrize("fit", [ordered_model, published_model])
def test_the_error_model_ranks_unseen_candidates(
    fit: Callable[[SearchProblem, Sequence[Observed]], ErrorModel],
) -> None:
    predicted, true = _fitted(fit, 60)
    assert np.corrcoef(predicted, true)[0, 1] > 0.9
    assert np.abs(predicted - true).mean() < 0.02


def test_ordered_features_need_fewer_networks() -> None:
    rank = [kendalltau(*_fitted(fit, 16)).statistic for fit in (ordered_model, published_model)]
    print(f"tau after 16 networks: {rank[0]:.2f} to {rank[1]:.2f}")
    assert rank[0] > rank[1] + 0.05


def test_the_published_form_is_a_strategy_of_its_own() -> None:
    problem, history = _problem(0), searched(QUICK, _problem(0, n_evaluations=10))
    published = replace(QUICK, fit_error=published_model)
    assert published.ask(problem, []) == QUICK.ask(problem, [])
    assert published.ask(problem, history) != QUICK.ask(problem, history)


def test_a_population_of_one_works() -> None:
    problem = formula_problem(0, LIMITS, 8, 1, MBConvRecipe.quick(32, 10))
    history = searched(SimQStrategy(5, 20), problem)
    assert len({entry.candidate for entry in history}) == 8


class _Foreknowing(MBConvSpace):
    """Its harm is what the accuracy will lack."""

    def harm(self, genes: NDArray[np.int64]) -> NDArray[np.float64]:  # type: ignore[override]
        top1 = [formula_top1(self, Candidate(tuple(row))) for row in genes.tolist()]
        return 1 - np.array(top1)


def test_what_is_known_beforehand_leads_the_first_population() -> None:
    problem = _problem(3)
    space = _Foreknowing(MBConvRecipe.quick(32, 10))
    blind = QUICK.ask(problem, [])
    knowing = QUICK.ask(replace(problem, space=space), [])

    def top1(candidates: Sequence[Candidate]) -> list[float]:
        return [formula_top1(space, candidate) for candidate in candidates]

    assert max(top1(knowing)) > max(top1(blind))
    genes = np.array([candidate.genes for candidate in knowing])
    assert (problem.margins(genes) <= 0).all()
