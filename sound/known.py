"""Files that are looked through: their bytes in memory, and what was found, remembered until a file changes."""

import contextlib
import functools
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

WINDOW = 1 << 24  # bytes looked at before their memory is given back
Found = TypeVar("Found")


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def forget(data: mmap.mmap) -> None:
    """Give back the memory of what was looked at: otherwise, a long file would take as much memory as it has bytes."""
    if hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED)


def remembered(find: Callable[..., Found]) -> Callable[..., Found]:
    """What `find` says of a file, given its path first: training reads thousands of excerpts of a file."""

    @functools.lru_cache(maxsize=1 << 16)
    def known(path: Path, size: int, time: int, *options) -> Found:
        return find(path, *options)

    @functools.wraps(find)
    def ask(path: Path, *options) -> Found:
        status = path.stat()
        return known(path, status.st_size, status.st_mtime_ns, *options)

    return ask
