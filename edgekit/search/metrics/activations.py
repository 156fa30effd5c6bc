"""Metrics of what a network answers to several inputs: jacob_cov, naswot, zen."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from edgekit.search.metrics.watching import Watch

_K = 1e-5
_ZEN_STEP = 0.01


def jacob_cov(net: nn.Module, x: torch.Tensor) -> float:
    """How little the input gradients of a batch resemble each other, higher is better.

    Mellor et al. 2021, first version (arXiv 2006.04647v1): minus the sum over the eigenvalues
    ``v`` of their correlation matrix of ``log(v + k) + 1 / (v + k)``, ``k = 1e-5``.

    Args:
        net: in training mode; its batch-norm statistics are changed.
        x: ``(batch, channels, height, width)`` float32.
    """
    x = x.clone().requires_grad_()
    answer = net(x)
    if not answer.requires_grad:
        return float("nan")
    (jacobian,) = torch.autograd.grad(answer.sum(), x, allow_unused=True)
    if jacobian is None:
        return float("nan")
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    if not bool(torch.isfinite(correlation).all()):
        return float("nan")
    values = torch.linalg.eigvalsh(correlation)
    return -float((torch.log(values + _K) + 1 / (values + _K)).sum())


def naswot(net: nn.Module, x: torch.Tensor) -> float:
    """Log determinant of how often two images switch a unit alike, higher is better.

    Mellor et al. 2021 (arXiv 2006.04647): the matrix counts the activations whose inputs have the
    same sign. Where units are not rectified (GELU, SiLU), the sign of their input counts.

    Args:
        net: in training mode; its batch-norm statistics are changed.
        x: ``(batch, channels, height, width)`` float32.
    """
    with torch.no_grad(), Watch() as watch:
        net(x)
    if not watch.signs:
        return float("nan")
    alike = torch.zeros(len(x), len(x), dtype=torch.float64)
    for signs in watch.signs:
        on = signs.float()
        alike += (on @ on.T + (1 - on) @ (1 - on).T).double()
    sign, log_determinant = torch.linalg.slogdet(alike)
    return float(log_determinant) if float(sign) > 0 else float("nan")


def zen(net: nn.Module, x: torch.Tensor, generator: torch.Generator) -> float:
    """How much a small change of a random image changes the features, higher is better.

    Lin et al. 2021 (arXiv 2102.01063, algorithm 1), one draw: weights and images are Gaussian, the
    change is a hundredth of an image, and what the batch norms divide by is multiplied back.

    Args:
        net: any; not changed.
        x: a batch, whose shape alone counts.
        generator: of weights and images.
    """
    gaussian = copy.deepcopy(net).train()
    with torch.no_grad():
        for parameter in gaussian.parameters():
            if parameter.ndim > 1:
                parameter.normal_(generator=generator)
        image = torch.randn(x.shape, generator=generator)
        change = torch.randn(x.shape, generator=generator)
        with Watch() as first:
            gaussian(image)
        with Watch() as second:
            gaussian(image + _ZEN_STEP * change)
        if first.features is None or second.features is None:
            return float("nan")
        difference = (first.features - second.features).abs().mean()
        deviations = [_deviation(entering) for entering in first.norm_inputs]
        logs = [math.log(value) for value in deviations if value > 0]  # 0 behind a dead branch
        return math.log(difference) + sum(logs) if difference > 0 else float("nan")


def _deviation(x: torch.Tensor) -> float:
    """Root of the mean variance of the channels."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    return float(x.var(dim=axes, unbiased=False).mean().sqrt())
