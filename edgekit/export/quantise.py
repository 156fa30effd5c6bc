"""Quantising whole blocks of an exported network: ranges from images, then Q and DQ nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgekit.core.errors import InputError
from edgekit.core.precision import FULL_WEIGHT_MAX
from edgekit.devices.measuring.session import open_session
from edgekit.devices.networks.qdq import insert_qdq, tensors_to_calibrate
from edgekit.export.onnx_model import nodes_by_block
from edgekit.export.run import batch_size_of, run_batch

_EXTREMES = ("ReduceMin", "ReduceMax")
Ranges = dict[str, tuple[float, float]]


def quantise_blocks(
    model: ModelProto,
    int8_blocks: Collection[str],
    images: NDArray[np.float32],
    *,
    weight_max: int = FULL_WEIGHT_MAX,
    n_threads: int = 1,
) -> ModelProto:
    """The network with the named blocks in int8 (QDQ U8S8) and the others in float32.

    Args:
        model: float32 network with named blocks (see ``export_onnx``); left as it is.
        int8_blocks: names of blocks; none gives a copy of the model.
        images: calibration images, preprocessed, ``(n, 3, r, r)`` float32, n above 0.
        weight_max: largest magnitude of an int8 weight, 1..127 (``DeviceFacts.int8_weight_max``).
        n_threads: for the calibration.

    Raises:
        InputError: a block that the model does not have, no images, or images of another size.
    """
    nodes = nodes_by_block(model)
    if unknown := sorted(set(int8_blocks) - set(nodes)):
        raise InputError(
            f"a block to quantise must be one of {', '.join(nodes)}, got {unknown[0]!r}"
        )
    chosen = [name for block in nodes if block in int8_blocks for name in nodes[block]]
    ranges = calibrate(model, tensors_to_calibrate(model, chosen), images, n_threads=n_threads)
    result = insert_qdq(model, chosen, ranges, weight_max=weight_max)
    onnx.checker.check_model(result, full_check=True)
    return result


def calibrate(
    model: ModelProto,
    tensors: Sequence[str],
    images: NDArray[np.float32],
    *,
    n_threads: int = 1,
) -> Ranges:
    """Smallest and largest value each tensor takes over the images (MinMax calibration).

    The extremes are taken inside the graph: memory does not grow with the number of tensors.

    Args:
        model: float32 network.
        tensors: names of its tensors; its input may be among them.
        images: preprocessed, ``(n, 3, r, r)`` float32, n above 0.
        n_threads: of the session.

    Returns:
        ``(min, max)`` by tensor.

    Raises:
        InputError: no images, or images the model does not take.
    """
    if images.ndim != 4 or not len(images):
        raise InputError(
            f"calibration needs at least one image, (n, 3, r, r) float32, got {images.shape}"
        )
    if not tensors:
        return {}
    session = open_session(_with_extremes(model, tensors), n_threads=n_threads)
    step = batch_size_of(session)
    batches = (images[start : start + step] for start in range(0, len(images), step))
    found = np.stack([np.reshape(run_batch(session, batch), (-1, 2)) for batch in batches])
    lowest, highest = found[:, :, 0].min(axis=0), found[:, :, 1].max(axis=0)
    return {
        tensor: (float(low), float(high))
        for tensor, low, high in zip(tensors, lowest, highest, strict=True)
    }


def _with_extremes(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """A copy whose outputs are the minimum and maximum of each tensor."""
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    for index, tensor in enumerate(tensors):
        for operator in _EXTREMES:
            name = f"{operator}_{index}"
            result.graph.node.append(
                helper.make_node(operator, [tensor], [name], name, keepdims=0)
            )
            result.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ()))
    return result
