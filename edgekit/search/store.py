"""The memory of a run: every measured candidate as an Optuna trial, in SQLite or PostgreSQL."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.engine import URL, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError, MissingExtra
from edgekit.core.figures import Measured, MeasuredAccuracy, measured_from_json
from edgekit.core.files import read_json, write_json
from edgekit.search.evaluated import Evaluated
from edgekit.search.space import SearchSpace

DATABASE = "run.db"
TABLE_NETWORKS = "table_networks.json"
_STUDY, _POSTGRESQL, _DRIVER = "search", "postgresql", "psycopg"
RUN_FILE = "run.json"
"""Settings of a run, in its folder; written once, so that its digest tells runs apart."""
_KIND, _SCHEMA = "edgekit-table-networks", 1


def check_study(url: str) -> None:
    """Check the address of a database of trials, without connecting.

    Args:
        url: ``postgresql://USER@HOST/NAME``; empty for SQLite in the run folder.

    Raises:
        InputError: another kind of database, or a password, which would stand in the run folder.
        MissingExtra: its driver is not installed.
    """
    if not url:
        return
    try:
        made = make_url(url)
    except ArgumentError:
        made = None
    if made is None or made.get_backend_name() != _POSTGRESQL:
        raise InputError(
            f"a study lies in the run folder or in {_POSTGRESQL}://USER@HOST/NAME, got {url!r}"
        )
    if made.password is not None:
        raise InputError(
            "the address of a study is kept in the run folder and has no password, got "
            f"{made.render_as_string(hide_password=True)}; give it in PGPASSWORD or ~/.pgpass"
        )
    if importlib.util.find_spec(_DRIVER) is None:
        raise MissingExtra(
            f"a study in PostgreSQL needs {_DRIVER}, it is not installed; run: pip install "
            "'edgekit[postgresql]'"
        )


def reach_study(url: str) -> None:
    """Connect once to a database of trials that is not in the run folder.

    Args:
        url: as ``check_study`` takes it.

    Raises:
        InputError: it does not answer; or as ``check_study``.
    """
    check_study(url)
    if not url:
        return
    try:
        create_engine(_with_driver(url), poolclass=NullPool).connect().close()
    except OperationalError as error:
        raise _unreachable(url, error) from error


def _with_driver(url: str) -> URL:
    return make_url(url).set(drivername=f"{_POSTGRESQL}+{_DRIVER}")


def _unreachable(study: str, error: OperationalError) -> InputError:
    reason = " ".join(str(error.orig).split())
    return InputError(
        f"a study must be a database that answers, {study} does not: {reason}; check the server "
        "and PGPASSWORD"
    )


class Trials:
    """Measured candidates of one run.

    A candidate becomes a finished trial in one transaction after it was measured, so a killed
    process loses the one in flight and nothing else. ``optuna-dashboard`` with the address of the
    database shows them, ``sqlite:///RUN/run.db`` where it lies in the run folder.

    Args:
        folder: run folder; a database in it is created when missing.
        space: names and ranges of the genes.
        study: as ``check_study`` takes it; several runs may share a database.
        names: which of ``FIGURES`` are objectives beside the accuracy.

    Raises:
        InputError: the database is not one of this space and objectives, or cannot be reached.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        study: str = "",
        names: Sequence[str] = ("latency", "size"),
    ) -> None:
        self._names = names
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._distributions = {
            name: IntDistribution(0, n - 1)
            for name, n in zip(space.gene_names, space.n_choices, strict=True)
        }
        url, name = f"sqlite:///{folder / DATABASE}", _STUDY
        if study:
            check_study(study)
            url = _with_driver(study).render_as_string()
            name = f"edgekit-{hashlib.sha256((folder / RUN_FILE).read_bytes()).hexdigest()[:16]}"
        try:
            # A trial is written every few seconds or minutes: no connection is kept in between.
            storage = optuna.storages.RDBStorage(
                url, engine_kwargs={"poolclass": NullPool} if study else None
            )
            self._study = optuna.create_study(
                study_name=name,
                storage=storage,
                directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(names)],
                load_if_exists=True,
            )
        except OperationalError as error:
            if study:
                raise _unreachable(study, error) from error
            raise InputError(
                f"{DATABASE} must be a database that answers, {folder / DATABASE} does not: "
                f"{error.orig}; choose the folder of the right run"
            ) from error
        except DatabaseError as error:
            raise InputError(
                f"{DATABASE} must be the database of a run, {folder / DATABASE} is not: "
                f"{error.orig}; choose the folder of the right run"
            ) from error

        if len(self._study.directions) != 1 + len(names):
            raise InputError(
                f"the trials of a run have its objectives, accuracy, {', '.join(names)}, those in "
                f"{study or folder / DATABASE} have {len(self._study.directions)}; choose the "
                "folder of the right run"
            )

    def add(self, entry: Evaluated) -> None:
        """Store one measured candidate."""
        values = [entry.accuracy.top1, *entry.figures(self._names)]
        attributes: dict[str, object] = {
            "accuracy": asdict(entry.accuracy),
            "latency": asdict(entry.latency),
            "loss": entry.loss,
            "size_bytes": entry.size_bytes,
            "memory_bytes": entry.memory_bytes,
        }
        self._store(entry.candidate, TrialState.COMPLETE, values, attributes)

    def add_failed(self, candidate: Candidate) -> None:
        """Store that a candidate could not be evaluated."""
        self._store(candidate, TrialState.FAIL, None, {})

    def all(self) -> list[Evaluated]:
        """Measured candidates in the order they were finished."""
        return [self._entry(trial) for trial in self._trials(TrialState.COMPLETE)]

    def failed(self) -> list[Candidate]:
        """Candidates that could not be evaluated."""
        return [self._candidate(trial) for trial in self._trials(TrialState.FAIL)]

    def _store(
        self,
        candidate: Candidate,
        state: TrialState,
        values: list[float] | None,
        attributes: dict[str, object],
    ) -> None:
        self._study.add_trial(
            create_trial(
                state=state,
                params=dict(zip(self._distributions, candidate.genes, strict=True)),
                distributions=dict(self._distributions),
                values=values,
                user_attrs=attributes,
            )
        )

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(state,))

    def _candidate(self, trial: FrozenTrial) -> Candidate:
        if set(trial.params) != set(self._distributions):
            raise InputError(
                f"the trials of a run have the genes of its space, trial {trial.number} has "
                f"{sorted(trial.params)}; choose the folder of the right run"
            )
        return Candidate(tuple(int(trial.params[name]) for name in self._distributions))

    def _entry(self, trial: FrozenTrial) -> Evaluated:
        candidate = self._candidate(trial)
        accuracy = MeasuredAccuracy(**trial.user_attrs["accuracy"])
        latency = measured_from_json(trial.user_attrs["latency"])
        loss, size_bytes, memory_bytes = (
            trial.user_attrs[name] for name in ("loss", "size_bytes", "memory_bytes")
        )
        return Evaluated(candidate, accuracy, latency, size_bytes, loss, memory_bytes)


def save_table_networks(folder: Path, entries: Sequence[tuple[Candidate, Measured]]) -> None:
    """Keep the networks that were measured to correct the cost table."""
    rows = [{"candidate": c.text, "latency": asdict(figure)} for c, figure in entries]
    write_json(folder / TABLE_NETWORKS, _KIND, _SCHEMA, {"networks": rows})


def load_table_networks(folder: Path) -> list[tuple[Candidate, Measured]]:
    """Inverse of ``save_table_networks``; empty when there is no file.

    Raises:
        InputError: a file with other content.
    """
    path = folder / TABLE_NETWORKS
    if not path.is_file():
        return []
    rows = read_json(path, _KIND, _SCHEMA).get("networks")
    try:
        if not isinstance(rows, list):
            raise TypeError("no list of networks")
        return [(Candidate.parse(r["candidate"]), measured_from_json(r["latency"])) for r in rows]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"a file of measured networks holds genes and figures, {path} does not: {error!r}; "
            "delete it to measure again"
        ) from error
