"""Which limit binds when nothing is inside, and what comes nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.pool import MOST_ENUMERATED, enumerated, n_vectors
from edgekit.search.protocol.problem import Floats, SearchProblem


@dataclass(frozen=True, slots=True)
class Nearest:
    """Of some rows, none of which keeps every limit.

    Attributes:
        row: whose excess over the limits is smallest, in sum.
        binding: index of the limit that no row keeps; where each can be kept alone, of the first
            that the nearest row breaks.
    """

    row: int
    binding: int


def nearest(margins: Floats) -> Nearest | None:
    """What binds, and the nearest row; None where a row is inside.

    Args:
        margins: ``(n, limits)``, figures over limits minus 1; 0 and below is inside.
    """
    excess = margins.clip(min=0).sum(axis=1)
    row = int(excess.argmin())
    if excess[row] == 0:
        return None
    unkept = margins.min(axis=0) > 0
    return Nearest(row, int(np.argmax(unkept if unkept.any() else margins[row] > 0)))


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No network of a space is predicted inside the limits.

    Attributes:
        objective: name of the one whose limit binds.
        candidate: the nearest to the limits.
        values: what is predicted of it, NaN for what only an evaluation tells.
        n_networks: all of the space.
    """

    objective: str
    candidate: Candidate
    values: tuple[float, ...]
    n_networks: int


def unreachable(problem: SearchProblem) -> Unreachable | None:
    """Whether nothing is inside, by the prediction for every network of a space.

    Where predictions are exact, as in tables of measured figures, so is the answer.

    Returns:
        None where something is inside, or the space is too large to be listed (above ten million
        vectors of genes).
    """
    if n_vectors(problem.space) > MOST_ENUMERATED:
        return None
    lowest = np.full(len(problem.objectives), np.inf)
    best, best_excess, n_networks = None, np.inf, 0
    for genes in enumerated(problem.space):
        margins = problem.margins(genes)
        excess = margins.clip(min=0).sum(axis=1)
        row = int(excess.argmin())
        if excess[row] == 0:
            return None
        if excess[row] < best_excess:
            best, best_excess = genes[row : row + 1], excess[row]
        lowest = np.minimum(lowest, margins.min(axis=0))
        n_networks += len(genes)
    assert best is not None
    unkept = lowest > 0
    binding = int(np.argmax(unkept if unkept.any() else problem.margins(best)[0] > 0))
    return Unreachable(
        problem.objectives[binding].name,
        Candidate(tuple(best[0].tolist())),
        tuple(problem.predicted(best)[0].tolist()),
        n_networks,
    )
