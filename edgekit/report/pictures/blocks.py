"""The chosen network, block by block."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.report.markup import Html, joined, tag
from edgekit.report.quantities import PERCENT, Unit, time_unit
from edgekit.report.tables import Cell, count, number, table
from edgekit.report.values import BlockRow

_CAPTION = (
    "The network, block by block. Measured: the block's part of the artifact's per-kernel "
    "profile. Predicted: what the predictor says, for comparison only."
)


def block_table(blocks: Sequence[BlockRow]) -> Html:
    """The network in order, with the share of each block in the measured time.

    A sum with an unknown part, and the shares in it, are shown as not available.
    """
    measured = [block.measured_s for block in blocks]
    predicted = [block.predicted_s for block in blocks]
    unit = time_unit([*measured, *predicted])
    headers = (
        "block",
        "operation",
        "precision",
        "kernels",
        f"measured ({unit.name})",
        "share of measured (%)",
        f"predicted ({unit.name})",
        "provider",
        "note",
    )
    last: list[Cell | str] = [
        "sum",
        "",
        "",
        count(sum(block.n_kernels for block in blocks)),
        number(_total(measured), unit, kind="measured"),
        "",
        number(_total(predicted), unit, kind="predicted"),
        "",
        "",
    ]
    rows = [
        _row(block, unit, share) for block, share in zip(blocks, _shares(measured), strict=True)
    ]
    return table(_CAPTION, headers, rows, is_sortable=True, last=last)


def _total(values: Sequence[float | None]) -> float | None:
    """Sum, or None if one is unknown: an unknown part is not zero."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


def _shares(values: Sequence[float | None]) -> list[Cell]:
    """Each value's part of the sum, with a bar relative to the largest."""
    total = _total(values)
    if not total:
        return [number(None, PERCENT) for _ in values]
    shares = [(value or 0.0) / total for value in values]
    return [_share(share, max(shares)) for share in shares]


def _share(share: float, largest: float) -> Cell:
    bar = tag("span", class_="bar", style=f"width:{100 * share / largest:.1f}%")
    text = tag("span", PERCENT.text(share), class_="share")
    return Cell(joined([text, tag("span", bar, class_="track")]), share, "together")


def _row(block: BlockRow, unit: Unit, share: Cell) -> list[Cell | str]:
    return [
        block.name,
        Cell(block.operation, class_="wide"),
        block.precision or "none",
        count(block.n_kernels),
        number(block.measured_s, unit, kind="measured"),
        share,
        number(block.predicted_s, unit, kind="predicted"),
        block.provider.removesuffix("ExecutionProvider") or "none",
        Cell(block.note, class_="note" if block.note else ""),
    ]
