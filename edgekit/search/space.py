"""What a search space is to a strategy: integer genes, and what is special about some vectors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.precision import Precision

Genes = NDArray[np.int64]
"""``(n, genes)``, a candidate a row."""

PRECISIONS = (Precision.FP32, Precision.INT8)
"""By the value of a precision gene."""


class SearchSpace(Protocol):
    """Vectors of genes: those of the architecture first, then a precision for each block.

    Two vectors that mean the same network have the same canonical genes.

    Attributes:
        name: for people.
        n_choices: of each gene; genes lie in ``0..n_choices - 1``.
        gene_names: distinct, one per gene.
        blocks: names of the blocks that have a precision, in the order of their genes.
    """

    name: str
    n_choices: tuple[int, ...]
    gene_names: tuple[str, ...]
    blocks: tuple[str, ...]

    @property
    def n_architecture(self) -> int:
        """Genes that come before the precisions."""

    def check(self, candidate: Candidate) -> None:
        """Raise InputError unless every gene is in its range."""

    def canonical(self, genes: Genes) -> Genes:
        """Genes ``(n, genes)`` with those that mean nothing set to 0; a new array."""

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """``(n, genes)`` random canonical genes."""

    def regular(self) -> Genes:
        """Canonical genes of networks that random genes almost never are, such as the largest."""

    def features(self, genes: Genes) -> NDArray[np.float32]:
        """One-hot features ``(n, features)`` of canonical genes; none for what is left out."""

    def ordered_features(self, genes: Genes) -> NDArray[np.float64]:
        """Sizes ``(n, features)`` of canonical genes as numbers, one by one and summed."""

    def harm(self, genes: Genes) -> NDArray[np.float64] | None:
        """How much worse ``(n,)`` than the largest, as far as is known before measuring.

        In any unit; None where nothing is known.
        """

    def largest(self) -> Candidate:
        """Nothing left out, in fp32."""

    def active_blocks(self, candidate: Candidate) -> tuple[str, ...]:
        """Blocks that the network has, in order."""

    def words(self, candidate: Candidate) -> dict[str, str]:
        """What each block that the network has does, for people."""


def precisions_of(space: SearchSpace, candidate: Candidate) -> dict[str, Precision]:
    """Precision of each block that a network has."""
    genes = candidate.genes[space.n_architecture :]
    of = dict(zip(space.blocks, genes, strict=True))
    return {block: PRECISIONS[of[block]] for block in space.active_blocks(candidate)}


def int8_blocks(space: SearchSpace, candidate: Candidate) -> tuple[str, ...]:
    """Names of the blocks that run in int8, in order."""
    precisions = precisions_of(space, candidate)
    return tuple(block for block, precision in precisions.items() if precision is Precision.INT8)


def with_precision(
    space: SearchSpace, candidate: Candidate, block: str, precision: Precision
) -> Candidate:
    """The candidate with another precision of one block."""
    genes = list(candidate.genes)
    genes[space.n_architecture + space.blocks.index(block)] = PRECISIONS.index(precision)
    return Candidate(tuple(genes))


def uniform_precision(space: SearchSpace, genes: Genes, precision: Precision) -> Genes:
    """The same architectures ``(n, genes)`` with one precision everywhere, canonical."""
    result = genes.copy()
    result[:, space.n_architecture :] = PRECISIONS.index(precision)
    return space.canonical(result)
