"""The two halves on disk, and what is measured of them.

halves/
  device/  encoder.onnx, tables.json, preprocessing.json, codec.py, images.py, runner.py
  server/  server.onnx, tables.json, labels.json, codec.py, runner.py
  split.json  what they are, with a digest of every file; proof.json after a verification
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import nn

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.figures import Measured, MeasuredAccuracy
from edgekit.core.files import json_bytes, read_json, sha256_of, write_bytes_atomic, write_json
from edgekit.core.precision import INT8_TOLERANCE
from edgekit.core.progress import Progress
from edgekit.core.provenance import git_revision, utc_now, versions
from edgekit.core.target import Target
from edgekit.core.task import Preprocessing, Split, Task
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, compare_models, measure_models
from edgekit.devices.measuring.session import open_session
from edgekit.devices.probe import probe
from edgekit.export.onnx_model import export_part
from edgekit.export.quantise import quantise_blocks
from edgekit.search.elastic.folding import folded
from edgekit.split.bottleneck import fixed
from edgekit.split.codec import HEADER_BYTES, Symbols, Tables
from edgekit.split.contexts import with_contexts
from edgekit.split.patches import PatchRecipe
from edgekit.split.student import Student

DEVICE, SERVER, MANIFEST, PROOF = "device", "server", "split.json", "proof.json"
ENCODER, REST, TABLES = "encoder.onnx", "server.onnx", "tables.json"
_KIND, _SCHEMA = "split", 1
_PROOF_KIND = "split-proof"
_DEVICE_FILES = (ENCODER, TABLES, "preprocessing.json", "codec.py", "images.py", "runner.py")
_BATCH, _N_JUDGED, _N_PAIRS, _N_COUNTED = 250, 2500, 16, 8000


@dataclass(frozen=True, slots=True)
class Halves:
    """Both halves, every file of which is what the manifest says.

    Attributes:
        folder: holds ``device`` and ``server``.
        tables: what both have.
        preprocessing: from an image to the encoder's input.
        labels: class names in the order of the outputs.
        seed: of the splits of the data they were trained on.
    """

    folder: Path
    tables: Tables
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    seed: int

    @classmethod
    def open(cls, folder: Path) -> Halves:
        """Read both and check every file.

        Raises:
            InputError: no halves are there.
            VerificationFailed: a file is missing or changed.
        """
        manifest = read_json(folder / MANIFEST, _KIND, _SCHEMA)
        records = manifest.get("files")
        if not isinstance(records, dict):
            raise InputError(f"{folder / MANIFEST} names no files; split again")
        made: Any = manifest.get("provenance")
        try:
            seed = int(made["data"]["seed"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"halves know the seed of their data, {folder / MANIFEST} does not; split again"
            ) from error
        for name, digest in records.items():
            path = folder / name
            inside = path.resolve().is_relative_to(folder.resolve())
            if not inside or not path.is_file() or sha256_of(path) != digest:
                raise VerificationFailed(
                    f"{name} must be the file that was written, in {folder} it is not; split again"
                )
        try:
            tables = Tables.load(folder / DEVICE / TABLES)
            theirs = Tables.load(folder / SERVER / TABLES)
        except (OSError, ValueError) as error:
            raise InputError(f"both halves have tables, {folder} has not: {error}") from error
        if tables.digest != theirs.digest:
            raise VerificationFailed(f"both halves have one table, in {folder} they differ")
        document = read_json(folder / DEVICE / "preprocessing.json", "preprocessing", 1)
        labels = read_json(folder / SERVER / "labels.json", "labels", 1)["labels"]
        if not isinstance(labels, list):
            raise InputError(f"labels are a list of names, {folder} holds something else")
        names = tuple(map(str, labels))
        return cls(folder, tables, Preprocessing.from_json(document), names, seed)

    def model(self, name: str) -> bytes:
        """``ENCODER`` or ``REST``."""
        return (self.folder / (DEVICE if name == ENCODER else SERVER) / name).read_bytes()


@dataclass(frozen=True, slots=True)
class HalvesProof:
    """What was measured of two halves.

    Attributes:
        accuracy: on the test split, every image by way of a real frame.
        payload_bytes: mean over the split, frames apart.
        largest_payload_bytes: of one image.
        encoder: latency of the device half's network, one image.
        server: latency of the server half's, one image.
        encode_s: median time to make a frame of a latent, in seconds.
        decode_s: the same to read one.
        target: where latency was measured.
    """

    accuracy: MeasuredAccuracy
    payload_bytes: float
    largest_payload_bytes: int
    encoder: Measured
    server: Measured
    encode_s: float
    decode_s: float
    target: str


def write_halves(
    folder: Path,
    student: Student,
    task: Task,
    target: Target,
    provenance: Mapping[str, object],
    *,
    encoder_of: Halves | None = None,
    tolerance: float = INT8_TOLERANCE,
) -> Halves:
    """Export both halves beside their place and move them there.

    Tables are made here, of the prior as it is: it must not be trained any more. Those of patches
    get contexts where these pay. The encoder is in int8 if it was trained for that, or where it
    pays: faster beyond doubt, and within the tolerance on validation images.

    Args:
        folder: absent or empty.
        student: trained.
        task: gives preprocessing and labels, calibration and validation images.
        target: of the device half.
        provenance: how it was made, as plain values.
        encoder_of: halves whose encoder the student has: their device half is taken as it is.
        tolerance: share of the validation images, 0..1, that int8 may cost.

    Raises:
        InputError: the folder holds something, or a half cannot be exported.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"halves are written to an empty folder, {folder} is none; choose another"
        )
    if encoder_of is None:
        device, tables, note = _device_half(student, task, target, tolerance)
    else:
        device = {name: (encoder_of.folder / DEVICE / name).read_bytes() for name in _DEVICE_FILES}
        tables, note = encoder_of.tables, "that of other halves"
    contents = {DEVICE: device, SERVER: _server_half(student, tables, task)}
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        beside.chmod(0o755)
        for half, named in contents.items():
            for name, data in named.items():
                write_bytes_atomic(beside / half / name, data)
        paths = sorted(path for path in beside.rglob("*") if path.is_file())
        manifest = {
            "created_at": utc_now(),
            "versions": versions(),
            "git_revision": git_revision(),
            "provenance": {**provenance, "data": dict(task.source), "encoder": note},
            "files": {path.relative_to(beside).as_posix(): sha256_of(path) for path in paths},
        }
        write_json(beside / MANIFEST, _KIND, _SCHEMA, manifest)
        if folder.exists():
            folder.rmdir()
        os.rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Halves.open(folder)


def encoder_model(student: Student, resolution: int) -> ModelProto:
    """The encoder in float32, one block that is called ``encoder``."""
    shape = (3, resolution, resolution)
    return export_part(fixed(student.encoder), shape, block="encoder", output="latent")


def _device_half(
    student: Student, task: Task, target: Target, tolerance: float
) -> tuple[dict[str, bytes], Tables, str]:
    """Files by name, the tables among them, and what the encoder's precision is for."""
    side = student.latent_side
    encoder = encoder_model(student, task.preprocessing.resolution)
    encoder, note = _paying(encoder, student, task, target, tolerance)
    data = _bytes(encoder)
    latent = (student.recipe.channels, side, side)
    tables = student.prior.tables(hashlib.sha256(data).hexdigest(), latent)
    if isinstance(student.recipe, PatchRecipe):
        tables = with_contexts(tables, _symbols(encoder, tables, task))
    preprocessing = json_bytes("preprocessing", 1, task.preprocessing.to_json())
    contents = {
        ENCODER: data,
        TABLES: tables.to_bytes(),
        "preprocessing.json": preprocessing,
        "codec.py": files("edgekit.split").joinpath("codec.py").read_bytes(),
        "images.py": files("edgekit.export.templates").joinpath("runner.py").read_bytes(),
        "runner.py": files("edgekit.split.templates").joinpath("device.py").read_bytes(),
    }
    return contents, tables, note


def _symbols(encoder: ModelProto, tables: Tables, task: Task) -> Symbols:
    """Of training images."""
    split, session, found = task.train.evenly(_N_COUNTED), open_session(encoder, n_threads=1), []
    for start in range(0, len(split), _BATCH):
        x = task.preprocessing.apply(split.images[start : start + _BATCH])
        (latents,) = session.run(None, {"input": x})
        found += [tables.symbols(latent) for latent in latents]
    return np.stack(found)


def _server_half(student: Student, tables: Tables, task: Task) -> dict[str, bytes]:
    """Files by name."""
    side = student.latent_side
    rest = nn.Sequential(fixed(student.decoder), folded(student.tail)).eval()
    latent = (student.recipe.channels, side, side)
    return {
        REST: _bytes(export_part(rest, latent, block="server", output="logits")),
        TABLES: tables.to_bytes(),
        "labels.json": json_bytes("labels", 1, {"labels": list(task.labels)}),
        "codec.py": files("edgekit.split").joinpath("codec.py").read_bytes(),
        "runner.py": files("edgekit.split.templates").joinpath("server.py").read_bytes(),
    }


def _paying(
    plain: ModelProto, student: Student, task: Task, target: Target, tolerance: float
) -> tuple[ModelProto, str]:
    """The encoder in int8 or float32, and why."""
    images = task.preprocessing.apply(task.calibration.images)
    trained = student.rounding
    weight_max = trained.weight_max if trained else probe(target).int8_weight_max
    int8 = quantise_blocks(plain, ["encoder"], images, weight_max=weight_max)
    if trained:
        return int8, "int8: trained for it"
    split = task.validation.evenly(_N_JUDGED)
    cost = _top1(plain, student, split, task) - _top1(int8, student, split, task)
    found = compare_models(int8, plain, target, n_pairs=_N_PAIRS)
    said = f"{found.ratio:.2f} times the time of float32, {100 * cost:.2f} points of validation"
    if found.interval[1] < 1 and cost <= tolerance:
        return int8, f"int8: {said}"
    return plain, f"float32: int8 takes {said}"


@torch.no_grad()
def _top1(encoder: ModelProto, student: Student, split: Split, task: Task) -> float:
    """Of the student behind an encoder as it is exported."""
    medians = student.prior.medians[:, None, None]
    session, n_correct = open_session(encoder, n_threads=1), 0
    for start in range(0, len(split), _BATCH):
        part = slice(start, start + _BATCH)
        (found,) = session.run(None, {"input": task.preprocessing.apply(split.images[part])})
        latent = (torch.from_numpy(found) - medians).round() + medians
        logits = student.tail(student.decoder(latent))
        n_correct += int((logits.argmax(1).numpy() == split.labels[part]).sum())
    return n_correct / len(split)


def verify_halves(
    halves: Halves, target: Target, task: Task, *, progress: Progress
) -> HalvesProof:
    """Send the whole test split through real frames, and time both networks.

    Latency is taken first, while nothing else runs. The proof is left beside the halves.

    Args:
        halves: what to verify.
        target: where both networks are timed.
        task: its test split is read.
        progress: where bars are drawn.

    Raises:
        InputError: a task with other classes.
        TooNoisy: a latency cannot be had.
    """
    if halves.labels != task.labels:
        raise InputError(
            f"halves are verified on their {len(halves.labels)} classes, "
            f"{', '.join(halves.labels[:3])} and so on, got {len(task.labels)}, "
            f"{', '.join(task.labels[:3])} and so on; give data of the same"
        )
    encoder, rest = halves.model(ENCODER), halves.model(REST)
    timed = measure_models(
        {ENCODER: encoder, REST: rest}, target, patience_s=LONG_PATIENCE_S, max_lost=0
    )
    device, server = open_session(encoder, n_threads=1), open_session(rest, n_threads=2)
    tables, split = halves.tables, task.test
    lengths: list[int] = []
    encode_s: list[float] = []
    decode_s: list[float] = []
    n_correct = 0
    with progress.track(len(split), "sending test images") as update:
        for start in range(0, len(split), _BATCH):
            part = slice(start, start + _BATCH)
            x = halves.preprocessing.apply(split.images[part])
            (latents,) = device.run(None, {"input": x})
            received = []
            for latent in latents:
                before_s = time.perf_counter()
                frame = tables.encode(tables.symbols(latent))
                between_s = time.perf_counter()
                received.append(tables.latent(tables.decode(frame)))
                decode_s.append(time.perf_counter() - between_s)
                encode_s.append(between_s - before_s)
                lengths.append(len(frame) - HEADER_BYTES)
            (logits,) = server.run(None, {"input": np.stack(received)})
            n_correct += int((logits.argmax(1) == split.labels[part]).sum())
            update(min(start + _BATCH, len(split)))
    proof = HalvesProof(
        accuracy=MeasuredAccuracy(n_correct, len(split), "test"),
        payload_bytes=float(np.mean(lengths)),
        largest_payload_bytes=max(lengths),
        encoder=timed[ENCODER],
        server=timed[REST],
        encode_s=float(np.median(encode_s)),
        decode_s=float(np.median(decode_s)),
        target=target.text,
    )
    write_json(halves.folder / PROOF, _PROOF_KIND, _SCHEMA, asdict(proof))
    return proof


def _bytes(model: ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
