"""NSGA-II over integer genes, as arrays.

Deb, Pratap, Agarwal & Meyarivan 2002 (IEEE Trans. Evolutionary Computation 6(2)): non-dominated
sorting, crowding distance, binary tournaments, parents and children compete. Constraints are
handled as in their section VI. Genes name choices and have no order, so where the paper varies
real numbers we cross uniformly and draw a mutated gene anew from its choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.search.space import Genes

Floats = NDArray[np.float64]
Score = Callable[[Genes], tuple[Floats, Floats]]
"""Objectives ``(n, m)`` to minimise, and how far ``(n,)`` constraints are broken, 0 for not."""

Scored = tuple[Genes, Floats, Floats]
"""Rows of genes, their objectives and their violation."""

_CROSSOVER = 0.9
_MUTATED_GENES = 2.0


def evolve(
    score: Score,
    start: Genes,
    n_choices: Sequence[int],
    *,
    n_generations: int,
    rng: np.random.Generator,
) -> Scored:
    """Evolve a population.

    Args:
        score: called with ``(n, genes)`` once at the start and once a generation.
        start: ``(n, genes)`` int64, the first population, distinct rows; its size stays.
        n_choices: choices of each gene; genes lie in ``0..n_choices - 1``.
        n_generations: generations after the first, 0 or more.
        rng: the only source of randomness.

    Returns:
        Everything that was scored, in order: genes ``(scored, genes)``, objectives ``(scored, m)``
        and violation ``(scored,)``. A row that died out may stand there again.
    """
    seen = [(start, *score(start))]
    alive = _survivors(seen[0], len(start))
    for _ in range(n_generations):
        children = _children(alive[0], np.array(n_choices), rng)
        _, first = np.unique(np.concatenate([alive[0], children]), axis=0, return_index=True)
        new = children[np.sort(first[first >= len(start)]) - len(start)]
        if len(new):
            seen.append((new, *score(new)))
            alive = _survivors(_joined([alive, seen[-1]]), len(start))
    return _joined(seen)


def order(objectives: Floats, violation: Floats) -> NDArray[np.int64]:
    """Indices ``(n,)``, best first: by front, and within a front by crowding distance.

    Args:
        objectives: ``(n, m)``, to minimise.
        violation: ``(n,)``, 0 where all constraints hold.
    """
    rank = fronts(objectives, violation)
    crowding = np.empty(len(rank))
    for front in range(rank.max() + 1):
        members = np.flatnonzero(rank == front)
        crowding[members] = _crowding(objectives[members])
    return np.lexsort((-crowding, rank))


def fronts(objectives: Floats, violation: Floats) -> NDArray[np.int64]:
    """Rank of each row: 0 where nothing dominates it, 1 where only rank 0 does, and so on.

    A row dominates another that breaks the constraints more, or as much and that is nowhere better
    and somewhere worse.

    Args:
        objectives: ``(n, m)``, to minimise.
        violation: ``(n,)``, 0 where all constraints hold.

    Returns:
        ``(n,)`` int64.
    """
    mine, other = objectives[:, None, :], objectives[None, :, :]
    better = (mine <= other).all(axis=2) & (mine < other).any(axis=2)
    less, equal = (f(violation[:, None], violation) for f in (np.less, np.equal))
    dominates = less | (equal & better)
    n_dominating = dominates.sum(axis=0)
    rank = np.full(len(objectives), -1)
    for front in range(len(objectives)):
        members = (n_dominating == 0) & (rank < 0)
        if not members.any():
            break
        rank[members] = front
        n_dominating -= dominates[members].sum(axis=0)
    return rank


def _joined(parts: Sequence[Scored]) -> Scored:
    genes, objectives, violation = (np.concatenate(column) for column in zip(*parts, strict=True))
    return genes, objectives, violation


def _survivors(scored: Scored, size: int) -> Scored:
    genes, objectives, violation = scored
    best = order(objectives, violation)[:size]
    return genes[best], objectives[best], violation[best]


def _crowding(objectives: Floats) -> Floats:
    """Distance ``(n,)`` to the neighbours on either side, summed over objectives; ends inf."""
    distance = np.zeros(len(objectives))
    for values in objectives.T:
        by_value = np.argsort(values, kind="stable")
        ordered = values[by_value]
        span = ordered[-1] - ordered[0]
        distance[by_value[[0, -1]]] = np.inf
        if span > 0:
            distance[by_value[1:-1]] += (ordered[2:] - ordered[:-2]) / span
    return distance


def _children(parents: Genes, n_choices: NDArray[np.int64], rng: np.random.Generator) -> Genes:
    """As many children as parents ``(n, genes)``, which are sorted best first."""
    n, n_genes = parents.shape
    first, second = rng.integers(0, n, (2, 2, n)).min(axis=1)
    crossed = (rng.random((n, n_genes)) < 0.5) & (rng.random((n, 1)) < _CROSSOVER)
    children = np.where(crossed, parents[second], parents[first])
    mutated = rng.random((n, n_genes)) < _MUTATED_GENES / n_genes
    return np.where(mutated, rng.integers(0, n_choices, (n, n_genes)), children)
