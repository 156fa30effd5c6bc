"""The cost table of ``mbconv``: every block in every context priced once, then gather and sum.

A block's kernels depend on its operation and on its context (see
``edgekit.search.mbconv.contexts``). To see every block in every context we lower a few whole
networks that hold them all.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.costs import CostTable, Floats
from edgekit.search.mbconv.contexts import (
    N_CONTEXTS,
    SKIPPED,
    context_codes,
    covering_candidates,
)
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.space import Genes

Context = tuple[int, int]
"""(block, context code); block 0 is the stem, the last one the head."""

BLOCKS_FILE = "blocks.json"
_KIND, _SCHEMA = "edgekit-blocks", 1


@dataclass(frozen=True, slots=True)
class BlockKernels:
    """What the runtime runs for each block in each context; see ``LoweredSpace``.

    Attributes:
        space: the space.
        kernels: kernels of a block in a context, in execution order.
        size_bytes: bytes the block takes in the model file.
    """

    space: MBConvSpace
    kernels: dict[Context, tuple[Kernel, ...]]
    size_bytes: dict[Context, int]

    def by_block(self, candidate: Candidate) -> list[tuple[Kernel, ...]]:
        """Kernels of each block of a candidate that is not skipped, in order."""
        codes = context_codes(self.space, np.array([candidate.genes]))[:, 0].tolist()
        return [self.kernels[block, code] for block, code in enumerate(codes) if code < SKIPPED]

    def of(self, candidate: Candidate) -> list[Kernel]:
        """All kernels of a candidate, put together from its blocks."""
        return [kernel for kernels in self.by_block(candidate) for kernel in kernels]

    def priced(self, predictor: KernelPredictor) -> BlockTable:
        """Every block in every context priced; the predictor is called once."""
        return compile_table(self, predictor)

    def save(self, folder: Path) -> None:
        """Keep them in a run folder: lowering takes a while, a run never changes its runtime."""
        distinct = dict.fromkeys(kernel for row in self.kernels.values() for kernel in row)
        number = {kernel: index for index, kernel in enumerate(distinct)}
        rows = [
            {
                "block": block,
                "code": code,
                "size_bytes": self.size_bytes[block, code],
                "kernels": [number[kernel] for kernel in kernels],
            }
            for (block, code), kernels in self.kernels.items()
        ]
        content = {"kernels": [asdict(kernel) for kernel in distinct], "blocks": rows}
        write_json(folder / BLOCKS_FILE, _KIND, _SCHEMA, content)

    @classmethod
    def load(cls, folder: Path, space: MBConvSpace) -> BlockKernels:
        """Inverse of ``save``.

        Raises:
            InputError: missing, of another kind, or with missing or unknown fields.
        """
        path = folder / BLOCKS_FILE
        try:
            document = _Document.model_validate(read_json(path, _KIND, _SCHEMA))
            rows = {(row.block, row.code): row for row in document.blocks}
            return cls(
                space,
                {
                    key: tuple(document.kernels[i] for i in row.kernels)
                    for key, row in rows.items()
                },
                {key: row.size_bytes for key, row in rows.items()},
            )
        except (ValidationError, IndexError) as error:
            raise InputError(
                f"{BLOCKS_FILE} holds kernels and blocks, {path} does not: {error}; delete it"
            ) from error


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    block: int
    code: int
    size_bytes: int
    kernels: list[int]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str
    schema_version: int
    kernels: list[Kernel]
    blocks: list[_Row]


def lower_blocks(space: MBConvSpace, *, n_threads: int, progress: Progress) -> BlockKernels:
    """Ask the runtime for the kernels of every block in every context.

    Args:
        space: the space.
        n_threads: threads of the runtime's sessions, at least 1.
        progress: where the bar is drawn.
    """
    kernels: dict[Context, tuple[Kernel, ...]] = {}
    sizes: dict[Context, int] = {}
    candidates = covering_candidates(space)
    codes = context_codes(space, np.array([candidate.genes for candidate in candidates]))
    with progress.track(len(candidates), "lowering the blocks of the space") as update:
        for index, candidate in enumerate(candidates):
            model = candidate_model(space, candidate)
            grouped: dict[str, list[Kernel]] = defaultdict(list)
            for placed in lower(model, n_threads=n_threads):
                grouped[placed.block].append(placed.kernel)
            bytes_of = _bytes_by_block(model)
            for block, (name, code) in enumerate(
                zip(space.blocks, codes[:, index].tolist(), strict=True)
            ):
                if code < SKIPPED:
                    kernels.setdefault((block, code), tuple(grouped[name]))
                    sizes.setdefault((block, code), bytes_of[name])
            update(index + 1)
    return BlockKernels(space, kernels, sizes)


@dataclass(frozen=True, slots=True)
class BlockTable(CostTable):
    """Additive costs of the blocks of a space: latency in seconds and size in bytes.

    Attributes:
        space: the space.
        latency_s: ``(blocks, 7 * 32)`` float64, indexed by block and context code. A skipped block
            costs 0, a context that does not exist nan.
        size_bytes: the same in bytes of the model file.
        relative_interval: bounds of the predictor's 90 % interval, relative to the latency.
    """

    space: MBConvSpace
    latency_s: Floats
    size_bytes: Floats
    relative_interval: tuple[float, float]

    def latencies_s(self, genes: Genes) -> Floats:
        """Latency of each row of canonical genes ``(n, genes)``, in seconds ``(n,)`` float64."""
        return _gather(self.latency_s, context_codes(self.space, genes))

    def sizes_bytes(self, genes: Genes) -> Floats:
        """File size of each row of canonical genes ``(n, genes)``, in bytes ``(n,)`` float64."""
        return _gather(self.size_bytes, context_codes(self.space, genes))

    def block_latencies_s(self, candidate: Candidate) -> dict[str, float]:
        """Latency of each active block of a candidate, by name, in seconds; the sum is its own."""
        codes = context_codes(self.space, np.array([candidate.genes]))[:, 0]
        names = self.space.blocks
        return {
            name: float(row[code])
            for name, row, code in zip(names, self.latency_s, codes, strict=True)
            if code < SKIPPED
        }


def compile_table(blocks: BlockKernels, predictor: KernelPredictor) -> BlockTable:
    """Price every block in every context with a predictor.

    Args:
        blocks: from ``lower_blocks``.
        predictor: prices kernels; called once for all distinct ones.

    Raises:
        InputError: an operator of the space has no cost; it is never priced as zero.
    """
    space = blocks.space
    distinct = list(dict.fromkeys(k for kernels in blocks.kernels.values() for k in kernels))
    whole = predictor.predict(distinct)
    if whole.unknown_ops:
        raise InputError(
            "every operator of the space needs a cost, the profile has none for "
            f"{', '.join(whole.unknown_ops)}; profile again"
        )
    costs = dict(zip(distinct, predictor.kernel_costs_s(distinct).tolist(), strict=True))
    shape = (space.n_positions + 2, SKIPPED + N_CONTEXTS)
    latency, size = np.full(shape, np.nan), np.full(shape, np.nan)
    latency[:, SKIPPED:] = size[:, SKIPPED:] = 0
    for context, kernels in blocks.kernels.items():
        latency[context] = sum(costs[kernel] for kernel in kernels)
        size[context] = blocks.size_bytes[context]
    low, high = (bound / whole.latency_s for bound in whole.interval_s)
    return BlockTable(space, latency, size, (low, high))


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
