"""The catalogue of execution providers: ``catalogue.toml``, parsed once."""

from __future__ import annotations

import platform
import sys
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from edgekit.core.errors import InputError

DeviceClass = Literal["cpu", "gpu", "npu"]
Form = Literal[
    "fp32",
    "fp16",
    "bf16",
    "int8-u8s8",
    "int8-u8u8",
    "int8-s8s8",
    "int16-u16s8",
    "weights-int4",
    "weights-int8",
]
"""Forms of a network; the integer ones name the types of activations and weights in QDQ."""


@checked(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Provider:
    """An execution provider as the catalogue has it.

    Attributes:
        name: what ONNX Runtime calls it.
        short: what a target calls it, as in ``local?ep=qnn``.
        kind: ``"built-in"`` in a build of ONNX Runtime, ``"plug-in"``, a library of its own, or
            ``"runtime"``, one that runs TFLite files beside ONNX Runtime.
        package: what brings it.
        platforms: as ``here()`` writes them.
        classes: device classes it can drive.
        precisions: forms of a network it runs as such.
        extra: edgekit's extra that installs the package; empty where there is none.
        module: Python module of a plug-in.
        own_env: whether the package replaces ONNX Runtime and needs its own environment.
        requires: what pip installs there; empty where pip cannot bring it.
        emulated_on: platforms where it only emulates its device: times have no meaning there.
        static: whether every dimension must be fixed.
        hides_nodes: whether one profiled node stands for a whole subgraph.
        options: provider options edgekit sets; ``{threads}`` stands for the thread count.
        note: what a user should know.
        deprecated: what to take instead; empty for a current one.
    """

    name: str
    short: str
    kind: Literal["built-in", "plug-in", "runtime"]
    package: str
    platforms: tuple[str, ...]
    classes: tuple[DeviceClass, ...]
    precisions: tuple[Form, ...]
    extra: str = ""
    module: str = ""
    own_env: bool = False
    requires: tuple[str, ...] = ()
    emulated_on: tuple[str, ...] = ()
    static: bool = False
    hides_nodes: bool = False
    options: dict[str, str] = field(default_factory=dict)
    note: str = ""
    deprecated: str = ""

    @property
    def is_emulated(self) -> bool:
        """Whether on this platform there is only an emulator behind it."""
        return here() in self.emulated_on

    def options_for(self, n_threads: int) -> dict[str, str]:
        """The options with the thread count filled in."""
        return {
            key: text.replace("{threads}", str(n_threads)) for key, text in self.options.items()
        }


@dataclass(frozen=True, slots=True)
class _Catalogue:
    provider: tuple[Provider, ...]


@cache
def catalogue() -> tuple[Provider, ...]:
    """All providers, in the order of the file."""
    text = (
        resources.files("edgekit.devices.providers").joinpath("catalogue.toml").read_text("utf-8")
    )
    return TypeAdapter(_Catalogue).validate_python(tomllib.loads(text)).provider


def provider_named(name: str) -> Provider:
    """A provider by its short name or by ONNX Runtime's.

    Raises:
        InputError: there is none of that name.

    Example:
        >>> provider_named("qnn").name
        'QNNExecutionProvider'
    """
    for provider in catalogue():
        if name in (provider.short, provider.name):
            return provider
    known = ", ".join(provider.short for provider in catalogue())
    raise InputError(f"a provider is one of {known}, got {name!r}")


def here() -> str:
    """This platform as the catalogue writes it, for example ``linux/x86_64``."""
    return f"{sys.platform}/{platform.machine()}"
