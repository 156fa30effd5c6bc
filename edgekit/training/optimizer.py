"""The optimiser: Muon on the filters that mix channels, SGD on everything else.

After Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks": the momentum
of a matrix is replaced by the nearest orthogonal one, so that all its directions learn at one
speed. ``torch.optim.Muon`` has the same step, but takes matrices only (not the filters of a
convolution) and works in bfloat16, which most CPUs emulate; this one takes filters as they lie in
memory and works in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

MOMENTUM = 0.9
N_ITERATIONS = 4
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix of about the same singular vectors, its singular values between 0.5 and 1.3.

    Newton-Schulz iterations of the quintic that Jordan et al. chose for a steep start: it does
    not converge to 1, which does not matter for a step.

    Args:
        matrix: ``(rows, columns)`` float32; zeros stay zeros.

    Returns:
        float32 of the same shape.
    """
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(N_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum of 0.9; in groups marked ``orthogonal`` the step is made orthogonal.

    Such a step has spectral norm ``lr * sqrt(max(1, rows / columns))`` whatever the gradient, a
    filter ``(out, in, k, k)`` being a matrix of ``out`` rows. Every tensor has one state,
    ``momentum_buffer``.

    Args:
        groups: dictionaries of ``params``, ``lr``, ``weight_decay`` (coupled, added to the
            gradient) and ``orthogonal``.
    """

    def __init__(self, groups: list[dict[str, object]]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "orthogonal": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._move(parameters, group)

    def _move(self, parameters: list[torch.Tensor], group: dict[str, float]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._buffer(p) for p in parameters]
        if group["weight_decay"] and not group["orthogonal"]:
            decayed = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
            gradients = list(decayed)
        torch._foreach_mul_(buffers, MOMENTUM)
        torch._foreach_add_(buffers, gradients)
        steps = list(torch._foreach_add(gradients, buffers, alpha=MOMENTUM))
        if group["orthogonal"]:
            steps = [_filter_step(step) for step in steps]
        torch._foreach_add_(parameters, steps, alpha=-group["lr"])

    def _buffer(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: torch.Tensor = state["momentum_buffer"]
        return buffer


def _filter_step(step: torch.Tensor) -> torch.Tensor:
    matrix = step.flatten(1)
    scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    result = (orthogonalised(matrix) * scale).reshape(step.shape)
    return torch.empty_like(step).copy_(result)


class MuonAdam(torch.optim.Optimizer):
    """Muon on filters over several channels, Adam on everything else.

    For models with parameters of very different gradients, such as those of a distribution. States
    are kept as both keep them.

    Args:
        model: any module.
        learning_rate: of Adam.
        filter_rate: of Muon.
    """

    def __init__(self, model: nn.Module, learning_rate: float, filter_rate: float) -> None:
        filters = [p for p in model.parameters() if mixes_channels(p)]
        other = [p for p in model.parameters() if not mixes_channels(p)]
        self.parts = (
            Muon([{"params": filters, "lr": filter_rate, "orthogonal": True}]),
            torch.optim.Adam(other, learning_rate),
        )
        super().__init__([{"params": filters}, {"params": other}], {})
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        for part in self.parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        for part in self.parts:
            part.step()


OPTIMIZERS = ("muon", "adam", "sgd", "muon-adam")
"""Kinds: ``make_optimizer``; Adam; SGD with a momentum of 0.9; ``MuonAdam``."""


def optimizer_of(
    model: nn.Module, kind: str, learning_rate: float, filter_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """One of ``OPTIMIZERS``; those with Muon have a rate of its own for filters.

    Weights do not decay with ``muon-adam``.
    """
    if kind == "muon-adam":
        return MuonAdam(model, learning_rate, filter_rate)
    if kind == "adam":
        return torch.optim.Adam(model.parameters(), learning_rate, weight_decay=weight_decay)
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), learning_rate, MOMENTUM, 0, weight_decay)
    return make_optimizer(model, learning_rate, filter_rate, weight_decay)


def mixes_channels(parameter: nn.Parameter) -> bool:
    """Whether it holds the filters of a convolution over more than one input channel."""
    return parameter.ndim == 4 and parameter.shape[1] > 1


def make_optimizer(
    model: nn.Module, learning_rate: float, filter_rate: float, weight_decay: float
) -> Muon:
    """Muon for a model.

    Args:
        model: any module.
        learning_rate: of everything that is not a filter over several channels.
        filter_rate: spectral norm of the steps of those filters.
        weight_decay: on depthwise filters and matrices; batch norm and biases do not decay, and
            the size of a filter in front of a batch norm only sets its rate.
    """
    parameters = list(model.parameters())
    filters = [p for p in parameters if mixes_channels(p)]
    other = [p for p in parameters if p.ndim > 1 and not mixes_channels(p)]
    plain = [p for p in parameters if p.ndim <= 1]
    return Muon(
        [
            {"params": filters, "lr": filter_rate, "orthogonal": True},
            {"params": other, "lr": learning_rate, "weight_decay": weight_decay},
            {"params": plain, "lr": learning_rate},
        ]
    )
