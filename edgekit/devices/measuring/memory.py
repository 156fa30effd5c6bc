"""Memory that a model takes when it is loaded and run."""

from __future__ import annotations

from typing import Any

from edgekit.core.errors import InputError
from edgekit.core.target import Target
from edgekit.devices.measuring.elsewhere import run_job
from edgekit.devices.measuring.session import Model


def peak_memory_bytes(model: Model, target: Target) -> int | None:
    """What loading and running a model three times adds to a fresh process at its peak.

    Largest resident size, without what the process took before it loaded the model: weights as
    the runtime keeps them, tensors in flight, and the runtime itself.

    Args:
        model: ONNX or TFLite.
        target: provider and threads.

    Returns:
        Bytes; None where the system does not say.
    """
    found: Any = run_job({"job": "memory"}, {"model": model}, target)
    return None if found is None else int(found)


def known_memory_bytes(model: Model, target: Target) -> int:
    """As ``peak_memory_bytes``.

    Raises:
        InputError: the system does not say.
    """
    found = peak_memory_bytes(model, target)
    if found is None:
        raise InputError(
            "peak memory is asked of a system that tells it (Linux with /proc), this one does "
            "not; leave memory out"
        )
    return found
