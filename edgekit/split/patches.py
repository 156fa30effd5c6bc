"""The smallest encoder there is: one convolution, begun as the principal components of patches.

images -> patches -> components in steps -> latent ~~ rounding ~~> images -> the whole network

What the Entropic Student learns from nothing in many steps, this starts with: a transform codec
(Goyal 2001, "Theoretical foundations of transform coding") whose images the network already
reads. Training then moves the transform, the steps and the network towards the classes. Decoders
may be large where encoders are weak: they run on the server.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.errors import InputError
from edgekit.split.codec import MAX_SIDE
from edgekit.split.prior import FactorisedPrior

COLOURS = 3


@dataclass(frozen=True, slots=True)
class PatchRecipe:
    """Sizes of an encoder of one convolution, and of its decoder.

    Attributes:
        channels: of the latent: components that are kept of a patch, at most three times its area.
        kernel: side of the convolution, the patch's or an even number more.
        downscale: side of a patch: 2, 4 or 8.
        decoder_width: channels of the decoder's two inner layers.
        step: of the quantiser in the beginning, in standard deviations of pixels, above 0.
        width: channels of a branch of three small convolutions that is added, 0 for none.

    Raises:
        InputError: a size out of its range.
    """

    channels: int = 24
    kernel: int = 8
    downscale: int = 4
    decoder_width: int = 64
    step: float = 0.7
    width: int = 0

    def __post_init__(self) -> None:
        if self.downscale not in (2, 4, 8):
            raise InputError(f"patches are 2, 4 or 8 pixels wide, got {self.downscale}")
        most = min(MAX_SIDE, COLOURS * self.downscale**2)
        if not 1 <= self.channels <= most:
            raise InputError(
                f"patches of {self.downscale} pixels have 1 to {most} components, got "
                f"{self.channels}"
            )
        more = self.kernel - self.downscale
        if more < 0 or more % 2 or min(self.width, self.decoder_width - 1) < 0:
            raise InputError(
                "an encoder of patches has a kernel of their side or an even number more, a width "
                "of 0 or more and a decoder of 1 or more channels, got "
                f"{self.kernel}, {self.width} and {self.decoder_width}"
            )
        if not 0 < self.step < float("inf"):
            raise InputError(f"a step is above 0, got {self.step}")


class SumOf(nn.Module):
    """What is linear of a decoder, and what it learns to add."""

    def __init__(self, linear: nn.Conv2d, added: nn.Sequential) -> None:
        super().__init__()
        self.linear, self.added = linear, added

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both of ``(batch, ...)``, added."""
        found: torch.Tensor = self.linear(x) + self.added(x)
        return found


def patch_encoder(recipe: PatchRecipe) -> nn.Sequential:
    """Images ``(n, 3, side, side)`` to latents ``(n, channels, side / downscale, ...)``."""
    side, width = recipe.downscale, recipe.width
    padding = (recipe.kernel - side) // 2
    conv = nn.Conv2d(COLOURS, recipe.channels, recipe.kernel, side, padding, bias=False)
    if not width:
        return nn.Sequential(conv)
    added = nn.Sequential(
        nn.Conv2d(COLOURS, width, side, side),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(width, recipe.channels, 1),
    )
    return nn.Sequential(SumOf(conv, added))


def patch_decoder(recipe: PatchRecipe) -> nn.Sequential:
    """Latents to images of the size they were made of."""
    inner, pixels = recipe.decoder_width, COLOURS * recipe.downscale**2
    added = nn.Sequential(
        nn.Conv2d(recipe.channels, inner, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(inner, inner, 3, 1, 1),
        nn.ReLU(),
        nn.Conv2d(inner, pixels, 3, 1, 1),
    )
    return nn.Sequential(
        SumOf(nn.Conv2d(recipe.channels, pixels, 1), added), nn.PixelShuffle(recipe.downscale)
    )


@torch.no_grad()
def begin(
    encoder: nn.Sequential,
    decoder: nn.Sequential,
    prior: FactorisedPrior,
    recipe: PatchRecipe,
    images: torch.Tensor,
) -> None:
    """Make them a transform codec of the principal components of images' patches.

    Args:
        encoder: of ``patch_encoder``; adds nothing in the beginning.
        decoder: of ``patch_decoder``; adds nothing in the beginning.
        prior: gets the spread of each component.
        recipe: of both.
        images: ``(n, 3, side, side)`` float32, some thousands of patches at least.
    """
    side, channels, kernel = recipe.downscale, recipe.channels, recipe.kernel
    patches = F.unfold(images, side, stride=side).transpose(1, 2).flatten(0, 1).double()
    _, vectors = torch.linalg.eigh(patches.T @ patches)
    components = vectors.flip(1)[:, :channels].float()
    outer, both = encoder[0], decoder[0]
    conv = outer.linear if isinstance(outer, SumOf) else outer
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(both, SumOf)
    first = (kernel - side) // 2
    inside = slice(first, first + side)
    conv.weight.zero_()
    conv.weight[:, :, inside, inside] = components.T.unflatten(1, (COLOURS, side, side)).div(
        recipe.step
    )
    both.linear.weight.copy_((components * recipe.step)[:, :, None, None])
    ends = [part.added[-1] for part in (outer, both) if isinstance(part, SumOf)]
    for parameter in (both.linear.bias, *(p for end in ends for p in end.parameters())):
        if parameter is not None:
            parameter.zero_()
    prior.spread(encoder(images).transpose(0, 1).flatten(1).std(dim=1))
