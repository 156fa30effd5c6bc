"""Int8 blocks against themselves in fp32, on a real run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.target import Target
from edgekit.devices.measuring.measure import compare_models
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.precision import (
    SETTLED,
    Settled,
    load_settled,
    save_settled,
    settle_precision,
    settled,
)
from edgekit.search.run import Run
from edgekit.search.store import Trials
from tests.line import Line

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def run(line: Line, tmp_path: Path) -> Run:
    """The run in a folder of its own, nothing settled yet."""
    folder = Path(shutil.copytree(line.fitted.run.folder, tmp_path / "run"))
    (folder / SETTLED).unlink()
    return replace(line.fitted.run, folder=folder)


def with_int8_head(run: Run) -> Candidate:
    return Candidate((*run.space.smallest().genes[:-1], 1))


def test_an_int8_block_that_the_size_limit_needs_stays_and_it_is_remembered(
    line: Line, run: Run
) -> None:
    entry = replace(run.measured[0], candidate=with_int8_head(run))
    same, notes = settle_precision(run, entry, line.task, Limits(size_bytes=1))
    assert same == entry
    assert all(note.endswith("kept for the size limit") for note in notes.values())
    assert set(notes) <= {"head"}
    assert load_settled(run.folder) == {entry.candidate: Settled(entry.candidate, notes)}


def test_what_was_settled_is_not_compared_again_and_is_measured_once(line: Line, run: Run) -> None:
    before, after = with_int8_head(run), run.measured[0].candidate
    notes = {"head": "int8 not faster here (ratio 1.20): fp32 kept"}
    save_settled(run.folder, {before: Settled(after, notes)})
    entry = replace(run.measured[0], candidate=before)
    found = settle_precision(run, entry, line.task, Limits())
    assert found == (run.measured[0], notes)
    assert len(Trials(run.folder, run.space).all()) == len(
        Trials(line.fitted.run.folder, run.space).all()
    )


def test_a_candidate_without_int8_stays_as_it_is(line: Line, run: Run) -> None:
    entry = replace(run.measured[0], candidate=run.space.largest(Precision.FP32))
    assert settle_precision(run, entry, line.task, Limits()) == (entry, {})


def test_int8_that_is_kept_makes_the_whole_network_faster(run: Run) -> None:
    candidate = run.space.largest(Precision.INT8)
    target = Target(run.settings.target)
    found = settled(run.networks, candidate, target, Limits(), seed=0)
    plain = candidate_model(run.space, run.space.largest())
    if found.candidate == run.space.largest():
        assert all(note.endswith("fp32 kept") for note in found.notes.values())
    else:
        again = compare_models(candidate_model(run.space, found.candidate), plain, target, seed=1)
        assert again.interval[0] < 1.05  # other sessions of the same models differ a little


def test_an_altered_file_is_refused(run: Run) -> None:
    save_settled(run.folder, {})
    assert load_settled(run.folder) == {}
    path = run.folder / SETTLED
    path.write_text(path.read_text("utf-8").replace("{}", '{"0-1": {"notes": {}}}'), "utf-8")
    with pytest.raises(InputError, match=r"has a candidate and notes per candidate.*delete it"):
        load_settled(run.folder)
