"""Trying the best few of a real run before one is chosen."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.search.finalists import FINALISTS, finalists, with_finalists
from edgekit.search.run import Run
from edgekit.training.loop import TrainRecipe
from tests.line import Line, slower
from tests.search.synthetic import StoppingClock

QUIET = Progress(quiet=True)
RECIPE = TrainRecipe(n_epochs=1, batch_size=32, learning_rate=0.05)
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def run(line: Line, tmp_path: Path) -> Run:
    """A copy of a finished search that asks for two finalists."""
    folder = Path(shutil.copytree(line.fitted.run.folder, tmp_path / "run"))
    settings = replace(line.fitted.run.settings, n_finalists=2, trial=RECIPE)
    return replace(line.fitted.run, folder=folder, settings=settings)


def test_the_best_of_each_architecture_are_trained_and_come_first(line: Line, run: Run) -> None:
    expected = finalists(run.ranked(), run.space.n_architecture, 2)
    found = with_finalists(run, line.task, progress=QUIET)
    assert set(found.tried) == {entry.candidate for entry in expected}
    n_images = min(2500, len(line.task.validation))
    assert {a.n_images for a in found.tried.values()} == {n_images}
    best = max(found.tried.values(), key=lambda accuracy: accuracy.top1)
    assert found.tried[found.best().candidate].top1 == best.top1
    assert {e.candidate for e in found.ranked()[: len(expected)]} == set(found.tried)


def test_what_was_tried_is_not_tried_again(line: Line, run: Run) -> None:
    first = with_finalists(run, line.task, progress=QUIET)
    again = with_finalists(run, line.task, progress=Progress(clock=StoppingClock(0)))
    assert again.tried == first.tried


def test_a_run_without_finalists_or_with_nothing_inside_is_left_as_it_is(
    line: Line, run: Run
) -> None:
    none = replace(run, settings=replace(run.settings, n_finalists=0, trial=None))
    assert with_finalists(none, line.task, progress=QUIET) is none
    walls = replace(run, settings=replace(run.settings, limits=Limits(latency_s=1e-9)))
    assert with_finalists(walls, line.task, progress=QUIET) is walls
    assert not (run.folder / FINALISTS).exists()


def test_a_damaged_file_is_refused(line: Line, run: Run) -> None:
    with_finalists(run, line.task, progress=QUIET)
    path = run.folder / FINALISTS
    path.write_text(path.read_text().replace("n_correct", "n_right"), "utf-8")
    with pytest.raises(InputError, match="two counts per candidate"):
        with_finalists(run, line.task, progress=QUIET)


def test_the_most_accurate_and_the_slowest_take_turns(run: Run) -> None:
    entry = run.measured[0]
    ranked = [
        replace(
            slower(entry, factor),
            candidate=Candidate((index // 2, index)),
            accuracy=MeasuredAccuracy(90 - index, 100, "validation"),
        )
        for index, factor in enumerate((1, 1, 2, 2, 9, 9, 5, 5))
    ]
    found = [e.candidate.genes for e in finalists(ranked, 1, 3)]
    assert found == [(0, 0), (2, 4), (1, 2)]
