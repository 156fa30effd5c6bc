"""The weight-sharing supernet of ``mbconv`` and the objective it is trained with.

Weights are nested as in Once-for-All (Cai et al. 2020, arXiv 1908.09791): a smaller kernel is the
centre of the larger one, a smaller expansion the first channels of the larger one. We leave out
its kernel transformation matrices.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.search.mbconv.network import Head, InvertedResidual, MBConvNet, Stem
from edgekit.search.mbconv.space import SKIP, MBConvSpace, Operation
from edgekit.training.depthwise import depthwise_conv
from edgekit.training.loop import Objective, Step
from edgekit.training.losses import cross_entropy, distillation

_MAX_KERNEL, _MAX_EXPANSION = 7, 6


class SuperBlock(nn.Module):
    """An inverted residual at kernel 7 and expansion 6 that can run as any smaller one."""

    def __init__(self, in_width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.full = InvertedResidual(
            in_width, in_width * _MAX_EXPANSION, out_width, _MAX_KERNEL, stride
        )
        self.in_width, self.stride = in_width, stride

    def forward(self, x: torch.Tensor, operation: Operation) -> torch.Tensor:
        """Run as ``operation``; batch norm uses the statistics of the batch."""
        kernel, expansion = operation
        mid, full = self.in_width * expansion, self.full
        y = F.hardtanh_(_norm(F.conv2d(x, _weight(full.expand)[:mid]), full.expand, mid), 0, 6)
        weight = _centre(_weight(full.depthwise)[:mid], kernel)
        y = depthwise_conv(y, weight, self.stride)
        y = F.hardtanh_(_norm(y, full.depthwise, mid), 0, 6)
        y = F.conv2d(y, _weight(full.project)[:, :mid])
        y = _norm(y, full.project, y.shape[1])
        return x + y if full.residual else y

    def weights_of(self, operation: Operation) -> dict[str, torch.Tensor]:
        """State of the plain ``InvertedResidual`` this block is under ``operation``, copied."""
        kernel, expansion = operation
        mid = self.in_width * expansion
        state = {}
        for name, tensor in self.full.state_dict().items():
            if name == "project.conv.weight":
                state[name] = tensor[:, :mid].clone()
            elif tensor.ndim == 0 or name.startswith("project."):
                state[name] = tensor.clone()
            elif name == "depthwise.conv.weight":
                state[name] = _centre(tensor[:mid], kernel).clone()
            else:
                state[name] = tensor[:mid].clone()
        return state


def _weight(layer: nn.Module) -> torch.Tensor:
    weight = layer.get_parameter("conv.weight")
    return weight


def _centre(weight: torch.Tensor, kernel: int) -> torch.Tensor:
    cut = (weight.shape[-1] - kernel) // 2
    return weight[..., cut : cut + kernel, cut : cut + kernel].contiguous()


def _norm(x: torch.Tensor, layer: nn.Module, width: int) -> torch.Tensor:
    scale, shift = layer.get_parameter("bn.weight")[:width], layer.get_parameter("bn.bias")[:width]
    return F.batch_norm(x, None, None, scale, shift, training=True)


class Supernet(nn.Module):
    """All networks of a space in one set of weights."""

    def __init__(self, space: MBConvSpace) -> None:
        super().__init__()
        self.space, recipe = space, space.recipe
        self.stem = Stem(recipe)
        self.blocks = nn.ModuleDict(
            {p.name: SuperBlock(p.in_width, p.out_width, p.stride) for p in space.positions}
        )
        self.head = Head(recipe.stages[-1].width, recipe.head_width, recipe.n_classes)
        _start_residuals_small(self)

    def forward(self, x: torch.Tensor, candidate: Candidate) -> torch.Tensor:
        """Logits ``(batch, n_classes)`` of one candidate in fp32; precision genes are ignored."""
        x = self.stem(x)
        for block in self.space.decode(candidate).active():
            assert block.operation is not None
            x = self.blocks[block.position.name](x, block.operation)
        logits: torch.Tensor = self.head(x)
        return logits

    def extract(self, candidate: Candidate) -> MBConvNet:
        """The candidate as a plain module with its own, really smaller tensors.

        Batch-norm statistics are not meaningful before ``edgekit.training.batchnorm.reestimate``.
        """
        architecture = self.space.decode(candidate)
        net = MBConvNet(self.space, architecture)
        net.stem.load_state_dict(self.stem.state_dict())
        net.head.load_state_dict(self.head.state_dict())
        for block in architecture.active():
            assert block.operation is not None
            source = self.blocks[block.position.name]
            assert isinstance(source, SuperBlock)
            target = net.blocks.get_submodule(block.position.name)
            target.load_state_dict(source.weights_of(block.operation))
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _start_residuals_small(net: Supernet) -> None:
    for block in net.blocks.values():
        assert isinstance(block, SuperBlock)
        if block.full.residual:
            nn.init.constant_(block.full.project.get_parameter("bn.weight"), 0.5)


def sandwich_objective(net: Supernet, smoothing: float, n_random: int) -> Objective:
    """Largest network on labels, smaller ones on its logits, gradients added up in one step.

    The sandwich rule with in-place distillation of Yu & Huang 2019 (arXiv 1903.05134). We draw the
    smallest network as one of the random ones in a quarter of the steps instead of in every step:
    its blocks are trained by every other network too.

    Args:
        net: the supernet.
        smoothing: label smoothing of the largest network's loss.
        n_random: smaller networks a step; 0 trains the largest alone.

    Returns:
        An objective for ``edgekit.training.loop.train``.
    """
    space = net.space
    largest, smallest = space.largest(), space.smallest()

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        logits = net(x, largest)
        loss = cross_entropy(logits, y, smoothing)
        loss.backward()
        drawn = [random_architecture(space, step.rng) for _ in range(n_random)]
        if drawn and step.rng.random() < 0.25:
            drawn[0] = smallest
        for candidate in drawn:
            distillation(net(x, candidate), logits).backward()
        return float(loss.detach())

    return objective


def nested_objective(net: Supernet, smoothing: float) -> Objective:
    """One random network a step, on the labels; see ``edgekit.training.loop.SAMPLINGS``.

    Args:
        net: the supernet.
        smoothing: label smoothing.
    """

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        loss = cross_entropy(net(x, random_architecture(net.space, step.rng)), y, smoothing)
        loss.backward()
        return float(loss.detach())

    return objective


def random_architecture(space: MBConvSpace, rng: np.random.Generator) -> Candidate:
    """Operations uniform, all precisions fp32."""
    operations = [int(rng.integers(0, SKIP + p.may_skip)) for p in space.positions]
    return Candidate((*operations, *([0] * (space.n_positions + 2))))
