"""Encoder and decoder around a latent: convolutions and divisive normalisation."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

_PEDESTAL = 2.0**-36
_LEAST_BETA = 1e-6


class _AtLeast(torch.autograd.Function):
    """Values cut off below; the gradient still passes where it leads back above."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bound: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


class GDN(nn.Module):
    """Simplified generalised divisive normalisation (Johnston et al. 2019, arXiv 1912.08771).

    ``x / (beta + gamma |x|)``, with a matrix gamma over channels; the inverse multiplies. Both
    parameters are squares of what is trained, so that they stay above 0.

    Args:
        width: channels.
        inverse: multiply instead.
    """

    def __init__(self, width: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter((torch.ones(width) + _PEDESTAL).sqrt())
        self.gamma = nn.Parameter((0.1 * torch.eye(width) + _PEDESTAL).sqrt())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, width, height, width)`` to the same shape."""
        beta = _squared(self.beta, _LEAST_BETA)
        gamma = _squared(self.gamma, 0.0)
        norm = F.conv2d(x.abs(), gamma[:, :, None, None], beta)
        return x * norm if self.inverse else x / norm


def _squared(parameter: torch.Tensor, least: float) -> torch.Tensor:
    cut: torch.Tensor = _AtLeast.apply(parameter, (least + _PEDESTAL) ** 0.5)  # type: ignore[no-untyped-call]
    return cut.square() - _PEDESTAL
