"""Inline SVG. A measured point is a filled circle, a predicted one an empty diamond."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.report.markup import Html, joined, tag
from edgekit.report.pictures.axes import Axis
from edgekit.report.quantities import Unit

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 62, 700, 34, 342

SYMBOLS = Html(
    '<svg width="0" height="0" class="symbols" aria-hidden="true"><defs>'
    '<circle id="measured" r="4.5"></circle>'
    '<path id="predicted" d="M0-4.5L4.5 0L0 4.5L-4.5 0Z"></path>'
    '<path id="chosen" d="M0-11L2.9-3.6L10.8-3.2L4.7 1.8L6.8 9.3L0 5.1L-6.8 9.3L-4.7 1.8'
    'L-10.8-3.2L-2.9-3.6Z"></path>'
    '<rect id="baseline" x="-5" y="-5" width="10" height="10"></rect>'
    '<path id="pair" d="M-5 0H5M0-5V5"></path>'
    "</defs></svg>"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Both axes of a picture, with the unit and the name of each."""

    x: Axis
    y: Axis
    x_unit: Unit
    y_unit: Unit
    x_name: str
    y_name: str

    def grid(self) -> Html:
        """Grid lines, tick labels and axis names."""
        columns = (self._column(value) for value in self.x.ticks())
        rows = (self._row(value) for value in self.y.ticks())
        names = (
            tag("text", self.y_name, x=4, y=18, class_="axis"),
            tag("text", self.x_name, x=RIGHT, y=HEIGHT - 8, class_="axis end"),
        )
        return joined([*columns, *rows, *names])

    def _column(self, value: float) -> Html:
        x = self.x.at(value)
        line = tag("line", x1=x, x2=x, y1=TOP, y2=BOTTOM)
        label = self.x_unit.tick(value)
        return joined([line, tag("text", label, x=x, y=BOTTOM + 22, class_="middle")])

    def _row(self, value: float) -> Html:
        y = self.y.at(value)
        line = tag("line", x1=LEFT, x2=RIGHT, y1=y, y2=y)
        return joined(
            [line, tag("text", self.y_unit.tick(value), x=LEFT - 8, y=y + 5, class_="end")]
        )

    def path(self, points: Iterable[tuple[float, float]], class_: str) -> Html:
        """A line through points in values."""
        corners = "L".join(f"{self.x.at(x):.1f} {self.y.at(y):.1f}" for x, y in points)
        return tag("path", d=f"M{corners}", class_=class_)


def mark(symbol: str, x: float, y: float, title: str, class_: str = "") -> Html:
    """One point; its title is what the mouse and a screen reader find."""
    return tag(
        "use",
        tag("title", title),
        href=f"#{symbol}",
        x=x,
        y=y,
        class_=f"point {symbol} {class_}".rstrip(),
    )


def legend(items: Sequence[tuple[str, str]]) -> Html:
    """What each (symbol, meaning) stands for."""
    entries = (
        tag("li", tag("svg", _legend_mark(symbol), viewBox="-12 -12 24 24"), meaning)
        for symbol, meaning in items
    )
    return tag("ul", *entries, class_="legend")


def _legend_mark(symbol: str) -> Html:
    if symbol in ("limit", "front", "exact"):
        return tag("line", x1=-12, x2=12, y1=0, y2=0, class_=symbol)
    return tag("use", href=f"#{symbol}", class_=symbol)


def picture(label: str, *content: Html, height: float = HEIGHT) -> Html:
    """A picture as wide as the page allows; ``label`` says what it shows."""
    box = f"0 0 {WIDTH} {height:.0f}"
    return tag("svg", *content, viewBox=box, role="img", aria_label=label, class_="chart")
