"""The loop of every search: ask, evaluate, tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed
from edgekit.search.protocol.problem import Observed, SearchProblem, Strategy, Values

_MOST_FAILED = 5
"""When so many failed and none succeeded, it is not the candidates."""


def search(
    problem: SearchProblem,
    strategy: Strategy,
    known: Mapping[Candidate, Values | None] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Observed]:
    """Yield each candidate that the strategy asks for with what its evaluation gave.

    A search that goes on asks the strategy everything again from the start and evaluates only what
    is not known yet: its history is that of a search that was never stopped.

    Args:
        problem: the search.
        strategy: chooses the candidates.
        known: what was evaluated before, None for what failed.
        clock: seconds, for ``problem.max_seconds``.

    Yields:
        Entries of the history in order, until the budget of evaluations or of time is used up or
        the strategy asks for no more.

    Raises:
        EvaluationFailed: the first five evaluations failed, or all of fewer; the last of their
            errors.
    """
    known, end = known or {}, clock() + problem.max_seconds
    history: list[Observed] = []
    while asked := strategy.ask(problem, history):
        problem.ahead([candidate for candidate in asked if candidate not in known])
        for candidate in asked:
            if candidate in known:
                values = known[candidate]
            elif clock() < end:
                values = _evaluated(problem, candidate, history)
            else:
                return
            history.append(Observed(candidate, values))
            yield history[-1]


def _evaluated(
    problem: SearchProblem, candidate: Candidate, history: list[Observed]
) -> Values | None:
    try:
        return problem.evaluate(candidate)
    except EvaluationFailed:
        hopeless = len(history) + 1 >= min(_MOST_FAILED, problem.n_evaluations)
        if hopeless and all(entry.values is None for entry in history):
            raise
        return None
