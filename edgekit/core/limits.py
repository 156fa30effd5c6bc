"""Hard limits. A limit is a wall, not a penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.core.errors import InputError
from edgekit.core.units import format_duration, format_size, parse_duration_s, parse_size_bytes

QUANTILES = ("p50", "p90", "p99")
FIGURES = ("latency", "size", "memory")
"""What can be limited, in the order it is told."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an artifact must not exceed when it is measured on the device.

    Attributes:
        latency_s: limit of one single-image run in seconds; None for no limit.
        size_bytes: limit of the model file in bytes; None for no limit.
        quantile: measured figure the latency limit is on: ``"p50"``, ``"p90"`` or ``"p99"``.
        memory_bytes: limit of what loading and running it adds to a process at its peak, in bytes;
            None for no limit.

    Raises:
        InputError: a limit that is not above zero, or an unknown quantile.

    Example:
        >>> Limits.of(latency="15ms", size="4MB")
        Limits(latency_s=0.015, size_bytes=4000000, quantile='p50', memory_bytes=None)
    """

    latency_s: float | None = None
    size_bytes: int | None = None
    quantile: str = "p50"
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in zip(FIGURES, self._values, strict=True):
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
        cls,
        latency: str | None = None,
        size: str | None = None,
        quantile: str = "p50",
        memory: str | None = None,
    ) -> Limits:
        """Limits from text with units."""
        return cls(
            None if latency is None else parse_duration_s(latency),
            None if size is None else parse_size_bytes(size),
            quantile,
            None if memory is None else parse_size_bytes(memory),
        )

    @property
    def walls(self) -> dict[str, float]:
        """The limit of each of ``FIGURES``, infinite for none."""
        return {
            name: math.inf if value is None else value
            for name, value in zip(FIGURES, self._values, strict=True)
        }

    @property
    def limited(self) -> tuple[str, ...]:
        """Those of ``FIGURES`` that have a limit."""
        return tuple(name for name, wall in self.walls.items() if math.isfinite(wall))

    def broken_by(
        self, latency_s: float, size_bytes: float, memory_bytes: float | None
    ) -> tuple[str, ...]:
        """Names of the limits these figures break, as in ``FIGURES``.

        Raises:
            InputError: memory is limited and not known.
        """
        if memory_bytes is None and self.memory_bytes is not None:
            raise InputError(
                "a limit on memory is kept by a measured figure, there is none; measure it too"
            )
        found = (latency_s, size_bytes, memory_bytes or 0.0)
        rows = zip(self.walls.items(), found, strict=True)
        return tuple(name for (name, wall), value in rows if value > wall)

    def describe(self) -> str:
        """For people: ``"latency p50 <= 15 ms, size <= 4 MB"``."""
        parts = []
        if self.latency_s is not None:
            parts.append(f"latency {self.quantile} <= {format_duration(self.latency_s)}")
        if self.size_bytes is not None:
            parts.append(f"size <= {format_size(self.size_bytes)}")
        if self.memory_bytes is not None:
            parts.append(f"peak memory <= {format_size(self.memory_bytes)}")
        return ", ".join(parts) or "no limits"

    @property
    def _values(self) -> tuple[float | None, ...]:
        return (self.latency_s, self.size_bytes, self.memory_bytes)


def figure_text(name: str, value: float) -> str:
    """One of ``FIGURES`` for people: ``"latency 15 ms"``."""
    text = format_duration(value) if name == "latency" else format_size(round(value))
    return f"{name} {text}"
