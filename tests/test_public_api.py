"""What `import edgekit` offers, that it is documented, and that it stays light."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "onnx", "onnxruntime", "optuna", "sklearn", "lightgbm", "scipy", "pyarrow"}
LOADED = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"


def modules_after(code: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter after ``code``."""
    command = [sys.executable, "-c", f"import sys\n{code}\n{LOADED}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_reference_lists_exactly_the_public_names() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^- `(\w+)`", text, flags=re.MULTILINE)
    assert sorted(documented) == sorted(edgekit.__all__)


@pytest.mark.parametrize("name", sorted(set(edgekit.__all__) - {"__version__"}))
def test_a_public_name_loads_and_carries_a_docstring(name: str) -> None:
    value = getattr(edgekit, name)
    assert value.__name__ == name
    assert value.__doc__


def test_dir_shows_every_public_name() -> None:
    assert set(edgekit.__all__) <= set(dir(edgekit))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgekit.nothing  # type: ignore[attr-defined]


def test_importing_edgekit_loads_nothing_heavy() -> None:
    assert modules_after("import edgekit") & HEAVY == set()


def test_the_core_values_load_nothing_heavy() -> None:
    names = "Target, Limits, Candidate, Precision, Measured, Predicted, Infeasible"
    assert modules_after(f"from edgekit import {names}") & HEAVY == set()


def test_the_command_line_help_loads_nothing_heavy() -> None:
    run_help = (
        "sys.argv = ['edgekit', '--help']\n"
        "from edgekit.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code"
    )
    assert modules_after(run_help) & HEAVY == set()
