"""Choosing on measured candidates of a real run, with figures that turned out slower."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import Infeasible
from edgekit.core.limits import Limits
from edgekit.search.chooser import Chooser
from edgekit.search.store import load_table_networks
from tests.line import Line, slower

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder(line: Line, tmp_path: Path) -> Path:
    """A copy of the run folder."""
    return Path(shutil.copytree(line.fitted.run.folder, tmp_path / "run"))


@pytest.fixture
def chooser_of(line: Line, folder: Path) -> Callable[[Limits], Chooser]:
    run = replace(line.fitted.run, folder=folder)
    return lambda limits: Chooser(run, line.profile.predictor, limits)


def wide(line: Line) -> Limits:
    """A limit every measured candidate just keeps."""
    return Limits(latency_s=1.01 * max(e.latency.p50_s for e in line.fitted.run.measured))


def test_a_candidate_that_breaks_a_limit_corrects_the_table_and_is_not_taken_again(
    line: Line, folder: Path, chooser_of: Callable[[Limits], Chooser]
) -> None:
    measured = line.fitted.run.measured
    chooser = chooser_of(wide(line))
    known = {candidate for candidate, _ in load_table_networks(folder)}
    first = chooser.next()
    assert first.accuracy.top1 == max(entry.accuracy.top1 for entry in measured)
    before = chooser.table.predicted(first.candidate).latency_s
    found = slower(first, 5)
    verdict = chooser.reject(first.candidate, found)
    assert verdict.startswith("breaks latency; its prediction was corrected by ")
    assert chooser.table.predicted(first.candidate).latency_s > before
    assert chooser.corrected_run().table is chooser.table
    assert chooser.next().candidate != first.candidate
    kept = load_table_networks(folder)
    assert dict(kept)[first.candidate] == found.latency
    assert len(kept) == len(known | {first.candidate})


def test_when_every_candidate_broke_the_limit_the_measured_pair_is_named(
    line: Line, chooser_of: Callable[[Limits], Chooser]
) -> None:
    measured = line.fitted.run.measured
    chooser = chooser_of(wide(line))
    taken = []
    for _ in measured:
        entry = chooser.next()
        taken.append(entry.candidate)
        chooser.reject(entry.candidate, slower(entry, 5))
    assert sorted(c.text for c in taken) == sorted(e.candidate.text for e in measured)
    with pytest.raises(Infeasible) as error:
        chooser.next()
    assert error.value.binding == "latency"
    assert error.value.nearest in str(error.value)


def test_a_settled_candidate_takes_the_one_it_stands_for_out(
    line: Line, chooser_of: Callable[[Limits], Chooser]
) -> None:
    """What was measured may be the chosen network in another precision."""
    chooser = chooser_of(wide(line))
    first = chooser.next()
    settled = replace(slower(first, 5), candidate=line.fitted.run.space.largest())
    chooser.reject(first.candidate, settled)
    assert chooser.next().candidate != first.candidate
