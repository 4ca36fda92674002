"""One program at a time writes into a folder."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from process.errors import UserError, make_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".in_use"  # of the file that is locked, and tells by whom


@contextlib.contextmanager
def only_writer(folder: str | Path) -> Iterator[Path]:
    """Make `folder`, if need be, and hold it for this program. Raises UserError naming the one that holds it already.

    The operating system keeps the lock and drops it however the program ends: one that was killed blocks nobody. (A
    record lock, as it is not inherited by the processes that read songs, which live on for seconds.) A folder that was
    made and got nothing in it is removed.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    make_folder(folder)
    path = folder / LOCK
    try:
        file = _lock(path)
    except OSError as error:
        raise UserError(f"{folder}: expected a folder to write into: {error.strerror}") from error
    try:
        yield folder
    finally:
        path.unlink(missing_ok=True)
        file.close()
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _lock(path: Path) -> BinaryIO:
    while True:
        file = path.open("ab+", buffering=0)
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            with file:
                file.seek(0)
                holder = file.read().decode() or "another program"
            raise UserError(f"{path.parent}: expected a folder to write into, found it in use by {holder}") from error
        if os.fstat(file.fileno()).st_nlink:
            with contextlib.suppress(OSError):  # a full disk has room for the lock, if not for the name
                file.truncate(0)
                file.write(f"{Path(sys.argv[0]).name}, process {os.getpid()} on {platform.node()}".encode())
            return file
        file.close()  # whoever held it has just removed it: nobody else can see this lock
