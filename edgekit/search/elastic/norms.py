"""Batch-norm statistics of an extracted network, estimated anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

from edgekit.search.elastic.analysis import attribute


@torch.no_grad()
def reestimate(net: fx.GraphModule, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running means and variances by those of some batches.

    The statistics of the source belong to all of its channels and branches, not to a part of them
    (Yu & Huang 2019, arXiv 1903.05134). Batches are pooled: the variance is the mean of the
    variances within them plus the variance of their means.

    Args:
        net: from ``ElasticNetwork.extract``; changed in place.
        batches: training images, as the network takes them; at least one of two or more images.
    """
    pooled: dict[str, _Pooled] = {}
    for batch in batches:
        _Collector(net, pooled).run(batch)
    for pool in pooled.values():
        pool.write()


class _Pooled:
    """Weighted sums over batches of one batch norm."""

    def __init__(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        self._targets = mean, variance
        self._mean, self._square = torch.zeros(2, len(mean), dtype=torch.float64)
        self._weight = 0

    def add(self, x: torch.Tensor) -> None:
        others = [dim for dim in range(x.dim()) if dim != 1]
        variance, mean = torch.var_mean(x.double(), others, correction=0)
        self._mean += len(x) * mean
        self._square += len(x) * (variance + mean**2)
        self._weight += len(x)

    def write(self) -> None:
        mean = self._mean / self._weight
        self._targets[0].copy_(mean)
        self._targets[1].copy_(self._square / self._weight - mean**2)


class _Collector(fx.Interpreter):
    """Runs a network with the statistics of the batch, and adds them up."""

    def __init__(self, net: fx.GraphModule, pooled: dict[str, _Pooled]) -> None:
        super().__init__(net)
        self._pooled = pooled

    def run_node(self, n: fx.Node) -> Any:
        if n.target is not torch.ops.aten.batch_norm.default:
            return super().run_node(n)
        (x, weight, bias, *_), _ = self.fetch_args_kwargs_from_env(n)
        mean, variance = n.args[3], n.args[4]
        assert isinstance(mean, fx.Node)
        assert isinstance(variance, fx.Node)
        key = str(mean.target)
        if key not in self._pooled:
            targets = (attribute(self.module, str(node.target)) for node in (mean, variance))
            self._pooled[key] = _Pooled(*targets)
        self._pooled[key].add(x)
        momentum, eps, cudnn = n.args[6:9]
        return torch.batch_norm(x, weight, bias, None, None, True, momentum, eps, cudnn)  # type: ignore[arg-type]
