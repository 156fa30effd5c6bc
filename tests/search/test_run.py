"""A search from beginning to end in its folder."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import Infeasible
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.costs import CostTable
from edgekit.search.evaluated import Evaluated
from edgekit.search.mbconv.costs import BlockTable
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.networks import WEIGHTS
from edgekit.search.protocol.loop import search
from edgekit.search.run import Run, cost_table, execute, problem_of
from edgekit.search.settings import OBJECTIVES
from edgekit.search.store import DATABASE, TABLE_NETWORKS
from edgekit.search.strategies import strategy_named
from edgekit.search.workers import Staff
from tests.line import patient
from tests.search.synthetic import SETTINGS, TINY, evaluated, formula_table

QUIET = Progress(quiet=True)


class _Stop(Exception):
    pass


class _StopsAfter:
    """A clock that stops the search when so many trials are in the database."""

    def __init__(self, folder: Path, n_trials: int) -> None:
        self._path, self._n_trials = folder / DATABASE, n_trials

    def __call__(self) -> float:
        if self._path.is_file() and _n_trials(self._path) >= self._n_trials:
            raise _Stop
        return 0.0


def _n_trials(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (tables,) = connection.execute(
            "select count(*) from sqlite_master where name = 'trials'"
        ).fetchone()
        return (
            int(connection.execute("select count(*) from trials").fetchone()[0]) if tables else 0
        )
    finally:
        connection.close()


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(
    space: MBConvSpace, predictor: KernelPredictor, small_task: Task, tmp_path: Path
) -> None:
    def go(progress: Progress) -> Run:
        networks = MBConvNetworks(space)
        return execute(
            tmp_path, networks, SETTINGS, small_task, predictor, staff=Staff(), progress=progress
        )

    with pytest.raises(_Stop):
        patient(lambda: go(Progress(clock=_StopsAfter(tmp_path, 1))))
    weights = (tmp_path / WEIGHTS).read_bytes()
    assert _n_trials(tmp_path / DATABASE) == 1
    run = patient(lambda: go(QUIET))
    assert (tmp_path / WEIGHTS).read_bytes() == weights
    again = go(QUIET)
    assert again.measured == run.measured
    # What an uninterrupted search would have asked for, from what was measured.
    values = {entry.candidate: entry.values(OBJECTIVES, "p50") for entry in run.measured}
    problem = problem_of(
        run.space,
        run.table,
        SETTINGS.limits,
        values.__getitem__,
        n_evaluations=3,
        population=2,
        seed=SETTINGS.seed,
    )
    asked = [entry.candidate for entry in search(problem, strategy_named("random"))]
    assert [entry.candidate for entry in run.measured] == asked
    assert len(set(asked)) == 3
    assert set(run.front()) <= set(run.measured)
    assert run.best().accuracy.top1 == max(e.accuracy.top1 for e in run.measured)


def test_a_table_is_corrected_by_networks_that_are_measured_once(
    space: MBConvSpace, predictor: KernelPredictor, table: BlockTable, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, n_table_networks=3)

    def corrected() -> CostTable:
        return cost_table(tmp_path, MBConvNetworks(space), settings, predictor, progress=QUIET)

    first = patient(corrected)
    kept = (tmp_path / TABLE_NETWORKS).read_bytes()
    again = corrected()
    genes = space.sample(20, np.random.default_rng(0))
    assert (tmp_path / TABLE_NETWORKS).read_bytes() == kept
    assert (first.latencies_s(genes) == again.latencies_s(genes)).all()
    assert (first.latencies_s(genes) != table.latencies_s(genes)).any()


def _run(*figures: tuple[float, float, int]) -> Run:
    space = MBConvSpace(TINY)
    candidates = space.sample(len(figures), np.random.default_rng(0)).tolist()
    measured = [
        evaluated(Candidate(tuple(genes)), *entry)
        for genes, entry in zip(candidates, figures, strict=True)
    ]
    return Run(Path(), SETTINGS, MBConvNetworks(space), formula_table(space), tuple(measured))


def _figures(entry: Evaluated) -> tuple[float, float, int]:
    return entry.accuracy.top1, entry.latency.p50_s, entry.size_bytes


FAST, SMALL, GOOD = (0.5, 1e-3, 900_000), (0.6, 3e-3, 100_000), (0.9, 5e-3, 800_000)


def test_the_best_is_the_most_accurate_inside_and_ties_go_to_the_faster() -> None:
    run = _run(FAST, SMALL, GOOD, (0.9, 4e-3, 950_000))
    assert _figures(run.best()) == (0.9, 4e-3, 950_000)
    assert _figures(run.best(Limits(4.5e-3, 900_000))) == SMALL
    ranked = [_figures(entry) for entry in run.ranked(Limits(None, 900_000))]
    assert ranked == [GOOD, SMALL, FAST]


@pytest.mark.parametrize(
    ("limits", "binding", "nearest"),
    [
        (Limits(latency_s=0.9e-3), "latency", "latency 1 ms with size 900 kB"),
        (Limits(size_bytes=90_000), "size", "latency 3 ms with size 100 kB"),
        (Limits(0.9e-3, 90_000), "latency", "latency 3 ms with size 100 kB"),
        # Each limit can be kept alone, both together cannot: the nearest pair breaks the size.
        (Limits(2e-3, 880_000), "size", "latency 1 ms with size 900 kB"),
    ],
)
def test_what_cannot_be_kept_is_named_with_the_nearest_pair(
    limits: Limits, binding: str, nearest: str
) -> None:
    with pytest.raises(Infeasible, match=binding) as caught:
        _run(FAST, SMALL, GOOD).best(limits)
    assert (caught.value.binding, caught.value.nearest) == (binding, nearest)
    assert limits.describe() in str(caught.value)
    assert nearest in str(caught.value)
