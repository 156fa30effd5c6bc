from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.search.elastic.adaptation import adapting_objective
from edgekit.search.elastic.network import ElasticNetwork
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.elastic.teaching import TEMPERATURE
from edgekit.training.loop import Step
from tests.search.elastic.nets import made

EXAMPLE = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


@pytest.mark.parametrize("sampling", ["sandwich", "nested"])
def test_smaller_choices_come_nearer_to_the_original(sampling):
    net = made("residual")
    with torch.no_grad():
        logits = net(EXAMPLE)
    wanted = logits.argmax(1)
    softened = torch.distributions.Categorical(logits=logits / TEMPERATURE)
    entropy = float(softened.entropy().mean())
    # What perfect students would leave.
    least = TEMPERATURE**2 * entropy if sampling == "sandwich" else 0.0
    space = ElasticSpace(ElasticNetwork(net, EXAMPLE))
    objective = adapting_objective(space, net, 0.0, sampling=sampling)
    space.elastic.train()
    optimizer = torch.optim.SGD(space.elastic.parameters(), 0.02, 0.9)
    losses = []
    for index in range(40):
        optimizer.zero_grad()
        losses.append(objective(EXAMPLE, wanted, Step(np.random.default_rng(index), index / 40)))
        optimizer.step()
    assert np.mean(losses[-10:]) - least < 0.7 * (np.mean(losses[:10]) - least)
    with torch.no_grad():
        torch.testing.assert_close(net(EXAMPLE), logits, rtol=0, atol=0)
