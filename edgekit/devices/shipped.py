"""Profiles that come with edgekit: each was measured on the device that it names.

``profiles/<name>/profile.json``, as ``edgekit profile`` wrote it. A folder of one's own is used in
the same places by its path.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import InputError
from edgekit.devices.profile import PROFILE_FILE, DeviceProfile

FOLDER = Path(__file__).parent / "profiles"


def shipped_profiles() -> dict[str, Path]:
    """Folders of the profiles that come with edgekit, by name."""
    return {path.parent.name: path.parent for path in sorted(FOLDER.glob(f"*/{PROFILE_FILE}"))}


def profile_folder(text: Path | str) -> Path:
    """The folder of a profile, given as a path or by the name of a shipped one.

    A folder of that name here goes first.

    Args:
        text: path or name.

    Raises:
        InputError: neither; lists the names there are.
    """
    folder, shipped = Path(text), shipped_profiles()
    if (folder / PROFILE_FILE).is_file():
        return folder
    if str(text) in shipped:
        return shipped[str(text)]
    raise InputError(
        f"a profile is a folder with {PROFILE_FILE} or one of {', '.join(shipped)}, "
        f"got {str(text)!r}; make one with: edgekit profile"
    )


def describe(name: str, profile: DeviceProfile) -> str:
    """One line: name, device, runtime, how it was measured, and its error."""
    facts, made = profile.facts, profile.provenance
    threads = f"{facts.n_threads} thread" + "s" * (facts.n_threads > 1)
    machine = f"{facts.cpu_model}{' (virtual)' if facts.is_virtual else ''}, {threads}"
    return (
        f"{name}: {machine}, ONNX Runtime {facts.ort_version}, "
        f"{made.n_networks} networks timed on {made.measured_at[:10]}, "
        f"off by {profile.validation.accuracy.mape:.1%} on families it had not seen"
    )
