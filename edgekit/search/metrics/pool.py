"""The pool of a run: candidates inside the limits, each with the metrics of its network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.metrics.scoring import Build, score, with_precisions
from edgekit.search.networks import Networks
from edgekit.search.protocol.pool import drawn_inside, inside_first
from edgekit.search.protocol.problem import Scores, SearchProblem
from edgekit.search.space import Genes, SearchSpace
from edgekit.training.augment import to_tensor

_MOST_ARCHITECTURES, _FOR_EACH_EVALUATION = 150, 8
_N_PRECISIONS = 8
_N_IMAGES = 64
_N_NORM_IMAGES = 500
_N_SEEDS = 2


def scored_pool(
    networks: Networks, problem: SearchProblem, task: Task, folder: Path, *, progress: Progress
) -> Scores:
    """Architectures inside the limits in several precisions, and their metrics.

    Metrics belong to an architecture, in float32; what its precisions add is ``int8_quiet``. New
    weights are drawn twice, those of a module are taken as they are. Eight architectures for each
    evaluation, at most 150. Kept in the run folder.

    Args:
        networks: of the space.
        problem: its limits and seed.
        task: images of the training split are read.
        folder: run folder.
        progress: where the bar is drawn.
    """
    space = networks.space
    plain = _architectures(problem)
    images = task.train.evenly(_N_IMAGES)
    x, y = to_tensor(images.images, task.preprocessing), torch.from_numpy(images.labels)
    metrics = score(
        [Candidate(tuple(row)) for row in plain.tolist()],
        _built(networks, task),
        x,
        y,
        seeds=range(1 if networks.is_pretrained else _N_SEEDS),
        folder=folder,
        progress=progress,
    )
    rng = problem.rng(0)
    parts = [_in_precisions(space, row, rng) for row in plain]
    genes = np.concatenate(parts)
    repeated = [m for part, m in zip(parts, metrics, strict=True) for _ in part]
    paths = networks.block_paths(networks.extract(space.largest()))
    scores = with_precisions(space, genes, repeated, paths)
    inside = (problem.margins(genes) <= 0).all(axis=1)
    kept = inside if inside.any() else np.ones(len(genes), dtype=bool)
    return Scores(genes[kept], scores.names, scores.values[kept])


def _architectures(problem: SearchProblem) -> Genes:
    """Distinct ones in float32 that are inside in some precision, the regular ones first."""
    space = problem.space
    both = np.concatenate([space.regular(), drawn_inside(problem, [])])
    plain = inside_first(problem, both)
    plain[:, space.n_architecture :] = 0
    plain = space.canonical(plain)
    _, first = np.unique(plain, axis=0, return_index=True)
    n = min(_MOST_ARCHITECTURES, _FOR_EACH_EVALUATION * problem.n_evaluations)
    return np.asarray(plain[np.sort(first)][:n])


def _in_precisions(space: SearchSpace, row: Genes, rng: np.random.Generator) -> Genes:
    """All float32, all int8, and random ones between; distinct and canonical."""
    genes = np.tile(row, (_N_PRECISIONS, 1))
    share = rng.random((_N_PRECISIONS, 1))
    share[:2, 0] = 0.0, 1.0
    precisions = rng.random((_N_PRECISIONS, len(space.blocks))) < share
    genes[:, space.n_architecture :] = precisions
    return np.unique(space.canonical(genes), axis=0)


def _built(networks: Networks, task: Task) -> Build:
    def build(candidate: Candidate, seed: int) -> nn.Module:
        net = networks.initialised(candidate, seed)
        if networks.is_pretrained:
            networks.reestimate(net, task, _N_NORM_IMAGES)
        return net

    return build
