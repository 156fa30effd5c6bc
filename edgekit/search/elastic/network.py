"""A network whose channels and branches are chosen at run time, and the plain network of a choice.

choice --> graph with its own sizes --> run on slices of the full weights
'--> plain module with weights of its own
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx._pytree import tree_flatten_spec

from edgekit.core.errors import InputError
from edgekit.search.elastic.analysis import (
    Group,
    Structure,
    analyse,
    attribute,
    operation,
    shapes_of,
)
from edgekit.search.elastic.blocks import blocks_of
from edgekit.search.elastic.capture import Example, captured
from edgekit.search.elastic.resizing import RESIZED, Flags, Sizes
from edgekit.search.elastic.sending import Sent, place

_N_REMEMBERED = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """One network among those that an elastic one holds.

    Attributes:
        n_channels: kept by each group, in the order of ``Structure.groups``; at least 1.
        skipped: names of the branches that are left out.
    """

    n_channels: tuple[int, ...]
    skipped: frozenset[str] = frozenset()


class ElasticNetwork(nn.Module):
    """A network that runs any choice of its channels and branches with the same weights.

    Weights are sliced while it runs, never copied into another model. A choice keeps the channels
    that stand first in the order of their group, so that smaller choices lie inside larger ones.

    Args:
        net: the source; it is not changed, its weights are copied once.
        example: input of it, as ``captured`` takes it.

    Attributes:
        structure: what was found to be elastic.
        blocks: name of the block of every operation.
        choice: the network that runs; all of the source at first.
        orders: per group its channels, those that matter most first; see ``sort``.

    Raises:
        InputError: the network cannot be exported, or nothing in it can vary.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten())
        >>> elastic = ElasticNetwork(net, torch.zeros(2, 3, 8, 8))
        >>> elastic.structure.groups[0].n_channels
        8
        >>> small = elastic.extract(Choice((4,)))
        >>> small(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 144])
    """

    def __init__(self, net: nn.Module, example: Example) -> None:
        super().__init__()
        source = captured(net, example)
        structure = analyse(source)
        if not structure.groups and not structure.branches:
            raise InputError(_nothing_varies(net, structure))
        self._begin(source, structure, blocks_of(source.graph, structure.branches))

    def _apply(self, fn: Any, recurse: bool = True) -> ElasticNetwork:
        """Forget what was made for the device that the weights leave."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._graph.cache_clear()
        self._indices.cache_clear()
        return self

    def copied(self) -> ElasticNetwork:
        """Another one with weights of its own, as they are now, its channels not sorted."""
        other = ElasticNetwork.__new__(ElasticNetwork)
        nn.Module.__init__(other)
        other._begin(copy.deepcopy(self.source), self.structure, self.blocks)
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {
            "source": Sent.of(self.source),
            "structure": self.structure,
            "blocks": self.blocks,
            "orders": self.orders,
            "choice": self.choice,
            "fixed_batches": self._fixed_batches,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Inverse of ``__getstate__``, in evaluation mode."""
        nn.Module.__init__(self)
        self._begin(state["source"].module(), state["structure"], state["blocks"])
        self._fixed_batches, self.choice = state["fixed_batches"], state["choice"]
        self.sort(state["orders"])

    def _begin(
        self, source: fx.GraphModule, structure: Structure, blocks: Mapping[str, str]
    ) -> None:
        self.source, self.structure = source, structure
        self.blocks = dict(blocks)
        self._fixed_batches = [
            _fixed_batch(node) for node in source.graph.nodes if node.op == "placeholder"
        ]
        self.orders = [np.arange(group.n_channels) for group in structure.groups]
        self._graph = lru_cache(_N_REMEMBERED)(self._graph_of)
        self._indices = lru_cache(_N_REMEMBERED)(self._indices_of)
        self.choice = self.largest
        self.eval()

    @property
    def largest(self) -> Choice:
        """The source itself."""
        return Choice(tuple(group.n_channels for group in self.structure.groups))

    @property
    def smallest(self) -> Choice:
        """One channel of every group, no branch that may be left out."""
        return Choice(
            tuple(1 for _ in self.structure.groups),
            frozenset(branch.exit for branch in self.structure.branches),
        )

    def sort(self, orders: list[NDArray[np.int64]]) -> None:
        """Say which channels of each group matter most, the first the most.

        Args:
            orders: a permutation per group.

        Raises:
            InputError: not a permutation of the channels of each group.
        """
        sizes = [group.n_channels for group in self.structure.groups]
        if [sorted(order.tolist()) for order in orders] != [list(range(n)) for n in sizes]:
            raise InputError(
                f"orders must be permutations of {sizes} channels, got {[len(o) for o in orders]}"
            )
        self.orders = list(orders)
        self._indices.cache_clear()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the chosen network; arguments and result as of the source."""
        codegen = self.source.graph._codegen
        assert isinstance(codegen, fx.graph._PyTreeCodeGen)
        flat = tree_flatten_spec((args, kwargs), codegen.pytree_info.in_spec)
        self._check_batch(flat)
        graph, indices = self._graph(self.choice), self._indices(self.choice)
        runner = _Runner(self.source, graph, indices, self.training)
        out = runner.run(*flat, enable_io_processing=False)
        return codegen.process_outputs(out)

    def digest(self) -> str:
        """SHA-256 of the graph and the weights of the source."""
        found = hashlib.sha256(str(self.source.graph).encode())
        for name, tensor in sorted(self.source.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    def shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Shapes of what the source takes and answers, with the batch of the example."""
        nodes = list(self.source.graph.nodes)
        taken = [shape for n in nodes if n.op == "placeholder" for shape in shapes_of(n)]
        return taken, [shape for n in nodes[-1].all_input_nodes for shape in shapes_of(n)]

    def _check_batch(self, flat: Iterable[Any]) -> None:
        for size, value in zip(self._fixed_batches, flat, strict=True):
            if size is not None and isinstance(value, torch.Tensor) and size != len(value):
                raise InputError(
                    f"this network runs a batch of {size} as in its example, got {len(value)}; "
                    "read the batch size as x.shape[0] in its forward, not as len(x)"
                )

    def extract(self, choice: Choice) -> fx.GraphModule:
        """The network of a choice as a plain module, with weights as small as it needs.

        Args:
            choice: of this network.

        Returns:
            A module in evaluation mode that shares nothing with this one.
        """
        graph, indices = self._graph(choice), self._indices(choice)
        used = {node.target for node in graph.nodes if node.op == "get_attr"}
        root = nn.Module()
        for target in sorted(used):
            place(root, target, _own(attribute(self.source, target), indices.get(target, {})))
        plain = fx.GraphModule(root, copy.deepcopy(graph), type(self.source).__name__)
        plain.graph._codegen = self.source.graph._codegen
        plain.recompile()
        return plain.eval()

    def kept(self, choice: Choice, operation: str) -> dict[int, torch.Tensor]:
        """What of an operation's result, as the source gives it, a choice has.

        Args:
            choice: of this network.
            operation: its name in the graph of the source.

        Returns:
            int64 coordinates that are left, by axis; without the axes of which all is left.
        """
        alive, found = self._alive(choice), {}
        for value in self.structure.values.get(operation, ())[:1]:
            for dim in range(len(value.shape)):
                lines = value.lines(dim)
                left = None if lines is None else alive[lines].any(axis=1)
                if left is not None and not left.all():
                    found[dim] = torch.from_numpy(np.flatnonzero(left))
        return found

    def _alive(self, choice: Choice) -> Flags:
        groups = self.structure.groups
        sound = len(choice.n_channels) == len(groups) and all(
            1 <= n <= group.n_channels for n, group in zip(choice.n_channels, groups, strict=False)
        )
        known = {branch.exit for branch in self.structure.branches}
        if not sound or choice.skipped - known:
            raise InputError(
                f"a choice keeps 1 to {self.largest.n_channels} channels and leaves out branches "
                f"of {sorted(known)}, got {choice}"
            )
        alive = np.ones(self.structure.n_classes, bool)
        for group, order, n in zip(groups, self.orders, choice.n_channels, strict=True):
            alive[group.classes[order[n:]]] = False
        return alive

    def _indices_of(self, choice: Choice) -> dict[str, dict[int, torch.Tensor]]:
        """What is kept of each parameter, by axis; nothing where all of it is."""
        alive = self._alive(choice)
        dropped: dict[tuple[str, int], list[NDArray[np.int64]]] = {}
        for group in self.structure.groups:
            gone = ~alive[group.classes]
            if gone.any():
                for key, places in group.places.items():
                    dropped.setdefault(key, []).append(places[gone].ravel())
        found: dict[str, dict[int, torch.Tensor]] = {}
        for (name, axis), gone_places in dropped.items():
            whole = attribute(self.source, name)
            kept = np.ones(whole.shape[axis], bool)
            kept[np.concatenate(gone_places)] = False
            index = torch.from_numpy(np.flatnonzero(kept)).to(whole.device)
            found.setdefault(name, {})[axis] = index
        return found

    def _graph_of(self, choice: Choice) -> fx.Graph:
        """The graph with the sizes of a choice and without the branches it leaves out."""
        alive = self._alive(choice)
        graph = fx.Graph()
        renamed: dict[fx.Node, fx.Node] = {}
        by_name = {node.name: node for node in self.source.graph.nodes}
        instead: dict[str, fx.Node | None] = {}
        for branch in self.structure.branches:
            if branch.exit in choice.skipped:
                end = branch.nodes.index(branch.exit)
                instead |= dict.fromkeys(branch.nodes[:end])
                instead |= dict.fromkeys(branch.nodes[end:], by_name[branch.entry])
        for node in self.source.graph.nodes:
            if node.name in instead:  # left out here: an operation in place is never dead code
                entry = instead[node.name]
                if entry is not None and entry in renamed:
                    renamed[node] = renamed[entry]
                continue
            new = graph.node_copy(node, lambda old: renamed[old])
            renamed[node] = new
            if node.name in self.blocks:
                new.meta["nn_module_stack"] = _as_modules(self.blocks[node.name], node.name)
            if node.op == "call_function" and (resize := RESIZED.get(operation(node))):
                resize(Sizes(node, new, self.structure.values, alive))
        graph.eliminate_dead_code()
        graph.lint()
        return graph


class _Runner(fx.Interpreter):
    """Runs a graph on slices of the weights; each weight is sliced once.

    In training mode a batch norm takes the statistics of the batch and keeps none: those of one
    choice are of no use to another.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        graph: fx.Graph,
        indices: Mapping[str, Mapping[int, torch.Tensor]],
        is_training: bool,
    ) -> None:
        super().__init__(module, garbage_collect_values=False, graph=graph)
        self._indices, self._is_training = indices, is_training
        self._sliced: dict[str, Any] = {}

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if self._is_training and target is torch.ops.aten.batch_norm.default:
            x, weight, bias, _, _, _, momentum, eps, cudnn = args
            return torch.batch_norm(x, weight, bias, None, None, True, momentum, eps, cudnn)
        return super().call_function(target, args, kwargs)

    def fetch_attr(self, target: str) -> Any:
        if target not in self._sliced:
            value = attribute(self.module, target)
            for axis, index in self._indices.get(target, {}).items():
                value = value.index_select(axis, index)
            self._sliced[target] = value
        return self._sliced[target]


def _fixed_batch(placeholder: fx.Node) -> int | None:
    """The only batch size an input may have; None where any will do."""
    value = placeholder.meta.get("val")
    size = value.shape[:1] if isinstance(value, torch.Tensor) else ()
    return size[0] if size and isinstance(size[0], int) else None


def _as_modules(block: str, name: str) -> dict[str, tuple[str, str]]:
    """Module scopes that say which block an operation belongs to, and what it is called."""
    return {block: (block, "block"), name: (f"{block}.{name}", "operation")}


def _own(value: Any, indices: Mapping[int, torch.Tensor]) -> Any:
    if not isinstance(value, torch.Tensor):
        return copy.deepcopy(value)
    data = value.detach()
    for axis, index in indices.items():
        data = data.index_select(axis, index)
    data = data.clone(memory_format=torch.contiguous_format)
    return nn.Parameter(data, value.requires_grad) if isinstance(value, nn.Parameter) else data


def _nothing_varies(net: nn.Module, structure: Structure) -> str:
    first = next(iter(structure.boundaries), None)
    cause = (
        f"the first operation edgekit does not follow is {first}; write it with others"
        if first
        else "it has no two layers in a row and no residual branch; give it more layers"
    )
    return (
        "a search space needs channels that can go or branches that can be left out, "
        f"{type(net).__name__} has none: {cause}"
    )


def channels_of(group: Group) -> int:
    """Elements along the axis of its layer that belong to one channel: the width of a head."""
    return min(int(indices.shape[1]) for indices in group.places.values())
