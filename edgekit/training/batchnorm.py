"""Batch-norm statistics of a sub-network, estimated anew on training images."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from edgekit.core.task import Preprocessing, Split
from edgekit.training.augment import to_tensor

_MAX_BATCH = 250


@torch.no_grad()
def reestimate(
    model: nn.Module, split: Split, preprocessing: Preprocessing, n_images: int
) -> None:
    """Replace running means and variances by those of ``n_images`` images of ``split``.

    Statistics inherited from a supernet belong to a mixture of networks and are useless for one of
    them (Yu & Huang 2019, arXiv 1903.05134). Batches are pooled: the variance is the mean of the
    variances within them plus the variance of their means. Leaves the model in evaluation mode.

    Args:
        model: module with ``BatchNorm2d`` layers, changed in place.
        split: training images, never validation or test.
        preprocessing: normalisation.
        n_images: how many, at least 2. They, and the images of each batch, are spread evenly over
            the split, whose order may follow the classes.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    pooled = [_Pooled(norm.num_features) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # The running statistics become those of the last batch.
    model.train()
    index = np.unique(np.linspace(0, len(split.labels) - 1, n_images).astype(np.int64))
    n_batches = math.ceil(len(index) / _MAX_BATCH)
    for part in (index[start::n_batches] for start in range(n_batches)):
        model(to_tensor(split.images[part], preprocessing))
        for norm, pool in zip(norms, pooled, strict=True):
            pool.add(norm, len(part) / len(index))
    for norm, momentum, pool in zip(norms, momenta, pooled, strict=True):
        pool.write_to(norm)
        norm.momentum = momentum
    model.eval()


class _Pooled:
    """Sums over batches: share times mean, and share times (variance + squared mean)."""

    def __init__(self, width: int) -> None:
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.square = torch.zeros(width, dtype=torch.float64)

    def add(self, norm: nn.BatchNorm2d, share: float) -> None:
        mean, variance = _statistics(norm)
        self.mean += share * mean.double()
        self.square += share * (variance.double() + mean.double() ** 2)

    def write_to(self, norm: nn.BatchNorm2d) -> None:
        mean, variance = _statistics(norm)
        mean.copy_(self.mean)
        variance.copy_(self.square - self.mean**2)


def _statistics(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
