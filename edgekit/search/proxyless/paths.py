"""The paths that a distribution is learnt over, and what networks drawn from it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.search.mbconv.space import SKIP, MBConvSpace
from edgekit.search.protocol.problem import Floats
from edgekit.search.space import PRECISIONS, Genes

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ChoicePoint:
    """A place where one path is taken.

    Attributes:
        block: its name.
        columns: the genes that a path sets.
        values: ``(paths, columns)`` int64, what each path sets them to.
    """

    block: str
    columns: tuple[int, ...]
    values: Genes

    def __len__(self) -> int:
        return len(self.values)


def choice_points(space: MBConvSpace) -> tuple[ChoicePoint, ...]:
    """Stem, positions, head: a path is an operation in a precision, or nothing where one may skip.

    The paper has one point for each position, with operations alone.
    """
    n, precisions = space.n_positions, range(len(PRECISIONS))
    plain = np.array([[p] for p in precisions])
    both = np.array([[op, p] for op in range(SKIP) for p in precisions])
    middle = (
        ChoicePoint(
            position.name,
            (index, n + 1 + index),
            np.concatenate([both, [[SKIP, 0]]]) if position.may_skip else both,
        )
        for index, position in enumerate(space.positions)
    )
    return (
        ChoicePoint(space.blocks[0], (n,), plain),
        *middle,
        ChoicePoint(space.blocks[-1], (2 * n + 1,), plain),
    )


def genes_of_paths(points: Sequence[ChoicePoint], paths: Indices) -> Genes:
    """Genes ``(n, genes)`` of the paths ``(n, points)`` that are taken."""
    genes = np.empty((len(paths), sum(len(point.columns) for point in points)), dtype=np.int64)
    for point, taken in zip(points, paths.T, strict=True):
        genes[:, point.columns] = point.values[taken]
    return genes


def drawn(probabilities: Sequence[Floats], n: int, rng: np.random.Generator) -> Indices:
    """Paths of ``n`` networks ``(n, points)``, each point by itself."""
    return np.stack([rng.choice(len(p), n, p=p) for p in probabilities], axis=1)


def expected_costs(
    points: Sequence[ChoicePoint],
    probabilities: Sequence[Floats],
    costs: Callable[[Genes], Floats],
    rng: np.random.Generator,
    n_drawn: int,
) -> tuple[Floats, list[Floats]]:
    """What a network drawn from the distribution costs, and what each path adds to that.

    The paper sums up what each path costs by itself. Here a path costs more or less by the
    precisions around it, so the cost of a network is no sum over its paths. It is still linear in
    the probabilities of one point: the derivative by one of them is the mean cost of networks that
    take that path and are drawn elsewhere. All paths share the same draws, so that their
    differences are exact where nothing around them matters.

    Args:
        points: where paths are taken.
        probabilities: of the paths of each point.
        costs: of canonical genes ``(n, genes)``: ``(n, figures)`` float64.
        rng: draws the networks.
        n_drawn: networks, above 0.

    Returns:
        The expected figures ``(figures,)``; per point the derivative of each by the probability of
        each path ``(paths, figures)``.
    """
    paths = drawn(probabilities, n_drawn, rng)
    asked = []
    for index, point in enumerate(points):
        for path in range(len(point)):
            changed = paths.copy()
            changed[:, index] = path
            asked.append(changed)
    figures = costs(genes_of_paths(points, np.concatenate(asked)))
    means = figures.reshape(len(asked), n_drawn, -1).mean(axis=1)
    ends = np.cumsum([len(point) for point in points])[:-1]
    slopes = np.split(means, ends)
    expected = [p @ slope for p, slope in zip(probabilities, slopes, strict=True)]
    return np.mean(expected, axis=0), slopes
