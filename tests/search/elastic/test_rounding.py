"""Int8 simulated on a graph, beside what the runtime makes of its export."""

from __future__ import annotations

import numpy as np
import torch

from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.probe import probe
from edgekit.export.onnx_model import export_onnx
from edgekit.export.quantise import quantise_blocks
from edgekit.export.run import logits_of
from edgekit.search.elastic.networks import ElasticNetworks
from edgekit.search.elastic.rounding import Rounded, ranges_of, rounding_of
from edgekit.spaces import networks_of, space
from tests.search.elastic.test_networks import small_net


def test_the_simulation_answers_as_the_runtime_does(small_task: Task) -> None:
    networks = networks_of(space(small_net(), torch.zeros(2, 3, 32, 32)))
    assert isinstance(networks, ElasticNetworks)
    net = networks.folded(networks.extract(networks.space.largest()))
    model = export_onnx(net, 32, networks.block_paths(net))
    weight_max = probe(Target()).int8_weight_max
    images = small_task.preprocessing.apply(small_task.calibration.images)
    nodes = [node.name for node in model.graph.node if "/" in node.name]
    rounding = rounding_of(net, model, nodes)
    assert len(rounding.layers) == 9  # eight convolutions and the classifier
    ranges = ranges_of(net, rounding, [torch.from_numpy(images)])
    x = small_task.preprocessing.apply(small_task.validation.images)
    int8 = quantise_blocks(model, networks.space.blocks, images, weight_max=weight_max)
    wanted = logits_of(int8, x)
    rounded = Rounded(net, rounding, ranges, weight_max)
    with torch.no_grad():
        found = rounded(torch.from_numpy(x)).numpy()
        plain = net(torch.from_numpy(x)).numpy()
    assert np.abs(found - wanted).mean() < 0.3 * np.abs(plain - wanted).mean()


def test_gradients_reach_the_weights(small_task: Task) -> None:
    networks = networks_of(space(small_net(), torch.zeros(2, 3, 32, 32)))
    assert isinstance(networks, ElasticNetworks)
    net = networks.folded(networks.extract(networks.space.largest()))
    model = export_onnx(net, 32, networks.block_paths(net))
    rounding = rounding_of(net, model, [n.name for n in model.graph.node if "/" in n.name])
    x = torch.from_numpy(small_task.preprocessing.apply(small_task.train.images[:16]))
    rounded = Rounded(net, rounding, ranges_of(net, rounding, [x]), 127)
    rounded(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
