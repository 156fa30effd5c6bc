"""One timing loop for everything: shuffled passes of short blocks, reference kernels between."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from edgekit.devices.measuring.estimators import STATE_WINDOW, FloatArray, running_median, slowdown
from edgekit.devices.measuring.reference import ReferenceKernels

N_DISCARDED = 2
MIN_RUNS = 3
MAX_SLOWDOWN = 1.15
MAX_SUSTAINED_SLOWDOWN = 1.07
_WARMUP_RUNS = 10
_WARMUP_TOLERANCE = 0.02
_WARMUP_MAX_S = 0.5

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Item:
    """Something that can be run again and again, always with the same work.

    Attributes:
        name: unique among the items of a loop.
        run: one run; what it returns is dropped.
        block_s: a block repeats the run for at least this long, in seconds.
        max_runs: runs kept per block at most; a profiled session keeps its file small this way.
    """

    name: str
    run: Callable[[], object]
    block_s: float = 0.03
    max_runs: int = 100_000


@dataclass(frozen=True, slots=True)
class RawBlock:
    """One block as it was timed; enough to fit everything again later.

    Attributes:
        model: name of the item.
        started_s: when the block began, on the monotonic clock ``time.perf_counter``, in seconds.
        durations_s: (n_runs,) kept runs in order; the first two runs of the block were dropped.
        reference_s: time of each reference kernel beside the block (geometric mean of before and
            after), in seconds.
        marked: the reference showed a slow machine; the block counts for nothing and was taken
            again.
    """

    model: str
    started_s: float
    durations_s: FloatArray
    reference_s: tuple[float, ...]
    marked: bool = False


def warm_up(item: Item) -> int:
    """Run until the median of the last ten runs is within 2 % of the ten before; 0.5 s at most.

    Returns:
        Number of runs, at least 20.
    """
    times: list[float] = []
    deadline = time.perf_counter() + _WARMUP_MAX_S
    while True:
        for _ in range(_WARMUP_RUNS):
            start = time.perf_counter()
            item.run()
            times.append(time.perf_counter() - start)
        if len(times) < 2 * _WARMUP_RUNS:
            continue
        last = np.median(times[-_WARMUP_RUNS:])
        before = np.median(times[-2 * _WARMUP_RUNS : -_WARMUP_RUNS])
        if abs(last / before - 1) <= _WARMUP_TOLERANCE or time.perf_counter() > deadline:
            return len(times)


def interleave(
    items: Sequence[Item],
    reference: ReferenceKernels,
    *,
    n_passes: int,
    seed: int,
    progress: Progress | None = None,
) -> list[RawBlock]:
    """Time every item once per pass, each pass in a new random order.

    The reference kernels run between any two blocks. Neighbours in time are thus different items
    under the same state of the machine, and one item's blocks are spread over the whole session.
    Warm the items up first.

    Args:
        items: what to time; all stay resident.
        reference: kernels timed before the first block, between blocks and after the last.
        n_passes: blocks per item.
        seed: of the order.
        progress: called with (blocks done, blocks in all).

    Returns:
        n_passes * len(items) blocks in the order they were taken, none marked yet (see
        ``mark_blocks``).
    """
    generator = np.random.default_rng(seed)
    order = np.concatenate([generator.permutation(len(items)) for _ in range(n_passes)])
    blocks: list[RawBlock] = []
    with _no_garbage_collection():
        before = reference.time_s()
        for n_done, index in enumerate(order, start=1):
            started_s, durations_s = _time_block(items[index])
            after = reference.time_s()
            beside = tuple(float(np.sqrt(a * b)) for a, b in zip(before, after, strict=True))
            blocks.append(RawBlock(items[index].name, started_s, durations_s, beside))
            before = after
            if progress is not None:
                progress(n_done, len(order))
    return blocks


def mark_blocks(blocks: Sequence[RawBlock], known_fast_s: Sequence[float] = ()) -> list[RawBlock]:
    """The blocks, marked where the reference kernels show a slow machine.

    That is where the reference beside a block was above ``MAX_SLOWDOWN``, or its median over the
    neighbouring blocks above ``MAX_SUSTAINED_SLOWDOWN``: one time scatters, a lower clock lasts.

    Args:
        blocks: of one session, in the order they were taken.
        known_fast_s: fast state of an earlier session on this machine, as ``slowdown`` takes it.
    """
    slow = slowdown(np.array([block.reference_s for block in blocks]), known_fast_s)
    marks = (slow > MAX_SLOWDOWN) | (running_median(slow, STATE_WINDOW) > MAX_SUSTAINED_SLOWDOWN)
    return [replace(block, marked=bool(mark)) for block, mark in zip(blocks, marks, strict=True)]


def _time_block(item: Item) -> tuple[float, FloatArray]:
    started_s = time.perf_counter()
    for _ in range(N_DISCARDED):
        item.run()
    times: list[float] = []
    deadline = started_s + item.block_s
    now = time.perf_counter()
    while (now < deadline or len(times) < MIN_RUNS) and len(times) < item.max_runs:
        item.run()
        then, now = now, time.perf_counter()
        times.append(now - then)
    return started_s, np.array(times)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
