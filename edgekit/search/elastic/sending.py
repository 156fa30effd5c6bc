"""The graph of an elastic network as plain values, so that another process can be given it.

graph module --> nodes by name, weights by name --> graph module
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from edgekit.search.elastic.analysis import attribute, shapes_of


@dataclass(frozen=True, slots=True)
class _Named:
    """Stands for a node among the arguments of another."""

    name: str


@dataclass(frozen=True, slots=True)
class _Operator:
    """Stands for an operator of torch: ``aten``, ``relu``, ``default``."""

    namespace: str
    name: str
    overload: str

    def found(self) -> Any:
        return getattr(getattr(getattr(torch.ops, self.namespace), self.name), self.overload)


@dataclass(frozen=True, slots=True)
class _Node:
    """What is kept of a node.

    Attributes:
        name: its name.
        op: as in ``torch.fx``.
        target: operation, or name of a parameter.
        args: positional arguments, nodes by name.
        kwargs: keyword arguments, nodes by name.
        shapes: of what it gives.
        dtype: of that; None where it is no single tensor.
    """

    name: str
    op: str
    target: Any
    args: Any
    kwargs: Any
    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A graph module as plain values.

    Attributes:
        name: of its class.
        nodes: in their order.
        codegen: how its arguments and results are structured.
        weights: parameters, buffers and constants by name.
    """

    name: str
    nodes: tuple[_Node, ...]
    codegen: Any
    weights: dict[str, Any]

    @classmethod
    def of(cls, module: fx.GraphModule) -> Sent:
        """Take a graph module of ATen operations apart; its weights are not copied."""
        used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
        return cls(
            type(module).__name__,
            tuple(map(_taken, module.graph.nodes)),
            module.graph._codegen,
            {name: attribute(module, name) for name in sorted(used)},
        )

    def module(self) -> fx.GraphModule:
        """Put it together again; of what operations gave, the shape and dtype are known."""
        graph = fx.Graph()
        made: dict[str, fx.Node] = {}
        for node in self.nodes:
            args, kwargs = fx.node.map_aggregate(
                (node.args, node.kwargs), lambda x: made[x.name] if isinstance(x, _Named) else x
            )
            target = node.target.found() if isinstance(node.target, _Operator) else node.target
            new = graph.create_node(node.op, target, tuple(args), dict(kwargs), node.name)
            made[node.name] = new
            if node.dtype is not None:
                new.meta["val"] = torch.empty(node.shapes[0], dtype=node.dtype, device="meta")
        graph._codegen = self.codegen
        root = nn.Module()
        for name, value in self.weights.items():
            place(root, name, value)
        return fx.GraphModule(root, graph, self.name)


def _named(value: Any) -> Any:
    return _Named(value.name) if isinstance(value, fx.Node) else value


def _taken(node: fx.Node) -> _Node:
    args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), _named)
    value = node.meta.get("val")
    dtype = value.dtype if isinstance(value, torch.Tensor) else None
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        target = _Operator(target.namespace, target._opname, target._overloadname)
    shapes = tuple(shapes_of(node))
    return _Node(node.name, node.op, target, tuple(args), dict(kwargs), shapes, dtype)


def place(root: nn.Module, target: str, value: Any) -> None:
    """Set a parameter, a buffer or another value under a dotted name, making what lies between."""
    *path, name = target.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root._modules[part]  # type: ignore[assignment]
    if isinstance(value, nn.Parameter):
        root.register_parameter(name, value)
    elif isinstance(value, torch.Tensor):
        root.register_buffer(name, value)
    else:
        setattr(root, name, value)
