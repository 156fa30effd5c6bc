"""The Entropic Student on CIFAR-10 beside image codecs: accuracy against bytes that are really sent.

    python -m tests.benchmarks.bench_split --data DATA --work build/split --out split.json [--parts codecs,student]

Teacher: the ResNet-56 of DATA. `codecs`: all test images through JPEG and WebP at a sweep of qualities and into the
teacher; bytes of whole files, and without what a decoder could know beforehand (JPEG: all but the scan; WebP: container and
frame header). `student`: cut behind the first stage, published training (sums, Adam at 1e-3, then SGD at 1e-3) with the
common loop, whose rates fall along a cosine, for each price of bits; accuracy from what the server decodes, payloads of
real frames. `patches`: our encoder of one convolution, each price begun as the one before. `baselines`: patches trained end
to end without a teacher; and channel reduction with 8 bits and zlib: so many components of patches, no prior, under the
teacher; for `--baseline-epochs` in one stage each. Test images are read once for each row. Everything is kept in the work folder; the same command goes on.
"""  # noqa: E501

from __future__ import annotations

import argparse
import io
import json
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import fx, nn

from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.devices.probe import probe
from edgekit.search.elastic.capture import captured
from edgekit.split.bottleneck import SMALL
from edgekit.split.codec import HEADER_BYTES, Symbols, Tables
from edgekit.split.contexts import with_contexts
from edgekit.split.cutting import at_input, first_stage
from edgekit.split.patches import PatchRecipe
from edgekit.split.rounding import EncoderRounding
from edgekit.split.student import Student, WholeStage, joint_objective
from edgekit.split.training import StudentRecipe, begin_with, trained_student
from edgekit.training.augment import evaluation_batches, to_tensor
from edgekit.training.autocast import fast_products
from edgekit.training.device import placed, training_device
from edgekit.training.loop import Objective, Step, train
from edgekit.training.losses import cross_entropy, distillation
from tests.benchmarks.bench_cifar import Stages

ROOT = Path(__file__).parents[2]
JPEG_QUALITIES = (5, 10, 15, 20, 30, 40, 50, 65, 80, 90, 95, 98)
WEBP_QUALITIES = (0, 5, 10, 20, 30, 40, 50, 65, 80, 90, 95)
_WEBP_HEADERS = 30
N_COUNTED = 8000
Row = dict[str, Any]


def main() -> None:
    """Train what is missing, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default="codecs,student")
    parser.add_argument("--betas", default="0.32,1.28,5.12,20,80", help="prices, published")
    parser.add_argument("--prices", default="1e-4,2e-4,4e-4,8e-4,1.6e-3", help="of patches")
    parser.add_argument("--epochs", type=float, default=10, help="of each stage")
    parser.add_argument("--baseline-epochs", type=float, default=5)
    parser.add_argument("--baseline-price", type=float, default=4e-4)
    parser.add_argument("--network", choices=("resnet56", "resnet20"), default="resnet56")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    task, teacher = teacher_of(given.data, given.network)
    stage = Stages(given.work / "stages.json")
    stage("teacher", lambda: {"top1_test": _right(teacher, task.test, task.preprocessing)})
    if "codecs" in given.parts:
        for quality in JPEG_QUALITIES:
            stage(f"jpeg {quality}", partial(_codec, task, teacher, "JPEG", quality))
        for quality in WEBP_QUALITIES:
            stage(f"webp {quality}", partial(_codec, task, teacher, "WEBP", quality))
    if "student" in given.parts:
        for beta in map(float, given.betas.split(",")):
            recipe = StudentRecipe(beta, given.epochs, SMALL)
            stage(f"student {beta}", partial(_student, task, teacher, recipe, given, None))
    if "patches" in given.parts:
        start = None
        for beta in map(float, given.prices.split(",")):
            recipe = StudentRecipe(beta, given.epochs, PatchRecipe())
            stage(f"patches {beta}", partial(_student, task, teacher, recipe, given, start))
            start = given.work / f"patches-{beta:g}"
    if "baselines" in given.parts:
        for name, objective, sizes in _baselines(given.baseline_price):
            stage(name, partial(_baseline, task, teacher, objective, sizes, given))
    if "int8" in given.parts:
        start = given.work / f"patches-{given.baseline_price:g}"
        for name, is_trained in (("float32", False), ("int8 afterwards", False), ("int8", True)):
            stage(name, partial(_int8, task, teacher, given, start, name, is_trained))
    given.out.write_text(json.dumps(stage.done, indent=1))
    for name, row in stage.done.items():
        length = f", {row['payload_bytes']:.1f} bytes" if "payload_bytes" in row else ""
        whole = f" ({row['bytes']:.1f} in all)" if "bytes" in row else ""
        print(f"{name:>14}: {row['top1_test']:.2%}{length}{whole}")


def teacher_of(data: Path, network: str) -> tuple[Task, fx.GraphModule]:
    """CIFAR-10, normalised as the trained network wants it, and the network, captured."""
    sys.path.insert(0, str(ROOT / "examples"))
    import fit_cifar_resnet as example

    task = Task.from_parquet(data / "cifar10", resolution=32)
    net = example.pretrained(data / "weights" / f"cifar10_{network}.safetensors").eval()
    plain = captured(net, torch.zeros(2, 3, 32, 32)).requires_grad_(False)
    return task.normalised(example.MEAN, example.STD), plain


@torch.no_grad()
def _right(net: nn.Module, split: Split, preprocessing: Preprocessing) -> float:
    """Top-1."""
    device, right = training_device(), 0
    with placed([net], device):
        for x, y in evaluation_batches(split, preprocessing):
            right += int((net(x.to(device)).argmax(1).cpu() == y).sum())
    return right / len(split)


def _codec(task: Task, teacher: fx.GraphModule, kind: str, quality: int) -> Row:
    images, lengths, payloads = [], [], []
    for image in task.test.images:
        buffer = io.BytesIO()
        options = {"optimize": True} if kind == "JPEG" else {"method": 6}
        Image.fromarray(image).save(buffer, kind, quality=quality, **options)
        data = buffer.getvalue()
        lengths.append(len(data))
        payloads.append(_scan_bytes(data) if kind == "JPEG" else len(data) - _WEBP_HEADERS)
        images.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    seen = Split(np.stack(images), task.test.labels)
    return {
        "top1_test": _right(teacher, seen, task.preprocessing),
        "bytes": float(np.mean(lengths)),
        "payload_bytes": float(np.mean(payloads)),
    }


def _scan_bytes(data: bytes) -> int:
    """Of a baseline JPEG: what lies between the header of the scan and the end marker."""
    place = 2
    while data[place + 1] != 0xDA:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return len(data) - 2 - (place + 2 + int.from_bytes(data[place + 2 : place + 4], "big"))


def _student(
    task: Task,
    teacher: fx.GraphModule,
    recipe: StudentRecipe,
    given: argparse.Namespace,
    start: Path | None,
) -> Row:
    has_patches = isinstance(recipe.sizes, PatchRecipe)
    folder = given.work / f"{'patches' if has_patches else 'student'}-{recipe.beta:g}"
    place = at_input(teacher) if has_patches else first_stage(teacher)
    student = trained_student(
        teacher, place, task, recipe, folder, start=start, progress=Progress()
    )
    latent = (recipe.sizes.channels, student.latent_side, student.latent_side)
    tables = student.prior.tables("benchmark", latent)
    row = _sent(student, tables, task)
    if not has_patches:
        return row
    plain = {f"{name}_without_contexts": value for name, value in row.items()}
    return plain | _sent(student, with_contexts(tables, _symbols(student, tables, task)), task)


def _int8(
    task: Task,
    teacher: fx.GraphModule,
    given: argparse.Namespace,
    start: Path,
    name: str,
    is_trained: bool,
) -> Row:
    weight_max = probe(Target()).int8_weight_max
    sizes = PatchRecipe()
    recipe = StudentRecipe(
        given.baseline_price,
        given.baseline_epochs,
        sizes,
        int8_weight_max=weight_max if is_trained else None,
    )
    folder = given.work / ("encoder-int8" if is_trained else "encoder-float32")
    student = trained_student(
        teacher, at_input(teacher), task, recipe, folder, start=start, progress=Progress()
    )
    if name == "int8 afterwards":
        student.rounding = EncoderRounding(sizes, weight_max).eval()
        images = to_tensor(task.calibration.images, task.preprocessing)
        student.rounding.fix(student.encoder, images)
    latent = (sizes.channels, student.latent_side, student.latent_side)
    return _sent(student, student.prior.tables("benchmark", latent), task)


@torch.no_grad()
def _symbols(student: Student, tables: Tables, task: Task) -> Symbols:
    """Of training images."""
    student.eval()
    batches = evaluation_batches(task.train.evenly(N_COUNTED), task.preprocessing)
    latents = (latent for x, _ in batches for latent in student.latent(x).numpy())
    return np.stack([tables.symbols(latent) for latent in latents])


Make = Callable[[Student, fx.GraphModule], Objective]
CHANNELS = (2, 3, 6)


def _baselines(beta: float) -> list[tuple[str, Make, PatchRecipe]]:
    found: list[tuple[str, Make, PatchRecipe]] = [
        (f"end to end {beta}", partial(_end_to_end, beta=beta), PatchRecipe()),
        (f"one stage {beta}", partial(joint_objective, beta=beta), PatchRecipe()),
    ]
    return found + [(f"8 bits of {n}", _reduced, PatchRecipe(n)) for n in CHANNELS]


def _end_to_end(student: Student, teacher: fx.GraphModule, beta: float) -> Objective:
    """Labels and bits alone."""

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        latent = student.encoder(x)
        noisy = latent + torch.from_numpy(step.rng.random(latent.shape, np.float32)) - 0.5
        with fast_products():
            logits = student.tail(student.decoder(noisy))
        loss = cross_entropy(logits.float(), y, 0.0) + beta * student.prior.bits(noisy) / len(x)
        loss.backward()
        return float(loss.detach())

    return objective


def _reduced(student: Student, teacher: fx.GraphModule) -> Objective:
    """Labels and the teacher's answers, through 8 bits; the gradient passes straight through."""

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        latent = student.encoder(x)
        seen = latent + (_eight_bits(latent)[0] - latent).detach()
        with fast_products():
            with torch.no_grad():
                answers = teacher(x)
            logits = student.tail(student.decoder(seen)).float()
        loss = 0.5 * cross_entropy(logits, y, 0.0) + 0.5 * distillation(logits, answers.float())
        loss.backward()
        return float(loss.detach())

    return objective


def _eight_bits(latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image in 256 steps from its least to its greatest value: values and bytes."""
    low = latent.amin((1, 2, 3), keepdim=True)
    scale = (latent.amax((1, 2, 3), keepdim=True) - low).clamp(min=1e-6) / 255
    steps = ((latent - low) / scale).round()
    return steps * scale + low, steps.to(torch.uint8)


def _baseline(
    task: Task,
    teacher: fx.GraphModule,
    make: Make,
    sizes: PatchRecipe,
    given: argparse.Namespace,
) -> Row:
    torch.manual_seed(0)
    student = Student(teacher, at_input(teacher), sizes, task.preprocessing.resolution)
    begin_with(student, task)
    recipe, _ = StudentRecipe(1.0, given.baseline_epochs, sizes).stages(task)
    model, objective = WholeStage(student), make(student, teacher)
    train(model, objective, task, recipe, progress=Progress(), label="baseline", beside=(teacher,))
    if make is not _reduced:
        student.prior.settle()
        latent = (sizes.channels, student.latent_side, student.latent_side)
        return _sent(student, student.prior.tables("benchmark", latent), task)
    right, lengths = 0, list[int]()
    with torch.no_grad():
        for x, y in evaluation_batches(task.test, task.preprocessing):
            seen, steps = _eight_bits(student.encoder(x))
            lengths += [len(zlib.compress(one.numpy().tobytes(), 9)) for one in steps]
            right += int((student.tail(student.decoder(seen)).argmax(1) == y).sum())
    return {"top1_test": right / len(task.test), "payload_bytes": float(np.mean(lengths))}


@torch.no_grad()
def _sent(student: Student, tables: Tables, task: Task) -> Row:
    """Every test image through real frames."""
    student.eval()
    right, lengths, information = 0, [], []
    for x, y in evaluation_batches(task.test, task.preprocessing):
        latents = student.latent(x).numpy()
        frames = [tables.encode(tables.symbols(latent)) for latent in latents]
        lengths += [len(frame) - HEADER_BYTES for frame in frames]
        received: NDArray[np.float32] = np.stack(
            [tables.latent(tables.decode(frame)) for frame in frames]
        )
        seen = torch.from_numpy(received)
        information += [float(student.prior.bits(one[None])) for one in seen]
        right += int((student.tail(student.decoder(seen)).argmax(1) == y).sum())
    over = 8 * np.array(lengths) - np.array(information)
    return {
        "top1_test": right / len(task.test),
        "payload_bytes": float(np.mean(lengths)),
        "bits_over_prior_mean": float(over.mean()),
        "bits_over_prior_worst": float(over.max()),
        "bits_mean": float(np.mean(information)),
    }


if __name__ == "__main__":
    main()
