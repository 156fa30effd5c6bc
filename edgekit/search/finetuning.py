"""The network of a candidate: out of the supernet, then trained alone under the largest one."""

from __future__ import annotations

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.evaluate import N_NORM_IMAGES
from edgekit.search.network import MBConvNet
from edgekit.search.run import Run
from edgekit.training.batchnorm import reestimate
from edgekit.training.checkpoint import load_weights, recipe_of, save_weights
from edgekit.training.distil import distilling_objective
from edgekit.training.layers import folded
from edgekit.training.loop import TrainRecipe, train

N_FINAL_NORM_IMAGES = 4000


def finetuned(
    run: Run, candidate: Candidate, task: Task, recipe: TrainRecipe | None, *, progress: Progress
) -> MBConvNet:
    """The candidate's network with weights of its own.

    The largest network of the supernet teaches at first (see ``distilling_objective``). Weights
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
    net = run.net.extract(candidate)
    if recipe is None:
        reestimate(net, task.train, task.preprocessing, N_FINAL_NORM_IMAGES)
        return net
    stem = _name(run, candidate)
    done, checkpoint = (run.folder / f"{stem}.{part}" for part in ("safetensors", "part"))
    if done.is_file() and recipe_of(done) == recipe.text:
        net.load_state_dict(load_weights(done))
        return net.eval()
    if checkpoint.is_file() and recipe_of(checkpoint) != recipe.text:
        checkpoint.unlink()
    teacher = run.net.extract(run.space.largest())
    reestimate(teacher, task.train, task.preprocessing, N_NORM_IMAGES)
    objective = distilling_objective(net, folded(teacher), recipe.label_smoothing)
    train(
        net, objective, task, recipe, progress=progress, label="fine-tuning", checkpoint=checkpoint
    )
    reestimate(net, task.train, task.preprocessing, N_FINAL_NORM_IMAGES)
    save_weights(done, net.state_dict(), recipe.text)
    checkpoint.unlink()
    return net


def _name(run: Run, candidate: Candidate) -> str:
    operations = candidate.genes[: run.space.n_positions]
    return "finetuned-" + "-".join(map(str, operations))
