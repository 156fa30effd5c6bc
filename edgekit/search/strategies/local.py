"""Local search: climb to the best neighbour until there is none, then begin elsewhere.

White, Nolen & Savani 2020 (arXiv 2005.02960, algorithm 1): evaluate every network that differs in
one decision, move to the best of them if it is better. As published, with random beginnings
inside the limits and only neighbours that are predicted inside, by what is predicted before
anything was evaluated: the climb is the same when it is gone through again.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import drawn_inside, neighbours
from edgekit.search.protocol.problem import Observed, SearchProblem, fresh


class LocalSearchStrategy:
    """Climbing by the first objective."""

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``."""
        near = _unseen_near(problem, history)
        if near:
            return near[: problem.n_next(history)]
        return fresh(drawn_inside(problem, history), history, min(1, problem.n_next(history)))


def _unseen_near(problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
    """Neighbours of where the climb stands that are not evaluated; none where it has ended.

    The climb is gone through again from the history: a beginning, then its neighbours, then, if
    the best of all it knows is a better one, the neighbours of that.
    """
    n_gone, known = 0, {entry.candidate: entry for entry in history}
    while n_gone < len(history):
        here = history[n_gone]
        seen = {entry.candidate for entry in history[: n_gone + 1]}
        n_gone += 1
        while True:
            near = _near(problem, here)
            unseen = [c for c in near if c not in seen]
            waiting = [c for c in unseen if c not in known]
            if waiting:
                return waiting
            n_gone += len(unseen)
            seen.update(unseen)
            better = min((known[c] for c in near), key=lambda e: _worth(problem, e), default=here)
            if _worth(problem, better) >= _worth(problem, here):
                break
            here = better
    return []


def _near(problem: SearchProblem, here: Observed) -> list[Candidate]:
    """Neighbours predicted inside, in an order that the seed and the place decide."""
    near = neighbours(problem.space, here.candidate)
    near = near[(problem.margins(near) <= 0).all(axis=1)]
    rng = problem.rng(sum(gene * place for place, gene in enumerate(here.candidate.genes, 1)))
    return fresh(rng.permutation(near), [], len(near))


def _worth(problem: SearchProblem, entry: Observed) -> tuple[bool, float]:
    """What neighbours are compared by, the better one lower."""
    if entry.values is None:
        return True, float("inf")
    return not problem.keeps(entry), entry.values[0]
