import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.pictures.axes import Axis, fitted

LATENCIES_S = st.lists(st.floats(1e-7, 100.0), min_size=1, max_size=20)


@given(LATENCIES_S, st.booleans())
def test_every_value_lies_inside_and_ticks_are_few_and_in_order(
    values: list[float], is_log: bool
) -> None:
    axis = fitted(values, 60.0, 700.0, is_log=is_log)
    assert all(60.0 < axis.at(value) < 700.0 for value in values)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 7
    assert list(ticks) == sorted(set(ticks))
    tolerance = 1e-6 * (axis.high - axis.low)
    assert all(axis.low - tolerance <= tick <= axis.high + tolerance for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.3, 2.4, (0.5, 1.0, 1.5, 2.0)),
        (79.0, 89.0, (80.0, 82.0, 84.0, 86.0, 88.0)),
        (-0.13, 0.14, (-0.1, -0.05, 0.0, 0.05, 0.1)),
        (1e-3, 1.3e-3, (1e-3, 1.05e-3, 1.1e-3, 1.15e-3, 1.2e-3, 1.25e-3, 1.3e-3)),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert Axis(low, high, 0, 1).ticks() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 60.0, (1, 2, 5, 10, 20, 50)),
        (0.2, 50.0, (0.3, 1, 3, 10, 30)),
        (1e-6, 1.0, tuple(10.0**power for power in range(-6, 1))),
        (1.0, 2.0, (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)),
    ],
)
def test_logarithmic_ticks_thin_out(low: float, high: float, expected: tuple[float, ...]) -> None:
    assert Axis(low, high, 0, 1, True).ticks() == pytest.approx(expected)


def test_equal_ratios_are_equal_steps_on_a_logarithmic_axis() -> None:
    axis = Axis(1.0, 100.0, 0.0, 200.0, True)
    assert [axis.at(value) for value in (1.0, 10.0, 100.0)] == pytest.approx([0, 100, 200])


def test_values_outside_stop_at_the_end() -> None:
    axis = Axis(0.0, 1.0, 300.0, 100.0)
    assert (axis.at(-5), axis.at(0.5), axis.at(5)) == (300.0, 200.0, 100.0)


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf]])
def test_without_finite_values_there_is_still_an_axis(values: list[float]) -> None:
    assert len(fitted(values, 0, 1).ticks()) > 1


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_one_value_stands_in_the_middle(value: float) -> None:
    assert fitted([value], 0.0, 10.0).at(value) == pytest.approx(5.0)
