"""Encoder and decoder around a latent: convolutions and divisive normalisation."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.errors import InputError
from edgekit.split.codec import MAX_SIDE
from edgekit.split.patches import COLOURS, PatchRecipe, patch_decoder, patch_encoder

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


class _FixedGDN(nn.Module):
    """A GDN as it is exported: its parameters squared once."""

    def __init__(self, gdn: GDN) -> None:
        super().__init__()
        self.inverse = gdn.inverse
        with torch.no_grad():
            width = len(gdn.beta)
            self.norm = nn.Conv2d(width, width, 1)
            self.norm.weight.copy_(_squared(gdn.gamma, 0.0)[:, :, None, None])
            self.norm.bias.copy_(_squared(gdn.beta, _LEAST_BETA))  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm: torch.Tensor = self.norm(x.abs())
        return x * norm if self.inverse else x / norm


def fixed(net: nn.Sequential) -> nn.Sequential:
    """A copy for export, its normalisations with parameters as they are used."""
    layers = [_FixedGDN(layer) if isinstance(layer, GDN) else layer for layer in net]
    return copy.deepcopy(nn.Sequential(*layers)).eval()


def _squared(parameter: torch.Tensor, least: float) -> torch.Tensor:
    cut: torch.Tensor = _AtLeast.apply(parameter, (least + _PEDESTAL) ** 0.5)  # type: ignore[no-untyped-call]
    return cut.square() - _PEDESTAL


@dataclass(frozen=True, slots=True)
class BottleneckRecipe:
    """Sizes of an encoder and a decoder.

    Attributes:
        widths: channels of the encoder's two inner layers.
        channels: of the latent.
        kernel: side of the encoder's first two convolutions, odd.
        downscale: side of an image over that of the latent: 2, 4 or 8.
        decoder_width: channels of the decoder's inner layer.

    Raises:
        InputError: a size out of its range.
    """

    widths: tuple[int, int] = (96, 48)
    channels: int = 24
    kernel: int = 5
    downscale: int = 4
    decoder_width: int = 128

    def __post_init__(self) -> None:
        sizes = (*self.widths, self.channels, self.decoder_width)
        if min(sizes) < 1 or self.channels > MAX_SIDE:
            raise InputError(
                f"a bottleneck has widths above 0 and at most {MAX_SIDE} channels, got {sizes}"
            )
        if self.kernel % 2 != 1 or self.downscale not in (2, 4, 8):
            raise InputError(
                "a bottleneck has odd kernels and is 2, 4 or 8 times smaller than its images, got "
                f"kernels of {self.kernel} and {self.downscale}"
            )


SMALL = BottleneckRecipe((48, 32), 12, 5, 4, 128)
"""For images of 32 pixels."""

Recipe = BottleneckRecipe | PatchRecipe


def encoder(recipe: Recipe) -> nn.Sequential:
    """Images ``(batch, 3, side, side)`` to latents ``(batch, channels, side / downscale, ...)``.

    Of patches one convolution. Else as published: three convolutions without biases, simplified
    GDN after the first two. Strides of 2 from the first on, as many as the downscale has factors;
    the last kernel is 2x2 in the paper and 3x3 here, which keeps the size.
    """
    if isinstance(recipe, PatchRecipe):
        return patch_encoder(recipe)
    first, second = recipe.widths
    n_halved = recipe.downscale.bit_length() - 1
    strides = [2 if index < n_halved else 1 for index in range(3)]
    pad = recipe.kernel // 2
    return nn.Sequential(
        nn.Conv2d(3, first, recipe.kernel, strides[0], pad, bias=False),
        GDN(first),
        nn.Conv2d(first, second, recipe.kernel, strides[1], pad, bias=False),
        GDN(second),
        nn.Conv2d(second, recipe.channels, 3, strides[2], 1, bias=False),
    )


def decoder(recipe: Recipe, shape: tuple[int, int, int], side: int) -> nn.Sequential:
    """Latents to what the second half of a network takes.

    Patches become an image again. Else as published, three convolutions with inverse GDN between;
    where the latent is smaller than what is wanted, the last one makes the pixels of each place
    (Shi et al. 2016, arXiv 1609.05158).

    Args:
        recipe: sizes.
        shape: ``(channels, height, width)`` that is wanted.
        side: of the latent.

    Raises:
        InputError: the shape is no multiple of the latent's, or with patches not that of images.
    """
    channels, height, width = shape
    if isinstance(recipe, PatchRecipe):
        if shape != (COLOURS, recipe.downscale * side, recipe.downscale * side):
            raise InputError(
                f"patches are made images again, got {channels}x{height}x{width} to make; cut at "
                "the input"
            )
        return patch_decoder(recipe)
    factor = height // side
    if factor < 1 or (height, width) != (factor * side, factor * side):
        raise InputError(
            f"a latent is enlarged by a whole factor, got {side}x{side} for {height}x{width}; "
            "take another downscale or cut"
        )
    inner = recipe.decoder_width
    return nn.Sequential(
        nn.Conv2d(recipe.channels, inner, 3, 1, 1, bias=False),
        GDN(inner, inverse=True),
        nn.Conv2d(inner, inner, 3, 1, 1, bias=False),
        GDN(inner, inverse=True),
        nn.Conv2d(inner, channels * factor**2, 3, 1, 1, bias=False),
        nn.PixelShuffle(factor),
    )
