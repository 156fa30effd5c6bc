"""The cost table of a space: every block in every context, priced once; a candidate is then a gather and a sum.

A block's kernels depend on its operation, its own precision and the precision of its neighbours (the runtime inserts
conversions at a border, and no longer fuses a residual sum there). A context is therefore (precision before, own,
after), where a skipped block passes on the precision of the block before it. To see every block in every context we
lower whole networks whose precisions follow the de Bruijn sequence 00010111: its eight rotations hold each of the eight
contexts at each position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.figures import Measured, Predicted
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.devices.lowering import lower
from edgekit.devices.predictor import KernelPredictor
from edgekit.search.lowering import candidate_model
from edgekit.search.spaces.mbconv import SKIP, MBConvSpace

Genes = NDArray[np.int64]
Floats = NDArray[np.float64]
Context = tuple[int, int, int, int, int]
"""(block, operation, precision before, own, after); block 0 is the stem, the last one the head; precisions 0 or 1."""

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

    def of(self, space: MBConvSpace, candidate: Candidate) -> list[Kernel]:
        """All kernels of a candidate, put together from its blocks."""
        genes = np.array([candidate.genes])
        codes = _codes(space, genes)
        contexts = (_context(b, int(code)) for b, code in enumerate(codes[:, 0]) if code >= 0)
        return [kernel for context in contexts for kernel in self.kernels[context]]


def lower_blocks(space: MBConvSpace, *, n_threads: int, progress: Progress) -> BlockKernels:
    """Ask the runtime for the kernels of every block in every context: 8 rotations x 6 operations networks."""
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
        latency_s: ``(blocks, 7 * 8)`` float64, indexed by block and context code; skipped blocks cost 0.
        prior_s: the same before any correction, as the predictor gave it.
        size_bytes: ``(blocks, 7 * 8)`` float64.
        noise: relative standard deviation of what the table cannot say, 0..1.
        unknown_ops: operators without a cost.
    """

    latency_s: Floats
    prior_s: Floats
    size_bytes: Floats
    noise: float
    unknown_ops: tuple[str, ...]

    def latencies_s(self, space: MBConvSpace, genes: Genes) -> Floats:
        """Latency of each row of canonical genes ``(n, genes)``, in seconds ``(n,)``."""
        return _gather(self.latency_s, _codes(space, genes))

    def sizes_bytes(self, space: MBConvSpace, genes: Genes) -> Floats:
        """File size of each row of canonical genes, in bytes ``(n,)``."""
        return _gather(self.size_bytes, _codes(space, genes))

    def predicted(self, space: MBConvSpace, candidate: Candidate) -> Predicted:
        """One candidate's latency with its 90 % interval."""
        latency = float(self.latencies_s(space, np.array([candidate.genes]))[0])
        spread = 1.645 * self.noise * latency
        return Predicted(latency, (max(0.0, latency - spread), latency + spread), self.unknown_ops)

    def corrected(
        self, space: MBConvSpace, measured: Sequence[tuple[Candidate, Measured]]
    ) -> CostTable:
        """The table after whole networks of the space were measured.

        Bayesian linear regression on relative corrections: each entry is its prior cost times one plus a sum of
        corrections shared by all blocks, by a precision, by a (block, precision), by an (operation, precision), by the
        borders, and one of its own, each normal around 0 with the spread in ``_SPREADS``. The posterior mean is again
        a table. It starts from the prior each time, so correcting twice with the same networks changes nothing.

        Args:
            space: the space of the table.
            measured: candidates and their measured figures; the label is what is fitted.
        """
        if not measured:
            return self
        genes = np.array([candidate.genes for candidate, _ in measured])
        labels_s = np.array([figure.label_s for _, figure in measured])
        codes = _codes(space, genes)
        groups = _groups(space)
        design = _design(self.prior_s, codes, groups)
        prior_total_s = _gather(self.prior_s, codes)
        scale = float(np.mean(labels_s))
        spread = np.concatenate([np.full(g.max() + 1, s) for g, s in groups])
        correction, noise = _posterior(design / scale, (labels_s - prior_total_s) / scale, spread)
        factor, start = np.ones_like(self.prior_s), 0
        for group, _ in groups:
            factor += correction[start : start + group.max() + 1][group]
            start += group.max() + 1
        return replace(self, latency_s=self.prior_s * np.maximum(factor, 0.05), noise=noise)


_SPREADS = {"all": 0.2, "precision": 0.15, "block": 0.1, "operation": 0.1, "border": 0.2, "own": 0.06}


def compile_table(
    space: MBConvSpace, blocks: BlockKernels, predictor: KernelPredictor, noise: float
) -> CostTable:
    """Price every block in every context with a predictor.

    Args:
        space: the space.
        blocks: from ``lower_blocks``.
        predictor: prices kernels; called once for all distinct ones.
        noise: relative error of the predictor on whole networks, 0..1.

    Raises:
        InputError: an operator of the space has no cost; it is never priced as zero.
    """
    distinct = list(dict.fromkeys(k for kernels in blocks.kernels.values() for k in kernels))
    unknown = predictor.predict(distinct).unknown_ops
    if unknown:
        raise InputError(
            f"every operator of the space needs a cost, the profile has none for {', '.join(unknown)}; profile again"
        )
    costs = dict(zip(distinct, predictor.kernel_costs_s(distinct).tolist(), strict=True))
    shape = (space.n_positions + 2, (SKIP + 1) * _N_CONTEXTS)
    latency, size = np.zeros(shape), np.zeros(shape)
    for row, code in np.ndindex(*shape):
        kernels = blocks.kernels.get(_context(row, code))
        if kernels is not None:
            latency[row, code] = sum(costs[kernel] for kernel in kernels)
            size[row, code] = blocks.size_bytes[_context(row, code)]
    return CostTable(latency, latency, size, noise, unknown)


def _block_names(space: MBConvSpace) -> list[str]:
    return ["stem", *(position.name for position in space.positions), "head"]


def _normal(space: MBConvSpace, block: int, operation: int, before: int, own: int, after: int) -> Context:
    """Stem and head have no operation, the stem nothing before it, the head nothing after it."""
    if block == 0:
        return (0, 0, 0, own, after)
    if block == space.n_positions + 1:
        return (block, 0, before, own, 0)
    return (block, operation, before, own, after)


def _context(block: int, code: int) -> Context:
    operation, rest = divmod(code, _N_CONTEXTS)
    return (block, operation, rest >> 2, (rest >> 1) & 1, rest & 1)


def _codes(space: MBConvSpace, genes: Genes) -> NDArray[np.int64]:
    """Context code of every block ``(blocks, n)``; -1 where the block is skipped."""
    n = space.n_positions
    precision = np.ascontiguousarray(genes[:, n:].T)
    skipped = np.zeros(precision.shape, dtype=bool)
    skipped[1:-1] = genes[:, :n].T == SKIP
    before, after = np.zeros_like(precision), np.zeros_like(precision)
    for block in range(1, n + 2):
        before[block] = np.where(skipped[block - 1], before[block - 1], precision[block - 1])
    for block in range(n, -1, -1):
        after[block] = np.where(skipped[block + 1], after[block + 1], precision[block + 1])
    codes = before * 4 + precision * 2 + after
    codes[1:-1] += genes[:, :n].T * _N_CONTEXTS
    codes[skipped] = -1
    return codes


def _gather(table: Floats, codes: NDArray[np.int64]) -> Floats:
    total = np.zeros(codes.shape[1])
    for row, code in zip(table, codes, strict=True):
        total += row.take(code) * (code >= 0)
    return total


def _groups(space: MBConvSpace) -> list[tuple[NDArray[np.int64], float]]:
    """For each kind of correction, the group of every table entry ``(blocks, codes)`` and its spread."""
    blocks, codes = np.indices((space.n_positions + 2, (SKIP + 1) * _N_CONTEXTS))
    operation, rest = codes // _N_CONTEXTS, codes % _N_CONTEXTS
    own, border = (rest >> 1) & 1, ((rest >> 2) ^ (rest >> 1) & 1) * 2 + ((rest ^ (rest >> 1)) & 1)
    kinds = {
        "all": np.zeros_like(codes),
        "precision": own,
        "block": blocks * 2 + own,
        "operation": operation * 2 + own,
        "border": border * 2 + own,
        "own": blocks * codes.shape[1] + codes,
    }
    return [(kinds[name], spread) for name, spread in _SPREADS.items()]


def _design(
    prior_s: Floats, codes: NDArray[np.int64], groups: Sequence[tuple[NDArray[np.int64], float]]
) -> Floats:
    """Seconds of each network that fall on each group ``(networks, groups)``."""
    parts = []
    for group, _ in groups:
        part = np.zeros((codes.shape[1], group.max() + 1))
        for block, code in enumerate(codes):
            rows = np.flatnonzero(code >= 0)
            seconds = prior_s[block, code[rows]]
            np.add.at(part, (rows, group[block, code[rows]]), seconds)
        parts.append(part)
    return np.concatenate(parts, axis=1)


def _posterior(design: Floats, residual: Floats, spread: Floats) -> tuple[Floats, float]:
    """Posterior mean of the corrections, and the noise that explains the data best.

    The noise is chosen from a grid by the marginal likelihood (Bishop 2006, section 3.5).
    """
    weighted = design * spread**2
    covariance = weighted @ design.T
    best: tuple[float, float, Floats] | None = None
    for noise in (0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.08):
        total = covariance + noise**2 * np.eye(len(residual))
        solved = np.linalg.solve(total, residual)
        evidence = -0.5 * (residual @ solved + np.linalg.slogdet(total)[1])
        if best is None or evidence > best[0]:
            best = (float(evidence), noise, weighted.T @ solved)
    assert best is not None
    return best[2], best[1]


def _bytes_by_block(model: object) -> dict[str, int]:
    from onnx import ModelProto

    assert isinstance(model, ModelProto)
    sizes: dict[str, int] = defaultdict(int)
    for item in (*model.graph.node, *model.graph.initializer):
        sizes[item.name.split("/")[0]] += item.ByteSize() + 3
    return sizes


