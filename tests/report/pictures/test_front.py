from typing import Literal

import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.report.pictures.front import describe, drawn_limit_s, lettered, measured_front
from edgekit.report.values import FrontPoint


def point(
    name: str,
    top1: float,
    latency_s: float,
    kind: Literal["measured", "predicted"] = "measured",
    *,
    baseline: bool = False,
) -> FrontPoint:
    return FrontPoint(name, top1, latency_s, 1000, kind, baseline=baseline)


def test_the_front_holds_measured_points_of_the_search_that_nothing_beats() -> None:
    points = [
        point("slow and worse", 0.7, 3e-3),
        point("fast", 0.6, 1e-3),
        point("best", 0.8, 2e-3),
        point("as fast as best, worse", 0.75, 2e-3),
        point("predicted to be better", 0.99, 0.5e-3, "predicted"),
        point("a baseline", 0.99, 0.5e-3, baseline=True),
    ]
    assert [kept.name for kept in measured_front(points)] == ["fast", "best"]


def test_baselines_get_letters_in_order() -> None:
    points = [point("x", 0.5, 1e-3), *(point(n, 0.5, 1e-3, baseline=True) for n in ("p", "q"))]
    assert [(letter, kept.name) for letter, kept in lettered(points)] == [("a", "p"), ("b", "q")]


def test_a_point_says_first_how_its_latency_came_about() -> None:
    measured = FrontPoint("net", 0.8, 1e-3, 2_000_000, "measured", interval_s=(9e-4, 1.1e-3))
    predicted = FrontPoint("net", 0.8, 1e-3, 2_000_000, "predicted", interval_s=(9e-4, 1.1e-3))
    assert describe(measured) == (
        "net\n"
        "p50 measured: 1 ms (95 % interval 900 us to 1.1 ms)\n"
        "80.0 % on validation images, 2 MB"
    )
    assert describe(predicted).splitlines()[1] == (
        "PREDICTED: 1 ms (90 % interval 900 us to 1.1 ms)"
    )


def test_only_a_measured_point_can_be_chosen() -> None:
    with pytest.raises(
        InputError, match="only a measured point can be chosen, 'net' is predicted"
    ):
        FrontPoint("net", 0.8, 1e-3, 1000, "predicted", chosen=True)


@pytest.mark.parametrize(
    ("limits", "drawn_s"),
    [(Limits(), None), (Limits(4e-3), 4e-3), (Limits(4.1e-3), None), (Limits(None, 10), None)],
)
def test_a_limit_is_drawn_up_to_twice_the_slowest_point(
    limits: Limits, drawn_s: float | None
) -> None:
    assert drawn_limit_s([point("a", 0.5, 1e-3), point("b", 0.5, 2e-3)], limits) == drawn_s
