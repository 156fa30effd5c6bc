"""The network of a candidate: out of the supernet, then trained alone under the largest one."""

from __future__ import annotations

from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.run import Run
from edgekit.training.checkpoint import load_weights, recipe_of, save_weights
from edgekit.training.loop import TrainRecipe

N_FINAL_NORM_IMAGES = 4000


def finetuned(
    run: Run, candidate: Candidate, task: Task, recipe: TrainRecipe | None, *, progress: Progress
) -> nn.Module:
    """The candidate's network with weights of its own.

    It learns under the largest network of its space, or the original. Weights
    are kept in the run folder by architecture and recipe: precision genes do not change them, and
    asking again loads them. An interrupted training goes on from its checkpoint.

    Args:
        run: a finished search.
        candidate: any candidate of its space.
        task: its training split is read.
        recipe: hyper-parameters; None keeps the weights of the supernet.
        progress: where the bar is drawn.

    Returns:
        The network in evaluation mode, batch-norm statistics re-estimated.
    """
    networks = run.networks
    net = networks.extract(candidate)
    if recipe is None:
        networks.reestimate(net, task, N_FINAL_NORM_IMAGES)
        return net
    stem = _name(run, candidate)
    done, checkpoint = (run.folder / f"{stem}.{part}" for part in ("safetensors", "part"))
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


def _name(run: Run, candidate: Candidate) -> str:
    return "finetuned-" + "-".join(map(str, candidate.genes[: run.space.n_architecture]))
