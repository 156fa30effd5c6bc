"""The cells of NAS-Bench-201 as a space: six edges, each one of five operations.

Dong & Yang 2020 (arXiv 2001.00326), section 2: a cell has four nodes, the first is its input, each
other one sums what the edges from all before it give, the last is its output.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.space import Genes

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""By the value of a gene, under the names of the benchmark."""

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from node, to node) of each gene, in the order of the benchmark's text."""

_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
_NONE, _SKIP = 0, 1
_N_WORKING = 3


class NB201Space:
    """15,625 cells. Precision is not a choice here: the benchmark trained in float32.

    Example:
        >>> space = NB201Space()
        >>> text = space.text(space.largest())
        >>> text.split("+")[0]
        '|nor_conv_3x3~0|'
        >>> space.parse(text) == space.largest()
        True
    """

    name = "nb201"
    n_choices: tuple[int, ...] = (len(OPERATIONS),) * len(EDGES)
    gene_names: tuple[str, ...] = tuple(f"edge {a}-{b}" for a, b in EDGES)
    blocks: tuple[str, ...] = ()

    @property
    def n_architecture(self) -> int:
        """All genes."""
        return len(EDGES)

    def check(self, candidate: Candidate) -> None:
        """Raise InputError unless every gene is in its range."""
        candidate.check(self.n_choices, self.name)

    def canonical(self, genes: Genes) -> Genes:
        """A copy: every vector is a cell with figures of its own."""
        return genes.copy()

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """``(n, 6)`` genes, each uniform over the operations."""
        return rng.integers(0, len(OPERATIONS), (n, len(EDGES)))

    def regular(self) -> Genes:
        """One operation on every edge, but for ``none``."""
        return np.array([[op] * len(EDGES) for op in range(1, len(OPERATIONS))])

    def features(self, genes: Genes) -> NDArray[np.float32]:
        """One-hot operations ``(n, 30)`` float32."""
        one_hot = np.eye(len(OPERATIONS), dtype=np.float32)[genes]
        return one_hot.reshape(len(genes), -1)

    def ordered_features(self, genes: Genes) -> NDArray[np.float64]:
        """How often each working path leads from input to output, ``(n, 40)`` float64.

        A path is the operations along it without skips; one with ``none`` does not work. Cells
        that compute the same sums of the same chains have the same features.
        """
        result = np.zeros((len(genes), sum(_N_WORKING**length for length in range(4))))
        for path in _PATHS:
            operations = genes[:, path]
            rows = np.flatnonzero((operations != _NONE).all(axis=1))
            np.add.at(result, (rows, _codes(operations[rows])), 1.0)
        return result

    def harm(self, genes: Genes) -> None:
        """Nothing is known beforehand."""

    def largest(self) -> Candidate:
        """A 3x3 convolution on every edge."""
        return Candidate((OPERATIONS.index("nor_conv_3x3"),) * len(EDGES))

    def active_blocks(self, candidate: Candidate) -> tuple[str, ...]:
        """None: no block has a precision."""
        return ()

    def words(self, candidate: Candidate) -> dict[str, str]:
        """The operation of each edge."""
        operations = [OPERATIONS[gene] for gene in candidate.genes]
        return dict(zip(self.gene_names, operations, strict=True))

    def text(self, candidate: Candidate) -> str:
        """The benchmark's own text of a cell."""
        by_node: dict[int, str] = {}
        for (start, end), gene in zip(EDGES, candidate.genes, strict=True):
            by_node[end] = by_node.get(end, "|") + f"{OPERATIONS[gene]}~{start}|"
        return "+".join(by_node.values())

    def parse(self, text: str) -> Candidate:
        """Inverse of ``text``.

        Raises:
            InputError: not the text of a cell.
        """
        operations = re.findall(r"(\w+)~\d", text)
        if all(name in OPERATIONS for name in operations) and len(operations) == len(EDGES):
            candidate = Candidate(tuple(map(OPERATIONS.index, operations)))
            if self.text(candidate) == text:
                return candidate
        raise InputError(
            f"a cell is written like {self.text(self.largest())}, got {text!r}; use the names "
            f"{', '.join(OPERATIONS)}"
        )


def _codes(operations: Genes) -> NDArray[np.int64]:
    """A number for each chain ``(n, length)`` of operations without its skips."""
    code = np.zeros(len(operations), dtype=np.int64)
    length = np.zeros(len(operations), dtype=np.int64)
    for column in operations.T:
        works = column != _SKIP
        code = np.where(works, code * _N_WORKING + column - 2, code)
        length += works
    first = np.cumsum([0, 1, _N_WORKING, _N_WORKING**2])
    return np.asarray(first[length] + code)
