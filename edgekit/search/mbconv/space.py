"""The built-in space ``mbconv``: ProxylessNAS's mobile blocks, each in fp32 or int8.

After Cai, Zhu & Han 2019 (arXiv 1812.00332): a fixed stem, stages of inverted-residual blocks
whose depthwise kernel is 3, 5 or 7 and whose expansion is 3 or 6, and a block that may be skipped
where its identity has the right shape. We differ
in two ways: one precision gene per block joins the vector, and widths and resolution come from a
recipe, in multiples of 16, because ONNX Runtime's blocked fp32 layout is a staircase of 16
channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.precision import Precision
from edgekit.search.space import PRECISIONS, Genes

Operation = tuple[int, int]
"""(depthwise kernel, expansion ratio)."""

OPERATIONS: tuple[Operation, ...] = ((3, 3), (3, 6), (5, 3), (5, 6), (7, 3), (7, 6))
SKIP = len(OPERATIONS)


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width.

    Attributes:
        width: output channels, at least 8.
        depth: blocks, at least 1.
        stride: of the first block, 1 or 2.

    Raises:
        InputError: a value out of its range.
    """

    width: int
    depth: int
    stride: int

    def __post_init__(self) -> None:
        if self.width < 8 or self.depth < 1 or self.stride not in (1, 2):
            raise InputError(
                "a stage has a width of at least 8, a depth of at least 1 and a stride of 1 or 2, "
                f"got {self}"
            )


@dataclass(frozen=True, slots=True)
class MBConvRecipe:
    """What is fixed in the space.

    Attributes:
        resolution: side of the square input in pixels, 32..224.
        n_classes: outputs, at least 2.
        stem_width: channels after the first 3x3 convolution, at least 8.
        stem_stride: its stride, 1 or 2.
        first_width: channels after the fixed depthwise-separable block, at least 8.
        stages: the searchable stages, at least one.
        head_width: channels of the last 1x1 convolution, at least 8.

    Raises:
        InputError: a value out of its range.
    """

    resolution: int
    n_classes: int
    stem_width: int
    stem_stride: int
    first_width: int
    stages: tuple[Stage, ...]
    head_width: int

    def __post_init__(self) -> None:
        if not 32 <= self.resolution <= 224:
            raise InputError(f"mbconv takes a resolution from 32 to 224, got {self.resolution}")
        if self.n_classes < 2:
            raise InputError(f"a classifier needs at least two classes, got {self.n_classes}")
        if min(self.stem_width, self.first_width, self.head_width) < 8:
            raise InputError(f"widths must be at least 8, got {self}")
        if self.stem_stride not in (1, 2) or not self.stages:
            raise InputError(
                f"mbconv takes a stem stride of 1 or 2 and a stage or more, got {self}"
            )

    @classmethod
    def for_task(cls, resolution: int, n_classes: int) -> MBConvRecipe:
        """The recipe edgekit takes by itself: small up to 64 px, the paper's depths above."""
        if resolution <= 64:
            small = (Stage(32, 2, 2), Stage(64, 3, 2), Stage(96, 2, 2))
            return cls(resolution, n_classes, 16, 1 if resolution <= 40 else 2, 16, small, 256)
        widths, depths, strides = (
            (32, 48, 80, 96, 192, 320),
            (4, 4, 4, 4, 4, 1),
            (2, 2, 2, 1, 2, 1),
        )
        stages = tuple(map(Stage, widths, depths, strides))
        return cls(resolution, n_classes, 32, 2, 16, stages, 1280)

    @classmethod
    def quick(cls, resolution: int, n_classes: int) -> MBConvRecipe:
        """A narrow recipe that trains in a minute on two cores."""
        stages = (Stage(16, 2, 2), Stage(32, 2, 2), Stage(64, 2, 2))
        return cls(resolution, n_classes, 16, 1 if resolution <= 40 else 2, 16, stages, 128)

    def to_json(self) -> dict[str, object]:
        """Plain values, for the run file."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, object]) -> MBConvRecipe:
        """Inverse of ``to_json``.

        Raises:
            InputError: a field is missing, unknown or of a wrong type.
        """
        try:
            fields = dict(document)
            stages = tuple(Stage(**stage) for stage in fields.pop("stages"))  # type: ignore[attr-defined]
            return cls(stages=stages, **fields)  # type: ignore[arg-type]
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"an mbconv recipe has the fields of MBConvRecipe, got {document}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class Position:
    """One searchable block: where it stands and what surrounds it."""

    name: str
    in_width: int
    out_width: int
    stride: int

    @property
    def may_skip(self) -> bool:
        """Whether the identity has the right shape."""
        return self.stride == 1 and self.in_width == self.out_width


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a decoded candidate; ``operation`` is None where it is skipped."""

    position: Position
    operation: Operation | None
    precision: Precision


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoded candidate: precisions of stem and head, and the searchable blocks in order."""

    stem: Precision
    blocks: tuple[Block, ...]
    head: Precision

    def active(self) -> Iterator[Block]:
        """Blocks that are not skipped."""
        return (block for block in self.blocks if block.operation is not None)


class MBConvSpace:
    """Genes, their ranges and their meaning.

    The vector has one operation gene per position (0..5 index ``OPERATIONS``, 6 skips the block)
    and then one precision gene (0 fp32, 1 int8) for the stem, each position and the head. The
    precision gene of a skipped block means nothing; ``canonical`` sets it to 0, so that equal
    networks have equal genes.

    Example:
        >>> space = MBConvSpace(MBConvRecipe.quick(32, 10))
        >>> space.n_positions, len(space.n_choices)
        (6, 14)
    """

    name = "mbconv"

    def __init__(self, recipe: MBConvRecipe) -> None:
        self.recipe = recipe
        self.positions = tuple(_positions(recipe))
        self.n_positions = len(self.positions)
        operations = [SKIP + 1 if p.may_skip else SKIP for p in self.positions]
        self.blocks: tuple[str, ...] = ("stem", *(p.name for p in self.positions), "head")
        self.n_choices: tuple[int, ...] = (*operations, *([2] * (self.n_positions + 2)))
        self.gene_names: tuple[str, ...] = (
            *(f"{p.name}.op" for p in self.positions),
            *(f"{block}.precision" for block in self.blocks),
        )

    @property
    def n_architecture(self) -> int:
        """Operation genes."""
        return self.n_positions

    @property
    def n_candidates(self) -> int:
        """Networks in the space, counting a skipped block once."""
        total = 4
        for position in self.positions:
            total *= 2 * SKIP + position.may_skip
        return total

    def check(self, candidate: Candidate) -> None:
        """Raise InputError unless every gene is in its range."""
        candidate.check(self.n_choices, self.name)

    def canonical(self, genes: Genes) -> Genes:
        """Genes ``(n, genes)`` with the precision of skipped blocks set to 0; a new array."""
        result = genes.copy()
        operations = result[:, : self.n_positions]
        result[:, self.n_positions + 1 : -1][operations == SKIP] = 0
        return result

    def sample(self, n: int, rng: np.random.Generator) -> Genes:
        """``(n, genes)`` canonical genes, each gene uniform over its choices."""
        return self.canonical(rng.integers(0, self.n_choices, (n, len(self.n_choices))))

    def decode(self, candidate: Candidate) -> Architecture:
        """What the genes mean."""
        self.check(candidate)
        operations = candidate.genes[: self.n_positions]
        stem, *middle, head = (PRECISIONS[g] for g in candidate.genes[self.n_positions :])
        blocks = (
            Block(p, None if op == SKIP else OPERATIONS[op], precision)
            for p, op, precision in zip(self.positions, operations, middle, strict=True)
        )
        return Architecture(stem, tuple(blocks), head)

    def uniform(self, operation: int, precision: Precision) -> Candidate:
        """One operation and one precision everywhere; ``SKIP`` skips where allowed, else is 0."""
        operations = [operation if operation < SKIP or p.may_skip else 0 for p in self.positions]
        genes = np.array([operations + [PRECISIONS.index(precision)] * (self.n_positions + 2)])
        return Candidate(tuple(int(g) for g in self.canonical(genes)[0]))

    def regular(self) -> Genes:
        """One operation and one precision everywhere, every such network once."""
        candidates = [self.uniform(op, p) for p in PRECISIONS for op in range(SKIP + 1)]
        return np.unique([candidate.genes for candidate in candidates], axis=0)

    def harm(self, genes: Genes) -> None:
        """Nothing is known of networks that were not trained yet."""

    def active_blocks(self, candidate: Candidate) -> tuple[str, ...]:
        """Stem, the blocks that are not skipped, head."""
        names = [block.position.name for block in self.decode(candidate).active()]
        return ("stem", *names, "head")

    def largest(self, precision: Precision = Precision.FP32) -> Candidate:
        """Kernel 7, expansion 6, nothing skipped."""
        return self.uniform(SKIP - 1, precision)

    def smallest(self, precision: Precision = Precision.FP32) -> Candidate:
        """Kernel 3, expansion 3, everything skipped that may be."""
        return self.uniform(SKIP, precision)

    def words(self, candidate: Candidate) -> dict[str, str]:
        """What each active block does, for people."""
        recipe = self.recipe
        middle = {
            block.position.name: (
                f"MBConv k{block.operation[0]} e{block.operation[1]}, "
                f"{block.position.in_width} -> {block.position.out_width}, "
                f"stride {block.position.stride}"
            )
            for block in self.decode(candidate).active()
            if block.operation is not None
        }
        first = f"conv 3x3, depthwise 3x3, 3 -> {recipe.first_width}"
        last = f"conv 1x1 to {recipe.head_width}, pool, {recipe.n_classes} classes"
        return {"stem": first, **middle, "head": last}

    def features(self, genes: Genes) -> NDArray[np.float32]:
        """One-hot features of canonical genes.

        Columns come from the space, not from the data. The precision of a skipped block is masked:
        it adds neither of its two columns.

        Args:
            genes: ``(n, genes)`` int64.

        Returns:
            ``(n, sum of n_choices)`` float32, 0 or 1.
        """
        n_op, columns = self.n_positions, []
        for index, n_options in enumerate(self.n_choices):
            one_hot = (genes[:, index, None] == np.arange(n_options)).astype(np.float32)
            if n_op < index < len(self.n_choices) - 1:
                one_hot[genes[:, index - n_op - 1] == SKIP] = 0
            columns.append(one_hot)
        return np.concatenate(columns, axis=1)

    def ordered_features(self, genes: Genes) -> NDArray[np.float64]:
        """Sizes of canonical genes as numbers, per position and summed.

        Args:
            genes: ``(n, genes)`` int64.

        Returns:
            ``(n, 3 positions + 4)`` float64: per position the kernel, the expansion (both 0 where
            it is skipped) and whether it is skipped; the sums of these three; the int8 blocks.
        """
        operations = genes[:, : self.n_positions]
        kernel, expansion = np.array([*OPERATIONS, (0, 0)], dtype=np.float64)[operations].T
        sizes = [kernel.T, expansion.T, (operations == SKIP).astype(np.float64)]
        sums = [size.sum(axis=1, keepdims=True) for size in sizes]
        n_int8 = genes[:, self.n_positions :].sum(axis=1, keepdims=True).astype(np.float64)
        return np.concatenate([*sizes, *sums, n_int8], axis=1)


def _positions(recipe: MBConvRecipe) -> Iterator[Position]:
    in_width, index = recipe.first_width, 0
    for stage in recipe.stages:
        for depth in range(stage.depth):
            stride = stage.stride if depth == 0 else 1
            yield Position(f"b{index:02d}", in_width, stage.width, stride)
            in_width, index = stage.width, index + 1
