"""The factorised prior: for each channel of a latent, how probable its values are.

noise in training -> bits -> tables of integers, once, for the coder
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from edgekit.split.codec import MAX_SYMBOL, PRECISION, Tables

_WIDTHS = (1, 3, 3, 3, 3, 1)
_SCALE = 10.0
_TAIL_MASS = 1e-9
_LEAST = 1e-9
_NARROWEST = 0.3
_N_HALVED = 48


class FactorisedPrior(nn.Module):
    """A distribution function per channel, monotone by construction, and its quantiles.

    Ballé et al. 2018 (arXiv 1802.01436, appendix 6.1), as the Entropic Student takes it: four
    layers of three units, and the probability of a value is that of the interval of length 1
    around it. The quantiles (of the tail, 1/2, and one minus the tail) are learnt by a loss of
    their own; the middle one is what rounding is done around.

    Args:
        channels: of the latent.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        scale = _SCALE ** (1 / (len(_WIDTHS) - 1))
        self.matrices, self.biases = nn.ParameterList(), nn.ParameterList()
        self.factors = nn.ParameterList()
        for n_in, n_out in pairwise(_WIDTHS):
            start = math.log(math.expm1(1 / scale / n_out))
            self.matrices.append(nn.Parameter(torch.full((channels, n_out, n_in), start)))
            self.biases.append(nn.Parameter(torch.rand(channels, n_out, 1) - 0.5))
            if n_out > 1:
                self.factors.append(nn.Parameter(torch.zeros(channels, n_out, 1)))
        ends = torch.tensor([-_SCALE, 0.0, _SCALE])
        self.quantiles = nn.Parameter(ends.repeat(channels, 1))

    @torch.no_grad()
    def spread(self, deviations: torch.Tensor) -> None:
        """Begin with channels of these standard deviations ``(channels,)`` instead of 10 all."""
        wide = deviations.clamp(min=_NARROWEST)
        first = F.softplus(self.matrices[0]) * (_SCALE / wide)[:, None, None]
        self.matrices[0].copy_(first.expm1().log())
        self.quantiles.copy_(torch.stack([-_SCALE * wide, 0 * wide, _SCALE * wide], dim=1))

    @torch.no_grad()
    def settle(self) -> None:
        """Find the quantiles of the distribution as it is, by halving intervals."""
        wanted = self._wanted()
        low = torch.full_like(self.quantiles, -float(MAX_SYMBOL))
        high = -low
        for _ in range(_N_HALVED):
            middle = (low + high) / 2
            is_below = self.logits(middle) < wanted
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        self.quantiles.copy_((low + high) / 2)

    @property
    def medians(self) -> torch.Tensor:
        """``(channels,)``, without a gradient."""
        return self.quantiles[:, 1].detach()

    def logits(self, values: torch.Tensor, *, frozen: bool = False) -> torch.Tensor:
        """Logit of the distribution function.

        Args:
            values: ``(channels, n)``.
            frozen: without gradients by the parameters of the function.
        """
        x = values[:, None]
        for index, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            factor = self.factors[index] if index < len(self.factors) else None
            if frozen:
                matrix, bias = matrix.detach(), bias.detach()
                factor = None if factor is None else factor.detach()
            x = F.softplus(matrix) @ x + bias
            if factor is not None:
                x = x + torch.tanh(factor) * torch.tanh(x)
        return x[:, 0]

    def bits(self, latent: torch.Tensor) -> torch.Tensor:
        """What a latent ``(batch, channels, height, width)`` would take: a scalar, in bits."""
        values = latent.transpose(0, 1).flatten(1)
        return -self.probabilities(values).clamp(min=_LEAST).log2().sum()

    def probabilities(self, values: torch.Tensor) -> torch.Tensor:
        """Of the intervals of length 1 around values ``(channels, n)``."""
        low, high = self.logits(values - 0.5), self.logits(values + 0.5)
        # On the side of zero where the function is small, or the difference would be lost.
        sign = -torch.sign(low + high).detach()
        return (torch.sigmoid(sign * high) - torch.sigmoid(sign * low)).abs()

    def quantile_loss(self) -> torch.Tensor:
        """Distance of the quantiles from where they should be; moves nothing else."""
        return (self.logits(self.quantiles, frozen=True) - self._wanted()).abs().sum()

    def _wanted(self) -> torch.Tensor:
        """Logits of the three quantiles."""
        tail = math.log(2 / _TAIL_MASS - 1)
        return self.quantiles.new_tensor([-tail, 0.0, tail])

    @torch.no_grad()
    def tables(self, model: str, shape: tuple[int, int, int]) -> Tables:
        """Integer tables for the coder; made once, after the last step of the prior.

        Args:
            model: what they belong to.
            shape: of a latent.

        Raises:
            ValueError: a channel spreads over more symbols than the coder has.
        """
        quantiles = self.quantiles.double().cpu().numpy()
        medians = self.medians.cpu().numpy().astype(np.float32)
        lowest = np.floor(quantiles[:, 0] - quantiles[:, 1]).astype(np.int64)
        highest = np.ceil(quantiles[:, 2] - quantiles[:, 1]).astype(np.int64)
        if (highest - lowest).max() >= 2**16 or max(-lowest.min(), highest.max()) > MAX_SYMBOL:
            raise ValueError(
                f"a channel has at most {2**16} symbols, got {(highest - lowest).max() + 1}; "
                "train the quantiles longer"
            )
        n = int((highest - lowest).max()) + 1
        first = torch.from_numpy(lowest)[:, None]
        symbols = (first + torch.arange(n)).float() + torch.from_numpy(medians)[:, None]
        found = self.probabilities(symbols.to(self.quantiles.device)).double().cpu().numpy()
        rows = zip(found, (highest - lowest + 1).tolist(), strict=True)
        counts = tuple(integer_counts(row[:length]) for row, length in rows)
        return Tables(model, shape, medians, lowest.astype(np.int32), counts)


def integer_counts(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Probabilities of symbols, and what is left for all others, in ``2**-PRECISION``.

    Each gets one at least; what rounding leaves over goes to the largest.
    """
    rest = max(0.0, 1.0 - float(probabilities.sum()))
    shares = np.append(probabilities, rest)
    total = 2**PRECISION
    rounded = np.rint(shares / shares.sum() * (total - len(shares)))
    counts: NDArray[np.int64] = np.maximum(1, rounded).astype(np.int64)
    counts[counts.argmax()] += total - int(counts.sum())
    return counts
