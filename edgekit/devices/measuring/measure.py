"""Measuring whole models on this machine: figures with intervals, or a refusal with the reason."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from edgekit.core.errors import InputError, TooNoisy
from edgekit.core.figures import Conditions, Measured, measured_from_json
from edgekit.core.target import Target
from edgekit.core.units import format_duration
from edgekit.devices.measuring.elsewhere import is_elsewhere, run_job
from edgekit.devices.measuring.estimators import (
    FloatArray,
    PairedRatio,
    low_quantile_s,
    p50_interval_s,
    paired_ratio,
    quantiles_s,
    relative_half_width,
    slowdown,
    trend,
    two_way_fit,
)
from edgekit.devices.measuring.interleave import (
    MAX_SLOWDOWN,
    Item,
    Progress,
    RawBlock,
    interleave,
    mark_blocks,
    warm_up,
)
from edgekit.devices.measuring.litert import LiteRtModel, is_tflite
from edgekit.devices.measuring.placement import (
    NodePlacement,
    assigned_nodes,
    litert_nodes,
    provider_of,
    refuse_strays,
)
from edgekit.devices.measuring.reference import KERNELS, ReferenceKernels
from edgekit.devices.measuring.session import Model, open_session, random_inputs
from edgekit.devices.measuring.telemetry import CpuTimes, load_1min, pressure_avg10
from edgekit.devices.providers.catalogue import Provider

WINDOW = 3
MIN_SESSION_S = 2.0
N_RETRIES = 3
PATIENCE_S = 30.0
LONG_PATIENCE_S = 120.0  # where a slow minute of a shared machine would end hours of work
MIN_BLOCKS = 5
_MAX_TAKES = 3


@dataclass(frozen=True, slots=True)
class Resident:
    """An open session of a model with fixed random inputs.

    Attributes:
        item: ready for ``interleave``.
        provider: that was asked for.
        nodes: who runs each node.
    """

    item: Item
    provider: Provider
    nodes: tuple[NodePlacement, ...]


def resident(
    name: str, model: Model, target: Target, *, block_s: float, seed: int = 0
) -> Resident:
    """Open a session on the provider of the target; of a TFLite file, in LiteRT.

    Raises:
        InputError: the model cannot be loaded, its inputs are not float32 (8-bit integers are
            taken in TFLite files), or the provider is not usable here.
        MissingExtra: a TFLite file, and no LiteRT.
        VerificationFailed: the target requires its provider and a node runs elsewhere.
    """
    provider = provider_of(model, target)
    if is_tflite(model):
        opened = LiteRtModel(model, target.n_threads, seed)
        nodes = litert_nodes(opened)
        if target.require:
            refuse_strays(model, target, nodes)
        return Resident(Item(name, opened.run, block_s), provider, nodes)
    session = open_session(model, n_threads=target.n_threads, ep=target.ep)
    nodes = assigned_nodes(session)
    if target.require:
        refuse_strays(model, target, nodes)
    feed = random_inputs(session, seed)
    names = [output.name for output in session.get_outputs()]
    return Resident(Item(name, lambda: session.run(names, feed), block_s), provider, nodes)


def measure_models(
    models: Mapping[str, Model],
    target: Target,
    *,
    n_passes: int = 14,
    block_s: float = 0.03,
    seed: int = 0,
    max_relative_interval: float = 0.10,
    patience_s: float = PATIENCE_S,
    known_fast_s: Sequence[float] = (),
    max_lost: int = 0,
    progress: Progress | None = None,
    raw: list[RawBlock] | None = None,
) -> dict[str, Measured]:
    """Time models side by side in one session.

    All sessions are resident and warm; blocks of at least ``block_s`` come in shuffled passes
    with the reference kernels between them. Blocks beside a slow reference are marked and
    taken again, as are further blocks of a model whose interval is still too wide: in at least
    three rounds, and in more until ``patience_s`` or twice the length of the first round is
    over. Figures come from the blocks that are not marked. One process should measure with one
    thread count only.

    Args:
        models: what to time, by name; not empty. All are held in memory at once.
        target: this machine and the thread count.
        n_passes: blocks per model; more when the whole session would be shorter than 2 s.
        block_s: length of a block in seconds.
        seed: of inputs, order and resampling.
        max_relative_interval: widest half-width of the 95 % interval of p50 that is accepted,
            relative to p50.
        patience_s: how long to take blocks again before giving up, in seconds; a slow phase of a
            shared machine lasts a few.
        known_fast_s: reference kernels in the fast state of this machine when it was profiled, in
            seconds: blocks count only while it is as fast as then. Empty to judge by this session
            alone.
        max_lost: so many models may be left without a figure where theirs is too noisy.
        progress: called with (blocks done, blocks in all); the total grows when blocks are taken
            again.
        raw: if given, every block is appended to it, marked ones too, even if TooNoisy follows.

    Returns:
        Figures by name, of all models but those that ``max_lost`` allowed to be lost.

    Raises:
        InputError: no model, or one that cannot be loaded; a fast state of other kernels.
        TooNoisy: a model's interval stayed too wide, or too few blocks were left unmarked.
        VerificationFailed: the target requires its provider and a node runs elsewhere.
    """
    if not models:
        raise InputError("at least one model is needed to measure, got none")
    for model in models.values():
        provider_of(model, target)  # refuses a pair that cannot be, wherever it would run
    if is_elsewhere(target):
        settings = {
            "n_passes": n_passes,
            "block_s": block_s,
            "seed": seed,
            "max_relative_interval": max_relative_interval,
            "patience_s": patience_s,
            "known_fast_s": list(known_fast_s),
            "max_lost": max_lost,
        }
        return _measured_elsewhere(models, target, settings, progress, raw)
    if known_fast_s and (len(known_fast_s) != len(KERNELS) or min(known_fast_s) <= 0):
        raise InputError(
            f"the fast state has a time above 0 for each of {', '.join(KERNELS)}, "
            f"got {tuple(known_fast_s)}; profile this device again"
        )
    reference = ReferenceKernels(target.n_threads)
    opened = [
        resident(name, model, target, block_s=block_s, seed=seed) for name, model in models.items()
    ]
    items = [entry.item for entry in opened]
    before = CpuTimes.now()
    n_warmup = {item.name: warm_up(item) for item in items}
    n_blocks = max(n_passes, math.ceil(MIN_SESSION_S / (len(items) * block_s)))
    blocks = _take_blocks(
        items,
        reference,
        n_blocks,
        seed,
        max_relative_interval,
        patience_s,
        known_fast_s,
        progress,
    )
    if raw is not None:
        raw.extend(blocks)
    steal = CpuTimes.now().steal_share_since(before)
    return _figures(
        blocks,
        opened,
        target.n_threads,
        n_warmup,
        steal,
        max_relative_interval,
        known_fast_s,
        max_lost,
        seed,
    )


def _measured_elsewhere(
    models: Mapping[str, Model],
    target: Target,
    settings: dict[str, object],
    progress: Progress | None,
    raw: list[RawBlock] | None,
) -> dict[str, Measured]:
    """``measure_models`` in the environment of the provider."""
    job = {"job": "measure", "settings": settings}
    found: Any = run_job(job, dict(models), target, progress=progress)
    if raw is not None:
        raw.extend(
            replace(
                RawBlock(**block),
                durations_s=np.array(block["durations_s"]),
                reference_s=tuple(block["reference_s"]),
            )
            for block in found["blocks"]
        )
    return {name: measured_from_json(figure) for name, figure in found["figures"].items()}


def _take_blocks(
    items: Sequence[Item],
    reference: ReferenceKernels,
    n_blocks: int,
    seed: int,
    max_relative_interval: float,
    patience_s: float,
    known_fast_s: Sequence[float],
    progress: Progress | None,
) -> list[RawBlock]:
    """All blocks of a session, marked, after the rounds of taking some again."""
    started = time.perf_counter()
    blocks = mark_blocks(
        interleave(items, reference, n_passes=n_blocks, seed=seed, progress=progress),
        known_fast_s,
    )
    now = time.perf_counter()
    deadline = now + max(patience_s, 2 * (now - started))
    for retry in itertools.count(1):
        if retry > N_RETRIES and time.perf_counter() > deadline:
            break
        missing = {
            item: _n_missing(_of(item.name, blocks), n_blocks, max_relative_interval, seed)
            for item in items
        }
        lacking = [item for item in items if missing[item]]
        if not lacking:
            break
        more = interleave(
            lacking,
            reference,
            n_passes=max(missing.values()),
            seed=seed + retry,
            progress=_continued(progress, len(blocks)),
        )
        blocks = mark_blocks([*blocks, *more], known_fast_s)
    return blocks


def compare_models(
    a: Model,
    b: Model,
    target: Target,
    *,
    n_pairs: int = 30,
    block_s: float = 0.03,
    seed: int = 0,
) -> PairedRatio:
    """How many times as long ``a`` takes as ``b``, from pairs of blocks: a b, b a, a b, ...

    A pair with a block beside a slow reference kernel is taken again, until three times as many
    pairs were taken; where not even half of those wanted are sound then, all of them count.

    Args:
        a: first model.
        b: second model.
        target: this machine and the thread count.
        n_pairs: sound pairs of neighbouring blocks that are wanted, at least 2.
        block_s: length of a block in seconds.
        seed: of inputs and resampling.

    Raises:
        InputError: fewer than 2 pairs, or a model that cannot be loaded.
    """
    if n_pairs < 2:
        raise InputError(f"a comparison needs at least 2 pairs, got {n_pairs}")
    for model in (a, b):
        provider_of(model, target)
    if is_elsewhere(target):
        settings = {"n_pairs": n_pairs, "block_s": block_s, "seed": seed}
        found: Any = run_job({"job": "compare", "settings": settings}, {"a": a, "b": b}, target)
        return PairedRatio(found["ratio"], tuple(found["interval"]), found["n_pairs"])
    reference = ReferenceKernels(target.n_threads)
    items = [
        resident(name, model, target, block_s=block_s, seed=seed).item
        for name, model in (("a", a), ("b", b))
    ]
    for item in items:
        warm_up(item)
    blocks: list[RawBlock] = []
    pairs: list[tuple[RawBlock, RawBlock]] = []
    for pair in range(_MAX_TAKES * n_pairs):
        for item in items if pair % 2 == 0 else items[::-1]:
            blocks += interleave([item], reference, n_passes=1, seed=seed)
        marked = mark_blocks(blocks)
        pairs = [
            (first, second) if first.model == "a" else (second, first)
            for first, second in zip(marked[::2], marked[1::2], strict=True)
        ]
        sound = [(x, y) for x, y in pairs if not x.marked and not y.marked]
        if len(sound) == n_pairs:
            break
    pairs = sound if len(sound) >= max(2, n_pairs // 2) else pairs
    medians = np.array([[np.median(block.durations_s) for block in pair] for pair in pairs])
    return paired_ratio(medians[:, 0], medians[:, 1], seed)


def fit_labels_s(blocks: Sequence[RawBlock], window: int = WINDOW) -> dict[str, float]:
    """Label of each model: two-way fit over the low quantiles of its unmarked blocks."""
    kept = [block for block in blocks if not block.marked]
    names = sorted({block.model for block in kept})
    fit = two_way_fit(
        np.array([names.index(block.model) for block in kept]),
        np.array([block.started_s for block in kept]),
        np.log([low_quantile_s(block.durations_s) for block in kept]),
        window,
    )
    return dict(zip(names, np.exp(fit.label).tolist(), strict=True))


def _of(name: str, blocks: Sequence[RawBlock]) -> list[RawBlock]:
    return [block for block in blocks if block.model == name]


def _kept_runs(blocks: Sequence[RawBlock]) -> list[FloatArray]:
    return [block.durations_s for block in blocks if not block.marked]


def _interval_s(blocks: Sequence[RawBlock], seed: int) -> tuple[float, float]:
    """95 % interval of p50 from the unmarked blocks; (0, inf) with fewer than 5 of them."""
    kept = _kept_runs(blocks)
    return p50_interval_s(kept, seed) if len(kept) >= MIN_BLOCKS else (0.0, math.inf)


def _relative_width(blocks: Sequence[RawBlock], interval_s: tuple[float, float]) -> float:
    p50_s = float(np.median(np.concatenate(_kept_runs(blocks))))
    return relative_half_width(p50_s, interval_s)


def _n_missing(
    blocks: Sequence[RawBlock], n_blocks: int, max_relative_interval: float, seed: int
) -> int:
    """Blocks of one model to take again: those that were marked, or half as many to narrow it."""
    n_kept = len(_kept_runs(blocks))
    if n_kept < n_blocks:
        return n_blocks - n_kept
    width = _relative_width(blocks, _interval_s(blocks, seed))
    return math.ceil(n_blocks / 2) if width > max_relative_interval else 0


def _continued(progress: Progress | None, n_before: int) -> Progress | None:
    """The callback of a later round: blocks of earlier rounds count as done."""
    if progress is None:
        return None
    return lambda n_done, n_total: progress(n_before + n_done, n_before + n_total)


def _figures(
    blocks: Sequence[RawBlock],
    opened: Sequence[Resident],
    n_threads: int,
    n_warmup: Mapping[str, int],
    steal_share: float,
    max_relative_interval: float,
    known_fast_s: Sequence[float],
    max_lost: int,
    seed: int,
) -> dict[str, Measured]:
    slow = slowdown(np.array([block.reference_s for block in blocks]), known_fast_s)
    disturbance = (
        f"steal {steal_share:.1%}, load {load_1min():.2f}, CPU pressure {pressure_avg10():.0%}, "
        f"reference kernel {slow.min():.2f} to {slow.max():.2f} times its fast state, "
        f"{trend(slow):.2f} times from the first to the last third"
    )
    advice = "stop other work on this machine and measure again, or accept a wider interval"
    if known_fast_s and float(slow.min()) > MAX_SLOWDOWN:
        advice = (
            "this machine was never as fast as when it was profiled: stop other work on it and "
            "measure again, and if it stays so, profile it again"
        )
    lost: set[str] = set()
    for name in n_warmup:
        try:
            _refuse_if_noisy(
                name, _of(name, blocks), max_relative_interval, seed, disturbance, advice
            )
        except TooNoisy:
            lost.add(name)
            if len(lost) > max_lost:
                raise
    labels_s = fit_labels_s(blocks)
    figures = {}
    for entry in opened:
        name = entry.item.name
        if name in lost:
            continue
        own = _of(name, blocks)
        kept = _kept_runs(own)
        conditions = Conditions(
            provider=entry.provider.name,
            n_threads=n_threads,
            n_warmup=n_warmup[name],
            n_runs=sum(runs.size for runs in kept),
            n_blocks=len(kept),
            n_blocks_marked=len(own) - len(kept),
            load_1min=load_1min(),
            steal_share=steal_share,
            reference_ratio=float(slow.max() / slow.min()),
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            is_emulated=entry.provider.is_emulated,
            placement=tuple((placed.node, placed.provider) for placed in entry.nodes),
        )
        p50_s, p90_s, p99_s = quantiles_s(np.concatenate(kept))
        interval_s = _interval_s(own, seed)
        figures[name] = Measured(labels_s[name], p50_s, p90_s, p99_s, interval_s, conditions)
    return figures


def _refuse_if_noisy(
    name: str,
    blocks: Sequence[RawBlock],
    max_relative_interval: float,
    seed: int,
    disturbance: str,
    advice: str,
) -> None:
    n_kept = len(_kept_runs(blocks))
    if n_kept < MIN_BLOCKS:
        raise TooNoisy(
            f"{name}: {MIN_BLOCKS} blocks beside a steady reference kernel are needed, "
            f"{n_kept} of {len(blocks)} were ({disturbance}); {advice}"
        )
    interval_s = _interval_s(blocks, seed)
    width = _relative_width(blocks, interval_s)
    if width > max_relative_interval:
        low, high = (format_duration(value) for value in interval_s)
        raise TooNoisy(
            f"{name}: p50 must be known to within {max_relative_interval:.1%}, its 95 % interval "
            f"is {low} to {high}, within {width:.1%} ({disturbance}); {advice}"
        )
