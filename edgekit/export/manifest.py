"""What a bundle says about itself: ``manifest.json``, parsed once at the edge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgekit.core.errors import InputError
from edgekit.core.files import first_problem, read_json, write_json
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.task import Task

KIND, SCHEMA_VERSION = "bundle", 3
MANIFEST = "manifest.json"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Content of one file of the bundle.

    Attributes:
        sha256: hex digest.
        size_bytes: length.

    Raises:
        InputError: no digest, or a negative length.
    """

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.sha256) or self.size_bytes < 0:
            raise InputError(
                "a file is recorded by 64 hex digits and its length, "
                f"got {self.sha256!r} and {self.size_bytes}"
            )


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The data a network was made for.

    Attributes:
        name: of the data set.
        sha256: digest of what was read.
        seed: of the cut.
        n_train: images weights were trained on.
        n_validation: images decisions were made on.
        n_calibration: images the ranges of int8 were taken from.
        n_test: images the artifact is judged by.
    """

    name: str
    sha256: str
    seed: int
    n_train: int
    n_validation: int
    n_calibration: int
    n_test: int

    @classmethod
    def of(cls, task: Task) -> TaskRecord:
        """The record of a task."""
        return cls(
            task.name,
            str(task.source["sha256"]),
            int(task.source["seed"]),
            len(task.train),
            len(task.validation),
            len(task.calibration),
            len(task.test),
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """What whoever made the network knows about it.

    Attributes:
        space: name of the search space.
        genes: the candidate.
        precisions: precision of each block, by block name in order.
        limits: what the artifact must not exceed.
        target: what it was made for, as text.
        device_fingerprint: of that target.
        reference_fast_s: reference kernels in the fast state of that target, in seconds.
        task: the data.
        seeds: every seed that had a part in it, by what it was used for.
    """

    space: str
    genes: tuple[int, ...]
    precisions: dict[str, Precision]
    limits: Limits
    target: str
    device_fingerprint: str
    reference_fast_s: tuple[float, ...]
    task: TaskRecord
    seeds: dict[str, int]


@dataclass(frozen=True, slots=True)
class MeasuredSummary:
    """The last proof in short; ``proof.json`` has all of it.

    Attributes:
        target: where it was measured, as text.
        device_fingerprint: of that target.
        latency_p50_s: median of one single-image run, in seconds.
        latency_p90_s: 90th percentile, in seconds.
        size_bytes: size of the model file.
        memory_bytes: what loading and running it adds to a process at its peak; None where the
            system did not say.
        top1: accuracy on the test split, 0..1.
        n_images: images of that split.
        holds: whether every limit and every check was met.
        measured_at: UTC time, ISO 8601.
    """

    target: str
    device_fingerprint: str
    latency_p50_s: float
    latency_p90_s: float
    size_bytes: int
    memory_bytes: int | None
    top1: float
    n_images: int
    holds: bool
    measured_at: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content of ``manifest.json``.

    Attributes:
        created_at: UTC time, ISO 8601.
        versions: of Python, edgekit and the packages it stands on.
        git_revision: of edgekit's source; None for an installed package.
        provenance: what the network is.
        files: every file of the bundle but the manifest and the proof, by name.
        measured: None before the first verification.

    Raises:
        InputError: a file name that is not plain (a folder, a hidden file).
    """

    created_at: str
    versions: dict[str, str]
    git_revision: str | None
    provenance: Provenance
    files: dict[str, FileRecord]
    measured: MeasuredSummary | None = None

    def __post_init__(self) -> None:
        for name in self.files:
            if not _FILE_NAME.fullmatch(name):
                raise InputError(
                    f"files of a bundle have plain names inside its folder, got {name!r}"
                )


_ADAPTER = TypeAdapter(Manifest)


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder, whole or not at all."""
    content: Mapping[str, object] = _ADAPTER.dump_python(manifest, mode="json")
    write_json(folder / MANIFEST, KIND, SCHEMA_VERSION, content)


def load_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` of a folder.

    Raises:
        InputError: it is missing, of another kind or schema, or a field is missing or wrong.
    """
    path = folder / MANIFEST
    document = read_json(path, KIND, SCHEMA_VERSION)
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise InputError(
            f"the manifest of a bundle must be complete, {path} is not: {first_problem(error)}; "
            "export the bundle again"
        ) from error
