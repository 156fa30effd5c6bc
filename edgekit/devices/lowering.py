"""From a model to the kernels the runtime really runs, and how long each took.

    model --> session --> saved optimised model --(attributes, weight shapes)--+
                   \\----> profile of its runs ----(order, output shapes, times)-+--> PlacedKernel

Both files come from one session and are joined on node names. A node without a name is joined by its operator, in
topological order: ONNX Runtime leaves names empty where it inlines a function.
"""

from __future__ import annotations

import heapq
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto

from edgekit.core.errors import EdgekitError, InputError
from edgekit.core.kernel import AttributeValue, Kernel, PlacedKernel, Shape

_ERRORS_ONLY = 3
_GENERATED = re.compile(r"(_token_\d+|_nchwc|/duplicated|_out\d+)$")
_CONVOLUTIONS = ("Conv", "FusedConv")
_FEED_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class KernelTimes:
    """What a profiled session ran, and the raw durations.

    Attributes:
        placed: the kernels, in execution order.
        durations_s: ``(n_runs, n_kernels)`` float64, whole microseconds, in seconds.
        started_s: ``(n_runs,)`` float64, when each run began, in seconds since the session was opened.
    """

    placed: tuple[PlacedKernel, ...]
    durations_s: Array
    started_s: Array

    def fastest_s(self, share: float = 0.3) -> Array:
        """Mean of the fastest ``share`` of the runs of each kernel, ``(n_kernels,)`` in seconds.

        A duration is a whole number of microseconds, so that a quantile of a small kernel says nothing.
        """
        n_kept = max(1, round(share * len(self.durations_s)))
        return np.asarray(np.sort(self.durations_s, axis=0)[:n_kept].mean(axis=0))


class ProfiledModel:
    """A session with profiling on: run it as often as you like, then close it for the kernel times.

    Args:
        model: the network, or its serialised bytes; open axes are run with size 1.
        n_threads: threads of the session, above 0.

    Raises:
        InputError: a model that ONNX Runtime does not load, or an input that is not float32, uint8 or int8.
    """

    def __init__(self, model: ModelProto | bytes, n_threads: int = 1) -> None:
        """Open the session; see the class."""
        data = model if isinstance(model, bytes) else model.SerializeToString()
        self._source = onnx.load_from_string(data)
        self._folder = TemporaryDirectory(prefix="edgekit-")
        self._saved = Path(self._folder.name) / "optimised.onnx"
        try:
            self._session = ort.InferenceSession(
                data, self._options(n_threads), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            self._folder.cleanup()
            raise InputError(
                f"the model must load in ONNX Runtime, it does not: {error}"
            ) from error
        self._feed = random_feed(self._session)

    def _options(self, n_threads: int) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(self._saved)
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(self._folder.name) / "profile")
        return options

    def run(self) -> None:
        """Run the network once on random input."""
        self._session.run(None, self._feed)

    def close(self) -> KernelTimes:
        """End the session.

        Returns:
            The kernels in an order that does not depend on the session, and the durations of all runs.

        Raises:
            EdgekitError: no run was made, or the profile does not hold the nodes of the optimised model.
        """
        profile = Path(self._session.end_profiling())
        runs = _read_profile(profile)
        optimised = onnx.load(self._saved)
        del self._session
        self._folder.cleanup()
        nodes, columns = _join(list(optimised.graph.node), runs)
        shapes = {name: (_dtype(value), value.shape) for name, value in self._feed.items()}
        placed = _Placer(
            self._source, optimised, nodes, [runs[c] for c in columns], shapes
        ).placed()
        order = _canonical_order(nodes, placed)
        durations = np.array([runs[columns[i]].durations_s for i, _ in order]).T
        started = np.array(min((run.started_s for run in runs), key=lambda times: times[0]))
        return KernelTimes(tuple(kernel for _, kernel in order), durations, started)


def lower(model: ModelProto | bytes, *, n_threads: int = 1) -> tuple[PlacedKernel, ...]:
    """The kernels that ONNX Runtime's CPU provider runs for a network.

    Args:
        model: the network, or its serialised bytes.
        n_threads: threads of the session, above 0.

    Returns:
        The kernels in execution order; equal calls give equal kernels. ``block`` is what stands before the first
        ``/`` in the name of the source node.

    Raises:
        InputError: a model that ONNX Runtime does not load.
    """
    profiled = ProfiledModel(model, n_threads)
    profiled.run()
    return profiled.close().placed


def random_feed(session: ort.InferenceSession) -> dict[str, NDArray[np.generic]]:
    """Seeded random input of a session; open axes have size 1.

    Raises:
        InputError: an input that is not float32, uint8 or int8.
    """
    rng, feed = np.random.default_rng(0), {}
    for value in session.get_inputs():
        if value.type not in _FEED_TYPES:
            raise InputError(
                f"inputs are {', '.join(_FEED_TYPES)}, {value.name!r} is {value.type}"
            )
        shape = [dim if isinstance(dim, int) else 1 for dim in value.shape]
        feed[value.name] = rng.uniform(0, 1, shape).astype(_FEED_TYPES[value.type])
    return feed


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


def _join(nodes: list[NodeProto], runs: Sequence[_NodeRuns]) -> tuple[list[NodeProto], list[int]]:
    """Nodes of the optimised model, and for each the index of its events."""
    names = {node.name for node in nodes if node.name}
    waiting: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, run in enumerate(runs):
        waiting[run.name if run.name in names else "", run.op].append(index)
    columns = []
    for node in nodes:
        queue = waiting[node.name, node.op_type]
        if not queue:
            raise EdgekitError(
                f"every node of the optimised model must be profiled, {node.op_type} {node.name!r} is not"
            )
        columns.append(queue.pop(0))
    if any(waiting.values()):
        raise EdgekitError("every profiled node must be in the optimised model, some are not")
    return nodes, columns


class _Placer:
    """Finds for every executed node its kernel and the block it came from."""

    def __init__(
        self,
        source: ModelProto,
        optimised: ModelProto,
        nodes: list[NodeProto],
        runs: list[_NodeRuns],
        shapes: dict[str, tuple[str, Shape]],
    ) -> None:
        self._nodes, self._runs = nodes, runs
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in optimised.graph.initializer}
        self._values = dict(shapes)
        for node, run in zip(nodes, runs, strict=True):
            self._values.update(zip(filter(None, node.output), run.outputs, strict=False))
        self._position: dict[str, int] = {}
        self._block: dict[str, str] = {}
        for index, node in enumerate(source.graph.node):
            for name in (*node.output, node.name):
                self._position[name] = index
                self._block[name] = node.name.partition("/")[0] if "/" in node.name else ""

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
        return [
            (
                position,
                PlacedKernel(self._kernel(i), self._nodes[i].name or self._runs[i].name, block),
            )
            for i, (position, block) in enumerate(zip(positions, blocks, strict=True))
        ]

    def _origin(self, node: NodeProto) -> str:
        """Name of the source node or tensor this node was made from; empty for an inserted one."""
        for name in (node.name, *node.output):
            while name not in self._position and _GENERATED.search(name):
                name = _GENERATED.sub("", name)
            if name in self._position:
                return name
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
            yield attribute.name, value.decode()
        elif attribute.type in (AttributeProto.INT, AttributeProto.FLOAT):
            yield attribute.name, value


def _canonical_order(
    nodes: list[NodeProto], placed: list[tuple[int, PlacedKernel]]
) -> list[tuple[int, PlacedKernel]]:
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
    order = []
    while ready:
        _, i = heapq.heappop(ready)
        order.append((i, placed[i][1]))
        for j in readers[i]:
            n_missing[j] -= 1
            if not n_missing[j]:
                heapq.heappush(ready, (keys[j], j))
    return order


def _dtype(value: NDArray[np.generic]) -> str:
    return "float" if value.dtype == np.float32 else str(value.dtype)
