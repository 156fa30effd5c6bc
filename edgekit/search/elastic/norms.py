"""Batch-norm statistics of an extracted network, estimated anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from edgekit.core.errors import InputError
from edgekit.search.elastic.analysis import attribute
from edgekit.training.batchnorm import PooledMoments


@torch.no_grad()
def reestimate(net: fx.GraphModule, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running means and variances by those of some batches.

    The statistics of the source belong to all of its channels and branches, not to a part of them
    (Yu & Huang 2019, arXiv 1903.05134). Batches are pooled as in ``edgekit.training.batchnorm``.

    Args:
        net: from ``ElasticNetwork.extract``; changed in place.
        batches: training images, as the network takes them; at least one of two or more images.

    Raises:
        InputError: no batch.
    """
    pooled: dict[tuple[str, str], PooledMoments] = {}
    n_batches = 0
    for n_batches, batch in enumerate(batches, start=1):  # noqa: B007
        _Collector(net, pooled).run(batch)
    if not n_batches:
        raise InputError("statistics are estimated on at least one batch, got none")
    for names, pool in pooled.items():
        mean, variance = (attribute(net, name) for name in names)
        pool.write_to(mean, variance)


@contextmanager
def in_training(net: fx.GraphModule) -> Iterator[None]:
    """Inside, the batch norms of an extracted network use the statistics of the batch.

    Afterwards their running statistics are of no use before ``reestimate``.
    """
    norms = [n for n in net.graph.nodes if n.target is torch.ops.aten.batch_norm.default]
    try:
        for node in norms:
            node.update_arg(5, True)
        net.recompile()
        yield
    finally:
        for node in norms:
            node.update_arg(5, False)
        net.recompile()


class _Collector(fx.Interpreter):
    """Runs a network with the statistics of the batch, and adds them up."""

    def __init__(self, net: fx.GraphModule, pooled: dict[tuple[str, str], PooledMoments]) -> None:
        super().__init__(net)
        self._pooled = pooled

    def run_node(self, n: fx.Node) -> Any:
        if n.target is not torch.ops.aten.batch_norm.default:
            return super().run_node(n)
        (x, weight, bias, *_), _ = self.fetch_args_kwargs_from_env(n)
        mean, variance = n.args[3], n.args[4]
        assert isinstance(mean, fx.Node)
        assert isinstance(variance, fx.Node)
        names = (str(mean.target), str(variance.target))
        pool = self._pooled.setdefault(names, PooledMoments(x.shape[1]))
        found, centre = torch.var_mean(
            x.double(), [dim for dim in range(x.dim()) if dim != 1], correction=0
        )
        pool.add(centre, found, len(x))
        momentum, eps, cudnn = n.args[6:9]
        return torch.batch_norm(x, weight, bias, None, None, True, momentum, eps, cudnn)  # type: ignore[arg-type]
