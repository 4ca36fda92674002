"""How this process gets its memory from the system, where the C library is one that can be told: glibc."""

import ctypes
import sys

# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
STEP = 256 << 20  # bytes asked for at once


def keep_memory() -> None:
    """Let this process keep the memory that it frees.

    glibc gives a large array back to the system as soon as it is freed, and the system clears the next one page by
    page. Training frees and takes the same few hundred MB in every batch. Separation, which is to stay small, does not
    call this.
    """
    _mallopt(MMAP_MAX, 0)  # arrays come from the heap
    _mallopt(TRIM_THRESHOLD, -1)  # whose end stays
    _mallopt(TOP_PAD, STEP)


def share_memory() -> None:
    """Let all threads take memory from one place.

    Steps of separation hand arrays from thread to thread; with a place for each, as is usual, every one would keep what
    it once needed.
    """
    _mallopt(ARENA_MAX, 1)


def _mallopt(parameter: int, value: int) -> None:
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(parameter, value)
