"""The allocator of a process that trains."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, so that each step does not fault its pages in again.

    glibc maps every large tensor anew and gives it back when it is freed. Zeroing those pages was
    a fifth of a training step, and much more on a virtual machine. The process then holds the
    memory of its largest step until it ends.

    Returns:
        Whether the C library is glibc and took the settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(
        mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER)
    )
