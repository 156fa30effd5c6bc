"""What of the catalogue is usable here, and for the rest why not and what would bring it.

Each environment is asked in a process of its own: a plug-in loads the maker's libraries, and one
that crashes there takes nothing with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.providers.catalogue import Provider, catalogue
from edgekit.devices.providers.environments import environment_variables, folder_of, python_of
from edgekit.devices.providers.loading import found_here

_TIMEOUT_S = 120
_MODULE = "edgekit.devices.providers.discovery"


@dataclass(frozen=True, slots=True)
class Found:
    """A provider of the catalogue on this machine.

    Attributes:
        provider: what the catalogue says.
        usable: whether a session can ask for it.
        reason: why not, and what would bring it; empty where it is usable.
        emulated: it answers as the device would, and its times say nothing.
        version: of ONNX Runtime in its environment; empty where there is none, and for another
            runtime.
    """

    provider: Provider
    usable: bool
    reason: str
    emulated: bool
    version: str


def find_providers() -> tuple[Found, ...]:
    """Every provider of the catalogue, in its order."""
    here = _asked(Path(sys.executable))
    return tuple(_found(provider, here) for provider in catalogue())


def _found(provider: Provider, here: dict[str, str] | str) -> Found:
    answer = here
    if provider.own_env and (python := python_of(provider)) is not None:
        answer = _asked(python)
    if isinstance(answer, str):
        return Found(provider, False, f"its environment fails: {answer}", False, "")
    reason = answer[provider.short]
    if reason and provider.requires and answer is here:
        reason = (
            f"it needs an environment of its own, {folder_of(provider)} is none yet: "
            f"edgekit devices --install {provider.short}"
        )
    usable = not reason
    version = "" if provider.kind == "runtime" else answer["version"]
    return Found(provider, usable, reason, usable and provider.is_emulated, version)


def _asked(python: Path) -> dict[str, str] | str:
    """Reason by short name and the runtime's version, or what went wrong in that environment."""
    command = [str(python), "-m", _MODULE]
    try:
        done = subprocess.run(
            command,
            env=environment_variables(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_TIMEOUT_S} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or ["it printed nothing"]
        return f"code {done.returncode}, {said[-1]}"
    answer: dict[str, str] = json.loads(lines[-1])
    return answer


if __name__ == "__main__":
    print(json.dumps(found_here()))
