"""Numbers with units: parsing what a person types, printing what a person reads. SI inside."""

from __future__ import annotations

import math
import re

from edgekit.core.errors import InputError

_DURATION_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SIZE_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
# From this share of a unit on, three digits in the next smaller unit would round to 1000 of it.
_ROUNDS_UP = 0.9995
_NUMBER_UNIT = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Zµ]+)\s*$")


def _parse(text: str, units: dict[str, float] | dict[str, int], kind: str, example: str) -> float:
    match = _NUMBER_UNIT.match(text)
    unit = match.group(2).lower().replace("µ", "u") if match else ""
    if match is None or unit not in units:
        known = ", ".join(units)
        raise InputError(
            f"a {kind} needs a number and one of the units {known}, got {text!r}; write {example}"
        )
    value = float(match.group(1)) * units[unit]
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"a {kind} must be above zero, got {text!r}; write {example}")
    return value


def parse_duration_s(text: str) -> float:
    """Seconds from text such as ``"15ms"``.

    Raises:
        InputError: without a known unit, or not above zero.

    Example:
        >>> parse_duration_s("15ms")
        0.015
    """
    return _parse(text, _DURATION_S, "duration", "15ms")


def parse_size_bytes(text: str) -> int:
    """Bytes from text such as ``"4MB"`` (decimal) or ``"4MiB"`` (binary).

    Raises:
        InputError: without a known unit, or not above zero.

    Example:
        >>> parse_size_bytes("4MB")
        4000000
    """
    n_bytes = round(_parse(text, _SIZE_BYTES, "size", "4MB"))
    if n_bytes < 1:
        raise InputError(f"a size must be at least one byte, got {text!r}; write 4MB")
    return n_bytes


def format_duration(seconds: float) -> str:
    """Three digits and a fitting unit.

    Example:
        >>> format_duration(0.00123)
        '1.23 ms'
    """
    if abs(seconds) >= 999.5:
        return f"{seconds:.0f} s"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= _ROUNDS_UP * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def format_size(n_bytes: float) -> str:
    """Three digits and a decimal unit.

    Example:
        >>> format_size(812_345)
        '812 kB'
    """
    if n_bytes >= 999.5e9:
        return f"{n_bytes / 1e9:.0f} GB"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= _ROUNDS_UP * scale:
            return f"{n_bytes / scale:.3g} {unit}"
    return f"{n_bytes:.0f} B"
