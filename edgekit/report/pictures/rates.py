"""The picture of accuracy against bytes that are sent."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report.markup import Html
from edgekit.report.pictures.axes import fitted
from edgekit.report.pictures.svg import BOTTOM, LEFT, RIGHT, TOP, Frame, mark, picture
from edgekit.report.quantities import PERCENT, PLAIN
from edgekit.report.values import SplitRow


def rate_chart(rows: Sequence[SplitRow]) -> Html:
    """Accuracy on test images against the mean payload, a point for each price."""
    ordered = sorted(rows, key=lambda row: row.payload_bytes)
    points = [(row.payload_bytes, row.accuracy.top1) for row in ordered]
    frame = Frame(
        fitted([0.0, *(length for length, _ in points)], LEFT, RIGHT),
        fitted([top1 for _, top1 in points], BOTTOM, TOP),
        PLAIN,
        PERCENT,
        "mean payload of an image (bytes)",
        "top-1 accuracy on test images (%)",
    )
    marks = (
        mark("measured", frame.x.at(row.payload_bytes), frame.y.at(row.accuracy.top1), _words(row))
        for row in ordered
    )
    line = frame.path(points, "curve") if len(points) > 1 else Html()
    return picture("Accuracy against bytes", frame.grid(), line, *marks)


def _words(row: SplitRow) -> str:
    return (
        f"price {row.price:g}\nmeasured: {row.payload_bytes:.1f} bytes on average\n"
        f"{100 * row.accuracy.top1:.2f} % on test images"
    )
