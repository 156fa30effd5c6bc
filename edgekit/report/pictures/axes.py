"""Axes of a picture: from values to pixels, and where the ticks stand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MAX_LINEAR_TICKS = 6
_MAX_LOG_TICKS = 7


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values laid on a range of pixels.

    Attributes:
        low: value at ``start_px``; above 0 on a logarithmic axis.
        high: value at ``end_px``, above ``low``.
        start_px: where the axis begins.
        end_px: where it ends; less than ``start_px`` for an axis that goes up.
        is_log: whether equal steps are equal ratios.
    """

    low: float
    high: float
    start_px: float
    end_px: float
    is_log: bool = False

    def at(self, value: float) -> float:
        """Pixel of a value; values outside the range are put on its end."""
        kept = min(max(value, self.low), self.high)
        if self.is_log:
            share = math.log(kept / self.low) / math.log(self.high / self.low)
        else:
            share = (kept - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def ticks(self) -> tuple[float, ...]:
        """Round values inside the range, at most seven."""
        return _log_ticks(self.low, self.high) if self.is_log else _ticks(self.low, self.high)


def fitted(
    values: Iterable[float], start_px: float, end_px: float, *, is_log: bool = False
) -> Axis:
    """An axis that holds all finite values with a margin of 6 % at both ends.

    Without values it goes from 1 to 2. On a logarithmic axis values up to 0 are left out.
    """
    kept = [value for value in values if math.isfinite(value) and (value > 0 or not is_log)]
    low, high = (min(kept), max(kept)) if kept else (1.0, 2.0)
    if is_log:
        margin = max((high / low) ** 0.06, 1.05)
        return Axis(low / margin, high * margin, start_px, end_px, True)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    return Axis(low - margin, high + margin, start_px, end_px)


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _MAX_LINEAR_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1-2-5 in each decade; fewer over many decades, evenly spaced ones within a factor of 3."""
    if high / low < 3:
        return _ticks(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    mantissas: Sequence[tuple[float, ...]] = ((1, 2, 5), (1, 3), (1,))
    for chosen in mantissas:
        found = tuple(
            value for d in decades for m in chosen if low <= (value := m * 10.0**d) <= high
        )
        if len(found) <= _MAX_LOG_TICKS:
            return found
    return found[:: math.ceil(len(found) / _MAX_LOG_TICKS)]
