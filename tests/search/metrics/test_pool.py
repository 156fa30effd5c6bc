"""The pool of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.metrics import pool
from edgekit.search.metrics.pool import scored_pool
from edgekit.search.metrics.scoring import INT8_QUIET, METRICS, METRICS_FILE
from edgekit.search.protocol.problem import Objective, Scores, SearchProblem
from edgekit.search.space import uniform_precision
from edgekit.spaces import networks_of, space
from tests.search.elastic.nets import Basic
from tests.search.synthetic import formula_problem

QUIET = Progress(quiet=True)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that is scored in seconds."""
    monkeypatch.setattr(pool, "_MOST_ARCHITECTURES", 6)
    monkeypatch.setattr(pool, "_N_IMAGES", 8)


def scored(task: Task, folder: Path, limits: Limits | None = None) -> Scores:
    problem = formula_problem(limits=limits)
    return scored_pool(
        MBConvNetworks(problem.space),  # type: ignore[arg-type]
        problem,
        task,
        folder,
        progress=QUIET,
    )


def test_architectures_come_in_several_precisions_and_float32_is_the_quietest(
    small_task: Task, tmp_path: Path
) -> None:
    scores = scored(small_task, tmp_path)
    assert scores.names == (*METRICS, INT8_QUIET)
    assert np.isfinite(scores.values[:, -1]).all()
    problem = formula_problem()
    space = problem.space
    plain = uniform_precision(space, scores.genes, Precision.FP32)
    assert len(np.unique(plain, axis=0)) == 6
    assert len(np.unique(scores.genes, axis=0)) == len(scores.genes) > 20
    for architecture in np.unique(plain, axis=0):
        mine = (plain == architecture).all(axis=1)
        quiet, n_int8 = scores.values[mine, -1], scores.genes[mine, space.n_architecture :].sum(1)
        assert quiet[n_int8.argmin()] == quiet.max()
        assert quiet[n_int8.argmax()] == quiet.min()
        of_all = scores.values[mine][:, : len(METRICS)]
        np.testing.assert_array_equal(of_all, of_all[:1].repeat(mine.sum(), axis=0))


def test_only_what_is_inside_the_limits_is_in_it_and_it_is_kept(
    small_task: Task, tmp_path: Path
) -> None:
    limits = Limits(2e-4, 200_000)
    first = scored(small_task, tmp_path, limits)
    assert (formula_problem(limits=limits).margins(first.genes) <= 0).all()
    before = (tmp_path / METRICS_FILE).read_bytes()
    again = scored(small_task, tmp_path, limits)
    np.testing.assert_array_equal(first.values, again.values)
    assert (tmp_path / METRICS_FILE).read_bytes() == before


def test_limits_that_nothing_keeps_leave_the_pool_as_it_is(
    small_task: Task, tmp_path: Path
) -> None:
    assert len(scored(small_task, tmp_path, Limits(1e-9, 1)).genes) > 20


def test_a_module_is_scored_with_its_own_weights(small_task: Task, tmp_path: Path) -> None:
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(3, 16, 3, 2, 1), *(Basic(16, 16, 1) for _ in range(2))]
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 10)]
    networks = networks_of(space(torch.nn.Sequential(*body, *head), torch.zeros(2, 3, 32, 32)))
    problem = SearchProblem(
        networks.space,
        (Objective("error"),),
        lambda genes: np.full((len(genes), 1), np.nan),
        lambda candidate: (0.5,),
        n_evaluations=1,
        population=1,
        seed=0,
    )
    given = scored_pool(networks, problem, small_task, tmp_path, progress=QUIET)
    quiet = given.values[:, given.names.index(INT8_QUIET)]
    macs = given.values[:, given.names.index("macs")]
    n_int8 = given.genes[:, networks.space.n_architecture :].sum(axis=1)
    assert quiet[n_int8 == 0].min() > quiet[n_int8 > 0].max()
    assert len(np.unique(macs)) > 3
