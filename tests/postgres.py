"""A PostgreSQL server of its own for a test, reached through a socket in a folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_ACCOUNT = "postgres"


def _programs() -> Path:
    """Folder of its programs; skips the test where there is none, fails it in CI."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        reason = "PostgreSQL is not installed (Debian package postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found[-1].parent


@contextmanager
def server() -> Iterator[str]:
    """The address of an empty database, as ``Trials`` takes it."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="edgekit-pg-"))
    as_account: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        account = pwd.getpwnam(_ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_account = ["runuser", "-u", _ACCOUNT, "--"]

    def run(name: str, *arguments: str) -> None:
        command = [*as_account, str(programs / name), *arguments]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", _ACCOUNT, "--auth=trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses= -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://{_ACCOUNT}@/{_ACCOUNT}?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
