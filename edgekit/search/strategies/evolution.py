"""Regularised evolution: the oldest of the population dies, whatever it is worth.

Real, Aggarwal, Huang & Le 2019 (arXiv 1802.01548, algorithm 1): a tournament of a few of the
population, its winner is changed in one gene, the child joins, the oldest leaves. As published but
for the limits: a child that is predicted outside is drawn again, and one that is outside when it
is evaluated, or fails, loses every tournament.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import drawn_inside, neighbours
from edgekit.search.protocol.problem import Observed, SearchProblem, fresh


@dataclass(frozen=True, slots=True)
class EvolutionStrategy:
    """Regularised evolution by the first objective.

    Attributes:
        n_alive: population, above 0; the published 100 suit thousands of evaluations, 10 is what
            NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326) takes for a hundred.
        n_in_tournament: of them, above 0.
    """

    n_alive: int = 10
    n_in_tournament: int = 3

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        n = problem.n_next(history)
        if len(history) < self.n_alive:
            return fresh(
                drawn_inside(problem, history), history, min(n, self.n_alive - len(history))
            )
        rng = problem.rng(len(history))
        children: list[Candidate] = []
        for _ in range(n):
            child = self._child(problem, [*history, *(Observed(c, None) for c in children)], rng)
            children += child
        return children

    def _child(
        self, problem: SearchProblem, history: Sequence[Observed], rng: np.random.Generator
    ) -> list[Candidate]:
        """A new child of a tournament's winner; a random candidate where it has none."""
        alive = [entry for entry in history if entry.values is not None][-self.n_alive :]
        if alive:
            drawn = rng.choice(len(alive), min(self.n_in_tournament, len(alive)), replace=False)
            parent = min((alive[i] for i in drawn), key=lambda e: _worth(problem, e))
            near = rng.permutation(neighbours(problem.space, parent.candidate))
            near = near[(problem.margins(near, history) <= 0).all(axis=1)]
            child = fresh(near, history, 1)
            if child:
                return child
        return fresh(drawn_inside(problem, history), history, 1)


def _worth(problem: SearchProblem, entry: Observed) -> tuple[bool, float]:
    assert entry.values is not None
    return not problem.keeps(entry), entry.values[0]
