"""What the runtime runs for any choice of an elastic network, learnt from a few that were lowered.

    block + what surrounds it --> form of its kernel list --> numbers as formulas of channel counts

Blocks that are alike (the same operations on the same channel groups, as in the repeated blocks of
a stage) are one kind and learn from each other. The kernels of a block depend on its kind, its
precision, what stands before and behind it, and, in float32, on whether channel counts fill whole
vectors of the processor, because ONNX Runtime keeps such tensors in a layout of vectors.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.kernel import Kernel, PlacedKernel
from edgekit.core.progress import Progress
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.elastic.anatomy import Anatomy, Row
from edgekit.search.elastic.shapes import Form, Formulas, put_together, taken_apart
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.elastic.table import ElasticTable
from edgekit.search.space import Genes

KERNELS_FILE = "kernels.json"
_KIND, _SCHEMA = "edgekit-elastic-kernels", 1
_INT8_SHARES = (0.0, 1.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9)
_LEAST, _MOST = 8, 16
_JUDGED = 4
_ENOUGH = 0.97
_NONE = -1
_SMALL, _WHOLE, _BROKEN = 0, 1, 2
Key = tuple[object, ...]
Counts = tuple[int, ...]
Sourced = tuple[str, Kernel]
"""A kernel behind the operation of the source it came from."""

Part = tuple[int, Form]
"""A kernel in a block: place of its operation, and its form."""


class ElasticKernels:
    """Kernels of the candidates of an elastic space; see ``LoweredSpace``.

    Args:
        space: the space.
        vector: channels of a vector of the processor.

    Attributes:
        exact_share: of the last blocks lowered, how many had just the kernels told before.
    """

    def __init__(self, space: ElasticSpace, vector: int) -> None:
        self.space, self.vector = space, vector
        self.anatomy = Anatomy(space)
        self._seen: dict[Candidate, tuple[list[list[Sourced]], list[int]]] = {}
        self._forms: dict[Key, Counter[tuple[tuple[Part, int], ...]]] = defaultdict(Counter)
        self._variants: dict[tuple[int, Part], list[Formulas]] = defaultdict(list)
        self._overheads: dict[Key, list[int]] = defaultdict(list)
        self.exact_share = 0.0

    def observe(
        self, candidate: Candidate, placed: Iterable[PlacedKernel], size_of: dict[str, int]
    ) -> None:
        """Learn from a candidate.

        Args:
            candidate: canonical.
            placed: its kernels, as the runtime gave them.
            size_of: bytes of each block in the model file.
        """
        blocks = self._sourced(placed)
        self._learn(candidate, blocks, [size_of.get(block, 0) for block in self.space.blocks])

    def _learn(self, candidate: Candidate, blocks: list[list[Sourced]], sizes: list[int]) -> None:
        if candidate in self._seen:
            return
        self._seen[candidate] = (blocks, sizes)
        widths = self.space.decode(candidate).n_channels
        for block, keys, counts in self._described(candidate):
            kind = self.anatomy.kinds[block]
            parts = [
                (part, self._variant(kind, part, counts, numbers))
                for part, numbers in self._parts(blocks[block])
            ]
            overhead = sizes[block] - self._bytes(block, widths, keys[0])
            for key in keys:
                self._forms[key][tuple(parts)] += 1
                self._overheads[key].append(overhead)

    def _parts(self, kernels: Sequence[Sourced]) -> Iterator[tuple[Part, Counts]]:
        for source, kernel in kernels:
            form, numbers = taken_apart(kernel)
            yield (self.anatomy.places.get(source, _NONE), form), numbers

    def _variant(self, kind: int, part: Part, counts: Counts, numbers: Counts) -> int:
        """Number of the formulas that give these sizes; in another layout sizes change places."""
        variants = self._variants[kind, part]
        for index, known in enumerate(variants):
            if (wider := known.with_sample(counts, numbers)) is not None:
                variants[index] = wider
                return index
        variants.append(Formulas([counts], [numbers], self.vector))
        return len(variants) - 1

    def _sourced(self, placed: Iterable[PlacedKernel]) -> list[list[Sourced]]:
        """Kernels by block; what belongs to none goes with what ran before it."""
        number = {block: index for index, block in enumerate(self.space.blocks)}
        found: list[list[Sourced]] = [[] for _ in number]
        current = 0
        for item in placed:
            current = number.get(item.block, current)
            found[current].append((self._operation(item.source), item.kernel))
        return found

    def _operation(self, source: str) -> str:
        """The operation of the graph that a node or tensor of the exported network is made of."""
        name = source.rpartition("/")[2]
        while name and name not in self.anatomy.places and "_" in name:
            name = name.rpartition("_")[0]
        return name

    @property
    def seen(self) -> list[Candidate]:
        """The candidates it has learnt from, in order."""
        return list(self._seen)

    def by_block(self, candidate: Candidate) -> dict[str, list[Kernel]]:
        """Kernels of each active block of a canonical candidate, in order."""
        return {
            self.space.blocks[block]: self.kernels_of(keys, counts)
            for block, keys, counts in self._described(candidate)
        }

    def of(self, candidate: Candidate) -> list[Kernel]:
        """All kernels of a canonical candidate, put together from its blocks."""
        return [kernel for kernels in self.by_block(candidate).values() for kernel in kernels]

    def priced(self, predictor: KernelPredictor) -> ElasticTable:
        """A table that prices what it is asked for, once.

        A user's network may have any operator: those that the profile does not know are priced by
        the roofline over all others, corrected by the networks of the space that are measured, and
        named in every prediction.
        """
        whole = predictor.predict(self.of(self.space.largest()))
        seen = {k for blocks, _ in self._seen.values() for block in blocks for _, k in block}
        low, high = (bound / whole.latency_s for bound in whole.interval_s)
        return ElasticTable(
            self, predictor, (low, high), predictor.predict(list(seen)).unknown_ops
        )

    def save(self, folder: Path) -> None:
        """Keep what was lowered in a run folder."""
        distinct = dict.fromkeys(
            kernel for blocks, _ in self._seen.values() for block in blocks for _, kernel in block
        )
        number = {kernel: index for index, kernel in enumerate(distinct)}
        rows = [
            {
                "candidate": candidate.text,
                "blocks": [[(source, number[k]) for source, k in block] for block in blocks],
                "sizes_bytes": sizes,
            }
            for candidate, (blocks, sizes) in self._seen.items()
        ]
        content = {
            "vector": self.vector,
            "exact_share": self.exact_share,
            "kernels": [asdict(kernel) for kernel in distinct],
            "networks": rows,
        }
        write_json(folder / KERNELS_FILE, _KIND, _SCHEMA, content)

    @classmethod
    def load(cls, folder: Path, space: ElasticSpace) -> ElasticKernels:
        """Inverse of ``save``.

        Raises:
            InputError: missing, of another kind, or with missing or unknown fields.
        """
        path = folder / KERNELS_FILE
        try:
            document = _Document.model_validate(read_json(path, _KIND, _SCHEMA))
            found = cls(space, document.vector)
            for row in document.networks:
                candidate = Candidate.parse(row.candidate)
                space.check(candidate)
                blocks = [[(s, document.kernels[i]) for s, i in block] for block in row.blocks]
                if not len(blocks) == len(row.sizes_bytes) == len(space.blocks):
                    raise IndexError("a network has as many blocks as its space")
                found._learn(candidate, blocks, row.sizes_bytes)
            found.exact_share = document.exact_share
        except (ValidationError, IndexError) as error:
            raise InputError(
                f"{KERNELS_FILE} holds kernels and networks, {path} does not: {error}; delete it"
            ) from error
        return found

    def are_exact(self, candidate: Candidate, placed: Iterable[PlacedKernel]) -> list[bool]:
        """Which active blocks have just the kernels that the runtime gave them, shapes and all."""
        told = self.by_block(candidate)
        found = dict(zip(self.space.blocks, self._sourced(placed), strict=True))
        return [
            Counter(kernels) == Counter(kernel for _, kernel in found[block])
            for block, kernels in told.items()
        ]

    def surroundings(self, genes: Genes) -> tuple[Row, NDArray[np.bool_]]:
        """What each block is and what surrounds it, and which blocks are there.

        Args:
            genes: canonical ``(n, genes)``.

        Returns:
            ``(blocks, n, 6)`` int64: own precision plus twice a number that says which branches in
            the block are left out, then 2 * kind + precision of the block before, of the one
            before that, of the block behind, and of the one behind that, -1 where there is none,
            then its place in its run of one precision, see ``_run``; and ``(blocks, n)`` bool.
        """
        active = self.space.is_there(genes).T
        own = genes[:, self.space.n_architecture :].T
        skipped = genes[:, self.space.n_groups : self.space.n_architecture]
        left_out = np.array(
            [
                sum((skipped[:, b] << i for i, b in enumerate(found)), np.zeros(len(genes), int))
                for found in self.anatomy.branches
            ]
        )
        codes = own + 2 * np.array(self.anatomy.kinds)[:, None]
        around = np.full((*own.shape, 6), _NONE, np.int64)
        around[:, :, 0] = own + 2 * left_out
        around[:, :, 5] = _run(own, active)
        for order, first in ((range(len(own)), 1), (range(len(own) - 1, -1, -1), 3)):
            near, far = np.full((2, own.shape[1]), _NONE, np.int64)
            for block in order:
                around[block, :, first], around[block, :, first + 1] = near, far
                is_there = active[block]
                far = np.where(is_there, near, far)
                near = np.where(is_there, codes[block], near)
        return around, active

    def _described(self, candidate: Candidate) -> list[tuple[int, list[Key], tuple[int, ...]]]:
        """Active blocks: number, keys from the finest to the coarsest, channel counts."""
        genes = np.array([candidate.genes])
        around, active = self.surroundings(genes)
        widths = self.space.decode(candidate).n_channels
        return [
            (block, *self.keys_of(block, around[block, 0].tolist(), widths))
            for block in np.flatnonzero(active[:, 0]).tolist()
        ]

    def keys_of(
        self, block: int, around: list[int], widths: Sequence[int]
    ) -> tuple[list[Key], Counts]:
        """What decides the kernels of a block, from the finest to the coarsest, and its sizes.

        Args:
            block: its number.
            around: its row of ``surroundings``.
            widths: channels of every group.
        """
        own, before, before2, behind, behind2, run = around
        anatomy = self.anatomy
        kind = anatomy.kinds[block]
        counts = tuple(
            fixed + sum(n * widths[group] for group, n in of.items())
            for fixed, of in anatomy.sizes[block]
        )
        near = (before if before < 0 else before % 2, behind if behind < 0 else behind % 2)
        has_float = own % 2 == 0 or 0 in near
        fills = tuple(self._fill(counts[i]) for i in anatomy.images[block]) if has_float else ()
        keys: list[Key] = [
            (0, kind, own, before, before2, behind, behind2, run, fills),
            (1, kind, own, before, behind, run, fills),
            (2, kind, own, before, behind, fills),
            (3, kind, own, near, fills),
            (4, kind, own, near),
            (5, kind, own),
            (6, kind),
        ]
        return keys, counts

    def _fill(self, count: int) -> int:
        if count < self.vector:
            return _SMALL
        return _BROKEN if count % self.vector else _WHOLE

    def kernels_of(self, keys: Sequence[Key], counts: Counts) -> list[Kernel]:
        """The kernels of a block, told from the finest of its keys that was seen."""
        key = next(key for key in keys if key in self._forms)  # the largest had every kind
        kind = int(keys[0][1])  # type: ignore[call-overload]
        parts = self._forms[key].most_common(1)[0][0]
        return [
            put_together(part[1], self._variants[kind, part][variant].at(counts))
            for part, variant in parts
        ]

    def _bytes(self, block: int, widths: Sequence[int], key: Key) -> int:
        """Of the matrices and filters that are left of a block."""
        left_out, precision = divmod(int(key[2]), 2)  # type: ignore[call-overload]
        total = 0
        for axes, branches in self.anatomy.weights[block]:
            if not branches & left_out:
                sizes = [fixed + sum(n * widths[g] for g, n in of.items()) for fixed, of in axes]
                total += int(np.prod(sizes)) * (1 if precision else 4)
        return total

    def block_size_bytes(self, block: int, keys: Sequence[Key], widths: Sequence[int]) -> float:
        """Bytes of a block in the model file."""
        key = next(key for key in keys if key in self._overheads)
        return self._bytes(block, widths, keys[0]) + float(np.mean(self._overheads[key]))


def _run(precisions: Row, active: NDArray[np.bool_]) -> Row:
    """Where a block stands in its run of one precision, as far as layouts depend on it.

    Between int8, float32 in vectors and plain float32, the runtime moves transposes along a run:
    which block of two ends up with them changes from block to block, and depends on whether the
    run begins and ends inside the network.

    Args:
        precisions: ``(blocks, n)`` int64.
        active: ``(blocks, n)``, which blocks are there.

    Returns:
        ``(blocks, n)`` int64: 1 for every other block from the start of the run, plus 2 where
        another run stands before it, plus 4 where one stands behind it.
    """
    n_blocks, n = precisions.shape
    found = np.zeros((n_blocks, n), np.int64)
    for order, bit in ((range(n_blocks), 2), (range(n_blocks - 1, -1, -1), 4)):
        last, place = np.full((2, n), _NONE, np.int64)
        has_other = np.zeros(n, np.int64)
        for block in order:
            own = precisions[block]
            is_new = own != last
            has_other = np.where(active[block] & is_new & (last != _NONE), 1, has_other)
            place = np.where(active[block], np.where(is_new, 0, place + 1), place)
            last = np.where(active[block], own, last)
            found[block] += bit * has_other + (place % 2 if bit == 2 else 0)
    return found


def learn_kernels(
    space: ElasticSpace,
    model: Callable[[Candidate], ModelProto],
    folder: Path,
    *,
    vector: int,
    n_threads: int,
    progress: Progress,
) -> ElasticKernels:
    """Lower networks until the kernels of the next ones are told right, or load what was learnt.

    Args:
        space: the space.
        model: a candidate as a network; quick for candidates that differ in precision alone.
        folder: run folder.
        vector: channels of a vector of the processor.
        n_threads: threads of the runtime's sessions, at least 1.
        progress: where the bar is drawn.
    """
    if (folder / KERNELS_FILE).is_file():
        return ElasticKernels.load(folder, space)
    kernels = ElasticKernels(space, vector)
    rng = np.random.default_rng(0)
    right: list[list[bool]] = []
    with progress.track(_MOST, "lowering networks of the space") as update:
        for index in range(_MOST):
            for candidate in _patterns(space, rng, index):
                network = model(candidate)
                placed = lower(network, n_threads=n_threads)
                if kernels.seen:
                    right.append(kernels.are_exact(candidate, placed))
                kernels.observe(candidate, placed, _bytes_by_block(network))
            judged = [
                block for blocks in right[-_JUDGED * len(_INT8_SHARES) :] for block in blocks
            ]
            kernels.exact_share = float(np.mean(judged))
            update(index + 1, f"{kernels.exact_share:.0%} of the last blocks told right")
            if index + 1 >= _LEAST and kernels.exact_share >= _ENOUGH:
                break
    kernels.save(folder)
    return kernels


def _patterns(space: ElasticSpace, rng: np.random.Generator, index: int) -> list[Candidate]:
    """An architecture, the largest and the smallest first, with several precisions."""
    ends = (space.largest(), space.smallest())
    start = np.array([ends[index].genes]) if index < len(ends) else space.sample(1, rng)
    genes = np.repeat(start, len(_INT8_SHARES), axis=0)
    shares = np.array(_INT8_SHARES)[:, None]
    genes[:, space.n_architecture :] = rng.random((len(genes), len(space.blocks))) < shares
    rows = space.canonical(genes).tolist()
    return list(dict.fromkeys(Candidate(tuple(row)) for row in rows))


def _bytes_by_block(model: ModelProto) -> dict[str, int]:
    """Bytes of nodes and weights; a weight counts where it is first read."""
    size_of = {tensor.name: tensor.ByteSize() + 4 for tensor in model.graph.initializer}
    sizes: Counter[str] = Counter()
    for node in model.graph.node:
        block = node.name.split("/")[0]
        sizes[block] += node.ByteSize() + 3 + sum(size_of.pop(name, 0) for name in node.input)
    return dict(sizes)


class _Network(BaseModel):
    model_config = ConfigDict(extra="forbid")
    candidate: str
    blocks: list[list[tuple[str, int]]]
    sizes_bytes: list[int]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str
    schema_version: int
    vector: int
    exact_share: float
    kernels: list[Kernel]
    networks: list[_Network]
