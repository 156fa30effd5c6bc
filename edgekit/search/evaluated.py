"""A candidate that was measured on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.figures import Measured, MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.search.protocol.pareto import non_dominated


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate with its measured figures.

    Attributes:
        candidate: its genes.
        accuracy: on the validation split, int8 blocks simulated, weights as inherited from the
            supernet.
        latency: on the device, in the runtime.
        size_bytes: bytes of its serialised model.
        loss: mean cross-entropy on the calibration split in nats, where candidates are ranked by
            it.
        memory_bytes: what loading and running it adds to a process at its peak; None where that
            was not measured.
    """

    candidate: Candidate
    accuracy: MeasuredAccuracy
    latency: Measured
    size_bytes: int
    loss: float | None = None
    memory_bytes: int | None = None

    @property
    def merit(self) -> float:
        """What candidates are ranked by, the more the better: top-1, or minus the loss."""
        return self.accuracy.top1 if self.loss is None else -self.loss

    def figures(self, names: Sequence[str], quantile: str = "p50") -> tuple[float, ...]:
        """Some of ``FIGURES``: latency in s, size and memory in bytes.

        Args:
            names: which ones; memory must have been measured.
            quantile: of the latency, ``"p50"``, ``"p90"`` or ``"p99"``.
        """
        known = {"latency": self.latency.quantile_s(quantile), "size": float(self.size_bytes)}
        if self.memory_bytes is not None:
            known["memory"] = float(self.memory_bytes)
        return tuple(known[name] for name in names)

    def values(self, names: Sequence[str], quantile: str) -> tuple[float, ...]:
        """What strategies are told, all to be small: the error ``1 - merit``, then figures."""
        return 1 - self.merit, *self.figures(names, quantile)

    def meets(self, limits: Limits) -> bool:
        """Whether the measured figures keep the limits."""
        return not self.broken(limits)

    def broken(self, limits: Limits) -> tuple[str, ...]:
        """Names of the limits that the measured figures break."""
        latency_s = self.latency.quantile_s(limits.quantile)
        return limits.broken_by(latency_s, self.size_bytes, self.memory_bytes)


def front(
    entries: Sequence[Evaluated], names: Sequence[str] = ("latency", "size")
) -> list[Evaluated]:
    """Measured entries that no other beats in top-1 and some of ``FIGURES``, fastest first."""
    if not entries:
        return []
    figures = [(-e.accuracy.top1, *e.figures(names)) for e in entries]
    kept = non_dominated(np.array(figures))
    best = [entry for entry, stays in zip(entries, kept, strict=True) if stays]
    return sorted(best, key=lambda entry: entry.latency.p50_s)
