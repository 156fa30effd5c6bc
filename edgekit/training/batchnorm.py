"""Batch-norm statistics of a sub-network, estimated anew on training images."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.core.task import Preprocessing, Split
from edgekit.training.augment import spread_batches


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
        n_images: how many, at least 2, spread evenly over the split.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    pooled = [PooledMoments(norm.num_features) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # The running statistics become those of the last batch.
    model.train()
    for batch in spread_batches(split, preprocessing, n_images):
        model(batch)
        for norm, pool in zip(norms, pooled, strict=True):
            pool.add(*_statistics(norm), len(batch))
    for norm, momentum, pool in zip(norms, momenta, pooled, strict=True):
        pool.write_to(*_statistics(norm))
        norm.momentum = momentum
    model.eval()


class PooledMoments:
    """Mean and variance over batches: that within them, and that of their means.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        self._mean = torch.zeros(width, dtype=torch.float64)
        self._square = torch.zeros(width, dtype=torch.float64)
        self._weight = 0.0

    def add(self, mean: torch.Tensor, variance: torch.Tensor, weight: float) -> None:
        """One batch: ``(width,)`` each, and how much it counts, for example its images."""
        self._mean += weight * mean.double()
        self._square += weight * (variance.double() + mean.double() ** 2)
        self._weight += weight

    def write_to(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Replace ``(width,)`` running statistics by those of all batches."""
        pooled = self._mean / self._weight
        mean.copy_(pooled)
        variance.copy_(self._square / self._weight - pooled**2)


def _statistics(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
