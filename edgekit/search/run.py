"""A search from beginning to end, in a folder it can be resumed from.

supernet --> cost table --> corrected by measured networks --> ask, measure, store, ask, ... -->
measured front
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, Infeasible
from edgekit.core.figures import Measured, MeasuredAccuracy
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.core.units import format_duration, format_size
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.probe import probe
from edgekit.search.costs import CostTable
from edgekit.search.evaluate import SEARCH_INTERVAL, Crew, Evaluator, Judge
from edgekit.search.evaluated import Evaluated, front
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.metrics.pool import scored_pool
from edgekit.search.networks import Networks, train_together
from edgekit.search.protocol.feasibility import nearest, unreachable
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.pareto import hypervolume
from edgekit.search.protocol.problem import Floats, Objective, Scores, SearchProblem, Values
from edgekit.search.proxyless.deriving import probable_pool
from edgekit.search.settings import RunSettings
from edgekit.search.space import Genes, SearchSpace
from edgekit.search.store import Trials, load_table_networks, save_table_networks
from edgekit.search.strategies import BY_GATES, BY_METRICS, strategy_named
from edgekit.search.workers import Staff

_MAY_BE_LOST = 10


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
    """

    folder: Path
    settings: RunSettings
    networks: Networks
    table: CostTable
    measured: tuple[Evaluated, ...]
    tried: Mapping[Candidate, MeasuredAccuracy] = field(default_factory=dict)

    @property
    def space(self) -> SearchSpace:
        """What could be chosen."""
        return self.networks.space

    def hypervolumes(self) -> list[float]:
        """Share of the box that was beaten after each measured candidate, see ``box_of``."""
        box, quantile = box_of(self.space, self.table), self.settings.limits.quantile
        n = len(self.measured)
        return [_beaten(self.measured[: i + 1], quantile, box) for i in range(n)]

    def front(self) -> list[Evaluated]:
        """Measured candidates that no other one beats, fastest first."""
        return front(self.measured)

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
            quantile_ratio=float(np.median(ratios)),
        )
        found = unreachable(problem)
        if found is None:
            return ""
        _, latency_s, size_bytes = found.values
        return (
            f", and of all {found.n_networks:,} networks none is predicted inside (nearest "
            f"{format_duration(latency_s)} with {format_size(round(size_bytes))})"
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
    figures = np.array([entry.values(limits.quantile)[1:] for entry in measured])
    walls = np.array([limits.latency_s or math.inf, limits.size_bytes or math.inf])
    found = nearest(figures / walls - 1)
    assert found is not None
    latency_s, size_bytes = figures[found.row]
    binding = ("latency", "size")[found.binding]
    text = f"latency {format_duration(latency_s)} with size {format_size(size_bytes)}"
    return Infeasible(
        f"no measured candidate keeps {limits.describe()}: {binding} binds, "
        f"the nearest feasible pair is {text}{of_all}; loosen the {binding} limit to that",
        binding=binding,
        nearest=text,
    )


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
    trials = Trials(folder, networks.space, settings.study)
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
    measured = {entry.candidate: entry for entry in trials.all()}
    n_known = len(measured) + len(trials.failed())
    if n_known < settings.n_evaluations:
        judge = judge_of(networks, task, settings, folder)
        with staff.at_work(judge, networks.space.n_architecture, progress) as crew:
            _evaluate(folder, networks, settings, task, table, crew, trials, measured, progress)
    if not measured:
        raise EvaluationFailed(
            f"a search needs a candidate that can be evaluated, all {len(trials.failed())} in "
            f"{folder} failed; see what was said of each"
        )
    return Run(folder, settings, networks, table, tuple(measured.values()))


def _evaluate(
    folder: Path,
    networks: Networks,
    settings: RunSettings,
    task: Task,
    table: CostTable,
    crew: Crew,
    trials: Trials,
    measured: dict[Candidate, Evaluated],
    progress: Progress,
) -> None:
    """Ask the strategy, and measure what is not in ``measured`` yet."""
    evaluate, quantile = evaluator(crew, settings), settings.limits.quantile
    known: dict[Candidate, Values | None] = {c: e.values(quantile) for c, e in measured.items()}
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
        return entry.values(quantile)

    problem = problem_of(
        networks.space,
        table,
        settings.limits,
        values,
        n_evaluations=settings.n_evaluations,
        population=settings.population,
        seed=settings.seed,
        quantile_ratio=ratio_of_limited(folder, settings),
    )
    scores = _scores(networks, problem, settings, task, folder, progress)
    problem = replace(problem, scores=scores, ahead=crew.ahead)
    _search(problem, settings, known, measured, box_of(networks.space, table), progress)


def box_of(space: SearchSpace, table: CostTable) -> Floats:
    """Every answer wrong, and the predicted latency and size of the largest network ``(3,)``.

    Known before a search: the hypervolume of what it measures is a share of that box.
    """
    largest = np.array([space.largest().genes])
    return np.array([1.0, table.latencies_s(largest)[0], table.sizes_bytes(largest)[0]])


def _beaten(measured: Collection[Evaluated], quantile: str, box: Floats) -> float:
    """By accuracy, whatever candidates are ranked by."""
    figures = [(1 - e.accuracy.top1, *e.values(quantile)[1:]) for e in measured]
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
            update(max(n_done, n_known), best_so_far(measured.values(), settings.limits, box))


def problem_of(
    space: SearchSpace,
    table: CostTable,
    limits: Limits,
    evaluate: Callable[[Candidate], Values],
    *,
    n_evaluations: int,
    population: int,
    seed: int,
    quantile_ratio: float = 1.0,
) -> SearchProblem:
    """A search for the smallest error, latency and size, of which the last two are predicted.

    Args:
        space: what may be chosen.
        table: predicts the label of a latency, a low quantile, and the size.
        limits: walls.
        evaluate: gives ``Evaluated.values``.
        n_evaluations: candidates that may be evaluated, above 0.
        population: candidates a strategy may ask for at once, above 0.
        seed: of every random choice.
        quantile_ratio: limited quantile over label, above 0.
    """

    def costs(genes: Genes) -> Floats:
        latency_s = quantile_ratio * table.latencies_s(genes)
        return np.stack([np.full(len(genes), np.nan), latency_s, table.sizes_bytes(genes)], axis=1)

    objectives = (
        Objective("error"),
        Objective("latency_s", limits.latency_s or math.inf),
        Objective("size_bytes", limits.size_bytes or math.inf),
    )
    return SearchProblem(space, objectives, costs, evaluate, n_evaluations, population, seed)


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
    return Evaluator(crew, [(Target(s.target), s.reference_fast_s) for s in settings])


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


def best_so_far(measured: Collection[Evaluated], limits: Limits, box: Floats) -> str:
    """For people: the best inside the limits, and the share of the box that is beaten."""
    inside = [entry for entry in measured if entry.meets(limits)]
    if not inside:
        return "nothing inside the limits yet"
    best = max(inside, key=lambda e: e.merit)
    found = f"best so far {best.accuracy.top1:.1%} at {format_duration(best.latency.p50_s)}"
    return f"{found}, hypervolume {_beaten(measured, limits.quantile, box):.3f}"
