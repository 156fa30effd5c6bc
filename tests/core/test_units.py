from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InputError
from edgekit.core.units import format_duration, format_size, parse_duration_s, parse_size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15ms", 0.015), (" 2 s ", 2.0), ("250us", 250e-6), ("250µs", 250e-6), ("1.5e3 NS", 1.5e-6)],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("4MB", 4_000_000), ("4 MiB", 4 * 2**20), ("1b", 1), ("0.5kB", 500)]
)
def test_sizes_are_read_in_bytes(text: str, n_bytes: int) -> None:
    assert parse_size_bytes(text) == n_bytes


@pytest.mark.parametrize(
    "text", ["", "15", "ms", "-1ms", "0ms", "15 m", "1e400s", "1,5ms", "nans"]
)
def test_a_wrong_duration_is_refused_with_the_value_and_an_example(text: str) -> None:
    with pytest.raises(InputError, match="15ms") as caught:
        parse_duration_s(text)
    assert repr(text) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["0.1b", "0MB", "4M", "4 apples", "inf GB"])
def test_a_size_below_one_byte_or_without_unit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="4MB"):
        parse_size_bytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9999, "1 s"), (0.0009996, "1 ms"), (0.0123, "12.3 ms"), (4e-9, "4 ns"), (5400, "5400 s")],
)
def test_durations_are_printed_with_three_digits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(999_900, "1 MB"), (0, "0 B"), (999.7, "1 kB"), (5e12, "5000 GB")]
)
def test_sizes_are_printed_with_three_digits(n_bytes: float, text: str) -> None:
    assert format_size(n_bytes) == text


@given(st.floats(min_value=1e-9, max_value=1e5))
def test_a_printed_duration_reads_back_within_its_three_digits(seconds: float) -> None:
    text = format_duration(seconds)
    assert parse_duration_s(text) == pytest.approx(seconds, rel=0.0051)
    assert "e+" not in text


@given(st.integers(min_value=1, max_value=10**15))
def test_a_printed_size_reads_back_within_its_three_digits(n_bytes: int) -> None:
    text = format_size(n_bytes)
    assert parse_size_bytes(text) == pytest.approx(n_bytes, rel=0.0051)
    assert "e+" not in text


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_duration_s(text) > 0
