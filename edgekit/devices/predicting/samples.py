"""Profiling networks side by side: every network's label and what each of its kernels took.

    network --+--> plain session ------ blocks --> two-way fit --> label, its two halves
              +--> profiled session --- blocks --> two-way fit --> state --> kernel times

Both sessions of all networks are resident and share one shuffled loop. They get state estimates of
their own: profiling slows small kernels in another way than the machine's phases do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import psutil
from numpy.typing import NDArray
from onnx import ModelProto

from edgekit.core.errors import InputError, TooNoisy
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.units import format_size
from edgekit.devices.measuring.estimators import low_quantile_s, two_way_fit
from edgekit.devices.measuring.interleave import (
    N_DISCARDED,
    Item,
    RawBlock,
    interleave,
    mark_blocks,
)
from edgekit.devices.measuring.measure import WINDOW, fit_labels_s, resident
from edgekit.devices.measuring.reference import ReferenceKernels
from edgekit.devices.networks.lowering import KernelTimes, ProfiledModel

Array = NDArray[np.float64]

MAX_SPREAD = 0.05
MAX_LOST_SHARE = 0.02
N_RETAKES = 2
_FASTEST_SHARE = 0.3
_PROFILED_BLOCK_S = 0.02
_PROFILED = "/profiled"
_BYTES_PER_NETWORK = 15_000_000
_N_WARM_RUNS = 3


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A network as it was timed.

    Attributes:
        name: of the network.
        family: networks of one family are kept together when a fit is judged.
        precision: ``"fp32"``, ``"int8"`` or ``"mixed"``.
        kernels: what the runtime's CPU provider makes of it, in order.
        label_s: low quantile of the whole network without profiling, in the machine's fast state,
            in seconds.
        halves_s: the label from the even and from the odd blocks alone: their difference is the
            noise of labels.
    """

    name: str
    family: str
    precision: str
    kernels: tuple[Kernel, ...]
    label_s: float
    halves_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class NetworkSample(TimedNetwork):
    """A network whose kernels were timed too.

    Attributes:
        kernel_times_s: (n_kernels,) time of each inside a profiled session, in seconds.
    """

    kernel_times_s: Array


@dataclass(frozen=True, slots=True)
class Source:
    """A network to be timed: its name, family, precision, and how it is written."""

    name: str
    family: str
    precision: str
    model: Callable[[], ModelProto]


def take_samples(
    sources: Sequence[Source],
    target: Target,
    *,
    n_passes: int,
    block_s: float,
    n_profiled_runs: int,
    seed: int,
    progress: Progress,
    max_noise: float,
) -> tuple[list[NetworkSample], list[RawBlock]]:
    """Time networks and their kernels in one interleaved session.

    Networks whose blocks scatter by more than 5 % around the fit are taken again, at most twice.

    Args:
        sources: what to time, with names that differ; all stay in memory at once.
        target: this machine and its thread count.
        n_passes: blocks per network and session, at least 4.
        block_s: length of a block without profiling, in seconds.
        n_profiled_runs: runs per block with profiling.
        seed: of the order and of the inputs.
        progress: how progress is shown.
        max_noise: largest median disagreement of a label's two halves, relative.

    Returns:
        One sample per source, in order, without the few that noise left no blocks, and every
        block, marked ones too; those of profiled sessions bear the name with ``/profiled``.

    Raises:
        TooNoisy: the halves of the labels differ by more than ``max_noise`` in the median, or
            more than 2 % of the networks have fewer than two blocks beside a steady machine.
        InputError: a network that ONNX Runtime does not load, or too little memory.
    """
    _touch_memory(len(sources) * _BYTES_PER_NETWORK)
    plain: list[Item] = []
    profiled: dict[str, ProfiledModel] = {}
    with progress.track(len(sources), "opening networks") as update:
        for n_done, source in enumerate(sources, start=1):
            data = source.model().SerializeToString()
            opened = resident(source.name, data, target, block_s=block_s, seed=seed)
            plain.append(opened.item)
            profiled[source.name] = ProfiledModel(data, target.n_threads)
            for _ in range(_N_WARM_RUNS):
                plain[-1].run()
                profiled[source.name].run()
            update(n_done)
    items = [*plain, *(_profiled_item(*pair, n_profiled_runs) for pair in profiled.items())]
    blocks = _take_blocks(items, plain, target, n_passes, seed, progress)
    with progress.track(len(sources), "reading kernel times") as update:
        times: dict[str, KernelTimes] = {}
        for n_done, source in enumerate(sources, start=1):
            times[source.name] = profiled.pop(source.name).close()
            update(n_done)
    samples = _samples(sources, times, blocks)
    refuse_if_noisy(samples, max_noise)
    return samples, blocks


def _touch_memory(n_bytes: int) -> None:
    """Write to as much memory as the sessions will need, and free it.

    A page that a virtual machine uses for the first time is fetched from its host, which takes
    longer than many kernels do; every profiled node allocates memory for its event.

    Raises:
        InputError: there is less memory.
    """
    available_bytes = psutil.virtual_memory().available
    if n_bytes > available_bytes:
        raise InputError(
            f"profiling needs {format_size(n_bytes)} of memory for all its sessions, "
            f"{format_size(available_bytes)} are available; profile with --quick"
        )
    np.ones(n_bytes // 8)


def _profiled_item(name: str, model: ProfiledModel, n_runs: int) -> Item:
    return Item(name + _PROFILED, model.run, block_s=_PROFILED_BLOCK_S, max_runs=n_runs)


def _take_blocks(
    items: Sequence[Item],
    plain: Sequence[Item],
    target: Target,
    n_passes: int,
    seed: int,
    progress: Progress,
) -> list[RawBlock]:
    reference = ReferenceKernels(target.n_threads)
    with progress.track(n_passes * len(items), "timing networks and kernels") as update:
        blocks = interleave(items, reference, n_passes=n_passes, seed=seed,
                            progress=lambda n_done, _: update(n_done))  # fmt: skip
    blocks = mark_blocks(blocks)
    for retake in range(1, N_RETAKES + 1):
        scattered = _scattered(blocks, n_passes)
        lacking = [item for item in plain if item.name in scattered]
        if not lacking:
            break
        with progress.track(n_passes * len(lacking), "timing scattered networks again") as update:
            more = interleave(lacking, reference, n_passes=n_passes, seed=seed + retake,
                              progress=lambda n_done, _: update(n_done))  # fmt: skip
        blocks = mark_blocks([*blocks, *more])
    return blocks


def _plain(blocks: Sequence[RawBlock]) -> list[RawBlock]:
    return [block for block in blocks if not block.model.endswith(_PROFILED)]


def _residuals(blocks: Sequence[RawBlock]) -> dict[str, Array]:
    """What the two-way fit leaves of the log times, by network."""
    names = sorted({block.model for block in blocks})
    index = {name: i for i, name in enumerate(names)}
    nets = np.array([index[block.model] for block in blocks])
    fit = two_way_fit(
        nets,
        np.array([block.started_s for block in blocks]),
        np.log([low_quantile_s(block.durations_s) for block in blocks]),
        WINDOW,
    )
    return {name: fit.residual[nets == i] for i, name in enumerate(names)}


def _scattered(blocks: Sequence[RawBlock], n_passes: int) -> set[str]:
    """Networks with a wide spread, or with fewer than half of their blocks unmarked."""
    kept = [block for block in _plain(blocks) if not block.marked]
    residuals = _residuals(kept)
    nothing = np.full(1, np.inf)
    return {
        name
        for name in {block.model for block in _plain(blocks)}
        if (values := residuals.get(name, nothing)).size < n_passes / 2
        or 1.4826 * float(np.median(np.abs(values))) > MAX_SPREAD
    }


def _samples(
    sources: Sequence[Source], times: Mapping[str, KernelTimes], blocks: Sequence[RawBlock]
) -> list[NetworkSample]:
    plain = [block for block in _plain(blocks) if not block.marked]
    sources = _with_blocks(sources, plain)
    plain = [block for block in plain if block.model in {source.name for source in sources}]
    labels_s = fit_labels_s(plain)
    halves = [fit_labels_s(half) for half in halves_of(plain)]
    kernel_times_s = _kernel_times_s(times, blocks)
    return [
        NetworkSample(
            name=source.name,
            family=source.family,
            precision=source.precision,
            kernels=tuple(placed.kernel for placed in times[source.name].placed),
            kernel_times_s=kernel_times_s[source.name],
            label_s=labels_s[source.name],
            halves_s=(halves[0][source.name], halves[1][source.name]),
        )
        for source in sources
    ]


def _with_blocks(sources: Sequence[Source], blocks: Sequence[RawBlock]) -> list[Source]:
    """Networks with a block for each half of their label; a few may lack them."""
    n_kept = Counter(block.model for block in blocks)
    lacking = [source.name for source in sources if n_kept[source.name] < 2]
    if len(lacking) > MAX_LOST_SHARE * len(sources):
        raise TooNoisy(
            f"all but {MAX_LOST_SHARE:.0%} of the networks need 2 blocks beside a steady "
            f"reference kernel, {len(lacking)} of {len(sources)} had fewer, among them "
            f"{lacking[0]}; stop other work on this machine and profile again"
        )
    return [source for source in sources if source.name not in lacking]


def halves_of(blocks: Sequence[RawBlock]) -> tuple[list[RawBlock], list[RawBlock]]:
    """Every network's blocks, dealt in turn to two sides: what noise makes of its label."""
    sides: tuple[list[RawBlock], list[RawBlock]] = ([], [])
    n_seen: dict[str, int] = defaultdict(int)
    for block in sorted(blocks, key=lambda block: block.started_s):
        sides[n_seen[block.model] % 2].append(block)
        n_seen[block.model] += 1
    return sides


def _kernel_times_s(
    times: Mapping[str, KernelTimes], blocks: Sequence[RawBlock]
) -> dict[str, Array]:
    """Mean of the fastest 30 % of a kernel's runs, divided by the machine's state in the block.

    That state comes from the summed kernel times of the profiled runs, not from how long these
    runs took: what profiling does between two kernels slows down in phases of its own.
    """
    names, runs, started_s = [], [], []
    n_done = dict.fromkeys(times, _N_WARM_RUNS)
    for block in (block for block in blocks if block.model.endswith(_PROFILED)):
        name = block.model.removesuffix(_PROFILED)
        first = n_done[name] + N_DISCARDED
        n_done[name] = first + block.durations_s.size
        names.append(name)
        runs.append(times[name].durations_s[first : n_done[name]])
        started_s.append(block.started_s)
    index = {name: i for i, name in enumerate(times)}
    fit = two_way_fit(
        np.array([index[name] for name in names]),
        np.array(started_s),
        np.log([low_quantile_s(rows.sum(axis=1)) for rows in runs]),
        WINDOW,
    )
    slowed: dict[str, list[Array]] = defaultdict(list)
    for name, rows, state in zip(names, runs, fit.state, strict=True):
        slowed[name].append(rows / np.exp(state))
    return {name: _fastest_s(np.concatenate(slowed[name])) for name in times}


def _fastest_s(durations_s: Array) -> Array:
    n_kept = max(1, round(_FASTEST_SHARE * len(durations_s)))
    return np.asarray(np.sort(durations_s, axis=0)[:n_kept].mean(axis=0))


def noise_of(samples: Sequence[TimedNetwork]) -> Array:
    """(n_samples,) relative disagreement of the two halves of each label."""
    halves = np.array([sample.halves_s for sample in samples])
    return np.asarray(np.abs(halves[:, 0] / halves[:, 1] - 1))


def refuse_if_noisy(samples: Sequence[TimedNetwork], max_noise: float) -> None:
    """Labels that do not repeat are no labels.

    Raises:
        TooNoisy: their two halves differ by more than ``max_noise`` in the median.
    """
    median = float(np.median(noise_of(samples)))
    if median > max_noise:
        raise TooNoisy(
            "labels from two halves of the blocks must agree within "
            f"{max_noise:.0%} in the median, they differ by {median:.1%}; "
            "stop other work on this machine and profile again"
        )
