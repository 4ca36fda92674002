"""Training keeps the memory that it frees."""

import platform
import subprocess
import sys

import pytest

ROUNDS, SIZE = 20, 50_000_000  # bytes
PAGE = 4096
WORK = f"""
import resource, sys
import numpy as np
from process.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
    keep_memory()  # again changes nothing
np.ones({SIZE}, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    np.ones({SIZE}, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    """Pages that the system has to clear while the same array is made and freed again and again."""
    done = subprocess.run([sys.executable, "-c", WORK, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_what_was_freed_is_used_again():
    assert faults("keep") < SIZE / PAGE / 100


def test_another_c_library_is_left_alone(monkeypatch):
    from process import memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: None)  # which has no mallopt
    memory.keep_memory()
    memory.share_memory()
