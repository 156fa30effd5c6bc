"""A point of a search space: one integer vector, architecture genes first, precision genes after."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """One network of a space.

    Attributes:
        genes: one non-negative integer per decision, in the space's order; the space says what each means.

    Example:
        >>> Candidate((0, 2, 1)).text
        '0-2-1'
    """

    genes: tuple[int, ...]

    @property
    def text(self) -> str:
        """The genes joined by dashes: a name that is safe in file names and databases."""
        return "-".join(str(gene) for gene in self.genes)

    @classmethod
    def parse(cls, text: str) -> Candidate:
        """Inverse of ``text``."""
        return cls(tuple(int(part) for part in text.split("-")))
