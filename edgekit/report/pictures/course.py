"""The course of a search."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report.markup import Html
from edgekit.report.pictures.axes import fitted
from edgekit.report.pictures.svg import BOTTOM, LEFT, RIGHT, TOP, Frame, picture
from edgekit.report.quantities import PLAIN


def hypervolume_chart(values: Sequence[float]) -> Html:
    """The share of a fixed box that was beaten after each measured network."""
    steps = [(float(index), value) for index, value in enumerate(values, 1)]
    frame = Frame(
        fitted([0.0, *(index for index, _ in steps)], LEFT, RIGHT),
        fitted([0.0, *values], BOTTOM, TOP),
        PLAIN,
        PLAIN,
        "measured networks",
        "hypervolume",
    )
    name = "hypervolume after each measured network"
    return picture(name, frame.grid(), frame.path(steps, "curve"))
