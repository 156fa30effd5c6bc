"""What surrounds a block, as far as the runtime's kernels depend on it, as one small number.

At a border between precisions ONNX Runtime inserts conversions, and moves or drops some of them by
what stands farther on. Of random networks, nineteen in twenty have in every block the kernels that
follow from its operation, its own precision, and

* the precision of the block before; where that is the block's own, also whether the block before
  has an identity and follows the other precision;
* the precision of the block after; where an fp32 block follows an int8 one, also whether it has an
  identity, and the precision that follows it.

A skipped block does not count: its neighbours are neighbours.

    code = 32 * operation + 16 * odd + 8 * before + 4 * own + after

``before`` and ``own`` are 0 for fp32 and 1 for int8; ``odd`` is 1 where the block before is as
said above; ``after`` is 0 for fp32 or nothing, 1 for int8, and 2 or 3 where an int8 block comes
before an fp32 one with an identity that fp32 or int8 follows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.core.candidate import Candidate
from edgekit.search.mbconv.space import SKIP, MBConvSpace
from edgekit.search.space import Genes

Bytes = NDArray[np.uint8]

N_CONTEXTS = 32
SKIPPED = SKIP * N_CONTEXTS
"""Codes from this one on are those of skipped blocks."""

_N_DRAWN = 20_000


def context_codes(space: MBConvSpace, genes: Genes) -> Bytes:
    """The code of every block of every candidate.

    Args:
        space: the space.
        genes: canonical genes ``(n, genes)``.

    Returns:
        ``(blocks, n)`` uint8, the stem first and the head last; bytes, because with millions of
        candidates this is all about bandwidth.
    """
    n = space.n_positions
    columns = np.ascontiguousarray(genes.astype(np.uint8).T)
    operations, own = columns[:n], columns[n:]
    active = np.ones(own.shape, dtype=np.uint8)
    active[1:-1] = operations != SKIP
    residual = np.array([0, *(position.may_skip for position in space.positions), 0], np.uint8)
    codes = own * np.uint8(4)
    codes[1:-1] += operations * np.uint8(N_CONTEXTS)
    _add_before(codes, own, active, residual)
    _add_after(codes, own, active, residual)
    return codes


def _add_before(codes: Bytes, own: Bytes, active: Bytes, residual: Bytes) -> None:
    before, odd = np.zeros((2, codes.shape[1]), dtype=np.uint8)
    for block, mine in enumerate(own):
        differs = before ^ mine
        codes[block] += before * np.uint8(8) + (odd & ~differs) * np.uint8(16)
        odd = _chosen(active[block], differs * residual[block], odd)
        before = _chosen(active[block], mine, before)


def _add_after(codes: Bytes, own: Bytes, active: Bytes, residual: Bytes) -> None:
    after = np.zeros(codes.shape[1], dtype=np.uint8)
    for block in range(len(own) - 1, -1, -1):
        mine, is_int8 = own[block], (after == 1).view(np.uint8)
        codes[block] += _chosen(mine, after, is_int8)
        seen = _chosen(mine, mine, (is_int8 + np.uint8(2)) * residual[block])
        after = _chosen(active[block], seen, after)


def _chosen(where: Bytes, this: Bytes, that: Bytes) -> Bytes:
    """``this`` where ``where`` is 1, ``that`` where it is 0; far quicker than ``np.where``."""
    return that ^ ((this ^ that) * where)


def covering_candidates(space: MBConvSpace) -> list[Candidate]:
    """Candidates that together hold every context of every block, found greedily.

    Contexts are those of 20,000 random candidates, half of them with many skipped blocks.
    """
    genes = _drawn(space)
    codes = context_codes(space, genes)
    blocks = np.arange(len(codes))
    missing = np.zeros((len(codes), SKIPPED + N_CONTEXTS), dtype=bool)
    missing[blocks[:, None], codes] = True
    missing[:, SKIPPED:] = False
    chosen: list[Candidate] = []
    while missing.any():
        best = int(missing[blocks[:, None], codes].sum(axis=0).argmax())
        missing[blocks, codes[:, best]] = False
        chosen.append(Candidate(tuple(genes[best].tolist())))
    return chosen


def _drawn(space: MBConvSpace) -> Genes:
    rng = np.random.default_rng(0)
    genes = space.sample(_N_DRAWN, rng)
    may_skip = np.flatnonzero([position.may_skip for position in space.positions])
    skipped = rng.random((_N_DRAWN // 2, len(may_skip))) < 0.5
    sparse = genes[: _N_DRAWN // 2]
    sparse[:, may_skip] = np.where(skipped, SKIP, sparse[:, may_skip])
    return space.canonical(genes)
