"""One program at a time writes into a folder."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from process.errors import UserError, make_folder

WAIT = 1.0  # seconds for the lock: one forked at the moment its parent was killed has not let go of it yet
LOCK = ".in_use"  # the locked file; it names its holder after the first byte, which Windows lets nobody else read


@contextlib.contextmanager
def only_writer(folder: str | Path) -> Iterator[Path]:
    """Hold `folder`, made if need be, for this program. Raises UserError, naming the holder, if another one has it.

    The operating system drops the lock however the program ends, so a killed one blocks nobody, even if processes that
    it forked live on: filelock does not let them inherit the lock. A new folder that stays empty is removed.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    path = make_folder(folder) / LOCK
    lock = FileLock(path, timeout=WAIT, fallback_to_soft=False)  # soft locks outlive a program that is killed
    try:
        lock.acquire(poll_interval=0.05)
    except Timeout as error:
        raise UserError(f"{folder}: expected a folder to write into, found it in use by {_holder(path)}") from error
    except OSError as error:
        raise UserError(f"{folder}: expected a folder to write into: {error.strerror}") from error
    try:
        _sign(path)
        yield folder
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file; there, `release` does
            path.unlink()
        lock.release()
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _sign(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb+", buffering=0) as file:  # a full disk still has room for the lock
        file.seek(1)
        file.write(f"{Path(sys.argv[0]).name}, process {os.getpid()} on {platform.node()}\n".encode(errors="replace"))


def _holder(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(1)
            return file.readline().decode(errors="replace").strip() or "another program"
    except OSError:  # gone by now
        return "another program"


def visible(folder: Path) -> set[str]:
    """What a folder holds, but for hidden files: a lock, what a killed program left half written, macOS's .DS_Store."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
