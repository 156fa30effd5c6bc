"""Opening sessions: what is set, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.core.errors import InputError
from edgekit.devices.measuring import session as session_module
from edgekit.devices.measuring.session import open_session, random_inputs, session_options
from edgekit.devices.networks.graph import GraphBuilder


def _network(*, dynamic_batch: bool = False) -> onnx.ModelProto:
    net = GraphBuilder("small", (1, 3, 8, 8))
    return net.build(net.conv(net.input, 8, 3, act="relu"), dynamic_batch=dynamic_batch)


def test_bytes_proto_and_file_give_the_same_answer(tmp_path: Path):
    model = _network()
    path = tmp_path / "small.onnx"
    path.write_bytes(model.SerializeToString())
    sessions = [
        open_session(form, n_threads=1) for form in (model.SerializeToString(), model, path)
    ]
    feed = random_inputs(sessions[0], seed=0)
    answers = [session.run(None, feed)[0] for session in sessions]
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])
    assert sessions[0].get_providers() == ["CPUExecutionProvider"]


def test_options_say_everything_that_moves_latency():
    options = session_options(2)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    assert not options.enable_profiling


def test_profile_is_written_where_asked(tmp_path: Path):
    session = open_session(_network(), n_threads=1, profile_prefix=tmp_path / "run")
    session.run(None, random_inputs(session, seed=0))
    written = Path(session.end_profiling())
    assert written.parent == tmp_path
    assert written.name.startswith("run")


def test_inputs_are_seeded_float32_with_batch_one():
    session = open_session(_network(dynamic_batch=True), n_threads=1)
    first, again = random_inputs(session, seed=1), random_inputs(session, seed=1)
    (value,) = first.values()
    assert value.shape == (1, 3, 8, 8)
    assert value.dtype == np.float32
    assert np.array_equal(value, next(iter(again.values())))
    assert not np.array_equal(value, next(iter(random_inputs(session, seed=2).values())))


def test_other_input_types_are_refused():
    value = helper.make_tensor_value_info("x", TensorProto.INT64, (1,))
    result = helper.make_tensor_value_info("y", TensorProto.INT64, (1,))
    node = helper.make_node("Add", ["x", "x"], ["y"])
    opset = [helper.make_opsetid("", 20)]
    graph = helper.make_graph([node], "whole numbers", [value], [result])
    session = open_session(
        helper.make_model(graph, opset_imports=opset, ir_version=10), n_threads=1
    )
    with pytest.raises(InputError, match="'x' is tensor\\(int64\\)"):
        random_inputs(session, seed=0)


def test_missing_file_broken_model_and_no_threads_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="is not there"):
        open_session(tmp_path / "none.onnx", n_threads=1)
    with pytest.raises(InputError, match="must be able to load the model of 7 bytes"):
        open_session(b"no onnx", n_threads=1)
    with pytest.raises(InputError, match="at least 1 thread, got 0"):
        open_session(_network(), n_threads=0)


def test_unknown_operator_is_named():
    model = _network()
    model.graph.node[0].op_type = "Konv"
    with pytest.raises(InputError, match="Konv"):
        open_session(model, n_threads=1)


def test_large_files_are_refused_before_they_are_read(tmp_path: Path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(session_module.MAX_MODEL_BYTES + 1)  # sparse: takes no space
    with pytest.raises(InputError, match="at most 1073741824 bytes"):
        open_session(path, n_threads=1)
