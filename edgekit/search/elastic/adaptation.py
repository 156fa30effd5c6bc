"""Training an elastic network so that its smaller choices work, under its untouched original."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.precision import Precision
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.elastic.teaching import TEMPERATURE
from edgekit.search.space import uniform_precision
from edgekit.training.autocast import fast_products
from edgekit.training.loop import Objective, Step
from edgekit.training.losses import cross_entropy, distillation


def adapting_objective(
    space: ElasticSpace,
    teacher: nn.Module,
    smoothing: float,
    *,
    n_random: int = 2,
    sampling: str = "sandwich",
) -> Objective:
    """Gradients of several choices added up in one step.

    ``sandwich``: the largest, the smallest and random ones; all learn from the original, which
    does not change, where the paper takes the largest of the step.

    Args:
        space: of the network that is trained.
        teacher: the original; images to logits. Put into evaluation mode here.
        smoothing: label smoothing, 0..1.
        n_random: random choices a step, 1 or more.
        sampling: one of ``edgekit.training.loop.SAMPLINGS``.

    Returns:
        An objective for ``edgekit.training.loop.train``.
    """
    teacher.eval()
    elastic = space.elastic

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        genes = uniform_precision(space, space.sample(n_random, step.rng), Precision.FP32)
        drawn = [Candidate(tuple(row)) for row in genes.tolist()]
        losses = []
        if sampling == "nested":
            for candidate in drawn:
                elastic.choice = space.decode(candidate)
                with fast_products():
                    logits = elastic(x)
                losses.append(cross_entropy(logits.float(), y, smoothing) / n_random)
                losses[-1].backward()
            return float(sum(loss.detach() for loss in losses))
        with torch.no_grad(), fast_products():
            target = teacher(x).float()
        for candidate in (space.largest(), space.smallest(), *drawn):
            elastic.choice = space.decode(candidate)
            with fast_products():
                logits = elastic(x)
            loss = distillation(logits.float(), target, TEMPERATURE)
            loss.backward()
            losses.append(loss.detach())
        return float(sum(losses) / len(losses))

    return objective
