"""Predictions beside measurements of networks that were held out."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.units import format_duration
from edgekit.report.markup import Html, joined, tag
from edgekit.report.pictures.axes import Axis, fitted
from edgekit.report.pictures.svg import BOTTOM, LEFT, RIGHT, TOP, Frame, mark, picture
from edgekit.report.quantities import PERCENT, time_unit
from edgekit.report.tables import Cell, number, table
from edgekit.report.values import HeldOut

_ROW_PX = 40


def held_out_chart(networks: Sequence[HeldOut]) -> Html:
    """Predicted against measured latency on logarithmic axes, with the line of equality."""
    values = [value for net in networks for value in (net.predicted_s, net.measured_s)]
    unit = time_unit(values)
    frame = Frame(
        fitted(values, LEFT, RIGHT, is_log=True),
        fitted(values, BOTTOM, TOP, is_log=True),
        unit,
        unit,
        f"measured latency ({unit.name})",
        f"predicted latency ({unit.name})",
    )
    low, high = frame.x.low, frame.x.high
    band = frame.path(
        [(low, low * 1.1), (high / 1.1, high), (high, high), (high, high * 0.9), (low / 0.9, low)],
        "band",
    )
    equal = frame.path([(low, low), (high, high)], "exact")
    marks = (
        mark("pair", frame.x.at(net.measured_s), frame.y.at(net.predicted_s), describe_pair(net))
        for net in networks
    )
    return picture("Predicted against measured latency", band, frame.grid(), equal, *marks)


def describe_pair(net: HeldOut) -> str:
    """A network in words, with its error."""
    error = 100 * (net.predicted_s / net.measured_s - 1)
    figures = f"{format_duration(net.predicted_s)}\nmeasured {format_duration(net.measured_s)}"
    return f"{net.name} ({net.family})\npredicted {figures}\nerror {error:+.1f} %"


def family_chart(networks: Sequence[HeldOut]) -> Html:
    """Error of each network in per cent, one row per family."""
    families = sorted({net.family for net in networks})
    errors = [net.predicted_s / net.measured_s - 1 for net in networks]
    axis = fitted([*errors, -0.12, 0.12], 16, RIGHT)
    bottom = 14 + _ROW_PX * len(families)
    columns = (
        joined(
            [
                tag("line", x1=axis.at(tick), x2=axis.at(tick), y1=8, y2=bottom),
                tag(
                    "text",
                    f"{100 * tick:+.3g}" if tick else "0",
                    x=axis.at(tick),
                    y=bottom + 22,
                    class_="middle",
                ),
            ]
        )
        for tick in axis.ticks()
    )
    start, end = axis.at(-0.1), axis.at(0.1)
    band = tag("rect", x=start, y=8, width=end - start, height=bottom - 8, class_="band")
    rows = (_family_row(axis, family, row, networks) for row, family in enumerate(families))
    name = "error of the prediction (% of the measured latency)"
    title = tag("text", name, x=RIGHT, y=bottom + 50, class_="axis end")
    label = "Error of the prediction by family"
    return picture(label, band, *columns, *rows, title, height=bottom + 58)


def _family_row(axis: Axis, family: str, row: int, networks: Sequence[HeldOut]) -> Html:
    y = 8 + _ROW_PX * row
    name = family if len(family) <= 30 else f"{family[:29]}…"
    marks = (
        mark("pair", axis.at(net.predicted_s / net.measured_s - 1), y + 28, describe_pair(net))
        for net in networks
        if net.family == family
    )
    return joined([tag("text", name, x=20, y=y + 16, class_="name"), *marks])


def held_out_table(networks: Sequence[HeldOut]) -> Html:
    """The networks of both pictures."""
    unit = time_unit(net.measured_s for net in networks)
    headers = (
        "network",
        "family",
        f"predicted ({unit.name})",
        f"measured ({unit.name})",
        "error (%)",
    )
    rows: list[list[Cell | str]] = [
        [
            net.name,
            net.family,
            number(net.predicted_s, unit, kind="predicted"),
            number(net.measured_s, unit, kind="measured"),
            number(net.predicted_s / net.measured_s - 1, PERCENT),
        ]
        for net in networks
    ]
    shown = table("Networks of the pictures. A header sorts.", headers, rows, is_sortable=True)
    return tag("details", tag("summary", f"The {len(networks)} networks as a table"), shown)
