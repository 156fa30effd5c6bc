"""One strategy begins, another goes on with what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.problem import Observed, SearchProblem, Strategy


@dataclass(frozen=True, slots=True)
class WarmStrategy:
    """The first population is one strategy's whole search, the rest is another's.

    Attributes:
        first: asks for as many candidates as a population has.
        then: goes on, with those in its history.
    """

    first: Strategy
    then: Strategy

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n_first = min(problem.population, problem.n_evaluations)
        if len(history) < n_first:
            return self.first.ask(replace(problem, n_evaluations=n_first), history)
        return self.then.ask(problem, history)
