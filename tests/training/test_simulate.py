"""Int8 as simulated, against the rules of the exporter and against the runtime itself."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from edgekit.core.precision import FULL_WEIGHT_MAX, REDUCED_WEIGHT_MAX, Precision
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.networks import qdq
from edgekit.devices.probe import probe
from edgekit.search.mbconv.lowering import candidate_model
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace, Stage
from edgekit.search.space import int8_blocks
from edgekit.training.augment import to_tensor
from edgekit.training.batchnorm import reestimate
from edgekit.training.layers import folded
from edgekit.training.simulate import (
    blocks_of,
    record_ranges,
    simulated,
    uint8_scale,
    weight_scales,
)

SPACE = MBConvSpace(MBConvRecipe(32, 10, 16, 2, 16, (Stage(16, 2, 2), Stage(32, 1, 2)), 64))
Bound = st.floats(-1e6, 1e6, width=32)


@given(Bound, Bound)
def test_activation_scales_are_those_of_the_exporter(a: float, b: float) -> None:
    low, high = sorted((a, b))
    scale, zero_point = uint8_scale(low, high)
    expected_scale, expected_zero = qdq.activation_scale(low, high)
    assert (scale, zero_point) == (float(expected_scale), expected_zero)


@given(
    st.integers(0, 2**32 - 1),
    st.floats(1e-6, 1.0),
    st.sampled_from((FULL_WEIGHT_MAX, REDUCED_WEIGHT_MAX)),
)
def test_weight_scales_are_those_of_the_exporter(
    seed: int, input_scale: float, weight_max: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(6, 4, 3, 3)) * 10.0 ** rng.integers(-12, 3, (6, 1, 1, 1))
    weight[0] = 0
    weight, bias = weight.astype(np.float32), rng.normal(size=6).astype(np.float32)
    bias[:2] = 0
    got = weight_scales(
        torch.from_numpy(weight), torch.from_numpy(bias), input_scale, weight_max=weight_max
    )
    expected = qdq.weight_scales(weight, bias, input_scale, weight_max=weight_max)
    assert (got.numpy() == expected).all()


@pytest.fixture(scope="module")
def net(small_task: Task) -> nn.Module:
    """A folded network whose norms hold statistics of the data."""
    torch.manual_seed(0)
    net = MBConvNet(SPACE, SPACE.decode(SPACE.uniform(3, Precision.FP32)))
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.uniform_(norm.bias, -0.5, 1.0)
    reestimate(net, small_task.train, small_task.preprocessing, 96)
    return folded(net)


def test_ranges_hold_every_value_between_kernels(net: nn.Module, small_task: Task) -> None:
    ranges = record_ranges(net, small_task.calibration, small_task.preprocessing)
    assert list(ranges)[:5] == ["stem.in", "stem.conv", "stem.depthwise", "stem.project", "b00.in"]
    assert ranges["b01.out"] == ranges["b02.in"]
    assert list(ranges)[-3:] == ["head.in", "head.conv", "head.pool"]
    x = to_tensor(small_task.calibration.images, small_task.preprocessing)
    assert ranges["stem.in"] == pytest.approx((float(x.min()), float(x.max())))
    with torch.no_grad():
        inner = net.get_submodule("stem.conv")(x)
    low, high = float(inner.min()), float(inner.max())
    assert ranges["stem.conv"] == pytest.approx((low, high), abs=1e-5)


def test_the_network_is_as_before_after_the_simulation(net: nn.Module, small_task: Task) -> None:
    ranges = record_ranges(net, small_task.calibration, small_task.preprocessing)
    x = to_tensor(small_task.calibration.images, small_task.preprocessing)
    with torch.no_grad():
        before = net(x)
        with simulated(net, blocks_of(net), ranges):
            inside = net(x)
        with pytest.raises(ZeroDivisionError), simulated(net, ["stem"], ranges):
            raise ZeroDivisionError
        with simulated(net, [], ranges):
            nothing = net(x)
        assert torch.equal(net(x), before)
        assert torch.equal(nothing, before)
        assert not torch.equal(inside, before)


def test_an_int8_block_holds_whole_steps_only(net: nn.Module, small_task: Task) -> None:
    ranges = record_ranges(net, small_task.calibration, small_task.preprocessing)
    x = to_tensor(small_task.calibration.images, small_task.preprocessing)
    weight = net.get_submodule("stem.conv").get_parameter("conv.weight").detach()
    with torch.no_grad(), simulated(net, ["stem"], ranges):
        y = net.get_submodule("stem")(x)
        rounded = net.get_submodule("stem.conv").get_parameter("conv.weight")
    steps = y / uint8_scale(*ranges["stem.project"])[0]
    torch.testing.assert_close(steps, steps.round(), atol=1e-3, rtol=0)
    assert len(steps.round().unique()) <= 256
    assert (rounded - weight).abs().amax() <= weight.abs().amax() / 254 * 1.001
    assert all(len(channel.unique()) <= 255 for channel in rounded)


def _agreement(
    net: nn.Module, task: Task, int8: Collection[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Logits in float, simulated, and from ONNX Runtime on the QDQ model."""
    precisions = [int(name in int8) for name in blocks_of(net)]
    candidate = SPACE.uniform(3, Precision.FP32)
    candidate = type(candidate)((*candidate.genes[: SPACE.n_positions], *precisions))
    assert set(int8_blocks(SPACE, candidate)) == set(int8)
    ranges = record_ranges(net, task.calibration, task.preprocessing)
    weight_max = probe(Target()).int8_weight_max
    model = candidate_model(SPACE, candidate, net.state_dict(), ranges, weight_max=weight_max)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = task.test.images[:60]
    x = to_tensor(images, task.preprocessing)
    name = session.get_inputs()[0].name
    ran = np.concatenate([session.run(None, {name: x[i : i + 1].numpy()})[0] for i in range(60)])
    with torch.no_grad():
        plain = net(x).numpy()
        with simulated(net, int8, ranges, weight_max=weight_max):
            return plain, net(x).numpy(), ran


ALL = ("stem", "b00", "b01", "b02", "head")


@pytest.mark.parametrize("int8", [(), ("b01",), ("stem", "head"), ("b00", "b02"), ALL])
def test_simulation_agrees_with_the_runtime(
    net: nn.Module, small_task: Task, int8: tuple[str, ...]
) -> None:
    plain, simulated_logits, ran = _agreement(net, small_task, int8)
    spread = float(plain.max() - plain.min())
    off, noise = np.abs(simulated_logits - ran), np.abs(simulated_logits - plain)
    print(
        f"{int8}: off {off.max() / spread:.5f}, rounding {noise.max() / spread:.5f} of the spread"
    )
    if not int8:
        np.testing.assert_allclose(simulated_logits, ran, atol=1e-4)
    assert (simulated_logits.argmax(1) == ran.argmax(1)).mean() >= 0.95
    assert off.max() <= 3 / 255 * spread
    assert off.mean() <= max(0.5 * noise.mean(), 1e-5)


def test_a_single_block_without_ties_is_exact(net: nn.Module, small_task: Task) -> None:
    """Rounding the logits apart, a lone int8 stem gives the runtime's very steps."""
    _, simulated_logits, ran = _agreement(net, small_task, ("stem",))
    equal = (np.abs(simulated_logits - ran) < 1e-4 * np.abs(ran).max()).all(axis=1)
    print(f"{equal.mean():.1%} of the images without a value on the edge of a step")
    assert equal.mean() > 0.5
