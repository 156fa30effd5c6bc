"""A smaller network learns from its original: by the answers, and by what enters its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import fx, nn

from edgekit.search.elastic.analysis import is_layer
from edgekit.search.elastic.capture import with_outputs
from edgekit.search.elastic.network import Choice, ElasticNetwork
from edgekit.training.autocast import fast_products
from edgekit.training.loop import Objective, Step
from edgekit.training.losses import cross_entropy, distillation

TEMPERATURE = 4.0
"""Of the original's answers: on its own training images it is nearly sure of every one."""
_LABELS_SHARE = 0.1
_HINTS_SHARE = 3.0
_MOST_HINTS = 4
_LEAST = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Hint:
    """A place where both networks should carry the same tensor.

    Attributes:
        layer: whose input it is, in both graphs.
        left: coordinates of the original's tensor that the smaller network has, by axis.
    """

    layer: str
    left: Mapping[int, torch.Tensor]

    def part_of(self, theirs: torch.Tensor) -> torch.Tensor:
        """What of the original's tensor the smaller network should carry."""
        for axis, index in self.left.items():
            theirs = theirs.index_select(axis, index.to(theirs.device))
        return theirs


def hints(elastic: ElasticNetwork, choice: Choice, teacher: fx.GraphModule) -> list[Hint]:
    """At most four inputs of layers that no choice leaves out, spread over the depth.

    In a residual network these are the ends of its stages. A tensor whose channels the teacher has
    not, because it is a network of other widths, gives none.

    Args:
        elastic: of the smaller network.
        choice: of the smaller network.
        teacher: has the layers under the same names.
    """
    inside = {name for branch in elastic.structure.branches for name in branch.nodes}
    theirs = {node.name: node for node in teacher.graph.nodes}
    found = []
    for node in elastic.source.graph.nodes:
        if not is_layer(node) or node.name in inside or node.name not in theirs:
            continue
        given, other = _given(node), _given(theirs[node.name])
        if given.op == "placeholder" or other.meta["val"].shape[1:] != given.meta["val"].shape[1:]:
            continue
        found.append(Hint(node.name, elastic.kept(choice, given.name)))
    places = np.unique(np.linspace(0, len(found) - 1, min(_MOST_HINTS, len(found))).astype(int))
    return [found[place] for place in places]


def _given(layer: fx.Node) -> fx.Node:
    """What a layer multiplies by its weights, which may stand first."""
    return next(node for node in layer.all_input_nodes if node.op != "get_attr")


def with_hints(net: fx.GraphModule, found: list[Hint]) -> fx.GraphModule:
    """A network of the same weights that answers logits, and then what enters some layers."""
    nodes = {node.name: node for node in net.graph.nodes}
    return with_outputs(net, [_given(nodes[hint.layer]).name for hint in found])


def taught_by_hints(
    net: fx.GraphModule, found: list[Hint], teacher: fx.GraphModule, smoothing: float
) -> Objective:
    """The original's answers, its inner tensors (hints), and a little of the labels.

    Hints are those of Romero et al. 2015 (arXiv 1412.6550), all along instead of beforehand, and
    without a regressor: the channels are the original's own. Their error is the squared distance
    relative to the squared size of the original's tensor.

    Args:
        net: the smaller network, in training.
        found: where both should agree.
        teacher: in evaluation mode.
        smoothing: of the labels, 0..1.
    """

    @cache
    def both() -> tuple[fx.GraphModule, fx.GraphModule]:
        """Made in the first step: a module that goes to a GPU gets other buffers."""
        return with_hints(net, found), with_hints(teacher, found)

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        student, original = both()
        with torch.no_grad(), fast_products():
            target, *wanted = original(x)
        with fast_products():
            logits, *carried = student(x)
        loss = _by_answers(logits.float(), target.float(), y, smoothing)
        for hint, mine, theirs in zip(found, carried, wanted, strict=True):
            same = hint.part_of(theirs).float()
            size = same.square().mean().clamp(min=_LEAST)  # all zeros behind a ReLU that is dead
            distance = (mine.float() - same).square().mean() / size
            loss = loss + _HINTS_SHARE / len(found) * distance
        loss.backward()
        return float(loss.detach())

    return objective


def taught_by_answers(net: nn.Module, teacher: nn.Module, smoothing: float) -> Objective:
    """The original's answers and a little of the labels; the smaller network stays in float32.

    Args:
        net: the smaller network, in training.
        teacher: in evaluation mode.
        smoothing: of the labels, 0..1.
    """

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        with torch.no_grad(), fast_products():
            target = teacher(x).float()
        logits = net(x)
        loss = _by_answers(logits, target, y, smoothing)
        loss.backward()
        return float(loss.detach())

    return objective


def _by_answers(
    logits: torch.Tensor, target: torch.Tensor, labels: torch.Tensor, smoothing: float
) -> torch.Tensor:
    softened = (1 - _LABELS_SHARE) * distillation(logits, target, TEMPERATURE)
    return softened + _LABELS_SHARE * cross_entropy(logits, labels, smoothing)
