"""The loop of every search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Values
from edgekit.search.strategies.random import RandomStrategy
from tests.search.synthetic import formula_problem

PROBLEM = formula_problem(n_evaluations=12, population=5)


def test_a_search_that_goes_on_evaluates_only_what_is_not_known() -> None:
    whole = list(search(PROBLEM, RandomStrategy()))
    evaluated: list[Candidate] = []

    def evaluate(candidate: Candidate) -> Values:
        evaluated.append(candidate)
        return PROBLEM.evaluate(candidate)

    known = {entry.candidate: entry.values for entry in whole[:7]}
    assert list(search(replace(PROBLEM, evaluate=evaluate), RandomStrategy(), known)) == whole
    assert evaluated == [entry.candidate for entry in whole[7:]]


def test_the_budget_of_time_ends_a_search_and_what_is_known_takes_none() -> None:
    ticks: Iterator[int] = iter(range(1000))
    problem = replace(PROBLEM, max_seconds=4.5)

    def clock() -> float:
        return next(ticks)

    first = list(search(problem, RandomStrategy(), clock=clock))
    assert len(first) == 4
    known = {entry.candidate: entry.values for entry in first}
    second = list(search(problem, RandomStrategy(), known, clock=clock))
    assert second[:4] == first
    assert len(second) == 8


def test_failures_are_in_the_history_and_known_ones_are_not_tried_again() -> None:
    whole = list(search(PROBLEM, RandomStrategy()))
    known = {whole[0].candidate: None}
    found = list(search(PROBLEM, RandomStrategy(), known))
    assert found[0].values is None
    assert found[1:] == whole[1:]


def test_when_nothing_can_be_evaluated_the_search_says_why() -> None:
    def evaluate(candidate: Candidate) -> Values:
        raise EvaluationFailed(f"no runtime for {candidate.text}")

    with pytest.raises(EvaluationFailed, match="no runtime for "):
        list(search(replace(PROBLEM, evaluate=evaluate), RandomStrategy()))
