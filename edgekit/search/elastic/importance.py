"""Which channels of a group matter most: what a smaller choice keeps.

Both measures judge a channel by all that belongs to it, in every layer of its group, and compare
channels of one group only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekit.core.errors import InputError
from edgekit.search.elastic.analysis import attribute
from edgekit.search.elastic.network import ElasticNetwork

Orders = list[NDArray[np.int64]]
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def by_magnitude(elastic: ElasticNetwork) -> Orders:
    """Orders from the weights alone.

    The Euclidean norms of what belongs to a channel in each tensor, relative to their mean over
    the group, averaged over the tensors (Fang et al. 2023, arXiv 2301.12900, section 3.3, without
    its training). Biases and statistics have no part in it.

    Returns:
        Per group the channels, the most important first.
    """
    orders = []
    for group in elastic.structure.groups:
        scores = np.zeros(group.n_channels)
        for (name, axis), places in group.places.items():
            weight = attribute(elastic.source, name)
            if isinstance(weight, nn.Parameter) and weight.dim() > 1:
                norms = _sums(weight.detach().square(), axis)[places].sum(axis=1) ** 0.5
                scores += norms / max(float(norms.mean()), 1e-12)
        orders.append(np.argsort(-scores, kind="stable"))
    return orders


def by_taylor(
    elastic: ElasticNetwork, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], loss: Loss
) -> Orders:
    """Orders from how much the loss would change, to first order, without each channel.

    The sum of weight times gradient over what belongs to a channel in a tensor, squared, added up
    over tensors and batches (Molchanov et al. 2019, arXiv 1906.10771, equation 8). Squared tensor
    by tensor: the channels of a residual stage have many producers, whose changes would cancel.

    Args:
        elastic: its weights and choice are left as they are.
        batches: images and labels, for example of the calibration split; at least one.
        loss: of the network on a batch, to be differentiated.

    Returns:
        Per group the channels, the most important first.

    Raises:
        InputError: no batch.
    """
    groups = elastic.structure.groups
    scores = [np.zeros(group.n_channels) for group in groups]
    choice, was_training = elastic.choice, elastic.training
    elastic.choice = elastic.largest
    elastic.eval()
    n_batches = 0
    for n_batches, (x, y) in enumerate(batches, start=1):  # noqa: B007
        elastic.zero_grad()
        loss(elastic, x, y).backward()
        for total, group in zip(scores, groups, strict=True):
            for (name, axis), places in group.places.items():
                weight = attribute(elastic.source, name)
                if isinstance(weight, nn.Parameter) and weight.grad is not None:
                    change = _sums(weight.detach() * weight.grad, axis)[places].sum(axis=1)
                    total += change**2
    elastic.zero_grad()
    elastic.choice = choice
    elastic.train(was_training)
    if not n_batches:
        raise InputError("importance is judged on at least one batch, got none")
    return [np.argsort(-total, kind="stable") for total in scores]


def _sums(values: torch.Tensor, axis: int) -> NDArray[np.float64]:
    """Sums over all other axes."""
    others = [dim for dim in range(values.dim()) if dim != axis]
    sums = values.double().sum(others) if others else values.double()
    return np.asarray(sums.numpy())
