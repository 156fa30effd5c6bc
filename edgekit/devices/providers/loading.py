"""Asking ONNX Runtime for a provider: built-in ones by name, plug-in ones by device.

A name in ``providers=[...]`` is never trusted: ONNX Runtime takes it, warns at most, and runs
everything on the CPU. Whoever needs to know who ran a node asks ``measuring.placement``.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache

import onnxruntime as ort

from edgekit.core.errors import InputError, MissingExtra
from edgekit.core.target import CPU_PROVIDER
from edgekit.devices.measuring.litert import is_installed
from edgekit.devices.providers.catalogue import Provider, catalogue, here, provider_named


def add_provider(options: ort.SessionOptions, provider: Provider, n_threads: int) -> None:
    """Ask for a provider, with edgekit's options; the CPU provider runs what it does not take.

    Args:
        options: of the session to come; changed.
        provider: which one; nothing is to be asked for the CPU provider.
        n_threads: threads, for providers with a pool of their own.

    Raises:
        InputError: it is not usable in this environment; says why and what would bring it.
        MissingExtra: the same, where one of edgekit's extras brings it.
    """
    if provider.name == CPU_PROVIDER:
        return
    if provider.kind == "runtime":
        raise InputError(
            f"{provider.short} runs TFLite files, got an ONNX model; take another provider"
        )
    if reason := why_not_usable(provider):
        message = f"the provider {provider.short} must be usable here: {reason}"
        raise MissingExtra(message) if provider.extra else InputError(message)
    settings = provider.options_for(n_threads)
    if provider.kind == "built-in":
        options.add_provider(provider.name, settings)
    else:
        options.add_provider_for_devices(plug_in_devices(provider.short)[:1], settings)


def why_not_usable(provider: Provider) -> str:
    """Why this process cannot open a session with the provider; empty where it can.

    Loads the library of a plug-in that is installed.
    """
    if provider.kind == "built-in":
        if provider.name in ort.get_available_providers():
            return ""
        return f"{_not_here(provider)}this build of ONNX Runtime {ort.__version__} has it not"
    if provider.kind == "runtime":
        found = is_installed()
    else:
        found = importlib.util.find_spec(provider.module) is not None
    if not found:
        return f"{_not_here(provider)}{provider.package} is not installed{_remedy(provider)}"
    if provider.kind == "plug-in" and not plug_in_devices(provider.short):
        return f"{provider.package} is installed and offers no device on this machine"
    return ""


@cache
def plug_in_devices(short: str) -> tuple[ort.OrtEpDevice, ...]:
    """Devices of an installed plug-in; its library is registered once per process and stays."""
    provider = provider_named(short)
    module = importlib.import_module(provider.module)
    ort.register_execution_provider_library(provider.name, module.get_library_path())
    return tuple(device for device in ort.get_ep_devices() if device.ep_name == provider.name)


def found_here() -> dict[str, str]:
    """Why each provider of the catalogue is not usable in this process, empty where it is.

    Returns:
        The reason by short name, and the version of ONNX Runtime under ``"version"``.
    """
    found = {provider.short: why_not_usable(provider) for provider in catalogue()}
    return {**found, "version": ort.__version__}


def _remedy(provider: Provider) -> str:
    return f"; pip install 'edgekit[{provider.extra}]'" if provider.extra else ""


def _not_here(provider: Provider) -> str:
    if here() in provider.platforms:
        return ""
    return f"it is for {', '.join(provider.platforms)}, this is {here()}; "
