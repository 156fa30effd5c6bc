"""Batch norms of an extracted network, folded into the convolutions they follow."""

from __future__ import annotations

import copy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from edgekit.search.elastic.analysis import attribute, operation

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")


@torch.no_grad()
def folded(net: fx.GraphModule) -> fx.GraphModule:
    """A copy in evaluation mode; a batch norm that follows something else stays.

    Args:
        net: from ``ElasticNetwork.extract``; its running statistics must be final.
    """
    result = copy.deepcopy(net)
    for norm in list(result.graph.nodes):
        if norm.target is not torch.ops.aten.batch_norm.default:
            continue
        conv = norm.args[0]
        if operation(conv) in _CONVOLUTIONS and len(conv.users) == 1 and _is_own(conv):
            _fold(result, conv, norm)
    result.graph.eliminate_dead_code()
    result.delete_all_unused_submodules()
    _drop_unused(result)
    result.recompile()
    return result.eval()


def _is_own(conv: fx.Node) -> bool:
    """Whether nothing else reads its weights."""
    return all(len(n.users) == 1 for n in conv.all_input_nodes if n.op == "get_attr")


def _fold(net: fx.GraphModule, conv: fx.Node, norm: fx.Node) -> None:
    tensors = [_value(net, node) for node in norm.args[1:5]]
    scale, shift, mean, variance = tensors
    bias = conv.args[2] if len(conv.args) > 2 else None
    assert isinstance(conv.args[1], fx.Node)
    assert mean is not None
    assert variance is not None
    weight = _value(net, conv.args[1])
    assert weight is not None
    eps = norm.args[7]
    assert isinstance(eps, float)
    new_weight, new_bias = fuse_conv_bn_weights(
        weight, _value(net, bias), mean, variance, eps, scale, shift
    )
    target = str(conv.args[1].target)
    owner = net.get_submodule(target.rpartition(".")[0])
    owner.register_parameter(target.rpartition(".")[2], nn.Parameter(new_weight))
    name = target.removesuffix("weight") + "folded_bias"
    owner.register_parameter(name.rpartition(".")[2], nn.Parameter(new_bias))
    with net.graph.inserting_before(conv):
        node = net.graph.get_attr(name)
    node.meta = dict(conv.args[1].meta) | {"val": new_bias}
    conv.args = (*conv.args[:2], node, *conv.args[3:])
    norm.replace_all_uses_with(conv)


def _value(net: fx.GraphModule, node: object) -> torch.Tensor | None:
    if not isinstance(node, fx.Node):
        return None
    found: torch.Tensor = attribute(net, str(node.target))
    return found.detach()


def _drop_unused(net: fx.GraphModule) -> None:
    used = {str(node.target) for node in net.graph.nodes if node.op == "get_attr"}
    for owner_name, owner in net.named_modules():
        for store in (owner._parameters, owner._buffers):
            for name in [n for n in store if f"{owner_name}.{n}".lstrip(".") not in used]:
                del store[name]
