"""Measured candidates and their front."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate
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
    assert evaluated(Candidate((0,)), 0.75, 1e-3, 1000).values("p90") == (0.25, 1e-3, 1000.0)
