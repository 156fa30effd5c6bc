"""Files that are whole or absent: atomic writes, reads that check kind, schema and size."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError

MAX_JSON_BYTES = 64 * 2**20


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` so that ``path`` holds its old or its new content, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, kind: str, schema_version: int, content: Mapping[str, object]) -> None:
    """Write a JSON object that says what it is: ``kind`` and ``schema_version`` come first."""
    write_bytes_atomic(path, json_bytes(kind, schema_version, content))


def json_bytes(kind: str, schema_version: int, content: Mapping[str, object]) -> bytes:
    """What ``write_json`` writes."""
    document = {"kind": kind, "schema_version": schema_version, **content}
    return (json.dumps(document, indent=1, allow_nan=True) + "\n").encode()


def read_json(path: Path, kind: str, schema_version: int) -> dict[str, object]:
    """Read a file written by ``write_json``.

    Raises:
        InputError: missing, too large, not JSON, another kind, or another schema version.
    """
    if not path.is_file():
        raise InputError(f"a file of kind {kind} is needed, {path} is not there")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(
            f"a file of kind {kind} holds at most {MAX_JSON_BYTES} bytes, "
            f"{path} has {path.stat().st_size}; check the path"
        )
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"a file of kind {kind} must be JSON, {path} is not: {error}") from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise InputError(
            f"a file of kind {kind} is needed, {path} is of another kind; check the path"
        )
    if document.get("schema_version") != schema_version:
        found = document.get("schema_version")
        raise InputError(
            f"{path} has schema version {found}, {schema_version} is read here; make it again"
        )
    return document


def first_problem(error: ValidationError) -> str:
    """Where a document first is not what it must be, and how, for people."""
    first = error.errors()[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg'].lower()}"


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()
