"""The blocks of an elastic space: which are alike, the sizes of their tensors, their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import fx

from edgekit.search.elastic.analysis import attribute, operation
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.elastic.values import Value

Axis = tuple[int, dict[int, int]]
"""A size: what is always there, and elements a channel of each group."""

_NONE = -1
_IMAGE = 4
Row = NDArray[np.int64]


class Anatomy:
    """The blocks of a space: their kinds, channel groups and weights.

    Attributes:
        kinds: per block the number of its kind.
        groups: per block the channel groups it works on, in the order they appear.
        sizes: per block the sizes its tensors have along their axes, as far as they vary, each a
            pair of what is always there and {group: elements a channel}.
        images: per block which of ``sizes`` are channels of an image.
        branches: per block the branches that operations of it lie in, in the order they appear:
            where one is left out, a part of the block may stay, such as a norm behind it.
        places: place of an operation in its block, by its name.
        weights: per block the matrices and filters in it, each its axes, and a bit for each of
            the block's branches that takes it along.
    """

    def __init__(self, space: ElasticSpace) -> None:
        elastic = space.elastic
        structure = elastic.structure
        group_of = {
            int(label): index
            for index, group in enumerate(structure.groups)
            for label in group.classes
        }
        nodes: dict[str, list[fx.Node]] = {block: [] for block in space.blocks}
        for node in elastic.source.graph.nodes:
            block = elastic.blocks.get(node.name)
            if block in nodes:
                nodes[block].append(node)
        self.kinds: list[int] = []
        self.groups: list[tuple[int, ...]] = []
        self.sizes: list[list[Axis]] = []
        self.images: list[tuple[int, ...]] = []
        self.branches: list[tuple[int, ...]] = []
        self.places: dict[str, int] = {}
        self.weights: list[list[tuple[list[Axis], int]]] = []
        signatures: dict[object, int] = {}
        for block in space.blocks:
            self.places |= {node.name: index for index, node in enumerate(nodes[block])}
            signature, groups = _signature(nodes[block], structure.values, group_of)
            self.kinds.append(signatures.setdefault(signature, len(signatures)))
            self.groups.append(groups)
            inside = {n.name for n in nodes[block]}
            touched = [i for i, b in enumerate(structure.branches) if inside.intersection(b.nodes)]
            self.branches.append(tuple(touched))
            sizes, images = _sizes(nodes[block], structure.values, group_of)
            self.sizes.append(sizes)
            self.images.append(images)
            read = {str(n.target): n for node in nodes[block] for n in node.all_input_nodes}
            self.weights.append(
                [
                    (
                        _axes(structure.values[n.name][0], group_of),
                        sum(
                            1 << bit
                            for bit, branch in enumerate(touched)
                            if target in structure.branches[branch].parameters
                        ),
                    )
                    for target, n in read.items()
                    if n.op == "get_attr" and attribute(elastic.source, target).dim() > 1
                ]
            )


def _sizes(
    nodes: Sequence[fx.Node], values: Mapping[str, tuple[Value, ...]], group_of: dict[int, int]
) -> tuple[list[Axis], tuple[int, ...]]:
    """Sizes along axes that vary, in the order they appear, and those along axis 1 of images."""
    found: list[Axis] = []
    images: list[int] = []
    for node in nodes:
        for name in (*(n.name for n in node.all_input_nodes), node.name):
            for value in values.get(name, ()):
                for dim in range(len(value.shape)):
                    axis = _along(value, dim, group_of)
                    if not axis[1]:
                        continue
                    if axis not in found:
                        found.append(axis)
                    index = found.index(axis)
                    if dim == 1 and len(value.shape) == _IMAGE and index not in images:
                        images.append(index)
    return found, tuple(images)


def _along(value: Value, dim: int, group_of: dict[int, int]) -> Axis:
    """The size along one dimension."""
    lines = value.lines(dim)
    return (value.shape[dim], {}) if lines is None else _counted(lines[:, 0], group_of)


def _signature(
    nodes: Sequence[fx.Node],
    values: Mapping[str, tuple[Value, ...]],
    group_of: dict[int, int],
) -> tuple[object, tuple[int, ...]]:
    """What two blocks share if they are alike, and the groups of this one."""
    roles: dict[int, int] = {}
    inside = {node: index for index, node in enumerate(nodes)}

    def described(name: str) -> object:
        found = []
        for value in values.get(name, ()):
            axes = [
                (fixed, tuple((roles.setdefault(g, len(roles)), n) for g, n in of.items()))
                for fixed, of in _axes(value, group_of)
            ]
            found.append((value.shape[1:], tuple(axes)))
        return tuple(found)

    lines = []
    for node in nodes:
        inputs = tuple((inside.get(n, _NONE), described(n.name)) for n in node.all_input_nodes)
        constants = repr(fx.map_arg((node.args, node.kwargs), lambda n: None))
        lines.append((operation(node), inputs, described(node.name), constants))
    return tuple(lines), tuple(roles)


def _axes(value: Value, group_of: dict[int, int]) -> list[Axis]:
    """Per dimension, or block of them: what is always there, and elements a channel of a group."""
    axes: list[Axis] = []
    covered: set[int] = set()
    for block in value.blocks:
        covered |= set(block.dims)
        axes.append(_counted(block.labels, group_of))
    axes += [(size, {}) for dim, size in enumerate(value.shape) if dim not in covered]
    return axes


def _counted(labels: Row, group_of: dict[int, int]) -> Axis:
    distinct, counts = np.unique(labels, return_counts=True)
    fixed, of = 0, {}
    for label, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        if label in group_of:
            of[group_of[label]] = count
        else:
            fixed += count
    return fixed, of
