"""A user's model on a target: its latency, its kernels against the machine's peaks, its memory.

measure -> peaks, in the same minute -> kernels from the runtime's profile -> memory, apart
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgekit.core.errors import InputError
from edgekit.core.figures import Measured
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.core.target import CPU_PROVIDER, Target
from edgekit.devices.measuring.early_stopping import bounded_quantile_s
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.measuring.memory import peak_memory_bytes
from edgekit.devices.measuring.placement import provider_of
from edgekit.devices.measuring.session import load_model, open_session, random_inputs
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.lowering import ProfiledModel
from edgekit.devices.networks.qdq import insert_qdq, tensors_to_calibrate
from edgekit.devices.predicting.features import TERMS, is_integer, product_of, roofline_terms

_MIN_RUNS, _MAX_RUNS, _PROFILE_S = 20, 400, 1.0
_PEAK_S = 0.3
_TENSOR_SIZES = (2**15, 2**18, 2**21, 2**24)
_MOVED = tuple(TERMS.index(name) for name in ("bytes_in", "bytes_out", "weight_bytes"))


@dataclass(frozen=True, slots=True)
class Peaks:
    """The best rates this machine showed with the given threads, measured beside the model.

    Attributes:
        fp32_macs_per_s: fastest of a dense, a pointwise and a 3x3 convolution kernel in fp32.
        int8_macs_per_s: the same in int8.
        bytes_per_s: (bytes moved, rate) of elementwise kernels from cache-sized to large.
    """

    fp32_macs_per_s: float
    int8_macs_per_s: float
    bytes_per_s: tuple[tuple[int, float], ...]

    def least_s(self, kernel: Kernel) -> float:
        """The time the kernel would take at these rates, in seconds (Williams et al. 2009)."""
        work = product_of(kernel)
        rate = self.int8_macs_per_s if is_integer(kernel) else self.fp32_macs_per_s
        moved = moved_bytes(kernel)
        return max((work.macs if work else 0) / rate, moved / self._rate_for(moved))

    def _rate_for(self, moved: float) -> float:
        fitting = [rate for size, rate in self.bytes_per_s if size >= moved]
        return fitting[0] if fitting else self.bytes_per_s[-1][1]


@dataclass(frozen=True, slots=True)
class KernelRow:
    """One kernel of the model.

    Attributes:
        node: its name in the runtime's optimised model.
        kernel: what ran.
        time_s: mean of the fastest 30 % of its profiled runs, in seconds. Profiling lengthens
            every kernel by its own time; the sum over a network of many small kernels may be twice
            what the network takes.
        share: of the sum over all kernels, 0..1.
        macs: multiply-adds.
        moved_bytes: inputs, outputs and weights.
        roofline_share: time at the machine's peaks over its own time; near 1 is as good as it
            gets here.
    """

    node: str
    kernel: Kernel
    time_s: float
    share: float
    macs: int
    moved_bytes: float
    roofline_share: float


@dataclass(frozen=True, slots=True)
class Benched:
    """What was measured of a model.

    Attributes:
        measured: single runs on random input.
        tail_bounds_s: p90 and p99 as MLPerf reports them (``measuring.early_stopping``): upper
            bounds that hold with 99 % confidence; nan where so many runs do not tell.
        kernels: in the order they run; empty where the provider does not show them.
        peaks: rates of this machine; None where no kernels are shown.
        peak_memory_bytes: largest resident size of a process that loads and runs the model,
            without what the process took before it did; None where the system does not say.
    """

    measured: Measured
    tail_bounds_s: tuple[float, float]
    kernels: tuple[KernelRow, ...]
    peaks: Peaks | None
    peak_memory_bytes: int | None

    def nodes_per_provider(self) -> dict[str, int]:
        """How many nodes each execution provider runs."""
        counts: dict[str, int] = {}
        for _, provider in self.measured.conditions.placement:
            counts[provider] = counts.get(provider, 0) + 1
        return counts


def bench_model(model: Path, target: Target, *, seed: int = 0, progress: Progress) -> Benched:
    """Measure a model file on a target.

    Args:
        model: ONNX file with float32 inputs, whose symbolic dimensions are run with size 1, or
            TFLite file with inputs of floats or 8-bit integers.
        target: device, threads, provider, and whether that must run every node.
        seed: of inputs and resampling.
        progress: how it is shown.

    Raises:
        InputError: no model, one that cannot be loaded, or a provider that is not usable here.
        TooNoisy: the latency could not be had with a sound interval.
        VerificationFailed: the target requires its provider and a node runs elsewhere.
    """
    if not model.is_file():
        raise InputError(f"a model file is needed, {model} is not there; check the path")
    blocks: list[RawBlock] = []
    with progress.track(100, "measuring latency") as update:
        measured = measure_models(
            {model.name: model},
            target,
            seed=seed,
            progress=lambda done, total: update(100 * done // total),
            raw=blocks,
        )[model.name]
    runs_s = np.concatenate([block.durations_s for block in blocks if not block.marked])
    bounds_s = (bounded_quantile_s(runs_s, 0.9), bounded_quantile_s(runs_s, 0.99))
    memory_bytes = peak_memory_bytes(model, target)
    if provider_of(model, target).name != CPU_PROVIDER:
        return Benched(measured, bounds_s, (), None, memory_bytes)
    peaks = measure_peaks(target)
    return Benched(measured, bounds_s, kernel_rows(model, target, peaks), peaks, memory_bytes)


def measure_peaks(target: Target) -> Peaks:
    """About four seconds of kernels that run as fast as kernels do here."""
    fp32, int8 = [], []
    for model, node, macs in _dense_models():
        fp32.append(macs / _fastest_s(_runner(model, target)))
        ranges = {tensor: (-4.0, 4.0) for tensor in tensors_to_calibrate(model, [node])}
        int8.append(macs / _fastest_s(_runner(insert_qdq(model, [node], ranges), target)))
    moved = []
    for n_values in _TENSOR_SIZES:
        net = GraphBuilder("moved", (1, 1, 1, n_values))
        run = _runner(net.build(net.mul(net.input, net.input)), target)
        moved.append((8 * n_values, 8 * n_values / _fastest_s(run)))
    return Peaks(max(fp32), max(int8), tuple(moved))


def kernel_rows(model: Path, target: Target, peaks: Peaks) -> tuple[KernelRow, ...]:
    """The kernels of a model on the CPU provider, profiled for about a second."""
    profiled = ProfiledModel(onnx.load(model), target.n_threads)
    deadline = time.perf_counter() + _PROFILE_S
    for n_run in range(_MAX_RUNS):
        profiled.run()
        if n_run >= _MIN_RUNS and time.perf_counter() > deadline:
            break
    times = profiled.close()
    fastest_s = times.fastest_s()
    rows = []
    for placed, time_s in zip(times.placed, fastest_s.tolist(), strict=True):
        work = product_of(placed.kernel)
        rows.append(
            KernelRow(
                placed.node,
                placed.kernel,
                time_s,
                time_s / float(fastest_s.sum()),
                work.macs if work else 0,
                moved_bytes(placed.kernel),
                peaks.least_s(placed.kernel) / time_s if time_s else 1.0,
            )
        )
    return tuple(rows)


def moved_bytes(kernel: Kernel) -> float:
    """Bytes of inputs, outputs and weights."""
    terms = roofline_terms(kernel)
    return sum(terms[index] for index in _MOVED)


def _dense_models() -> Sequence[tuple[onnx.ModelProto, str, int]]:
    """(model, node, MACs) of kernels that reach the machine's peak."""
    shapes = ((256, 256, 1, 28), (64, 64, 3, 56), (128, 128, 3, 28))
    found = []
    for channels, columns, kernel, side in shapes:
        net = GraphBuilder("dense", (1, channels, side, side))
        node = net.conv(net.input, columns, kernel)
        macs = side * side * channels * columns * kernel * kernel
        found.append((net.build(node), node, macs))
    return found


def _runner(model: onnx.ModelProto, target: Target) -> Callable[[], object]:
    session = open_session(load_model(model), n_threads=target.n_threads)
    feed = random_inputs(session, 0)
    names = [output.name for output in session.get_outputs()]
    return lambda: session.run(names, feed)


def _fastest_s(run: Callable[[], object]) -> float:
    """Mean of the fastest tenth of the runs of a third of a second."""
    times: list[float] = []
    deadline = time.perf_counter() + _PEAK_S
    while time.perf_counter() < deadline or len(times) < 10:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    fastest = sorted(times[2:])[: max(1, len(times) // 10)]
    return sum(fastest) / len(fastest)
