"""How much each choice alone changes the answers."""

from __future__ import annotations

import numpy as np
import torch

from edgekit.core.progress import Progress
from edgekit.search.elastic.network import ElasticNetwork
from edgekit.search.elastic.sensitivity import measure_harms
from edgekit.search.elastic.space import ElasticSpace
from tests.search.elastic.nets import made

EXAMPLE = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_what_the_largest_has_harms_nothing_and_the_rest_something() -> None:
    space = ElasticSpace(ElasticNetwork(made("residual"), EXAMPLE))
    choice = space.elastic.choice
    harms = measure_harms(space, [EXAMPLE], progress=Progress(quiet=True))
    assert space.elastic.choice == choice
    assert not space.elastic.training
    genes = space.largest().genes[: space.n_architecture]
    assert (harms[np.arange(len(genes)), genes] == 0).all()
    for gene, n in enumerate(space.n_choices[: space.n_architecture]):
        others = [value for value in range(n) if value != genes[gene]]
        assert (harms[gene, others] > 0).all()


def test_a_channel_without_effect_harms_nothing() -> None:
    net = made("residual")
    with torch.no_grad():
        net[3].conv2.weight.zero_()
    space = ElasticSpace(ElasticNetwork(net, EXAMPLE))
    harms = measure_harms(space, [EXAMPLE], progress=Progress(quiet=True))
    gene = space.gene_names.index("3.conv1.width")
    assert (harms[gene] == 0).all()
