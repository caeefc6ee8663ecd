"""Memory of tensors that are made anew in each step of a training on a CPU."""

from __future__ import annotations

import ctypes
import platform

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER, _STEP_BYTES = 2**31 - 1, 2**28


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, instead of handing large blocks back to the system; whether that is possible.

    glibc maps each block above 32 MiB anew, and the system fills it with zeros: a third of a step's time with the
    activations of a batch. Other C libraries are left as they are.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _STEP_BYTES))
    accepted = [mallopt(parameter, value) for parameter, value in settings]
    return all(accepted)
