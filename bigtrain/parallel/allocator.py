"""Memory of the host that a step frees stays with the process, for the next step to use."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have glibc neither map large blocks one by one nor give the top of its heap back (mallopt(3)).

    A step allocates what the last one freed. By default most of it goes to the kernel and comes back in pages that are
    cleared one by one: a fifth of the time of the demo's steps, for a tenth of its memory. Without glibc: nothing.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
