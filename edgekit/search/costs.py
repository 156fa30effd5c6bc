"""The cost table of a space: every block in every context priced once, then gather and sum.

A block's kernels depend on its operation, its own precision and the precision of its neighbours
(the runtime inserts conversions at a border, and no longer fuses a residual sum there). A context
is therefore (precision before, own, after), where a skipped block passes on the precision of the
block before it. To see every block in every context we lower whole networks whose precisions
follow the de Bruijn sequence 00010111: its eight rotations hold each of the eight contexts at each
position.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.figures import Predicted
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.lowering import candidate_model
from edgekit.search.spaces.mbconv import SKIP, MBConvSpace

Genes = NDArray[np.int64]
Floats = NDArray[np.float64]
Context = tuple[int, int, int, int, int]
"""(block, operation, precision before, own, after).

Block 0 is the stem, the last one the head; precisions are 0 for fp32 and 1 for int8.
"""

_DE_BRUIJN = (0, 0, 0, 1, 0, 1, 1, 1)
_N_CONTEXTS = 8


@dataclass(frozen=True, slots=True)
class BlockKernels:
    """What the runtime runs for each block in each context.

    Attributes:
        kernels: kernels of a block in a context, in execution order.
        size_bytes: bytes the block takes in the model file.
    """

    kernels: dict[Context, tuple[Kernel, ...]]
    size_bytes: dict[Context, int]

    def by_block(self, space: MBConvSpace, candidate: Candidate) -> list[tuple[Kernel, ...]]:
        """Kernels of each block of a candidate that is not skipped, in order."""
        codes = _codes(space, np.array([candidate.genes]))[:, 0].tolist()
        contexts = (_context(block, code) for block, code in enumerate(codes))
        return [self.kernels[context] for context in contexts if context[1] != SKIP]

    def of(self, space: MBConvSpace, candidate: Candidate) -> list[Kernel]:
        """All kernels of a candidate, put together from its blocks."""
        return [kernel for kernels in self.by_block(space, candidate) for kernel in kernels]


def lower_blocks(space: MBConvSpace, *, n_threads: int, progress: Progress) -> BlockKernels:
    """Ask the runtime for the kernels of every block in every context.

    Lowers 48 networks: 8 rotations of the precisions times 6 operations.

    Args:
        space: the space.
        n_threads: threads of the runtime's sessions, at least 1.
        progress: where the bar is drawn.
    """
    kernels: dict[Context, tuple[Kernel, ...]] = {}
    sizes: dict[Context, int] = {}
    n_blocks = space.n_positions + 2
    with progress.track(_N_CONTEXTS * SKIP, "lowering the blocks of the space") as update:
        for index, (operation, shift) in enumerate(np.ndindex(SKIP, _N_CONTEXTS)):
            precisions = [_DE_BRUIJN[(b + shift) % _N_CONTEXTS] for b in range(n_blocks)]
            model = candidate_model(
                space, Candidate((*([operation] * space.n_positions), *precisions))
            )
            grouped: dict[str, list[Kernel]] = defaultdict(list)
            for placed in lower(model, n_threads=n_threads):
                grouped[placed.block].append(placed.kernel)
            bytes_of = _bytes_by_block(model)
            padded = [0, *precisions, 0]
            for block, name in enumerate(_block_names(space)):
                context = _normal(space, block, operation, *padded[block : block + 3])
                kernels.setdefault(context, tuple(grouped[name]))
                sizes.setdefault(context, bytes_of[name])
            update(index + 1)
    return BlockKernels(kernels, sizes)


@dataclass(frozen=True, slots=True)
class CostTable:
    """Additive costs of the blocks of a space: latency in seconds and size in bytes.

    Attributes:
        latency_s: ``(blocks, 7 * 8)`` float64, indexed by block and context code. A skipped block
            costs 0, a context that does not exist nan.
        size_bytes: the same in bytes of the model file.
        relative_interval: bounds of the predictor's 90 % interval, relative to the latency.
    """

    latency_s: Floats
    size_bytes: Floats
    relative_interval: tuple[float, float]

    def latencies_s(self, space: MBConvSpace, genes: Genes) -> Floats:
        """Latency of each row of canonical genes ``(n, genes)``, in seconds ``(n,)`` float64."""
        return _gather(self.latency_s, _codes(space, genes))

    def sizes_bytes(self, space: MBConvSpace, genes: Genes) -> Floats:
        """File size of each row of canonical genes ``(n, genes)``, in bytes ``(n,)`` float64."""
        return _gather(self.size_bytes, _codes(space, genes))

    def block_latencies_s(self, space: MBConvSpace, candidate: Candidate) -> dict[str, float]:
        """Latency of each active block of a candidate, by name, in seconds; the sum is its own."""
        codes = _codes(space, np.array([candidate.genes]))[:, 0]
        names = _block_names(space)
        return {
            name: float(row[code])
            for name, row, code in zip(names, self.latency_s, codes, strict=True)
            if code < SKIP * _N_CONTEXTS
        }

    def predicted(self, space: MBConvSpace, candidate: Candidate) -> Predicted:
        """One candidate's latency with its 90 % interval."""
        latency = float(self.latencies_s(space, np.array([candidate.genes]))[0])
        low, high = self.relative_interval
        return Predicted(latency, (latency * low, latency * high))


def compile_table(
    space: MBConvSpace, blocks: BlockKernels, predictor: KernelPredictor
) -> CostTable:
    """Price every block in every context with a predictor.

    Args:
        space: the space.
        blocks: from ``lower_blocks``.
        predictor: prices kernels; called once for all distinct ones.

    Raises:
        InputError: an operator of the space has no cost; it is never priced as zero.
    """
    distinct = list(dict.fromkeys(k for kernels in blocks.kernels.values() for k in kernels))
    whole = predictor.predict(distinct)
    if whole.unknown_ops:
        raise InputError(
            "every operator of the space needs a cost, the profile has none for "
            f"{', '.join(whole.unknown_ops)}; profile again"
        )
    costs = dict(zip(distinct, predictor.kernel_costs_s(distinct).tolist(), strict=True))
    shape = (space.n_positions + 2, (SKIP + 1) * _N_CONTEXTS)
    latency, size = np.full(shape, np.nan), np.full(shape, np.nan)
    latency[1:-1, SKIP * _N_CONTEXTS :] = size[1:-1, SKIP * _N_CONTEXTS :] = 0
    for row, code in np.ndindex(*shape):
        kernels = blocks.kernels.get(_context(row, code))
        if kernels is not None:
            latency[row, code] = sum(costs[kernel] for kernel in kernels)
            size[row, code] = blocks.size_bytes[_context(row, code)]
    low, high = (bound / whole.latency_s for bound in whole.interval_s)
    return CostTable(latency, size, (low, high))


def _block_names(space: MBConvSpace) -> list[str]:
    return ["stem", *(position.name for position in space.positions), "head"]


def _normal(
    space: MBConvSpace, block: int, operation: int, before: int, own: int, after: int
) -> Context:
    """Stem and head have no operation, the stem nothing before it, the head nothing after it."""
    if block == 0:
        return (0, 0, 0, own, after)
    if block == space.n_positions + 1:
        return (block, 0, before, own, 0)
    return (block, operation, before, own, after)


def _context(block: int, code: int) -> Context:
    operation, rest = divmod(code, _N_CONTEXTS)
    return (block, operation, rest >> 2, (rest >> 1) & 1, rest & 1)


def _codes(space: MBConvSpace, genes: Genes) -> NDArray[np.uint8]:
    """Context code of every block ``(blocks, n)``; bytes, because this is all about bandwidth."""
    n = space.n_positions
    columns = np.ascontiguousarray(genes.astype(np.uint8).T)
    operations, precisions = columns[:n], columns[n:]
    active = np.ones(precisions.shape, dtype=np.uint8)
    active[1:-1] = operations != SKIP
    codes = precisions * np.uint8(2)
    codes[1:-1] += operations * np.uint8(_N_CONTEXTS)
    for weight, order in ((4, range(n + 2)), (1, range(n + 1, -1, -1))):
        passed_on = np.zeros(len(genes), dtype=np.uint8)
        for block in order:
            codes[block] += passed_on * np.uint8(weight)
            passed_on ^= (passed_on ^ precisions[block]) & active[block]
    return codes


def _gather(table: Floats, codes: NDArray[np.uint8]) -> Floats:
    """Sum over the blocks of the entries that the codes ``(blocks, n)`` name, ``(n,)``."""
    total, entries = np.zeros(codes.shape[1]), np.empty(codes.shape[1])
    for row, code in zip(table, codes, strict=True):
        np.take(row, code.astype(np.intp), out=entries, mode="clip")
        total += entries
    return total


def _bytes_by_block(model: ModelProto) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for item in (*model.graph.node, *model.graph.initializer):
        sizes[item.name.split("/")[0]] += item.ByteSize() + 3
    return sizes
