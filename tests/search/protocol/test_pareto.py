"""The filter against a comparison of every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.search.protocol.pareto import gains, hypervolume, non_dominated

Rows = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=40)


@given(Rows)
def test_what_stays_is_what_nothing_beats(rows: list[tuple[int, int, int]]) -> None:
    kept = non_dominated(np.array(rows, dtype=np.float64))
    for mine, stays in zip(rows, kept, strict=True):
        beaten = any(
            other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
            for other in rows
        )
        assert stays == (not beaten)


@given(Rows)
def test_the_hypervolume_is_the_count_of_beaten_cells(rows: list[tuple[int, int, int]]) -> None:
    """Of a box of whole numbers, some rows outside."""
    reference = (3, 4, 2)
    cells = np.stack(np.meshgrid(*map(np.arange, reference), indexing="ij"), axis=-1)
    beaten = np.zeros(reference, dtype=bool)
    for row in rows:
        beaten |= (cells >= row).all(axis=-1)
    found = hypervolume(np.array(rows, dtype=np.float64), np.array(reference, dtype=np.float64))
    assert found == pytest.approx(beaten.mean())


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_it_is_right_on_many_rows_of_any_scale(m: int) -> None:
    values = np.random.default_rng(m).random((2000, m)) * np.logspace(-6, 6, m)
    kept = values[non_dominated(values)]
    for row in values:
        beats = (kept <= row).all(axis=1) & (kept < row).any(axis=1)
        assert beats.any() != (row == kept).all(axis=1).any()


Pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


@given(Pairs, Pairs)
def test_a_gain_is_what_the_hypervolume_grows_by(
    known: list[tuple[int, int]], rows: list[tuple[int, int]]
) -> None:
    reference = np.array([5.0, 4.0])
    before, added = (np.array(part, float).reshape(-1, 2) for part in (known, rows))
    found = gains(added, before, reference)
    for gain, row in zip(found, added, strict=True):
        grown = hypervolume(np.concatenate([before, row[None]]), reference)
        assert gain == pytest.approx(20 * (grown - hypervolume(before, reference)))
