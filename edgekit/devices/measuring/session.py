"""Opening a model in ONNX Runtime the one way every measurement here does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.target import CPU_PROVIDER
from edgekit.devices.providers.catalogue import provider_named
from edgekit.devices.providers.loading import add_provider

Model = bytes | onnx.ModelProto | Path
Feed = dict[str, NDArray[np.float32]]

MAX_MODEL_BYTES = 2**30
MAX_INPUT_VALUES = 2**28
_SEVERITY_ERROR = 3


def open_session(
    model: Model, *, n_threads: int, ep: str = "cpu", profile_prefix: Path | None = None
) -> ort.InferenceSession:
    """A session with everything that moves latency set explicitly.

    All graph optimisations are on, nodes run one after the other, and one pool of ``n_threads``
    threads (the caller's included) works inside a node. The pool spins while a run is going on and
    goes to sleep when it ends (``session.force_spinning_stop``): with many sessions resident,
    pools that keep spinning would take the cores from the session being timed.

    Args:
        model: serialised model, parsed model, or a file; at most 1 GiB.
        n_threads: threads of the pool, at least 1.
        ep: short name of the execution provider that is asked for.
        profile_prefix: where ONNX Runtime writes its profile (a suffix is added); None for no
            profiling.

    Raises:
        InputError: the file is missing or too large, ONNX Runtime refuses the model, or the
            provider is not usable in this environment.
    """
    return create_session(model, session_options(n_threads, ep, profile_prefix))


def create_session(model: Model, options: ort.SessionOptions) -> ort.InferenceSession:
    """A session with options of the caller's making; symbolic input dimensions become 1.

    A provider that compiles ahead of time takes no symbolic dimension: one left open would send
    the whole model to the CPU without a word.

    Raises:
        InputError: as ``open_session``.
    """
    source = _source(model)
    if options.has_providers():
        for name in symbolic_dimensions(model):
            options.add_free_dimension_override_by_name(name, 1)
    providers = None if options.has_providers() else [CPU_PROVIDER]
    try:
        return ort.InferenceSession(source, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors share no base class of their own
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"ONNX Runtime {ort.__version__} must be able to load {_describe(model)}, it says: "
            f"{reason}; check the file with onnx.checker or export it again"
        ) from error


def symbolic_dimensions(model: Model) -> tuple[str, ...]:
    """Names of the input dimensions that have a name instead of a size."""
    return tuple(
        dict.fromkeys(
            dimension.dim_param
            for value in load_model(model).graph.input
            for dimension in value.type.tensor_type.shape.dim
            if dimension.dim_param
        )
    )


def load_model(model: Model) -> onnx.ModelProto:
    """The parsed model; weights in files of their own are left there.

    Raises:
        InputError: no ONNX model.
    """
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        if isinstance(model, Path):
            return onnx.load(model, load_external_data=False)
        return onnx.load_from_string(model)
    except (DecodeError, OSError) as error:
        raise InputError(
            f"an ONNX model is needed, {_describe(model)} is none: {error}; check the file"
        ) from error


def session_options(
    n_threads: int, ep: str = "cpu", profile_prefix: Path | None = None
) -> ort.SessionOptions:
    """The options of ``open_session``."""
    if n_threads < 1:
        raise InputError(f"a session needs at least 1 thread, got {n_threads}")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_ERROR
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile_prefix)
    add_provider(options, provider_named(ep), n_threads)
    return options


def random_inputs(session: ort.InferenceSession, seed: int) -> Feed:
    """Standard normal float32 values for every input of a session; symbolic dimensions become 1.

    Raises:
        InputError: an input that is not float32, or with more than 2**28 values.
    """
    generator = np.random.default_rng(seed)
    feed: Feed = {}
    for node in session.get_inputs():
        if node.type != "tensor(float)":
            raise InputError(
                f"inputs must be float32 tensors, {node.name!r} is {node.type}; "
                "export the model with a float input"
            )
        shape = tuple(size if isinstance(size, int) else 1 for size in node.shape)
        if np.prod(shape, dtype=np.float64) > MAX_INPUT_VALUES:
            raise InputError(
                f"an input holds at most {MAX_INPUT_VALUES} values, "
                f"{node.name!r} has shape {shape}; fix its dimensions"
            )
        feed[node.name] = generator.standard_normal(shape, dtype=np.float32)
    return feed


def _source(model: Model) -> bytes | str:
    """What the session's constructor takes, after the size was checked."""
    if isinstance(model, Path):
        if not model.is_file():
            raise InputError(f"a model file is needed, {model} is not there; check the path")
        n_bytes = model.stat().st_size
    else:
        n_bytes = model.ByteSize() if isinstance(model, onnx.ModelProto) else len(model)
    if n_bytes > MAX_MODEL_BYTES:
        raise InputError(
            f"a model has at most {MAX_MODEL_BYTES} bytes, {_describe(model)} has {n_bytes}; "
            "take a smaller model"
        )
    if isinstance(model, Path):
        return str(model)
    return model.SerializeToString() if isinstance(model, onnx.ModelProto) else model


def _describe(model: Model) -> str:
    if isinstance(model, Path):
        return str(model)
    if isinstance(model, onnx.ModelProto):
        return f"the model {model.graph.name!r}"
    return f"the model of {len(model)} bytes"
