"""Metrics of one backward pass on one batch: grad_norm, snip, fisher, grasp, synflow, int8 noise.

Definitions as in Abdelfattah et al. 2021 (arXiv 2101.08134), whose tables RoBoT (He et al. 2024,
arXiv 2403.07591) searches with.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.search.metrics.watching import Watch, WithoutNorms, weights_of

_WEIGHT_STEPS, _ANSWER_STEPS = 127, 255


@dataclass(frozen=True, slots=True)
class GradientMetrics:
    """What one forward pass and its gradients tell.

    Attributes:
        values: grad_norm, snip, fisher and grasp, by name.
        int8_noise: how much rounding a layer to int8 would add to the loss, by the name of its
            weight.
    """

    values: dict[str, float]
    int8_noise: dict[str, float]


def gradient_metrics(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> GradientMetrics:
    """grad_norm, snip, fisher, grasp and the noise of int8 from one forward pass.

    - ``grad_norm``: sum over layers of the 2-norm of the gradient of the loss (no paper of its
      own; arXiv 2101.08134, section 3.1).
    - ``snip``: sum of ``|w dL/dw|`` (Lee, Ajanthan & Torr 2019, arXiv 1810.02340).
    - ``fisher``: sum over channels of half the mean over images of ``(sum over places a
      dL/da)^2``, ``a`` what a layer answers (Theis et al. 2018, arXiv 1801.05787; Turner et al.
      2020, arXiv 1906.04113).
    - ``int8_noise`` after FIT (Zandonati et al. 2022, arXiv 2210.08502): the variance that
      rounding gives a weight (127 steps a side of an output channel) or an answer (255 steps over
      its range) times the squared gradient of the batch, summed over a layer.
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
    layers = [(weight, answer) for weight, answer in watch.layers if answer.requires_grad]
    answers = [answer for _, answer in layers]
    gradients = _gradients(loss, [*weights, *answers], create_graph=True)
    pairs = [(w, g) for w, g in zip(weights, gradients, strict=False) if g is not None]
    towards = gradients[len(weights) :]
    by_answer = [(a, g) for a, g in zip(answers, towards, strict=True) if g is not None]
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    noise = dict.fromkeys((names[id(w)] for w, _ in pairs), 0.0)
    with torch.no_grad():
        values = {
            "grad_norm": float(sum(g.norm() for _, g in pairs)),
            "snip": float(sum((w * g).abs().sum() for w, g in pairs)),
            "fisher": float(sum(_fisher(a, g) for a, g in by_answer)),
        }
        for weight, gradient in pairs:
            noise[names[id(weight)]] += _weight_noise(weight, gradient)
        for (weight, answer), towards_it in zip(layers, towards, strict=True):
            name = names.get(id(weight))
            if name in noise and towards_it is not None:
                noise[name] += _answer_noise(answer, towards_it)
    return GradientMetrics({**values, "grasp": _grasp(pairs)}, noise)


def _weight_noise(weight: torch.Tensor, gradient: torch.Tensor) -> float:
    step = weight.flatten(1).abs().amax(dim=1) / _WEIGHT_STEPS
    return float((step.square() / 12 * gradient.flatten(1).square().sum(dim=1)).sum())


def _answer_noise(answer: torch.Tensor, gradient: torch.Tensor) -> float:
    step = (answer.max() - answer.min()) / _ANSWER_STEPS
    return float(step.square() / 12 * gradient.square().sum())


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
