"""Every candidate of a small space, the most promising first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.protocol.pool import MOST_ENUMERATED, enumerated, inside_first, n_vectors
from edgekit.search.protocol.problem import Floats, Observed, SearchProblem, fresh
from edgekit.search.space import Genes, SearchSpace


class ExhaustiveStrategy:
    """All networks inside the limits, by table: the smallest predicted first objective first.

    Where the first objective has no prediction, the costliest come first: they fill the limits.
    Nothing is random here: every seed gives the same search.
    """

    def ask(self, problem: SearchProblem, history: Sequence[Observed]) -> list[Candidate]:
        """The next population; see ``Strategy``.

        Raises:
            InputError: the space has more than ten million vectors of genes.
        """
        check_listable(problem.space)
        n = problem.n_next(history)
        n_most = len(history) + n
        best = np.concatenate(
            [_first(problem, genes, n_most) for genes in enumerated(problem.space)]
        )
        return fresh(_first(problem, best, n_most), history, n)


def check_listable(space: SearchSpace) -> None:
    """Raise InputError for a space of more than ten million vectors of genes."""
    n = n_vectors(space)
    if n > MOST_ENUMERATED:
        raise InputError(
            f"exhaustive search lists at most {MOST_ENUMERATED:,} networks, {space.name} has "
            f"{n:,} vectors of genes; choose another strategy"
        )


def _first(problem: SearchProblem, genes: Genes, n_most: int) -> Genes:
    """The first of some candidates, in the order in which they are asked for."""
    by_promise = np.argsort(_promise(problem.costs(genes)), kind="stable")
    return inside_first(problem, genes[by_promise])[:n_most]


def _promise(costs: Floats) -> Floats:
    """What to sort by ``(n,)``, the most promising lowest."""
    if not np.isnan(costs[:, 0]).any():
        return np.asarray(costs[:, 0])
    known = costs[:, ~np.isnan(costs).any(axis=0)]
    return np.asarray(-known[:, 0] if known.shape[1] else np.zeros(len(costs)))
