"""The cost table against the runtime, the predictor and the files it speaks for."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.precision import Precision
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.fitting import fit_predictor
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.mbconv.contexts import N_CONTEXTS, SKIPPED
from edgekit.search.mbconv.costs import BLOCKS_FILE, BlockKernels, BlockTable, compile_table
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.space import SKIP, MBConvSpace
from tests.search.conftest import sample_by_law
from tests.search.synthetic import drawn, measured


def _lowered(space: MBConvSpace, candidate: Candidate) -> Counter[object]:
    return Counter(placed.kernel for placed in lower(candidate_model(space, candidate)))


def test_uniform_candidates_are_put_together_exactly(
    space: MBConvSpace, blocks: BlockKernels
) -> None:
    for precision in Precision:
        for operation in range(SKIP + 1):
            candidate = space.uniform(operation, precision)
            assert Counter(blocks.of(candidate)) == _lowered(space, candidate)


def test_most_random_candidates_are_put_together_exactly_and_all_nearly(
    space: MBConvSpace, blocks: BlockKernels, predictor: KernelPredictor
) -> None:
    n_equal, ratios = 0, []
    for candidate in drawn(space, 40, 4):
        lowered, assembled = _lowered(space, candidate), Counter(blocks.of(candidate))
        n_equal += lowered == assembled
        costs_s = [predictor.predict(list(k.elements())).latency_s for k in (assembled, lowered)]
        ratios.append(costs_s[0] / costs_s[1])
    print(f"{n_equal} of 40 equal; predicted ratio {min(ratios):.3f} to {max(ratios):.3f}")
    assert n_equal >= 34
    assert np.mean(np.abs(np.array(ratios) - 1)) < 0.01


def test_the_table_is_a_loop_over_the_predictor(
    space: MBConvSpace, blocks: BlockKernels, table: BlockTable, predictor: KernelPredictor
) -> None:
    candidates = drawn(space, 200, 5)
    got = table.latencies_s(np.array([c.genes for c in candidates]))
    for candidate, latency_s in zip(candidates, got.tolist(), strict=True):
        by_block = blocks.by_block(candidate)
        looped = sum(sum(predictor.kernel_costs_s(kernels).tolist()) for kernels in by_block)
        assert latency_s == looped
        assert latency_s == pytest.approx(
            predictor.predict(blocks.of(candidate)).latency_s, rel=1e-12
        )


def test_kept_blocks_come_back_as_they_were(blocks: BlockKernels, tmp_path: Path) -> None:
    blocks.save(tmp_path)
    assert BlockKernels.load(tmp_path, blocks.space) == blocks


@pytest.mark.parametrize(
    "change", [{"kernels": []}, {"blocks": 3}, {"blocks": [{"block": 0}]}, {"more": 1}]
)
def test_altered_files_of_blocks_are_refused(
    change: dict[str, object], blocks: BlockKernels, tmp_path: Path
) -> None:
    blocks.save(tmp_path)
    path = tmp_path / BLOCKS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=BLOCKS_FILE):
        BlockKernels.load(tmp_path, blocks.space)


def test_blocks_add_up_to_the_candidate(space: MBConvSpace, table: BlockTable) -> None:
    for candidate in drawn(space, 20, 6):
        parts = table.block_latencies_s(candidate)
        active = [block.position.name for block in space.decode(candidate).active()]
        assert list(parts) == ["stem", *active, "head"]
        whole = float(table.latencies_s(np.array([candidate.genes]))[0])
        assert sum(parts.values()) == pytest.approx(whole, rel=1e-12)


def test_the_order_of_the_array_in_memory_does_not_matter(
    space: MBConvSpace, table: BlockTable
) -> None:
    genes = space.sample(500, np.random.default_rng(0))
    expected = table.latencies_s(genes)
    assert (table.latencies_s(np.asfortranarray(genes)) == expected).all()
    assert (table.latencies_s(genes[::-1])[::-1] == expected).all()
    assert table.latencies_s(genes[:0]).shape == (0,)


def test_a_skipped_block_has_no_kernels(space: MBConvSpace, blocks: BlockKernels) -> None:
    by_block = blocks.by_block(Candidate((0, SKIP, 2, 0, 0, 1, 0, 1, 0, 0)))
    assert len(by_block) == space.n_positions + 1
    assert min(map(len, by_block)) > 0


def test_sizes_are_those_of_the_files_but_for_the_frame(
    space: MBConvSpace, table: BlockTable
) -> None:
    for candidate in drawn(space, 12, 7):
        predicted = float(table.sizes_bytes(np.array([candidate.genes]))[0])
        assert predicted == pytest.approx(candidate_model(space, candidate).ByteSize(), rel=0.02)


def test_a_prediction_carries_the_interval_of_the_predictor(
    space: MBConvSpace, table: BlockTable, predictor: KernelPredictor
) -> None:
    predicted = table.predicted(space.largest())
    low, high = (bound / predicted.latency_s for bound in predicted.interval_s)
    assert (low, high) == pytest.approx(tuple(np.exp(predictor.log_interval)), rel=1e-9)


def test_an_operator_without_a_cost_is_refused(space: MBConvSpace, blocks: BlockKernels) -> None:
    floats = [space.uniform(operation, Precision.FP32) for operation in range(SKIP)]
    without = fit_predictor([sample_by_law(space, c) for c in floats], seed=0)
    with pytest.raises(InputError, match="QLinearConv"):
        compile_table(blocks, without)


def test_contexts_that_do_not_exist_have_no_price(space: MBConvSpace, table: BlockTable) -> None:
    skipped = table.latency_s[:, SKIPPED:]
    assert (skipped == 0).all()
    priced = np.isfinite(table.latency_s[:, :SKIPPED])
    assert (table.latency_s[:, :SKIPPED][priced] > 0).all()
    assert not priced[0, N_CONTEXTS:].any()
    genes = space.sample(20_000, np.random.default_rng(9))
    assert np.isfinite(table.latencies_s(genes)).all()


def test_a_corrected_predictor_prices_with_its_correction(
    space: MBConvSpace, blocks: BlockKernels, table: BlockTable, predictor: KernelPredictor
) -> None:
    networks = [
        (blocks.of(c), measured(1.5 * predictor.predict(blocks.of(c)).latency_s))
        for c in drawn(space, 10, 8)
    ]
    corrected = compile_table(blocks, predictor.corrected(networks))
    genes = space.sample(50, np.random.default_rng(1))
    ratio = corrected.latencies_s(genes) / table.latencies_s(genes)
    assert np.abs(ratio / 1.5 - 1).max() < 0.1
