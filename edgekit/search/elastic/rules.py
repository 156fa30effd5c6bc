"""How labels pass through the operations of an exported graph, one rule per operation.

Operations are those of ATen as ``torch.export`` writes them, before any decomposition. An
operation without a rule is a boundary: what goes into it must stay, and what comes out cannot
shrink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.search.elastic.values import FIXED, Block, Flow, Labels, Value

Shapes = list[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of the graph.

    Attributes:
        arguments: by the names of its schema; tensors are ``Value``.
        shapes: of what it returns.
    """

    arguments: Mapping[str, Any]
    shapes: Shapes

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def tensors(self) -> list[Value]:
        """All tensors that go in."""
        found: list[Value] = []
        for argument in self.arguments.values():
            items = argument if isinstance(argument, list | tuple) else [argument]
            found += [item for item in items if isinstance(item, Value)]
        return found

    @property
    def first(self) -> Value:
        """The first tensor."""
        return self.tensors[0]


Rule = Callable[[Flow, Call], list[Value]]


def boundary(flow: Flow, call: Call) -> list[Value]:
    """What is not understood: nothing that touches it may shrink."""
    for value in call.tensors:
        flow.links.fix(value)
    return [Value(shape) for shape in call.shapes]


def _elementwise(flow: Flow, call: Call) -> list[Value]:
    return [flow.together(call.tensors)]


def _same(flow: Flow, call: Call) -> list[Value]:
    return [Value(call.shapes[0], call.first.blocks)]


def _constant(flow: Flow, call: Call) -> list[Value]:
    return [Value(shape) for shape in call.shapes]


def _reshape(flow: Flow, call: Call) -> list[Value]:
    return [flow.reshaped(call.first, call.shapes[0])]


def _convolution(flow: Flow, call: Call) -> list[Value]:
    x, weight = call["input"], call["weight"]
    flow.links.fix(weight, range(2, len(weight.shape)))
    flow.links.fix(x, [d for d in range(len(x.shape)) if d != 1])
    groups = call["groups"] or 1
    out = flow.links.line(weight, 0)
    if groups == 1:
        flow.contracted(x, 1, weight, 1)
    else:
        flow.links.fix(weight, [1])
        _link_groups(flow, [flow.links.line(x, 1), out], groups)
    return [_with_channels(flow, call, out, 1)]


def _transposed_convolution(flow: Flow, call: Call) -> list[Value]:
    x, weight = call["input"], call["weight"]
    if (call["groups"] or 1) != 1:
        return boundary(flow, call)
    flow.links.fix(weight, range(2, len(weight.shape)))
    flow.links.fix(x, [d for d in range(len(x.shape)) if d != 1])
    flow.contracted(x, 1, weight, 0)
    return [_with_channels(flow, call, flow.links.line(weight, 1), 1)]


def _link_groups(flow: Flow, lines: Sequence[Labels | None], groups: int) -> None:
    """Channels of one group of a grouped convolution stay or go together, on both sides."""
    present = [line.reshape(groups, -1) for line in lines if line is not None]
    for line in present:
        flow.links.link(line, present[0][:, :1] if len(present) == len(lines) else FIXED)


def _with_channels(flow: Flow, call: Call, line: Labels | None, dim: int) -> Value:
    """The output of a layer; its bias goes with its channels."""
    shape, bias = call.shapes[0], call["bias"]
    dim %= len(shape)
    if bias is not None:
        flow.links.link(_line_or_fixed(flow, bias, 0), FIXED if line is None else line)
    return Value(shape, () if line is None else (Block((dim,), line),))


def _line_or_fixed(flow: Flow, value: Value, dim: int) -> Labels:
    line = flow.links.line(value, dim)
    return np.full(value.shape[dim], FIXED) if line is None else line


def _linear(flow: Flow, call: Call) -> list[Value]:
    x, weight = call["input"], call["weight"]
    last = len(x.shape) - 1
    flow.contracted(x, last, weight, 1)
    found = _with_channels(flow, call, flow.links.line(weight, 0), -1)
    others = tuple(block for block in x.blocks if last not in block.dims)
    return [Value(found.shape, (*others, *found.blocks))]


def _addmm(flow: Flow, call: Call) -> list[Value]:
    bias, x, weight = call["self"], call["mat1"], call["mat2"]
    flow.contracted(x, 1, weight, 0)
    line = flow.links.line(weight, 1)
    if bias.shape[-1] > 1 or line is None:
        flow.links.link(
            _line_or_fixed(flow, bias, len(bias.shape) - 1), FIXED if line is None else line
        )
    others = tuple(block for block in x.blocks if 1 not in block.dims)
    own = () if line is None else (Block((1,), line),)
    return [Value(call.shapes[0], (*others, *own))]


def _matmul(flow: Flow, call: Call) -> list[Value]:
    first, second = call.tensors[:2]
    if min(len(first.shape), len(second.shape)) < 2:
        return boundary(flow, call)
    row, column = len(first.shape) - 1, len(second.shape) - 2
    first, second = flow.apart_from(first, row), flow.apart_from(second, column)
    flow.contracted(first, row, second, column)
    return [flow.together([flow.taken(first, row, [0]), flow.taken(second, column, [0])])]


def _attention(flow: Flow, call: Call) -> list[Value]:
    """Whole heads shrink; the width of a head stays, as does the scale that follows from it."""
    values = [call["query"], call["key"], call["value"]]
    if len(values[0].shape) < 4:
        return boundary(flow, call)
    head = len(values[0].shape) - 3
    lines = []
    for value in values:
        block = value.block_at(head)
        own = () if block is None else block.dims
        flow.links.fix(value, [d for d in range(len(value.shape)) if d not in own])
        lines.append(_line_or_fixed(flow, value, head))
    query, mask = lines[0], call["attn_mask"]
    if mask is not None and len(mask.shape) >= 3 and mask.shape[-3] > 1:
        flow.links.link(query, _line_or_fixed(flow, mask, len(mask.shape) - 3))
    elif mask is not None:
        flow.links.fix(mask)
    for line in lines[1:]:
        if len(query) % len(line):
            return boundary(flow, call)
        flow.links.link(query.reshape(len(line), -1), line[:, None])
    return [Value(call.shapes[0], (Block((head,), query),) if len(query) > 1 else ())]


def _batch_norm(flow: Flow, call: Call) -> list[Value]:
    x, dim = call["input"], 1
    line = _line_or_fixed(flow, x, dim)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call[name] is not None:
            flow.links.link(_line_or_fixed(flow, call[name], 0), line)
    return [x]


def _group_norm(flow: Flow, call: Call) -> list[Value]:
    x, groups = call["input"], call["num_groups"]
    line = _line_or_fixed(flow, x, 1)
    if groups == 1:
        flow.links.link(line, FIXED)
    else:
        _link_groups(flow, [line], groups)
    for name in ("weight", "bias"):
        if call[name] is not None:
            flow.links.link(_line_or_fixed(flow, call[name], 0), line)
    return [x]


def _layer_norm(flow: Flow, call: Call) -> list[Value]:
    """A norm over a width is another function when the width shrinks: it stays."""
    x = call["input"]
    n_normed = len(call["normalized_shape"])
    flow.links.fix(x, range(len(x.shape) - n_normed, len(x.shape)))
    for name in ("weight", "bias"):
        if call[name] is not None:
            flow.links.fix(call[name])
    return [x]


def _spatial(n_dims: int) -> Rule:
    """An operation on the last dimensions of one tensor."""

    def rule(flow: Flow, call: Call) -> list[Value]:
        x = call.first
        dims = range(len(x.shape) - n_dims, len(x.shape))
        flow.links.fix(x, dims)
        blocks = tuple(block for block in x.blocks if not set(block.dims) & set(dims))
        return [Value(shape, blocks) for shape in call.shapes]

    return rule


def _pad(flow: Flow, call: Call) -> list[Value]:
    """Zeros beside channels may go as the channels do; other padding keeps what it borders on."""
    x, amounts, n = call.first, call["pad"], len(call.first.shape)
    found = x
    for i in range(0, len(amounts), 2):
        dim, before, after = n - 1 - i // 2, amounts[i], amounts[i + 1]
        if before == after == 0:
            continue
        zeros = call["mode"] in (None, "constant") and min(before, after) >= 0
        line = flow.links.line(found, dim) if zeros else None
        shape = tuple(s + (before + after) * (d == dim) for d, s in enumerate(found.shape))
        blocks = tuple(block for block in found.blocks if dim not in block.dims)
        if line is None:
            flow.links.fix(found, [dim])
        else:
            sides = [flow.links.labels(before), line, flow.links.labels(after)]
            blocks += (Block((dim,), np.concatenate(sides)),)
        found = Value(shape, blocks)
    return [found]


def _dims(call: Call, value: Value) -> list[int]:
    given = call["dim"] if call["dim"] is not None else call["dims"]
    if given is None or given == []:
        return list(range(len(value.shape)))
    listed = [given] if isinstance(given, int) else given
    return [d % len(value.shape) for d in listed]


def _reduction(flow: Flow, call: Call) -> list[Value]:
    found = flow.without(call.first, _dims(call, call.first), keep=bool(call["keepdim"]))
    return [found for _ in call.shapes]


def _along(flow: Flow, call: Call) -> list[Value]:
    """Softmax and its like: a dimension is compared, and stays."""
    flow.links.fix(call.first, _dims(call, call.first))
    return [call.first]


def _permute(flow: Flow, call: Call) -> list[Value]:
    return [flow.permuted(call.first, _dims(call, call.first))]


def _transpose(flow: Flow, call: Call) -> list[Value]:
    order = list(range(len(call.first.shape)))
    first = call["dim0"] if call["dim0"] is not None else 0
    second = call["dim1"] if call["dim1"] is not None else len(order) - 1
    order[first], order[second] = order[second], order[first]
    return [flow.permuted(call.first, order)]


def _expand(flow: Flow, call: Call) -> list[Value]:
    x, shape = call.first, call.shapes[0]
    shift = len(shape) - len(x.shape)
    blocks = (Block(tuple(d + shift for d in b.dims), b.labels) for b in x.blocks)
    return [Value(shape, tuple(blocks))]


def _repeat(flow: Flow, call: Call) -> list[Value]:
    x, shape = call.first, call.shapes[0]
    shift = len(shape) - len(x.shape)
    longer = {d for d, n in enumerate(x.shape) if n > 1 and shape[d + shift] != n}
    flow.links.fix(x, sorted(longer))
    blocks = (
        Block(tuple(d + shift for d in b.dims), b.labels)
        for b in x.blocks
        if not set(b.dims) & longer
    )
    return [Value(shape, tuple(blocks))]


def _concatenation(flow: Flow, call: Call) -> list[Value]:
    values = call.tensors
    dim = (call["dim"] or 0) % len(values[0].shape)
    return [flow.concatenated(values, dim)]


def _stack(flow: Flow, call: Call) -> list[Value]:
    shape = call.shapes[0]
    dim = (call["dim"] or 0) % len(shape)
    one = tuple(1 if d == dim else n for d, n in enumerate(shape))
    return [flow.concatenated([flow.reshaped(value, one) for value in call.tensors], dim)]


def _parts(flow: Flow, call: Call) -> list[Value]:
    x = call.first
    dim = (call["dim"] or 0) % len(x.shape)
    found, start = [], 0
    for shape in call.shapes:
        found.append(flow.taken(x, dim, range(start, start + shape[dim])))
        start += shape[dim]
    return found


def _unbind(flow: Flow, call: Call) -> list[Value]:
    x = call.first
    dim = (call["dim"] or 0) % len(x.shape)
    flow.alike(x, dim)
    return [
        flow.reshaped(flow.taken(x, dim, [index]), shape)
        for index, shape in enumerate(call.shapes)
    ]


def _select(flow: Flow, call: Call) -> list[Value]:
    x = call.first
    dim = call["dim"] % len(x.shape)
    index = call["index"] % x.shape[dim]
    flow.alike(x, dim)
    return [flow.reshaped(flow.taken(x, dim, [index]), call.shapes[0])]


def _slice(flow: Flow, call: Call) -> list[Value]:
    x = call.first
    dim = (call["dim"] or 0) % len(x.shape)
    taken = range(x.shape[dim])[slice(call["start"], call["end"], call["step"] or 1)]
    if taken.step != 1:
        flow.links.fix(x, [dim])
    return [flow.taken(x, dim, taken)]


def _narrow(flow: Flow, call: Call) -> list[Value]:
    x = call.first
    dim = call["dim"] % len(x.shape)
    start = call["start"] % x.shape[dim]
    return [flow.taken(x, dim, range(start, start + call["length"]))]


def _index(flow: Flow, call: Call) -> list[Value]:
    """Rows picked by tensors of numbers: the dimensions that are picked from must stay."""
    x, indices = call.first, call["indices"]
    picked = [dim for dim, index in enumerate(indices) if index is not None]
    if picked != list(range(picked[0], picked[-1] + 1)):
        return boundary(flow, call)
    for dim in picked:
        flow.links.fix(indices[dim])
    flow.links.fix(x, picked)
    shape = call.shapes[0]
    shift = len(shape) - len(x.shape)
    blocks = (
        Block(tuple(d if d < picked[0] else d + shift for d in b.dims), b.labels)
        for b in x.blocks
        if not set(b.dims) & set(picked)
    )
    return [Value(shape, tuple(blocks))]


def _like_another(flow: Flow, call: Call) -> list[Value]:
    """Takes the shape of a second tensor, so that both shrink together."""
    x, other = call.tensors
    return [flow.together([flow.reshaped(x, other.shape), other])]


def _embedding(flow: Flow, call: Call) -> list[Value]:
    weight, shape = call["weight"], call.shapes[0]
    flow.links.fix(weight, [0])
    flow.links.fix(call["indices"])
    line = flow.links.line(weight, 1)
    return [Value(shape, () if line is None else (Block((len(shape) - 1,), line),))]


def _moved_along(flow: Flow, call: Call) -> list[Value]:
    flow.links.fix(call.first, _dims(call, call.first))
    return [call.first]


def _pixel_shuffle(flow: Flow, call: Call) -> list[Value]:
    x, shape = call.first, call.shapes[0]
    r = shape[-1] // x.shape[-1]
    lead, (channels, height, width) = x.shape[:-3], x.shape[-3:]
    split = flow.reshaped(x, (*lead, channels // r**2, r, r, height, width))
    n = len(lead)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return [flow.reshaped(flow.permuted(split, order), shape)]


def _pixel_unshuffle(flow: Flow, call: Call) -> list[Value]:
    x, shape = call.first, call.shapes[0]
    r = x.shape[-1] // shape[-1]
    lead, (channels, height, width) = x.shape[:-3], x.shape[-3:]
    split = flow.reshaped(x, (*lead, channels, height // r, r, width // r, r))
    n = len(lead)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return [flow.reshaped(flow.permuted(split, order), shape)]


def _channel_shuffle(flow: Flow, call: Call) -> list[Value]:
    x, groups = call.first, call["groups"]
    lead, rest = x.shape[0], x.shape[2:]
    split = flow.reshaped(x, (lead, groups, x.shape[1] // groups, *rest))
    order = (0, 2, 1, *range(3, 3 + len(rest)))
    return [flow.reshaped(flow.permuted(split, order), x.shape)]


def _glu(flow: Flow, call: Call) -> list[Value]:
    x = call.first
    dim = (call["dim"] if call["dim"] is not None else -1) % len(x.shape)
    half = x.shape[dim] // 2
    parts = [flow.taken(x, dim, range(s, s + half)) for s in (0, half)]
    return [flow.together(parts)]


def _prelu(flow: Flow, call: Call) -> list[Value]:
    x, weight = call.tensors[:2]
    if math.prod(weight.shape) > 1:
        flow.links.link(_line_or_fixed(flow, weight, 0), _line_or_fixed(flow, x, 1))
    return [x]


_ELEMENTWISE = """
    abs add add_ addcmul clamp clamp_ clamp_min clamp_max cos div div_ elu elu_ eq erf exp
    expand_as gelu gelu_ ge gt hardsigmoid hardsigmoid_ hardswish hardswish_ hardtanh hardtanh_
    le leaky_relu
    leaky_relu_ log log1p logical_and logical_not logical_or lt masked_fill maximum minimum mish
    mish_ mul mul_ ne neg pow reciprocal relu relu_ relu6 relu6_ rsqrt rsub selu selu_ sigmoid
    sigmoid_ sign silu silu_ sin softplus sqrt square sub sub_ tanh tanh_ true_divide where
    __and__ bitwise_and bitwise_not bitwise_or
    """.split()
_SAME = """
    _to_copy alias clone contiguous detach detach_ dropout dropout_ feature_dropout
    lift_fresh lift_fresh_copy to type_as
    """.split()
_RESHAPES = "_unsafe_view flatten reshape squeeze unflatten unsqueeze view".split()
_REDUCTIONS = "amax amin argmax argmin linalg_vector_norm logsumexp mean norm sum std var".split()
_CONSTANTS = """
    arange empty full full_like linspace new_full new_ones new_zeros ones ones_like rand
    scalar_tensor zeros zeros_like
    """.split()

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_RESHAPES, _reshape),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(_CONSTANTS, _constant),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), _transposed_convolution),
    "linear": _linear,
    "addmm": _addmm,
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("batch_norm", "instance_norm"), _batch_norm),
    "group_norm": _group_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d"), _spatial(1)),
    **dict.fromkeys(
        (
            "max_pool2d",
            "avg_pool2d",
            "adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "max_pool2d_with_indices",
            "upsample_nearest2d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "reflection_pad2d",
            "replication_pad2d",
        ),
        _spatial(2),
    ),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "cumsum"), _along),
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes", "t", "numpy_T"), _transpose),
    "expand": _expand,
    "repeat": _repeat,
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenation),
    "stack": _stack,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split"), _parts),
    "unbind": _unbind,
    "select": _select,
    "slice": _slice,
    "narrow": _narrow,
    "embedding": _embedding,
    "index": _index,
    **dict.fromkeys(("reshape_as", "view_as"), _like_another),
    **dict.fromkeys(("roll", "flip"), _moved_along),
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "glu": _glu,
    "prelu": _prelu,
}
"""By the name of the operation in ATen, without its overload."""
