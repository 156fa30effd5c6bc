from __future__ import annotations

import math

import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits


def test_limits_come_from_text_with_units() -> None:
    limits = Limits.of(latency="15ms", size="4MB", quantile="p90")
    assert (limits.latency_s, limits.size_bytes, limits.quantile) == (0.015, 4_000_000, "p90")
    assert limits.describe() == "latency p90 <= 15 ms, size <= 4 MB"


def test_memory_is_limited_by_what_was_measured() -> None:
    limits = Limits.of(memory="20MB")
    assert limits.describe() == "peak memory <= 20 MB"
    assert limits.limited == ("memory",)
    assert limits.broken_by(1.0, 1e9, 20_000_001) == ("memory",)
    assert limits.broken_by(1.0, 1e9, 20_000_000) == ()
    with pytest.raises(InputError, match="kept by a measured figure, there is none"):
        limits.broken_by(1.0, 1e9, None)


def test_no_limits_are_never_broken() -> None:
    assert Limits().broken_by(math.inf, math.inf, None) == ()
    assert Limits().describe() == "no limits"


@pytest.mark.parametrize(
    ("latency_s", "size_bytes", "broken"),
    [
        (0.015, 4_000_000, ()),
        (0.0151, 4_000_000, ("latency",)),
        (0.015, 4_000_001, ("size",)),
        (1.0, 1e9, ("latency", "size")),
    ],
)
def test_a_limit_is_kept_up_to_its_value(
    latency_s: float, size_bytes: float, broken: tuple[str, ...]
) -> None:
    assert Limits(0.015, 4_000_000).broken_by(latency_s, size_bytes, None) == broken


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_limit_that_is_not_above_zero_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="above zero"):
        Limits(latency_s=value)


def test_an_unknown_quantile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="p50, p90, p99"):
        Limits.of(latency="1ms", quantile="p75")
