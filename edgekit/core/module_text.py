"""Where a module of the user's stands, as text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import InputError


@dataclass(frozen=True, slots=True)
class ModuleText:
    """A name in a Python file.

    Attributes:
        path: the file, which is there.
        name: an identifier.
    """

    path: Path
    name: str

    @classmethod
    def parse(cls, text: str) -> ModuleText:
        """Read ``FILE.py:NAME``; nothing is run.

        Raises:
            InputError: another form, or no such file.
        """
        file, _, name = text.rpartition(":")
        path = Path(file)
        if path.suffix != ".py" or not path.is_file() or not name.isidentifier():
            raise InputError(
                f"a module is given as FILE.py:NAME, {text!r} names no Python file; check the path"
            )
        return cls(path, name)
