"""Weights and gates by turns: halves without overlap, prices that lead to a limit, a resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.task import Split, Task
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.problem import SearchProblem
from edgekit.search.proxyless import training
from edgekit.search.proxyless.deriving import probable_pool
from edgekit.search.proxyless.training import GATES_FILE, Learnt, relative_costs, train_gates
from edgekit.training.loop import TrainRecipe
from tests.search.synthetic import TINY, formula_problem

RECIPE = TrainRecipe(n_epochs=2, batch_size=16, learning_rate=0.05, mirror=False)
SPACE = MBConvSpace(TINY)


@pytest.fixture(scope="module")
def task(digits_task: Task) -> Task:
    train = digits_task.train
    return replace(digits_task, train=Split(train.images[:512], train.labels[:512]))


def problem(share: float) -> SearchProblem:
    """A latency limit between those of the smallest and the largest network."""
    free = formula_problem()
    ends = np.array([SPACE.smallest().genes, SPACE.largest().genes])
    low, high = free.costs(ends)[:, 1]
    return formula_problem(limits=Limits(float(low + share * (high - low))))


def learnt(
    task: Task,
    share: float,
    folder: Path,
    *,
    by_reward: bool = False,
    recipe: TrainRecipe = RECIPE,
) -> Learnt:
    costs, quiet = relative_costs(problem(share)), Progress(quiet=True)
    return train_gates(
        SPACE, task, recipe, costs, folder, weight_max=127, by_reward=by_reward, progress=quiet
    )


@pytest.mark.parametrize("by_reward", [False, True], ids=["gradient", "reward"])
def test_a_price_brings_networks_to_the_limit(task: Task, by_reward: bool, tmp_path: Path) -> None:
    found = learnt(task, 0.2, tmp_path, by_reward=by_reward)
    uniform = [np.full(len(p), 1 / len(p)) for p in found.probabilities]
    pool = probable_pool(
        SPACE,
        problem(0.2),
        task,
        RECIPE,
        tmp_path,
        weight_max=127,
        by_reward=by_reward,
        progress=Progress(quiet=True),
    )
    shares = relative_costs(problem(0.2))(pool.genes).max(axis=1)
    assert ((shares <= 1) & (shares > 0.98)).any()
    assert _expected(uniform) > 1.2
    assert 0.8 < _expected(found.probabilities) < 1.1


def _expected(probabilities: list[np.ndarray]) -> float:
    from edgekit.search.proxyless.paths import choice_points, expected_costs

    costs = relative_costs(problem(0.2))
    rng = np.random.default_rng(0)
    return float(expected_costs(choice_points(SPACE), probabilities, costs, rng, 500)[0][0])


def test_a_limit_that_does_not_bind_costs_nothing(task: Task, tmp_path: Path) -> None:
    assert learnt(task, 2.0, tmp_path).price[0] == 0


def test_weights_and_gates_see_different_images(task: Task) -> None:
    ours, held_out = training._halves(task, 3)
    both = np.concatenate([ours.train.images, held_out.images]).reshape(len(task.train), -1)
    assert len(ours.train) == len(held_out) == len(task.train) // 2
    whole = task.train.images.reshape(len(task.train), -1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, whole))


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, checkpoint_every=10)
    whole = learnt(task, 0.2, tmp_path / "whole", recipe=recipe)
    monkeypatch.setattr(training._Turns, "_reprice", _stopping_after(10))
    with pytest.raises(KeyboardInterrupt):
        learnt(task, 0.2, tmp_path / "parts", recipe=recipe)
    monkeypatch.undo()
    again = learnt(task, 0.2, tmp_path / "parts", recipe=recipe)
    assert again.price == whole.price
    for p, q in zip(again.probabilities, whole.probabilities, strict=True):
        np.testing.assert_array_equal(p, q)
    loaded = learnt(task, 0.2, tmp_path / "parts", recipe=recipe)
    np.testing.assert_array_equal(loaded.probabilities[0], whole.probabilities[0])


def _stopping_after(n: int):  # type: ignore[no-untyped-def]
    counted, reprice = [], training._Turns._reprice

    def once(self: training._Turns, expected: np.ndarray) -> None:
        counted.append(1)
        if len(counted) > n:
            raise KeyboardInterrupt
        reprice(self, expected)

    return once


def test_gates_of_another_space_are_refused(task: Task, tmp_path: Path) -> None:
    learnt(task, 0.2, tmp_path, recipe=replace(RECIPE, n_epochs=0.1))
    path = tmp_path / GATES_FILE
    path.write_text(path.read_text().replace('"price": [', '"price": [1.0, '))
    with pytest.raises(InputError, match="needs a number for each path and limit"):
        learnt(task, 0.2, tmp_path)
