"""The most probable networks at the limits: what a training of gates is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.pool import first_of_equals
from edgekit.search.protocol.problem import Floats, Scores, SearchProblem
from edgekit.search.proxyless.paths import (
    ChoicePoint,
    Indices,
    choice_points,
    drawn,
    genes_of_paths,
)
from edgekit.search.proxyless.training import RelativeCosts, relative_costs, train_gates
from edgekit.training.loop import TrainRecipe

LOG_PROBABILITY = "log_probability"
_N_DRAWN = 20_000
_N_ROUNDS, _N_SLICES, _N_IN_SLICE = 4, 25, 40
_LEAST = 1e-9


def probable_pool(
    space: MBConvSpace,
    problem: SearchProblem,
    task: Task,
    recipe: TrainRecipe,
    folder: Path,
    *,
    weight_max: int,
    by_reward: bool,
    progress: Progress,
) -> Scores:
    """Train the gates of a space and derive the pool that ``proxyless`` goes through.

    Args:
        space: what may be chosen.
        problem: its predicted costs, limits and seed.
        task: its training split is read.
        recipe: hyper-parameters of the over-parameterised network.
        folder: run folder.
        weight_max: largest magnitude of an int8 weight, 1..127.
        by_reward: see ``train_gates``.
        progress: where the bar is drawn.
    """
    costs = relative_costs(problem)
    learnt = train_gates(
        space,
        task,
        recipe,
        costs,
        folder,
        weight_max=weight_max,
        by_reward=by_reward,
        progress=progress,
    )
    return derived(choice_points(space), learnt.probabilities, costs, problem.rng(0))


def derived(
    points: Sequence[ChoicePoint],
    probabilities: Sequence[Floats],
    costs: RelativeCosts,
    rng: np.random.Generator,
) -> Scores:
    """Networks of high probability, some for each per cent of the limits below them.

    The paper takes the most probable path of every point, whatever that costs. Here every network
    that is drawn, and those that one other path makes of the best, is sorted by the limit it comes
    nearest to; in each slice the most probable ones are kept.

    Args:
        points: where paths are taken.
        probabilities: of the paths of each point.
        costs: shares of the limits; without any limit all networks are in one slice.
        rng: draws networks.

    Returns:
        Their genes, and the logarithm of their probability as the only metric.
    """
    logs = [np.log(np.maximum(p, _LEAST)) for p in probabilities]
    flatter = [_flattened(p) for p in probabilities]
    likeliest = np.array([[int(p.argmax()) for p in probabilities]])
    paths = np.concatenate(
        [likeliest, drawn(probabilities, _N_DRAWN, rng), drawn(flatter, _N_DRAWN, rng)]
    )
    for _ in range(_N_ROUNDS):
        paths = _kept(points, paths, logs, costs)
        paths = np.concatenate([paths, *_changed(points, paths)])
    paths = _kept(points, paths, logs, costs)
    values = _log_probability(paths, logs)[:, None]
    return Scores(genes_of_paths(points, paths), (LOG_PROBABILITY,), values)


def _flattened(p: Floats) -> Floats:
    """Square roots, so that rarer paths are drawn too."""
    root = np.sqrt(p)
    return np.asarray(root / root.sum())


def _log_probability(paths: Indices, logs: Sequence[Floats]) -> Floats:
    columns = (log[taken] for log, taken in zip(logs, paths.T, strict=True))
    return np.asarray(sum(columns))


def _changed(points: Sequence[ChoicePoint], paths: Indices) -> list[Indices]:
    """Every network that one other path makes of these."""
    result = []
    for index, point in enumerate(points):
        for path in range(len(point)):
            other = paths.copy()
            other[:, index] = path
            result.append(other)
    return result


def _kept(
    points: Sequence[ChoicePoint],
    paths: Indices,
    logs: Sequence[Floats],
    costs: RelativeCosts,
) -> Indices:
    """The most probable of each slice, most probable first."""
    paths = paths[first_of_equals(paths)]
    paths = paths[np.argsort(-_log_probability(paths, logs), kind="stable")]
    figures = costs(genes_of_paths(points, paths))
    if not figures.shape[1]:
        return np.asarray(paths[: _N_SLICES * _N_IN_SLICE])
    slices = np.floor(100 * (1 - figures.max(axis=1))).clip(-1, _N_SLICES - 1)
    place = np.zeros(len(paths), dtype=np.int64)
    for one in np.unique(slices):
        rows = np.flatnonzero(slices == one)
        place[rows] = np.arange(len(rows))
    return np.asarray(paths[place < _N_IN_SLICE])
