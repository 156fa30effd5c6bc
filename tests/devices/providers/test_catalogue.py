"""The catalogue as it ships."""

from __future__ import annotations

import json

import pytest

from edgekit.core.errors import InputError
from edgekit.devices.providers.catalogue import catalogue, provider_named

NAMES = (
    "CPU",
    "Xnnpack",
    "CUDA",
    "Tensorrt",
    "NvTensorRTRTX",
    "OpenVINO",
    "QNN",
    "VitisAI",
    "CoreML",
    "WebGpu",
    "Nnapi",
    "MIGraphX",
    "CANN",
    "ACL",
)


def test_it_knows_every_provider_once() -> None:
    of_onnxruntime = [entry for entry in catalogue() if entry.kind != "runtime"]
    assert {e.name.removesuffix("ExecutionProvider") for e in of_onnxruntime} == set(NAMES)
    assert [entry.short for entry in catalogue() if entry.kind == "runtime"] == ["litert"]
    assert len({entry.short for entry in catalogue()}) == len(catalogue())


def test_a_provider_is_found_by_either_name() -> None:
    assert provider_named("qnn") is provider_named("QNNExecutionProvider")
    with pytest.raises(InputError, match=r"a provider is one of cpu, .*, got 'abacus'"):
        provider_named("abacus")


def test_the_thread_count_goes_into_the_options() -> None:
    assert provider_named("xnnpack").options_for(3) == {"intra_op_num_threads": "3"}
    config = json.loads(provider_named("openvino").options_for(2)["load_config"])
    assert config["CPU"]["INFERENCE_NUM_THREADS"] == "2"
    assert provider_named("cpu").options_for(4) == {}


def test_plug_ins_say_which_module_has_their_library() -> None:
    assert all((entry.kind == "plug-in") == bool(entry.module) for entry in catalogue())


def test_only_what_pip_brings_apart_gets_an_environment() -> None:
    assert all(entry.own_env for entry in catalogue() if entry.requires)


def test_nnapi_is_named_as_deprecated() -> None:
    assert "Android 15" in provider_named("nnapi").deprecated
