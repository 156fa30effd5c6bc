"""Candidates by the thousand: listed, drawn, and sorted by the limits before one is evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.search.protocol.problem import Observed, SearchProblem
from edgekit.search.space import Genes, SearchSpace

MOST_ENUMERATED = 10_000_000
"""Vectors of genes that are listed one by one where every one counts."""

_MOST_POOLED = 100_000
_N_DRAWN = 20_000
_CHUNK = 1 << 18


def n_vectors(space: SearchSpace) -> int:
    """Vectors of genes, counting each of those that mean the same network."""
    return math.prod(space.n_choices)


def enumerated(space: SearchSpace) -> Iterator[Genes]:
    """Every network of a space once, as canonical genes in ascending order, in chunks."""
    shape, n = space.n_choices, n_vectors(space)
    for start in range(0, n, _CHUNK):
        index = np.arange(start, min(n, start + _CHUNK))
        genes = np.stack(np.unravel_index(index, shape), axis=1).astype(np.int64, copy=False)
        yield genes[(space.canonical(genes) == genes).all(axis=1)]


def pool(space: SearchSpace, rng: np.random.Generator) -> Genes:
    """Distinct canonical genes in random order: all of a small space, else 20,000 draws."""
    if n_vectors(space) <= _MOST_POOLED:
        return np.asarray(rng.permutation(np.concatenate(list(enumerated(space)))))
    drawn = space.sample(_N_DRAWN, rng)
    return np.asarray(drawn[first_of_equals(drawn)])


def first_of_equals(genes: Genes) -> NDArray[np.int64]:
    """Ascending rows of ``(n, genes)`` that no earlier row equals.

    Rows are compared by a 64-bit sum of random multiples of their genes: that two of 20,000
    different ones have the same is less likely than one in ten billion.
    """
    factors = np.random.default_rng(0).integers(1, 1 << 62, genes.shape[1]) | 1
    _, first = np.unique(genes @ factors, return_index=True)
    return np.asarray(np.sort(first))


def inside_first(problem: SearchProblem, genes: Genes, history: Sequence[Observed] = ()) -> Genes:
    """Those predicted inside the limits in their order, then the others, nearest first."""
    worst = problem.margins(genes, history).max(axis=1)
    rank = np.where(worst <= 0, 0.0, worst)
    return np.asarray(genes[np.argsort(rank, kind="stable")])


def drawn_inside(problem: SearchProblem, history: Sequence[Observed]) -> Genes:
    """Random candidates, those predicted inside the limits first, then the nearest to them."""
    return inside_first(problem, pool(problem.space, problem.rng(len(history))), history)


def neighbours(space: SearchSpace, candidate: Candidate) -> Genes:
    """Every network ``(n, genes)`` that one changed gene makes of a candidate, canonical."""
    origin = np.array(candidate.genes)
    rows = [
        _changed(origin, index, value)
        for index, n in enumerate(space.n_choices)
        for value in range(n)
        if value != origin[index]
    ]
    near = np.unique(space.canonical(np.array(rows)), axis=0)
    return np.asarray(near[(near != space.canonical(origin[None])).any(axis=1)])


def _changed(genes: NDArray[np.int64], index: int, value: int) -> NDArray[np.int64]:
    changed = genes.copy()
    changed[index] = value
    return changed
