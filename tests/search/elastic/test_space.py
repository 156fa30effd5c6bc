from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.elastic.network import ElasticNetwork
from edgekit.search.elastic.space import ElasticSpace
from tests.search.elastic.nets import NETS, made

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=NETS)
def space(request):
    return ElasticSpace(ElasticNetwork(made(request.param), EXAMPLE))


def test_largest_and_smallest_are_what_they_say(space):
    elastic = space.elastic
    assert space.decode(space.largest()) == elastic.largest
    smallest = space.decode(space.smallest())
    assert smallest.skipped == elastic.smallest.skipped
    assert all(n == widths[0] for n, widths in zip(smallest.n_channels, space.widths, strict=True))


def test_every_candidate_runs(space):
    for genes in space.sample(3, np.random.default_rng(0)).tolist():
        choice = space.decode(Candidate(tuple(genes)))
        with torch.no_grad():
            assert space.elastic.extract(choice)(EXAMPLE).shape == (2, 10)


def test_names_and_genes_fit_together(space):
    assert len(space.gene_names) == len(space.n_choices) == len(set(space.gene_names))
    assert space.n_candidates == np.prod(np.array(space.n_choices, float))
    space.check(space.largest())
    too_large = Candidate(space.n_choices)
    with pytest.raises(InputError, match="has genes below"):
        space.check(too_large)


def test_widths_are_multiples_where_channels_are_many_and_counts_where_they_are_heads():
    inverted = ElasticSpace(ElasticNetwork(made("inverted"), EXAMPLE))
    by_name = dict(zip(inverted.gene_names, inverted.widths, strict=False))
    assert by_name["1.branch.0.width"] == (16, 24, 32, 40, 48, 56, 64)
    assert by_name["1.branch.5.reduce.width"] == (8, 16)
    transformer = ElasticSpace(ElasticNetwork(made("transformer"), EXAMPLE))
    by_name = dict(zip(transformer.gene_names, transformer.widths, strict=False))
    assert by_name["layers.0.attention.qkv.width"] == (1, 2, 3, 4)


def test_equal_networks_have_equal_genes():
    space = ElasticSpace(ElasticNetwork(made("inverted"), EXAMPLE))
    names = list(space.gene_names)
    genes = np.array([space.largest().genes] * 2)
    genes[:, names.index("1.branch.skip")] = 1
    genes[1, names.index("1.branch.0.width")] = 2
    first, second = space.canonical(genes)
    assert (first == second).all()
    assert first[names.index("1.branch.0.width")] == 0
    assert (
        first[names.index("2.branch.0.width")]
        == space.n_choices[names.index("2.branch.0.width")] - 1
    )
    assert genes[1, names.index("1.branch.0.width")] == 2


def test_ratios_and_multiples_out_of_range_are_refused():
    elastic = ElasticNetwork(made("grouped"), EXAMPLE)
    for ratios, multiple in (((1.0, 0.5), 8), ((0.5,), 8), ((0.0, 1.0), 8), ((0.5, 1.0), 0)):
        with pytest.raises(InputError, match="ratios ascend"):
            ElasticSpace(elastic, ratios, multiple)


def test_layers_that_stay_are_listed_with_the_reason():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(12, 16), torch.nn.Linear(16, 16)
            self.third = torch.nn.Linear(16, 10)

        def forward(self, x):
            x = self.first(x.mean(3).flatten(1)[:, :12]).relu()
            x = torch.linalg.vector_norm(self.second(x)[:, :, None], dim=2)
            return self.third(torch.cumsum(x, 1))

    space = ElasticSpace(ElasticNetwork(Odd().eval(), EXAMPLE))
    assert set(space.fixed) == {"second", "third"}
    assert space.fixed["third"] == "the network answers with it"
    assert (
        "edgekit does not follow" in space.fixed["second"] or "needs all" in space.fixed["second"]
    )
    assert space.widths
