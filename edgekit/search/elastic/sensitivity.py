"""How much each choice alone changes the answers of an elastic network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.search.elastic.space import ElasticSpace
from edgekit.training.autocast import fast_products


@torch.no_grad()
def measure_harms(
    space: ElasticSpace, batches: Sequence[torch.Tensor], *, progress: Progress
) -> NDArray[np.float64]:
    """Mean divergence from the largest network's answers, one gene at a time.

    The Kullback-Leibler divergence of the softmax, in nats, with the statistics of the batch in
    batch norms. The sum over the genes of a network says well which of two is better, before any
    has been measured (the idea of a sensitivity map; NVIDIA's FastNAS searches on one).

    Args:
        space: its network's weights and choice are left as they are.
        batches: images, for example of the calibration split; at least one.
        progress: where the bar is drawn.

    Returns:
        ``(architecture genes, most choices)`` float64, 0 for what the largest network has.
    """
    elastic, largest = space.elastic, space.largest()
    choice, was_training = elastic.choice, elastic.training
    harms = np.zeros((space.n_architecture, max(space.n_choices)))
    moves = [
        (gene, value)
        for gene, n in enumerate(space.n_choices[: space.n_architecture])
        for value in range(n)
        if value != largest.genes[gene]
    ]
    elastic.train()
    try:
        elastic.choice = space.decode(largest)
        wanted = [_log_softmax(elastic, x) for x in batches]
        with progress.track(len(moves), "sensitivity of every choice") as update:
            for index, (gene, value) in enumerate(moves):
                genes = list(largest.genes)
                genes[gene] = value
                elastic.choice = space.decode(Candidate(tuple(genes)))
                pairs = zip(wanted, batches, strict=True)
                found = [_divergence(want, _log_softmax(elastic, x)) for want, x in pairs]
                harms[gene, value] = max(0.0, float(np.mean(found)))
                update(index + 1)
    finally:
        elastic.choice = choice
        elastic.train(was_training)
    return harms


def _log_softmax(elastic: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with fast_products():
        logits: torch.Tensor = elastic(x)
    return logits.float().log_softmax(dim=1)


def _divergence(wanted: torch.Tensor, found: torch.Tensor) -> float:
    return float((wanted.exp() * (wanted - found)).sum(dim=1).mean())
