"""The cells of NAS-Bench-201 as a space: six edges, each one of five operations.

Dong & Yang 2020 (arXiv 2001.00326), section 2: a cell has four nodes, the first is its input, each
other one sums what the edges from all before it give, the last is its output.
"""

from __future__ import annotations

import re
from functools import cache

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
        """How often each working path leads from input to output, ``(n, 40)`` float32.

        A path is the operations along it without skips; one with ``none`` does not work. Cells
        that compute the same sums of the same chains have the same features, which one-hot
        operations would tell apart.
        """
        result = np.zeros((len(genes), sum(_N_WORKING**length for length in range(4))))
        for path in _PATHS:
            operations = genes[:, path]
            rows = np.flatnonzero((operations != _NONE).all(axis=1))
            np.add.at(result, (rows, _codes(operations[rows])), 1.0)
        return result.astype(np.float32)

    def ordered_features(self, genes: Genes) -> NDArray[np.float64]:
        """Sizes of what works, each in deviations over all cells, ``(n, 7)`` float64.

        Edges on a working path with a 1x1 convolution, a 3x3 convolution, a pooling, a skip; the
        most convolutions along a working path, and the mean of them; the working paths.
        """
        return (_sizes(genes) - _size_scale()[0]) / _size_scale()[1]

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


def _sizes(genes: Genes) -> NDArray[np.float64]:
    works = np.stack([(genes[:, path] != _NONE).all(axis=1) for path in _PATHS], axis=1)
    used = np.zeros(genes.shape, dtype=bool)
    for path, column in zip(_PATHS, works.T, strict=True):
        used[:, path] |= column[:, None]
    edges = [((genes == operation) & used).sum(axis=1) for operation in (2, 3, 4, _SKIP)]
    is_conv = (genes == 2) | (genes == 3)
    convs = np.stack([is_conv[:, path].sum(axis=1) for path in _PATHS], axis=1) * works
    n_paths = works.sum(axis=1)
    along = [convs.max(axis=1), convs.sum(axis=1) / np.maximum(1, n_paths)]
    return np.stack([*edges, *along, n_paths], axis=1).astype(np.float64)


@cache
def _size_scale() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each size over all cells."""
    shape = (len(OPERATIONS),) * len(EDGES)
    sizes = _sizes(np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1))
    return sizes.mean(axis=0), sizes.std(axis=0)


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
