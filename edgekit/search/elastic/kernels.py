"""What the runtime runs for any choice of an elastic network, learnt from a few that were lowered.

    block + what surrounds it --> form of its kernel list --> numbers as formulas of channel counts

Blocks that are alike (the same operations on the same channel groups, as in the repeated blocks of
a stage) are one kind and learn from each other. The kernels of a block depend on its kind, its
precision, what stands before and behind it, and, in float32, on whether channel counts fill whole
vectors of the processor, because ONNX Runtime keeps such tensors in a layout of vectors.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import fx

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.kernel import Kernel, PlacedKernel
from edgekit.core.progress import Progress
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.costs import CostTable, Floats
from edgekit.search.elastic.analysis import attribute, operation
from edgekit.search.elastic.shapes import Form, Formulas, put_together, taken_apart
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.elastic.values import Value
from edgekit.search.space import Genes

KERNELS_FILE = "kernels.json"
_KIND, _SCHEMA = "edgekit-elastic-kernels", 1
_INT8_SHARES = (0.0, 1.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.6, 0.7, 0.8, 0.9)
_LEAST, _MOST = 10, 20
_JUDGED = 4
_ENOUGH = 0.97
_NONE = -1
_IMAGE = 4
_SMALL, _WHOLE, _BROKEN = 0, 1, 2
Key = tuple[object, ...]
Counts = tuple[int, ...]
Axis = tuple[int, dict[int, int]]
"""A size: what is always there, and elements a channel of each group."""

Sourced = tuple[str, Kernel]
"""A kernel behind the operation of the source it came from."""

Part = tuple[int, Form]
"""A kernel in a block: place of its operation, and its form."""

Row = NDArray[np.int64]


class Anatomy:
    """The blocks of a space: their kinds, channel groups and weights.

    Attributes:
        kinds: per block the number of its kind.
        groups: per block the channel groups it works on, in the order they appear.
        sizes: per block the sizes its tensors have along their axes, as far as they vary, each a
            pair of what is always there and {group: elements a channel}.
        images: per block which of ``sizes`` are channels of an image.
        places: place of an operation in its block, by its name.
        weights: per block the matrices and filters in it, each a list of axes, an axis being
            (what is always there, {group: elements a channel}).
    """

    def __init__(self, space: ElasticSpace) -> None:
        elastic = space.elastic
        structure = elastic.structure
        group_of = {
            int(label): index
            for index, group in enumerate(structure.groups)
            for label in group.classes
        }
        nodes: dict[str, list[fx.Node]] = {block: [] for block in space.blocks}
        for node in elastic.source.graph.nodes:
            block = elastic.blocks.get(node.name)
            if block in nodes:
                nodes[block].append(node)
        self.kinds: list[int] = []
        self.groups: list[tuple[int, ...]] = []
        self.sizes: list[list[Axis]] = []
        self.images: list[tuple[int, ...]] = []
        self.places: dict[str, int] = {}
        self.weights: list[list[list[Axis]]] = []
        signatures: dict[object, int] = {}
        for block in space.blocks:
            self.places |= {node.name: index for index, node in enumerate(nodes[block])}
            signature, groups = _signature(nodes[block], structure.values, group_of)
            self.kinds.append(signatures.setdefault(signature, len(signatures)))
            self.groups.append(groups)
            sizes, images = _sizes(nodes[block], structure.values, group_of)
            self.sizes.append(sizes)
            self.images.append(images)
            read = {str(n.target): n for node in nodes[block] for n in node.all_input_nodes}
            self.weights.append(
                [
                    _axes(structure.values[n.name][0], group_of)
                    for target, n in read.items()
                    if n.op == "get_attr" and attribute(elastic.source, target).dim() > 1
                ]
            )


def _sizes(
    nodes: Sequence[fx.Node], values: Mapping[str, tuple[Value, ...]], group_of: dict[int, int]
) -> tuple[list[Axis], tuple[int, ...]]:
    """Sizes along axes that vary, in the order they appear, and those along axis 1 of images."""
    found: list[Axis] = []
    images: list[int] = []
    for node in nodes:
        for name in (*(n.name for n in node.all_input_nodes), node.name):
            for value in values.get(name, ()):
                for dim in range(len(value.shape)):
                    axis = _along(value, dim, group_of)
                    if not axis[1]:
                        continue
                    if axis not in found:
                        found.append(axis)
                    index = found.index(axis)
                    if dim == 1 and len(value.shape) == _IMAGE and index not in images:
                        images.append(index)
    return found, tuple(images)


def _along(value: Value, dim: int, group_of: dict[int, int]) -> Axis:
    """The size along one dimension."""
    block = value.block_at(dim)
    if block is None:
        return value.shape[dim], {}
    axis = block.dims.index(dim)
    lines = np.moveaxis(block.labels, axis, 0).reshape(block.labels.shape[axis], -1)
    return _counted(lines[:, 0], group_of)


def _signature(
    nodes: Sequence[fx.Node],
    values: Mapping[str, tuple[Value, ...]],
    group_of: dict[int, int],
) -> tuple[object, tuple[int, ...]]:
    """What two blocks share if they are alike, and the groups of this one."""
    roles: dict[int, int] = {}
    inside = {node: index for index, node in enumerate(nodes)}

    def described(name: str) -> object:
        found = []
        for value in values.get(name, ()):
            axes = [
                (fixed, tuple((roles.setdefault(g, len(roles)), n) for g, n in of.items()))
                for fixed, of in _axes(value, group_of)
            ]
            found.append((value.shape[1:], tuple(axes)))
        return tuple(found)

    lines = []
    for node in nodes:
        inputs = tuple((inside.get(n, _NONE), described(n.name)) for n in node.all_input_nodes)
        constants = repr(fx.map_arg((node.args, node.kwargs), lambda n: None))
        lines.append((operation(node), inputs, described(node.name), constants))
    return tuple(lines), tuple(roles)


def _axes(value: Value, group_of: dict[int, int]) -> list[Axis]:
    """Per dimension, or block of them: what is always there, and elements a channel of a group."""
    axes: list[Axis] = []
    covered: set[int] = set()
    for block in value.blocks:
        covered |= set(block.dims)
        axes.append(_counted(block.labels, group_of))
    axes += [(size, {}) for dim, size in enumerate(value.shape) if dim not in covered]
    return axes


def _counted(labels: Row, group_of: dict[int, int]) -> Axis:
    distinct, counts = np.unique(labels, return_counts=True)
    fixed, of = 0, {}
    for label, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        if label in group_of:
            of[group_of[label]] = count
        else:
            fixed += count
    return fixed, of


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
            overhead = sizes[block] - self._bytes(block, widths, keys[0][2] == 1)
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

    def by_block(self, candidate: Candidate) -> dict[str, list[Kernel]]:
        """Kernels of each active block of a canonical candidate, in order."""
        return {
            self.space.blocks[block]: self._kernels(keys, counts)
            for block, keys, counts in self._described(candidate)
        }

    def of(self, candidate: Candidate) -> list[Kernel]:
        """All kernels of a canonical candidate, put together from its blocks."""
        return [kernel for kernels in self.by_block(candidate).values() for kernel in kernels]

    def priced(self, predictor: KernelPredictor) -> ElasticTable:
        """A table that prices what it is asked for, once.

        Operators that the profile does not know are priced by the roofline over all others, and
        then corrected by the networks of the space that are measured; ``unknown_ops`` of a
        prediction names them.
        """
        kernels = self.of(self.space.largest())
        whole = predictor.predict(kernels)
        low, high = (bound / whole.latency_s for bound in whole.interval_s)
        return ElasticTable(self, predictor, (low, high))

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
            ``(blocks, n, 5)`` int64: own precision, then 2 * kind + precision of the block
            before, of the one before that, of the block behind, and of the one behind that, -1
            where there is none; and ``(blocks, n)`` bool.
        """
        active = self.space.is_there(genes).T
        own = genes[:, self.space.n_architecture :].T
        codes = own + 2 * np.array(self.anatomy.kinds)[:, None]
        around = np.full((*own.shape, 5), _NONE, np.int64)
        around[:, :, 0] = own
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
            (block, *self._keyed(block, around[block, 0].tolist(), widths))
            for block in np.flatnonzero(active[:, 0]).tolist()
        ]

    def _keyed(
        self, block: int, around: list[int], widths: Sequence[int]
    ) -> tuple[list[Key], tuple[int, ...]]:
        own, before, before2, behind, behind2 = around
        anatomy = self.anatomy
        kind = anatomy.kinds[block]
        counts = tuple(
            fixed + sum(n * widths[group] for group, n in of.items())
            for fixed, of in anatomy.sizes[block]
        )
        near = (before if before < 0 else before % 2, behind if behind < 0 else behind % 2)
        has_float = own == 0 or 0 in near
        fills = tuple(self._fill(counts[i]) for i in anatomy.images[block]) if has_float else ()
        keys: list[Key] = [
            (0, kind, own, before, before2, behind, behind2, fills),
            (1, kind, own, before, behind, fills),
            (2, kind, own, near, fills),
            (3, kind, own, near),
            (4, kind, own),
            (5, kind),
        ]
        return keys, counts

    def _fill(self, count: int) -> int:
        if count < self.vector:
            return _SMALL
        return _BROKEN if count % self.vector else _WHOLE

    def _kernels(self, keys: Sequence[Key], counts: Counts) -> list[Kernel]:
        key = next((key for key in keys if key in self._forms), None)
        if key is None:
            return []
        kind = int(keys[0][1])  # type: ignore[call-overload]
        parts = self._forms[key].most_common(1)[0][0]
        return [
            put_together(part[1], self._variants[kind, part][variant].at(counts))
            for part, variant in parts
        ]

    def _bytes(self, block: int, widths: Sequence[int], is_int8: bool) -> int:
        total = 0
        for axes in self.anatomy.weights[block]:
            sizes = [fixed + sum(n * widths[g] for g, n in of.items()) for fixed, of in axes]
            total += int(np.prod(sizes)) * (1 if is_int8 else 4)
        return total

    def block_size_bytes(self, block: int, keys: Sequence[Key], widths: Sequence[int]) -> float:
        """Bytes of a block in the model file."""
        key = next((key for key in keys if key in self._overheads), None)
        overhead = float(np.mean(self._overheads[key])) if key is not None else 0.0
        return self._bytes(block, widths, keys[0][2] == 1) + overhead


class ElasticTable(CostTable):
    """Costs of an elastic space: a block in its surroundings is priced when it is first asked for.

    Args:
        kernels: what the runtime runs.
        predictor: prices kernels.
        relative_interval: of its predictions.
    """

    def __init__(
        self,
        kernels: ElasticKernels,
        predictor: KernelPredictor,
        relative_interval: tuple[float, float],
    ) -> None:
        self.relative_interval = relative_interval
        self._kernels, self._predictor = kernels, predictor
        self._cost_s: dict[Kernel, float] = {}
        self._known: dict[int, tuple[float, float]] = {}
        widest = 8 + max(map(len, kernels.anatomy.groups), default=0)
        factors = np.random.default_rng(0).integers(1, 2**62, widest, dtype=np.int64)
        self._factors = factors | 1

    def latencies_s(self, genes: Genes) -> Floats:
        """See ``CostTable``."""
        return np.asarray(self._costs(genes)[..., 0].sum(axis=0))

    def sizes_bytes(self, genes: Genes) -> Floats:
        """See ``CostTable``."""
        return np.asarray(self._costs(genes)[..., 1].sum(axis=0))

    def block_latencies_s(self, candidate: Candidate) -> dict[str, float]:
        """See ``CostTable``."""
        space = self._kernels.space
        costs = self._costs(np.array([candidate.genes]))[:, 0, 0].tolist()
        of = dict(zip(space.blocks, costs, strict=True))
        return {block: of[block] for block in space.active_blocks(candidate)}

    def _costs(self, genes: Genes) -> Floats:
        """``(blocks, n, 2)``: seconds and bytes of every block, 0 where it is left out."""
        anatomy = self._kernels.anatomy
        around, active = self._kernels.surroundings(genes)
        codes = np.zeros(active.shape, np.int64)
        for block, groups in enumerate(anatomy.groups):
            parts = [
                np.full(len(genes), anatomy.kinds[block]),
                *around[block].T,
                *(genes[:, group] for group in groups),
            ]
            with np.errstate(over="ignore"):
                for part, factor in zip(parts, self._factors, strict=False):
                    codes[block] = (codes[block] + part + 1) * factor ^ (codes[block] >> 29)
        flat, is_there = codes.ravel(), active.ravel().astype(np.int64)
        distinct, inverse = np.unique(flat, return_inverse=True)
        wanted = np.zeros(len(distinct), bool)
        wanted[inverse[is_there == 1]] = True
        new = [i for i in np.flatnonzero(wanted).tolist() if int(distinct[i]) not in self._known]
        places = [
            divmod(int(first_there), len(genes)) for first_there in _places(inverse, is_there, new)
        ]
        self._price([int(distinct[i]) for i in new], places, genes, around)
        nothing = (0.0, 0.0)
        table = np.array([self._known.get(int(code), nothing) for code in distinct])
        found = table[inverse].reshape(*active.shape, 2)
        found[~active] = 0
        return found

    def _price(
        self, codes: list[int], places: list[tuple[int, int]], genes: Genes, around: Row
    ) -> None:
        kernels, space = self._kernels, self._kernels.space
        rows = []
        for block, row in places:
            widths = [c[g] for c, g in zip(space.widths, genes[row].tolist(), strict=False)]
            keys, counts = kernels._keyed(block, around[block, row].tolist(), widths)
            size = kernels.block_size_bytes(block, keys, widths)
            rows.append((kernels._kernels(keys, counts), size))
        new = list(dict.fromkeys(k for found, _ in rows for k in found if k not in self._cost_s))
        if new:
            costs = self._predictor.kernel_costs_s(new).tolist()
            self._cost_s.update(zip(new, costs, strict=True))
        for code, (found, size) in zip(codes, rows, strict=True):
            self._known[code] = (sum(self._cost_s[k] for k in found), size)


def _places(inverse: Row, is_there: Row, wanted: Sequence[int]) -> list[int]:
    """A flat place where each wanted code stands in an active block."""
    places = np.flatnonzero(is_there)[::-1]
    of = np.full(int(inverse.max(initial=0)) + 1, _NONE, np.int64)
    of[inverse[places]] = places
    return [int(of[index]) for index in wanted]


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
