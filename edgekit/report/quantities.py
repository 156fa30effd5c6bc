"""Units that figures of a column or an axis share, so that a unit stands once in the header."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that figures of one column or axis are shown in.

    Attributes:
        name: for example ``"ms"``.
        size: what one of it is in the base unit, seconds or bytes or 1.
    """

    name: str
    size: float

    def text(self, value: float | None) -> str:
        """Three digits without the unit; ``"n/a"`` for None or ``nan``."""
        if value is None or math.isnan(value):
            return "n/a"
        shown = value / self.size
        if abs(shown) >= 999.5 or shown == 0:
            return f"{shown:.0f}"
        return f"{shown:#.3g}".removesuffix(".")

    def tick(self, value: float) -> str:
        """A round value of an axis, without the unit and without zeros at its end."""
        return f"{value / self.size:.6g}"


_TIME_UNITS = (Unit("s", 1.0), Unit("ms", 1e-3), Unit("us", 1e-6))
_SIZE_UNITS = (Unit("MB", 1e6), Unit("kB", 1e3), Unit("B", 1.0))
PERCENT = Unit("%", 0.01)
PLAIN = Unit("", 1.0)


def time_unit(values_s: Iterable[float | None]) -> Unit:
    """The unit that suits the largest of these durations."""
    return _suited(values_s, _TIME_UNITS)


def size_unit(values_bytes: Iterable[float | None]) -> Unit:
    """The unit that suits the largest of these sizes."""
    return _suited(values_bytes, _SIZE_UNITS)


def _suited(values: Iterable[float | None], units: tuple[Unit, ...]) -> Unit:
    largest = max((value for value in values if value is not None and value == value), default=0.0)
    return next((unit for unit in units if largest >= unit.size), units[-1])
