"""The networks of a module of the user's: its own weights, sorted and adapted, sliced."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import fx, nn

from edgekit.core.candidate import Candidate
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.devices.networks.qdq import insert_qdq, typical_ranges
from edgekit.devices.probe import probe
from edgekit.search.elastic.adaptation import adapting_objective
from edgekit.search.elastic.folding import folded
from edgekit.search.elastic.importance import Orders, by_magnitude, by_taylor
from edgekit.search.elastic.kernels import ElasticKernels, learn_kernels
from edgekit.search.elastic.norms import in_training, reestimate
from edgekit.search.elastic.rounding import Rounded, ranges_of, rounding_of
from edgekit.search.elastic.sending import Sent
from edgekit.search.elastic.sensitivity import measure_harms
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.elastic.teaching import hints, taught_by_answers, taught_by_hints
from edgekit.search.networks import WEIGHTS
from edgekit.search.space import int8_blocks
from edgekit.training.augment import evaluation_batches, spread_batches
from edgekit.training.checkpoint import load_weights, recipe_of, save_weights
from edgekit.training.loop import TrainRecipe, train
from edgekit.training.losses import cross_entropy
from edgekit.training.ranks import ALONE, Ranks

N_NORM_IMAGES = 1000
_N_SENSITIVITY = 256
_N_COMPARED, _SUSPICIOUS = 256, 0.98
_N_MODELS = 8
_ADAPTING = "supernet-adapting.safetensors"
Images = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Runtime:
    """What becomes of a module outside of torch: handed in by the room above.

    Attributes:
        export: module, side of its images and block names by path to a float32 network.
        quantise: network, int8 blocks, calibration images and largest weight to a QDQ network.
        accuracy: network, split, preprocessing and name of the split to its top-1.
        loss: network, split and preprocessing to its mean cross-entropy.
    """

    export: Callable[[nn.Module, int, Mapping[str, str]], ModelProto]
    quantise: Callable[[ModelProto, Collection[str], Images, int], ModelProto]
    accuracy: Callable[[ModelProto, Split, Preprocessing, str], MeasuredAccuracy]
    loss: Callable[[ModelProto, Split, Preprocessing], float]


@dataclass(frozen=True, slots=True)
class PreparedElastic:
    """A network as the runtime is given it; judged by the runtime itself, nothing simulated."""

    network: ModelProto
    runtime: Runtime

    def model(self) -> ModelProto:
        """The network, int8 blocks in QDQ form."""
        return self.network

    def accuracy(self, split: Split, preprocessing: Preprocessing, name: str) -> MeasuredAccuracy:
        """Top-1 of the runtime's answers."""
        return self.runtime.accuracy(self.network, split, preprocessing, name)

    def loss(self, split: Split, preprocessing: Preprocessing) -> float:
        """Mean cross-entropy of the runtime's answers, in nats."""
        return self.runtime.loss(self.network, split, preprocessing)


class ElasticNetworks:
    """See ``edgekit.search.networks.Networks``.

    Args:
        space: the space; it is left as it is, so that several runs may begin with it.
        runtime: exports, quantises and runs.

    Attributes:
        space: a copy; ``train`` sorts its network's channels, adapts its weights and measures its
            harms.
        original: the source as it was given, its batch norms folded; it teaches the others.
    """

    is_pretrained = True
    simulates_int8 = False

    def __init__(self, space: ElasticSpace, runtime: Runtime) -> None:
        self.space, self._runtime = space.copied(), runtime
        self.original = folded(space.elastic.extract(space.elastic.largest))
        self._begin(is_adapted=False)

    def _begin(self, *, is_adapted: bool) -> None:
        self.original.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._is_adapted = is_adapted
        self._kernels: ElasticKernels | None = None
        self._plain = lru_cache(_N_MODELS)(self._plain_of)

    def __getstate__(self) -> dict[str, Any]:
        """Plain values, for another process; kernels that were learnt stay behind."""
        return {
            "space": self.space,
            "original": Sent.of(self.original),
            "runtime": self._runtime,
            "is_adapted": self._is_adapted,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Inverse of ``__getstate__``."""
        self.space, self._runtime = state["space"], state["runtime"]
        self.original = state["original"].module().eval()
        self._begin(is_adapted=state["is_adapted"])

    def train(
        self,
        task: Task,
        recipe: TrainRecipe | None,
        folder: Path,
        *,
        progress: Progress,
        ranks: Ranks = ALONE,
    ) -> None:
        """Sort channels, adapt the weights unless ``recipe`` is None, measure every choice alone.

        Channels inside a branch are sorted by magnitude, those of a residual stage by Taylor's
        importance on the calibration split, which was better for each in our measurements.
        """
        space, done = self.space, folder / WEIGHTS
        elastic = space.elastic
        text = "null" if recipe is None else recipe.text
        if done.is_file():
            self._restore(load_weights(done))
        else:
            self._warn_of_seen_images(task, progress)
            elastic.sort(self.orders(task))
            if recipe is not None:
                elastic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                objective = adapting_objective(
                    space, self.original, recipe.label_smoothing, sampling=recipe.sampling
                )
                train(
                    elastic,
                    objective,
                    task,
                    recipe,
                    progress=progress,
                    label="adapting the network",
                    checkpoint=folder / _ADAPTING,
                    ranks=ranks,
                    beside=(self.original,),
                )
                elastic.eval()
            if not ranks.is_first:
                return
            batches = list(spread_batches(task.calibration, task.preprocessing, _N_SENSITIVITY))
            space.harms = measure_harms(space, batches, progress=progress)
            save_weights(done, self._state(), text)
            (folder / _ADAPTING).unlink(missing_ok=True)
        self._is_adapted = recipe is not None
        elastic.choice = elastic.largest

    @torch.no_grad()
    def _warn_of_seen_images(self, task: Task, progress: Progress) -> None:
        """Say so where the source knows images it should not have seen."""
        seen, held_out = (
            _top1(self.original, split.evenly(_N_COMPARED), task.preprocessing)
            for split in (task.train, task.validation)
        )
        if seen > _SUSPICIOUS and held_out > seen - (1 - _SUSPICIOUS) / 2:
            progress.say(
                f"the network has {held_out:.1%} of the validation images right and {seen:.1%} of "
                "the training images: if it was trained on both, accuracies on validation are too "
                "high and only the test figure counts"
            )

    def lowered(self, folder: Path, *, n_threads: int, progress: Progress) -> ElasticKernels:
        """Kernels of every candidate, learnt from some that were lowered."""
        self._kernels = learn_kernels(
            self.space,
            self.model,
            folder,
            vector=probe(Target()).vector_channels,
            n_threads=n_threads,
            progress=progress,
        )
        return self._kernels

    def table_candidates(self, n: int, seed: int) -> list[Candidate]:
        """Candidates that were lowered, of the last architectures: those are exported already."""
        seen = self._kernels.seen if self._kernels else []
        by_architecture: dict[tuple[int, ...], list[Candidate]] = {}
        for candidate in reversed(seen):
            genes = candidate.genes[: self.space.n_architecture]
            by_architecture.setdefault(genes, []).append(candidate)
        last = list(by_architecture.values())[:_N_MODELS]
        rng = np.random.default_rng((seed, 77))
        shuffled = [[row[i] for i in rng.permutation(len(row))] for row in last]
        turns = itertools.zip_longest(*shuffled)
        return [c for turn in turns for c in turn if c is not None][:n]

    def model(self, candidate: Candidate) -> ModelProto:
        """The network with ranges of no meaning."""
        model = self._plain(candidate.genes[: self.space.n_architecture])
        nodes = self._nodes(model, candidate)
        return insert_qdq(model, nodes, typical_ranges(model, nodes))

    def extract(self, candidate: Candidate) -> fx.GraphModule:
        """The network with weights of its own, really smaller."""
        elastic = self.space.elastic
        choice = self.space.decode(candidate)
        net = elastic.extract(choice)
        net.meta["choice"] = choice
        net.meta["keeps_statistics"] = choice == elastic.largest and not self._is_adapted
        return net

    def initialised(self, candidate: Candidate, seed: int) -> fx.GraphModule:
        """With the weights of the module."""
        return self.extract(candidate)

    def finetune(
        self,
        net: nn.Module,
        task: Task,
        recipe: TrainRecipe,
        *,
        progress: Progress,
        checkpoint: Path,
    ) -> None:
        """Train under the original, which answers for most of the loss to the end."""
        assert isinstance(net, fx.GraphModule)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net.meta["keeps_statistics"] = False
        found = hints(self.space.elastic, net.meta["choice"], self.original)
        with in_training(net):
            train(
                net,
                taught_by_hints(net, found, self.original, recipe.label_smoothing),
                task,
                recipe,
                progress=progress,
                label="fine-tuning",
                checkpoint=checkpoint,
                beside=(self.original,),
            )
        net.eval()

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
    ) -> tuple[fx.GraphModule, str]:
        """Judged by the runtime; what is returned is folded."""
        plain, int8 = self.folded(net), int8_blocks(self.space, candidate)
        float_, before = self._judged(plain, ((), int8), task, weight_max)
        if float_ - before <= tolerance:
            return plain, f"int8 costs {float_ - before:.2%} on validation"
        trained = self.folded(net)
        if done.is_file() and recipe_of(done) == recipe.text:
            trained.load_state_dict(load_weights(done))
        else:
            self._train_rounded(trained, candidate, task, recipe, weight_max, done, progress)
        (after,) = self._judged(trained, (int8,), task, weight_max)
        note = (
            f"int8 costs {float_ - before:.2%} on validation, {float_ - after:.2%} after "
            "training with it"
        )
        return (trained, note) if after > before else (plain, f"{note}, which was not taken")

    def _train_rounded(
        self,
        net: fx.GraphModule,
        candidate: Candidate,
        task: Task,
        recipe: TrainRecipe,
        weight_max: int,
        done: Path,
        progress: Progress,
    ) -> None:
        model = self._runtime.export(net, self._side(), self.block_paths(net))
        rounding = rounding_of(net, model, self._nodes(model, candidate))
        images = spread_batches(task.calibration, task.preprocessing, len(task.calibration))
        ranges = ranges_of(net, rounding, images)
        rounded = Rounded(net, rounding, ranges, weight_max)
        checkpoint = done.with_suffix(".part")
        if checkpoint.is_file() and recipe_of(checkpoint) != recipe.text:
            checkpoint.unlink()
        objective = taught_by_answers(rounded, self.original, recipe.label_smoothing)
        train(
            rounded,
            objective,
            task,
            recipe,
            progress=progress,
            label="fine-tuning in int8",
            checkpoint=checkpoint,
            beside=(self.original,),
        )
        net.eval()
        save_weights(done, net.state_dict(), recipe.text)
        checkpoint.unlink(missing_ok=True)

    def _judged(
        self,
        net: fx.GraphModule,
        int8_choices: Sequence[Collection[str]],
        task: Task,
        weight_max: int,
    ) -> list[float]:
        """Top-1 on the validation split, in the runtime, for each choice of int8 blocks."""
        model = self._runtime.export(net, self._side(), self.block_paths(net))
        images = task.preprocessing.apply(task.calibration.images)
        found = []
        for int8 in int8_choices:
            quantised = self._runtime.quantise(model, int8, images, weight_max)
            accuracy = self._runtime.accuracy(
                quantised, task.validation, task.preprocessing, "validation"
            )
            found.append(accuracy.top1)
        return found

    def reestimate(self, net: nn.Module, task: Task, n_images: int) -> None:
        """Statistics of training images; the untouched original keeps its own."""
        assert isinstance(net, fx.GraphModule)
        if not net.meta.get("keeps_statistics"):
            reestimate(net, spread_batches(task.train, task.preprocessing, n_images))

    def folded(self, net: nn.Module) -> fx.GraphModule:
        """A copy whose convolutions have taken up their batch norms."""
        assert isinstance(net, fx.GraphModule)
        return folded(net)

    def prepared(
        self, net: nn.Module, candidate: Candidate, task: Task, weight_max: int = FULL_WEIGHT_MAX
    ) -> PreparedElastic:
        """Re-estimate batch norms, fold them, export, quantise on the calibration split."""
        self.reestimate(net, task, N_NORM_IMAGES)
        plain = self.folded(net)
        side = task.preprocessing.resolution
        model = self._runtime.export(plain, side, self.block_paths(plain))
        int8 = int8_blocks(self.space, candidate)
        images = task.preprocessing.apply(task.calibration.images)
        quantised = self._runtime.quantise(model, int8, images, weight_max)
        return PreparedElastic(quantised, self._runtime)

    def block_paths(self, net: nn.Module) -> Mapping[str, str]:
        """Blocks are scopes of the graph, of their own name."""
        assert isinstance(net, fx.GraphModule)
        left = {self.space.elastic.blocks.get(node.name) for node in net.graph.nodes}
        return {block: block for block in self.space.blocks if block in left}

    def _plain_of(self, genes: tuple[int, ...]) -> ModelProto:
        candidate = Candidate((*genes, *(0 for _ in self.space.blocks)))
        net = self.folded(self.extract(candidate))
        return self._runtime.export(net, self._side(), self.block_paths(net))

    def _side(self) -> int:
        inputs = [n for n in self.space.elastic.source.graph.nodes if n.op == "placeholder"]
        return int(inputs[0].meta["val"].shape[-1])

    def _nodes(self, model: ModelProto, candidate: Candidate) -> list[str]:
        int8 = set(int8_blocks(self.space, candidate))
        return [node.name for node in model.graph.node if node.name.split("/")[0] in int8]

    def orders(self, task: Task) -> Orders:
        """Which channels matter most, by group."""
        elastic = self.space.elastic
        branches = elastic.structure.branches
        by_size = by_magnitude(elastic)
        images = evaluation_batches(task.calibration, task.preprocessing, 64)
        by_change = by_taylor(elastic, images, lambda net, x, y: cross_entropy(net(x), y, 0.0))
        inside = [
            any(all(name in b.parameters for name, _ in group.places) for b in branches)
            for group in elastic.structure.groups
        ]
        return [
            size if is_inside else change
            for size, change, is_inside in zip(by_size, by_change, inside, strict=True)
        ]

    def _state(self) -> dict[str, torch.Tensor]:
        elastic = self.space.elastic
        state = {f"weights/{k}": v.contiguous() for k, v in elastic.state_dict().items()}
        state |= {f"order/{i}": torch.from_numpy(o) for i, o in enumerate(elastic.orders)}
        return state | {"harms": torch.from_numpy(self.space.harms)}

    def _restore(self, state: Mapping[str, torch.Tensor]) -> None:
        elastic = self.space.elastic
        elastic.load_state_dict(
            {k.removeprefix("weights/"): v for k, v in state.items() if k.startswith("weights/")}
        )
        elastic.sort([state[f"order/{i}"].numpy() for i in range(len(elastic.orders))])
        self.space.harms = state["harms"].numpy()


def _top1(net: nn.Module, split: Split, preprocessing: Preprocessing) -> float:
    batches = evaluation_batches(split, preprocessing, 64)
    return sum(int((net(x).argmax(1) == y).sum()) for x, y in batches) / len(split)
