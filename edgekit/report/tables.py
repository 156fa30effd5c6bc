"""Tables with a caption, units in the headers, and numbers that sort as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.report.markup import Html, tag
from edgekit.report.quantities import Unit
from edgekit.report.values import TextRows


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        content: what is shown; text is escaped.
        sort_value: number to sort by; None to sort by the text.
        class_: CSS class, ``"number"`` for figures.
    """

    content: str
    sort_value: float | None = None
    class_: str = ""


def number(value: float | None, unit: Unit, *, kind: str = "") -> Cell:
    """A figure in the unit of its header; ``kind`` is ``"measured"``, ``"predicted"`` or empty."""
    known = value is not None and math.isfinite(value)
    return Cell(unit.text(value), value if known else -math.inf, f"number {kind}".rstrip())


def count(value: int) -> Cell:
    """A whole number with its thousands apart."""
    return Cell(f"{value:,}", value, "number")


def met(is_met: bool, good: str = "met", bad: str = "NOT MET") -> Cell:
    """A verdict as a word, coloured."""
    return Cell(tag("span", good if is_met else bad, class_="good" if is_met else "bad"))


def table(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell | str]],
    *,
    is_sortable: bool = False,
    last: Sequence[Cell | str] = (),
) -> Html:
    """A table that scrolls sideways where the page is too narrow for it.

    Args:
        caption: what the table shows and how the figures came about.
        headers: one per column, with the unit in brackets; the first column names the row.
        rows: cells of each row.
        is_sortable: whether a click on a header sorts the rows.
        last: cells of a closing row that is not sorted, such as a sum.
    """
    shown = [[Cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    numeric = [bool(shown) and "number" in shown[0][i].class_ for i in range(len(headers))]
    head = tag(
        "thead", tag("tr", *(_header(*pair) for pair in zip(headers, numeric, strict=True)))
    )
    body = tag("tbody", *map(_row, shown))
    foot = tag("tfoot", _row([Cell(c) if isinstance(c, str) else c for c in last]) if last else "")
    whole = tag(
        "table",
        tag("caption", tag("span", caption)),
        head,
        body,
        foot if last else "",
        class_="sortable" if is_sortable else "plain",
    )
    return tag("div", whole, class_="scroll", role="region", tabindex="0", aria_label=caption)


def _header(text: str, is_number: bool) -> Html:
    return tag("th", text, scope="col", class_="number" if is_number else "text")


def _row(cells: Sequence[Cell]) -> Html:
    first = tag("th", cells[0].content, scope="row")
    return tag("tr", first, *(_cell(cell) for cell in cells[1:]))


def _cell(cell: Cell) -> Html:
    attributes = {"class_": cell.class_} if cell.class_ else {}
    if cell.sort_value is not None:
        attributes["data_value"] = f"{cell.sort_value:.9g}"
    return tag("td", cell.content, **attributes)


def pairs(caption: str, rows: TextRows) -> Html:
    """A table of names and values."""
    return table(caption, ("what", "value"), rows)
