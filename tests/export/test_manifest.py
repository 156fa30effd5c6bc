from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import InputError
from edgekit.core.task import Task
from edgekit.export.manifest import (
    MANIFEST,
    FileRecord,
    Manifest,
    MeasuredSummary,
    TaskRecord,
    load_manifest,
    save_manifest,
)
from tests.export.conftest import Exported

DIGEST = "0" * 64


def manifest_of(exported: Exported) -> Manifest:
    files = {"model.onnx": FileRecord(DIGEST, 3)}
    return Manifest("2026-01-01T00:00:00+00:00", {"numpy": "2"}, None, exported.provenance, files)


def test_what_is_saved_is_what_is_loaded(exported: Exported, tmp_path: Path) -> None:
    summary = MeasuredSummary("local", "ab", 1e-3, 2e-3, 10, None, 0.5, 100, True, "now")
    for manifest in (manifest_of(exported), replace(manifest_of(exported), measured=summary)):
        save_manifest(tmp_path, manifest)
        assert load_manifest(tmp_path) == manifest
    document = json.loads((tmp_path / MANIFEST).read_text())
    assert list(document)[:2] == ["kind", "schema_version"]
    assert document["provenance"]["precisions"]["b01"] == "int8"


def test_the_record_of_a_task_counts_its_parts(digits_task: Task) -> None:
    record = TaskRecord.of(digits_task)
    assert record.n_train + record.n_validation + record.n_calibration + record.n_test == 1797
    assert record.name == "digits"
    assert len(record.sha256) == 64


@pytest.mark.parametrize("name", ["../model.onnx", "a/b", ".hidden", "", "..", "/etc/passwd"])
def test_a_file_outside_the_folder_is_refused(exported: Exported, name: str) -> None:
    with pytest.raises(InputError, match="plain names inside its folder"):
        replace(manifest_of(exported), files={name: FileRecord(DIGEST, 1)})


@pytest.mark.parametrize(("digest", "size"), [("abc", 1), ("Z" * 64, 1), (DIGEST, -1)])
def test_a_record_without_a_digest_or_a_length_is_refused(digest: str, size: int) -> None:
    with pytest.raises(InputError, match="64 hex digits"):
        FileRecord(digest, size)


def test_a_missing_or_wrong_field_is_named(exported: Exported, tmp_path: Path) -> None:
    save_manifest(tmp_path, manifest_of(exported))
    document = json.loads((tmp_path / MANIFEST).read_text())
    document["provenance"]["precisions"]["b01"] = "int7"
    (tmp_path / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"provenance\.precisions\.b01: input should be"):
        load_manifest(tmp_path)
    del document["provenance"]
    (tmp_path / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(InputError, match="provenance: "):
        load_manifest(tmp_path)
