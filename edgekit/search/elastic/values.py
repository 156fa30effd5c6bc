"""Which elements of a tensor fall away together, followed through every operation.

Every element along an axis of a parameter gets a label. An operation that needs two elements to
stay or go together links their labels; what must stay is linked to ``FIXED``. A tensor carries
labels in blocks: one block says, for some of its dimensions together, which label each coordinate
has. A reshape that splits an axis makes a block over several dimensions, one that merges axes
joins them again, so that heads, concatenations and shuffles need no rules of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Labels = NDArray[np.int64]

FIXED = 0
"""The label of what must stay."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Labels over some dimensions of a tensor.

    Attributes:
        dims: ascending.
        labels: int64, one axis per dimension, of its size.
    """

    dims: tuple[int, ...]
    labels: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor as the analysis sees it.

    Attributes:
        shape: in the unchanged network.
        blocks: of disjoint dimensions; a dimension in none of them cannot shrink.
    """

    shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()

    def block_at(self, dim: int) -> Block | None:
        """The block that holds a dimension."""
        return next((block for block in self.blocks if dim in block.dims), None)

    def lines(self, dim: int) -> Labels | None:
        """Labels ``(size, n)`` of what lies on each coordinate of a dimension.

        None where it cannot shrink.
        """
        block = self.block_at(dim)
        if block is None:
            return None
        axis = block.dims.index(dim)
        return np.moveaxis(block.labels, axis, 0).reshape(block.labels.shape[axis], -1)


class Links:
    """Labels, and which of them stay or go together.

    Attributes:
        n_labels: so many were given out, ``FIXED`` among them.
        cause: why what is linked to ``FIXED`` from now on must stay, for people.
    """

    def __init__(self) -> None:
        self.n_labels = 1
        self.cause = ""
        self._causes: list[tuple[Labels, str]] = []
        self._pairs: list[tuple[Labels, Labels]] = []
        self._splits: list[Labels] = []

    def fresh(self, shape: Sequence[int]) -> Value:
        """A tensor whose every axis of more than one element has labels of its own."""
        blocks = []
        for dim, size in enumerate(shape):
            if size > 1:
                blocks.append(Block((dim,), self.labels(size)))
        return Value(tuple(shape), tuple(blocks))

    def labels(self, n: int) -> Labels:
        """New labels, linked to nothing."""
        self.n_labels += n
        return np.arange(self.n_labels - n, self.n_labels)

    def link(self, first: Labels, second: Labels | int) -> None:
        """Elements at equal places stay or go together; the arrays are broadcast."""
        a, b = np.broadcast_arrays(first, second)
        pair = (a.ravel().astype(np.int64), b.ravel().astype(np.int64))
        self._pairs.append(pair)
        for mine, other in (pair, pair[::-1]):
            if (held := mine[other == FIXED]).any():
                self._causes.append((held, self.cause))

    def fix(self, value: Value, dims: Sequence[int] | None = None) -> None:
        """All elements of a tensor, or those along some dimensions, must stay."""
        for block in value.blocks:
            if dims is None or set(block.dims) & set(dims):
                self.link(block.labels, FIXED)

    def line(self, value: Value, dim: int) -> Labels | None:
        """Labels along one dimension; None where it cannot shrink.

        Where its block spans more dimensions, what lies on one coordinate is linked.
        """
        flat = value.lines(dim)
        if flat is None:
            return None
        self.link(flat, flat[:, :1])
        return flat[:, 0]

    def needs_product(self, labels: Labels) -> None:
        """What stays of a block over several dimensions must be a product of choices."""
        self._splits.append(labels)

    def classes(self) -> Labels:
        """(n_labels,) the class of every label; labels of one class stay or go together.

        A block that was made by splitting an axis keeps its form only if it shrinks along one
        dimension: it is linked along the others.
        """
        found = self._components()
        while changed := [s for s in self._splits if not _along_one(found[s])]:
            for labels in changed:
                keep = int(np.argmax(labels.shape))
                flat = np.moveaxis(labels, keep, 0).reshape(labels.shape[keep], -1)
                self.link(flat, flat[:, :1])
            found = self._components()
        return found

    def causes(self) -> dict[int, str]:
        """Why labels must stay: by the number of each that something holds, the first cause."""
        found = self._components(with_fixed=False)
        first: dict[int, str] = {}
        for labels, cause in self._causes:
            for component in np.unique(found[labels]).tolist():
                first.setdefault(component, cause)
        return {
            label: first[component]
            for label, component in enumerate(found.tolist())
            if component in first
        }

    def _components(self, *, with_fixed: bool = True) -> Labels:
        if not self._pairs:
            return np.arange(self.n_labels)
        first = np.concatenate([a for a, _ in self._pairs])
        second = np.concatenate([b for _, b in self._pairs])
        if not with_fixed:
            kept = (first != FIXED) & (second != FIXED)
            first, second = first[kept], second[kept]
        links = coo_array((np.ones(len(first), np.int8), (first, second)), (self.n_labels,) * 2)
        _, found = connected_components(links, directed=False)
        return np.asarray(found, np.int64)


def _along_one(classes: Labels) -> bool:
    return any(
        bool((flat == flat[:, :1]).all())
        for axis in range(classes.ndim)
        for flat in [np.moveaxis(classes, axis, 0).reshape(classes.shape[axis], -1)]
    )


class Flow:
    """Moves labels through operations; what an operation couples goes into ``links``."""

    def __init__(self) -> None:
        self.links = Links()

    def together(self, values: Sequence[Value]) -> Value:
        """An elementwise operation, with broadcasting."""
        shape = np.broadcast_shapes(*(value.shape for value in values))
        moved = [_aligned(value, len(shape)) for value in values]
        blocks = []
        for dims in _joined([block.dims for value in moved for block in value.blocks]):
            sizes = tuple(shape[d] for d in dims)
            found = [labels for v in moved if (labels := self._over(v, dims, sizes)) is not None]
            for other in found[1:]:
                self.links.link(found[0], other)
            for value in moved:
                self._hold(found[0], dims, value)
            blocks.append(Block(dims, found[0]))
        return _simple(shape, blocks)

    def _over(self, value: Value, dims: tuple[int, ...], sizes: tuple[int, ...]) -> Labels | None:
        """Labels of a value over some dimensions; None where it has none there."""
        inside = [block for block in value.blocks if set(block.dims) <= set(dims)]
        if not inside:
            return None
        if len(inside) > 1:
            for block in inside:
                self.links.link(block.labels, FIXED)
            return np.full(sizes, FIXED)
        own = inside[0]
        shaped = own.labels.reshape([value.shape[d] if d in own.dims else 1 for d in dims])
        return np.broadcast_to(shaped, sizes)

    def _hold(self, labels: Labels, dims: tuple[int, ...], value: Value) -> None:
        """What meets dimensions that cannot shrink does not shrink along them."""
        if any(set(block.dims) <= set(dims) for block in value.blocks):
            return
        held = [axis for axis, d in enumerate(dims) if value.shape[d] > 1]
        if len(held) == len(dims):
            self.links.link(labels, FIXED)
        elif held:
            first = labels[
                tuple(slice(0, 1) if a in held else slice(None) for a in range(len(dims)))
            ]
            self.links.link(labels, first)

    def permuted(self, value: Value, order: Sequence[int]) -> Value:
        """Dimension ``order[i]`` becomes dimension i."""
        place = {old: new for new, old in enumerate(order)}
        blocks = [_placed([place[d] for d in b.dims], b.labels) for b in value.blocks]
        return Value(tuple(value.shape[d] for d in order), tuple(blocks))

    def reshaped(self, value: Value, shape: Sequence[int]) -> Value:
        """The same elements in row-major order, in another shape."""
        shape = tuple(shape)
        blocks = [([("old", d) for d in block.dims], block.labels) for block in value.blocks]
        for old, new in _segments(value.shape, shape):
            names = {("old", d) for d in old}
            touched = [block for block in blocks if names & set(block[0])]
            blocks = [block for block in blocks if not names & set(block[0])]
            if len(touched) > 1:
                for _, labels in touched:
                    self.links.link(labels, FIXED)
            elif touched:
                blocks.append(self._regrouped(*touched[0], value.shape, old, shape, new))
        placed = [_placed([d for _, d in dims], labels) for dims, labels in blocks]
        return _simple(shape, placed)

    def _regrouped(
        self,
        dims: list[tuple[str, int]],
        labels: Labels,
        old_shape: Sequence[int],
        old: Sequence[int],
        new_shape: Sequence[int],
        new: Sequence[int],
    ) -> tuple[list[tuple[str, int]], Labels]:
        """A block whose dimensions ``old`` become ``new``; the others stay, in front."""
        others = [d for d in dims if d[0] == "new" or d[1] not in old]
        labels = labels.transpose(
            [dims.index(d) for d in others]
            + [dims.index(("old", d)) for d in old if ("old", d) in dims]
        )
        front = labels.shape[: len(others)]
        labels = labels.reshape(*front, *(old_shape[d] if ("old", d) in dims else 1 for d in old))
        labels = np.broadcast_to(labels, (*front, *(old_shape[d] for d in old)))
        labels = labels.reshape(*front, *(new_shape[d] for d in new))
        if len(new) > 1:
            self.links.needs_product(labels)
        return [*others, *(("new", d) for d in new)], labels

    def taken(self, value: Value, dim: int, indices: Sequence[int]) -> Value:
        """Some coordinates along a dimension, in the given order."""
        blocks = [
            Block(b.dims, b.labels.take(indices, axis=b.dims.index(dim))) if dim in b.dims else b
            for b in value.blocks
        ]
        shape = tuple(len(indices) if d == dim else n for d, n in enumerate(value.shape))
        return _simple(shape, blocks)

    def alike(self, value: Value, dim: int) -> None:
        """Coordinates of a dimension are picked by number: none of them may fall away whole."""
        block = value.block_at(dim)
        if block is None:
            return
        moved = np.moveaxis(block.labels, block.dims.index(dim), 0)
        self.links.link(moved, FIXED if len(block.dims) == 1 else moved[:1])

    def apart_from(self, value: Value, dim: int) -> Value:
        """A block over this and other dimensions shrinks along the others alone."""
        block = value.block_at(dim)
        if block is None or len(block.dims) == 1:
            return value
        self.alike(value, dim)
        axis = block.dims.index(dim)
        labels = block.labels.take([0], axis=axis).squeeze(axis)
        rest = Block(tuple(d for d in block.dims if d != dim), labels)
        return Value(value.shape, tuple(rest if b is block else b for b in value.blocks))

    def concatenated(self, values: Sequence[Value], dim: int) -> Value:
        """Along one dimension; the others are coupled."""
        values = [self.apart_from(value, dim) for value in values]
        rest = [self.taken(value, dim, [0]) for value in values]
        others = self.together(rest)
        lines = []
        for value in values:
            line = self.links.line(value, dim)
            lines.append(np.full(value.shape[dim], FIXED) if line is None else line)
        for block in others.blocks:
            for value in values:
                own = value.block_at(dim)
                if own is not None and set(own.dims) & set(block.dims):
                    self.links.link(own.labels, FIXED)
        line = np.concatenate(lines)
        shape = tuple(len(line) if d == dim else n for d, n in enumerate(others.shape))
        return _simple(shape, [*others.blocks, Block((dim,), line)])

    def contracted(self, first: Value, dim: int, second: Value, other: int) -> None:
        """Two dimensions are multiplied and summed over: they shrink together."""
        lines = [self.links.line(first, dim), self.links.line(second, other)]
        present = [line for line in lines if line is not None]
        for line in present:
            self.links.link(line, present[0] if len(present) == 2 else FIXED)

    def without(self, value: Value, dims: Sequence[int], *, keep: bool) -> Value:
        """Dimensions that an operation sums or compares over; what is labelled there must stay."""
        self.links.fix(value, dims)
        if keep:
            shape = tuple(1 if d in dims else n for d, n in enumerate(value.shape))
            return Value(shape, tuple(b for b in value.blocks if not set(b.dims) & set(dims)))
        kept = [d for d in range(len(value.shape)) if d not in dims]
        blocks = [
            Block(tuple(kept.index(d) for d in block.dims), block.labels)
            for block in value.blocks
            if not set(block.dims) & set(dims)
        ]
        return Value(tuple(value.shape[d] for d in kept), tuple(blocks))


def _aligned(value: Value, n_dims: int) -> Value:
    """With dimensions of size 1 in front."""
    shift = n_dims - len(value.shape)
    blocks = tuple(Block(tuple(d + shift for d in b.dims), b.labels) for b in value.blocks)
    return Value((1,) * shift + value.shape, blocks)


def _joined(groups: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Unions of groups that overlap."""
    found: list[set[int]] = []
    for group in map(set, groups):
        apart = [other for other in found if not other & group]
        group = group.union(*(other for other in found if other & group))
        found = [*apart, group]
    return [tuple(sorted(group)) for group in found]


def _placed(dims: Sequence[int], labels: Labels) -> Block:
    """A block with its dimensions in ascending order."""
    return Block(tuple(sorted(dims)), labels.transpose(np.argsort(dims)))


def _simple(shape: Sequence[int], blocks: Sequence[Block]) -> Value:
    """Without blocks of fixed labels alone, and without dimensions that do not matter to one."""
    kept = []
    for block in blocks:
        dims, labels = list(block.dims), block.labels
        for dim in block.dims:
            axis = dims.index(dim)
            if len(dims) > 1 and (labels == labels.take([0], axis=axis)).all():
                labels = labels.take([0], axis=axis).squeeze(axis)
                dims.remove(dim)
        if labels.size > 1 and (labels != FIXED).any():
            kept.append(Block(tuple(dims), np.ascontiguousarray(labels)))
    return Value(tuple(shape), tuple(kept))


def _segments(
    old: Sequence[int], new: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shortest runs of dimensions that hold the same number of elements on both sides.

    Dimensions of size 1 stand with the run before them.
    """
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        first, second = i, j
        a = b = 1
        while a == 1 or a != b:
            if i < len(old) and (a <= b or j == len(new)):
                a *= old[i]
                i += 1
            elif j < len(new):
                b *= new[j]
                j += 1
            else:
                break
        while i < len(old) and old[i] == 1:
            i += 1
        while j < len(new) and new[j] == 1:
            j += 1
        found.append((tuple(range(first, i)), tuple(range(second, j))))
    return found
