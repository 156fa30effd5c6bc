from __future__ import annotations

import torch

from edgekit.search.elastic.rules import RULES


def test_every_rule_is_of_an_operation_that_there_is():
    assert [name for name in RULES if not hasattr(torch.ops.aten, name)] == []
