"""The best few of a search, each trained for a little, before one of them is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgekit.core.candidate import Candidate
from edgekit.core.errors import Infeasible, InputError
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.probe import probe
from edgekit.search.evaluate import MAX_VALIDATION
from edgekit.search.evaluated import Evaluated
from edgekit.search.finetuning import finetuned
from edgekit.search.run import Run

FINALISTS = "finalists.json"
_KIND, _SCHEMA = "edgekit-finalists", 1


def with_finalists(run: Run, task: Task, *, progress: Progress) -> Run:
    """Train the best candidates inside the limits for a little, and judge them again.

    Shared weights answer badly for a network that training would bring far, so which of two is the
    better one shows after some steps of each. What was found is kept in the run folder.

    Args:
        run: a finished search; its settings say how many and how long.
        task: training, calibration and validation splits are read.
        progress: where bars are drawn.

    Returns:
        The run with ``tried``; as it was where nothing is inside the limits.
    """
    recipe, tried = run.settings.trial, _load(run.folder)
    if recipe is None:
        return run
    try:
        entries = finalists(run.ranked(), run.space.n_architecture, run.settings.n_finalists)
    except Infeasible:
        return run
    weight_max = probe(Target(run.settings.target)).int8_weight_max
    validation = task.validation.evenly(MAX_VALIDATION)
    for entry in entries:
        if entry.candidate in tried:
            continue
        net = finetuned(run.networks, run.folder, entry.candidate, task, recipe, progress=progress)
        prepared = run.networks.prepared(net, entry.candidate, task, weight_max)
        accuracy = prepared.accuracy(validation, task.preprocessing, "validation")
        tried[entry.candidate] = accuracy
        _save(run.folder, tried)
        progress.say(
            f"finalist {len(tried)} of {len(entries)}: {entry.accuracy.top1:.1%} as it was, "
            f"{accuracy.top1:.1%} after a short training"
        )
    return replace(run, tried=tried)


def finalists(ranked: list[Evaluated], n_architecture: int, n_most: int) -> list[Evaluated]:
    """The first of each architecture; in turn the most accurate and the slowest of the others.

    A network that lost much may still be the better one after training, and it is the larger ones
    of which that is true.

    Args:
        ranked: best first.
        n_architecture: genes that tell architectures apart.
        n_most: how many.
    """
    by_architecture: dict[tuple[int, ...], Evaluated] = {}
    for entry in ranked:
        by_architecture.setdefault(entry.candidate.genes[:n_architecture], entry)
    left = list(by_architecture.values())
    found: list[Evaluated] = []
    while left and len(found) < n_most:
        taken = left[0] if len(found) % 2 == 0 else max(left, key=lambda e: e.latency.p50_s)
        left.remove(taken)
        found.append(taken)
    return found


def _save(folder: Path, tried: dict[Candidate, MeasuredAccuracy]) -> None:
    rows = {c.text: {"n_correct": a.n_correct, "n_images": a.n_images} for c, a in tried.items()}
    write_json(folder / FINALISTS, _KIND, _SCHEMA, {"finalists": rows})


def _load(folder: Path) -> dict[Candidate, MeasuredAccuracy]:
    path = folder / FINALISTS
    if not path.is_file():
        return {}
    try:
        rows = _ROWS.validate_python(read_json(path, _KIND, _SCHEMA).get("finalists"))
        return {
            Candidate.parse(text): MeasuredAccuracy(row.n_correct, row.n_images, "validation")
            for text, row in rows.items()
        }
    except ValidationError as error:
        raise InputError(
            f"{FINALISTS} has two counts per candidate, {path} has not; delete it to try again"
        ) from error


@dataclass(frozen=True, slots=True)
class _Row:
    n_correct: int
    n_images: int


_ROWS = TypeAdapter(dict[str, _Row])
