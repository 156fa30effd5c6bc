"""What may be chosen in an elastic network: a width per group, and which branches are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.elastic.analysis import Group
from edgekit.search.elastic.network import Choice, ElasticNetwork, channels_of

RATIOS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
MULTIPLE = 8

Genes = NDArray[np.int64]


class ElasticSpace:
    """Genes of an elastic network.

    One gene per group, an index into ``widths`` of that group, narrowest first; then one per
    branch, 1 to leave it out. The width of a group that lies inside branches that are left out
    means nothing; ``canonical`` sets it to 0, so that equal networks have equal genes.

    Args:
        elastic: the network.
        ratios: widths relative to the whole, ascending, the last 1.
        multiple: channels are rounded up to a multiple of it where a group has so many; heads and
            channels of grouped convolutions, which stand for several each, are counted singly.

    Attributes:
        widths: per group the numbers of channels to choose from.

    Raises:
        InputError: ratios that are not ascending up to 1, or a multiple below 1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 1), nn.Flatten())
        >>> space = ElasticSpace(ElasticNetwork(net, torch.zeros(2, 3, 8, 8)))
        >>> space.widths
        ((8, 16, 24, 32),)
        >>> space.decode(space.smallest())
        Choice(n_channels=(8,), skipped=frozenset())
    """

    name = "elastic"

    def __init__(
        self,
        elastic: ElasticNetwork,
        ratios: Sequence[float] = RATIOS,
        multiple: int = MULTIPLE,
    ) -> None:
        sound = list(ratios) == sorted(set(ratios)) and 0 < ratios[0] and ratios[-1] == 1
        if not sound or multiple < 1:
            raise InputError(
                "ratios ascend from above 0 to 1 and a multiple is 1 or more, "
                f"got {tuple(ratios)} and {multiple}"
            )
        self.elastic = elastic
        structure = elastic.structure
        self.widths = tuple(_widths(group, ratios, multiple) for group in structure.groups)
        self.n_groups = len(self.widths)
        self.n_choices: tuple[int, ...] = (
            *(len(widths) for widths in self.widths),
            *(2 for _ in structure.branches),
        )
        self.gene_names: tuple[str, ...] = (
            *_distinct([f"{group.name}.width" for group in structure.groups]),
            *_distinct([f"{branch.name}.skip" for branch in structure.branches]),
        )
        self._inside = np.array(
            [
                [
                    all(name in branch.parameters for name, _ in group.places)
                    for branch in structure.branches
                ]
                for group in structure.groups
            ],
            dtype=bool,
        ).reshape(self.n_groups, len(structure.branches))

    @property
    def n_candidates(self) -> float:
        """Gene vectors, as a float: there may be more than an integer of 64 bits holds."""
        return float(math.prod(map(float, self.n_choices)))

    def check(self, candidate: Candidate) -> None:
        """Raise InputError unless every gene is in its range."""
        candidate.check(self.n_choices, "this network")

    def canonical(self, genes: Genes) -> Genes:
        """Genes ``(n, genes)`` with the widths of what is left out set to 0; a new array."""
        result = genes.copy()
        skipped = result[:, self.n_groups :].astype(bool)
        result[:, : self.n_groups][skipped @ self._inside.T] = 0
        return result

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """``(n, genes)`` canonical genes, each gene uniform over its choices."""
        return self.canonical(rng.integers(0, self.n_choices, (n, len(self.n_choices))))

    def decode(self, candidate: Candidate) -> Choice:
        """The network that the genes mean."""
        self.check(candidate)
        widths, skips = candidate.genes[: self.n_groups], candidate.genes[self.n_groups :]
        return Choice(
            tuple(choices[gene] for choices, gene in zip(self.widths, widths, strict=True)),
            frozenset(
                branch.exit
                for branch, gene in zip(self.elastic.structure.branches, skips, strict=True)
                if gene
            ),
        )

    def largest(self) -> Candidate:
        """The source."""
        full = [len(widths) - 1 for widths in self.widths]
        return Candidate((*full, *(0 for _ in self.elastic.structure.branches)))

    def smallest(self) -> Candidate:
        """Every width the narrowest, every branch left out."""
        return Candidate(
            (*(0 for _ in self.widths), *(1 for _ in self.elastic.structure.branches))
        )


def _widths(group: Group, ratios: Sequence[float], multiple: int) -> tuple[int, ...]:
    """Numbers of channels to choose from, ascending, all of them last."""
    n, step = group.n_channels, 1 if channels_of(group) > 1 else multiple
    rounded = (math.ceil(n * ratio / step - 1e-9) * step for ratio in ratios)
    return tuple(sorted({min(n, width) for width in rounded}))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with a number where one stands twice."""
    found: list[str] = []
    for name in names:
        n_before = sum(other == name or other.startswith(f"{name}#") for other in found)
        found.append(f"{name}#{n_before + 1}" if n_before else name)
    return found
