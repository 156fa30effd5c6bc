"""Costs of the candidates of an elastic space, from the kernels that were learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.costs import CostTable, Floats
from edgekit.search.elastic.anatomy import Row
from edgekit.search.space import Genes

if TYPE_CHECKING:
    from edgekit.search.elastic.kernels import ElasticKernels

_NONE = -1


class ElasticTable(CostTable):
    """Costs of an elastic space: a block in its surroundings is priced when it is first asked for.

    Args:
        kernels: what the runtime runs.
        predictor: prices kernels.
        relative_interval: of its predictions.
        unknown_ops: operators that the predictor has no cost of its own for.

    What was priced is found again by a hash of 64 bits of genes and surroundings.
    """

    def __init__(
        self,
        kernels: ElasticKernels,
        predictor: KernelPredictor,
        relative_interval: tuple[float, float],
        unknown_ops: tuple[str, ...],
    ) -> None:
        self.relative_interval, self.unknown_ops = relative_interval, unknown_ops
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
        genes = np.array([candidate.genes])
        costs, there = self._costs(genes)[:, 0, 0].tolist(), space.is_there(genes)[0]
        rows = zip(space.blocks, costs, there, strict=True)
        return {block: cost for block, cost, is_there in rows if is_there}

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
            keys, counts = kernels.keys_of(block, around[block, row].tolist(), widths)
            size = kernels.block_size_bytes(block, keys, widths)
            rows.append((kernels.kernels_of(keys, counts), size))
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
