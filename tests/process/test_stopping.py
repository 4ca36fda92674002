"""Stopped anywhere: SIGKILL, Ctrl-C, SIGTERM, lost processes. `benchmarks/faults/stopping.py` does it at random."""

import errno
import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children
from typing import Any

import pytest
import torch
from helpers import AUDIO_OPTIONS, QUICK, ROOT, SCRIPTS, Forked, alive, children, hidden, seconds_to_end, wait_for

import evaluate
import train_feedforward
from process import stopping
from process.errors import UserError, command, whole_file
from scoring import scores


def start(main: Callable[[list[str]], int], *argv) -> subprocess.Popen:
    """A script in a process group of its own, as a terminal starts it."""
    pipes: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
    }
    # Of more --workers than cores, torch warns.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:This DataLoader will create"}
    arguments = [sys.executable, str(ROOT / f"{main.__module__}.py"), *map(str, argv)]
    return subprocess.Popen(arguments, env=environment, **pipes)


# ---------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(("name", "workers"), [("feedforward", "2"), ("RNN", "0")])
def test_killed_between_last_and_best_and_resumed_equals_uninterrupted(dataset, tmp_path, name, workers):
    script, more = SCRIPTS[name]
    options = [str(dataset), *QUICK, *AUDIO_OPTIONS, *more, "--dropout", "0.2", "--workers", workers, "--epochs", "2"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert script.main([*options, "--output", str(straight)]) == 0
    process = Forked(script.main, *options, "--output", killed)
    wait_for((killed / f"savedModel_{name}_last.pt").exists)
    process.kill()
    process.communicate()
    for part in (f"savedModel_{name}_best.99999.0a1b.part.pt", "bank.99999.0a1b.part.i16"):
        (killed / f".{part}").write_bytes(b"half")  # as if killed while writing it
    assert script.main([*options, "--output", str(killed), "--resume"]) == 0
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in straight.iterdir())
    for path in straight.glob("*.pt"):
        one, other = (torch.load(folder / path.name, weights_only=True) for folder in (straight, killed))
        assert one["epoch"] == other["epoch"]
        assert all(torch.equal(one["weights"][key], other["weights"][key]) for key in one["weights"])
    curves = [(folder / f"savedModel_{name}_loss.csv").read_text().splitlines() for folder in (straight, killed)]
    one, other = ([line.rsplit(",", 1)[0] for line in lines] for lines in curves)  # all but the seconds
    assert one == other


def test_resuming_writes_what_follows_from_the_last_checkpoint(dataset, tmp_path):
    """A run killed right after its last checkpoint had its name."""
    options = [str(dataset), "--output", str(tmp_path), *QUICK, *AUDIO_OPTIONS]
    assert train_feedforward.main(options) == 0
    last = tmp_path / "savedModel_feedforward_last.pt"
    files = sorted(path.name for path in tmp_path.iterdir())
    for path in tmp_path.iterdir():
        if path != last:
            path.unlink()
    assert train_feedforward.main([*options, "--resume"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    best = torch.load(tmp_path / "savedModel_feedforward_best.pt", weights_only=True)
    assert best["epoch"] == 2 and "optimizer" not in best
    assert len((tmp_path / "savedModel_feedforward_loss.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize(("begin", "number", "status"), [(start, signal.SIGINT, 130), (Forked, signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_end_a_training_soon_and_in_order(dataset, tmp_path, begin, number, status):
    options = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path), "--epochs", "9999"]
    process = begin(train_feedforward.main, *options, "--workers", "2", "--patience", "9999")
    wait_for((tmp_path / "savedModel_feedforward_last.pt").exists)
    readers = children(process.pid)
    assert len(readers) >= 2
    os.killpg(process.pid, number)
    assert seconds_to_end(process) < 5
    _, said = process.communicate()
    assert (process.returncode, said.strip()) == (status, "interrupted")
    assert not hidden(tmp_path) and not any(map(alive, readers))
    done = torch.load(tmp_path / "savedModel_feedforward_last.pt", weights_only=True)["epoch"]
    assert train_feedforward.main([*options[:-1], str(done + 1), "--resume"]) == 0
    assert torch.load(tmp_path / "savedModel_feedforward_last.pt", weights_only=True)["epoch"] == done + 1


def test_a_lost_reader_is_told(dataset, tmp_path):
    options = [*QUICK, *AUDIO_OPTIONS, "--output", tmp_path, "--workers", "2"]
    process = Forked(train_feedforward.main, dataset, *options, "--epochs", "9999", "--patience", "9999")
    wait_for((tmp_path / "savedModel_feedforward_last.pt").exists)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "a process that reads songs was killed, or ran out of memory" in said.splitlines()[-1]
    assert "Traceback" not in said and not hidden(tmp_path)


# ---------------------------------------------------------------------------------------------- evaluation


@pytest.fixture
def evaluation(request, dataset, trained, tmp_path):
    """evaluate.py with two processes, as soon as both are there."""
    begin = getattr(request, "param", Forked)
    checkpoints = [f"{name}={trained / f'savedModel_{name}_best.pt'}" for name in ("feedforward", "RNN")]
    options = ["--output", tmp_path / "out", "--workers", "2", "--checkpoint", *checkpoints]
    process = begin(evaluate.main, dataset, *options)
    wait_for(lambda: len(children(process.pid)) == 2)
    yield process
    process.kill()
    process.wait()


def test_a_lost_judge_is_told(evaluation, tmp_path):
    os.kill(children(evaluation.pid)[0], signal.SIGKILL)
    _, said = evaluation.communicate(timeout=60)
    assert evaluation.returncode == 1 and "Traceback" not in said
    assert "error: a process that scores songs was killed, or ran out of memory" in said.splitlines()[-1]
    assert not (tmp_path / "out").exists()


class Song:
    samples = 1


class LostWhileStarting(ProcessPoolExecutor):
    """One of its processes is lost while another is just being started, of which the pool does not know yet."""

    def submit(self, *_):
        self._mp_context.Process(target=time.sleep, args=(60,)).start()
        raise BrokenProcessPool


def test_a_judge_that_was_just_being_started_is_not_left(monkeypatch):
    monkeypatch.setattr(scores, "ProcessPoolExecutor", LostWhileStarting)
    with pytest.raises(UserError, match="killed, or ran out of memory"):
        scores.judge_songs([Song()], [], 2)
    wait_for(lambda: not active_children(), 5)


@pytest.mark.parametrize("evaluation", [start], indirect=True)
def test_ctrl_c_ends_an_evaluation_soon_and_in_order(evaluation, tmp_path):
    judges = children(evaluation.pid)
    os.killpg(evaluation.pid, signal.SIGINT)  # while the judges are still importing
    assert seconds_to_end(evaluation) < 5
    _, said = evaluation.communicate()
    assert evaluation.returncode == 130 and said.splitlines()[-1] == "interrupted" and "Traceback" not in said
    assert not (tmp_path / "out").exists() and not any(map(alive, judges))


def test_judges_end_with_a_killed_evaluation(evaluation):
    judges = children(evaluation.pid)
    evaluation.kill()
    wait_for(lambda: not any(map(alive, judges)), 20)


# ---------------------------------------------------------------------------------------------- any script


@pytest.fixture
def signals():
    """Handlers as they were before a script that was stopped left them ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    hook = sys.unraisablehook
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_that_python_drops_comes_again(signals):
    class Thing:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)  # what is raised in here is dropped

    @command
    def main():
        Thing()
        time.sleep(10)

    started = time.monotonic()
    assert main() == 143
    assert time.monotonic() - started < 5


class Gone(io.StringIO):
    """Standard error of a terminal that is closed."""

    def write(self, _):
        raise OSError(errno.EIO, "Input/output error")


def test_closing_the_terminal_leaves_nothing_half_written(tmp_path):
    @command
    def main(_):
        with whole_file(tmp_path / "x.wav") as temporary:
            temporary.touch()
            os.kill(os.getpid(), signal.SIGHUP)

    def closed(argv: list[str]) -> int:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        sys.stderr = Gone()
        return main(argv)

    process = Forked(closed)
    _, said = process.communicate()
    assert (process.returncode, said) == (128 + signal.SIGHUP, "") and not hidden(tmp_path)


def test_what_tidies_up_is_not_stopped_again(signals):
    tidied = []

    @command
    def main():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            tidied.append(True)

    assert main() == 130 and tidied


def test_an_error_in_the_middle_of_a_stop_does_not_hide_it(signals):
    @command
    def main():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise UserError("a process that reads songs was killed")  # as it does if it got the signal, too

    assert main() == 143


@pytest.mark.parametrize("stopped", [True, False])
def test_objects_that_a_stop_has_left_half_made_say_nothing(signals, monkeypatch, capsys, stopped):
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # not pytest's

    class Thing:
        def __init__(self):
            if stopped:
                signal.raise_signal(signal.SIGINT)
            self.whole = True

        def __del__(self):
            assert self.whole and stopped

    @command
    def main():
        Thing()

    assert main() == (130 if stopped else 0)
    gc.collect()
    said = capsys.readouterr().err
    assert said == "interrupted\n" if stopped else "AssertionError" in said


def test_handlers_are_given_back(signals):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    inside = []

    @command
    def main():
        inside.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM))

    assert main() == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before != inside
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup asks
    assert main() == 0 and inside[2] == signal.SIG_IGN


def test_a_thread_that_was_just_being_started_does_not_abort_the_exit():
    """On a busy machine a thread begins late; one that begins while Python exits is ended there, inside torch."""
    code = """
import atexit, signal, sys, threading, time, torch
from concurrent.futures import ThreadPoolExecutor
from process.errors import command
torch.set_num_threads(1)
begin = threading.Thread._bootstrap
threading.Thread._bootstrap = lambda thread: (time.sleep(0.5), begin(thread))
atexit.register(time.sleep, 0.7)  # a slow exit, too
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
def work():
    ended = time.monotonic() + 1.5
    while time.monotonic() < ended:
        torch.stft(torch.zeros(9999), 512, window=torch.ones(512), return_complex=True)
@command
def main():
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (130, "interrupted")


def test_threads_are_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE", 0.2)
    never = threading.Thread(target=print)
    with threading._active_limbo_lock:
        threading._limbo[never] = never  # what is left of a thread that was interrupted before it was one
    try:
        started = time.monotonic()
        stopping.settle()
        assert time.monotonic() - started < 2
    finally:
        del threading._limbo[never]
