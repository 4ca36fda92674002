"""How this process gets its memory from the system."""

import ctypes
import platform

# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
STEP = 256 << 20  # bytes asked for at once


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where the C library is glibc; elsewhere, do nothing.

    glibc gives a large array back to the system as soon as it is freed, and the system clears the next one page by
    page. Training frees and takes the same few hundred MB in every batch. Separation, which is to stay small, does not
    call this.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL("libc.so.6").mallopt
    mallopt(MMAP_MAX, 0)  # arrays come from the heap
    mallopt(TRIM_THRESHOLD, -1)  # whose end stays
    mallopt(TOP_PAD, STEP)
