"""Freed memory stays with the process where the C library can be told so."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.helpers import REPOSITORY

# Faults of a page each that a loop of making and freeing a block of 64 MiB costs.
PROGRAM = """
import resource, sys, numpy as np
if sys.argv[1] == "keep":
    from train.allocator import keep_freed_memory
    assert keep_freed_memory()
def faults():
    for _ in range(20):
        np.empty(2**23).fill(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print(faults() - first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is set")
def test_large_blocks_are_used_again() -> None:
    def run(how: str) -> int:
        command = [sys.executable, "-c", PROGRAM, how]
        return int(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout)

    assert run("keep") < 0.1 * run("leave")


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from train.allocator import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
