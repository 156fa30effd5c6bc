"""What the page of a ``verify`` says: the bundle as it was measured now."""

from __future__ import annotations

from edgekit.report.pictures.blocks import block_table
from edgekit.report.sections import (
    Section,
    artifact,
    data_section,
    device_section,
    files_section,
    limit_table,
    origin_section,
    section,
    tiles,
    verdict,
)
from edgekit.report.values import VerifyReport


def verify_sections(report: VerifyReport) -> list[Section]:
    """The sections in the order they are read."""
    limits, rows = report.limits, report.limit_rows
    verdicts = (verdict(limits, rows), tiles(report.chosen), limit_table(limits, rows))
    return [
        section("verdict", "Verdict", *verdicts),
        section("artifact", "Artifact", artifact(report.chosen)),
        section("network", "Network", block_table(report.blocks)),
        device_section(report.facts, report.conditions),
        data_section(report.data),
        files_section(report.files),
        origin_section(report.command, report.provenance),
    ]
