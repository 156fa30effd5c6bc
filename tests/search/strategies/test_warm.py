"""One strategy begins, another goes on."""

from __future__ import annotations

from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.robot import RobotStrategy
from edgekit.search.strategies.warm import WarmStrategy
from tests.search.synthetic import formula_problem, searched, with_scores


def test_the_first_population_is_the_first_strategys_whole_search() -> None:
    problem = with_scores(formula_problem(0, n_evaluations=12, population=4))
    history = searched(WarmStrategy(RobotStrategy(), RandomStrategy()), problem)
    alone = searched(
        RobotStrategy(), with_scores(formula_problem(0, n_evaluations=4, population=4))
    )
    assert history[:4] == alone
    then = RandomStrategy().ask(problem, history[:4])
    assert [entry.candidate for entry in history[4:8]] == then
    assert len({entry.candidate for entry in history}) == 12
