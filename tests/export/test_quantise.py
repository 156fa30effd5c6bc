from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import ModelProto

from edgekit.core.errors import InputError
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.networks.lowering import lower
from edgekit.devices.networks.qdq import tensors_to_calibrate
from edgekit.devices.probe import probe
from edgekit.export.onnx_model import nodes_by_block
from edgekit.export.quantise import calibrate, quantise_blocks
from edgekit.export.run import logits_of
from edgekit.training.layers import folded
from edgekit.training.simulate import record_ranges
from tests.export.conftest import Exported


def test_ranges_are_the_extremes_over_all_batches(exported: Exported) -> None:
    images = np.random.default_rng(0).standard_normal((300, 3, 32, 32), dtype=np.float32)
    images[-1, 0, 0, 0], images[0, 1, 2, 3] = 11, -7
    ranges = calibrate(exported.fp32, ["input", "logits", "stem/conv.act"], images)
    logits = logits_of(exported.fp32, images)
    assert ranges["input"] == (-7, 11)
    assert ranges["logits"] == pytest.approx((logits.min(), logits.max()), rel=1e-5)
    assert 0 <= ranges["stem/conv.act"][0] <= ranges["stem/conv.act"][1] <= 6


def test_ranges_agree_with_those_the_simulation_records(
    exported: Exported, digits_task: Task
) -> None:
    images = digits_task.preprocessing.apply(digits_task.calibration.images)
    tensors = ["b01/expand.act", "b01/project.conv", "b01/add", "head/pool"]
    points = ["b01.expand", "b01.project", "b01.out", "head.pool"]
    found = calibrate(exported.fp32, tensors, images)
    recorded = record_ranges(
        folded(exported.net), digits_task.calibration, digits_task.preprocessing
    )
    for tensor, point in zip(tensors, points, strict=True):
        assert found[tensor] == pytest.approx(recorded[point], rel=1e-4, abs=1e-5)


def test_a_model_with_a_fixed_batch_is_calibrated_alike(exported: Exported) -> None:
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    fixed = ModelProto()
    fixed.CopyFrom(exported.fp32)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    nodes = nodes_by_block(fixed)["b01"]
    tensors = tensors_to_calibrate(fixed, nodes)
    expected = calibrate(exported.fp32, tensors, images)
    for tensor, pair in calibrate(fixed, tensors, images).items():
        assert pair == pytest.approx(expected[tensor], rel=1e-5, abs=1e-6)


def test_only_the_named_blocks_run_in_int8(exported: Exported) -> None:
    kinds: dict[str, set[str]] = {}
    for placed in lower(exported.mixed):
        kinds.setdefault(placed.block, set()).add(placed.kernel.op)
    for block, found in kinds.items():
        assert ("QLinearConv" in found) == (block in exported.int8_blocks)
        assert ("Conv" in found) == (block not in exported.int8_blocks)
    assert exported.int8_blocks == ("stem", "b01", "head")


def test_a_fully_quantised_network_is_smaller_and_keeps_its_answers(
    exported: Exported, digits_task: Task
) -> None:
    images = digits_task.preprocessing.apply(digits_task.calibration.images)
    blocks, weight_max = list(nodes_by_block(exported.fp32)), probe(Target()).int8_weight_max
    whole = quantise_blocks(exported.fp32, blocks, images, weight_max=weight_max)
    assert whole.ByteSize() < 0.5 * exported.fp32.ByteSize()
    x = digits_task.preprocessing.apply(digits_task.test.images)
    same = logits_of(whole, x).argmax(1) == logits_of(exported.fp32, x).argmax(1)
    assert same.mean() > 0.95


def test_no_int8_block_leaves_the_network_as_it_is(exported: Exported) -> None:
    images = np.zeros((1, 3, 32, 32), np.float32)
    result = quantise_blocks(exported.fp32, (), images)
    assert result == exported.fp32
    assert result is not exported.fp32


def test_an_unknown_block_is_refused_with_the_known_ones(exported: Exported) -> None:
    images = np.zeros((1, 3, 32, 32), np.float32)
    with pytest.raises(InputError, match=r"one of stem, b00, .*, got 'b03'"):
        quantise_blocks(exported.fp32, ["b03"], images)


@pytest.mark.parametrize("shape", [(0, 3, 32, 32), (3, 32, 32)])
def test_calibration_without_images_is_refused(exported: Exported, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least one image"):
        quantise_blocks(exported.fp32, ["stem"], np.zeros(shape, np.float32))


def test_images_of_another_size_are_refused(exported: Exported) -> None:
    with pytest.raises(InputError, match=r"takes images \(3, 32, 32\), got \(3, 16, 16\)"):
        quantise_blocks(exported.fp32, ["stem"], np.zeros((2, 3, 16, 16), np.float32))


def test_a_network_with_values_that_are_not_finite_is_refused(exported: Exported) -> None:
    images = torch.full((1, 3, 32, 32), torch.inf).numpy()
    with pytest.raises(InputError, match="finite"):
        quantise_blocks(exported.fp32, ["stem"], images)
