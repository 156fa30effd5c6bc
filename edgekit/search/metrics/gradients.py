"""Metrics of one backward pass on one batch: grad_norm, snip, fisher, grasp, synflow.

Definitions as in Abdelfattah et al. 2021 (arXiv 2101.08134), whose tables RoBoT (He et al. 2024,
arXiv 2403.07591) searches with.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.search.metrics.watching import Watch, WithoutNorms, weights_of


def gradient_metrics(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    """grad_norm, snip, fisher and grasp from one forward pass.

    - ``grad_norm``: sum over layers of the 2-norm of the gradient of the loss (no paper of its
      own; arXiv 2101.08134, section 3.1).
    - ``snip``: sum of ``|w dL/dw|`` (Lee, Ajanthan & Torr 2019, arXiv 1810.02340).
    - ``fisher``: sum over channels of half the mean over images of ``(sum over places a
      dL/da)^2``, ``a`` what a layer answers (Theis et al. 2018, arXiv 1801.05787; Turner et al.
      2020, arXiv 1906.04113).
    - ``grasp``: minus the sum of ``w (H g)`` (Wang, Zhang & Grosse 2020, arXiv 2002.07376).

    Args:
        net: in training mode; its batch-norm statistics are changed.
        x: ``(batch, channels, height, width)`` float32.
        y: ``(batch,)`` int64.
    """
    weights = weights_of(net)
    with Watch() as watch:
        logits = net(x)
    loss = F.cross_entropy(logits, y)
    answers = [a for a in watch.layers if a.requires_grad]
    gradients = _gradients(loss, [*weights, *answers], create_graph=True)
    pairs = [(w, g) for w, g in zip(weights, gradients, strict=False) if g is not None]
    by_answer = zip(answers, gradients[len(weights) :], strict=True)
    with torch.no_grad():
        result = {
            "grad_norm": float(sum(g.norm() for _, g in pairs)),
            "snip": float(sum((w * g).abs().sum() for w, g in pairs)),
            "fisher": float(sum(_fisher(a, g) for a, g in by_answer if g is not None)),
        }
    return {**result, "grasp": _grasp(pairs)}


def _gradients(
    of: torch.Tensor, by: Sequence[torch.Tensor], *, create_graph: bool = False
) -> tuple[torch.Tensor | None, ...]:
    """None for what a value does not depend on."""
    if not (by and of.requires_grad):
        return (None,) * len(by)
    return torch.autograd.grad(of, by, create_graph=create_graph, allow_unused=True)


def _fisher(answer: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Channels on axis 1 of images, on the last axis of tokens and vectors."""
    product = answer * gradient
    axes = (2, 3) if product.ndim == 4 else tuple(range(1, product.ndim - 1))
    per_channel = product.sum(dim=axes) if axes else product
    return 0.5 * per_channel.square().mean(dim=0).sum()


def _grasp(pairs: list[tuple[nn.Parameter, torch.Tensor]]) -> float:
    used = [(w, g) for w, g in pairs if g.requires_grad]
    if not used:
        return float("nan")
    product = sum((g.detach() * g).sum() for _, g in used)
    assert isinstance(product, torch.Tensor)
    hessian = _gradients(product, [w for w, _ in used])
    with torch.no_grad():
        terms = [(w * h).sum() for (w, _), h in zip(used, hessian, strict=True) if h is not None]
        return -float(sum(terms))


def synflow(net: nn.Module, x: torch.Tensor) -> float:
    """Sum of ``|w dR/dw|``, where all weights are positive, the image all ones, norms left out.

    Tanaka et al. 2020 (arXiv 2006.05467), one pass, in float64: the product of many layers leaves
    the range of float32.

    Args:
        net: any; not changed.
        x: a batch, whose shape alone counts.
    """
    positive = copy.deepcopy(net).double().eval()
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    with WithoutNorms():
        answer = positive(torch.ones_like(x[:1], dtype=torch.float64)).sum()
    weights = weights_of(positive)
    gradients = _gradients(answer, weights)
    pairs = [(w, g) for w, g in zip(weights, gradients, strict=True) if g is not None]
    with torch.no_grad():
        return float(sum((w * g).abs().sum() for w, g in pairs)) if weights else float("nan")
