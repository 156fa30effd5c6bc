"""What every search strategy must do, whoever wrote it.

A test of a strategy calls ``check_strategy`` with a problem of its own and what measures there; an
AssertionError says which rule was broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.search.problem import Evaluated, SearchProblem, Strategy

Evaluate = Callable[[Candidate], Evaluated]


def check_strategy(
    strategy: Strategy, problem: SearchProblem, evaluate: Evaluate
) -> list[Evaluated]:
    """Search to the end of the budget and check every answer against the protocol.

    Args:
        strategy: what is checked.
        problem: with more candidates than evaluations.
        evaluate: figures of a candidate, the same for the same candidate.

    Returns:
        Everything that was evaluated, in order.

    Raises:
        AssertionError: a rule of ``Strategy`` is broken; names it.
    """
    history: list[Evaluated] = []
    while asked := strategy.ask(problem, history):
        check_asked(asked, problem, history)
        same = strategy.ask(problem, history)
        assert asked == same, f"the same history must give the same answer, got {asked}, {same}"
        history += [evaluate(candidate) for candidate in asked]
    n_asked = len(history)
    assert n_asked == problem.n_evaluations, f"the budget must be used up, {n_asked} were asked"
    other = replace(problem, seed=problem.seed + 1)
    assert strategy.ask(other, []) != strategy.ask(problem, []), "the seed must matter"
    return history


def check_asked(
    asked: Sequence[Candidate], problem: SearchProblem, history: Sequence[Evaluated]
) -> None:
    """Check one answer of a strategy.

    Raises:
        AssertionError: too many candidates, one twice, one that was measured, or genes that are
            out of range or not canonical.
    """
    left = problem.n_evaluations - len(history)
    most = min(problem.population, left)
    assert len(asked) <= most, f"at most {most} candidates may be asked for, got {len(asked)}"
    assert len(set(asked)) == len(asked), f"no candidate may be asked for twice, got {asked}"
    again = {entry.candidate for entry in history} & set(asked)
    assert not again, f"what was measured may not be asked for again, got {again}"
    for candidate in asked:
        problem.space.check(candidate)
    genes = np.array([candidate.genes for candidate in asked])
    canonical = problem.space.canonical(genes)
    assert np.array_equal(genes, canonical), f"genes must be canonical, got {genes}"
