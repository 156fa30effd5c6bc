"""Where a network can be cut in two, and its second half."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import fx

from edgekit.core.errors import InputError
from edgekit.search.elastic.analysis import is_layer, operation, shapes_of

_MOST_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Cut:
    """A place where one tensor alone goes on.

    Attributes:
        name: of the operation that gives it, in the graph.
        shape: ``(channels, height, width)``.
    """

    name: str
    shape: tuple[int, int, int]


def cuts(net: fx.GraphModule) -> list[Cut]:
    """Every place of a captured network where one tensor of an image goes on, in order.

    Only those before a layer or a branch: a tensor before its batch norm or activation is none.
    """
    found = []
    nodes = list(net.graph.nodes)
    place = {node: index for index, node in enumerate(nodes)}
    ends = {node: max(map(place.__getitem__, node.users), default=-1) for node in nodes}
    alive: set[fx.Node] = set()
    for index, node in enumerate(nodes):
        if node.op != "get_attr" and not _is_batch_size(node):
            alive.add(node)
        alive = {other for other in alive if ends[other] > index}
        if alive == {node} and node.op == "call_function" and _begins_something(node):
            shapes = shapes_of(node)
            if len(shapes) == 1 and len(shapes[0]) == 4:
                _, channels, height, width = shapes[0]
                found.append(Cut(node.name, (channels, height, width)))
    return found


def cut_named(net: fx.GraphModule, name: str) -> Cut:
    """One of ``cuts``.

    Raises:
        InputError: another name.
    """
    known = {cut.name: cut for cut in cuts(net)}
    if name not in known:
        raise InputError(
            f"a network is cut where one tensor goes on, {', '.join(known) or 'nowhere'} here, "
            f"got {name}; choose one of these"
        )
    return known[name]


def first_stage(net: fx.GraphModule) -> Cut:
    """The last cut before the shape changes, where the paper cuts.

    Raises:
        InputError: the network has no cut.
    """
    found = cuts(net)
    if not found:
        raise InputError(
            "a network is cut where one tensor of channels, height and width goes on, this one "
            "has no such place; give another network"
        )
    return [cut for cut in found if cut.shape == found[0].shape][-1]


def at_input(net: fx.GraphModule) -> Cut:
    """The place before everything: what goes on is the image."""
    (given,) = (node for node in net.graph.nodes if node.op == "placeholder")
    ((_, channels, height, width),) = shapes_of(given)
    return Cut(given.name, (channels, height, width))


def stage_ends(net: fx.GraphModule, cut: Cut) -> list[str]:
    """Where features are compared: at a cut, or at the end of the first stage, and behind it.

    None in a network that is only cut at its input.
    """
    if cut == at_input(net):
        if not cuts(net):
            return []
        cut = first_stage(net)
    return [cut.name, *levels_after(net, cut)]


def tail(net: fx.GraphModule, cut: Cut) -> fx.GraphModule:
    """What comes after a cut: ``(batch, channels, height, width)`` to what the network answers.

    Its parameters are those of the network, under the same names.

    Args:
        net: captured, of one input.
        cut: one of its ``cuts``, or ``at_input``.
    """
    graph = fx.Graph()
    nodes = list(net.graph.nodes)
    (source,) = (node for node in nodes if node.name == cut.name)
    given = graph.placeholder("x")
    given.meta = dict(source.meta)
    new: dict[fx.Node, fx.Node] = {source: given}
    after = nodes[nodes.index(source) + 1 :]
    for node in nodes[: nodes.index(source)]:
        if node.op == "get_attr":
            new[node] = graph.node_copy(node)
        elif _is_batch_size(node):
            new[node] = graph.call_function(torch.ops.aten.sym_size.int, (given, 0))
    for node in after:
        if node.op == "output":
            (answer,) = node.all_input_nodes
            graph.output(new[answer])
        else:
            new[node] = graph.node_copy(node, new.__getitem__)
    graph.eliminate_dead_code()
    graph.lint()
    plain = fx.GraphModule(net, copy.deepcopy(graph), type(net).__name__)
    return plain.train(net.training)


def levels_after(net: fx.GraphModule, cut: Cut) -> list[str]:
    """Later cuts, at most three, spread over what is left: where features are compared.

    The published levels are the ends of the stages that follow.
    """
    names = [other.name for other in cuts(net)]
    later = names[names.index(cut.name) + 1 :]
    places = np.unique(np.linspace(0, len(later) - 1, min(_MOST_LEVELS, len(later))).astype(int))
    return [later[place] for place in places]


def _is_batch_size(node: fx.Node) -> bool:
    """How many images there are: known again behind a cut."""
    if node.op != "call_function" or operation(node) != "sym_size":
        return False
    of, axis = node.args
    return isinstance(of, fx.Node) and of.op == "placeholder" and bool(axis == 0)


def _begins_something(node: fx.Node) -> bool:
    """Whether a layer or a branch follows, or another shape."""
    users = list(node.users)
    if len(users) > 1 or any(is_layer(user) for user in users):
        return True
    return any(shapes_of(user) != shapes_of(node) for user in users)
