"""Measured candidates on disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest

from edgekit.core.errors import InputError
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.settings import read_settings, write_settings
from edgekit.search.store import (
    DATABASE,
    TABLE_NETWORKS,
    Trials,
    load_table_networks,
    measured_from_json,
    save_table_networks,
)
from tests.postgres import server
from tests.search.synthetic import SETTINGS, drawn, evaluated, measured

WRITER = """
import sys
from pathlib import Path
from edgekit.search.store import Trials
from edgekit.search.mbconv.space import MBConvSpace
from tests.search.synthetic import TINY, drawn, evaluated

space = MBConvSpace(TINY)
trials = Trials(Path(sys.argv[1]), space)
for index, candidate in enumerate(drawn(space, 5000, 0)):
    trials.add(evaluated(candidate, 0.5, 1e-3 * (index + 1), index))
    print(index, flush=True)
"""


def test_trials_come_back_exactly_and_in_order(space: MBConvSpace, tmp_path: Path) -> None:
    candidates = drawn(space, 6, 0)
    entries = [evaluated(c, 0.1 + 0.07 * i, 1 / (i + 3), 10 + i) for i, c in enumerate(candidates)]
    trials = Trials(tmp_path, space)
    for entry in entries[:4]:
        trials.add(entry)
    again = Trials(tmp_path, space)
    assert again.all() == entries[:4]
    for entry in entries[4:]:
        again.add(entry)
    assert Trials(tmp_path, space).all() == entries


def test_the_loss_candidates_are_ranked_by_comes_back(space: MBConvSpace, tmp_path: Path) -> None:
    entry = replace(evaluated(space.largest(), 0.5, 1e-3, 10), loss=0.75)
    Trials(tmp_path, space).add(entry)
    (back,) = Trials(tmp_path, space).all()
    assert back == entry
    assert back.merit == -0.75


def test_a_latency_without_p99_comes_back(space: MBConvSpace, tmp_path: Path) -> None:
    entry = evaluated(space.largest(), 0.5, 1e-3, 10)
    entry = replace(entry, latency=replace(entry.latency, p99_s=float("nan")))
    Trials(tmp_path, space).add(entry)
    (back,) = Trials(tmp_path, space).all()
    assert repr(back) == repr(entry)


def test_the_database_is_an_optuna_study(space: MBConvSpace, tmp_path: Path) -> None:
    Trials(tmp_path, space).add(evaluated(space.smallest(), 0.25, 2e-3, 77))
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'run.db'}")
    (trial,) = study.trials
    assert trial.values == [0.25, 2e-3, 77.0]
    assert trial.params["b01.op"] == 6
    assert trial.params["head.precision"] == 0
    assert trial.user_attrs["latency"]["conditions"]["provider"] == "CPUExecutionProvider"


def test_trials_of_another_space_are_refused(space: MBConvSpace, tmp_path: Path) -> None:
    Trials(tmp_path, space).add(evaluated(space.largest(), 0.5, 1e-3, 10))
    shallow = MBConvSpace(replace(space.recipe, stages=space.recipe.stages[:1]))
    with pytest.raises(InputError, match="genes of its space"):
        Trials(tmp_path, shallow).all()


def test_a_killed_writer_loses_nothing_that_was_finished(
    space: MBConvSpace, tmp_path: Path
) -> None:
    root = Path(__file__).parents[2]
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) == 4:
            break
    time.sleep(0.037)
    writer.send_signal(signal.SIGKILL)
    said = [4, *map(int, writer.stdout.read().split())]
    writer.wait()
    writer.stdout.close()
    kept = Trials(tmp_path, space).all()
    assert [entry.size_bytes for entry in kept] == list(range(len(kept)))
    assert said[-1] + 1 <= len(kept) <= said[-1] + 2
    expected = drawn(space, 5000, 0)[: len(kept)]
    assert [entry.candidate for entry in kept] == expected
    Trials(tmp_path, space).add(evaluated(space.largest(), 0.5, 1e-3, 10))
    assert len(Trials(tmp_path, space).all()) == len(kept) + 1


def test_networks_that_correct_the_table_come_back(space: MBConvSpace, tmp_path: Path) -> None:
    assert load_table_networks(tmp_path) == []
    networks = [(c, measured(1e-4 / 3 * i)) for i, c in enumerate(drawn(space, 3, 0), 1)]
    save_table_networks(tmp_path, networks)
    assert load_table_networks(tmp_path) == networks


@pytest.mark.parametrize(
    "change", [{"networks": 3}, {"networks": [{}]}, {"networks": [{"candidate": "1-2"}]}]
)
def test_an_altered_file_of_networks_is_refused(
    change: dict[str, object], space: MBConvSpace, tmp_path: Path
) -> None:
    save_table_networks(tmp_path, [(space.largest(), measured(1e-3))])
    path = tmp_path / TABLE_NETWORKS
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=TABLE_NETWORKS):
        load_table_networks(tmp_path)


def test_a_figure_comes_back_from_json() -> None:
    figure = measured(1 / 3)
    assert measured_from_json(json.loads(json.dumps(asdict(figure)))) == figure


def test_runs_share_a_database_and_keep_their_trials_apart(
    space: MBConvSpace, tmp_path: Path
) -> None:
    runs = [tmp_path / name for name in ("first", "second")]
    with server() as study:
        for index, folder in enumerate(runs):
            settings = replace(SETTINGS, seed=index, study=study)
            write_settings(folder, settings, {})
            assert read_settings(folder) == settings
            for candidate in drawn(space, 3 + index, index):
                Trials(folder, space, study).add(evaluated(candidate, 0.5, 1e-3, 10))
        assert [len(Trials(folder, space, study).all()) for folder in runs] == [3, 4]
        assert not (runs[0] / DATABASE).exists()
        writer = WRITER.replace(
            "Path(sys.argv[1]), space", "Path(sys.argv[1]), space, sys.argv[2]"
        )
        command = [sys.executable, "-c", writer, str(runs[0]), study]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert len(printed) == 5
        assert len(Trials(runs[0], space, study).all()) in (3 + 5, 3 + 6)
    with pytest.raises(InputError, match=r"a study must be a database that answers.*PGPASSWORD"):
        Trials(runs[0], space, study)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me@host/db", r"in postgresql://USER@HOST/NAME, got 'mysql"),
        ("nonsense", "got 'nonsense'"),
        ("postgresql://me:secret@host/db", r"has no password, got postgresql://me:\*\*\*@host/db"),
    ],
)
def test_other_addresses_of_a_study_are_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        replace(SETTINGS, study=url)
    assert "secret" not in str(caught.value)
