"""The baseline strategy."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.protocol.problem import Observed
from edgekit.search.strategies import strategy_named
from edgekit.search.strategies.random import RandomStrategy
from tests.search.synthetic import formula_problem, searched


def test_the_budget_is_used_up_without_asking_twice() -> None:
    problem = formula_problem(n_evaluations=25, population=10)
    history = searched(RandomStrategy(), problem)
    assert len({entry.candidate for entry in history}) == len(history) == 25
    genes = np.array([entry.candidate.genes for entry in history])
    assert (genes == problem.space.canonical(genes)).all()


def test_asking_again_gives_the_same_and_another_seed_does_not() -> None:
    asked = [RandomStrategy().ask(formula_problem(seed=seed), []) for seed in (3, 3, 4)]
    assert asked[0] == asked[1] != asked[2]


def test_limits_are_kept_by_prediction() -> None:
    problem = formula_problem(limits=Limits(2e-4, 200_000), n_evaluations=25)
    genes = np.array([entry.candidate.genes for entry in searched(RandomStrategy(), problem)])
    assert (problem.margins(genes) <= 0).all()
    drawn = problem.margins(problem.space.sample(100, np.random.default_rng(0)))
    assert (drawn > 0).any()


def test_nothing_is_asked_when_the_budget_is_used_up() -> None:
    problem = formula_problem(n_evaluations=3, population=2)
    first = [Observed(c, None) for c in RandomStrategy().ask(problem, [])]
    assert len(RandomStrategy().ask(problem, first)) == 1
    assert RandomStrategy().ask(problem, first * 2) == []


def test_strategies_are_known_by_name() -> None:
    assert isinstance(strategy_named("random"), RandomStrategy)
    with pytest.raises(InputError, match=", random, got 'grid'"):
        strategy_named("grid")
