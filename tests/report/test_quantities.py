import pytest

from edgekit.report.quantities import PERCENT, Unit, size_unit, time_unit


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([2.5, 1e-3], "s"),
        ([1.4e-3, 3e-5], "ms"),
        ([9.9e-4, None, float("nan")], "us"),
        ([], "us"),
        ([None], "us"),
    ],
)
def test_the_largest_duration_sets_the_unit(values: list[float | None], name: str) -> None:
    assert time_unit(values).name == name


@pytest.mark.parametrize(("value", "name"), [(1.2e6, "MB"), (999_999, "kB"), (12, "B")])
def test_the_largest_size_sets_the_unit(value: float, name: str) -> None:
    assert size_unit([1.0, value]).name == name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.4e-3, "1.40"),
        (12.0e-3, "12.0"),
        (0.1, "100"),
        (1.23456, "1235"),
        (0.0, "0"),
        (None, "n/a"),
        (float("nan"), "n/a"),
    ],
)
def test_figures_have_three_digits(value: float | None, text: str) -> None:
    assert Unit("ms", 1e-3).text(value) == text


def test_ticks_have_no_zeros_at_their_end() -> None:
    assert [PERCENT.tick(value) for value in (0.8, 0.825, 0.30000000000000004)] == [
        "80",
        "82.5",
        "30",
    ]
