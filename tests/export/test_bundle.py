from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.precision import Precision
from edgekit.core.task import Preprocessing, Task
from edgekit.export.bundle import LABELS, MODEL, PREPROCESSING, PROBE, RUNNER, Bundle, write_bundle
from edgekit.export.manifest import MANIFEST, save_manifest
from tests.export.conftest import Exported, write

ALL = (MODEL, PREPROCESSING, LABELS, RUNNER, PROBE)


def test_a_bundle_holds_everything_and_opens(
    written: Path, exported: Exported, digits_task: Task
) -> None:
    bundle = Bundle.open(written)
    assert {path.name for path in written.iterdir()} >= {*ALL, MANIFEST}
    assert bundle.preprocessing == digits_task.preprocessing
    assert bundle.labels == digits_task.labels
    assert bundle.manifest.provenance == exported.provenance
    assert set(bundle.manifest.versions) >= {"python", "onnxruntime", "torch", "numpy"}
    assert onnx.load(bundle.model_path) == exported.mixed
    probe = bundle.probe()
    np.testing.assert_array_equal(probe.images, exported.probe.images)
    np.testing.assert_array_equal(probe.simulated_logits, exported.probe.simulated_logits)


@pytest.mark.parametrize("name", ALL)
def test_a_changed_file_is_detected_and_named(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(VerificationFailed, match=f"{name} must have the digest"):
        Bundle.open(copied)


@pytest.mark.parametrize("name", ALL)
def test_a_longer_or_missing_file_is_detected_and_named(copied: Path, name: str) -> None:
    with (copied / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(VerificationFailed, match=rf"{name} must have \d+ bytes, it has \d+"):
        Bundle.open(copied)
    (copied / name).unlink()
    with pytest.raises(VerificationFailed, match=f"{name} must be a plain file"):
        Bundle.open(copied)


def test_a_link_in_place_of_a_file_is_refused(copied: Path, tmp_path: Path) -> None:
    os.rename(copied / MODEL, tmp_path / "elsewhere.onnx")
    (copied / MODEL).symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(VerificationFailed, match=r"model\.onnx must be a plain file"):
        Bundle.open(copied)


def test_a_manifest_that_points_outside_is_refused(copied: Path) -> None:
    document = json.loads((copied / MANIFEST).read_text())
    document["files"]["../../etc/passwd"] = document["files"][MODEL]
    (copied / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(InputError, match="plain names inside its folder"):
        Bundle.open(copied)


def test_a_manifest_without_the_model_is_refused(copied: Path) -> None:
    manifest = Bundle.open(copied).manifest
    files = {name: record for name, record in manifest.files.items() if name != MODEL}
    save_manifest(copied, replace(manifest, files=files))
    with pytest.raises(InputError, match=r"lacks model\.onnx"):
        Bundle.open(copied)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        Bundle.open(tmp_path)


def test_a_bundle_replaces_a_bundle_or_an_empty_folder(
    copied: Path, exported: Exported, digits_task: Task, tmp_path: Path
) -> None:
    changed = replace(exported, provenance=replace(exported.provenance, space="other"))
    assert write(copied, changed, digits_task).manifest.provenance.space == "other"
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", exported, digits_task)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "empty"]


def test_what_else_is_in_the_place_is_never_removed(
    copied: Path, exported: Exported, digits_task: Task, tmp_path: Path
) -> None:
    (copied / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"also holds notes\.txt"):
        write(copied, exported, digits_task)
    assert Bundle.open(copied)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="is neither"):
        write(tmp_path / "home", exported, digits_task)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file is none"):
        write(tmp_path / "file", exported, digits_task)
    assert (tmp_path / "home" / "letter.txt").read_text() == "mine"


def test_a_failed_write_leaves_nothing_behind(
    exported: Exported, digits_task: Task, tmp_path: Path
) -> None:
    (tmp_path / "parent").write_text("a file where a folder is needed")
    with pytest.raises(OSError, match="parent"):
        write(tmp_path / "parent" / "bundle", exported, digits_task)
    place = tmp_path / "sealed"
    place.mkdir()
    with pytest.raises(TypeError):
        write_bundle(
            place / "bundle",
            model=exported.mixed,
            preprocessing=digits_task.preprocessing,
            labels=[object()] * 10,  # type: ignore[list-item]
            probe=exported.probe,
            provenance=exported.provenance,
        )
    assert list(place.iterdir()) == []


def test_parts_that_do_not_fit_together_are_refused(
    exported: Exported, digits_task: Task, tmp_path: Path
) -> None:
    def attempt(message: str, **changed: object) -> None:
        parts = {
            "model": exported.mixed,
            "preprocessing": digits_task.preprocessing,
            "labels": digits_task.labels,
            "probe": exported.probe,
            "provenance": exported.provenance,
        }
        with pytest.raises(InputError, match=message):
            write_bundle(tmp_path / "bundle", **{**parts, **changed})  # type: ignore[arg-type]

    attempt("one label per output, got 2 labels", labels=("a", "b"))
    attempt(r"must take \(3, 64, 64\)", preprocessing=Preprocessing(64, (0, 0, 0), (1, 1, 1)))
    wrong = replace(exported.provenance, precisions={"b99": Precision.INT8})
    attempt("'b99' is not", provenance=wrong)
    assert list(tmp_path.iterdir()) == []
