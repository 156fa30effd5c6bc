"""A search from beginning to end, in a folder it can be resumed from.

supernet --> cost table --> corrected by measured networks --> ask, measure, store, ask, ... -->
measured front
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, Infeasible
from edgekit.core.figures import Measured, MeasuredAccuracy
from edgekit.core.limits import Limits, figure_text
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.core.units import format_duration
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.probe import probe
from edgekit.search.costs import CostTable
from edgekit.search.evaluate import SEARCH_INTERVAL, Crew, Evaluator, Judge
from edgekit.search.evaluated import Evaluated, front
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.memory import MemoryLine, memory_line
from edgekit.search.metrics.pool import scored_pool
from edgekit.search.networks import Networks, train_together
from edgekit.search.protocol.feasibility import nearest, unreachable
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.pareto import hypervolume
from edgekit.search.protocol.problem import Floats, Objective, Scores, SearchProblem, Values
from edgekit.search.proxyless.deriving import probable_pool
from edgekit.search.settings import OBJECTIVES, RunSettings, objectives_of
from edgekit.search.space import Genes, SearchSpace
from edgekit.search.store import Trials, load_table_networks, save_table_networks
from edgekit.search.strategies import BY_GATES, BY_METRICS, strategy_named
from edgekit.search.workers import Staff

_MAY_BE_LOST = 10
UNITS = {"latency": "latency_s", "size": "size_bytes", "memory": "memory_bytes"}
"""Name of the objective of each of ``FIGURES``."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished search.

    Attributes:
        folder: where it lies.
        settings: what was asked for.
        networks: of its space, trained.
        table: the corrected cost table.
        measured: every measured candidate, in order.
        tried: accuracy of finalists after a short training, by candidate.
        memory: predicts peak memory; None where it is no objective.
    """

    folder: Path
    settings: RunSettings
    networks: Networks
    table: CostTable
    measured: tuple[Evaluated, ...]
    tried: Mapping[Candidate, MeasuredAccuracy] = field(default_factory=dict)
    memory: MemoryLine | None = None

    @property
    def space(self) -> SearchSpace:
        """What could be chosen."""
        return self.networks.space

    def hypervolumes(self) -> list[float]:
        """Share of the box that was beaten after each measured candidate, see ``box_of``."""
        box, n = box_of(self), len(self.measured)
        return [_beaten(self.measured[: i + 1], self.settings, box) for i in range(n)]

    def front(self) -> list[Evaluated]:
        """Measured candidates that no other one beats, fastest first."""
        return front(self.measured, self.settings.objectives)

    def best(self, limits: Limits | None = None) -> Evaluated:
        """The most accurate finalist, or where there is none the most accurate candidate inside.

        Raises:
            Infeasible: none is inside; names the limit that binds and the nearest feasible pair.
        """
        return self.ranked(limits)[0]

    def ranked(self, limits: Limits | None = None) -> list[Evaluated]:
        """Measured candidates inside the limits, best first; raises as ``best`` does.

        Finalists come first, by what their short training gave; ties go to the faster one.
        """
        limits = limits or self.settings.limits
        inside = [entry for entry in self.measured if entry.meets(limits)]
        if not inside:
            raise infeasible(self.measured, limits, self._of_all(limits))
        return sorted(inside, key=self.rank)

    def _of_all(self, limits: Limits) -> str:
        """What the table says of every network, where they can be listed and none is inside."""
        figures = [entry.latency for entry in self.measured]
        ratios = [f.quantile_s(limits.quantile) / f.label_s for f in figures]
        problem = problem_of(
            self.space,
            self.table,
            limits,
            _no_values,
            n_evaluations=1,
            population=1,
            seed=0,
            objectives=objectives_of(None, limits),
            memory=self.memory,
            quantile_ratio=float(np.median(ratios)),
        )
        found = unreachable(problem)
        if found is None:
            return ""
        names = objectives_of(None, limits)
        return (
            f", and of all {found.n_networks:,} networks none is predicted inside (nearest "
            f"{_with_each_other(names, found.values[1:])})"
        )

    def rank(self, entry: Evaluated) -> tuple[bool, float, float]:
        """What measured candidates are sorted by, best first."""
        tried = self.tried.get(entry.candidate)
        merit = entry.merit if tried is None else tried.top1
        return (tried is None, -merit, entry.latency.p50_s)


def _no_values(candidate: Candidate) -> Values:
    raise EvaluationFailed(f"nothing is evaluated here, got {candidate.text}")


def infeasible(measured: Sequence[Evaluated], limits: Limits, of_all: str = "") -> Infeasible:
    """The error that says which limit binds and what would just be possible.

    Args:
        measured: at least one, none inside the limits.
        limits: what they break.
        of_all: what is predicted of every network of the space, for people.
    """
    names = objectives_of(None, limits)
    figures = np.array([entry.figures(names, limits.quantile) for entry in measured])
    found = nearest(figures / np.array([limits.walls[name] for name in names]) - 1)
    assert found is not None
    binding, text = names[found.binding], _with_each_other(names, figures[found.row])
    return Infeasible(
        f"no measured candidate keeps {limits.describe()}: {binding} binds, "
        f"the nearest feasible pair is {text}{of_all}; loosen the {binding} limit to that",
        binding=binding,
        nearest=text,
    )


def _with_each_other(names: Sequence[str], figures: Iterable[float]) -> str:
    """For people: ``"latency 1.9 ms with size 0.4 MB"``."""
    return " with ".join(figure_text(*pair) for pair in zip(names, figures, strict=True))


def execute(
    folder: Path,
    networks: Networks,
    settings: RunSettings,
    task: Task,
    predictor: KernelPredictor,
    *,
    staff: Staff,
    progress: Progress,
) -> Run:
    """Run a search, or go on with one that was interrupted.

    A search that goes on asks the strategy everything again from the start and measures only what
    is not in the run folder yet: what was measured is as in a search that was never stopped.

    Args:
        folder: run folder with ``run.json``.
        networks: of the space in ``settings``; trained here.
        settings: as in ``run.json``.
        task: the data; its test split is not read.
        predictor: of the device profile.
        staff: who judges the candidates.
        progress: where bars are drawn.

    Raises:
        TooNoisy: a latency could not be had; resume when the machine is quiet.
        EvaluationFailed: no candidate can be evaluated.
    """
    trials = trials_of(folder, networks.space, settings)
    gated = settings.strategy in BY_GATES
    train_together(
        networks,
        task,
        None if gated else settings.training,
        folder,
        n_processes=staff.n_trainers,
        progress=progress,
    )
    table = cost_table(folder, networks, settings, predictor, progress=progress)
    memory = line_of(folder, networks, settings, progress=progress)
    run = Run(folder, settings, networks, table, (), memory=memory)
    measured = {entry.candidate: entry for entry in trials.all()}
    n_known = len(measured) + len(trials.failed())
    if n_known < settings.n_evaluations:
        judge = judge_of(networks, task, settings, folder)
        with staff.at_work(judge, networks.space.n_architecture, progress) as crew:
            _evaluate(run, task, crew, trials, measured, progress)
    if not measured:
        raise EvaluationFailed(
            f"a search needs a candidate that can be evaluated, all {len(trials.failed())} in "
            f"{folder} failed; see what was said of each"
        )
    return replace(run, measured=tuple(measured.values()))


def _evaluate(
    run: Run,
    task: Task,
    crew: Crew,
    trials: Trials,
    measured: dict[Candidate, Evaluated],
    progress: Progress,
) -> None:
    """Ask the strategy, and measure what is not in ``measured`` yet."""
    settings, evaluate = run.settings, evaluator(crew, run.settings)
    known: dict[Candidate, Values | None] = {c: _told(e, settings) for c, e in measured.items()}
    known |= dict.fromkeys(trials.failed())

    def values(candidate: Candidate) -> Values:
        try:
            (entry,) = evaluate(candidate)
        except EvaluationFailed as error:
            trials.add_failed(candidate)
            progress.say(f"candidate {candidate.text} could not be evaluated: {error}")
            raise
        measured[candidate] = entry
        trials.add(entry)
        return _told(entry, settings)

    problem = problem_of(
        run.space,
        run.table,
        settings.limits,
        values,
        n_evaluations=settings.n_evaluations,
        population=settings.population,
        seed=settings.seed,
        objectives=settings.objectives,
        memory=run.memory,
        quantile_ratio=ratio_of_limited(run.folder, settings),
    )
    scores = _scores(run.networks, problem, settings, task, run.folder, progress)
    problem = replace(problem, scores=scores, ahead=crew.ahead)
    _search(problem, settings, known, measured, box_of(run), progress)


def _told(entry: Evaluated, settings: RunSettings) -> Values:
    return entry.values(settings.objectives, settings.limits.quantile)


def box_of(run: Run) -> Floats:
    """Every answer wrong, and what is predicted of the largest network ``(1 + objectives,)``.

    Known before a search: the hypervolume of what it measures is a share of that box.
    """
    largest = np.array([run.space.largest().genes])
    costs = predicted_figures(run.table, run.memory, run.settings.objectives, largest)
    return np.array([1.0, *costs[0]])


def _beaten(measured: Collection[Evaluated], settings: RunSettings, box: Floats) -> float:
    """By accuracy, whatever candidates are ranked by."""
    names, quantile = settings.objectives, settings.limits.quantile
    figures = [(1 - e.accuracy.top1, *e.figures(names, quantile)) for e in measured]
    return hypervolume(np.array(figures), box)


def _scores(
    networks: Networks,
    problem: SearchProblem,
    settings: RunSettings,
    task: Task,
    folder: Path,
    progress: Progress,
) -> Scores | None:
    """What the strategy of a run chooses by, besides predictions."""
    name = settings.strategy
    if name in BY_METRICS:
        return scored_pool(networks, problem, task, folder, progress=progress)
    if name not in BY_GATES:
        return None
    assert isinstance(networks.space, MBConvSpace)
    assert settings.training is not None
    return probable_pool(
        networks.space,
        problem,
        task,
        settings.training,
        folder,
        weight_max=probe(Target(settings.target)).int8_weight_max,
        by_reward=name == "proxyless-reward",
        progress=progress,
    )


def _search(
    problem: SearchProblem,
    settings: RunSettings,
    known: Mapping[Candidate, Values | None],
    measured: Mapping[Candidate, Evaluated],
    box: Floats,
    progress: Progress,
) -> None:
    label, n_known = f"searching with {settings.strategy}", len(known)
    with progress.track(settings.n_evaluations, label, n_start=n_known) as update:
        strategy = strategy_named(settings.strategy)
        for n_done, _ in enumerate(search(problem, strategy, known), 1):
            update(max(n_done, n_known), best_so_far(measured.values(), settings, box))


def problem_of(
    space: SearchSpace,
    table: CostTable,
    limits: Limits,
    evaluate: Callable[[Candidate], Values],
    *,
    n_evaluations: int,
    population: int,
    seed: int,
    objectives: Sequence[str] = OBJECTIVES,
    memory: MemoryLine | None = None,
    quantile_ratio: float = 1.0,
) -> SearchProblem:
    """A search for the smallest error and figures, which are predicted.

    Args:
        space: what may be chosen.
        table: predicts the label of a latency, a low quantile, and the size.
        limits: walls.
        evaluate: gives ``Evaluated.values``.
        n_evaluations: candidates that may be evaluated, above 0.
        population: candidates a strategy may ask for at once, above 0.
        seed: of every random choice.
        objectives: some of ``FIGURES``, besides the error.
        memory: predicts the peak memory, where it is one of them.
        quantile_ratio: limited quantile over label, above 0.
    """

    def costs(genes: Genes) -> Floats:
        figures = predicted_figures(table, memory, objectives, genes, quantile_ratio)
        return np.concatenate([np.full((len(genes), 1), np.nan), figures], axis=1)

    walls = tuple(Objective(UNITS[name], limits.walls[name]) for name in objectives)
    all_objectives = (Objective("error"), *walls)
    return SearchProblem(space, all_objectives, costs, evaluate, n_evaluations, population, seed)


def predicted_figures(
    table: CostTable,
    memory: MemoryLine | None,
    names: Sequence[str],
    genes: Genes,
    quantile_ratio: float = 1.0,
) -> Floats:
    """Some of ``FIGURES`` of canonical genes ``(n, genes)``, predicted: ``(n, names)``."""
    known: dict[str, Floats] = {}
    if "latency" in names:
        known["latency"] = quantile_ratio * table.latencies_s(genes)
    if {"size", "memory"} & set(names):
        known["size"] = table.sizes_bytes(genes)
    if "memory" in names:
        assert memory is not None
        known["memory"] = memory.predicted_bytes(known["size"])
    return np.stack([known[name] for name in names], axis=1)


def judge_of(networks: Networks, task: Task, settings: RunSettings, folder: Path) -> Judge:
    """What judges the candidates of a run; by their loss where nothing trains them."""
    return Judge(
        networks,
        task,
        folder,
        probe(Target(settings.target)).int8_weight_max,
        settings.query,
        by_loss=settings.training is None and settings.query is None,
    )


def evaluator(crew: Crew, *settings: RunSettings) -> Evaluator:
    """What measures the candidates of runs."""
    with_memory = any("memory" in s.objectives for s in settings)
    targets = [(Target(s.target), s.reference_fast_s) for s in settings]
    return Evaluator(crew, targets, with_memory=with_memory)


def trials_of(folder: Path, space: SearchSpace, settings: RunSettings) -> Trials:
    """Where a run keeps what it measures."""
    return Trials(folder, space, settings.study, settings.objectives)


def line_of(
    folder: Path, networks: Networks, settings: RunSettings, *, progress: Progress
) -> MemoryLine | None:
    """What predicts the memory of a run's candidates; None where it is no objective."""
    if "memory" not in settings.objectives:
        return None
    target = Target(settings.target)
    return memory_line(folder, networks, target, seed=settings.seed, progress=progress)


def ratio_of_limited(folder: Path, settings: RunSettings) -> float:
    """Limited quantile over the label, of the networks that corrected the table."""
    figures = [figure for _, figure in load_table_networks(folder)]
    ratios = [f.quantile_s(settings.limits.quantile) / f.label_s for f in figures]
    return float(np.median(ratios)) if ratios else 1.0


def cost_table(
    folder: Path,
    networks: Networks,
    settings: RunSettings,
    predictor: KernelPredictor,
    *,
    progress: Progress,
) -> CostTable:
    """The table of a run, corrected by networks of its space that are measured once and kept."""
    target = Target(settings.target)
    lowered = networks.lowered(folder, n_threads=target.n_threads, progress=progress)
    known = load_table_networks(folder)
    if not known and settings.n_table_networks:
        candidates = networks.table_candidates(settings.n_table_networks, settings.seed)
        known = measure_candidates(
            networks, candidates, target, settings.reference_fast_s, progress
        )
        save_table_networks(folder, known)
    if known:
        predictor = predictor.corrected([(lowered.of(c), figure) for c, figure in known])
    table = lowered.priced(predictor)
    if table.unknown_ops:
        progress.say(
            f"the profile does not know {', '.join(table.unknown_ops)}: priced as operators are "
            "on the whole, corrected by the networks that were measured"
        )
    return table


def measure_candidates(
    networks: Networks,
    candidates: Sequence[Candidate],
    target: Target,
    known_fast_s: Sequence[float],
    progress: Progress,
) -> list[tuple[Candidate, Measured]]:
    """Latency of candidates with random weights, all in one interleaved session.

    A tenth of them may be lost to noise: the rest corrects the table as well.
    """
    models = {c.text: networks.model(c) for c in candidates}
    with progress.track(100, "measuring networks of the space") as update:
        figures = measure_models(
            models,
            target,
            max_relative_interval=SEARCH_INTERVAL,
            patience_s=LONG_PATIENCE_S,
            known_fast_s=known_fast_s,
            max_lost=len(candidates) // _MAY_BE_LOST,
            progress=lambda done, total: update(100 * done // total),
        )
    return [(c, figures[c.text]) for c in candidates if c.text in figures]


def best_so_far(measured: Collection[Evaluated], settings: RunSettings, box: Floats) -> str:
    """For people: the best inside the limits, and the share of the box that is beaten."""
    inside = [entry for entry in measured if entry.meets(settings.limits)]
    if not inside:
        return "nothing inside the limits yet"
    best = max(inside, key=lambda e: e.merit)
    found = f"best so far {best.accuracy.top1:.1%} at {format_duration(best.latency.p50_s)}"
    return f"{found}, hypervolume {_beaten(measured, settings, box):.3f}"
