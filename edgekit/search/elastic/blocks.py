"""The blocks of a network: the parts that have one precision each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from torch import fx

from edgekit.search.elastic.analysis import Branch, is_layer


def blocks_of(graph: fx.Graph, branches: Sequence[Branch]) -> dict[str, str]:
    """Name of the block of every operation, by the operation's name, in order.

    A block is the smallest element of a container (``layer1.0``, ``blocks.3``) that holds at least
    two layers, else the module at the top that a layer lies in. Where a container's element holds
    several residual branches (attention and MLP), each is a block of its own. What holds no layer
    joins the block before it, or the one behind it where that alone can never be left out.

    Args:
        graph: of the source, from ``captured``.
        branches: its residual branches.
    """
    operations = [node for node in graph.nodes if node.op == "call_function"]
    paths = {node.name: module_path(node) for node in operations}
    n_layers: Counter[tuple[str, ...]] = Counter()
    for node in operations:
        if is_layer(node):
            path = paths[node.name]
            n_layers.update(path[:n] for n in range(1, len(path) + 1))
    named = {node.name: ".".join(_element(paths[node.name], n_layers)) for node in operations}
    named |= _branch_names(branches, named, paths, {n.name for n in operations if is_layer(n)})
    layers = [node.name for node in operations if is_layer(node)]
    with_layers = {named[name] for name in layers}
    gone = {name for branch in branches for name in branch.nodes}
    stays = {named[name] for name in layers if name not in gone}
    found: dict[str, str] = {}
    order = [node.name for node in operations]
    before = None
    for index, name in enumerate(order):
        own = named[name]
        if own in with_layers:
            before = found[name] = own
            continue
        behind = next((named[n] for n in order[index:] if named[n] in with_layers), None)
        near = [block for block in (before, behind) if block is not None]
        found[name] = next((block for block in near if block in stays), (*near, "network")[0])
    return found


def module_path(node: fx.Node) -> tuple[str, ...]:
    """Parts of the path of the innermost module that an operation belongs to."""
    stack = node.meta.get("nn_module_stack") or {}
    deepest = [path for path, _ in stack.values()][-1:] or [""]
    return tuple(part for part in deepest[0].split(".") if part)


def _element(path: tuple[str, ...], n_layers: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    elements = [path[:n] for n in range(1, len(path) + 1) if path[n - 1].isdigit()]
    deep = [element for element in elements if n_layers[element] >= 2]
    return (deep[-1:] or elements[:1] or [path[:1]])[0]


def _branch_names(
    branches: Sequence[Branch],
    named: Mapping[str, str],
    paths: Mapping[str, tuple[str, ...]],
    layers: set[str],
) -> dict[str, str]:
    """Names of the operations in branches: their block, or a part of it where it has several."""
    first = {b.exit: next(name for name in b.nodes if name in layers) for b in branches}
    homes = Counter(named[layer] for layer in first.values())
    found: dict[str, str] = {}
    taken: set[str] = set()
    for branch in sorted(branches, key=lambda b: -len(b.nodes)):
        layer = first[branch.exit]
        name = home = named[layer]
        if homes[home] > 1:
            part = paths[layer][len(home.split(".")) :][:1] or (layer,)
            name = f"{home}.{part[0]}"
            while name in taken:
                name += "_"
        taken.add(name)
        found |= dict.fromkeys(branch.nodes, name)
    return found
