"""What may be chosen in an elastic network: widths, branches that are left out, precisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.precision import Precision
from edgekit.search.elastic.analysis import Group, is_layer
from edgekit.search.elastic.network import Choice, ElasticNetwork, channels_of
from edgekit.search.space import Genes, uniform_precision

RATIOS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
MULTIPLE = 8
_DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ElasticRecipe:
    """What is fixed in a search over a module of the user's, for ``run.json``.

    Attributes:
        model: where the module came from, as given; for people, nothing is loaded from it.
        sha256: digest of its graph and weights; a run goes on with the same module only.
        resolution: side of its input in pixels, 1 or more.
        n_classes: of its answers, 2 or more.
        ratios: as in ``ElasticSpace``.
        multiple: as in ``ElasticSpace``.
    """

    model: str
    sha256: str
    resolution: int
    n_classes: int
    ratios: tuple[float, ...]
    multiple: int

    @classmethod
    def from_json(cls, document: dict[str, object]) -> ElasticRecipe:
        """Inverse of ``dataclasses.asdict``.

        Raises:
            InputError: a field is missing, unknown or of a wrong type.
        """
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            raise InputError(
                f"a recipe of a module has the fields of ElasticRecipe, got {document}: {error}"
            ) from error


class ElasticSpace:
    """Genes of an elastic network.

    One gene per group, an index into ``widths`` of that group, narrowest first; then one per
    branch, 1 to leave it out; then one per block, 1 for int8. The width of a group that lies
    inside branches that are left out means nothing, nor does the precision of a block whose layers
    are all left out; ``canonical`` sets them to 0, so that equal networks have equal genes.

    Args:
        elastic: the network.
        ratios: widths relative to the whole, ascending, the last 1.
        multiple: channels are rounded up to a multiple of it where a group has so many; heads and
            channels of grouped convolutions, which stand for several each, are counted singly.
        model: where the module came from, for people.

    Attributes:
        elastic: the network.
        ratios: as given.
        multiple: as given.
        widths: per group the numbers of channels to choose from.
        harms: per gene of the architecture and choice, how much that choice alone changes the
            network's answers, ``(genes, most choices)``, 0 or more; zeros before it is measured
            (``edgekit.search.elastic.sensitivity``). ``ordered_features`` adds it up.

    Raises:
        InputError: ratios that are not ascending up to 1, or a multiple below 1.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 1), nn.Flatten())
        >>> space = ElasticSpace(ElasticNetwork(net, torch.zeros(2, 3, 8, 8)))
        >>> space.widths, space.blocks
        (((8, 16, 24, 32),), ('0', '2'))
        >>> space.decode(space.smallest())
        Choice(n_channels=(8,), skipped=frozenset())
    """

    name = "elastic"

    def __init__(
        self,
        elastic: ElasticNetwork,
        ratios: Sequence[float] = RATIOS,
        multiple: int = MULTIPLE,
        *,
        model: str = "",
    ) -> None:
        sound = list(ratios) == sorted(set(ratios)) and 0 < ratios[0] and ratios[-1] == 1
        if not sound or multiple < 1:
            raise InputError(
                "ratios ascend from above 0 to 1 and a multiple is 1 or more, "
                f"got {tuple(ratios)} and {multiple}"
            )
        self.elastic, self.ratios, self.multiple = elastic, tuple(ratios), multiple
        self.model = model
        self._sha256 = elastic.digest()
        structure = elastic.structure
        self.widths = tuple(_widths(group, ratios, multiple) for group in structure.groups)
        self.n_groups, self.n_branches = len(self.widths), len(structure.branches)
        layers = {n.name for n in elastic.source.graph.nodes if is_layer(n)}
        nodes: dict[str, list[str]] = {}
        for node, block in elastic.blocks.items():
            nodes.setdefault(block, []).append(node)
        nodes = {b: names for b, names in nodes.items() if layers.intersection(names)}
        self.blocks: tuple[str, ...] = tuple(nodes)
        self.n_choices: tuple[int, ...] = (
            *(len(widths) for widths in self.widths),
            *(2 for _ in structure.branches),
            *(2 for _ in self.blocks),
        )
        self.gene_names: tuple[str, ...] = (
            *_distinct([f"{group.name}.width" for group in structure.groups]),
            *_distinct([f"{branch.name}.skip" for branch in structure.branches]),
            *(f"{block}.precision" for block in self.blocks),
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
        ).reshape(self.n_groups, self.n_branches)
        self._layers = [
            self._covered([name for name in names if name in layers]) for names in nodes.values()
        ]
        self._nodes = [self._covered(names) for names in nodes.values()]
        self.harms = np.zeros((self.n_architecture, max(self.n_choices)))

    def copied(self) -> ElasticSpace:
        """The same genes over a network with weights of its own; no harms are known."""
        return ElasticSpace(self.elastic.copied(), self.ratios, self.multiple, model=self.model)

    @property
    def fixed(self) -> dict[str, str]:
        """Layers whose outputs stay as they are, and why."""
        return dict(self.elastic.structure.fixed)

    @property
    def recipe(self) -> ElasticRecipe:
        """What is fixed in it, of a classifier of images.

        Raises:
            InputError: the network takes something else than images, or answers no logits.
        """
        taken, answered = self.elastic.shapes()
        is_classifier = (
            len(taken) == len(answered) == 1
            and len(taken[0]) == 4
            and taken[0][1] == 3
            and taken[0][2] == taken[0][3]
            and len(answered[0]) == 2
        )
        if not is_classifier:
            raise InputError(
                "a network that is fitted takes one batch of square RGB images (n, 3, r, r) and "
                f"answers one tensor (n, classes), this one takes {taken} and answers {answered}; "
                "wrap it in a module that does"
            )
        return ElasticRecipe(
            self.model,
            self._sha256,
            taken[0][2],
            answered[0][1],
            self.ratios,
            self.multiple,
        )

    @property
    def n_architecture(self) -> int:
        """Genes of widths and branches."""
        return self.n_groups + self.n_branches

    @property
    def n_candidates(self) -> float:
        """Gene vectors, as a float: there may be more than an integer of 64 bits holds."""
        return float(math.prod(map(float, self.n_choices)))

    def check(self, candidate: Candidate) -> None:
        """Raise InputError unless every gene is in its range."""
        candidate.check(self.n_choices, "this network")

    def canonical(self, genes: Genes) -> Genes:
        """Genes ``(n, genes)`` with what means nothing set to 0; a new array."""
        result = genes.copy()
        skipped = result[:, self.n_groups : self.n_architecture].astype(bool)
        result[:, : self.n_groups][skipped @ self._inside.T] = 0
        result[:, self.n_architecture :][~self.is_active(genes)] = 0
        return result

    def is_active(self, genes: Genes) -> Flags:
        """Which blocks have a layer left, ``(n, blocks)`` bool."""
        return self._left(genes, self._layers)

    def is_there(self, genes: Genes) -> Flags:
        """Which blocks have any operation left, such as a norm behind a branch left out."""
        return self._left(genes, self._nodes)

    def _covered(self, names: Sequence[str]) -> Flags:
        """Which branches take each operation with them, ``(operations, branches)`` bool."""
        branches = self.elastic.structure.branches
        rows = [[name in branch.nodes for branch in branches] for name in names]
        return np.array(rows, dtype=bool).reshape(len(names), self.n_branches)

    def _left(self, genes: Genes, covers: Sequence[Flags]) -> Flags:
        skipped = genes[:, self.n_groups : self.n_architecture].astype(bool)
        return np.stack([~(skipped @ cover.T).all(axis=1) for cover in covers], axis=1)

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """``(n, genes)`` canonical genes around random sizes.

        Genes drawn alone would all give networks of half the size and precisions that change from
        block to block: here a network has a size that its widths and branches scatter around, and
        a share of int8 blocks; a quarter of the networks has one precision everywhere.
        """
        counts = np.array(self.n_choices[: self.n_groups])
        size = rng.random((n, 1))
        share = np.clip(size + rng.normal(0, 0.25, (n, self.n_groups)), 0, 1)
        widths = np.minimum(np.floor(share * counts), counts - 1)
        skips = rng.random((n, self.n_branches)) > rng.random((n, 1))
        share = rng.choice([0.0, 1.0, 0.5, 0.8], (n, 1), p=[1 / 8, 1 / 8, 3 / 8, 3 / 8])
        int8 = rng.random((n, len(self.blocks))) < share
        return self.canonical(np.concatenate([widths, skips, int8], axis=1).astype(np.int64))

    def decode(self, candidate: Candidate) -> Choice:
        """The network that the genes mean."""
        self.check(candidate)
        widths = candidate.genes[: self.n_groups]
        skips = candidate.genes[self.n_groups : self.n_architecture]
        return Choice(
            tuple(choices[gene] for choices, gene in zip(self.widths, widths, strict=True)),
            frozenset(
                branch.exit
                for branch, gene in zip(self.elastic.structure.branches, skips, strict=True)
                if gene
            ),
        )

    def active_blocks(self, candidate: Candidate) -> tuple[str, ...]:
        """Blocks with a layer that is not left out."""
        active = self.is_active(np.array([candidate.genes]))[0]
        return tuple(
            block for block, is_there in zip(self.blocks, active, strict=True) if is_there
        )

    def uniform(self, ratio: int, depth: float, precision: Precision) -> Candidate:
        """Every width at one of ``ratios``, a share of the branches, one precision.

        Args:
            ratio: index into ``ratios``.
            depth: share of the branches that stay, 0..1; those that harm most to leave out.
            precision: of every block.
        """
        wanted = self.ratios[ratio]
        widths = [
            int(np.argmin([abs(n / choices[-1] - wanted) for n in choices]))
            for choices in self.widths
        ]
        skips = np.zeros(self.n_branches, np.int64)
        skips[self._least_harm()[: round((1 - depth) * self.n_branches)]] = 1
        genes = np.array([[*widths, *skips, *(0 for _ in self.blocks)]])
        genes = uniform_precision(self, genes, precision)
        return Candidate(tuple(genes[0].tolist()))

    def regular(self) -> Genes:
        """Uniform networks: every ratio at five depths in either precision."""
        depths = _DEPTHS if self.n_branches else (1.0,)
        found = [
            self.uniform(ratio, depth, precision).genes
            for ratio in range(len(self.ratios))
            for depth in depths
            for precision in (Precision.FP32, Precision.INT8)
        ]
        return np.unique(np.array(found), axis=0)

    def largest(self) -> Candidate:
        """The source."""
        full = [len(widths) - 1 for widths in self.widths]
        return Candidate((*full, *(0 for _ in range(self.n_branches)), *(0 for _ in self.blocks)))

    def smallest(self) -> Candidate:
        """Every width the narrowest, every branch left out."""
        genes = [0] * self.n_groups + [1] * self.n_branches + [0] * len(self.blocks)
        return Candidate(tuple(genes))

    def features(self, genes: Genes) -> NDArray[np.float32]:
        """One-hot features of canonical genes; none for the genes of what is left out."""
        skipped = genes[:, self.n_groups : self.n_architecture].astype(bool)
        means_something = np.concatenate(
            [~(skipped @ self._inside.T), np.ones_like(skipped), self.is_active(genes)], axis=1
        )
        columns = [
            (genes[:, index, None] == np.arange(n)) & means_something[:, index, None]
            for index, n in enumerate(self.n_choices)
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def ordered_features(self, genes: Genes) -> NDArray[np.float64]:
        """Sizes of canonical genes as numbers, and summed.

        Returns:
            ``(n, groups + branches + blocks + 4)`` float64: per group the share of its channels
            (0 where it is left out), per branch whether it is left out, per block whether it is
            int8; their three sums; the sum of the harms.
        """
        skipped = genes[:, self.n_groups : self.n_architecture].astype(np.float64)
        shares = (
            np.stack(
                [
                    np.array(widths)[genes[:, index]] / widths[-1]
                    for index, widths in enumerate(self.widths)
                ],
                axis=1,
            )
            if self.n_groups
            else np.zeros((len(genes), 0))
        )
        gone = skipped.astype(bool) @ self._inside.T
        shares[gone] = 0
        int8 = genes[:, self.n_architecture :].astype(np.float64)
        harms = self._harms_of(genes)
        sums = [part.sum(axis=1, keepdims=True) for part in (shares, skipped, int8, harms)]
        return np.concatenate([shares, skipped, int8, *sums], axis=1)

    def harm(self, genes: Genes) -> NDArray[np.float64] | None:
        """The sum of what each choice alone does; None before that was measured."""
        return np.asarray(self._harms_of(genes).sum(axis=1)) if self.harms.any() else None

    def _harms_of(self, genes: Genes) -> NDArray[np.float64]:
        """``(n, architecture genes)``; 0 for the widths of what is left out."""
        skipped = genes[:, self.n_groups : self.n_architecture].astype(bool)
        harms = self.harms[np.arange(self.n_architecture), genes[:, : self.n_architecture]]
        harms[:, : self.n_groups][skipped @ self._inside.T] = 0
        return np.asarray(harms)

    def words(self, candidate: Candidate) -> dict[str, str]:
        """Which widths the layers of each active block have."""
        widths = self.decode(candidate).n_channels
        structure, active = self.elastic.structure, self.active_blocks(candidate)
        found: dict[str, list[str]] = {block: [] for block in active}
        for group, n in zip(structure.groups, widths, strict=True):
            home = next((b for b in active if f"{group.name}.".startswith(f"{b}.")), None)
            if home is not None:
                unit = "heads" if channels_of(group) > 1 else "channels"
                layer = group.name.removeprefix(home).strip(".") or group.name
                found[home].append(f"{layer} {n} of {group.n_channels} {unit}")
        return {block: ", ".join(parts) or "as it was" for block, parts in found.items()}

    def _least_harm(self) -> NDArray[np.int64]:
        """Branches in the order they are left out; without harms evenly over the depth."""
        harms = self.harms[self.n_groups : self.n_architecture].max(axis=1)
        places = [int(_bits_reversed(i) * self.n_branches) for i in range(4 * self.n_branches)]
        evenly = np.array(list(dict.fromkeys([*places, *range(self.n_branches)])), np.int64)
        return np.asarray(evenly[np.argsort(harms[evenly], kind="stable")])


def _bits_reversed(number: int) -> float:
    """Van der Corput's sequence: numbers 0..1 whose beginnings are evenly spread."""
    return sum((number >> bit & 1) / (2 << bit) for bit in range(32))


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
