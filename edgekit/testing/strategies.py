"""What every search strategy must do, whoever wrote it.

A test of a strategy calls ``check_strategy`` with a problem of its own; an AssertionError says
which rule was broken.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Observed, SearchProblem, Strategy, Values

Evaluate = Callable[[Candidate], Values]

_FAILING = 3
"""One evaluation in so many fails when failures are tried."""


def check_strategy(strategy: Strategy, problem: SearchProblem) -> list[Observed]:
    """Search to the end of the budget and check every answer against the protocol.

    The budget is used up, the same history gives the same answer, no candidate is asked for twice,
    the limits are kept as far as they can be predicted, a search that was stopped anywhere goes on
    as if it had not been, and evaluations that fail are survived.

    Args:
        strategy: what is checked.
        problem: with more candidates than evaluations; its evaluations are repeatable.

    Returns:
        The history of the search without failures.

    Raises:
        AssertionError: a rule of ``Strategy`` is broken; names it.
    """
    history = _checked(strategy, problem)
    half = {entry.candidate: entry.values for entry in history[: len(history) // 2]}
    again = list(search(problem, strategy, half))
    assert again == history, "a search that goes on must be the one that was never stopped"
    _checked(strategy, replace(problem, evaluate=_failing(problem)))
    return history


def check_asked(
    asked: Sequence[Candidate], problem: SearchProblem, history: Sequence[Observed]
) -> None:
    """Check one answer of a strategy.

    Raises:
        AssertionError: too many candidates, one twice, one that was evaluated, genes that are out
            of range or not canonical, or a candidate that is predicted outside the limits although
            one inside is left.
    """
    most = problem.n_next(history)
    assert len(asked) <= most, f"at most {most} candidates may be asked for, got {len(asked)}"
    assert len(set(asked)) == len(asked), f"no candidate may be asked for twice, got {asked}"
    again = {entry.candidate for entry in history} & set(asked)
    assert not again, f"what was evaluated may not be asked for again, got {again}"
    for candidate in asked:
        problem.space.check(candidate)
    genes = np.array([candidate.genes for candidate in asked])
    canonical = problem.space.canonical(genes)
    assert np.array_equal(genes, canonical), f"genes must be canonical, got {genes}"
    _check_limits(asked, problem, history)


def _check_limits(
    asked: Sequence[Candidate], problem: SearchProblem, history: Sequence[Observed]
) -> None:
    genes = np.array([candidate.genes for candidate in asked])
    outside = (problem.margins(genes, history) > 0).any(axis=1)
    if not outside.any():
        return
    drawn = problem.space.sample(1000, np.random.default_rng(0))
    inside = drawn[(problem.margins(drawn, history) <= 0).all(axis=1)]
    taken = {entry.candidate for entry in history} | set(asked)
    left = {Candidate(tuple(row)) for row in inside.tolist()} - taken
    assert not left, f"limits must be kept while something does, got {genes[outside].tolist()}"


def _checked(strategy: Strategy, problem: SearchProblem) -> list[Observed]:
    """A search whose every answer is checked, to the end of its budget."""
    history: list[Observed] = []
    for entry in search(problem, _Watched(strategy)):
        history.append(entry)
    n_asked = len(history)
    assert n_asked == problem.n_evaluations, f"the budget must be used up, {n_asked} were asked"
    return history


class _Watched:
    """Passes on what a strategy asks for after checking it."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        asked = self._strategy.ask(problem, history)
        if asked:
            check_asked(asked, problem, history)
        same = self._strategy.ask(problem, history)
        assert asked == same, f"the same history must give the same answer, got {asked}, {same}"
        return asked


def _failing(problem: SearchProblem) -> Evaluate:
    def evaluate(candidate: Candidate) -> Values:
        if zlib.crc32(candidate.text.encode()) % _FAILING == 0:
            raise EvaluationFailed("every third evaluation fails here")
        return problem.evaluate(candidate)

    return evaluate
