"""The shape of the repository: links at the root, what is packaged, what must not be committed."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

ROOT = Path(__file__).resolve().parents[1]
LINKED_ROOMS = ("devices", "search", "export")
ROOMS = {"core", "training", "devices", "search", "export", "report", "testing"}
FORBIDDEN_SUFFIXES = {
    *(".pkl", ".pickle", ".joblib", ".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors"),
    *(".onnx", ".parquet", ".db", ".sqlite", ".so", ".pyc", ".whl", ".zip", ".gz", ".log"),
}
MAX_FILE_BYTES = 500_000


def committed_files() -> list[Path]:
    """Files git knows, links included; skips where the tree is not a git checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is committed is unknown")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name]


@pytest.mark.parametrize("room", LINKED_ROOMS)
def test_rooms_stand_at_the_root_as_relative_links_into_the_package(room: str) -> None:
    link = ROOT / room
    assert link.is_symlink()
    assert link.readlink() == Path("edgekit") / room
    assert (link / "__init__.py").is_file()


def test_package_discovery_finds_edgekit_and_nothing_beside_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    settings = project["tool"]["setuptools"]["packages"]["find"]
    assert settings["namespaces"] is False
    found = set(find_packages(str(ROOT), include=settings["include"]))
    assert {name.split(".")[0] for name in found} == {"edgekit"}
    assert {f"edgekit.{room}" for room in ROOMS} <= found


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "edgekit").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "edgekit" / "py.typed").is_file()


def test_no_weights_archives_or_databases_are_committed() -> None:
    names = [path.name for path in committed_files()]
    assert [name for name in names if Path(name).suffix in FORBIDDEN_SUFFIXES] == []


def test_no_large_file_is_committed() -> None:
    sizes = {path.name: path.lstat().st_size for path in committed_files() if path.exists()}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}


def test_pins_are_exact_and_name_no_index() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if "==" not in pin or "//" in pin or pin.startswith("-")] == []
