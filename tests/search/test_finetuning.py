"""Fine-tuning a candidate under the largest network, kept in the run folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.finetuning import finetuned
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.run import Run
from edgekit.training.loop import TrainRecipe
from tests.search.synthetic import SETTINGS, Stop, StoppingClock, formula_table

QUIET = Progress(quiet=True)
RECIPE = TrainRecipe(n_epochs=2, batch_size=32, learning_rate=0.05, checkpoint_every=3)
CANDIDATE = Candidate((1, 6, 0, 0, 1, 0, 0, 1, 0, 1))


@pytest.fixture
def run(networks: MBConvNetworks, tmp_path: Path) -> Run:
    """A finished search with random weights and nothing measured."""
    settings = replace(SETTINGS, training=RECIPE)
    return Run(tmp_path, settings, networks, formula_table(networks.space), ())


def _different(first: nn.Module, second: nn.Module) -> list[str]:
    other = second.state_dict()
    return [
        name for name, value in first.state_dict().items() if not torch.equal(value, other[name])
    ]


def tuned(
    run: Run, candidate: Candidate, task: Task, recipe: TrainRecipe | None, *, progress: Progress
) -> nn.Module:
    return finetuned(run.networks, run.folder, candidate, task, recipe, progress=progress)


def test_a_trained_network_is_kept_for_all_precisions_of_its_architecture(
    run: Run, small_task: Task
) -> None:
    trained = tuned(run, CANDIDATE, small_task, RECIPE, progress=QUIET)
    assert not trained.training
    assert [path.name for path in run.folder.iterdir()] == ["finetuned-1-6-0-0.safetensors"]
    other = Candidate((*CANDIDATE.genes[:4], 0, 0, 0, 0, 0, 0))
    again = finetuned(
        run.networks,
        run.folder,
        other,
        small_task,
        RECIPE,
        progress=Progress(clock=StoppingClock(0)),
    )
    assert _different(trained, again) == []


def test_another_recipe_trains_again(run: Run, small_task: Task) -> None:
    trained = tuned(run, CANDIDATE, small_task, RECIPE, progress=QUIET)
    other = finetuned(
        run.networks, run.folder, CANDIDATE, small_task, replace(RECIPE, seed=1), progress=QUIET
    )
    assert _different(trained, other)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    run: Run, small_task: Task, tmp_path: Path
) -> None:
    elsewhere = replace(run, folder=tmp_path / "whole")
    whole = finetuned(
        elsewhere.networks, elsewhere.folder, CANDIDATE, small_task, RECIPE, progress=QUIET
    )
    with pytest.raises(Stop):
        finetuned(
            run.networks,
            run.folder,
            CANDIDATE,
            small_task,
            RECIPE,
            progress=Progress(clock=StoppingClock(6)),
        )
    resumed = tuned(run, CANDIDATE, small_task, RECIPE, progress=QUIET)
    assert _different(whole, resumed) == []


def test_without_a_recipe_the_weights_are_those_of_the_supernet(
    run: Run, small_task: Task
) -> None:
    net = tuned(run, CANDIDATE, small_task, None, progress=QUIET)
    changed = _different(net, run.networks.extract(CANDIDATE))
    assert all("running" in name or "num_batches" in name for name in changed)
    assert any("running_mean" in name for name in changed)
    assert list(run.folder.iterdir()) == []
