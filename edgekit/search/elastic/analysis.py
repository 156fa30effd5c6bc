"""What of a network can shrink or be left out: channel groups and residual branches.

module --torch.export--> graph --rules--> labels --> classes --> groups of equal channels
--> additions whose branch has one way in --> residual branches
"""

from __future__ import annotations

import itertools
import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from edgekit.search.elastic.rules import RULES, Call, boundary
from edgekit.search.elastic.values import FIXED, Flow, Labels, Value

_LAYERS = ("conv1d", "conv2d", "conv3d", "linear", "addmm", "matmul", "conv_transpose2d")

Places = Mapping[tuple[str, int], NDArray[np.int64]]
"""Indices by (parameter, axis): ``(n_channels, n_per_channel)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Channels (or heads) of one kind: any of them can go, each with all that belongs to it.

    Attributes:
        name: the layer that makes them.
        classes: ``(n,)`` label class of each.
        places: what of each parameter belongs to each of them.
    """

    name: str
    classes: Labels
    places: Places

    @property
    def n_channels(self) -> int:
        """How many there are."""
        return len(self.classes)


@dataclass(frozen=True, slots=True)
class Branch:
    """A residual branch that can be left out.

    Attributes:
        name: the module it ends in.
        entry: graph node whose output then takes the place of ``exit``.
        exit: the addition.
        parameters: that nothing else uses.
        nodes: operations that go with it, in order, ``exit`` last; and a ReLU behind it where
            ``entry`` is a ReLU already.
    """

    name: str
    entry: str
    exit: str
    parameters: frozenset[str] = frozenset()
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """What was found in a graph.

    Attributes:
        groups: channels that may shrink, in the order of their layers.
        branches: residual branches, in order.
        values: of every node's outputs, with classes in the place of labels.
        n_classes: of labels.
        boundaries: operations that were not understood, with how often.
        fixed: layers whose outputs all stay, and why.
    """

    groups: tuple[Group, ...]
    branches: tuple[Branch, ...]
    values: Mapping[str, tuple[Value, ...]]
    n_classes: int
    boundaries: Mapping[str, int]
    fixed: Mapping[str, str]


def analyse(module: fx.GraphModule) -> Structure:
    """Find what may shrink or be left out.

    Args:
        module: from ``captured``.
    """
    flow, unknown = Flow(), Counter[str]()
    parameters: dict[str, Value] = {}
    values: dict[str, tuple[Value, ...]] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            tensor = attribute(module, node.target)
            if node.target not in parameters and isinstance(tensor, torch.Tensor):
                parameters[node.target] = flow.links.fresh(tensor.shape)
            if node.target in parameters:
                values[node.name] = (parameters[node.target],)
        elif node.op == "placeholder":
            values[node.name] = tuple(Value(shape) for shape in shapes_of(node))
        elif node.op == "output":
            flow.links.cause = "the network answers with it"
            for value in _values_in(node.args, values):
                flow.links.fix(value)
        else:
            values[node.name] = _passed(flow, node, values, unknown)
    classes = flow.links.classes()
    groups = list(_groups(module, parameters, classes))
    free = np.concatenate([[classes[FIXED]], *(group.classes for group in groups)])
    kept = np.where(np.isin(classes, free), classes, classes[FIXED])
    return Structure(
        groups=tuple(groups),
        branches=tuple(_branches(module.graph)),
        values={name: tuple(_resolved(v, kept) for v in vs) for name, vs in values.items()},
        n_classes=int(classes.max()) + 1,
        boundaries=dict(unknown),
        fixed=dict(_fixed(module, flow, parameters, classes)),
    )


def attribute(module: nn.Module, target: str) -> Any:
    """What a ``get_attr`` node reads."""
    found: Any = module
    for part in target.split("."):
        found = getattr(found, part)
    return found


def operation(node: fx.Node) -> str:
    """Name of the ATen operation, without its overload; else of the function."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[1]
    return getattr(target, "__name__", str(target))


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operation's schema."""
    target = node.target
    assert isinstance(target, torch._ops.OpOverload)
    names = [argument.name for argument in target._schema.arguments]
    defaults = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
    return {**defaults, **dict(zip(names, node.args, strict=False)), **node.kwargs}


def shapes_of(node: fx.Node) -> list[tuple[int, ...]]:
    """Shapes of the tensors a node gives; a batch size that is open counts as in the example."""
    value = node.meta.get("val")
    items = value if isinstance(value, list | tuple) else [value]
    return [tuple(map(_size, v.shape)) for v in items if isinstance(v, torch.Tensor)]


def _size(size: int | torch.SymInt) -> int:
    return size if isinstance(size, int) else int(size.node.hint)


def _passed(
    flow: Flow, node: fx.Node, values: Mapping[str, tuple[Value, ...]], unknown: Counter[str]
) -> tuple[Value, ...]:
    """The values of a call."""
    if node.target is operator.getitem:
        source, index = node.args
        assert isinstance(source, fx.Node)
        assert isinstance(index, int)
        return (values[source.name][index],) if source.name in values else ()
    shapes = shapes_of(node)
    if not isinstance(node.target, torch._ops.OpOverload):
        flow.links.cause = f"edgekit does not follow {operation(node)}"
        for value in _values_in((node.args, node.kwargs), values):
            flow.links.fix(value)
            unknown[operation(node)] += 1
        return tuple(Value(shape) for shape in shapes)
    if not shapes:
        return ()

    def known(item: Any) -> Any:
        if isinstance(item, fx.Node):
            found = values.get(item.name, ())
            return found[0] if found else _constant(item)
        return [known(i) for i in item] if isinstance(item, list | tuple) else item

    call = Call({key: known(item) for key, item in arguments_of(node).items()}, shapes)
    rule = RULES.get(operation(node))
    flow.links.cause = f"{operation(node)} needs all of it"
    if rule is not None:
        found = tuple(rule(flow, call))
        if [value.shape for value in found] == shapes:
            return found
    flow.links.cause = f"edgekit does not follow {operation(node)}"
    if any(value.blocks for value in call.tensors):
        unknown[operation(node)] += 1
    return tuple(boundary(flow, call))


def _constant(node: fx.Node) -> Any:
    value = node.meta.get("val")
    return int(value.node.hint) if isinstance(value, torch.SymInt) else value


def _values_in(item: Any, values: Mapping[str, tuple[Value, ...]]) -> Iterator[Value]:
    nodes: list[fx.Node] = []
    fx.map_arg(item, lambda node: nodes.append(node))
    for node in nodes:
        yield from values.get(node.name, ())


def _resolved(value: Value, classes: Labels) -> Value:
    blocks = tuple(type(b)(b.dims, classes[b.labels]) for b in value.blocks)
    return Value(value.shape, blocks)


def _groups(
    module: fx.GraphModule, parameters: Mapping[str, Value], classes: Labels
) -> Iterator[Group]:
    fixed = classes[FIXED]
    places: dict[int, dict[tuple[str, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    for name, value in parameters.items():
        for block in value.blocks:
            for index, found in enumerate(classes[block.labels].tolist()):
                if found != fixed:
                    places[found][name, block.dims[0]].append(index)
    alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for found, own in places.items():
        alike[tuple((key, len(indices)) for key, indices in own.items())].append(found)
    for signature, members in alike.items():
        if len(signature) < 2 or len(members) < 2:
            continue
        indices = {
            key: np.array([places[found][key] for found in members]) for key, _ in signature
        }
        first = next(iter(indices))[0]
        yield Group(first.rpartition(".")[0] or first, np.array(members), indices)


def _fixed(
    module: fx.GraphModule, flow: Flow, parameters: Mapping[str, Value], classes: Labels
) -> Iterator[tuple[str, str]]:
    """Layers with weights whose outputs all stay."""
    causes = flow.links.causes()
    for node in module.graph.nodes:
        if node.op != "call_function" or not is_layer(node):
            continue
        read = [n for n in node.all_input_nodes if n.op == "get_attr" and n.target in parameters]
        if not read or not (block := parameters[str(read[0].target)].block_at(0)):
            continue
        if (classes[block.labels] == classes[FIXED]).all():
            target = str(read[0].target)
            cause = next((causes[i] for i in block.labels.tolist() if i in causes), "")
            yield target.rpartition(".")[0] or target, cause or "something behind it needs it"


def _branches(graph: fx.Graph) -> Iterator[Branch]:
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op != "call_function" or operation(node) not in ("add", "add_"):
            continue
        operands = [a for a in node.args if isinstance(a, fx.Node)]
        if len(operands) != 2 or len({tuple(shapes_of(o)) for o in (*operands, node)}) != 1:
            continue
        for entry, end in (operands, operands[::-1]):
            region = _region(entry, end, order) if entry.op == "call_function" else set()
            if any(map(is_layer, region)) and all(
                user in {*region, node} for inner in region for user in inner.users
            ):
                name = _common_module(region) or end.name
                nodes = [*sorted(region, key=order.__getitem__), node]
                if is_relu(entry) and len(node.users) == 1 and is_relu(next(iter(node.users))):
                    nodes.append(next(iter(node.users)))
                yield Branch(
                    name,
                    entry.name,
                    node.name,
                    _parameters_of(region),
                    tuple(n.name for n in nodes if n.op == "call_function"),
                )
                break


def _region(entry: fx.Node, end: fx.Node, order: Mapping[fx.Node, int]) -> set[fx.Node]:
    """The operations on the ways from one node to another; empty where there is none."""
    before: set[fx.Node] = set()
    waiting = [end]
    while waiting:
        node = waiting.pop()
        if node not in before and order[node] > order[entry] and not _is_number(node):
            before.add(node)
            waiting += node.all_input_nodes
    after: set[fx.Node] = {entry}
    for node in sorted(before, key=order.__getitem__):
        if after.intersection(node.all_input_nodes):
            after.add(node)
    return after - {entry} if end in after else set()


def _parameters_of(region: set[fx.Node]) -> frozenset[str]:
    """Parameters and buffers that no operation outside of the region reads."""
    read = {i for node in region for i in node.all_input_nodes if i.op == "get_attr"}
    return frozenset(str(node.target) for node in read if region.issuperset(node.users))


def is_layer(node: fx.Node) -> bool:
    """Whether it multiplies by weights."""
    return operation(node) in _LAYERS


def is_relu(node: fx.Node) -> bool:
    """Whether it is a ReLU, for which twice is once."""
    return node.op == "call_function" and operation(node) in ("relu", "relu_")


def _is_number(node: fx.Node) -> bool:
    """Whether it computes a size, not a tensor."""
    return isinstance(node.meta.get("val"), int | torch.SymInt)


def _common_module(nodes: Iterable[fx.Node]) -> str:
    """The innermost module that all of the nodes belong to."""
    paths = []
    for node in nodes:
        stack = node.meta.get("nn_module_stack") or {}
        paths.append([path for path, _ in stack.values()][-1].split(".") if stack else [])
    shared = itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)
