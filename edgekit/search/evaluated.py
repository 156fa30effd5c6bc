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
    """

    candidate: Candidate
    accuracy: MeasuredAccuracy
    latency: Measured
    size_bytes: int
    loss: float | None = None

    @property
    def merit(self) -> float:
        """What candidates are ranked by, the more the better: top-1, or minus the loss."""
        return self.accuracy.top1 if self.loss is None else -self.loss

    def values(self, quantile: str) -> tuple[float, float, float]:
        """What strategies are told, all to be small: error, latency in s, size in bytes.

        The error is ``1 - merit``.

        Args:
            quantile: which one a latency limit is on, ``"p50"``, ``"p90"`` or ``"p99"``.
        """
        return 1 - self.merit, self.latency.quantile_s(quantile), float(self.size_bytes)

    def meets(self, limits: Limits) -> bool:
        """Whether the measured figures keep the limits."""
        return not limits.broken_by(self.latency.quantile_s(limits.quantile), self.size_bytes)


def front(entries: Sequence[Evaluated]) -> list[Evaluated]:
    """Measured entries that no other beats in top-1, p50 latency and size, fastest first."""
    if not entries:
        return []
    figures = [(-e.accuracy.top1, e.latency.p50_s, float(e.size_bytes)) for e in entries]
    kept = non_dominated(np.array(figures))
    best = [entry for entry, stays in zip(entries, kept, strict=True) if stays]
    return sorted(best, key=lambda entry: entry.latency.p50_s)
