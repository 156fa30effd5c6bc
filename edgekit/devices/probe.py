"""What the device is: all that decides latency, and what a person wants to know beside it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from edgekit.core.precision import FULL_WEIGHT_MAX, REDUCED_WEIGHT_MAX
from edgekit.core.target import Target
from edgekit.devices.providers.catalogue import catalogue, provider_named

ISA_FLAGS = {
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "avx_vnni": "avx_vnni",
    "avx_vnni_int8": "avx_vnni_int8",
    "amx_tile": "amx_tile",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "neon": "neon",
    "asimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
    "sve2": "sve2",
    "sme": "sme",
}
"""Flags of /proc/cpuinfo that pick other code in the runtime, and the names used here."""

_CALLS_OUT = "AzureExecutionProvider"
_CPU_ROOT = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What was found on a target. None means the system does not say; it is never written as 0.

    Attributes:
        cpu_model: as the system names it; on Arm without a name, implementer and part numbers.
        n_cores: cores this process may use.
        isa: sorted instruction sets that matter to the runtime, for example ``("avx2", "fma")``.
        memory_bytes: physical memory.
        caches_bytes: (name, bytes) of the caches core 0 sees, for example ``("L1 data", 49152)``.
        max_frequency_hz: highest frequency of any core.
        governor: frequency governor of core 0.
        is_virtual: whether a hypervisor is below.
        os: system, release and machine.
        python_version: of the running interpreter.
        ort_version: of ONNX Runtime.
        available_providers: execution providers of this build of the runtime; plug-ins apart.
        provider: the provider of the target.
        n_threads: the thread count of the target.
    """

    cpu_model: str
    n_cores: int
    isa: tuple[str, ...]
    memory_bytes: int | None
    caches_bytes: tuple[tuple[str, int], ...]
    max_frequency_hz: float | None
    governor: str | None
    is_virtual: bool | None
    os: str
    python_version: str
    ort_version: str
    available_providers: tuple[str, ...]
    provider: str
    n_threads: int

    @property
    def int8_weight_max(self) -> int:
        """Largest int8 weight with which the runtime's sums are exact here.

        On x86 without VNNI, ONNX Runtime multiplies uint8 by int8 with VPMADDUBSW, which
        saturates in 16 bits: there weights take the reduced range.
        """
        is_x86 = self.os.split()[-1] in ("x86_64", "AMD64")
        exact = not is_x86 or any("vnni" in name for name in self.isa)
        return FULL_WEIGHT_MAX if exact else REDUCED_WEIGHT_MAX

    @property
    def vector_channels(self) -> int:
        """Channels that ONNX Runtime's blocked float32 layout takes at a time (MLAS NCHWc)."""
        return 16 if any(name.startswith("avx512") for name in self.isa) else 8

    @property
    def fingerprint(self) -> str:
        """16 hex digits of what decides latency; a profile holds only while they stay the same."""
        deciding = (
            self.cpu_model,
            self.isa,
            self.n_cores,
            self.ort_version,
            self.provider,
            self.n_threads,
            self.max_frequency_hz,
            self.governor,
        )
        return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:16]


def probe(target: Target) -> DeviceFacts:
    """Look at the target without measuring anything.

    Example:
        >>> len(probe(Target("local")).fingerprint)
        16
    """
    cpuinfo = _read(Path("/proc/cpuinfo")) or ""
    return DeviceFacts(
        cpu_model=cpu_model_of(cpuinfo) or platform.processor() or platform.machine(),
        n_cores=len(os.sched_getaffinity(0)),
        isa=isa_of(cpuinfo),
        memory_bytes=_memory_bytes(),
        caches_bytes=caches_bytes(_CPU_ROOT / "cpu0" / "cache"),
        max_frequency_hz=max_frequency_hz(_CPU_ROOT),
        governor=_read(_CPU_ROOT / "cpu0" / "cpufreq" / "scaling_governor"),
        is_virtual=is_virtual_of(cpuinfo),
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python_version=platform.python_version(),
        ort_version=ort.__version__,
        available_providers=tuple(
            name for name in ort.get_available_providers() if name not in _not_built_in()
        ),
        provider=provider_named(target.ep).name,
        n_threads=target.n_threads,
    )


def _not_built_in() -> set[str]:
    """Plug-ins, which the runtime lists once they were registered, and what is no local device."""
    return {_CALLS_OUT, *(entry.name for entry in catalogue() if entry.kind == "plug-in")}


def cpu_model_of(cpuinfo: str) -> str | None:
    """Model name in the text of /proc/cpuinfo; unlike Arm cores are joined by ``+``."""
    fields = _fields(cpuinfo)
    if names := fields.get("model name"):
        return names[0]
    parts = zip(fields.get("CPU implementer", ()), fields.get("CPU part", ()), strict=False)
    return " + ".join(dict.fromkeys(f"Arm {maker} part {part}" for maker, part in parts)) or None


def isa_of(cpuinfo: str) -> tuple[str, ...]:
    """Sorted names from ``ISA_FLAGS`` that every core in the text of /proc/cpuinfo has."""
    fields = _fields(cpuinfo)
    per_core = [set(text.split()) for text in fields.get("flags", fields.get("Features", ()))]
    common = set.intersection(*per_core) if per_core else set()
    return tuple(sorted({name for flag, name in ISA_FLAGS.items() if flag in common}))


def is_virtual_of(cpuinfo: str) -> bool | None:
    """Whether the text of /proc/cpuinfo shows a hypervisor; None on Arm, where it does not say."""
    flags = _fields(cpuinfo).get("flags")
    return None if flags is None else "hypervisor" in flags[0].split()


def caches_bytes(folder: Path) -> tuple[tuple[str, int], ...]:
    """Names and sizes of the caches in a core's sysfs folder, smallest level first."""
    found = []
    for index in sorted(folder.glob("index*")):
        level, kind, size = (_read(index / name) for name in ("level", "type", "size"))
        if level and kind and size and size.endswith("K") and size[:-1].isdecimal():
            found.append((f"L{level} {kind.lower()}", int(size[:-1]) * 1024))
    return tuple(found)


def max_frequency_hz(cpu_root: Path) -> float | None:
    """Highest ``cpuinfo_max_freq`` of any core below the folder; None where absent or zero."""
    texts = [_read(path) for path in cpu_root.glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")]
    values_khz = [int(text) for text in texts if text and text.isdecimal()]
    return max(values_khz) * 1e3 if any(values_khz) else None


def _fields(cpuinfo: str) -> dict[str, list[str]]:
    """Values by key, one per core, in order."""
    fields: dict[str, list[str]] = {}
    for line in cpuinfo.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), []).append(value.strip())
    return fields


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _read(path: Path) -> str | None:
    """Stripped text of a small system file; None where it is absent or may not be read."""
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
