"""The course of a training."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report.markup import Html, joined, tag
from edgekit.report.pictures.axes import fitted
from edgekit.report.pictures.svg import BOTTOM, LEFT, RIGHT, TOP, Frame, picture
from edgekit.report.quantities import PERCENT, PLAIN
from edgekit.report.values import CurvePoint


def curve_chart(points: Sequence[CurvePoint], figure: str) -> Html:
    """``"loss"`` or ``"top1"`` over the epochs, one line per training."""
    values = {
        phase: [
            (point.epoch, value)
            for point in points
            if point.phase == phase
            and (value := point.loss if figure == "loss" else point.top1) is not None
        ]
        for phase in dict.fromkeys(point.phase for point in points)
    }
    every = [value for line in values.values() for value in line]
    frame = Frame(
        fitted([epoch for epoch, _ in every], LEFT, RIGHT),
        fitted([value for _, value in every], BOTTOM, TOP),
        PLAIN,
        PLAIN if figure == "loss" else PERCENT,
        "epochs",
        "training loss" if figure == "loss" else "top-1 accuracy on validation images (%)",
    )
    lines = (
        joined([frame.path(line, f"curve curve-{index % 4}"), _curve_name(frame, phase, line)])
        for index, (phase, line) in enumerate(values.items())
        if line
    )
    return picture(f"{frame.y_name} over epochs", frame.grid(), *lines)


def _curve_name(frame: Frame, phase: str, line: Sequence[tuple[float, float]]) -> Html:
    """The name of a line at its end, towards the middle of the picture."""
    x, y = frame.x.at(line[-1][0]), frame.y.at(line[-1][1])
    is_right, is_low = x > (LEFT + RIGHT) / 2, y > (TOP + BOTTOM) / 2
    place = "name end" if is_right else "name"
    return tag("text", phase, x=x, y=y - 12 if is_low else y + 22, class_=place)
