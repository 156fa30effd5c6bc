"""A searched encoder of patches beside fixed ones: latency, bytes and what they are worth.

    python -m tests.benchmarks.bench_encoder --data DATA --work build/encoder --profile NAME --out encoder.json

The ResNet-20 of DATA on CIFAR-10. Encoders of patches are searched for under `--max-latency-us`, each trained for
`--query-epochs`; then the default one is trained alike, and so is the published one (three convolutions with divisive
normalisation, cut at the end of the first stage, both published stages for half of the epochs each). Searched and default
are trained at each of `--prices` for `--price-epochs`, for bytes at equal accuracy, between these. All are judged on 2,500 validation images: accuracy, bits under their own prior, the loss that the search makes small; and timed side by side.
Validation images were seen by the pretrained network, so that its accuracy on them is too high for all. Kept in the work
folder; the same command goes on.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx

from edgekit.core.candidate import Candidate
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder
from edgekit.split.bottleneck import SMALL, Recipe
from edgekit.split.cutting import at_input, first_stage
from edgekit.split.halves import encoder_model
from edgekit.split.patches import PatchRecipe
from edgekit.split.searching import EncoderSearch, EncoderSpace
from edgekit.split.student import Student
from edgekit.split.training import StudentRecipe, begin_with, train_patches, trained_student
from edgekit.training.augment import evaluation_batches
from tests.benchmarks.bench_cifar import Stages
from tests.benchmarks.bench_split import teacher_of

N_JUDGED = 2500
Row = dict[str, Any]


def main() -> None:
    """Search, train what stands beside it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--profile", required=True, help="folder or shipped name")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--price", type=float, default=4e-4)
    parser.add_argument("--prices", default="1e-4,1e-3,4e-3")
    parser.add_argument("--price-epochs", type=float, default=2.0)
    parser.add_argument("--published-price", type=float, default=1.28)
    parser.add_argument("--max-latency-us", type=float, default=20.0)
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--query-epochs", type=float, default=0.5)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    task, teacher = teacher_of(given.data, "resnet20")
    profile = DeviceProfile.load(profile_folder(given.profile))
    target = Target(profile.target_text)
    recipe = StudentRecipe(given.price, given.query_epochs, PatchRecipe())
    search = EncoderSearch(
        teacher,
        task,
        recipe,
        1e-6 * given.max_latency_us,
        profile.predictor,
        target,
        given.work,
        progress=Progress(),
    )
    tried = search.run(given.evaluations)
    best = search.best(tried)
    for one in tried:
        words = search.space.words(one.candidate)["encoder"]
        int8 = ", int8" if one.candidate.genes[-1] else ""
        mark = "  <- best" if one is best else ""
        print(f"{words}{int8}: loss {one.loss:.4f}, {1e6 * one.latency_s:.1f} us{mark}")
    stage = Stages(given.work / "stages.json")
    sizes: dict[str, Recipe] = {
        "searched": search.space.sizes(best.candidate.genes),
        "default": PatchRecipe(),
        "published": SMALL,
    }
    for name, one in sizes.items():
        price = given.published_price if name == "published" else given.price
        epochs = given.query_epochs
        stage(name, partial(_judged, task, teacher, one, given, price, epochs))
        epochs = given.price_epochs
        for other in map(float, given.prices.split(",") if name != "published" else ()):
            made = partial(_judged, task, teacher, one, given, other, epochs)
            stage(f"{name} {other:g}", made)
    models = {
        name: encoder_model(_student(task, teacher, one), task.preprocessing.resolution)
        for name, one in sizes.items()
    }
    figures = measure_models(models, target, patience_s=300, max_lost=0)
    rows = {name: stage.done[name] | {"p50_s": figures[name].p50_s} for name in sizes}
    document = {"tried": [_tried(search.space, one) for one in tried], "rows": rows}
    given.out.write_text(json.dumps(document | {"prices": stage.done}, indent=1))
    for name, row in rows.items():
        print(
            f"{name:>10}: encoder {1e6 * row['p50_s']:.1f} us in float32, "
            f"{row['bytes']:.1f} bytes, {row['top1_validation']:.2%}, loss {row['loss']:.4f}"
        )
    curves = {name: _curve(stage.done, name) for name in ("searched", "default")}
    worst = max(accuracies[0] for accuracies, _ in curves.values())
    best_of_all = min(accuracies[-1] for accuracies, _ in curves.values())
    if worst > best_of_all:
        print("no accuracy is between the prices of both: bytes at equal accuracy are not known")
        return
    for accuracy in np.linspace(worst, best_of_all, 4):
        found = {name: np.interp(accuracy, *curve) for name, curve in curves.items()}
        print(f"at {accuracy:.2%}: " + ", ".join(f"{n} {b:.1f} bytes" for n, b in found.items()))


def _curve(rows: dict[str, Row], name: str) -> tuple[list[float], list[float]]:
    """Accuracies of an encoder over prices, ascending, and bytes."""
    of = [row for key, row in rows.items() if key.startswith(f"{name} ")]
    points = sorted((row["top1_validation"], row["bytes"]) for row in of)
    return [accuracy for accuracy, _ in points], [n_bytes for _, n_bytes in points]


def _tried(space: EncoderSpace, one: Any) -> Row:
    candidate: Candidate = one.candidate
    return {
        "genes": list(candidate.genes),
        "encoder": space.words(candidate)["encoder"],
        "loss": one.loss,
        "latency_s": one.latency_s,
    }


def _student(task: Task, teacher: fx.GraphModule, sizes: Recipe) -> Student:
    torch.manual_seed(0)
    place = at_input(teacher) if isinstance(sizes, PatchRecipe) else first_stage(teacher)
    return Student(teacher, place, sizes, task.preprocessing.resolution).eval()


def _judged(
    task: Task,
    teacher: fx.GraphModule,
    sizes: Recipe,
    given: argparse.Namespace,
    price: float,
    epochs: float,
) -> Row:
    if isinstance(sizes, PatchRecipe):
        student = _student(task, teacher, sizes)
        begin_with(student, task)
        recipe = StudentRecipe(price, epochs, sizes)
        train_patches(student, teacher, task, recipe, label="patches", progress=Progress())
    else:
        folder = given.work / "published"
        folder.mkdir(exist_ok=True)
        recipe = StudentRecipe(price, epochs / 2, sizes)
        student = trained_student(
            teacher, first_stage(teacher), task, recipe, folder, progress=Progress()
        )
    student.eval()
    split = task.validation.evenly(N_JUDGED)
    right, bits, loss = 0, 0.0, 0.0
    with torch.no_grad():
        for x, y in evaluation_batches(split, task.preprocessing):
            seen = student.rounded(x)
            logits = student.tail(student.decoder(seen))
            right += int((logits.argmax(1) == y).sum())
            bits += float(student.prior.bits(seen))
            loss += float(F.cross_entropy(logits, y, reduction="sum"))
    n = len(split)
    return {
        "top1_validation": right / n,
        "bytes": bits / n / 8,
        "loss": loss / n + given.price * bits / n,
    }


if __name__ == "__main__":
    main()
