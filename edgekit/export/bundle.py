"""The artifact: one folder that holds a network and all that is needed to run and to check it.

bundle/
  model.onnx           the network as it runs on the device
  preprocessing.json   from an image to its input
  labels.json          class names in the order of its outputs
  runner.py            classifies images; needs onnxruntime, numpy and Pillow only
  parity.safetensors   images, and what torch, fp32 ONNX and the int8 simulation answered
  manifest.json        what it is and where it came from, with a digest of every file above
  proof.json           what was measured on the device; after a verification
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from onnx import ModelProto

from edgekit.core.errors import EdgekitError, InputError, VerificationFailed
from edgekit.core.files import read_json, sha256_of, write_bytes_atomic, write_json
from edgekit.core.precision import Precision
from edgekit.core.provenance import git_revision, utc_now, versions
from edgekit.core.task import Preprocessing
from edgekit.export.manifest import (
    MANIFEST,
    FileRecord,
    Manifest,
    MeasuredSummary,
    Provenance,
    load_manifest,
    save_manifest,
)
from edgekit.export.onnx_model import nodes_by_block
from edgekit.export.parity import MAX_PROBE_BYTES, Probe

MODEL, PROBE, RUNNER = "model.onnx", "parity.safetensors", "runner.py"
PREPROCESSING, LABELS, PROOF = "preprocessing.json", "labels.json", "proof.json"
_FILES = (MODEL, PREPROCESSING, LABELS, RUNNER, PROBE)
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk whose files are what its manifest says.

    Attributes:
        folder: where it lies.
        manifest: what it is.
        preprocessing: from an image to the network's input.
        labels: class names in the order of the outputs.

    Example:
        >>> Bundle.open(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        edgekit.core.errors.InputError: a file of kind bundle is needed, nowhere/manifest.json ...
    """

    folder: Path
    manifest: Manifest
    preprocessing: Preprocessing
    labels: tuple[str, ...]

    @property
    def model_path(self) -> Path:
        """The network."""
        return self.folder / MODEL

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read a bundle and check every file against its digest.

        Raises:
            InputError: no bundle is there, its manifest is incomplete, or of another version.
            VerificationFailed: a file is missing, not a plain file, or changed; the message
                names it.
        """
        path = Path(folder)
        manifest = load_manifest(path)
        if missing := [name for name in _FILES if name not in manifest.files]:
            raise InputError(
                f"a bundle has the files {', '.join(_FILES)}, the manifest of {path} lacks "
                f"{missing[0]}; export it again"
            )
        for name, record in manifest.files.items():
            _check_file(path / name, record)
        preprocessing = Preprocessing.from_json(
            read_json(path / PREPROCESSING, "preprocessing", _SCHEMA_VERSION)
        )
        return cls(path, manifest, preprocessing, _read_labels(path / LABELS))

    def probe(self) -> Probe:
        """The images and answers that parity is checked with.

        Raises:
            InputError: the file does not hold them, or is larger than 64 MiB.
        """
        path = self.folder / PROBE
        if path.stat().st_size > MAX_PROBE_BYTES:
            raise InputError(
                f"{PROBE} has at most {MAX_PROBE_BYTES} bytes, {path} has {path.stat().st_size}"
            )
        return Probe.from_bytes(path.read_bytes())

    def recorded(self, summary: MeasuredSummary) -> Bundle:
        """The bundle after its manifest was given what a verification measured."""
        manifest = replace(self.manifest, measured=summary)
        save_manifest(self.folder, manifest)
        return replace(self, manifest=manifest)


def write_bundle(
    folder: str | Path,
    *,
    model: ModelProto,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    probe: Probe,
    provenance: Provenance,
) -> Bundle:
    """Write a bundle beside its place and move it there: it is whole or absent.

    Args:
        folder: where to; absent, empty, or a bundle with nothing else in it, which is replaced.
        model: the network as it will run.
        preprocessing: of its input.
        labels: class names, one per output.
        probe: recorded answers.
        provenance: what the network is.

    Raises:
        InputError: a folder that holds something else, or parts that do not fit together.
    """
    path = Path(folder).absolute()
    check_place(path)
    _check_fit(model, preprocessing, labels, probe, provenance)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        beside.chmod(0o755)
        write_bytes_atomic(beside / MODEL, model.SerializeToString(deterministic=True))
        write_json(
            beside / PREPROCESSING, "preprocessing", _SCHEMA_VERSION, preprocessing.to_json()
        )
        write_json(beside / LABELS, "labels", _SCHEMA_VERSION, {"labels": list(labels)})
        runner = files("edgekit.export.templates").joinpath(RUNNER)
        write_bytes_atomic(beside / RUNNER, runner.read_bytes())
        write_bytes_atomic(beside / PROBE, probe.to_bytes())
        records = {name: _record(beside / name) for name in _FILES}
        save_manifest(beside, Manifest(utc_now(), versions(), git_revision(), provenance, records))
        _move_into_place(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Bundle.open(path)


def check_place(path: Path) -> None:
    """Refuse a folder that holds anything but a bundle.

    Raises:
        InputError: names what is there.
    """
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_dir():
        raise InputError(f"a bundle is written to a folder, {path} is none; choose another place")
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return
    try:
        own = {*load_manifest(path).files, MANIFEST, PROOF}
    except EdgekitError as error:
        raise InputError(
            f"a bundle replaces an empty folder or another bundle, {path} is neither; "
            "choose another folder"
        ) from error
    if foreign := [name for name in names if name not in own]:
        raise InputError(
            f"a bundle replaces a bundle with nothing else in it, {path} also holds "
            f"{foreign[0]}; move that away or choose another folder"
        )


def _move_into_place(beside: Path, path: Path) -> None:
    """Rename; an older bundle is moved aside first, and comes back if the rename fails."""
    if not path.exists():
        os.rename(beside, path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    os.rename(path, old)
    try:
        os.rename(beside, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def _check_fit(
    model: ModelProto,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    probe: Probe,
    provenance: Provenance,
) -> None:
    side = preprocessing.resolution
    taken = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    if taken != [3, side, side]:
        raise InputError(f"the network must take (3, {side}, {side}) as its preprocessing gives")
    n_classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if not len(labels) == n_classes == probe.torch_logits.shape[1]:
        raise InputError(
            f"there must be one label per output, got {len(labels)} labels, {n_classes} outputs "
            f"and {probe.torch_logits.shape[1]} recorded logits"
        )
    int8 = [name for name, kind in provenance.precisions.items() if kind is Precision.INT8]
    if unknown := sorted(set(int8) - set(nodes_by_block(model))):
        raise InputError(f"an int8 block must be in the network, {unknown[0]!r} is not")


def _record(path: Path) -> FileRecord:
    return FileRecord(sha256_of(path), path.stat().st_size)


def _check_file(path: Path, record: FileRecord) -> None:
    advice = "the bundle was changed after its export; export it again"
    if path.is_symlink() or not path.is_file():
        raise VerificationFailed(f"{path.name} must be a plain file in {path.parent}; {advice}")
    if (size := path.stat().st_size) != record.size_bytes:
        raise VerificationFailed(
            f"{path.name} must have {record.size_bytes} bytes, it has {size}; {advice}"
        )
    if (digest := sha256_of(path)) != record.sha256:
        raise VerificationFailed(
            f"{path.name} must have the digest {record.sha256[:12]}..., it has {digest[:12]}...; "
            f"{advice}"
        )


def _read_labels(path: Path) -> tuple[str, ...]:
    labels = read_json(path, "labels", _SCHEMA_VERSION).get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InputError(f"labels are a list of names, {path} holds something else")
    return tuple(labels)
