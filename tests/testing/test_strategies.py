"""The checks of strategies pass on ours and catch strategies that break a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.mbconv.space import SKIP, MBConvRecipe, Stage
from edgekit.search.nb201.tables import N_CELLS, CellTable, tabular_problem
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Observed, SearchProblem
from edgekit.search.strategies import BY_GATES, BY_SCORES, STRATEGIES
from edgekit.search.strategies.bayes import BayesStrategy
from edgekit.search.strategies.evolution import EvolutionStrategy
from edgekit.search.strategies.nsga2 import NSGA2Strategy
from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.samplers import SamplerStrategy, gp, tpe
from edgekit.search.strategies.simq import SimQStrategy, published_model
from edgekit.search.strategies.warm import WarmStrategy
from edgekit.testing.strategies import check_asked, check_strategy
from tests.search.synthetic import formula_problem, with_scores

ONE_BLOCK = MBConvRecipe(32, 10, 16, 2, 16, (Stage(32, 1, 2),), 64)
SMALL = SimQStrategy(n_generations=8, inner_population=16)


# As they are, but that they begin to learn after a few evaluations.
OURS = {
    **STRATEGIES,
    "simq": SMALL,
    "simq-published": replace(SMALL, fit_error=published_model),
    "simq-warm": WarmStrategy(STRATEGIES["robot"], SMALL),
    "evolution": EvolutionStrategy(n_alive=4, n_in_tournament=2),
    "nsga2": NSGA2Strategy(n_alive=4),
    "tpe": SamplerStrategy(tpe, n_start=4),
    "gp": SamplerStrategy(gp, n_start=4),
    "bayes": BayesStrategy(n_start=3),
}
WITHOUT_CHANCE = {"exhaustive", *BY_GATES}
"""What they ask for follows from the problem alone."""

SLOW = {"gp", "tpe"}


@pytest.mark.parametrize("limits", [Limits(), Limits(2e-4, 200_000), Limits(1e-9, 1)], ids=str)
@pytest.mark.parametrize("name", OURS)
def test_ours_keep_every_rule(name: str, limits: Limits) -> None:
    n = 7 if name in SLOW else 11
    problem = with_scores(formula_problem(3, limits, n_evaluations=n, population=4), 300)
    assert len(check_strategy(OURS[name], problem)) == n


@pytest.mark.parametrize("name", [name for name in OURS if name not in WITHOUT_CHANCE])
def test_the_seed_matters(name: str) -> None:
    problems = [with_scores(formula_problem(seed, None, 6, 4), 300) for seed in (3, 3, 4)]
    found = [list(search(problem, OURS[name])) for problem in problems]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", [n for n in OURS if n not in {"robot-published", *SLOW}])
def test_a_space_that_is_smaller_than_the_budget_is_searched_to_its_end(name: str) -> None:
    problem = with_scores(formula_problem(3, recipe=ONE_BLOCK, n_evaluations=50, population=16))
    history = list(search(problem, OURS[name]))
    assert len({entry.candidate for entry in history}) == len(history) == 48


@pytest.mark.parametrize("name", [name for name in OURS if name not in BY_SCORES])
def test_the_error_alone_can_be_searched(name: str) -> None:
    """Without a second objective, and nothing predicted."""
    error = CellTable(np.random.default_rng(0).random(N_CELLS))
    problem = tabular_problem(error, n_evaluations=7, population=3, seed=1)
    assert len(check_strategy(OURS[name], problem)) == 7


@dataclass(frozen=True)
class Always:
    """Asks for the same candidates whatever was measured."""

    candidates: tuple[Candidate, ...]

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        return list(self.candidates)


@dataclass
class Forgetful:
    """Keeps a state of its own, so that a resumed search would differ."""

    n_asked: int = 0

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        self.n_asked += 1
        rng = problem.rng(self.n_asked)
        (genes,) = problem.space.sample(1, rng).tolist()
        return [Candidate(tuple(genes))]


@dataclass(frozen=True)
class Lazy:
    """Stops before the budget is used up."""

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        return [] if history else RandomStrategy().ask(problem, history)


def test_broken_rules_are_named() -> None:
    problem = formula_problem(n_evaluations=8, population=4)
    one = problem.space.largest()
    with pytest.raises(AssertionError, match="evaluated may not be asked for again"):
        check_strategy(Always((one,)), problem)
    with pytest.raises(AssertionError, match="no candidate may be asked for twice"):
        check_strategy(Always((one, one)), problem)
    with pytest.raises(AssertionError, match="the same history must give the same answer"):
        check_strategy(Forgetful(), problem)
    with pytest.raises(AssertionError, match="the budget must be used up, 4 were asked"):
        check_strategy(Lazy(), problem)


def test_answers_that_are_no_candidates_of_the_space_are_caught() -> None:
    problem = formula_problem(n_evaluations=2, population=1)
    space = problem.space
    two = [space.largest(), space.smallest()]
    with pytest.raises(AssertionError, match="at most 1 candidates"):
        check_asked(two, problem, [])
    with pytest.raises(InputError, match="a candidate of mbconv has genes"):
        check_asked([Candidate((0,))], problem, [])
    genes = list(space.smallest().genes)
    skipped = genes.index(SKIP)
    genes[space.n_positions + 1 + skipped] = 1
    with pytest.raises(AssertionError, match="genes must be canonical"):
        check_asked([Candidate(tuple(genes))], problem, [])
