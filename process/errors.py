"""How every script fails: one line for the user, an exit status, and no half-written file."""

import contextlib
import functools
import io
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from process.stopping import settle, stop_status, stoppable

LONG_NAME = 200  # bytes; file systems allow 255


class UserError(Exception):
    """A problem that the user can fix, told in one line: the file, what was expected, what was found."""


def printable(text: str) -> str:
    """The text on one line: line breaks, control characters and undecodable bytes of file names are escaped."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}


def safe_name(name: str) -> str:
    """A song's name made safe as one part of a path: '..' and the names of Windows' devices get a leading '_'."""
    unsafe = name in ("", ".", "..") or name.split(".")[0].rstrip().lower() in WINDOWS_DEVICES
    return f"_{name}" if unsafe else name


def command(main: Callable[..., None]) -> Callable[..., int]:
    """Give `main` an exit status: 0, 1 after an error that the user can fix (one line on stderr), 130 after Ctrl-C, 143
    after SIGTERM, 129 after SIGHUP."""

    @functools.wraps(main)
    def run(*arguments, **options) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
        try:
            with stoppable():
                main(*arguments, **options)
                sys.stdout.flush()
        except BrokenPipeError:  # the reader of the output is gone: end as quietly as other programs
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes
            return 141  # what a shell shows for programs that SIGPIPE ends
        except OSError as error:
            print(f"error: {printable(in_words(error))}", file=sys.stderr)
            return 1
        except (MemoryError, RuntimeError) as error:
            if not (lack := lack_of_memory(error)):
                raise
            print(f"error: {lack}", file=sys.stderr)
            return 1
        except UserError as error:
            # One raised in a data loader's process arrives with that process's traceback in front.
            text = str(error)
            if "Traceback" in text:
                text = text.rpartition("errors.UserError: ")[2].rstrip()
            print(f"error: {printable(text)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as stop:
            with contextlib.suppress(OSError):  # a terminal that is closed
                print("interrupted\n", end="", file=sys.stderr)  # in one write: several ranks may print it at once
            settle()
            return stop_status(stop)
        return 0

    return run


def lack_of_memory(error: Exception) -> str:
    """What to tell of an error of numpy, or of torch on the CPU, if memory was lacking; '' if it was another one."""
    text = str(error)
    if not isinstance(error, MemoryError) and "DefaultCPUAllocator: " not in text:
        return ""
    detail = re.split("MemoryError: |allocate memory: ", text)[-1].partition("\n")[0]  # perhaps behind a traceback
    return f"not enough memory: {detail}".rstrip(": ")


def in_words(error: Exception) -> str:
    """An error as the user is told it: that of the operating system with its place, any other as it is."""
    if not isinstance(error, OSError):
        return str(error)
    place = error.filename or ("standard output" if _stdout_is_lost() else "file system")
    return f"{place}: {error.strerror or error}"


def _stdout_is_lost() -> bool:
    """Whether what was printed cannot be written. If so, Python does not try again, and complain, when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return True
    return False


@contextlib.contextmanager
def whole_file(path: str | Path, waiting: dict[Path, Path] | None = None) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename that file to `path` if the block succeeds, else remove it.

    A file under its final name is therefore always whole, whatever stops the program. waiting: of `named_together`.
    """
    final = Path(os.path.realpath(path))  # a link stays a link, and its target is written
    if final.is_symlink() or (final.exists() and not final.is_file()):  # else a file would take its place
        found = "a link to itself" if final.is_symlink() else "a folder" if final.is_dir() else "a device or a pipe"
        raise UserError(f"{path}: cannot be written: expected a file, found {found}")
    stem = final.stem
    if len(os.fsencode(final.name)) > LONG_NAME:  # no longer than the final name, and still different for each
        stem = f"{stem[: LONG_NAME // 8]}.{zlib.crc32(os.fsencode(final.name)):08x}"
    number = f"{os.getpid()}.{os.urandom(4).hex()}"  # the first is not unique where containers share a folder
    temporary = final.with_name(f".{stem}.{number}.part{final.suffix}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if waiting is None:
            temporary.replace(final)
        else:
            waiting[temporary] = final
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary not in (waiting or ()):
            with contextlib.suppress(OSError):  # the folder may not even exist
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def named_together() -> Iterator[dict[Path, Path]]:
    """Yield what to give `whole_file`: files that are whole (temporary -> final name) but wait for all others of this
    block. They are renamed if it succeeds, else removed, so that none is new beside one of an earlier run."""
    waiting: dict[Path, Path] = {}
    try:
        yield waiting
        for temporary, final in waiting.items():
            try:
                temporary.replace(final)
            except OSError as error:
                raise UserError(f"{final}: cannot be written: {error.strerror or error}") from error
    finally:
        for temporary in waiting:
            with contextlib.suppress(OSError):  # the error that is under way says more
                temporary.unlink(missing_ok=True)


def make_folder(path: str | Path) -> Path:
    """Make a folder for results if there is none. Raises UserError now, not after the work, if it is not writable."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"{path}: expected a folder to write into: {error.strerror}") from error
    return path
