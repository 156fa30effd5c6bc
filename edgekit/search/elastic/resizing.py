"""Constants of a graph that hold sizes: what they become when channels go.

One function per kind of operation; those that are not listed hold no size that can change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from edgekit.search.elastic.analysis import arguments_of
from edgekit.search.elastic.values import Value

Flags = NDArray[np.bool_]


class Sizes:
    """A node whose constants depend on sizes: the old one, and its copy in the new graph."""

    def __init__(
        self,
        old: fx.Node,
        new: fx.Node,
        values: Mapping[str, tuple[Value, ...]],
        alive: Flags,
    ) -> None:
        self.old, self.new, self.values, self._alive = old, new, values, alive
        self.arguments = arguments_of(old)

    def of(self, node: fx.Node, index: int = 0) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape of an output, before and after."""
        value = self.values[node.name][index]
        dims = range(len(value.shape))
        return value.shape, tuple(int(self.kept(value, dim).sum()) for dim in dims)

    def kept(self, value: Value, dim: int) -> Flags:
        """Which coordinates of a dimension are left."""
        lines = value.lines(dim)
        if lines is None:
            return np.ones(value.shape[dim], bool)
        return np.asarray(self._alive[lines].any(axis=1))

    def input(self) -> tuple[fx.Node, Value]:
        """The first tensor."""
        node = next(n for n in self.old.all_input_nodes if self.values.get(n.name))
        return node, self.values[node.name][0]

    def set(self, name: str, value: Any) -> None:
        """Replace an argument."""
        target = self.new.target
        assert isinstance(target, torch._ops.OpOverload)
        names = [argument.name for argument in target._schema.arguments]
        position = names.index(name)
        if position < len(self.new.args):
            self.new.update_arg(position, value)
        else:
            self.new.update_kwarg(name, value)


def _resize_shape(name: str) -> Callable[[Sizes], None]:
    def resize(sizes: Sizes) -> None:
        before, after = sizes.of(sizes.old)
        asked = list(sizes.new.args[1]) if len(sizes.new.args) > 1 else []  # type: ignore[arg-type]
        for dim, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                asked[dim] = new if isinstance(asked[dim], int) and asked[dim] != -1 else -1
        sizes.set(name, asked)

    return resize


def _resize_unflatten(sizes: Sizes) -> None:
    before, after = sizes.of(sizes.old)
    dim = sizes.arguments["dim"]
    _, value = sizes.input()
    dim %= len(value.shape)
    if before != after:
        n = len(sizes.arguments["sizes"])
        sizes.set("sizes", [int(s) for s in after[dim : dim + n]])


def _resize_parts(sizes: Sizes) -> None:
    _, value = sizes.input()
    dim = (sizes.arguments.get("dim") or 0) % len(value.shape)
    n_parts = len(sizes.values[sizes.old.name])
    pairs = [sizes.of(sizes.old, index) for index in range(n_parts)]
    if all(before == after for before, after in pairs):
        return
    sizes.new.target = torch.ops.aten.split_with_sizes.default
    sizes.new.args = (sizes.new.args[0], [int(after[dim]) for _, after in pairs], dim)
    sizes.new.kwargs = {}


def _resize_slice(sizes: Sizes) -> None:
    _, value = sizes.input()
    dim = (sizes.arguments.get("dim") or 0) % len(value.shape)
    kept = sizes.kept(value, dim)
    if kept.all():
        return
    taken = range(len(kept))[slice(sizes.arguments["start"], sizes.arguments["end"])]
    start = int(kept[: taken.start].sum())
    end = start + int(kept[taken.start : taken.stop].sum())
    sizes.new.target = torch.ops.aten.slice.Tensor
    sizes.new.args, sizes.new.kwargs = (sizes.new.args[0], dim, start, end), {}


def _resize_narrow(sizes: Sizes) -> None:
    start = sizes.arguments["start"]
    sizes.arguments |= {"start": start, "end": start + sizes.arguments["length"]}
    _resize_slice(sizes)


def _resize_groups(name: str) -> Callable[[Sizes], None]:
    def resize(sizes: Sizes) -> None:
        _, value = sizes.input()
        groups = sizes.arguments[name]
        kept = sizes.kept(value, 1)
        if groups > 1 and not kept.all():
            sizes.set(name, int(groups * kept.sum() // len(kept)))

    return resize


def _resize_pad(sizes: Sizes) -> None:
    amounts = list(sizes.arguments["pad"])
    (value,) = sizes.values[sizes.old.name]
    for i in range(0, len(amounts), 2):
        dim = len(value.shape) - 1 - i // 2
        kept = sizes.kept(value, dim)
        if not kept.all():
            before, after = amounts[i : i + 2]
            amounts[i : i + 2] = int(kept[:before].sum()), int(kept[len(kept) - after :].sum())
    sizes.set("pad", amounts)


RESIZED: dict[str, Callable[[Sizes], None]] = {
    "view": _resize_shape("size"),
    "_unsafe_view": _resize_shape("size"),
    "reshape": _resize_shape("shape"),
    "expand": _resize_shape("size"),
    "unflatten": _resize_unflatten,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split"), _resize_parts),
    "slice": _resize_slice,
    "narrow": _resize_narrow,
    **dict.fromkeys(("pad", "constant_pad_nd"), _resize_pad),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _resize_groups("groups")),
    "group_norm": _resize_groups("num_groups"),
}
"""By the name of the operation in ATen, without its overload."""
