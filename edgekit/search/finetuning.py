"""The network of a candidate: out of the supernet, then trained alone under the largest one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.networks import Networks
from edgekit.search.space import int8_blocks
from edgekit.training.checkpoint import load_weights, recipe_of, save_weights
from edgekit.training.loop import TrainRecipe

N_FINAL_NORM_IMAGES = 4000


def finetuned(
    networks: Networks,
    folder: Path,
    candidate: Candidate,
    task: Task,
    recipe: TrainRecipe | None,
    *,
    progress: Progress,
) -> nn.Module:
    """The candidate's network with weights of its own.

    It learns under the largest network of its space, or the original, or where neither was
    trained, from the labels. Weights are kept in the run folder by architecture and recipe:
    precision genes do not change them, and asking again loads them. An interrupted training goes
    on from its checkpoint.

    Args:
        networks: what the weights come from.
        folder: run folder.
        candidate: any candidate of the space.
        task: its training split is read.
        recipe: hyper-parameters; None keeps the weights of the supernet.
        progress: where the bar is drawn.

    Returns:
        The network in evaluation mode, batch-norm statistics re-estimated.
    """
    net = networks.extract(candidate)
    if recipe is None:
        networks.reestimate(net, task, N_FINAL_NORM_IMAGES)
        return net
    stem = _name(networks, candidate)
    done, checkpoint = (folder / f"{stem}.{part}" for part in ("safetensors", "part"))
    if done.is_file() and recipe_of(done) == recipe.text:
        net.load_state_dict(load_weights(done))
        return net.eval()
    if checkpoint.is_file() and recipe_of(checkpoint) != recipe.text:
        checkpoint.unlink()
    networks.finetune(net, task, recipe, progress=progress, checkpoint=checkpoint)
    networks.reestimate(net, task, N_FINAL_NORM_IMAGES)
    save_weights(done, net.state_dict(), recipe.text)
    checkpoint.unlink()
    return net


def fit_for_int8(
    networks: Networks,
    folder: Path,
    candidate: Candidate,
    net: nn.Module,
    task: Task,
    recipe: TrainRecipe,
    *,
    weight_max: int,
    tolerance: float,
    progress: Progress,
) -> tuple[nn.Module, str]:
    """Train a fine-tuned network on with int8 rounded, where int8 costs too much.

    Args:
        networks: what the weights came from.
        folder: run folder.
        candidate: says which blocks are int8.
        net: from ``finetuned``.
        task: training, calibration and validation splits are read.
        recipe: of the fine-tuning; a third of it, at a quarter of its rates, is trained.
        weight_max: largest magnitude of an int8 weight, 1..127.
        tolerance: share of the validation images, 0..1, that int8 may cost untrained.
        progress: where the bar is drawn.

    Returns:
        The network that is better in int8 on the validation split, and a note for people.
    """
    if not int8_blocks(networks.space, candidate):
        return net, ""
    gentle = replace(
        recipe,
        n_epochs=recipe.n_epochs / 3,
        learning_rate=recipe.learning_rate / 4,
        filter_rate=recipe.filter_rate / 4,
        seed=recipe.seed + 1,
    )
    precisions = "".join(map(str, candidate.genes[networks.space.n_architecture :]))
    return networks.fit_for_int8(
        net,
        candidate,
        task,
        gentle,
        weight_max=weight_max,
        tolerance=tolerance,
        done=folder / f"{_name(networks, candidate)}-int8-{precisions}.safetensors",
        progress=progress,
    )


def _name(networks: Networks, candidate: Candidate) -> str:
    return "finetuned-" + "-".join(map(str, candidate.genes[: networks.space.n_architecture]))
