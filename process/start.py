"""What every script does before it imports anything that takes long: `import process.start` comes first."""

import atexit
import contextlib
import gc
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("recipe", "report", "benchmarks")  # rooms that have some, beside those at the door
STREAMS = {"stdin": "standard input", "stdout": "standard output", "stderr": "standard error"}
NEW_OBJECTS = 20_000  # after which Python looks for garbage, instead of after 700 to 2000; more are not faster
CLOSED: set[str] = set()  # those that were closed when the script started, which lead nowhere now


def open_closed_streams() -> None:
    """Open standard input, output and error where they are closed: they lead nowhere.

    Otherwise Python has no sys.stdout, and the next file that is opened takes its number and receives what is printed.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in enumerate(STREAMS):
        if getattr(sys, name) is None:
            CLOSED.add(STREAMS[name])
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def is_script(path: str | None) -> bool:
    """Whether this is a script of the project: not a test, not a Python in its folder, not another program."""
    place = Path(path).resolve().parent if path else None
    return place == ROOT or any(ROOT / room in (place, *(place.parents if place else ())) for room in SCRIPTS)


def end_quietly(number: int, _: FrameType | None) -> NoReturn:
    """Ctrl-C during an import, which an exception might leave half done."""
    with contextlib.suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(128 + number)


def tell_missing_package(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Where a package of requirements.txt is missing, mostly because the environment is not active, say so in one line.
    All other exceptions are shown as ever."""
    needed = re.findall(r"^\w+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if isinstance(error, ModuleNotFoundError) and error.name in needed:
        remedy = "activate the environment it is in, or run pip install -r requirements.txt"
        print(f"error: {error.name} is not installed for {sys.executable}: {remedy}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def collect_less() -> None:
    """Torch makes some 200,000 objects when it is imported, and no garbage. Python would look for garbage among them
    again and again, and once more when it ends: together, a quarter of what importing torch takes."""
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)


open_closed_streams()
started = getattr(sys.modules["__main__"], "__file__", None)
if is_script(started):
    sys.excepthook = tell_missing_package
    collect_less()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not under nohup
        signal.signal(signal.SIGINT, end_quietly)
