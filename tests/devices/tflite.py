"""TFLite files made here: a convolution, and after it one more operator where a test asks."""

from __future__ import annotations

import numpy as np
import pytest

_SIDE, _IN, _OUT = 8, 3, 8


def tflite_network(*, odd: bool = False) -> bytes:
    """A 3x3 convolution with ReLU6; with ``odd`` a log-softmax, which XNNPACK has not."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs LiteRT")
    flatbuffers = pytest.importorskip("flatbuffers")
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((_OUT, 3, 3, _IN), dtype=np.float32)
    constants = [b"", weights.tobytes(), np.zeros(_OUT, np.float32).tobytes()]
    shapes = [
        ("input", (1, _SIDE, _SIDE, _IN), 0),
        ("weights", weights.shape, 1),
        ("bias", (_OUT,), 2),
        ("convolved", (1, _SIDE, _SIDE, _OUT), 0),
        ("output", (1, _SIDE, _SIDE, _OUT), 0),
    ]
    model, graph, convolution = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.description = 3, "tests"
    model.buffers = [_buffer(schema, data) for data in constants]
    graph.tensors = [_tensor(schema, *entry) for entry in (shapes if odd else shapes[:4])]
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.SAME, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    convolution.opcodeIndex, convolution.inputs, convolution.outputs = 0, [0, 1, 2], [3]
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = options
    graph.operators, graph.inputs, graph.outputs = [convolution], [0], [3]
    codes = [schema.BuiltinOperator.CONV_2D]
    if odd:
        softmax = schema.OperatorT()
        softmax.opcodeIndex, softmax.inputs, softmax.outputs = 1, [3], [4]
        graph.operators.append(softmax)
        graph.outputs = [4]
        codes.append(schema.BuiltinOperator.LOG_SOFTMAX)
    model.operatorCodes = [_code(schema, code) for code in codes]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _buffer(schema, data: bytes):  # type: ignore[no-untyped-def]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8) if data else None
    return buffer


def _tensor(schema, name: str, shape: tuple[int, ...], buffer: int):  # type: ignore[no-untyped-def]
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
    tensor.type, tensor.hasRank = schema.TensorType.FLOAT32, True
    return tensor


def _code(schema, code: int):  # type: ignore[no-untyped-def]
    entry = schema.OperatorCodeT()
    entry.builtinCode = entry.deprecatedBuiltinCode = code
    entry.version = 1
    return entry
