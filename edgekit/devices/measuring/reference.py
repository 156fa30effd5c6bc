"""Fixed reference kernels: how fast the machine is right now, said by work that never changes."""

from __future__ import annotations

import time
from collections.abc import Callable

import onnx

from edgekit.devices.measuring.session import open_session, random_inputs
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.qdq import insert_qdq, tensors_to_calibrate

KERNELS = ("conv_fp32", "conv_int8", "memory")
_N_RUNS = 3


class ReferenceKernels:
    """Three tiny resident models: an fp32 convolution, an int8 one, and one bound by memory.

    Example:
        >>> reference = ReferenceKernels(n_threads=1)
        >>> len(reference.time_s())
        3
    """

    def __init__(self, n_threads: int) -> None:
        """Open the sessions and warm them up."""
        self._runs = tuple(_runner(model, n_threads) for model in reference_models())
        for _ in range(10):
            self.time_s()

    def time_s(self) -> tuple[float, ...]:
        """One time per kernel, in seconds: the median of three runs after one discarded run."""
        return tuple(_median_s(run) for run in self._runs)


def reference_models() -> tuple[onnx.ModelProto, ...]:
    """The models behind ``KERNELS``, in that order; always the same ones."""
    convolution, node = _convolution()
    ranges = {tensor: (-4.0, 4.0) for tensor in tensors_to_calibrate(convolution, [node])}
    return convolution, insert_qdq(convolution, [node], ranges), _memory()


def _runner(model: onnx.ModelProto, n_threads: int) -> Callable[[], object]:
    session = open_session(model, n_threads=n_threads)
    feed = random_inputs(session, seed=0)
    names = [output.name for output in session.get_outputs()]
    return lambda: session.run(names, feed)


def _median_s(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(_N_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return sorted(times)[_N_RUNS // 2]


def _convolution() -> tuple[onnx.ModelProto, str]:
    net = GraphBuilder("reference", (1, 32, 28, 28))
    node = net.conv(net.input, 32, 3)
    return net.build(node), node


def _memory() -> onnx.ModelProto:
    net = GraphBuilder("reference", (1, 32, 160, 160))
    return net.build(net.mul(net.input, net.input))
