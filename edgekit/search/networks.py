"""Where the candidates of a space become networks: one implementation for each kind of space."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from onnx import ModelProto
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.progress import Progress
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.search.costs import LoweredSpace
from edgekit.search.space import SearchSpace
from edgekit.training.loop import TrainRecipe
from edgekit.training.ranks import ALONE, Ranks, together

WEIGHTS = "supernet.safetensors"
"""File in a run folder that holds the trained weights."""


class Prepared(Protocol):
    """A network ready to be judged and timed."""

    def model(self) -> ModelProto:
        """The network as the runtime is given it, int8 blocks in QDQ form."""

    def accuracy(self, split: Split, preprocessing: Preprocessing, name: str) -> MeasuredAccuracy:
        """Top-1 on a split, int8 blocks in int8."""

    def loss(self, split: Split, preprocessing: Preprocessing) -> float:
        """Mean cross-entropy on a split in nats, int8 blocks in int8."""


class Networks(Protocol):
    """The networks of a space, in one set of weights.

    Attributes:
        space: the space.
        is_pretrained: whether the weights were trained before they came here.
        simulates_int8: whether ``edgekit.training.simulate`` knows the networks.
    """

    is_pretrained: bool
    simulates_int8: bool

    @property
    def space(self) -> SearchSpace:
        """What may be chosen."""

    def train(
        self,
        task: Task,
        recipe: TrainRecipe | None,
        folder: Path,
        *,
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> None:
        """Train the weights, go on training, or load what a run folder holds of them.

        Args:
            task: its training split is read, and its calibration split where channels are sorted.
            recipe: hyper-parameters; None keeps pretrained weights as they are; where there are
                none the networks share none.
            folder: run folder; checkpoints and the weights are written there.
            progress: where bars are drawn.
            ranks: this process among those that train together; the others than the first only
                help, and hold nothing of use afterwards.
        """

    def lowered(self, folder: Path, *, n_threads: int, progress: Progress) -> LoweredSpace:
        """The kernels of every candidate, found once and kept in a run folder."""

    def table_candidates(self, n: int, seed: int) -> list[Candidate]:
        """At most ``n`` candidates that are measured to correct a table."""

    def model(self, candidate: Candidate) -> ModelProto:
        """The network with weights of no meaning, for where only speed matters."""

    def extract(self, candidate: Candidate) -> nn.Module:
        """The network with weights of its own; its batch-norm statistics mean nothing yet."""

    def initialised(self, candidate: Candidate, seed: int) -> nn.Module:
        """The network as it is before any training, for metrics of that.

        Of a pretrained module, its own weights, whatever the seed; the batch-norm statistics mean
        nothing yet.
        """

    def finetune(
        self,
        net: nn.Module,
        task: Task,
        recipe: TrainRecipe,
        *,
        progress: Progress,
        checkpoint: Path,
    ) -> None:
        """Train an extracted network under the one that the others learn from, if there is one.

        Args:
            net: from ``extract``; its batch-norm statistics mean nothing afterwards.
            task: its training split is read.
            recipe: hyper-parameters.
            progress: where the bar is drawn.
            checkpoint: file to resume from and to write to.
        """

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
        """Train on with int8 rounded where that costs more than a tolerance, if that can be done.

        Args:
            net: fine-tuned, its statistics final.
            candidate: says which blocks are int8.
            task: training, calibration and validation splits are read.
            recipe: hyper-parameters.
            weight_max: largest magnitude of an int8 weight, 1..127.
            tolerance: share of the validation images, 0..1, that int8 may cost.
            done: where the weights are kept; a checkpoint lies beside it while they train.
            progress: where the bar is drawn.

        Returns:
            The network that is better in int8 on the validation split, and a note for people,
            empty where nothing was tried.
        """

    def reestimate(self, net: nn.Module, task: Task, n_images: int) -> None:
        """Batch-norm statistics of an extracted network from training images, in place."""

    def folded(self, net: nn.Module) -> nn.Module:
        """A copy in evaluation mode without batch norms."""

    def prepared(
        self, net: nn.Module, candidate: Candidate, task: Task, weight_max: int
    ) -> Prepared:
        """Make an extracted network ready; its batch-norm statistics are replaced.

        Args:
            net: from ``extract``, trained further or not.
            candidate: says which blocks are int8.
            task: training and calibration splits are read.
            weight_max: largest magnitude of an int8 weight, 1..127.
        """

    def block_paths(self, net: nn.Module) -> Mapping[str, str]:
        """Block name by the path of its module, of a network from ``extract``."""


def train_together(
    networks: Networks,
    task: Task,
    recipe: TrainRecipe | None,
    folder: Path,
    *,
    n_processes: int,
    progress: Progress,
) -> None:
    """``Networks.train`` by several processes, each on its share of every batch.

    Args:
        networks: trained in place.
        task: as ``Networks.train`` takes it.
        recipe: as ``Networks.train`` takes it.
        folder: as ``Networks.train`` takes it.
        n_processes: 1 or more; a divisor of the batch size.
        progress: where bars are drawn.
    """
    n = 1 if recipe is None or (folder / WEIGHTS).is_file() else n_processes
    with together(n, partial(_help, networks, task, recipe, folder)) as ranks:
        networks.train(task, recipe, folder, progress=progress, ranks=ranks)


def _help(
    networks: Networks, task: Task, recipe: TrainRecipe | None, folder: Path, ranks: Ranks
) -> None:
    networks.train(task, recipe, folder, progress=Progress(quiet=True), ranks=ranks)
