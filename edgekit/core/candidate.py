"""A point of a search space: one integer vector, architecture first, precisions after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Candidate:
    """One network of a space.

    Attributes:
        genes: one non-negative integer per decision, in the order and with the meaning the
            space gives them.

    Example:
        >>> Candidate((0, 2, 1)).text
        '0-2-1'
    """

    genes: tuple[int, ...]

    @property
    def text(self) -> str:
        """The genes joined by dashes: a name that is safe in file names and databases."""
        return "-".join(str(gene) for gene in self.genes)

    def check(self, n_choices: Sequence[int], space: str) -> None:
        """Refuse genes that a space has not.

        Args:
            n_choices: choices of each gene.
            space: its name, for the message.

        Raises:
            InputError: another number of genes, or one out of its range.
        """
        genes = self.genes
        if len(genes) != len(n_choices) or any(
            not 0 <= gene < n for gene, n in zip(genes, n_choices, strict=True)
        ):
            raise InputError(
                f"a candidate of {space} has genes below {tuple(n_choices)}, got {genes}"
            )

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Inverse of ``text``.

        Raises:
            InputError: anything but whole numbers joined by dashes.
        """
        if not re.fullmatch(r"[0-9]{1,9}(-[0-9]{1,9})*", text):
            raise InputError(f"a candidate is whole numbers joined by dashes, got {text!r}")
        return cls(tuple(int(part) for part in text.split("-")))
