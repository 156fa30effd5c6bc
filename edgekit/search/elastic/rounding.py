"""A folded network that computes as if its int8 blocks were int8, and can be trained so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnx import ModelProto
from torch import fx, nn

from edgekit.devices.networks.qdq import tensors_to_calibrate
from edgekit.search.elastic.analysis import operation
from edgekit.training.simulate import uint8_scale, weight_scales

_WITH_WEIGHTS = ("conv1d", "conv2d", "conv3d", "linear")
Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Rounding:
    """What is rounded in a network.

    Attributes:
        points: operations (or inputs) whose output is rounded to uint8.
        layers: operations whose weight is rounded to int8.
    """

    points: frozenset[str]
    layers: frozenset[str]


def rounding_of(net: fx.GraphModule, model: ModelProto, nodes: Iterable[str]) -> Rounding:
    """What ``insert_qdq`` would quantise, in terms of the graph that was exported.

    A tensor inside of what the exporter writes as several nodes is left out: training does not see
    it rounded.

    Args:
        net: folded.
        model: its export, nodes named ``<block>/<operation>``.
        nodes: names of those that are int8.
    """
    operations = {node.name: node for node in net.graph.nodes}
    inputs = [node.name for node in net.graph.nodes if node.op == "placeholder"]
    own = {model.graph.input[0].name: inputs[0]}
    chosen = list(nodes)
    found = [own.get(t, t.rpartition("/")[2]) for t in tensors_to_calibrate(model, chosen)]
    layers = {name.rpartition("/")[2] for name in chosen}
    return Rounding(
        frozenset(name for name in found if name in operations),
        frozenset(
            name
            for name in layers
            if name in operations and operation(operations[name]) in _WITH_WEIGHTS
        ),
    )


@torch.no_grad()
def ranges_of(
    net: fx.GraphModule, rounding: Rounding, batches: Iterable[torch.Tensor]
) -> dict[str, tuple[float, float]]:
    """Smallest and largest value at every point (MinMax calibration)."""
    found: dict[str, tuple[float, float]] = {}

    def visit(name: str, x: torch.Tensor) -> torch.Tensor:
        low, high = x.aminmax()
        before = found.get(name, (float("inf"), float("-inf")))
        found[name] = (min(before[0], float(low)), max(before[1], float(high)))
        return x

    for batch in batches:
        _Visitor(net, rounding.points, visit, {}).run(batch)
    return found


class Rounded(nn.Module):
    """A network with its int8 parts rounded; gradients pass the rounding as if it were not there.

    Uint8 with one scale and zero point per tensor, int8 weights with one scale per output channel,
    as ``insert_qdq`` writes them; weights are scaled anew in every run, ranges stay. Biases, which
    the runtime keeps in 32 bits, are not rounded.

    Args:
        net: folded; its parameters are those of this module.
        rounding: what is rounded.
        ranges: from ``ranges_of``.
        weight_max: largest magnitude of an int8 weight, 1..127.
    """

    def __init__(
        self, net: fx.GraphModule, rounding: Rounding, ranges: Ranges, weight_max: int
    ) -> None:
        super().__init__()
        self.net, self._rounding, self._weight_max = net, rounding, weight_max
        self._scales = {name: uint8_scale(*ranges[name]) for name in rounding.points}
        self._weights = {
            str(node.args[1].target): node.name
            for node in net.graph.nodes
            if node.name in rounding.layers and node.args[1].op == "get_attr"
        }

    def forward(self, x: torch.Tensor) -> Any:
        """As the network's."""
        weights = {
            target: rounded_weight(self.net.get_parameter(target), self._weight_max)
            for target in self._weights
        }
        return _Visitor(self.net, self._rounding.points, self._visit, weights).run(x)

    def _visit(self, name: str, x: torch.Tensor) -> torch.Tensor:
        scale, zero_point = self._scales[name]
        return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)


def rounded_weight(weight: torch.Tensor, weight_max: int) -> torch.Tensor:
    """A weight ``(out, ...)`` in int8 steps of each output channel; gradients pass."""
    without_bias = torch.zeros(len(weight), device=weight.device)
    scales = weight_scales(weight.detach(), without_bias, 1.0, weight_max=weight_max)
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(
        weight, scales, zeros, 0, -weight_max, weight_max
    )


class _Visitor(fx.Interpreter):
    """Runs a graph, passes what its points give through ``visit``, and takes other weights."""

    def __init__(
        self,
        net: fx.GraphModule,
        points: frozenset[str],
        visit: Any,
        weights: Mapping[str, torch.Tensor],
    ) -> None:
        super().__init__(net, garbage_collect_values=False)
        self._points, self._visit, self._instead = points, visit, weights

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        return self._visit(n.name, found) if n.name in self._points else found

    def fetch_attr(self, target: str) -> Any:
        return self._instead[target] if target in self._instead else super().fetch_attr(target)
