"""Parts of a page that the reports share. What is measured says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.figures import Conditions, Measured, MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.core.units import format_duration, format_size
from edgekit.report.markup import Html, joined, tag
from edgekit.report.quantities import PERCENT, PLAIN, size_unit, time_unit
from edgekit.report.tables import Cell, count, met, number, pairs, table
from edgekit.report.values import (
    ChosenRow,
    DataSummary,
    FileRow,
    LimitRow,
    TextRows,
    ValidationRow,
)

_N_LABELS = 40


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under its own heading.

    Attributes:
        anchor: what the list of contents points to.
        heading: its title.
        body: what stands below the title.
    """

    anchor: str
    heading: str
    body: Html

    @property
    def html(self) -> Html:
        """Title and body."""
        return tag("section", tag("h2", self.heading), self.body, id=self.anchor)


def section(anchor: str, heading: str, *content: str) -> Section:
    """A part of the page from its pieces."""
    return Section(anchor, heading, joined(content))


def percent(share: float) -> str:
    """Three digits and the sign."""
    return f"{PERCENT.text(share)} %"


def verdict(limits: Limits, rows: Sequence[LimitRow]) -> Html:
    """One sentence: whether every limit is met by a measured figure."""
    broken = [row.name for row in rows if not row.met]
    if broken:
        text = f"NOT MET when measured on the device: {', '.join(broken)} ({limits.describe()})"
    elif rows:
        text = f"All limits met, measured on the device: {limits.describe()}"
    else:
        text = "No limits were set; the figures were measured on the device"
    return tag("p", text, class_=f"verdict {'bad' if broken else 'good'}")


def tiles(chosen: ChosenRow) -> Html:
    """The figures of the artifact, all measured."""
    low, high = (percent(end) for end in chosen.accuracy.interval)
    fast, slow = (format_duration(end) for end in chosen.latency.interval_s)
    split, n_images = chosen.accuracy.split, chosen.accuracy.n_images
    return tag(
        "dl",
        _tile(
            "top-1 accuracy, measured",
            percent(chosen.accuracy.top1),
            f"95 % interval {low} to {high}; {n_images:,} {split} images",
        ),
        _tile(
            "latency p50, measured",
            format_duration(chosen.latency.p50_s),
            f"95 % interval {fast} to {slow}; one image",
        ),
        _tile("size, measured", format_size(chosen.size_bytes), f"{chosen.size_bytes:,} bytes"),
        _memory_tile(chosen.memory_bytes),
        _tile("blocks in int8", percent(chosen.int8_share), "the others run in fp32"),
        class_="tiles",
    )


def _memory_tile(memory_bytes: int | None) -> Html:
    if memory_bytes is None:
        return Html()
    detail = "peak of a process that loads and runs it"
    return _tile("memory, measured", format_size(memory_bytes), detail)


def _tile(name: str, figure: str, detail: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", figure, class_="figure"), tag("dd", detail))


def limit_table(limits: Limits, rows: Sequence[LimitRow]) -> Html:
    """Each limit beside the measured figure; nothing without limits."""
    if not rows:
        return Html()
    caption = (
        "Limits. Only figures measured on the device count; a prediction never meets a limit."
    )
    headers = ("limit on", "limit", "measured", "used (%)", "verdict")
    return table(caption, headers, [_limit_row(limits, row) for row in rows])


def _limit_row(limits: Limits, row: LimitRow) -> list[Cell | str]:
    shown = format_duration if row.name == "latency" else format_size
    names = {
        "latency": f"latency {limits.quantile}",
        "size": "size of the model file",
        "memory": "peak memory of a process that loads and runs it",
    }
    return [
        names[row.name],
        Cell(shown(row.limit), row.limit, "number"),
        Cell(shown(row.measured), row.measured, "number"),
        number(row.measured / row.limit, PERCENT),
        met(row.met),
    ]


def artifact(chosen: ChosenRow) -> Html:
    """Latency and accuracy of the artifact in full, and its parity with its network."""
    accuracies = [chosen.accuracy, chosen.validation_accuracy]
    kept = [accuracy for accuracy in accuracies if accuracy is not None]
    accuracy_headers = ("images", "top-1 (%)", "95 % interval (%)", "right", "seen")
    accuracy_table = table(
        "Accuracy, counted on real images.", accuracy_headers, [_accuracy_row(a) for a in kept]
    )
    return joined([_latency_table(chosen.latency), accuracy_table, _parity_table(chosen)])


def _latency_table(latency: Measured) -> Html:
    quantiles = (latency.p50_s, *latency.interval_s, latency.p90_s, latency.p99_s, latency.label_s)
    unit = time_unit(latency.interval_s)
    headers = ("figure", f"measured ({unit.name})")
    names = ("p50", "p50, lower end (95 %)", "p50, upper end (95 %)", "p90", "p99", "low quantile")
    rows: list[list[Cell | str]] = [
        [name, number(value, unit)] for name, value in zip(names, quantiles, strict=True)
    ]
    caption = (
        "Latency of one image, measured. p50, p90 and p99 are what a user sees; the low quantile, "
        "corrected for drift of the machine, is what predictions are about."
    )
    return table(caption, headers, rows)


def _accuracy_row(accuracy: MeasuredAccuracy) -> list[Cell | str]:
    low, high = accuracy.interval
    interval = Cell(f"{PERCENT.text(low)} to {PERCENT.text(high)}", low, "number")
    counts = (count(accuracy.n_correct), count(accuracy.n_images))
    return [accuracy.split, number(accuracy.top1, PERCENT), interval, *counts]


def _parity_table(chosen: ChosenRow) -> Html:
    if not chosen.parity:
        return Html()
    rows: list[list[Cell | str]] = [
        [row.name, number(row.value, PLAIN), row.bound, met(row.met)] for row in chosen.parity
    ]
    caption = "Parity: the forms of the network compared with each other."
    return table(caption, ("compared", "found", "asked for", "verdict"), rows)


def validation_table(caption: str, rows: Sequence[ValidationRow]) -> Html:
    """Errors of predictions, one row per predictor or family."""
    headers = (
        "predictions",
        "networks",
        "mean error (%)",
        "within 10 % of measured (%)",
        "Kendall tau",
        "inside the 90 % interval (%)",
    )
    shown: list[list[Cell | str]] = [
        [
            row.name,
            count(row.n_networks),
            number(row.mape, PERCENT),
            number(row.within_10, PERCENT),
            number(row.kendall_tau, PLAIN),
            number(row.coverage, PERCENT),
        ]
        for row in rows
    ]
    return table(caption, headers, shown, is_sortable=len(rows) > 2)


def conditions_table(conditions: Conditions) -> Html:
    """What the machine was like."""
    rows = (
        ("execution provider", conditions.provider),
        ("threads", str(conditions.n_threads)),
        ("runs kept", f"{conditions.n_runs:,} in {conditions.n_blocks:,} blocks"),
        ("runs discarded to warm up", f"{conditions.n_warmup:,}"),
        ("blocks marked for drift and taken again", str(conditions.n_blocks_marked)),
        ("load average of 1 minute", _known(conditions.load_1min, "")),
        ("CPU time stolen by the hypervisor", _known(100 * conditions.steal_share, " %")),
        ("reference kernel, slowest over fastest block", _known(conditions.reference_ratio, "")),
        ("measured at", conditions.measured_at),
    )
    return pairs("Conditions of the measurement.", rows)


def _known(value: float, unit: str) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3g}{unit}"


def data_section(data: DataSummary) -> Section:
    """How many images each figure rests on, and which files were left out."""
    rows: list[list[Cell | str]] = [
        ["train", count(data.n_train), "weights"],
        ["validation", count(data.n_validation), "comparing candidates"],
        ["calibration", count(data.n_calibration), "scales of int8"],
        ["test", count(data.n_test), "the accuracy of the artifact, once"],
    ]
    counts = table(f"Images of {data.task_name}.", ("part", "images", "used for"), rows)
    labels = ", ".join(data.labels[:_N_LABELS])
    more = f" and {len(data.labels) - _N_LABELS} more" if len(data.labels) > _N_LABELS else ""
    classes = tag("p", f"{len(data.labels)} classes: {labels}{more}.")
    return section("data", "Data", counts, classes, _skipped(data))


def _skipped(data: DataSummary) -> Html:
    if not data.n_skipped:
        return tag("p", "Every image file could be read.")
    names = tag("ul", *(tag("li", name) for name in data.skipped))
    text = (
        f"{data.n_skipped:,} unreadable files were left out; {len(data.skipped)} are named here."
    )
    return tag("details", tag("summary", text), names)


def files_section(files: Sequence[FileRow]) -> Section:
    """The files of the bundle with their digests."""
    unit = size_unit(file.size_bytes for file in files)
    rows: list[list[Cell | str]] = [
        [file.name, number(file.size_bytes, unit), Cell(tag("code", file.sha256))]
        for file in files
    ]
    shown = table("Files of the bundle.", ("file", f"size ({unit.name})", "SHA-256"), rows)
    return section("files", "Files", shown)


def origin_section(command: str, provenance: TextRows) -> Section:
    """The command that makes the same page again, and what it ran on."""
    intro = tag("p", "This command makes the same report again:")
    shown = tag("pre", tag("code", command))
    return section("origin", "Reproduce", intro, shown, pairs("Provenance.", provenance))


def device_section(facts: TextRows, conditions: Conditions) -> Section:
    """The device, and how it was while it was measured."""
    shown = pairs("What was found on the device.", facts)
    return section("device", "Device and conditions", conditions_table(conditions), shown)
