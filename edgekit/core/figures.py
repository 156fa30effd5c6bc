"""Figures and how they were obtained. Measured and predicted are different types, on purpose."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the machine was like while a figure was taken.

    Attributes:
        provider: execution provider that was asked for.
        n_threads: threads the runtime was given.
        n_warmup: runs discarded before the first kept one.
        n_runs: runs kept.
        n_blocks: blocks the runs came in, interleaved with other work and the reference kernel.
        n_blocks_marked: blocks marked for drift or throttling and taken again.
        load_1min: 1-minute load average at the end; ``nan`` where unknown.
        steal_share: share of CPU time stolen by the hypervisor, 0..1; ``nan`` where unknown.
        reference_ratio: reference kernel, slowest block over fastest block, >= 1.
        measured_at: UTC time, ISO 8601.
        is_emulated: the provider emulates its device here: the times say nothing about it.
        placement: (node, execution provider that ran it), every node after the runtime's basic
            optimisation.
    """

    provider: str
    n_threads: int
    n_warmup: int
    n_runs: int
    n_blocks: int
    n_blocks_marked: int
    load_1min: float
    steal_share: float
    reference_ratio: float
    measured_at: str
    is_emulated: bool = False
    placement: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """A latency that was timed on the device.

    Attributes:
        label_s: low quantile (p20 per block, drift-corrected over blocks), in seconds: what a
            predictor learns.
        p50_s: median of the kept runs as a user sees them, in seconds.
        p90_s: 90th percentile, in seconds.
        p99_s: 99th percentile, in seconds; ``nan`` below 100 runs.
        interval_s: 95 % interval of ``p50_s`` from a block bootstrap, in seconds.
        conditions: how it was obtained.
    """

    label_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    interval_s: tuple[float, float]
    conditions: Conditions

    def quantile_s(self, name: str) -> float:
        """The figure a limit is about: ``"p50"``, ``"p90"`` or ``"p99"``."""
        return {"p50": self.p50_s, "p90": self.p90_s, "p99": self.p99_s}[name]


def measured_from_json(document: dict[str, object]) -> Measured:
    """Inverse of ``dataclasses.asdict`` for ``Measured``."""
    fields = dict(document)
    given = dict(fields.pop("conditions"))  # type: ignore[call-overload]
    placement = tuple((node, provider) for node, provider in given.pop("placement", ()))
    conditions = Conditions(placement=placement, **given)
    interval_s: tuple[float, float] = tuple(fields.pop("interval_s"))  # type: ignore[arg-type, assignment]
    return Measured(interval_s=interval_s, conditions=conditions, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Predicted:
    """A latency a predictor computed. It never satisfies a limit in a proof.

    Attributes:
        latency_s: the estimate of the label, in seconds.
        interval_s: 90 % interval, in seconds.
        unknown_ops: operators without a cost; they are listed here and never priced as zero.
        extrapolated_ops: operators with a kernel far larger or smaller than any the predictor was
            fitted on; the interval was not checked there.
    """

    latency_s: float
    interval_s: tuple[float, float]
    unknown_ops: tuple[str, ...] = ()
    extrapolated_ops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeasuredAccuracy:
    """Top-1 accuracy counted on real images.

    Attributes:
        n_correct: images classified right.
        n_images: images seen, above 0.
        split: ``"validation"`` or ``"test"``.
    """

    n_correct: int
    n_images: int
    split: str

    @property
    def top1(self) -> float:
        """Share of right answers, 0..1."""
        return self.n_correct / self.n_images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson score interval of ``top1``."""
        z, n, p = 1.959964, self.n_images, self.top1
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return centre - half, centre + half
