"""The picture of accuracy against latency, measured and predicted apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from string import ascii_lowercase

from edgekit.core.limits import Limits
from edgekit.core.units import format_duration, format_size
from edgekit.report.markup import Html, joined, tag
from edgekit.report.pictures.axes import fitted
from edgekit.report.pictures.svg import BOTTOM, LEFT, RIGHT, TOP, Frame, mark, picture
from edgekit.report.quantities import PERCENT, time_unit
from edgekit.report.values import FrontPoint

_FAR_LIMIT = 2.0


def front_chart(points: Sequence[FrontPoint], limits: Limits) -> Html:
    """Accuracy against latency, the limit as a wall, and the measured front as steps.

    Args:
        points: what is drawn, at least one.
        limits: what was asked for.
    """
    limit_s = drawn_limit_s(points, limits)
    x_values = [point.latency_s for point in points] + ([limit_s] if limit_s else [])
    frame = Frame(
        fitted(x_values, LEFT, RIGHT),
        fitted([point.top1 for point in points], BOTTOM, TOP),
        unit := time_unit(x_values),
        PERCENT,
        f"latency, single image ({unit.name})",
        "top-1 accuracy on validation images (%)",
    )
    wall = _wall(frame, limit_s, limits.quantile) if limit_s else Html()
    steps = tuple(_steps(measured_front(points)))
    line = frame.path(steps, "front") if steps else Html()
    marks = (_front_mark(frame, point) for point in sorted(points, key=_depth))
    names = [_letter(frame, index, *item) for index, item in enumerate(lettered(points))]
    names += [_chosen_name(frame, point) for point in points if point.chosen]
    return picture("Accuracy against latency", frame.grid(), wall, line, *marks, *names)


def drawn_limit_s(points: Iterable[FrontPoint], limits: Limits) -> float | None:
    """The latency limit in seconds; None above twice the slowest point: it would squeeze them."""
    slowest_s = max(point.latency_s for point in points)
    limit_s = limits.latency_s
    return None if limit_s is None or limit_s > _FAR_LIMIT * slowest_s else limit_s


def lettered(points: Iterable[FrontPoint]) -> list[tuple[str, FrontPoint]]:
    """Each baseline with its letter in the picture; those beyond 26 have none."""
    return list(zip(ascii_lowercase, (point for point in points if point.baseline), strict=False))


def _depth(point: FrontPoint) -> int:
    return 3 if point.chosen else 2 if point.baseline else int(point.kind == "measured")


def measured_front(points: Iterable[FrontPoint]) -> list[FrontPoint]:
    """Measured points of the search that are more accurate than all faster ones, in order."""
    front: list[FrontPoint] = []
    searched = (point for point in points if point.kind == "measured" and not point.baseline)
    for point in sorted(searched, key=lambda point: (point.latency_s, -point.top1)):
        if not front or point.top1 > front[-1].top1:
            front.append(point)
    return front


def _steps(front: Sequence[FrontPoint]) -> Iterator[tuple[float, float]]:
    for index, point in enumerate(front):
        if index:
            yield point.latency_s, front[index - 1].top1
        yield point.latency_s, point.top1


def _wall(frame: Frame, limit_s: float, quantile: str) -> Html:
    x = frame.x.at(limit_s)
    is_right = x > (LEFT + RIGHT) / 2
    area = tag("rect", x=x, y=TOP, width=RIGHT - x, height=BOTTOM - TOP, class_="beyond")
    line = tag("line", x1=x, x2=x, y1=TOP, y2=BOTTOM, class_="limit")
    text = f"limit: {quantile} {format_duration(limit_s)}"
    place = "name limit-name end" if is_right else "name limit-name"
    label = tag("text", text, x=x - 8 if is_right else x + 8, y=BOTTOM - 10, class_=place)
    return joined([area, line, label])


def _front_mark(frame: Frame, point: FrontPoint) -> Html:
    x, y = frame.x.at(point.latency_s), frame.y.at(point.top1)
    parts = [_whisker(frame, point, y)] if point.kind == "measured" else []
    symbol = "chosen" if point.chosen else "baseline" if point.baseline else point.kind
    parts.append(mark(symbol, x, y, describe(point), "predicted" * (point.kind == "predicted")))
    return joined(parts)


_LETTER_PLACES = ((9, 4, "start"), (-9, 4, "end"), (0, -9, "middle"), (0, 19, "middle"))


def _letter(frame: Frame, index: int, letter: str, point: FrontPoint) -> Html:
    """The letter of a baseline, on a side that changes from one to the next."""
    right, down, side = _LETTER_PLACES[index % len(_LETTER_PLACES)]
    x, y = frame.x.at(point.latency_s) + right, frame.y.at(point.top1) + down
    return tag("text", letter, x=x, y=y, class_=f"name {side}")


def _chosen_name(frame: Frame, point: FrontPoint) -> Html:
    x, y = frame.x.at(point.latency_s), frame.y.at(point.top1)
    is_right = x > (LEFT + RIGHT) / 2
    place = "name end" if is_right else "name"
    return tag("text", "chosen", x=x - 12 if is_right else x + 12, y=y - 9, class_=place)


def _whisker(frame: Frame, point: FrontPoint, y: float) -> Html:
    if point.interval_s is None:
        return Html()
    low, high = (frame.x.at(end) for end in point.interval_s)
    return tag("line", x1=low, x2=high, y1=y, y2=y, class_="whisker")


def describe_kind(point: FrontPoint) -> str:
    """What a point is, in a few words."""
    return f"{point.kind}{', baseline' * point.baseline}{', chosen' * point.chosen}"


def describe(point: FrontPoint) -> str:
    """A point in words: first whether its latency is measured or predicted."""
    latency = format_duration(point.latency_s)
    if point.interval_s is not None:
        low, high = (format_duration(end) for end in point.interval_s)
        latency += f" ({'95' if point.kind == 'measured' else '90'} % interval {low} to {high})"
    head = f"{'p50 measured' if point.kind == 'measured' else 'PREDICTED'}: {latency}"
    kept = f"{100 * point.top1:.1f} % on validation images, {format_size(point.size_bytes)}"
    return f"{point.name}\n{head}\n{kept}"
