"""Ctrl-C, SIGTERM and a closed terminal end a script soon and cleanly, and leave no thread or process behind."""

import _thread
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from types import FrameType

PATIENCE = 3.0  # seconds that a stopped script gives its threads to end, and its processes before it kills them


class Stopped(KeyboardInterrupt):
    """Raised in the main thread by Ctrl-C, SIGTERM or SIGHUP, which is what a closed terminal sends."""

    def __init__(self, number: int = signal.SIGINT):
        super().__init__()
        self.number = number


def stop_status(stop: KeyboardInterrupt) -> int:
    """What a shell shows for programs that this signal ends: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + getattr(stop, "number", signal.SIGINT)


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP raise Stopped in the main thread, once: cleaning up is not interrupted again.

    Forked processes leave Ctrl-C, which a terminal sends to all of them, to their parent. Python drops an exception
    that is raised while an object is deleted; the signal is then sent again. An error raised during the stop, such as
    torch's when its workers received the signal, too, does not hide the stop.
    """
    process, thread = os.getpid(), threading.get_ident()
    numbers, received = [signal.SIGINT, signal.SIGTERM], []
    if hasattr(signal, "SIGHUP"):  # not on Windows
        numbers.append(signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        numbers = []  # signals can be handled only there
    numbers = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # as under nohup

    def stop(number: int, _: FrameType | None) -> None:
        if os.getpid() == process:
            for each in numbers:
                signal.signal(each, signal.SIG_IGN)
            received.append(number)
            raise Stopped(number)
        if number != signal.SIGINT:
            os._exit(128 + number)

    def dropped(what) -> None:
        if not isinstance(what.exc_value, Stopped):
            if not received:  # else it is about an object that the stop left half made
                hook(what)
            return
        for each in numbers:
            signal.signal(each, stop)
        threading.Timer(0.01, send, [what.exc_value.number]).start()

    def send(number: int) -> None:
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(thread, number)
        else:  # Windows
            _thread.interrupt_main(signal.Signals(number))

    handlers = {number: signal.signal(number, stop) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield
    except Exception as error:
        if received:
            raise Stopped(received[0]) from error
        raise
    finally:
        if not isinstance(sys.exc_info()[1], Stopped):  # else signals stay ignored: the script is ending
            sys.unraisablehook = hook
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def hidden_from_ctrl_c() -> Iterator[None]:
    """Processes started inside never see Ctrl-C, not even while they import; here, it waits until the block ends."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def settle() -> None:
    """Wait for the threads of a stopped script, and kill its processes if they do not end by themselves.

    Python waits for its threads when it exits, but not for one that was still starting when the signal came. It would
    end that thread later, wherever it is; inside torch's C++ code, that aborts the whole program.
    """
    children, deadline = multiprocessing.active_children(), time.monotonic() + PATIENCE
    if children:
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch complains that its workers are gone
        timer = threading.Timer(PATIENCE, kill, [children])  # not at once: a reader may hold a lock
        timer.daemon = True
        timer.start()
    others = [thread for thread in threading.enumerate() if not thread.daemon and thread != threading.main_thread()]
    while any(thread in threading.enumerate() for thread in others) and time.monotonic() < deadline:
        time.sleep(0.01)


def kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()
