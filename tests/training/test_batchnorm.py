"""Batch-norm statistics estimated anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from edgekit.core.task import Preprocessing, Split, Task
from edgekit.training.augment import to_tensor
from edgekit.training.batchnorm import reestimate


def _sorted_by_brightness(n: int) -> Split:
    """Images whose order follows their content, as in a folder of class folders."""
    rng = np.random.default_rng(0)
    levels = np.linspace(0, 215, n).astype(int)
    images = rng.integers(0, 40, (n, 8, 8, 3)) + levels[:, None, None, None]
    return Split(images.astype(np.uint8), np.zeros(n, dtype=np.int64))


def test_statistics_are_the_mean_and_variance_of_the_data_in_any_order() -> None:
    split = _sorted_by_brightness(600)
    preprocessing = Preprocessing(8, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    norm = nn.BatchNorm2d(3)
    reestimate(norm, split, preprocessing, 600)
    x = to_tensor(split.images, preprocessing).double()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean.double(), x.mean((0, 2, 3)), atol=1e-5, rtol=0)
    variance = x.transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(norm.running_var.double(), variance, atol=0, rtol=1e-3)


def test_images_are_spread_over_the_whole_split() -> None:
    split = _sorted_by_brightness(600)
    preprocessing = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    norm = nn.BatchNorm2d(3)
    reestimate(norm, split, preprocessing, 30)
    assert norm.running_mean is not None
    expected = to_tensor(split.images, preprocessing).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected, atol=0.01, rtol=0)


def test_earlier_statistics_do_not_matter_and_settings_stay(
    make_net: Callable[[], nn.Module], small_task: Task
) -> None:
    nets = [make_net(), make_net()]
    for norm in (m for m in nets[1].modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean = torch.full((norm.num_features,), 7.0)
        norm.running_var = torch.full((norm.num_features,), 9.0)
    for net in nets:
        reestimate(net, small_task.train, small_task.preprocessing, 1000)
        assert not net.training
    first, second = (dict(net.named_buffers()) for net in nets)
    assert all(torch.equal(first[name], second[name]) for name in first)
    momenta = {m.momentum for m in nets[0].modules() if isinstance(m, nn.BatchNorm2d)}
    assert momenta == {0.1}


def test_a_network_gives_in_evaluation_what_it_gave_in_training(
    make_net: Callable[[], nn.Module], small_task: Task
) -> None:
    net = make_net()
    x = to_tensor(small_task.train.images, small_task.preprocessing)
    with torch.no_grad():
        trained = net.train()(x)
        reestimate(net, small_task.train, small_task.preprocessing, len(small_task.train))
        torch.testing.assert_close(net(x), trained, atol=1e-3, rtol=1e-3)
