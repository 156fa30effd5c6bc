"""One search for several devices: each candidate is judged once and timed on all of them.

supernet --> a cost table per device --> ask for each device in turn, judge, time on all, ...
--> a run per device, and the best compromise of what was measured
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, Infeasible
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.evaluate import Crew
from edgekit.search.evaluated import Evaluated
from edgekit.search.networks import WEIGHTS, Networks, train_together
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Floats, Objective, SearchProblem, Values
from edgekit.search.run import (
    UNITS,
    Run,
    best_so_far,
    box_of,
    cost_table,
    evaluator,
    judge_of,
    line_of,
    predicted_figures,
    ratio_of_limited,
    trials_of,
)
from edgekit.search.settings import RunSettings
from edgekit.search.space import Genes
from edgekit.search.store import Trials
from edgekit.search.strategies import strategy_named
from edgekit.search.strategies.in_turns import InTurns
from edgekit.search.workers import Staff


@dataclass(frozen=True, slots=True)
class Compromise:
    """One network for all devices.

    Attributes:
        entries: its figures, by device.
        regrets: top-1 that it has less than the best network inside the limits of a device, by
            device; 0..1.
    """

    entries: Mapping[str, Evaluated]
    regrets: Mapping[str, float]

    @property
    def candidate(self) -> Candidate:
        """Its genes."""
        return next(iter(self.entries.values())).candidate


@dataclass(frozen=True, slots=True)
class DeviceRuns:
    """What one search for several devices found.

    Attributes:
        runs: a run for each device, by its name; all measured the same candidates in the same
            order, so that a network can be exported from any of them.
    """

    runs: Mapping[str, Run]

    def best(self) -> dict[str, Evaluated]:
        """The best network for each device, by its name.

        Raises:
            Infeasible: a device has none inside its limits; names it.
        """
        found = {}
        for name, run in self.runs.items():
            try:
                found[name] = run.best()
            except Infeasible as error:
                raise Infeasible(
                    f"on {name}, {error}", binding=error.binding, nearest=error.nearest
                ) from error
        return found

    def compromise(self) -> Compromise | None:
        """The most accurate network inside the limits of every device, the faster of equals.

        None where no measured network keeps all limits. Raises Infeasible where a device has none.
        """
        best = self.best()
        rows = zip(*(run.measured for run in self.runs.values()), strict=True)
        inside = [
            row
            for row in rows
            if all(
                entry.meets(run.settings.limits)
                for entry, run in zip(row, self.runs.values(), strict=True)
            )
        ]
        if not inside:
            return None
        chosen = min(inside, key=lambda row: (-row[0].merit, sum(e.latency.p50_s for e in row)))
        entries = dict(zip(self.runs, chosen, strict=True))
        regrets = {
            n: max(0.0, best[n].accuracy.top1 - e.accuracy.top1) for n, e in entries.items()
        }
        return Compromise(entries, regrets)


def execute_on_devices(
    folders: Mapping[str, Path],
    networks: Networks,
    settings: Mapping[str, RunSettings],
    task: Task,
    predictors: Mapping[str, KernelPredictor],
    *,
    staff: Staff,
    progress: Progress,
) -> DeviceRuns:
    """Search for several devices at once, or go on with such a search.

    The strategy is asked for each device alone under its limits and for all of them together, in
    turn, and is told everything that was evaluated for any of them.

    Args:
        folders: run folder of each device, with ``run.json``, by its name.
        networks: of the space in the settings; trained here, once.
        settings: of each device; they differ in the device and its limits alone.
        task: the data; its test split is not read.
        predictors: of each device's profile.
        staff: who judges the candidates.
        progress: where bars are drawn.

    Raises:
        TooNoisy: a latency could not be had; the same call goes on.
        EvaluationFailed: no candidate can be evaluated.
    """
    names = list(folders)
    trials = {n: trials_of(folders[n], networks.space, settings[n]) for n in names}
    first = folders[names[0]]
    train_together(
        networks,
        task,
        settings[names[0]].training,
        first,
        n_processes=staff.n_trainers,
        progress=progress,
    )
    for name in names[1:]:
        if (first / WEIGHTS).is_file() and not (folders[name] / WEIGHTS).is_file():
            shutil.copyfile(first / WEIGHTS, folders[name] / WEIGHTS)
    tables = {
        n: cost_table(folders[n], networks, settings[n], predictors[n], progress=progress)
        for n in names
    }
    lines = {n: line_of(folders[n], networks, settings[n], progress=progress) for n in names}
    runs = {
        n: Run(folders[n], settings[n], networks, tables[n], (), memory=lines[n]) for n in names
    }
    measured = _measured(runs, task, trials, staff, progress)
    return DeviceRuns({n: replace(runs[n], measured=tuple(measured[n])) for n in names})


def _measured(
    runs: Mapping[str, Run],
    task: Task,
    trials: Mapping[str, Trials],
    staff: Staff,
    progress: Progress,
) -> dict[str, list[Evaluated]]:
    """Ask, and measure what is not known yet; of each device, all in one order."""
    names, all_settings = list(runs), [run.settings for run in runs.values()]
    some = next(iter(runs.values()))
    entries = {n: {e.candidate: e for e in trials[n].all()} for n in names}
    failed = {candidate for name in names for candidate in trials[name].failed()}
    done = [c for c in entries[names[0]] if all(c in entries[n] for n in names)]
    known: dict[Candidate, Values | None] = {c: _values(runs, entries, c) for c in done}
    known |= dict.fromkeys(failed)
    # The narrowest int8 of all devices is exact on each of them.
    judges = [judge_of(r.networks, task, r.settings, some.folder) for r in runs.values()]
    judge = min(judges, key=lambda judge: judge.weight_max)
    n_evaluations, n_known = some.settings.n_evaluations, len(known)
    if n_known >= n_evaluations:
        return {n: [entries[n][c] for c in done] for n in names}
    with staff.at_work(judge, some.space.n_architecture, progress) as crew:
        evaluate = evaluator(crew, *all_settings)

        def values(candidate: Candidate) -> Values:
            try:
                found = evaluate(candidate)
            except EvaluationFailed as error:
                for name in names:
                    trials[name].add_failed(candidate)
                progress.say(f"candidate {candidate.text} could not be evaluated: {error}")
                raise
            for name, entry in zip(names, found, strict=True):
                if candidate not in entries[name]:  # it is, where a search stopped between two
                    entries[name][candidate] = entry
                    trials[name].add(entry)
            done.append(candidate)
            return _values(runs, entries, candidate)

        problem = problem_on_devices(runs, values, crew)
        parts = parts_of(len(names), some.settings.objectives)
        strategy = InTurns(strategy_named(some.settings.strategy), parts)
        boxes = {n: box_of(run) for n, run in runs.items()}
        label = f"searching for {len(names)} devices with {some.settings.strategy}"
        with progress.track(n_evaluations, label, n_start=n_known) as update:
            for n_done, _ in enumerate(search(problem, strategy, known), 1):
                notes = [
                    f"{n}: {best_so_far(entries[n].values(), runs[n].settings, boxes[n])}"
                    for n in names
                ]
                update(max(n_done, n_known), "; ".join(notes))
    if not done:
        raise EvaluationFailed(
            f"a search needs a candidate that can be evaluated, all {len(failed)} failed; see "
            "what was said of each"
        )
    return {n: [entries[n][c] for c in done] for n in names}


def _values(
    runs: Mapping[str, Run], entries: Mapping[str, Mapping[Candidate, Evaluated]], c: Candidate
) -> Values:
    """Error, and the figures in the order of ``columns_of``."""
    names = next(iter(runs.values())).settings.objectives
    quantiles, of = [run.settings.limits.quantile for run in runs.values()], list(runs)
    figures = [
        entries[of[device or 0]][c].figures([name], quantiles[device or 0])[0]
        for name, device in columns_of(len(of), names)
    ]
    return (1 - entries[of[0]][c].merit, *figures)


def columns_of(n_devices: int, names: Sequence[str]) -> list[tuple[str, int | None]]:
    """Objectives besides the error: a figure of ``FIGURES``, and the device it belongs to.

    The size of a network is the same on all of them.
    """
    own = [(name, device) for name in names if name != "size" for device in range(n_devices)]
    return [*own, *((name, None) for name in names if name == "size")]


def parts_of(n_devices: int, names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Objectives of each device alone, then of all.

    Example:
        >>> parts_of(2, ("latency", "size"))
        ((0, 1, 3), (0, 2, 3), (0, 1, 2, 3))
    """
    columns = columns_of(n_devices, names)
    alone = tuple(
        (0, *(place for place, (_, of) in enumerate(columns, 1) if of in (None, device)))
        for device in range(n_devices)
    )
    return (*alone, tuple(range(len(columns) + 1)))


def problem_on_devices(
    runs: Mapping[str, Run], evaluate: Callable[[Candidate], Values], crew: Crew
) -> SearchProblem:
    """A search for the smallest error and figures on each device; see ``columns_of``."""
    all_runs, devices = list(runs.values()), list(runs)
    some, names = all_runs[0], all_runs[0].settings.objectives
    ratios = [ratio_of_limited(run.folder, run.settings) for run in all_runs]
    columns = columns_of(len(all_runs), names)

    def costs(genes: Genes) -> Floats:
        figures = [
            predicted_figures(run.table, run.memory, names, genes, ratio)
            for run, ratio in zip(all_runs, ratios, strict=True)
        ]
        found = [figures[device or 0][:, names.index(name)] for name, device in columns]
        return np.stack([np.full(len(genes), np.nan), *found], axis=1)

    def objective(name: str, device: int | None) -> Objective:
        if device is None:
            return Objective(UNITS[name], min(r.settings.limits.walls[name] for r in all_runs))
        wall = all_runs[device].settings.limits.walls[name]
        return Objective(f"{UNITS[name]} on {devices[device]}", wall)

    return SearchProblem(
        some.space,
        (Objective("error"), *(objective(*column) for column in columns)),
        costs,
        evaluate,
        some.settings.n_evaluations,
        some.settings.population,
        some.settings.seed,
        ahead=crew.ahead,
    )
