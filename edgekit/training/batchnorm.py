"""Batch-norm statistics of a sub-network, estimated anew on training images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from edgekit.core.task import Preprocessing, Split
from edgekit.training.augment import evaluation_batches


@torch.no_grad()
def reestimate(
    model: nn.Module, split: Split, preprocessing: Preprocessing, n_images: int
) -> None:
    """Replace running means and variances by the average over ``n_images`` images of ``split``.

    Statistics inherited from a supernet belong to a mixture of networks and are useless for one of
    them (Yu & Huang 2019, arXiv 1903.05134). Leaves the model in evaluation mode.

    Args:
        model: module with ``BatchNorm2d`` layers, changed in place.
        split: training images, never validation or test.
        preprocessing: normalisation.
        n_images: how many, spread evenly over the split, whose order may follow the classes.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    index = np.unique(np.linspace(0, len(split.labels) - 1, n_images).astype(np.int64))
    part = Split(split.images[index], split.labels[index])
    for x, _ in evaluation_batches(part, preprocessing):
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
