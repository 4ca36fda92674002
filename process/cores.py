"""The cores of this machine that are this process's to use."""

import os


def cores() -> int:
    """How many there are: a cluster or `taskset` may give a process fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
