"""What the page of a ``fit`` says, from the verdict to the command."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.report.markup import Html, tag
from edgekit.report.pictures.blocks import block_table
from edgekit.report.pictures.course import hypervolume_chart
from edgekit.report.pictures.front import describe_kind, drawn_limit_s, front_chart, lettered
from edgekit.report.pictures.svg import legend
from edgekit.report.quantities import PERCENT, PLAIN, Unit, size_unit, time_unit
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
    validation_table,
    verdict,
)
from edgekit.report.tables import Cell, number, table
from edgekit.report.values import (
    Attempt,
    BaselineRow,
    ChosenRow,
    FinalistRow,
    FitReport,
    FrontPoint,
)

_MAX_PREDICTED = 120


def fit_sections(report: FitReport) -> list[Section]:
    """The sections in the order they are read."""
    limits, rows = report.limits, report.limit_rows
    verdicts = (verdict(limits, rows), tiles(report.chosen), limit_table(limits, rows))
    return [
        section("verdict", "Verdict", *verdicts),
        _front(report),
        *_course(report.hypervolumes),
        section("network", "Network", _genes(report.chosen), block_table(report.blocks)),
        section("artifact", "Artifact", artifact(report.chosen)),
        *_comparison(report),
        *_finalists(report.finalists),
        *_attempts(report.attempts),
        *_predictions(report),
        device_section(report.facts, report.conditions),
        data_section(report.data),
        files_section(report.files),
        origin_section(report.command, report.provenance),
    ]


def _genes(chosen: ChosenRow) -> Html:
    return tag("p", "Genes: ", tag("code", chosen.genes))


def _front(report: FitReport) -> Section:
    points = thinned(report.front)
    if not points:
        return section("front", "Front", tag("p", "No other network was costed."))
    meanings = (
        ("chosen", "chosen, measured"),
        ("measured", "measured p50, with its 95 % interval"),
        ("predicted", "predicted, not measured"),
        ("baseline", "baseline"),
        ("front", "best of the measured"),
        ("limit", "limit"),
    )
    figure = tag(
        "figure",
        front_chart(points, report.limits),
        legend([item for item in meanings if _is_shown(item[0], report)]),
        tag("figcaption", _caption(report, len(points))),
    )
    return section("front", "Front", figure, _front_table(points))


def _is_shown(symbol: str, report: FitReport) -> bool:
    """Whether a symbol of the legend is in the picture."""
    points = report.front
    return {
        "chosen": any(point.chosen for point in points),
        "baseline": any(point.baseline for point in points),
        "predicted": any(point.kind == "predicted" for point in points),
        "limit": drawn_limit_s(points, report.limits) is not None,
    }.get(symbol, any(point.kind == "measured" for point in points))


def _caption(report: FitReport, n_shown: int) -> str:
    letters = [f"{letter} = {point.name}" for letter, point in lettered(report.front)]
    left_out = len(report.front) - n_shown
    is_far = report.limits.latency_s and drawn_limit_s(report.front, report.limits) is None
    far = " The latency limit lies far to the right of the picture." if is_far else ""
    thin = f" {left_out:,} predicted networks are left out, evenly by latency." if left_out else ""
    named = f" Baselines: {'; '.join(letters)}." if letters else ""
    return (
        "Accuracy on validation images, which compare candidates; the accuracy above is of the "
        "artifact on test images. A predicted latency steered the search and proves nothing."
        f"{named}{far}{thin}"
    )


def thinned(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """All measured points and baselines, and at most 120 predicted ones, evenly by latency."""
    kept = [point for point in points if point.kind == "measured" or point.baseline]
    others = sorted(
        (point for point in points if point.kind == "predicted" and not point.baseline),
        key=lambda point: point.latency_s,
    )
    n_kept = min(len(others), _MAX_PREDICTED)
    return (*kept, *(others[index * len(others) // n_kept] for index in range(n_kept)))


def _front_table(points: Sequence[FrontPoint]) -> Html:
    times = time_unit(point.latency_s for point in points)
    sizes = size_unit(point.size_bytes for point in points)
    peaks = [point.memory_bytes for point in points if point.memory_bytes is not None]
    memories = size_unit(peaks)
    headers = (
        "network",
        "latency is",
        f"measured p50 ({times.name})",
        f"predicted ({times.name})",
        "top-1 on validation (%)",
        f"size ({sizes.name})",
        *([f"peak memory, measured ({memories.name})"] if peaks else []),
    )
    rows: list[list[Cell | str]] = [
        [
            point.name,
            describe_kind(point),
            number(point.latency_s if point.kind == "measured" else None, times, kind="measured"),
            number(
                point.latency_s if point.kind == "predicted" else None, times, kind="predicted"
            ),
            number(point.top1, PERCENT),
            number(point.size_bytes, sizes),
            *([number(point.memory_bytes, memories)] if peaks else []),
        ]
        for point in sorted(points, key=lambda point: (point.kind, point.latency_s))
    ]
    shown = table("Networks of the picture. A header sorts.", headers, rows, is_sortable=True)
    return tag("details", tag("summary", f"The {len(points)} networks as a table"), shown)


def _comparison(report: FitReport) -> list[Section]:
    if not report.baselines:
        return []
    chosen = report.chosen
    every = (
        BaselineRow("chosen artifact", chosen.accuracy, chosen.latency, chosen.size_bytes),
        *report.baselines,
    )
    times = time_unit(row.latency.p50_s for row in every)
    sizes = size_unit(row.size_bytes for row in every)
    headers = (
        "network",
        "top-1, measured (%)",
        "95 % interval (%)",
        f"latency p50, measured ({times.name})",
        f"95 % interval ({times.name})",
        f"size ({sizes.name})",
    )
    rows: list[list[Cell | str]] = [
        [
            row.name,
            number(row.accuracy.top1, PERCENT),
            _interval(row.accuracy.interval, PERCENT),
            number(row.latency.p50_s, times, kind="measured"),
            _interval(row.latency.interval_s, times),
            number(row.size_bytes, sizes),
        ]
        for row in every
    ]
    split = chosen.accuracy.split
    caption = f"The artifact and the baselines, all measured; accuracy on {split} images."
    return [section("baselines", "Baselines", table(caption, headers, rows, is_sortable=True))]


def _interval(ends: tuple[float, float], unit: Unit) -> Cell:
    return Cell(f"{unit.text(ends[0])} to {unit.text(ends[1])}", ends[0], "number")


def _finalists(finalists: Sequence[FinalistRow]) -> list[Section]:
    if not finalists:
        return []
    unit = time_unit(row.latency.p50_s for row in finalists)
    headers = (
        "candidate",
        "top-1 with shared weights (%)",
        "top-1 after a short training (%)",
        f"measured p50 ({unit.name})",
    )
    caption = (
        "The best few inside the limits, each trained alone for a little; accuracies are those on "
        "validation images. The most accurate one afterwards is taken first."
    )
    rows: list[list[Cell | str]] = [
        [
            row.candidate,
            number(row.before.top1, PERCENT),
            number(row.after.top1, PERCENT),
            number(row.latency.p50_s, unit, kind="measured"),
        ]
        for row in finalists
    ]
    return [section("finalists", "Finalists", table(caption, headers, rows))]


def _attempts(attempts: Sequence[Attempt]) -> list[Section]:
    if not attempts:
        return []
    unit = time_unit(attempt.measured.p50_s for attempt in attempts)
    headers = (
        "candidate",
        f"predicted ({unit.name})",
        f"measured low quantile ({unit.name})",
        f"measured p50 ({unit.name})",
        "measured over predicted",
        "what followed",
    )
    caption = (
        "Candidates measured again after export, in order. A prediction is of the low quantile; "
        "a candidate that breaks a limit is dropped and the predictions are corrected by what was "
        "measured."
    )
    rows: list[list[Cell | str]] = [
        [
            attempt.candidate,
            number(attempt.predicted.latency_s, unit, kind="predicted"),
            number(attempt.measured.label_s, unit, kind="measured"),
            number(attempt.measured.p50_s, unit, kind="measured"),
            number(attempt.measured.label_s / attempt.predicted.latency_s, PLAIN),
            attempt.verdict,
        ]
        for attempt in attempts
    ]
    return [section("attempts", "Attempts", table(caption, headers, rows))]


def _course(hypervolumes: Sequence[float]) -> list[Section]:
    if not hypervolumes:
        return []
    caption = (
        "Share of a box that some measured network beats. The box goes from nothing to every "
        "answer wrong, and to the predicted latency and size of the largest network: it was fixed "
        "before the search."
    )
    chart = hypervolume_chart(hypervolumes)
    figure = tag("figure", chart, tag("figcaption", caption))
    return [section("course", "Course of the search", figure)]


def _predictions(report: FitReport) -> list[Section]:
    if not report.validation:
        return []
    caption = (
        "Error of the predictions that steered the search, on networks they were not fitted on."
    )
    shown = validation_table(caption, report.validation)
    return [section("predictions", "Predictions", shown)]
