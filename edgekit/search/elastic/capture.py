"""A user's module as a graph of ATen operations, with its batch size left open where it can be."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import fx, nn

from edgekit.core.errors import InputError

# torch copies its own old classes wherever a captured graph is copied
warnings.filterwarnings("ignore", message=".*treespec, LeafSpec", category=FutureWarning)

Example = torch.Tensor | tuple[Any, ...] | Mapping[str, Any]


def captured(net: nn.Module, example: Example) -> fx.GraphModule:
    """Export a network in evaluation mode.

    Args:
        net: any module that ``torch.export`` can follow; it is not changed.
        example: its input, with the batch in the first dimension: a tensor, positional arguments
            or keyword arguments.

    Returns:
        A graph module with the parameters and buffers of the network under their own names.

    Raises:
        InputError: the network does not run on the example; its flow depends on values of its
            input, or it does something else that cannot be exported; quotes where.
    """
    args, kwargs = _arguments(example)
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        _try(net, args, kwargs)
        wide_args, wide_kwargs = _doubled((args, kwargs))
        shapes = _open_batch((wide_args, wide_kwargs))
        try:
            module = _exported(net, wide_args, wide_kwargs, shapes)
            with torch.no_grad():
                args_twice, kwargs_twice = _twice((wide_args, wide_kwargs))
                module(*args_twice, **kwargs_twice)
            return module
        except Exception:
            return _exported(net, args, kwargs, None)
    except InputError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        place = re.search(r'call raised this error:\s+File "(.+?)", line (\d+)', str(error))
        where = f" ({place[1]}, line {place[2]})" if place else ""
        raise InputError(
            f"torch.export must be able to follow a network, {type(net).__name__} stops it: "
            f"{reason[0]}{where}; replace what depends on the values of tensors"
        ) from error
    finally:
        for part, was_training in modes:
            part.training = was_training


def with_outputs(net: fx.GraphModule, names: Sequence[str]) -> fx.GraphModule:
    """A network of the same weights that answers its own answer, and then some of its tensors.

    Args:
        net: captured, or made of such a network; of one answer.
        names: of operations in its graph.
    """
    graph = copy.deepcopy(net.graph)
    graph._codegen = fx.graph.CodeGen()
    nodes = {node.name: node for node in graph.nodes}
    (end,) = (node for node in graph.nodes if node.op == "output")
    (answer,) = end.all_input_nodes
    end.args = ((answer, *(nodes[name] for name in names)),)
    return fx.GraphModule(net, graph)


def _try(net: nn.Module, args: Any, kwargs: Any) -> None:
    try:
        with torch.no_grad():
            net(*args, **kwargs)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"an example must be an input of its network, {type(net).__name__} refuses it: "
            f"{reason[0]}; give what its forward takes, with a batch in front"
        ) from error


def _exported(net: nn.Module, args: Any, kwargs: Any, shapes: Any) -> fx.GraphModule:
    with torch.no_grad(), _silence():
        exported = torch.export.export(net, args, kwargs, dynamic_shapes=shapes, strict=False)
    module = exported.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    return _with_own_weights(fx.GraphModule(module, module.graph, type(net).__name__))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep torch from printing graphs where it fails: the error that follows says it."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _with_own_weights(module: fx.GraphModule) -> fx.GraphModule:
    """Copies of all parameters and buffers; what was shared stays shared."""
    memo: dict[int, Any] = {}
    for owner in module.modules():
        owner._parameters = copy.deepcopy(owner._parameters, memo)
        owner._buffers = copy.deepcopy(owner._buffers, memo)
    return module


def _arguments(example: Example) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, tuple) else ((example,), {})


def _doubled(arguments: Any) -> Any:
    """A batch of one is taken twice: a size of one would be taken for a constant."""
    return torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda x: torch.cat([x, x]) if x.dim() and len(x) == 1 else x, arguments
    )


def _twice(arguments: Any) -> Any:
    return torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda x: torch.cat([x, x]) if x.dim() else x, arguments
    )


def _open_batch(arguments: Any) -> Any:
    args, kwargs = torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda x: {0: torch.export.Dim.AUTO} if x.dim() else {}, arguments
    )
    return {**{str(i): v for i, v in enumerate(args)}, **kwargs} if kwargs and not args else args
