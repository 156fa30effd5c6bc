"""What the page of a ``split`` says: what is sent, what is right, and how long each part takes."""

from __future__ import annotations

from edgekit.report.markup import tag
from edgekit.report.pictures.rates import rate_chart
from edgekit.report.quantities import PERCENT, PLAIN, time_unit
from edgekit.report.sections import Section, data_section, device_section, origin_section, section
from edgekit.report.tables import Cell, count, number, table
from edgekit.report.values import SplitReport

RATES_BIT_S = (1e5, 1e6, 1e7, 1e8)
_NAMES = ("100 kbit/s", "1 Mbit/s", "10 Mbit/s", "100 Mbit/s")


def split_sections(report: SplitReport) -> list[Section]:
    """The sections in the order they are read."""
    return [
        section("rates", "Accuracy and bytes", rate_chart(report.rows), *_tables(report)),
        section("links", "Time by link", *_links(report)),
        device_section(report.facts, report.rows[0].encoder.conditions),
        data_section(report.data),
        origin_section(report.command, report.provenance),
    ]


def _tables(report: SplitReport) -> list[str]:
    shown = [(r.encoder.p50_s, r.encode_s, r.decode_s, r.server.p50_s) for r in report.rows]
    unit = time_unit(one for row in shown for one in row)
    headers = (
        "price of a bit",
        "top-1 on test (%)",
        "mean payload (bytes)",
        "largest payload (bytes)",
        f"encoder, measured p50 ({unit.name})",
        f"frame made, median ({unit.name})",
        f"frame read, median ({unit.name})",
        f"server half, measured p50 ({unit.name})",
    )
    rows: list[list[Cell | str]] = [
        [
            f"{row.price:g}",
            number(row.accuracy.top1, PERCENT),
            number(row.payload_bytes, PLAIN),
            count(row.largest_payload_bytes),
            number(row.encoder.p50_s, unit, kind="measured"),
            number(row.encode_s, unit),
            number(row.decode_s, unit),
            number(row.server.p50_s, unit, kind="measured"),
        ]
        for row in report.rows
    ]
    note = (
        "Every test image was sent as a real frame and read again; payloads are told without the "
        f"{report.frame_bytes} bytes around them. Both halves were timed on one machine."
    )
    return [table("Halves by price.", headers, rows), tag("p", note, class_="soft")]


def _links(report: SplitReport) -> list[str]:
    times_s: list[list[float]] = []
    for row in report.rows:
        parts_s = row.encoder.p50_s + row.encode_s + row.decode_s + row.server.p50_s
        bits = 8 * (row.payload_bytes + report.frame_bytes)
        times_s.append([parts_s + bits / rate for rate in RATES_BIT_S])
    unit = time_unit(one for row in times_s for one in row)
    rows: list[list[Cell | str]] = [
        [f"{row.price:g}", *(number(one, unit) for one in times)]
        for row, times in zip(report.rows, times_s, strict=True)
    ]
    headers = ("price of a bit", *(f"{name} ({unit.name})" for name in _NAMES))
    note = (
        "Computed, not measured: the measured parts above, and the mean frame at the rate of the "
        "link without its delay."
    )
    return [table("From image to answer.", headers, rows), tag("p", note, class_="soft")]
