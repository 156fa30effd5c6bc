"""Environments of their own, for providers whose package would replace ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgekit.core.errors import EdgekitError, InputError
from edgekit.devices.providers.catalogue import Provider

FOLDER_VARIABLE = "EDGEKIT_ENVIRONMENTS"
_DEFAULT_FOLDER = Path(".edgekit/environments")
_COMPLETE = "complete"
_PACKAGE_ROOT = Path(__file__).resolve().parents[3]


def folder_of(provider: Provider) -> Path:
    """Where the environment of a provider lies, made or not.

    Below the folder in ``EDGEKIT_ENVIRONMENTS``, or ``.edgekit/environments`` where one works.
    """
    root = Path(os.environ.get(FOLDER_VARIABLE) or _DEFAULT_FOLDER)
    return root.absolute() / provider.short


def python_of(provider: Provider) -> Path | None:
    """The interpreter of a provider's environment; None while there is none."""
    folder = folder_of(provider)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    return python if (folder / _COMPLETE).is_file() and python.is_file() else None


def install(provider: Provider) -> Path:
    """Make the environment of a provider, or find it made.

    pip runs with the settings of the user (index, proxy). An environment that was not finished
    counts for nothing and is made again.

    Returns:
        Its interpreter.

    Raises:
        InputError: the provider needs no environment, or pip cannot bring it.
        EdgekitError: making it failed; holds pip's last line.
    """
    if not provider.requires:
        raise InputError(
            f"edgekit installs providers that pip brings into an environment of their own, "
            f"{provider.short} comes with {provider.package}; install that by hand"
        )
    if known := python_of(provider):
        return known
    folder = folder_of(provider)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], provider)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *provider.requires], provider)
    (folder / _COMPLETE).write_text("\n".join(provider.requires) + "\n", "utf-8")
    return python


def environment_variables() -> dict[str, str]:
    """Variables of a process in such an environment: it finds this edgekit, no other package."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(_PACKAGE_ROOT), "PYTHONNOUSERSITE": "1"}


def _run(command: list[str], provider: Provider) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise EdgekitError(
            f"the environment of {provider.short} could not be made in {folder_of(provider)}: "
            f"{lines[-1]}; check the connection to the package index and try again"
        )
