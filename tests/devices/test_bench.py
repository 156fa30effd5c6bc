"""Benching a model file: what is measured, and what stands beside it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.kernel import Kernel
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.bench import Benched, Peaks, bench_model, measure_peaks
from edgekit.devices.predicting.plan import PlannedNetwork
from tests.devices.real import need, small_network, with_an_odd_node
from tests.line import patient

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "net.onnx"
    onnx.save(PlannedNetwork("mobilenet_v2", "mixed", 32, 0.5, 8, 0, False).model(), path)
    return path


@pytest.fixture(scope="module")
def benched(model: Path) -> Benched:
    return patient(lambda: bench_model(model, Target("local"), progress=QUIET))


def test_shares_add_up_and_kernels_are_those_that_ran(benched: Benched) -> None:
    assert sum(row.share for row in benched.kernels) == pytest.approx(1)
    assert {row.kernel.dtype for row in benched.kernels} >= {"float", "uint8"}
    assert all(row.time_s > 0 and row.moved_bytes > 0 for row in benched.kernels)
    assert sum(row.macs for row in benched.kernels) > 1e5
    # Profiling adds up to some microseconds to each kernel, on some machines more than it takes.
    total_s, n_kernels = sum(row.time_s for row in benched.kernels), len(benched.kernels)
    assert 0.4 * benched.measured.p50_s < total_s < 2 * benched.measured.p50_s + 1e-5 * n_kernels


def test_bounds_of_the_tails_lie_above_what_was_seen(benched: Benched) -> None:
    measured, (p90_s, p99_s) = benched.measured, benched.tail_bounds_s
    assert measured.conditions.n_runs >= 662  # a network of half a millisecond in two seconds
    assert measured.p90_s <= p90_s <= p99_s
    assert measured.p99_s <= p99_s


def test_no_product_is_far_above_the_peaks_measured_beside_it(benched: Benched) -> None:
    assert benched.peaks is not None
    assert benched.peaks.fp32_macs_per_s > 1e8
    assert all(0 < row.roofline_share < 2 for row in benched.kernels if row.macs > 1e5)


def test_every_node_has_a_provider_and_memory_is_known_on_linux(benched: Benched) -> None:
    assert set(benched.nodes_per_provider()) == {"CPUExecutionProvider"}
    assert benched.peak_memory_bytes is None or 1e4 < benched.peak_memory_bytes < 1e9


def test_the_least_time_is_bound_by_work_or_by_bytes() -> None:
    peaks = Peaks(1e9, 4e9, ((1000, 1e9), (10_000_000, 1e8)))

    def product(dtype: str, rows: int) -> Kernel:
        return Kernel("MatMul", "", dtype, ((rows, 100),), ((100, 100),), ((rows, 100),), (), "")

    busy = product("float", 10_000)
    assert peaks.least_s(busy) == pytest.approx(1e8 / 1e9)
    assert peaks.least_s(product("uint8", 10_000)) == pytest.approx(1e8 / 4e9)
    moving = Kernel("Add", "", "float", ((100,), (100,)), (), ((100,),), (), "")
    assert peaks.least_s(moving) == pytest.approx(1200 / 1e8)
    small = Kernel("Add", "", "float", ((10,), (10,)), (), ((10,),), (), "")
    assert peaks.least_s(small) == pytest.approx(120 / 1e9)


def test_peaks_are_rates_of_this_machine() -> None:
    peaks = measure_peaks(Target("local"))
    assert 1e8 < peaks.fp32_macs_per_s < 1e13
    assert 1e8 < peaks.int8_macs_per_s < 1e14
    assert [size for size, _ in peaks.bytes_per_s] == sorted(size for size, _ in peaks.bytes_per_s)
    assert all(1e7 < rate < 1e13 for _, rate in peaks.bytes_per_s)


def test_a_provider_that_hides_its_kernels_is_measured_whole(tmp_path: Path) -> None:
    need("openvino")
    path = tmp_path / "small.onnx"
    onnx.save(small_network(), path)
    target = Target("local?ep=openvino", require=True)
    found = patient(lambda: bench_model(path, target, progress=QUIET))
    assert (found.kernels, found.peaks) == ((), None)
    assert set(found.nodes_per_provider()) == {"OpenVINOExecutionProvider"}
    assert found.peak_memory_bytes is None or found.peak_memory_bytes > 0


def test_a_required_provider_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    need("qnn")
    path = tmp_path / "odd.onnx"
    onnx.save(with_an_odd_node("Erf"), path)
    with pytest.raises(VerificationFailed, match=r"odd \(Erf\)"):
        bench_model(path, Target("local?ep=qnn", require=True), progress=QUIET)
    with pytest.raises(InputError, match="is not there"):
        bench_model(tmp_path / "none.onnx", Target("local"), progress=QUIET)
