"""A search for an encoder under a limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import fx

from edgekit.core.candidate import Candidate
from edgekit.core.errors import Infeasible, InputError
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Split, Task
from edgekit.devices.networks.lowering import lower
from edgekit.search.space import PRECISIONS
from edgekit.split import searching
from edgekit.split.patches import PatchRecipe
from edgekit.split.searching import SEARCHED, EncoderSearch, EncoderSpace, TriedEncoder
from edgekit.split.training import StudentRecipe
from tests.line import Line, patient

QUIET = Progress(quiet=True)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two patches and two widths: 48 encoders instead of 216."""
    monkeypatch.setattr(searching, "_PATCHES", (4, 8))
    monkeypatch.setattr(searching, "_WIDTHS", (0, 32))
    monkeypatch.setattr(searching, "_N_KERNELS", 2)


def search_of(
    teacher: fx.GraphModule, task: Task, line: Line, folder: Path, max_latency_s: float
) -> EncoderSearch:
    train = Split(task.train.images[:128], task.train.labels[:128])
    return EncoderSearch(
        teacher,
        replace(task, train=train),
        StudentRecipe(1e-3, 1, PatchRecipe()),
        max_latency_s,
        line.profile.predictor,
        Target(),
        folder,
        progress=QUIET,
    )


def test_what_is_tried_is_kept_and_the_best_keeps_the_limit(
    few: None, teacher: fx.GraphModule, digits_task: Task, line: Line, tmp_path: Path
) -> None:
    """A wall between what is predicted of the least and of the most encoder."""
    probing = search_of(teacher, digits_task, line, tmp_path, 1.0)
    every = probing.space.all()
    predicted_s = probing._costs(every)[:, 1]
    wall_s = float(np.quantile(predicted_s, 0.5))
    assert predicted_s.min() < wall_s < predicted_s.max()
    search = search_of(teacher, digits_task, line, tmp_path, wall_s)
    tried = patient(lambda: search.run(3))
    assert len({one.candidate for one in tried}) == 3
    assert all(one.latency_s > 0 and one.loss > 0 for one in tried)
    (place,) = np.flatnonzero((every == tried[0].candidate.genes).all(axis=1))
    assert predicted_s[place] <= wall_s  # later ones are predicted with what was measured
    kept = json.loads((tmp_path / SEARCHED).read_text())["tried"]
    again = search_of(teacher, digits_task, line, tmp_path, wall_s).run(3)
    assert again == tried
    assert list(kept) == [one.candidate.text for one in tried]
    with pytest.raises(InputError, match="goes on as it began"):
        search_of(teacher, digits_task, line, tmp_path, 2 * wall_s).run(3)


@pytest.mark.parametrize(
    "genes", [(0, 1, 1, 0, 0), (1, 0, 0, 2, 0), (1, 2, 1, 0, 1), (0, 0, 1, 1, 1)]
)
def test_what_is_predicted_has_the_kernels_of_what_is_exported(
    genes: tuple[int, ...], teacher: fx.GraphModule, digits_task: Task, line: Line, tmp_path: Path
) -> None:
    search = search_of(teacher, digits_task, line, tmp_path, 1.0)
    precision = PRECISIONS[genes[-1]]
    models = (
        search._sketch(search.space.sizes(genes), precision),
        search._model(search._student(genes), precision),
    )
    sketched, real = ([one.kernel for one in lower(model)] for model in models)
    assert sorted(map(repr, sketched)) == sorted(map(repr, real))


def test_the_best_has_the_least_loss_inside_the_limit(
    teacher: fx.GraphModule, digits_task: Task, line: Line, tmp_path: Path
) -> None:
    search = search_of(teacher, digits_task, line, tmp_path, 1e-3)
    tried = [
        TriedEncoder(Candidate((0, 0, 0, 0, 0)), 2.0, 0.5e-3),
        TriedEncoder(Candidate((1, 0, 0, 0, 0)), 1.0, 1.0e-3),
        TriedEncoder(Candidate((2, 0, 0, 0, 0)), 0.5, 1.1e-3),
    ]
    assert search.best(tried) == tried[1]
    with pytest.raises(Infeasible, match=r"no encoder is measured within 1 ms"):
        search.best(tried[2:])


def test_a_limit_below_every_prediction_is_said_before_anything_is_trained(
    few: None, teacher: fx.GraphModule, digits_task: Task, line: Line, tmp_path: Path
) -> None:
    with pytest.raises(Infeasible, match="no encoder is predicted within"):
        search_of(teacher, digits_task, line, tmp_path, 1e-9).run(3)
    assert not (tmp_path / SEARCHED).exists()


def test_every_encoder_of_the_space_can_be_made() -> None:
    space = EncoderSpace(32)
    sizes = [space.sizes(row) for row in space.all().tolist()]
    assert len(set(sizes)) * 2 == len(sizes)  # each in two precisions
    assert {one.downscale for one in sizes} == {2, 4, 8}
    assert space.sizes(space.largest().genes).width == 64
    assert EncoderSpace(36).patches == (2, 4)
    with pytest.raises(InputError, match="an even side"):
        EncoderSpace(33)
