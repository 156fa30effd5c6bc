"""The whole line on CIFAR-10: three latency limits and a size limit, beside the alternatives.

    python tests/benchmarks/bench_cifar.py --data cifar10 --work build/cifar --out cifar.json

Two threads, single-image latency. Fits at three limits share one supernet. Beside each artifact:
(a) the best of as many randomly drawn candidates, chosen and fine-tuned in the same way; beside
all of them (b) the largest sub-network, fine-tuned in the same way and quantised whole by ONNX
Runtime's own tool, and (c) a hand-made MobileNetV2-like network of the latency of the best
artifact, trained alone. Every stage leaves its result in the work folder; the same command goes on
where it stopped. Test images are read once per artifact, at its end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgekit.core.errors import Infeasible, TooNoisy
from edgekit.core.figures import Measured
from edgekit.core.limits import Limits
from edgekit.core.precision import FULL_WEIGHT_MAX, Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task, load_task
from edgekit.devices.measuring.measure import measure_models
from edgekit.devices.measuring.session import Model
from edgekit.devices.probe import probe
from edgekit.devices.profile import DeviceProfile
from edgekit.effort import FULL, Effort
from edgekit.export.onnx_model import export_onnx
from edgekit.export.quantise import quantise_blocks
from edgekit.export.run import measure_accuracy
from edgekit.report.fitted import Fitted
from edgekit.search.finetuning import finetuned
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace, Stage
from edgekit.search.space import precisions_of
from edgekit.training.batchnorm import reestimate
from edgekit.training.distil import labelled_objective
from edgekit.training.loop import train
from edgekit.training.simulate import block_paths
from edgekit.workflow import fit, profile_target, resume_search

SHARES = (0.36, 0.6, 0.95)
MAX_SIZE = "1.2MB"
TARGET = Target("local?threads=2")
HAND_MADE_EPOCHS = 14
MAX_SESSIONS = 40
Row = dict[str, Any]


def main() -> None:
    """Run what is missing, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default="fit,random,int8,hand")
    parser.add_argument("--evaluations", type=int, default=FULL.n_evaluations)
    arguments = parser.parse_args()
    work, parts = arguments.work, arguments.parts.split(",")
    effort = replace(FULL, n_evaluations=arguments.evaluations)
    task = load_task(arguments.data, seed=0)
    stage = Stages(work / "stages.json")
    stage("profile", lambda: _profile(work))
    space = MBConvSpace(MBConvRecipe.for_task(task.preprocessing.resolution, len(task.labels)))
    largest = stage("largest", lambda: _largest(work, space))
    for part, strategy in (("fit", "simq"), ("random", "random")):
        for share in SHARES if part in parts else ():
            make = partial(_fit, task, work, strategy, share, largest, effort, arguments.data)
            stage(f"{strategy} {share}", make)
    if "int8" in parts:
        stage("largest int8", lambda: _largest_int8(task, work, effort))
    if "hand" in parts:
        best = max((stage.done[f"simq {s}"] for s in SHARES), key=lambda row: row["top1_test"])
        stage("hand-made", lambda: _hand_made(task, work, best["latency_p50_s"]))
    together = stage("side by side", lambda: _side_by_side(work)) if "hand" in parts else {}
    arguments.out.write_text(json.dumps({"stages": stage.done, "together": together}, indent=1))
    _print(stage.done, largest)


class Stages:
    """Results by name, kept in a file, with the seconds each took."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, Row] = json.loads(path.read_text()) if path.is_file() else {}

    def __call__(self, name: str, make: Callable[[], Row]) -> Row:
        """The result of a stage, made when it is not there."""
        if name not in self.done:
            started = time.perf_counter()
            row = make()
            self.done[name] = {**row, "seconds": time.perf_counter() - started}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.done, indent=1))
            print(name, json.dumps(self.done[name]), flush=True)
        return self.done[name]


def _profile(work: Path) -> Row:
    profile = profile_target(TARGET, work / "profile", quick=True)
    return {"held_out_mape": profile.validation.accuracy.mape}


def _measured(work: Path, models: Mapping[str, Model]) -> dict[str, Measured]:
    """One sound session, taken while the machine is as fast as when it was profiled."""
    fast_s = DeviceProfile.load(work / "profile").reference_fast_s
    for _ in range(MAX_SESSIONS):
        with suppress(TooNoisy):
            return measure_models(models, TARGET, known_fast_s=fast_s)
    raise TooNoisy(f"one of {MAX_SESSIONS} sessions must be sound, none was; try at another time")


def _largest(work: Path, space: MBConvSpace) -> Row:
    models = {
        str(p): candidate_model(space, space.largest(p)) for p in (Precision.FP32, Precision.INT8)
    }
    figures = _measured(work, models)
    return {
        "latency_p50_s": figures["fp32"].p50_s,
        "int8_latency_p50_s": figures["int8"].p50_s,
        "measured": asdict(figures["fp32"]),
    }


def _fit(
    task: Task, work: Path, strategy: str, share: float, largest: Row, effort: Effort, data: str
) -> Row:
    """One ``fit``; later ones take over the first supernet, random ones share their draws."""
    name = f"{strategy}-{share}"
    limits = replace(Limits.of(size=MAX_SIZE), latency_s=share * largest["latency_p50_s"])
    out, first = work / name, work / f"simq-{SHARES[0]}" / "run"
    if strategy == "random" and name != f"random-{SHARES[0]}":
        shared = work / f"random-{SHARES[0]}" / "run" / "run.db"
        (out / "run").mkdir(parents=True, exist_ok=True)
        if not (out / "run" / "run.db").is_file():
            shutil.copyfile(shared, out / "run" / "run.db")
    try:
        fitted = fit(
            task,
            out,
            limits=limits,
            target=TARGET,
            strategy=strategy,
            effort=effort,
            profile=work / "profile",
            supernet=None if out / "run" == first else first,
            data=data,
            command=f"python tests/benchmarks/bench_cifar.py ({name})",
        )
    except Infeasible as error:
        return {"infeasible": str(error)}
    return _fitted_row(fitted, limits)


def _fitted_row(fitted: Fitted, limits: Limits) -> Row:
    proof, space = fitted.proof, fitted.run.space
    blocks = list(precisions_of(space, fitted.entry.candidate).values())
    return {
        "candidate": fitted.entry.candidate.text,
        "top1_test": proof.accuracy.top1,
        "top1_interval": proof.accuracy.interval,
        "top1_validation_before_finetuning": fitted.entry.accuracy.top1,
        "latency_p50_s": proof.latency.p50_s,
        "latency_interval_s": proof.latency.interval_s,
        "latency_limit_s": limits.latency_s,
        "size_bytes": proof.size_bytes,
        "size_limit_bytes": limits.size_bytes,
        "int8_share": blocks.count(Precision.INT8) / len(blocks),
        "limits_met": proof.holds,
        "attempts": len(fitted.attempts),
        "n_measured": len(fitted.run.measured),
        "notes": fitted.notes,
    }


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Calibration images one by one, as ONNX Runtime's tool wants them."""

    def __init__(self, images: np.ndarray) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next image, or None."""
        image = next(self._images, None)
        return None if image is None else {"input": image[None]}


def _largest_int8(task: Task, work: Path, effort: Effort) -> Row:
    """The largest sub-network, fine-tuned alike, every node quantised by ``quantize_static``."""
    run = resume_search(work / f"simq-{SHARES[0]}" / "run", task)
    recipe = effort.recipe(task, effort.finetune_images, 2, is_pretrained=False)
    net = finetuned(
        run.networks, run.folder, run.space.largest(), task, recipe, progress=Progress()
    )
    model = export_onnx(net, task.preprocessing.resolution, block_paths(net))
    plain, ready, whole = (work / f"largest-{n}.onnx" for n in ("fp32", "ready", "int8"))
    onnx.save(model, plain)
    quant_pre_process(str(plain), str(ready))
    quantize_static(
        str(ready),
        str(whole),
        _Images(task.preprocessing.apply(task.calibration.images)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=probe(TARGET).int8_weight_max < FULL_WEIGHT_MAX,
    )
    return _measured_file(task, work, whole)


def _measured_file(task: Task, work: Path, path: Path) -> Row:
    figure = _measured(work, {path.name: path})[path.name]
    accuracy = measure_accuracy(
        path, task.test, task.preprocessing, name="test", n_threads=os.cpu_count() or 1
    )
    return {
        "top1_test": accuracy.top1,
        "top1_interval": accuracy.interval,
        "latency_p50_s": figure.p50_s,
        "latency_interval_s": figure.interval_s,
        "size_bytes": path.stat().st_size,
    }


def _hand_made(task: Task, work: Path, latency_s: float) -> Row:
    """MobileNetV2-like, of the given latency in fp32, trained alone by the same loop."""
    space = _hand_made_space(task, work, latency_s)
    candidate = space.uniform(1, Precision.FP32)
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    net = MBConvNet(space, space.decode(candidate))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    n_images = HAND_MADE_EPOCHS * len(task.train)
    recipe = FULL.recipe(task, n_images, 0, is_pretrained=False)
    assert recipe is not None
    objective = labelled_objective(net, recipe.label_smoothing)
    checkpoint = work / "hand-made.safetensors"
    train(
        net, objective, task, recipe, progress=Progress(), label="hand-made", checkpoint=checkpoint
    )
    reestimate(net, task.train, task.preprocessing, 4000)
    model = export_onnx(net, task.preprocessing.resolution, block_paths(net))
    onnx.save(model, work / "hand-made-fp32.onnx")
    images = task.preprocessing.apply(task.calibration.images)
    weight_max = probe(TARGET).int8_weight_max
    int8 = quantise_blocks(model, list(block_paths(net).values()), images, weight_max=weight_max)
    onnx.save(int8, work / "hand-made-int8.onnx")
    return {
        **_measured_file(task, work, work / "hand-made-fp32.onnx"),
        "int8": _measured_file(task, work, work / "hand-made-int8.onnx"),
        "widths": [stage.width for stage in space.recipe.stages],
        "n_parameters": sum(p.numel() for p in net.parameters()),
    }


def _hand_made_space(task: Task, work: Path, latency_s: float) -> MBConvSpace:
    """Widths whose fp32 latency is nearest to the given one, by measurement."""
    side, n_classes = task.preprocessing.resolution, len(task.labels)
    spaces = {}
    for factor in (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25):
        widths = [max(16, round(w * factor / 8) * 8) for w in (32, 64, 96)]
        stages = tuple(Stage(w, d, 2) for w, d in zip(widths, (2, 3, 2), strict=True))
        spaces[str(factor)] = MBConvSpace(
            MBConvRecipe(side, n_classes, 16, 1, 16, stages, max(96, round(256 * factor / 8) * 8))
        )
    models = {n: candidate_model(s, s.uniform(1, Precision.FP32)) for n, s in spaces.items()}
    figures = _measured(work, models)
    nearest = min(figures, key=lambda name: abs(figures[name].p50_s / latency_s - 1))
    return spaces[nearest]


def _side_by_side(work: Path) -> Row:
    """All artifacts timed again in one interleaved session: latencies that can be compared."""
    models = {path.parent.parent.name: path for path in work.glob("*/bundle/model.onnx")}
    models |= {path.stem: path for path in work.glob("*int8.onnx")}
    models |= {path.stem: path for path in work.glob("hand-made-fp32.onnx")}
    figures = _measured(work, models)
    return {name: {"p50_s": f.p50_s, "interval_s": f.interval_s} for name, f in figures.items()}


def _print(done: dict[str, Row], largest: Row) -> None:
    print(f"largest fp32: {1e3 * largest['latency_p50_s']:.3f} ms p50, 2 threads")
    print(f"{'what':<22}{'top-1 %':>9}{'p50 ms':>9}{'limit ms':>10}{'kB':>8}{'int8':>7}{'s':>8}")
    for name, row in done.items():
        if "top1_test" in row:
            limit = row.get("latency_limit_s")
            print(
                f"{name:<22}{100 * row['top1_test']:>9.2f}{1e3 * row['latency_p50_s']:>9.3f}"
                f"{1e3 * limit if limit else float('nan'):>10.3f}{row['size_bytes'] / 1e3:>8.0f}"
                f"{row.get('int8_share', float('nan')):>7.2f}{row['seconds']:>8.0f}"
            )


if __name__ == "__main__":
    main()
