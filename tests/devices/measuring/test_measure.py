"""Measuring real tiny models on this machine. No assertion is on how fast anything is."""

from __future__ import annotations

import math
import time

import onnx
import pytest

from edgekit.core.errors import InputError, TooNoisy
from edgekit.core.figures import Measured
from edgekit.core.target import Target
from edgekit.devices.measuring.interleave import RawBlock
from edgekit.devices.measuring.measure import compare_models, fit_labels_s, measure_models
from edgekit.devices.networks.graph import GraphBuilder

LOCAL = Target("local")
ANY_WIDTH = math.inf


def _network(n_convs: int) -> onnx.ModelProto:
    net = GraphBuilder(f"chain{n_convs}", (1, 16, 16, 16))
    x = net.input
    for _ in range(n_convs):
        x = net.conv(x, 16, 3, act="relu")
    return net.build(x)


@pytest.fixture(scope="module")
def session() -> tuple[dict[str, Measured], list[RawBlock], list[tuple[int, int]]]:
    raw: list[RawBlock] = []
    progress: list[tuple[int, int]] = []
    figures = measure_models(
        {"one": _network(1), "eight": _network(8).SerializeToString()},
        LOCAL,
        n_passes=5,
        block_s=0.01,
        max_relative_interval=ANY_WIDTH,
        progress=lambda done, total: progress.append((done, total)),
        raw=raw,
    )
    return figures, raw, progress


def test_figures_are_in_order_and_say_how_they_were_obtained(session):
    figures, _, _ = session
    assert list(figures) == ["one", "eight"]
    for measured in figures.values():
        assert 0 < measured.label_s
        assert measured.p50_s <= measured.p90_s
        assert measured.interval_s[0] <= measured.p50_s <= measured.interval_s[1]
        assert measured.conditions.provider == "CPUExecutionProvider"
        assert measured.conditions.n_threads == 1
        assert measured.conditions.n_warmup >= 20
        assert measured.conditions.n_blocks >= 5
        assert measured.conditions.reference_ratio >= 1
        assert measured.conditions.measured_at.endswith("+00:00")


def test_counts_agree_with_the_raw_blocks(session):
    figures, raw, progress = session
    for name, measured in figures.items():
        kept = [block for block in raw if block.model == name and not block.marked]
        marked = [block for block in raw if block.model == name and block.marked]
        assert measured.conditions.n_blocks == len(kept)
        assert measured.conditions.n_blocks_marked == len(marked)
        assert measured.conditions.n_runs == sum(block.durations_s.size for block in kept)
        assert measured.label_s == fit_labels_s(raw)[name]
    assert progress[-1] == (len(raw), len(raw))
    assert [done for done, _ in progress] == list(range(1, len(raw) + 1))


def test_blocks_carry_times_in_order_and_the_reference_beside_them(session):
    _, raw, _ = session
    starts = [block.started_s for block in raw]
    assert starts == sorted(starts)
    assert all(min(block.reference_s) > 0 for block in raw)


def test_an_impossible_interval_is_refused_with_the_reason():
    with pytest.raises(TooNoisy, match=r"only: p50 must be known.*steal.*load.*stop other work"):
        measure_models(
            {"only": _network(1)},
            LOCAL,
            n_passes=5,
            block_s=0.05,
            max_relative_interval=1e-9,
            patience_s=0.0,
        )


def test_as_many_models_as_allowed_may_be_lost_to_noise():
    settings = {"n_passes": 5, "patience_s": 0.0, "max_relative_interval": 1e-9}
    models = {"a": _network(1), "b": _network(1)}
    assert measure_models(models, LOCAL, max_lost=2, **settings) == {}
    with pytest.raises(TooNoisy):
        measure_models(models, LOCAL, max_lost=1, **settings)


def test_a_machine_slower_than_when_it_was_profiled_is_refused():
    impossible = (1e-9, 1e-9, 1e-9)
    with pytest.raises(TooNoisy, match=r"0 of \d+ were .*times its fast state.*profile it again"):
        measure_models(
            {"only": _network(1)}, LOCAL, n_passes=5, patience_s=0.0, known_fast_s=impossible
        )


@pytest.mark.parametrize("known", [(1e-4,), (1e-4, 0.0, 1e-4)])
def test_a_fast_state_of_other_kernels_is_refused(known):
    with pytest.raises(InputError, match="conv_fp32, conv_int8, memory"):
        measure_models({"only": _network(1)}, LOCAL, known_fast_s=known)


def test_it_goes_on_as_long_as_it_was_given_patience():
    started = time.perf_counter()
    raw: list[RawBlock] = []
    with pytest.raises(TooNoisy):
        measure_models(
            {"only": _network(1)},
            LOCAL,
            n_passes=5,
            block_s=0.05,
            max_relative_interval=1e-9,
            patience_s=6.0,
            raw=raw,
        )
    assert 6.0 < time.perf_counter() - started < 30.0
    assert len(raw) > 5 * 4


def test_nothing_to_measure_and_broken_models_are_refused():
    with pytest.raises(InputError, match="at least one model"):
        measure_models({}, LOCAL)
    with pytest.raises(InputError, match="must be able to load"):
        measure_models({"broken": b"no onnx"}, LOCAL)


def test_comparison_finds_the_larger_network():
    found = compare_models(_network(8), _network(1), LOCAL, n_pairs=12, block_s=0.005)
    assert found.interval[0] <= found.ratio <= found.interval[1]
    assert found.ratio > 1
    assert found.differs
    assert found.n_pairs >= 6  # fewer sound ones than wanted, or all, on a busy machine


def test_comparison_needs_two_pairs():
    with pytest.raises(InputError, match="at least 2 pairs, got 1"):
        compare_models(_network(1), _network(1), LOCAL, n_pairs=1)
