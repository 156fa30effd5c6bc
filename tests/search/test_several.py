"""One search for two targets of this machine, with real trainings and measurements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import Infeasible
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.costs import CostTable
from edgekit.search.evaluated import Evaluated
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.run import Run
from edgekit.search.settings import write_settings
from edgekit.search.several import DeviceRuns, columns_of, execute_on_devices, parts_of
from edgekit.search.store import DATABASE, Trials
from edgekit.search.workers import Staff
from tests.line import patient
from tests.search.synthetic import SETTINGS, evaluated

QUIET = Progress(quiet=True)
TARGETS = {"one": "local", "two": "local?threads=2"}


def test_each_candidate_is_judged_once_and_timed_on_every_device(
    space: MBConvSpace, predictor: KernelPredictor, small_task: Task, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in TARGETS}
    settings = {n: replace(SETTINGS, target=t, n_evaluations=3) for n, t in TARGETS.items()}
    for name, folder in folders.items():
        write_settings(folder, settings[name], {})

    def go() -> DeviceRuns:
        return execute_on_devices(
            folders,
            MBConvNetworks(space),
            settings,
            small_task,
            dict.fromkeys(TARGETS, predictor),
            staff=Staff(),
            progress=QUIET,
        )

    found = patient(go)
    rows = list(zip(*(run.measured for run in found.runs.values()), strict=True))
    assert len(rows) == 3
    for one, two in rows:
        assert replace(two, latency=one.latency) == one
        assert (one.latency.conditions.n_threads, two.latency.conditions.n_threads) == (1, 2)
    assert len({one.candidate for one, _ in rows}) == 3
    again = go()
    assert {n: r.measured for n, r in again.runs.items()} == {
        n: r.measured for n, r in found.runs.items()
    }
    shared = found.compromise()
    assert shared is not None
    assert max(shared.regrets.values()) == 0  # of limits that nothing breaks

    # Stopped between the two devices of a candidate: only what is missing is measured.
    (folders["two"] / DATABASE).unlink()
    for entry in found.runs["two"].measured[:-1]:
        Trials(folders["two"], space).add(entry)
    more = patient(go)
    assert more.runs["one"].measured == found.runs["one"].measured
    assert [e.candidate for e in more.runs["two"].measured] == [one.candidate for one, _ in rows]


def runs(
    table: CostTable,
    networks: MBConvNetworks,
    figures: dict[str, list[Evaluated]],
    limits: dict[str, Limits],
) -> DeviceRuns:
    return DeviceRuns(
        {
            name: Run(Path(), replace(SETTINGS, limits=limits[name]), networks, table, tuple(rows))
            for name, rows in figures.items()
        }
    )


def test_the_compromise_keeps_all_limits_and_tells_what_it_costs(
    space: MBConvSpace, table: CostTable, networks: MBConvNetworks
) -> None:
    a, b = space.largest(), space.smallest()
    middle = replace(a, genes=(*a.genes[:-1], 1))
    tops = {a: 0.9, middle: 0.8, b: 0.6}
    here, there = {a: 3e-3, middle: 1e-3, b: 1e-3}, {a: 1e-3, middle: 2e-3, b: 1e-3}
    figures = {
        "here": [evaluated(x, tops[x], here[x], 10) for x in tops],
        "there": [evaluated(x, tops[x], there[x], 10) for x in tops],
    }
    both = runs(table, networks, figures, {"here": Limits(2e-3), "there": Limits(1.5e-3)})
    shared = both.compromise()
    assert shared is not None
    assert shared.candidate == b
    assert shared.regrets == {
        "here": pytest.approx(0.2),
        "there": pytest.approx(0.3),
    }
    apart = {"here": [figures["here"][1]], "there": [figures["there"][1]]}
    assert runs(table, networks, apart, {"here": Limits(2e-3), "there": Limits(3e-3)}).compromise()
    with pytest.raises(Infeasible, match="on there, no measured candidate keeps"):
        runs(table, networks, apart, {"here": Limits(2e-3), "there": Limits(1e-3)}).compromise()
    mixed = runs(table, networks, figures, {"here": Limits(2e-3), "there": Limits(0.5)})
    assert mixed.compromise() is not None


def test_memory_belongs_to_a_device_and_size_to_all() -> None:
    assert columns_of(2, ("latency", "size", "memory")) == [
        ("latency", 0),
        ("latency", 1),
        ("memory", 0),
        ("memory", 1),
        ("size", None),
    ]
    parts = parts_of(2, ("latency", "size", "memory"))
    assert parts == ((0, 1, 3, 5), (0, 2, 4, 5), (0, 1, 2, 3, 4, 5))
    assert parts_of(2, ("latency",)) == ((0, 1), (0, 2), (0, 1, 2))
