"""Facts of this machine, and the parsing of what other machines say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime as ort
import pytest

from edgekit.core.target import Target
from edgekit.devices.probe import (
    caches_bytes,
    cpu_model_of,
    is_virtual_of,
    isa_of,
    max_frequency_hz,
    probe,
)

# Two clusters of an RK3588 as its kernel prints them, shortened to two cores.
BIG_LITTLE = """processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 4
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""  # noqa: E501


def test_this_machine():
    facts = probe(Target("local"))
    assert facts.cpu_model
    assert facts.n_cores >= 1
    assert facts.ort_version == ort.__version__
    assert facts.available_providers[-1] == "CPUExecutionProvider"
    assert "AzureExecutionProvider" not in facts.available_providers
    assert facts.memory_bytes is None or facts.memory_bytes > 2**28
    assert facts.max_frequency_hz is None or facts.max_frequency_hz > 1e8


def test_fingerprint_is_what_decides_latency_and_nothing_else():
    facts = probe(Target("local"))
    assert len(facts.fingerprint) == 16
    assert facts.fingerprint == probe(Target("local?threads=1")).fingerprint
    assert facts.fingerprint == replace(facts, python_version="3.99", memory_bytes=1).fingerprint
    for change in (
        {"cpu_model": "another"},
        {"isa": ("avx2",)},
        {"n_cores": 64},
        {"ort_version": "0"},
        {"provider": "XnnpackExecutionProvider"},
        {"n_threads": 7},
        {"max_frequency_hz": 9e9},
        {"governor": "another"},
    ):
        assert replace(facts, **change).fingerprint != facts.fingerprint


@pytest.mark.parametrize(
    ("os", "isa", "weight_max"),
    [
        ("Linux 6.1 x86_64", ("avx2", "fma"), 64),
        ("Linux 6.1 x86_64", ("avx2", "avx512bw", "avx512f", "fma"), 64),
        ("Linux 6.1 x86_64", ("avx2", "avx512_vnni", "avx512f"), 127),
        ("Linux 6.1 x86_64", ("avx2", "avx_vnni"), 127),
        ("Linux 6.1 x86_64", (), 64),
        ("Linux 6.1 aarch64", ("neon",), 127),
    ],
)
def test_weights_keep_to_the_range_whose_sums_are_exact(
    os: str, isa: tuple[str, ...], weight_max: int
):
    assert replace(probe(Target()), os=os, isa=isa).int8_weight_max == weight_max


def test_arm_clusters_share_only_what_all_cores_have():
    assert cpu_model_of(BIG_LITTLE) == "Arm 0x41 part 0xd05 + Arm 0x41 part 0xd0b"
    assert isa_of(BIG_LITTLE) == ("dotprod", "fp16", "neon")
    assert is_virtual_of(BIG_LITTLE) is None


def test_x86_names_and_hypervisor():
    text = "model name\t: Some CPU\nflags\t\t: fpu avx2 fma avx512_vnni hypervisor\n"
    assert cpu_model_of(text) == "Some CPU"
    assert isa_of(text) == ("avx2", "avx512_vnni", "fma")
    assert is_virtual_of(text) is True
    assert is_virtual_of(text.replace(" hypervisor", "")) is False


def test_nothing_known_is_none_not_zero(tmp_path: Path):
    assert cpu_model_of("") is None
    assert isa_of("") == ()
    assert caches_bytes(tmp_path) == ()
    assert max_frequency_hz(tmp_path) is None
    frequency = tmp_path / "cpu0" / "cpufreq" / "cpuinfo_max_freq"
    frequency.parent.mkdir(parents=True)
    frequency.write_text("0\n")
    assert max_frequency_hz(tmp_path) is None


def test_frequency_and_caches_from_sysfs(tmp_path: Path):
    for core, khz in ((0, 1_800_000), (4, 2_400_000)):
        frequency = tmp_path / f"cpu{core}" / "cpufreq" / "cpuinfo_max_freq"
        frequency.parent.mkdir(parents=True)
        frequency.write_text(f"{khz}\n")
    cache = tmp_path / "cache" / "index0"
    cache.mkdir(parents=True)
    for name, text in (("level", "1"), ("type", "Data"), ("size", "48K")):
        (cache / name).write_text(text)
    assert max_frequency_hz(tmp_path) == 2.4e9
    assert caches_bytes(tmp_path / "cache") == (("L1 data", 48 * 1024),)
