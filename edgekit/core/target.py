"""Where a model is to run, as text: ``local``, ``local?threads=2``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from edgekit.core.errors import InputError

CPU_PROVIDER = "CPUExecutionProvider"
_KEYS = ("threads", "ep")


@dataclass(frozen=True, slots=True)
class Target:
    """A device and the runtime settings on it.

    Attributes:
        text: ``local`` with optional ``threads=N`` (default 1) and ``ep=NAME`` (default
            ``cpu``; the catalogue of providers has the names), for example ``local?threads=2``.
        require: every node must run on that provider; what falls back to the CPU is an error.

    Raises:
        InputError: an unknown device, key or provider, or more threads than the machine's cores.

    Example:
        >>> Target("local?threads=1").n_threads
        1
    """

    text: str = "local"
    require: bool = False

    def __post_init__(self) -> None:
        device, _, query = self.text.partition("?")
        if device != "local":
            raise InputError(
                f"a target is this machine, 'local' or 'local?threads=2', got {self.text!r}"
            )
        for key, _ in parse_qsl(query, keep_blank_values=True):
            if key not in _KEYS:
                raise InputError(
                    f"a target takes the keys {', '.join(_KEYS)}, got {key!r} in {self.text!r}"
                )
        if not re.fullmatch("[a-z][a-z0-9-]{0,30}", self.ep):
            raise InputError(
                f"a provider has a short name such as cpu or qnn, got {self.ep!r}; "
                "edgekit devices lists them"
            )
        threads, n_cores = self._options().get("threads", "1"), os.cpu_count() or 1
        if not re.fullmatch("[0-9]{1,6}", threads) or not 1 <= int(threads) <= n_cores:
            raise InputError(
                f"threads must be a whole number from 1 to {n_cores}, got {threads!r}"
            )

    def _options(self) -> dict[str, str]:
        return dict(parse_qsl(self.text.partition("?")[2], keep_blank_values=True))

    @property
    def n_threads(self) -> int:
        """Threads the runtime is given."""
        return int(self._options().get("threads", "1"))

    @property
    def ep(self) -> str:
        """Short name of the execution provider that is asked for."""
        return self._options().get("ep", "cpu")
