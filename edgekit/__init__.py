"""edgekit: the best network that fits the device, with measured proof.

The public names are loaded on first use: ``import edgekit`` stays fast and imports no torch.

Example:
    >>> import edgekit as ek
    >>> ek.Limits.of(latency="15ms", size="4MB").describe()
    'latency p50 <= 15 ms, size <= 4 MB'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.core.candidate import Candidate
    from edgekit.core.errors import EdgekitError, Infeasible
    from edgekit.core.figures import Measured, MeasuredAccuracy, Predicted
    from edgekit.core.limits import Limits
    from edgekit.core.precision import Precision
    from edgekit.core.target import Target
    from edgekit.core.task import Task
    from edgekit.devices.profile import DeviceProfile
    from edgekit.export.bundle import Bundle
    from edgekit.spaces import space
    from edgekit.splitting import split_model
    from edgekit.workflow import (
        export_bundle,
        fit,
        profile_target,
        resume_search,
        run_search,
        verify_bundle,
    )

    __version__: str

__all__ = [
    "Bundle",
    "Candidate",
    "DeviceProfile",
    "EdgekitError",
    "Infeasible",
    "Limits",
    "Measured",
    "MeasuredAccuracy",
    "Precision",
    "Predicted",
    "Target",
    "Task",
    "__version__",
    "export_bundle",
    "fit",
    "profile_target",
    "resume_search",
    "run_search",
    "space",
    "split_model",
    "verify_bundle",
]

_HOMES = {
    "edgekit.core.candidate": ("Candidate",),
    "edgekit.core.errors": ("EdgekitError", "Infeasible"),
    "edgekit.core.figures": ("Measured", "MeasuredAccuracy", "Predicted"),
    "edgekit.core.limits": ("Limits",),
    "edgekit.core.precision": ("Precision",),
    "edgekit.core.target": ("Target",),
    "edgekit.core.task": ("Task",),
    "edgekit.devices.profile": ("DeviceProfile",),
    "edgekit.export.bundle": ("Bundle",),
    "edgekit.spaces": ("space",),
    "edgekit.splitting": ("split_model",),
    "edgekit.workflow": (
        "export_bundle",
        "fit",
        "profile_target",
        "resume_search",
        "run_search",
        "verify_bundle",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def _installed_version() -> str:
    """Version of the installed distribution; ``0+source`` for a tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("edgekit")
    except PackageNotFoundError:
        return "0+source"


def __getattr__(name: str) -> object:
    """Load a public name on first use (PEP 562) and keep it."""
    if name == "__version__":
        value: object = _installed_version()
    elif name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    else:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, also those not loaded yet."""
    return sorted({*globals(), *__all__})
