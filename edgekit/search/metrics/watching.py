"""What goes on inside a network while it answers, whatever it is built of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_LAYERS = frozenset(
    {"conv1d", "conv2d", "conv3d", "convolution", "linear", "addmm", "matmul", "mm"}
)
_ACTIVATIONS = frozenset(
    {"relu", "relu6", "hardtanh", "leaky_relu", "gelu", "silu", "hardswish", "elu", "prelu"}
)
_NORMS = frozenset({"batch_norm", "native_batch_norm"})
_LEAST_AXES = 3


class _Between(TorchFunctionMode, ABC):
    """Stands between a network and the operations it calls."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Name an operation, with or without overload, in place or not, and hand it on."""
        name = getattr(func, "__name__", "").split(".")[0].rstrip("_")
        return self.run(name, partial(func, *args, **(kwargs or {})), args)

    @abstractmethod
    def run(self, name: str, func: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        """What an operation gives; ``func`` runs it."""


class Watch(_Between):
    """Inside, keeps what the layers of a network give; for modules and exported graphs alike.

    Attributes:
        layers: answers of convolutions and matrix products, in order, each with the second
            factor: a weight, or None where there is none.
        signs: ``(batch, units)`` bool, where the input of an activation is above zero.
        norm_inputs: what enters batch norms.
        features: the last answer that has places besides channels, such as what is pooled before
            the classifier; None before there is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[tuple[Any, torch.Tensor]] = []
        self.signs: list[torch.Tensor] = []
        self.norm_inputs: list[torch.Tensor] = []
        self.features: torch.Tensor | None = None

    def run(self, name: str, func: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        """Run an operation and keep what is asked for."""
        if name in _ACTIVATIONS:
            self.signs.append((args[0].detach() > 0).flatten(1))
        if name in _NORMS:
            self.norm_inputs.append(args[0])
        result = func()
        if name in _LAYERS:
            self.layers.append((args[1] if len(args) > 1 else None, result))
        if isinstance(result, torch.Tensor) and result.ndim >= _LEAST_AXES:
            self.features = result
        return result


class WithoutNorms(_Between):
    """Inside, batch norms pass on what enters them."""

    def run(self, name: str, func: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        """Run an operation, unless it is a batch norm."""
        return args[0] if name in _NORMS else func()


def weights_of(net: nn.Module) -> list[nn.Parameter]:
    """Filters and matrices of a network: every parameter of two axes and more."""
    return [p for p in net.parameters() if p.ndim > 1]
