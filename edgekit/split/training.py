"""Both stages of a student, kept in a folder.

features and bits --> (tables are fixed) --> task
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import fx, nn

from edgekit.core.errors import InputError
from edgekit.core.files import read_json, sha256_of, write_json
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.split.bottleneck import SMALL, BottleneckRecipe, Recipe
from edgekit.split.cutting import Cut
from edgekit.split.patches import PatchRecipe, begin
from edgekit.split.student import (
    DecoderStage,
    FeatureStage,
    Student,
    TaskStage,
    WholeStage,
    feature_objective,
    joint_objective,
    task_objective,
)
from edgekit.training.augment import to_tensor
from edgekit.training.checkpoint import load_weights, save_weights
from edgekit.training.loop import Objective, TrainRecipe, train

WEIGHTS, RECIPE = "student.safetensors", "student.json"
_KIND, _SCHEMA = "edgekit-student", 1
_FEATURES = TrainRecipe(10, 64, 1e-3, weight_decay=0.0, optimizer="adam", small_share=0.0)
_TASK = TrainRecipe(10, 128, 1e-3, weight_decay=5e-4, optimizer="sgd", small_share=0.0)
_JOINT = TrainRecipe(
    10, 128, 1e-3, filter_rate=0.01, weight_decay=0.0, optimizer="muon-adam", small_share=0.0
)
_LAST = replace(_JOINT, learning_rate=3e-4, filter_rate=0.005)
_N_PATCHED = 4000
"""Images that the components of patches are taken of."""


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """How a student is made.

    Attributes:
        beta: price of a bit, above 0.
        n_epochs: of each of both stages, above 0; the paper takes 10.
        sizes: of the bottleneck: published, or of patches.
        seed: of weights, order and noise, 0 or more.
        int8_weight_max: largest magnitude of a weight, 1..127, of an encoder of patches that is
            trained for int8; None for float32.

    Raises:
        InputError: a value out of its range.
    """

    beta: float
    n_epochs: float = 10
    sizes: Recipe = SMALL
    seed: int = 0
    int8_weight_max: int | None = None

    def __post_init__(self) -> None:
        if not (0 < self.beta < float("inf") and 0 < self.n_epochs < float("inf")):
            raise InputError(
                f"the price of a bit and the epochs are above 0, got {self.beta} and "
                f"{self.n_epochs}"
            )

    def stages(self, task: Task) -> tuple[TrainRecipe, TrainRecipe]:
        """The published hyper-parameters: Adam at 0.001 in batches of 64, SGD at 0.001 in 128.

        Where we differ: the common loop's rates fall along a cosine instead of in two steps, and
        it averages weights. Patches are trained with Muon and Adam in batches of 128.
        """
        both = (_JOINT, _LAST) if isinstance(self.sizes, PatchRecipe) else (_FEATURES, _TASK)
        mirror = task.source["kind"] != "embedded"
        common = {"n_epochs": self.n_epochs, "mirror": mirror}
        return (
            replace(both[0], **common, seed=self.seed),  # type: ignore[arg-type]
            replace(both[1], **common, seed=self.seed + 1),  # type: ignore[arg-type]
        )


def recipe_in(folder: Path) -> StudentRecipe:
    """Of the student of a folder.

    Raises:
        InputError: none is there.
    """
    recipe = read_json(folder / RECIPE, _KIND, _SCHEMA).get("recipe")
    try:
        assert isinstance(recipe, dict)
        sizes = recipe.pop("sizes")
        if "widths" not in sizes:
            return StudentRecipe(sizes=PatchRecipe(**sizes), **recipe)
        sizes["widths"] = tuple(sizes["widths"])
        return StudentRecipe(sizes=BottleneckRecipe(**sizes), **recipe)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"a student has a recipe, {folder / RECIPE} holds no such; train it again"
        ) from error


def trained_student(
    teacher: fx.GraphModule,
    cut: Cut,
    task: Task,
    recipe: StudentRecipe,
    folder: Path,
    *,
    encoder_of: Path | None = None,
    start: Path | None = None,
    progress: Progress,
) -> Student:
    """Train a student, or go on, or load the finished one of a folder.

    Args:
        teacher: captured; not changed.
        cut: one of its cuts.
        task: its training split is read.
        recipe: how.
        folder: checkpoints and ``student.safetensors`` are written there.
        encoder_of: folder of a finished student whose encoder and prior this one has too; they
            are not trained again, so that one device half serves several second halves.
        start: folder of a finished student of another price or precision: where its stage 1
            begins.
        progress: where bars are drawn.

    Raises:
        InputError: sizes that do not fit the images, the cut or the encoder, or the folder holds
            a student of another recipe.
    """
    torch.manual_seed(recipe.seed)
    side = task.preprocessing.resolution
    student = Student(teacher, cut, recipe.sizes, side, recipe.int8_weight_max).eval()
    document = {
        "recipe": asdict(recipe),
        "cut": asdict(cut),
        "data": task.source["sha256"],
        "encoder": None,
        "start": None,
    }
    if encoder_of is not None:
        given = _weights(encoder_of)
        document["encoder"] = sha256_of(given)
        _take_encoder(student, given)
    if start is not None:
        document["start"] = sha256_of(_weights(start))
        _begin_as(student, _weights(start))
    path = folder / RECIPE
    if not path.is_file():
        write_json(path, _KIND, _SCHEMA, document)
    known = read_json(path, _KIND, _SCHEMA)
    if {name: known.get(name) for name in document} != json.loads(json.dumps(document)):
        raise InputError(
            f"a student keeps its recipe, {folder} holds one of another; choose another folder"
        )
    done = folder / WEIGHTS
    if done.is_file():
        student.load_state_dict(load_weights(done))
        return student.eval()
    first, second = recipe.stages(task)

    def stage(
        number: int, model: nn.Module, objective: Objective, how: TrainRecipe, moved: nn.Module
    ) -> None:
        train(
            model,
            objective,
            task,
            how,
            progress=progress,
            label=f"price {recipe.beta:g}, stage {number}",
            checkpoint=folder / f"student-{number}.part",
            beside=(moved, teacher),
        )

    if encoder_of is not None and isinstance(recipe.sizes, PatchRecipe):
        stage(1, TaskStage(student), joint_objective(student, teacher, None), first, student)
    elif encoder_of is not None:
        stage(1, DecoderStage(student), feature_objective(student, teacher, None), first, student)
    elif isinstance(recipe.sizes, PatchRecipe):
        if start is None:
            begin_with(student, task)
        train_patches(
            student,
            teacher,
            task,
            recipe,
            label=f"price {recipe.beta:g}, stage 1",
            checkpoint=folder / "student-1.part",
            progress=progress,
        )
    else:
        features = feature_objective(student, teacher, recipe.beta)
        stage(1, FeatureStage(student), features, first, student.tail)
    stage(2, TaskStage(student), task_objective(student, teacher), second, student)
    save_weights(done, student.state_dict(), str(recipe))
    for number in (1, 2):
        (folder / f"student-{number}.part").unlink()
    return student.eval()


def train_patches(
    student: Student,
    teacher: fx.GraphModule,
    task: Task,
    recipe: StudentRecipe,
    *,
    label: str,
    checkpoint: Path | None = None,
    progress: Progress,
) -> None:
    """Stage 1 of patches, and what is found of the trained: quantiles, and ranges for int8.

    Args:
        student: of patches; in evaluation mode afterwards.
        teacher: captured; not changed.
        task: its training split is read, and its calibration images for int8.
        recipe: price, epochs and seed.
        label: of the bar.
        checkpoint: as ``edgekit.training.loop.train`` takes it.
        progress: where the bar is drawn.
    """
    train(
        WholeStage(student),
        joint_objective(student, teacher, recipe.beta),
        task,
        recipe.stages(task)[0],
        progress=progress,
        label=label,
        checkpoint=checkpoint,
        beside=(student, teacher),
    )
    student.eval().prior.settle()
    if student.rounding is not None:
        calibration = to_tensor(task.calibration.images, task.preprocessing)
        student.rounding.fix(student.encoder, calibration)


def begin_with(student: Student, task: Task) -> None:
    """Make a student of patches a transform codec of training images."""
    assert isinstance(student.recipe, PatchRecipe)
    images = to_tensor(task.train.evenly(_N_PATCHED).images, task.preprocessing)
    begin(student.encoder, student.decoder, student.prior, student.recipe, images)


def _weights(folder: Path) -> Path:
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"a finished student is taken, {folder} holds none; give another folder")
    return path


def _begin_as(student: Student, path: Path) -> None:
    """Take the weights of another student; ranges for int8 are found anew."""
    own, weights = student.state_dict(), load_weights(path)
    try:
        student.load_state_dict(own | {name: weights[name] for name in own if name in weights})
    except RuntimeError as error:
        raise InputError(
            f"a student begins as one of its sizes, {path} holds one of others; give another one"
        ) from error


def _take_encoder(student: Student, path: Path) -> None:
    """Of patches the decoder too: it makes images, whatever network reads them."""
    weights = load_weights(path)
    more = ["decoder"] if isinstance(student.recipe, PatchRecipe) else []
    more += [] if student.rounding is None else ["rounding"]
    try:
        for name in ("encoder", "prior", *more):
            part = {k.removeprefix(f"{name}."): v for k, v in weights.items()}
            known = student.get_submodule(name).state_dict()
            student.get_submodule(name).load_state_dict({k: part[k] for k in known})
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"an encoder is taken with its sizes, {path} holds one of others; take them from there"
        ) from error
