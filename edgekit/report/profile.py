"""What the page of a ``profile`` says: the device, and how far its predictions can be trusted."""

from __future__ import annotations

from edgekit.report.markup import tag
from edgekit.report.pictures.held_out import family_chart, held_out_chart, held_out_table
from edgekit.report.pictures.svg import legend
from edgekit.report.sections import (
    Section,
    device_section,
    origin_section,
    percent,
    section,
    validation_table,
)
from edgekit.report.values import ProfileReport


def profile_sections(report: ProfileReport) -> list[Section]:
    """The sections in the order they are read."""
    return [
        _errors(report),
        *_held_out(report),
        device_section(report.facts, report.conditions),
        origin_section(report.command, report.provenance),
    ]


def _errors(report: ProfileReport) -> Section:
    if not report.validation:
        text = "The predictions were not compared with measured networks."
        return section("errors", "Error of the predictions", tag("p", text))
    used = report.validation[0]
    text = (
        f"On {used.n_networks} whole networks that were not used to fit it, the predictor errs by "
        f"{percent(used.mape)} on average; {percent(used.within_10)} of its predictions are "
        "within 10 % of the measured latency."
    )
    caption = (
        "Error on held-out networks. The floor compares two measurements of the same networks: no "
        "prediction can be expected to agree better than they do."
    )
    rows = [*report.validation, *([report.floor] if report.floor else [])]
    return section(
        "errors", "Error of the predictions", tag("p", text), validation_table(caption, rows)
    )


def _held_out(report: ProfileReport) -> list[Section]:
    if not report.held_out:
        return []
    meanings = (
        ("pair", "a network, predicted and measured"),
        ("exact", "prediction = measurement"),
    )
    equal = tag(
        "figure",
        held_out_chart(report.held_out),
        legend(meanings),
        tag(
            "figcaption",
            "Networks outside the fit. The band is within 10 % of the measured latency.",
        ),
    )
    families = tag(
        "figure",
        family_chart(report.held_out),
        tag("figcaption", "The same networks by family; right of 0 the prediction was too slow."),
    )
    by_family = validation_table("Error by family of networks.", report.families)
    shown = (by_family if report.families else "", families, held_out_table(report.held_out))
    return [section("held-out", "Held-out networks", equal, *shown)]
