"""Which encoder of patches is worth most under a limit on its latency.

sizes and precision -> predicted latency of all -> strategy -> short training, measured -> best
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import ModelProto
from torch import fx

from edgekit.core.candidate import Candidate
from edgekit.core.errors import Infeasible, InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.core.units import format_duration
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.measuring.session import open_session
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.lowering import lower
from edgekit.devices.networks.qdq import insert_qdq, typical_ranges
from edgekit.devices.predicting.predictor import Predictor
from edgekit.devices.probe import probe
from edgekit.export.quantise import quantise_blocks
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Floats, Objective, SearchProblem, Values
from edgekit.search.space import PRECISIONS, Genes
from edgekit.search.strategies.bayes import BayesStrategy
from edgekit.split.cutting import at_input
from edgekit.split.halves import encoder_model
from edgekit.split.patches import COLOURS, PatchRecipe
from edgekit.split.student import Student
from edgekit.split.training import StudentRecipe, begin_with, train_patches

SEARCHED = "encoders.json"
_KIND, _SCHEMA = "edgekit-encoders", 1
_PATCHES, _WIDTHS, _SHARES = (2, 4, 8), (0, 16, 32, 64), (0.25, 0.5, 1.0)
_N_KERNELS, _N_START = 3, 4
_BATCH, _N_JUDGED = 250, 2500


class EncoderSpace:
    """Side of patches, kernel, channels, width of the added branch, and precision.

    Args:
        side: of the images; patches must divide it.

    Raises:
        InputError: no patch does.
    """

    name = "encoder"
    gene_names: tuple[str, ...] = ("patch", "kernel", "channels", "width", "precision")
    blocks: tuple[str, ...] = ("encoder",)

    def __init__(self, side: int) -> None:
        self.patches = tuple(patch for patch in _PATCHES if side % patch == 0)
        if not self.patches:
            raise InputError(f"images of an even side are split in patches, got {side}")
        self.n_choices: tuple[int, ...] = (
            len(self.patches),
            _N_KERNELS,
            len(_SHARES),
            len(_WIDTHS),
            len(PRECISIONS),
        )

    @property
    def n_architecture(self) -> int:
        """All genes but the last."""
        return len(self.n_choices) - 1

    def sizes(self, genes: Sequence[int]) -> PatchRecipe:
        """Of the network of a candidate."""
        patch = self.patches[genes[0]]
        channels = round(_SHARES[genes[2]] * min(COLOURS * patch**2, 96))
        kernel = patch + genes[1] * max(2, patch // 2)
        return PatchRecipe(channels, kernel, patch, width=_WIDTHS[genes[3]])

    def check(self, candidate: Candidate) -> None:
        """Raise InputError unless every gene is in its range."""
        candidate.check(self.n_choices, self.name)

    def canonical(self, genes: Genes) -> Genes:
        """A copy: every vector is an encoder of its own."""
        return genes.copy()

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """``(n, 5)`` genes, each uniform over its choices."""
        return rng.integers(0, self.n_choices, (n, len(self.n_choices)))

    def regular(self) -> Genes:
        """Each patch alone in both precisions, with all else least."""
        rows = itertools.product(range(len(self.patches)), (0,), (0,), (0,), (0, 1))
        return np.array(list(rows))

    def all(self) -> Genes:
        """Every encoder, ``(n, 5)``."""
        return np.array(list(itertools.product(*map(range, self.n_choices))))

    def features(self, genes: Genes) -> NDArray[np.float32]:
        """One-hot choices."""
        parts = [np.eye(n)[genes[:, index]] for index, n in enumerate(self.n_choices)]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def ordered_features(self, genes: Genes) -> NDArray[np.float64]:
        """Choices as numbers."""
        return genes.astype(np.float64)

    def harm(self, genes: Genes) -> NDArray[np.float64] | None:
        """Nothing is known before it is measured."""

    def largest(self) -> Candidate:
        """The most of everything, in float32."""
        return Candidate((*(n - 1 for n in self.n_choices[:-1]), 0))

    def active_blocks(self, candidate: Candidate) -> tuple[str, ...]:
        """The only one."""
        return self.blocks

    def words(self, candidate: Candidate) -> dict[str, str]:
        """Its sizes."""
        sizes = self.sizes(candidate.genes)
        added = f", {sizes.width} wide" if sizes.width else ""
        text = f"{sizes.kernel}x{sizes.kernel}/{sizes.downscale} to {sizes.channels}{added}"
        return {"encoder": text}


@dataclass(frozen=True, slots=True)
class TriedEncoder:
    """An encoder that was trained for a short while, in its precision, and measured.

    Attributes:
        candidate: its genes in an ``EncoderSpace``.
        loss: mean over validation images of the cross-entropy, and the price of their bits, in
            nats.
        latency_s: measured p50 of one image.
    """

    candidate: Candidate
    loss: float
    latency_s: float


class EncoderSearch:
    """A search for an encoder, kept in a folder.

    Args:
        teacher: captured.
        task: trains on its training split, judges on validation.
        recipe: price, epochs of a short training and seed; its sizes are not used.
        max_latency_s: wall for the measured p50 of the encoder.
        predictor: of the target.
        target: where encoders are measured.
        folder: ``encoders.json`` lies there.
        progress: where bars are drawn.
    """

    def __init__(
        self,
        teacher: fx.GraphModule,
        task: Task,
        recipe: StudentRecipe,
        max_latency_s: float,
        predictor: Predictor,
        target: Target,
        folder: Path,
        *,
        progress: Progress,
    ) -> None:
        self.teacher, self.task, self.recipe = teacher, task, recipe
        self.max_latency_s, self.predictor, self.target = max_latency_s, predictor, target
        self.path, self.progress = folder / SEARCHED, progress
        self.space = EncoderSpace(task.preprocessing.resolution)
        self.weight_max = probe(target).int8_weight_max

    def run(self, n_evaluations: int) -> tuple[TriedEncoder, ...]:
        """Every encoder that was tried, in order; one that was stopped goes on.

        Raises:
            Infeasible: no encoder is predicted inside the limit.
            InputError: the folder holds a search of something else.
            TooNoisy: a latency cannot be had; call again to go on.
        """
        identity = {
            "price": self.recipe.beta,
            "n_epochs": self.recipe.n_epochs,
            "seed": self.recipe.seed,
            "max_latency_s": self.max_latency_s,
            "data": self.task.source["sha256"],
        }
        known = self._known(identity)
        fastest_s = float(self._latencies_s.min())
        if fastest_s > self.max_latency_s:
            raise self._infeasible("predicted", fastest_s)
        problem = SearchProblem(
            space=self.space,
            objectives=(Objective("loss"), Objective("latency_s", self.max_latency_s)),
            costs=self._costs,
            evaluate=self._evaluated,
            n_evaluations=n_evaluations,
            population=1,
            seed=self.recipe.seed,
        )
        tried = []
        for entry in search(problem, BayesStrategy(_N_START), known):
            if entry.values is not None:
                tried.append(TriedEncoder(entry.candidate, *entry.values))
                rows = {one.candidate.text: [one.loss, one.latency_s] for one in tried}
                write_json(self.path, _KIND, _SCHEMA, {"of": identity, "tried": rows})
        return tuple(tried)

    def best(self, tried: Sequence[TriedEncoder]) -> TriedEncoder:
        """The one of the least loss that was measured inside the limit.

        Raises:
            Infeasible: none was.
        """
        inside = [one for one in tried if one.latency_s <= self.max_latency_s]
        if not inside:
            raise self._infeasible("measured", min(one.latency_s for one in tried))
        return min(inside, key=lambda one: one.loss)

    def _infeasible(self, how: str, fastest_s: float) -> Infeasible:
        fastest = f"latency {format_duration(fastest_s)}"
        return Infeasible(
            f"no encoder is {how} within {format_duration(self.max_latency_s)}, the nearest has "
            f"{fastest}; allow more",
            binding="latency",
            nearest=fastest,
        )

    def _known(self, identity: Mapping[str, object]) -> dict[Candidate, Values | None]:
        if not self.path.is_file():
            return {}
        document = read_json(self.path, _KIND, _SCHEMA)
        tried = document.get("tried")
        if document.get("of") != identity or not isinstance(tried, dict):
            raise InputError(
                f"a search for an encoder goes on as it began, {self.path} is of another one; "
                "choose another folder"
            )
        return {Candidate.parse(text): tuple(map(float, row)) for text, row in tried.items()}

    def _student(self, genes: Sequence[int]) -> Student:
        torch.manual_seed(self.recipe.seed)
        side = self.task.preprocessing.resolution
        cut = at_input(self.teacher)
        weight_max = self.weight_max if PRECISIONS[genes[-1]] is Precision.INT8 else None
        return Student(self.teacher, cut, self.space.sizes(genes), side, weight_max).eval()

    def _model(self, student: Student, precision: Precision) -> ModelProto:
        preprocessing = self.task.preprocessing
        plain = encoder_model(student, preprocessing.resolution)
        if precision is Precision.FP32:
            return plain
        images = preprocessing.apply(self.task.calibration.images)
        return quantise_blocks(plain, ["encoder"], images, weight_max=self.weight_max)

    def _sketch(self, sizes: PatchRecipe, precision: Precision) -> ModelProto:
        """The encoder with random weights and typical ranges: the kernels of the real one."""
        side, patch = self.task.preprocessing.resolution, sizes.downscale
        net = GraphBuilder("encoder", (1, COLOURS, side, side))
        pad = (sizes.kernel - patch) // 2
        with net.block("encoder"):
            x = net.conv(net.input, sizes.channels, sizes.kernel, stride=patch, pad=pad)
            if sizes.width:
                added = net.conv(net.input, sizes.width, patch, stride=patch, pad=0, act="relu")
                added = net.conv(added, sizes.width, 3, act="relu")
                x = net.add(x, net.conv(added, sizes.channels, 1))
        model = net.build(x)
        (first,) = (node for node in model.graph.node if node.name == "encoder/conv")
        del first.input[2:]  # the real one has no bias
        if precision is Precision.FP32:
            return model
        names = [node.name for node in model.graph.node]
        ranges = typical_ranges(model, names)
        return insert_qdq(model, names, ranges, weight_max=self.weight_max)

    @cached_property
    def _latencies_s(self) -> NDArray[np.float64]:
        """Predicted latency of every encoder, ``n_choices`` float64."""
        found = np.empty(self.space.n_choices)
        rows = self.space.all().tolist()
        with self.progress.track(len(rows), "predicting encoders") as update:
            for done, genes in enumerate(rows, start=1):
                model = self._sketch(self.space.sizes(genes), PRECISIONS[genes[-1]])
                placed = lower(model, n_threads=self.target.n_threads)
                kernels = [one.kernel for one in placed]
                found[tuple(genes)] = self.predictor.predict(kernels).latency_s
                update(done)
        return found

    def _costs(self, genes: Genes) -> Floats:
        latencies_s = self._latencies_s[tuple(genes.T)]
        return np.stack([np.full(len(genes), np.nan), latencies_s], axis=1)

    def _evaluated(self, candidate: Candidate) -> Values:
        student = self._student(candidate.genes)
        begin_with(student, self.task)
        train_patches(
            student,
            self.teacher,
            self.task,
            self.recipe,
            label=f"encoder {self.space.words(candidate)['encoder']}",
            progress=self.progress,
        )
        model = self._model(student, PRECISIONS[candidate.genes[-1]])
        measured = measure_models({"encoder": model}, self.target, patience_s=300, max_lost=0)
        return self._loss(student, model), measured["encoder"].p50_s

    @torch.no_grad()
    def _loss(self, student: Student, model: ModelProto) -> float:
        split = self.task.validation.evenly(_N_JUDGED)
        session, total = open_session(model, n_threads=1), 0.0
        medians = student.prior.medians[:, None, None]
        for start in range(0, len(split), _BATCH):
            part = slice(start, start + _BATCH)
            x = self.task.preprocessing.apply(split.images[part])
            (found,) = session.run(None, {"input": x})
            latent = (torch.from_numpy(found) - medians).round() + medians
            logits = student.tail(student.decoder(latent))
            labels = torch.from_numpy(split.labels[part])
            total += float(F.cross_entropy(logits, labels, reduction="sum"))
            total += self.recipe.beta * float(student.prior.bits(latent))
        return total / len(split)
