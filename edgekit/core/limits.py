"""Hard limits. A limit is a wall, not a penalty."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.errors import InputError
from edgekit.core.units import format_duration, format_size, parse_duration_s, parse_size_bytes

QUANTILES = ("p50", "p90", "p99")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an artifact must not exceed when it is measured on the device.

    Attributes:
        latency_s: limit of one single-image run in seconds; None for no limit.
        size_bytes: limit of the model file in bytes; None for no limit.
        quantile: measured figure the latency limit is on: ``"p50"``, ``"p90"`` or ``"p99"``.

    Raises:
        InputError: a limit that is not above zero, or an unknown quantile.

    Example:
        >>> Limits.of(latency="15ms", size="4MB")
        Limits(latency_s=0.015, size_bytes=4000000, quantile='p50')
    """

    latency_s: float | None = None
    size_bytes: int | None = None
    quantile: str = "p50"

    def __post_init__(self) -> None:
        for name, value in (("latency", self.latency_s), ("size", self.size_bytes)):
            if value is not None and not value > 0:
                raise InputError(
                    f"a {name} limit must be above zero, got {value}; leave it out for none"
                )
        if self.quantile not in QUANTILES:
            raise InputError(
                f"a latency limit is on one of {', '.join(QUANTILES)}, got {self.quantile!r}"
            )

    @classmethod
    def of(
        cls, latency: str | None = None, size: str | None = None, quantile: str = "p50"
    ) -> Limits:
        """Limits from text with units."""
        return cls(
            None if latency is None else parse_duration_s(latency),
            None if size is None else parse_size_bytes(size),
            quantile,
        )

    def broken_by(self, latency_s: float, size_bytes: float) -> tuple[str, ...]:
        """Names of the limits these figures break, ``"latency"`` first."""
        latency = self.latency_s is not None and latency_s > self.latency_s
        size = self.size_bytes is not None and size_bytes > self.size_bytes
        return ("latency",) * latency + ("size",) * size

    def describe(self) -> str:
        """For people: ``"latency p50 <= 15 ms, size <= 4 MB"``."""
        parts = []
        if self.latency_s is not None:
            parts.append(f"latency {self.quantile} <= {format_duration(self.latency_s)}")
        if self.size_bytes is not None:
            parts.append(f"size <= {format_size(self.size_bytes)}")
        return ", ".join(parts) or "no limits"
