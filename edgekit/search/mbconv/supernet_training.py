"""Training a supernet into a run folder: the largest network first, then all of them together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.mbconv.supernet import Supernet, nested_objective, sandwich_objective
from edgekit.search.networks import WEIGHTS
from edgekit.training.checkpoint import load_weights, save_weights
from edgekit.training.loop import Objective, TrainRecipe, train
from edgekit.training.ranks import ALONE, Ranks

LARGEST_SHARE = 0.7


def train_supernet(
    space: MBConvSpace,
    task: Task,
    recipe: TrainRecipe,
    folder: Path,
    *,
    progress: Progress,
    ranks: Ranks = ALONE,
) -> Supernet:
    """Train, or go on training, or load the finished supernet of a run folder.

    Of ``recipe.n_epochs``, ``LARGEST_SHARE`` trains the largest network alone (the order of
    Once-for-All, arXiv 1908.09791: small networks learn from a good large one); the rest trains it
    together with sampled smaller ones at half the learning rate, because the sandwich adds two
    gradients. With ``recipe.sampling`` ``"nested"`` there is one part, of random networks.

    Args:
        space: the search space.
        task: only its training split is read.
        recipe: hyper-parameters of both parts; epochs are counted over both.
        folder: run folder; checkpoints and ``supernet.safetensors`` are written there.
        progress: where bars are drawn.
        ranks: this process among those that train together; the first writes files.

    Returns:
        The supernet with averaged weights.
    """
    torch.manual_seed(recipe.seed)
    net = Supernet(space).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(net, Supernet)
    done = folder / WEIGHTS
    if done.is_file():
        try:
            net.load_state_dict(load_weights(done))
        except RuntimeError as error:
            raise InputError(
                f"a supernet must have the shapes of its space, {done} has others: take one of "
                f"the same data and resolution ({str(error).splitlines()[0]})"
            ) from error
        return net
    for name, phase, objective in _phases(net, recipe):
        label = f"supernet: {name}"
        checkpoint = folder / f"supernet-{name}.safetensors"
        train(
            net,
            objective,
            task,
            phase,
            progress=progress,
            label=label,
            checkpoint=checkpoint,
            ranks=ranks,
        )
    if not ranks.is_first:
        return net
    save_weights(done, net.state_dict(), recipe.text)
    for name, *_ in _phases(net, recipe):
        (folder / f"supernet-{name}.safetensors").unlink()
    return net


def _phases(net: Supernet, recipe: TrainRecipe) -> list[tuple[str, TrainRecipe, Objective]]:
    smoothing = recipe.label_smoothing
    if recipe.sampling == "nested":
        return [("nested", recipe, nested_objective(net, smoothing))]
    alone = replace(recipe, n_epochs=recipe.n_epochs * LARGEST_SHARE)
    together = replace(
        recipe,
        n_epochs=recipe.n_epochs - alone.n_epochs,
        learning_rate=recipe.learning_rate / 2,
        filter_rate=recipe.filter_rate / 2,
        seed=recipe.seed + 1,
    )
    return [
        ("largest", alone, sandwich_objective(net, smoothing, 0)),
        ("sandwich", together, sandwich_objective(net, smoothing, 1)),
    ]
