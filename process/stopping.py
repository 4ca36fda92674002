"""Being stopped: Ctrl-C and SIGTERM end a script in order, soon, and leave no thread or process behind."""

import _thread
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

PATIENCE = 3.0  # seconds that a stopped script waits for its threads, and for its processes before it kills them


class Stopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM has reached the main thread."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__()
        self.number = number


def stop_status(stop: KeyboardInterrupt) -> int:
    """What a shell shows of programs that this signal has ended: 130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + getattr(stop, "number", signal.SIGINT)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise Stopped in the main thread, once: what tidies up is not stopped again.

    Forked processes leave Ctrl-C, which a terminal sends to all of them, to their parent. What is raised while an
    object is deleted is dropped by Python; then the signal is sent again. An error that comes in the middle of the
    stop, as torch raises one when its workers have got the signal too, does not hide it.
    """
    process, numbers, received = os.getpid(), [signal.SIGINT, signal.SIGTERM], []
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # only there signals can be handled
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # as nohup asks

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() == process:
            for each in numbers:
                signal.signal(each, signal.SIG_IGN)
            received.append(number)
            raise Stopped(number)
        if number == signal.SIGTERM:
            os._exit(128 + number)

    def dropped(what) -> None:
        if not isinstance(what.exc_value, Stopped):
            if not received:  # else of an object that the stop has left half made, which is deleted now
                hook(what)
            return
        for each in numbers:
            signal.signal(each, stop)
        threading.Timer(0.01, send, [what.exc_value.number]).start()

    def send(number: int) -> None:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident, number)
        else:  # Windows
            _thread.interrupt_main(number)

    handlers = {number: signal.signal(number, stop) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield
    except Exception as error:
        if received:
            raise Stopped(received[0]) from error
        raise
    finally:
        if not isinstance(sys.exc_info()[1], Stopped):  # else signals stay ignored: the script is about to end
            sys.unraisablehook = hook
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def hidden_from_ctrl_c() -> Iterator[None]:
    """Processes that are started in here never see Ctrl-C, not even while they import; here it only waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle() -> None:
    """Wait for the threads of a script that was stopped; its processes are killed if they do not end by themselves.

    Python waits for its threads when it exits, but not for one that was only being started when the signal came. It
    would end that thread later, wherever it is; in torch's C++ code that aborts the whole program.
    """
    children, deadline = multiprocessing.active_children(), time.monotonic() + PATIENCE
    if children:
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch reports that its workers are gone
        timer = threading.Timer(PATIENCE, kill, [children])  # not at once: who reads songs may be holding a lock
        timer.daemon = True
        timer.start()
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread != threading.main_thread()]
    while any(thread in threading.enumerate() for thread in others) and time.monotonic() < deadline:
        time.sleep(0.01)


def kill(processes: list[multiprocessing.Process]) -> None:
    for process in processes:
        process.kill()
