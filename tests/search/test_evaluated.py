"""Measured candidates and their front."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.evaluated import front
from tests.search.synthetic import evaluated

Figures = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=20
)


@given(Figures)
def test_the_front_is_what_nothing_beats(figures: list[tuple[int, int, int]]) -> None:
    entries = [
        evaluated(Candidate((index,)), top1 / 10, latency / 100, size)
        for index, (top1, latency, size) in enumerate(figures)
    ]
    kept = front(entries)

    def beats(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
        return a != b and a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2]

    expected = {i for i, mine in enumerate(figures) if not any(beats(f, mine) for f in figures)}
    assert {entry.candidate.genes[0] for entry in kept} == expected
    latencies = [entry.latency.p50_s for entry in kept]
    assert latencies == sorted(latencies)


def test_limits_are_on_the_measured_figures() -> None:
    entry = evaluated(Candidate((0,)), 0.5, 1e-3, 1000)
    assert entry.meets(Limits())
    assert entry.meets(Limits(1e-3, 1000))
    assert not entry.meets(Limits(0.999e-3))
    assert not entry.meets(Limits(None, 999))


def test_strategies_are_told_error_latency_and_size() -> None:
    found = evaluated(Candidate((0,)), 0.75, 1e-3, 1000)
    assert found.values(("latency", "size"), "p90") == (0.25, 1e-3, 1000.0)
    assert found.values(("size",), "p50") == (0.25, 1000.0)
    known = replace(found, memory_bytes=20_000)
    assert known.values(("latency", "memory"), "p50") == (0.25, 1e-3, 20_000.0)
    assert known.broken(Limits(memory_bytes=19_999)) == ("memory",)
    with pytest.raises(InputError, match="kept by a measured figure"):
        found.broken(Limits(memory_bytes=19_999))


def test_what_no_other_beats_depends_on_the_figures() -> None:
    fast = replace(evaluated(Candidate((0,)), 0.75, 1e-3, 1000), memory_bytes=20_000)
    lean = replace(evaluated(Candidate((1,)), 0.75, 2e-3, 1000), memory_bytes=10_000)
    assert front([fast, lean]) == [fast]
    assert front([fast, lean], ("latency", "memory")) == [fast, lean]
