"""Binarised gates: one path at a time, chosen by parameters that learn.

Cai, Zhu & Han 2019 (ProxylessNAS, arXiv 1812.00332), sections 3.1 and 3.2, with the details of the
authors' code: two paths a point are compared, Adam without a first moment moves their two
parameters, and a shift of both keeps the probability of every other path as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekit.search.protocol.problem import Floats
from edgekit.search.proxyless.paths import Indices

_SECOND_MOMENT, _EPSILON = 0.999, 1e-8
_START = 1e-3


def softmax(alpha: Floats) -> Floats:
    """Probabilities of the paths of a point ``(paths,)``."""
    raised = np.exp(alpha - alpha.max())
    return np.asarray(raised / raised.sum())


def alpha_gradient(by_gate: Floats, probabilities: Floats) -> Floats:
    """Gradient by the parameters of a softmax from that by its probabilities.

    ``sum_j g_j p_j (delta_ij - p_i)``: equation 4 of the paper, which takes the gradient by the
    binary gates for that by the probabilities.

    Args:
        by_gate: ``(paths,)``.
        probabilities: ``(paths,)``, of the same parameters.
    """
    return np.asarray(probabilities * (by_gate - probabilities @ by_gate))


def rescaled(before: Floats, after: Floats) -> Floats:
    """The parameters ``(2,)`` of a pair after a step, shifted so that no other path is moved.

    The pair's sum of exponentials, hence its share of the probability, is what it was before.
    """
    return np.asarray(after - np.logaddexp(*after) + np.logaddexp(*before))


class Gates(nn.Module):
    """The parameters of every point, and Adam's memory of them. Buffers, so that they are kept.

    Args:
        sizes: paths of each point, at least 2.
        n_figures: limited figures, each with a price.
        seed: of the start, which is next to uniform.
    """

    alpha: torch.Tensor
    moment: torch.Tensor
    n_updates: torch.Tensor
    price: torch.Tensor

    def __init__(self, sizes: Sequence[int], n_figures: int, seed: int) -> None:
        super().__init__()
        self.ends = np.cumsum(sizes)[:-1]
        start = _START * np.random.default_rng(seed).standard_normal(sum(sizes))
        self.register_buffer("alpha", torch.from_numpy(start))
        self.register_buffer("moment", torch.zeros(sum(sizes), dtype=torch.float64))
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("price", torch.zeros(n_figures, dtype=torch.float64))

    def _apply(self, fn: Any, recurse: bool = True) -> Gates:
        """They stay in main memory, in float64, wherever the network goes."""
        return self

    def by_point(self, values: torch.Tensor) -> list[Floats]:
        """Views of a buffer, one for each point; writing to them writes to it."""
        return np.split(values.numpy(), self.ends)

    def probabilities(self) -> list[Floats]:
        """Of the paths of each point."""
        return [softmax(alpha) for alpha in self.by_point(self.alpha)]

    def most_probable(self) -> Indices:
        """The path of the highest parameter of each point ``(points,)``."""
        return np.array([int(alpha.argmax()) for alpha in self.by_point(self.alpha)])

    def pairs(self, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Two different paths of each point, and which of the two is active.

        Both are drawn by their probability, the active one by that of the two alone.

        Returns:
            ``(points, 2)`` paths; ``(points,)`` 0 or 1.
        """
        pairs = np.stack([_two(p, rng) for p in self.probabilities()])
        shares = self._shares(pairs)
        active = [int(rng.random() >= share[0]) for share in shares]
        return pairs, np.array(active)

    def move(self, pairs: Indices, by_gate: Sequence[Floats], rate: float) -> None:
        """One step of the two parameters of every point.

        Args:
            pairs: ``(points, 2)`` paths.
            by_gate: gradient by the gates of each pair ``(2,)``.
            rate: learning rate.
        """
        self.n_updates += 1
        correction = 1 - _SECOND_MOMENT ** int(self.n_updates)
        self.moment *= _SECOND_MOMENT
        shares = self._shares(pairs)
        points = zip(self.by_point(self.alpha), self.by_point(self.moment), pairs, strict=True)
        for (alpha, moment, pair), gates, share in zip(points, by_gate, shares, strict=True):
            gradient = alpha_gradient(gates, share)
            moment[pair] += (1 - _SECOND_MOMENT) * gradient**2
            step = gradient / (np.sqrt(moment[pair] / correction) + _EPSILON)
            alpha[pair] = rescaled(alpha[pair], alpha[pair] - rate * step)

    def move_all(self, by_alpha: Sequence[Floats], rate: float) -> None:
        """One step of every parameter, for gradients that all of them have."""
        self.n_updates += 1
        correction = 1 - _SECOND_MOMENT ** int(self.n_updates)
        gradient = torch.from_numpy(np.concatenate(by_alpha))
        self.moment.mul_(_SECOND_MOMENT).add_((1 - _SECOND_MOMENT) * gradient**2)
        self.alpha -= rate * gradient / ((self.moment / correction).sqrt() + _EPSILON)

    def _shares(self, pairs: Indices) -> list[Floats]:
        alphas = self.by_point(self.alpha)
        return [softmax(alpha[pair]) for alpha, pair in zip(alphas, pairs, strict=True)]


def _two(p: Floats, rng: np.random.Generator) -> Indices:
    """Two distinct paths by their probability; Gumbel's top two (a draw without replacement)."""
    noise = rng.gumbel(size=len(p))
    with np.errstate(divide="ignore"):
        return np.asarray(np.argsort(-(np.log(p) + noise))[:2])
