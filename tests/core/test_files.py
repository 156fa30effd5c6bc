from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgekit.core.files as files
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, sha256_of, write_bytes_atomic, write_json


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "profile.json"
    write_json(path, "profile", 3, {"name": "π", "values": [1, 2.5, None]})
    document = read_json(path, "profile", 3)
    assert list(document) == ["kind", "schema_version", "name", "values"]
    assert (document["name"], document["values"]) == ("π", [1, 2.5, None])
    assert [entry.name for entry in path.parent.iterdir()] == ["profile.json"]


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_bytes_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_bytes_atomic(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        read_json(tmp_path / "absent.json", "profile", 1)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[1, 2]", b'{"kind": "run"}', b"", b"[" * 100_000]
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"odd\.json"):
        read_json(path, "profile", 1)


def test_another_schema_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", "profile", 1, {})
    with pytest.raises(InputError, match="schema version 1, 2 is read"):
        read_json(tmp_path / "a.json", "profile", 2)


def test_a_file_above_the_bound_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "a.json", "profile", 1, {"text": "x" * 100})
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 100)
    with pytest.raises(InputError, match="at most 100 bytes"):
        read_json(tmp_path / "a.json", "profile", 1)


@given(content=st.binary(max_size=300))
def test_content_of_any_other_kind_is_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_json(path, "profile", 1)


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    write_bytes_atomic(tmp_path / "data", data)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(data).hexdigest()
