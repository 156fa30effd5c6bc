"""A candidate as an ONNX network, written directly: fast enough for every measured candidate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from edgekit.core.candidate import Candidate
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.qdq import insert_qdq, tensors_to_calibrate, typical_ranges
from edgekit.search.mbconv.space import Architecture, MBConvSpace
from edgekit.search.space import int8_blocks
from edgekit.training.simulate import Ranges


def candidate_model(
    space: MBConvSpace,
    candidate: Candidate,
    weights: Mapping[str, torch.Tensor] | None = None,
    ranges: Ranges | None = None,
    *,
    weight_max: int = FULL_WEIGHT_MAX,
) -> ModelProto:
    """The network the runtime would be given for a candidate, int8 blocks in QDQ form.

    Speed does not depend on the values of weights and ranges, so both may be left out where only
    speed matters.

    Args:
        space: the space of the candidate.
        candidate: any candidate of it.
        weights: state of the folded ``MBConvNet`` of the candidate; None for random weights.
        ranges: from ``edgekit.training.simulate.record_ranges``; None for typical ones.
        weight_max: largest magnitude of an int8 weight, 1..127.

    Returns:
        A model with input ``(1, 3, r, r)`` and output ``(1, n_classes)``; node names begin with
        ``<block>/``.
    """
    writer = _CandidateWriter(space, space.decode(candidate), weights)
    model = writer.write()
    int8 = set(int8_blocks(space, candidate))
    nodes = [node.name for node in model.graph.node if node.name.split("/")[0] in int8]
    if ranges is None:
        known = typical_ranges(model, nodes)
    else:
        known = {t: ranges[writer.points[t]] for t in tensors_to_calibrate(model, nodes)}
    return insert_qdq(model, nodes, known, weight_max=weight_max)


class _CandidateWriter:
    """Writes the blocks and remembers which simulation point each tensor is."""

    def __init__(
        self,
        space: MBConvSpace,
        architecture: Architecture,
        weights: Mapping[str, torch.Tensor] | None,
    ) -> None:
        self.recipe, self.architecture, self.weights = space.recipe, architecture, weights
        side = space.recipe.resolution
        self.graph = GraphBuilder("mbconv", (1, 3, side, side))
        self.points: dict[str, str] = {"input": "stem.in"}

    def write(self) -> ModelProto:
        graph, recipe = self.graph, self.recipe
        with graph.block("stem"):
            x = self._unit(graph.input, "stem.conv", recipe.stem_width, 3, recipe.stem_stride)
            x = self._unit(x, "stem.depthwise", recipe.stem_width, 3, depthwise=True)
            x = self._unit(x, "stem.project", recipe.first_width, 1, act=None)
        for block in self.architecture.active():
            assert block.operation is not None
            position, (kernel, expansion) = block.position, block.operation
            name, mid = position.name, position.in_width * expansion
            with graph.block(name):
                y = self._unit(x, f"{name}.expand", mid, 1)
                y = self._unit(
                    y, f"{name}.depthwise", mid, kernel, position.stride, depthwise=True
                )
                y = self._unit(y, f"{name}.project", position.out_width, 1, act=None)
                if position.may_skip:
                    y = graph.add(x, y)
                    self.points[y] = f"{name}.out"
            x = y
        with graph.block("head"):
            x = self._unit(x, "head.conv", recipe.head_width, 1)
            x = graph.global_pool(x)
            self.points[x] = "head.pool"
            x = graph.flatten(x)
            weight, bias = (
                self._array("head.classifier.weight"),
                self._array("head.classifier.bias"),
            )
            x = graph.linear(x, recipe.n_classes, weight=weight, bias=bias)
        return graph.build(x)

    def _unit(
        self,
        x: str,
        point: str,
        width: int,
        kernel: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
        act: str | None = "relu6",
    ) -> str:
        block, _, unit = point.partition(".")
        path = point if block in ("stem", "head") else f"blocks.{point}"
        weight, bias = self._array(f"{path}.conv.weight"), self._array(f"{path}.conv.bias")
        y = self.graph.conv(
            x,
            width,
            kernel,
            stride=stride,
            groups=width if depthwise else 1,
            act=act,
            weight=weight,
            bias=bias,
            name=unit,
        )
        self.points[y] = point
        return y

    def _array(self, name: str) -> NDArray[np.float32] | None:
        return None if self.weights is None else self.weights[name].numpy()
