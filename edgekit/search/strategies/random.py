"""The baseline: candidates drawn uniformly from those that keep the limits."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import drawn_inside
from edgekit.search.protocol.problem import Observed, SearchProblem, fresh


class RandomStrategy:
    """Every gene uniform over its choices, inside the limits as far as they can be predicted."""

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        return fresh(drawn_inside(problem, history), history, problem.n_next(history))
