"""What the documents tell people to type exists: make targets, verbs, options and files."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.core import errors

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/guide.md")
RUN_CLI = "from edgekit.cli import main; main()"


def commands(document: str, program: str) -> list[str]:
    """Lines of the document's shell blocks that call ``program``, continuations joined."""
    text = (ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.split()[:1] == [program]]


@functools.cache
def help_of(verb: str) -> str:
    """Help text of one verb, wide enough that no option is cut."""
    environment = {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_CLI, *verb.split(), "--help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"edgekit {verb} --help: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    assert {line.split()[1] for line in commands(document, "make")} <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_verbs_and_their_options_exist(document: str) -> None:
    for line in commands(document, "edgekit"):
        verb = line.split()[1]
        for option in re.findall(r"(?<=\s)--[a-z][a-z-]*", line):
            assert option in help_of(verb), f"{document}: {line}"


def test_the_readme_table_names_every_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| `(\w+)`", text, flags=re.MULTILINE))
    tree = [errors.EdgekitError, *errors.EdgekitError.__subclasses__()]
    assert rows == {str(kind.exit_code): kind.__name__ for kind in tree}


def test_the_readme_lists_every_verb() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = re.findall(r"^\| `edgekit (\w+)", text, flags=re.MULTILINE)
    assert verbs
    assert [verb for verb in verbs if not help_of(verb)] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, "docs/architecture.md", "docs/api.md"])
def test_links_to_files_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    folder = (ROOT / document).parent
    assert [link for link in links if not (folder / link).exists()] == []
