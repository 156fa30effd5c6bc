"""The networks of ``mbconv``: a supernet trained from scratch, int8 simulated in torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnx import ModelProto
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.progress import Progress
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.search.mbconv.costs import BLOCKS_FILE, BlockKernels, lower_blocks
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.mbconv.supernet import Supernet
from edgekit.search.mbconv.supernet_training import train_supernet
from edgekit.search.space import int8_blocks
from edgekit.training.augment import evaluation_batches, to_tensor
from edgekit.training.batchnorm import reestimate
from edgekit.training.distil import distilling_objective, labelled_objective, taught_cost
from edgekit.training.layers import folded
from edgekit.training.loop import TrainRecipe, train
from edgekit.training.losses import cross_entropy
from edgekit.training.ranks import ALONE, Ranks
from edgekit.training.simulate import Ranges, block_paths, record_ranges, simulated

N_NORM_IMAGES = 1000


@dataclass(frozen=True, slots=True)
class PreparedMBConv:
    """A network ready to be judged or lowered: batch norm folded, ranges known.

    Attributes:
        space: its space.
        candidate: its genes.
        net: folded network in evaluation mode.
        ranges: MinMax ranges on the calibration split.
        weight_max: largest magnitude of an int8 weight.
    """

    space: MBConvSpace
    candidate: Candidate
    net: nn.Module
    ranges: Ranges
    weight_max: int

    def model(self) -> ModelProto:
        """The network with its own weights and ranges, as the runtime is given it."""
        weights = {name: tensor.detach() for name, tensor in self.net.state_dict().items()}
        return candidate_model(
            self.space, self.candidate, weights, self.ranges, weight_max=self.weight_max
        )

    def accuracy(self, split: Split, preprocessing: Preprocessing, name: str) -> MeasuredAccuracy:
        """Top-1 on a split with int8 simulated."""
        answers = self._answers(split, preprocessing)
        n_correct = sum(int((logits.argmax(1) == y).sum()) for logits, y in answers)
        return MeasuredAccuracy(n_correct, len(split), name)

    def loss(self, split: Split, preprocessing: Preprocessing) -> float:
        """Mean cross-entropy on a split with int8 simulated."""
        answers = self._answers(split, preprocessing)
        total = sum(len(y) * float(cross_entropy(logits, y, 0.0)) for logits, y in answers)
        return total / len(split)

    @torch.no_grad()
    def _answers(
        self, split: Split, preprocessing: Preprocessing
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        int8 = int8_blocks(self.space, self.candidate)
        with simulated(self.net, int8, self.ranges, weight_max=self.weight_max):
            return [(self.net(x), y) for x, y in evaluation_batches(split, preprocessing)]


class MBConvNetworks:
    """See ``edgekit.search.networks.Networks``.

    Attributes:
        space: the space.
        net: the supernet, untrained before ``train``; None where every network is trained alone.
    """

    is_pretrained = False
    simulates_int8 = True

    def __init__(self, space: MBConvSpace) -> None:
        self.space = space
        self.net: Supernet | None = Supernet(space)

    def train(
        self,
        task: Task,
        recipe: TrainRecipe | None,
        folder: Path,
        *,
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> None:
        """Train the supernet; see ``train_supernet``. Without a recipe there is none."""
        self.net = None
        if recipe is not None:
            self.net = train_supernet(
                self.space, task, recipe, folder, progress=progress, ranks=ranks
            )

    def lowered(self, folder: Path, *, n_threads: int, progress: Progress) -> BlockKernels:
        """Every block in every context, as the runtime runs it."""
        if (folder / BLOCKS_FILE).is_file():
            return BlockKernels.load(folder, self.space)
        blocks = lower_blocks(self.space, n_threads=n_threads, progress=progress)
        blocks.save(folder)
        return blocks

    def table_candidates(self, n: int, seed: int) -> list[Candidate]:
        """Random candidates: a third each all fp32, all int8 and mixed."""
        space = self.space
        genes = space.sample(n, np.random.default_rng((seed, 77)))
        for index, precision in enumerate((0, 1)):
            genes[index::3, space.n_positions :] = precision
        rows = np.unique(space.canonical(genes), axis=0).tolist()
        return [Candidate(tuple(row)) for row in rows]

    def model(self, candidate: Candidate) -> ModelProto:
        """The network with random weights and typical ranges."""
        return candidate_model(self.space, candidate)

    def extract(self, candidate: Candidate) -> MBConvNet:
        """The network with the supernet's weights, really smaller; else with new ones."""
        return self.initialised(candidate, 0) if self.net is None else self.net.extract(candidate)

    def initialised(self, candidate: Candidate, seed: int) -> MBConvNet:
        """With new weights, in training mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = MBConvNet(self.space, self.space.decode(candidate))
        return net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def finetune(
        self,
        net: nn.Module,
        task: Task,
        recipe: TrainRecipe,
        *,
        progress: Progress,
        checkpoint: Path,
    ) -> None:
        """Under the largest network at first; see ``distilling_objective``. Else by the labels."""
        if self.net is None:
            objective = labelled_objective(net, recipe.label_smoothing)
            train(
                net,
                objective,
                task,
                recipe,
                progress=progress,
                label="training",
                checkpoint=checkpoint,
            )
            return
        largest = self.net.extract(self.space.largest())
        self.reestimate(largest, task, N_NORM_IMAGES)
        teacher = folded(largest)
        some = to_tensor(task.train.images[: recipe.batch_size], task.preprocessing)
        train(
            net,
            distilling_objective(net, teacher, recipe.label_smoothing),
            task,
            recipe,
            progress=progress,
            label="fine-tuning",
            checkpoint=checkpoint,
            cost=taught_cost(net, teacher, some),
            beside=(teacher,),
        )

    def fit_for_int8(
        self,
        net: nn.Module,
        candidate: Candidate,
        task: Task,
        recipe: TrainRecipe,
        *,
        weight_max: int,
        tolerance: float,
        done: Path,
        progress: Progress,
    ) -> tuple[nn.Module, str]:
        """The network as it is: the search chose int8 with what it costs."""
        return net, ""

    def reestimate(self, net: nn.Module, task: Task, n_images: int) -> None:
        """Statistics of ``n_images`` training images."""
        reestimate(net, task.train, task.preprocessing, n_images)

    def folded(self, net: nn.Module) -> nn.Module:
        """A copy whose layers carry no batch norm."""
        return folded(net)

    def prepared(
        self, net: nn.Module, candidate: Candidate, task: Task, weight_max: int = FULL_WEIGHT_MAX
    ) -> PreparedMBConv:
        """Re-estimate batch norm, fold it, and calibrate on the calibration split."""
        self.reestimate(net, task, N_NORM_IMAGES)
        plain = folded(net)
        ranges = record_ranges(plain, task.calibration, task.preprocessing)
        return PreparedMBConv(self.space, candidate, plain, ranges, weight_max)

    def block_paths(self, net: nn.Module) -> Mapping[str, str]:
        """Stem, the children of ``blocks``, head."""
        return block_paths(net)
