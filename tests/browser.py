"""Headless Chromium for tests of the report: a picture of a page, and its DOM after scripts ran.

The browser resolves no host name, so a page that needs the network shows it here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

_FLAGS = (
    "--headless",
    "--no-sandbox",  # needed as root; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--kiosk",  # the viewport is the whole window
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=10000",  # milliseconds of page time for scripts to settle
    "--enable-logging=stderr",
)
_SCRIPT_ERROR = re.compile(r"CONSOLE.*Uncaught.*")
_TIMEOUT_S = 120


def chromium() -> str:
    """Path of the browser; skips the test where there is none, fails it in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        reason = "Chromium is not installed (Debian package chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def _run(page: Path, *arguments: str) -> str:
    """Standard output of one browser run on ``page``; fails on an uncaught script error."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium(), *_FLAGS, f"--user-data-dir={profile}", *arguments]
        done = subprocess.run(
            [*command, page.resolve().as_uri()],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    errors = _SCRIPT_ERROR.findall(done.stderr)
    assert not errors, f"{page.name}: {errors[0]}"
    return done.stdout


def screenshot(html_path: Path, png_path: Path, width: int, height: int) -> None:
    """Write a picture of the page's top ``width`` x ``height`` CSS pixels, one pixel each."""
    window = (f"--window-size={width},{height}", f"--screen-info={{{width}x{height}}}")
    _run(html_path, *window, f"--screenshot={png_path.resolve()}")
    assert png_path.is_file(), f"Chromium wrote no picture of {html_path.name}"


def dump_dom(html_path: Path) -> str:
    """The page's HTML after its scripts ran."""
    return _run(html_path, "--dump-dom")
