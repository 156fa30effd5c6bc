"""The baseline: candidates drawn uniformly."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.candidate import Candidate
from edgekit.search.problem import Evaluated, SearchProblem, fresh


class RandomStrategy:
    """Every gene uniform over its choices; limits are ignored, as a baseline should."""

    def ask(self, problem: SearchProblem, history: Sequence[Evaluated]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n = min(problem.population, problem.n_evaluations - len(history))
        drawn = problem.space.sample(20 * problem.population, problem.rng(len(history)))
        return fresh(drawn, history, n)
