"""A kernel as a form and sizes, and the sizes as formulas of channel counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.kernel import Kernel, Shape

Form = tuple[object, ...]
"""What of a kernel does not depend on channels: operator, attributes, lengths of shapes."""

Ints = NDArray[np.int64]
_SHAPES = ("input_shapes", "weight_shapes", "output_shapes")
_COUNTS = ("group", "channels")
"""Attributes that count channels."""

_CONSTANT = -1
Formula = tuple[int, int, bool]
"""Index of a count or ``_CONSTANT``, what it is multiplied by, and whether it is rounded up."""


def taken_apart(kernel: Kernel) -> tuple[Form, tuple[int, ...]]:
    """The form of a kernel, and its sizes: of all shapes in order, then counts."""
    shapes: list[Shape] = [shape for name in _SHAPES for shape in getattr(kernel, name)]
    lengths = tuple(tuple(map(len, getattr(kernel, name))) for name in _SHAPES)
    groups = [int(v) for n, v in kernel.attributes if n in _COUNTS and isinstance(v, int)]
    rest = tuple((n, None if n in _COUNTS else v) for n, v in kernel.attributes)
    form = (kernel.op, kernel.domain, kernel.dtype, kernel.provider, lengths, rest)
    return form, (*(size for shape in shapes for size in shape), *groups)


def put_together(form: Form, sizes: Sequence[int]) -> Kernel:
    """Inverse of ``taken_apart``."""
    op, domain, dtype, provider, lengths, rest = form
    left = iter(sizes)
    inputs, weights, outputs = (tuple(_taken(left, n) for n in row) for row in lengths)  # type: ignore[attr-defined]
    attributes = tuple((n, next(left) if n in _COUNTS else v) for n, v in rest)  # type: ignore[attr-defined]
    return Kernel(op, domain, dtype, inputs, weights, outputs, attributes, provider)  # type: ignore[arg-type]


def _taken(rest: Iterator[int], n: int) -> Shape:
    return tuple(next(rest) for _ in range(n))


class Formulas:
    """Sizes as formulas of channel counts that hold for all samples.

    In the order in which they are tried: a constant; a count; a count rounded up to whole vectors;
    a multiple of one of these.

    Args:
        counts: the sizes that each sample's tensors have along axes that vary.
        sizes: of each sample.
        vector: channels of a vector of the processor.
    """

    def __init__(
        self, counts: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]], vector: int
    ) -> None:
        self._counts, self._sizes, self._vector = list(counts), list(sizes), vector
        table = np.array(counts, np.int64).reshape(len(counts), -1)
        padded = self._padded(table)
        known: dict[tuple[int, ...], Formula | None] = {}
        self._formulas: list[Formula | None] = []
        for column in zip(*sizes, strict=True):
            if column not in known:
                known[column] = _formula(table, padded, np.array(column, np.int64))
            self._formulas.append(known[column])
        self.is_exact = None not in self._formulas

    def with_sample(self, counts: Sequence[int], sizes: Sequence[int]) -> Formulas | None:
        """Formulas that also hold for another sample; None where there are none."""
        if self.at(counts) == list(sizes):
            return self
        wider = Formulas([*self._counts, counts], [*self._sizes, sizes], self._vector)
        return wider if wider.is_exact else None

    def at(self, counts: Sequence[int]) -> list[int]:
        """The sizes for some counts."""
        padded = [-(-n // self._vector) * self._vector for n in counts]
        result = []
        for formula in self._formulas:
            index, factor, is_padded = formula or (_CONSTANT, 0, False)
            size = 1 if index == _CONSTANT else (padded if is_padded else counts)[index]
            result.append(factor * size)
        return result

    def _padded(self, counts: Ints) -> Ints:
        return -(-counts // self._vector) * self._vector


def _formula(counts: Ints, padded: Ints, column: Ints) -> Formula | None:
    if (column == column[0]).all():
        return _CONSTANT, int(column[0]), False
    tables = ((False, counts), (True, padded))
    for is_padded, table in tables:
        for index in np.flatnonzero((table == column[:, None]).all(axis=0)).tolist():
            return index, 1, is_padded
    for is_padded, table in tables:
        factors = column[0] // np.maximum(table[0], 1)
        for index in np.flatnonzero((table * factors == column[:, None]).all(axis=0)).tolist():
            return index, int(factors[index]), is_padded
    return None
