"""Where the time of a network goes: profiled kernels, summed by block."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.core.precision import Precision
from edgekit.core.target import Target
from edgekit.devices.networks.lowering import ProfiledModel

_MIN_RUNS, _MAX_RUNS = 30, 400
_PROFILE_S = 1.0
_OUTSIDE = "outside"


@dataclass(frozen=True, slots=True)
class BlockTime:
    """One block's part of the measured latency.

    Attributes:
        name: of the block; ``"outside"`` for kernels that belong to none.
        precision: what it runs in; None outside all blocks.
        n_kernels: kernels the runtime made of it.
        profiled_s: sum of its kernels in the profile (mean of each one's fastest 30 % of runs), in
            seconds.
        scaled_s: the same, scaled so that the blocks add up to the end-to-end latency: what a run
            costs around its kernels is spread over the blocks in proportion. In seconds.
    """

    name: str
    precision: Precision | None
    n_kernels: int
    profiled_s: float
    scaled_s: float


def block_times(
    model: bytes, target: Target, precisions: Mapping[str, Precision], latency_s: float
) -> tuple[BlockTime, ...]:
    """Profile a network for about a second.

    Args:
        model: the serialised network, its nodes named by block.
        target: this machine and the thread count.
        precisions: of the blocks.
        latency_s: measured end to end, without profiling.

    Returns:
        The blocks in the order they run.
    """
    profiled, deadline = ProfiledModel(model, target.n_threads), time.perf_counter() + _PROFILE_S
    for n_run in range(_MAX_RUNS):
        profiled.run()
        if n_run >= _MIN_RUNS and time.perf_counter() > deadline:
            break
    times = profiled.close()
    kernels: dict[str, list[float]] = {}
    for kernel, duration_s in zip(times.placed, times.fastest_s().tolist(), strict=True):
        kernels.setdefault(kernel.block or _OUTSIDE, []).append(duration_s)
    scale = latency_s / sum(map(sum, kernels.values()))
    return tuple(
        BlockTime(name, precisions.get(name), len(found), sum(found), sum(found) * scale)
        for name, found in kernels.items()
    )
