"""From a model to the kernels the runtime really runs, and how long each took.

    model -> session -> optimised model, saved    attributes, weight shapes, edges
                     -> profile of its runs       output shapes, provider, durations  -> kernels

Both files come from one session and are joined on node names. A node without a name is joined by
its operator, in topological order: ONNX Runtime leaves names empty where it inlines a function.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto

from edgekit.core.errors import EdgekitError, InputError
from edgekit.core.kernel import AttributeValue, Kernel, PlacedKernel, Shape
from edgekit.devices.measuring.session import create_session, random_inputs, session_options

_GENERATED = re.compile(r"(_token_\d+|_nchwc|/duplicated|_out\d+)$")
_CONVOLUTIONS = ("Conv", "FusedConv")
_SEED = 0
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KernelTimes:
    """What a profiled session ran, and the raw durations.

    Attributes:
        placed: the kernels, in execution order.
        durations_s: ``(n_runs, n_kernels)`` float64, whole microseconds, in seconds.
        started_s: ``(n_runs,)`` float64, when each run began, in seconds since the session opened.
    """

    placed: tuple[PlacedKernel, ...]
    durations_s: Array
    started_s: Array

    def fastest_s(self, share: float = 0.3) -> Array:
        """Mean of the fastest ``share`` of the runs of each kernel, ``(n_kernels,)`` in seconds.

        Durations are whole microseconds, so that a quantile of a small kernel says nothing.
        """
        n_kept = max(1, round(share * len(self.durations_s)))
        return np.asarray(np.sort(self.durations_s, axis=0)[:n_kept].mean(axis=0))


class ProfiledModel:
    """A session with profiling on: run it as often as you like, then close it for the times.

    Args:
        model: float32 input; symbolic dimensions are run with size 1.
        n_threads: threads of the session, at least 1.

    Raises:
        InputError: ONNX Runtime cannot load the model, or an input is not float32.

    Example:
        >>> from edgekit.devices.networks.graph import GraphBuilder
        >>> net = GraphBuilder("tiny", (1, 3, 8, 8))
        >>> with net.block("stem"):
        ...     x = net.conv(net.input, 16, 3, act="relu6")
        >>> profiled = ProfiledModel(net.build(x))
        >>> profiled.run()
        >>> [(placed.block, placed.kernel.op) for placed in profiled.close().placed]
        [('stem', 'Conv'), ('stem', 'ReorderOutput')]
    """

    def __init__(self, model: ModelProto | bytes, n_threads: int = 1) -> None:
        data = model if isinstance(model, bytes) else model.SerializeToString()
        self._folder = TemporaryDirectory(prefix="edgekit-")
        self._saved = Path(self._folder.name) / "optimised.onnx"
        try:
            options = session_options(
                n_threads, profile_prefix=Path(self._folder.name) / "profile"
            )
            options.optimized_model_filepath = str(self._saved)
            self._session = create_session(data, options)
            self._feed = random_inputs(self._session, _SEED)
        except InputError:
            self._folder.cleanup()
            raise
        self._source = _without_weights(data)

    def run(self) -> None:
        """Run the network once on random input."""
        self._session.run(None, self._feed)

    def optimised(self) -> ModelProto:
        """The model as the runtime optimised it, until the session is closed."""
        return onnx.load(self._saved)

    def close(self) -> KernelTimes:
        """End the session.

        Returns:
            The kernels in an order that the session does not decide, and the times of all runs.

        Raises:
            EdgekitError: no run was made, or the profile and the optimised model differ in nodes.
        """
        with self._folder:
            runs = _read_profile(Path(self._session.end_profiling()))
            optimised = self.optimised()
            del self._session
        nodes = list(optimised.graph.node)
        runs = _joined(nodes, runs)
        inputs = {name: ("float", value.shape) for name, value in self._feed.items()}
        placed = _Placer(self._source, optimised, runs, inputs).placed()
        order = _canonical_order(nodes, placed)
        first = min(runs, key=lambda run: run.started_s[0])
        return KernelTimes(
            tuple(placed[i][1] for i in order),
            np.array([runs[i].durations_s for i in order]).T,
            np.array(first.started_s),
        )


def lower(model: ModelProto | bytes, *, n_threads: int = 1) -> tuple[PlacedKernel, ...]:
    """The kernels that ONNX Runtime's CPU provider runs for a network.

    Args:
        model: the network, or its serialised bytes.
        n_threads: threads of the session, above 0.

    Returns:
        The kernels in execution order; equal calls give equal kernels. ``block`` is what stands
        before the first ``/`` in the name of the source node.

    Raises:
        InputError: a model that ONNX Runtime does not load.
    """
    profiled = ProfiledModel(model, n_threads)
    profiled.run()
    return profiled.close().placed


@dataclass(slots=True)
class _NodeRuns:
    """All events of one node: what it wrote and its time in every run."""

    name: str
    op: str
    provider: str
    outputs: list[tuple[str, Shape]]
    durations_s: list[float]
    started_s: list[float]


def _read_profile(path: Path) -> list[_NodeRuns]:
    nodes: dict[tuple[str, str], _NodeRuns] = {}
    for event in json.loads(path.read_bytes()):
        if event["cat"] != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        name, details = event["name"].removesuffix("_kernel_time"), event["args"]
        key = (name, details["node_index"])
        if key not in nodes:
            types = [next(iter(entry.items())) for entry in details["output_type_shape"]]
            outputs = [(dtype, tuple(shape)) for dtype, shape in types]
            nodes[key] = _NodeRuns(name, details["op_name"], details["provider"], outputs, [], [])
        nodes[key].durations_s.append(event["dur"] * 1e-6)
        nodes[key].started_s.append(event["ts"] * 1e-6)
    if not nodes or len({len(node.durations_s) for node in nodes.values()}) != 1:
        raise EdgekitError(
            "every node must run once a run, the profile differs; run the model at least once"
        )
    return list(nodes.values())


def _joined(nodes: Sequence[NodeProto], runs: Sequence[_NodeRuns]) -> list[_NodeRuns]:
    """The events of each node of the optimised model."""
    names = {node.name for node in nodes if node.name}
    waiting: dict[tuple[str, str], deque[_NodeRuns]] = defaultdict(deque)
    for run in runs:
        waiting[run.name if run.name in names else "", run.op].append(run)
    if Counter({key: len(queue) for key, queue in waiting.items()}) != Counter(
        (node.name, node.op_type) for node in nodes
    ):
        raise EdgekitError(
            "the profile must hold the nodes of the optimised model, it holds others; "
            "give every node of the model a unique name"
        )
    return [waiting[node.name, node.op_type].popleft() for node in nodes]


class _Placer:
    """Finds for every executed node its kernel and the block it came from."""

    def __init__(
        self,
        source: ModelProto,
        optimised: ModelProto,
        runs: list[_NodeRuns],
        inputs: Mapping[str, tuple[str, Shape]],
    ) -> None:
        self._nodes, self._runs = list(optimised.graph.node), runs
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in optimised.graph.initializer}
        self._values = dict(inputs)
        for node, run in zip(self._nodes, runs, strict=True):
            self._values.update(zip(filter(None, node.output), run.outputs, strict=False))
        self._position: dict[str, int] = {}
        self._block: dict[str, str] = {}
        for index, node in enumerate(source.graph.node):
            block, slash, _ = node.name.partition("/")
            for name in (*node.output, node.name):
                self._position[name] = index
                self._block[name] = block if slash else ""

    def placed(self) -> list[tuple[int, PlacedKernel]]:
        """Position of the source node, and the kernel, for every node."""
        origins = [self._origin(node) for node in self._nodes]
        producer = {name: i for i, node in enumerate(self._nodes) for name in node.output}
        readers: dict[int, list[int]] = defaultdict(list)
        for i, node in enumerate(self._nodes):
            for j in (producer[name] for name in node.input if name in producer):
                readers[j].append(i)
                origins[i] = origins[i] or origins[j]
        positions = [self._position.get(origin, -1) for origin in origins]
        blocks = [self._block.get(origin, "") for origin in origins]
        for i in reversed(range(len(self._nodes))):
            blocks[i] = blocks[i] or next((blocks[j] for j in sorted(readers[i]) if blocks[j]), "")
        names = [node.name or run.name for node, run in zip(self._nodes, self._runs, strict=True)]
        return [
            (positions[i], PlacedKernel(self._kernel(i), names[i], blocks[i], origins[i]))
            for i in range(len(self._nodes))
        ]

    def _origin(self, node: NodeProto) -> str:
        """Name of the source node or tensor this node was made from; empty for an inserted one."""
        for name in (node.name, *node.output):
            while name not in self._position and _GENERATED.search(name):
                name = _GENERATED.sub("", name)
            if name in self._position:
                return str(name)
        return ""

    def _kernel(self, index: int) -> Kernel:
        node, run = self._nodes[index], self._runs[index]
        inputs = [self._values[name] for name in node.input if name in self._values]
        weights = [self._weights[name] for name in node.input if self._weights.get(name)]
        attributes = dict(_attributes(node))
        if node.op_type in _CONVOLUTIONS:
            attributes["fused_add"] = int(len(inputs) > 1)
        return Kernel(
            op=node.op_type,
            domain=node.domain,
            dtype=inputs[0][0] if inputs else "",
            input_shapes=tuple(shape for _, shape in inputs),
            weight_shapes=tuple(weights),
            output_shapes=tuple(shape for _, shape in run.outputs),
            attributes=tuple(sorted(attributes.items())),
            provider=run.provider,
        )


def _attributes(node: NodeProto) -> Iterator[tuple[str, AttributeValue]]:
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS):
            yield attribute.name, tuple(value)
        elif attribute.type == AttributeProto.STRING:
            yield attribute.name, attribute.s.decode()
        elif attribute.type in (AttributeProto.INT, AttributeProto.FLOAT):
            yield attribute.name, value


def _canonical_order(
    nodes: Sequence[NodeProto], placed: list[tuple[int, PlacedKernel]]
) -> list[int]:
    """Topological order that takes what stood first in the source model first (Kahn 1962)."""
    producer = {name: i for i, node in enumerate(nodes) for name in node.output}
    readers: dict[int, list[int]] = defaultdict(list)
    n_missing = [0] * len(nodes)
    for i, node in enumerate(nodes):
        for j in {producer[name] for name in node.input if name in producer}:
            readers[j].append(i)
            n_missing[i] += 1
    keys = [(position, kernel.block, repr(kernel.kernel)) for position, kernel in placed]
    ready = [(keys[i], i) for i in range(len(nodes)) if not n_missing[i]]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        _, i = heapq.heappop(ready)
        order.append(i)
        for j in readers[i]:
            n_missing[j] -= 1
            if not n_missing[j]:
                heapq.heappush(ready, (keys[j], j))
    return order


def _without_weights(data: bytes) -> ModelProto:
    """The nodes of a model: it may stay open for minutes beside hundreds of others."""
    model = onnx.load_from_string(data)
    del model.graph.initializer[:]
    return model
