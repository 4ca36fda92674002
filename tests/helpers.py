"""What tests of several rooms share: tiny songs, a quick training, sound as bytes, and looking after processes."""

import functools
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import soundfile

import train_feedforward
import train_RNN
from process.errors import whole_file
from sound.streams import RawFormat, read_stream
from util import wavwrite

ROOT = Path(__file__).resolve().parent.parent
RATE = 8000
AUDIO_OPTIONS = ["--sample-rate", str(RATE), "--block", "256", "--hop", "128"]
QUICK = ["--epochs", "2", "--excerpt", "0.5", "--batch-size", "4", "--threads", "1", "--device", "cpu"]
QUICK += ["--remix", "0", "--speed", "1", "1", "--equalizer", "0"]
SPLITS = {"Train": ("amber", "basil", "coral"), "Valid": ("dune",), "Test": ("ember", "fern")}
SCRIPTS = {"feedforward": (train_feedforward, []), "RNN": (train_RNN, ["--init", "scratch"])}
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

# ---------------------------------------------------------------------------------------------- songs


def make_song(name: str, seconds: float, rate: int = RATE) -> tuple[np.ndarray, np.ndarray]:
    """(mixture, vocals): a gliding harmonic voice with rests over noise and a chord, different for every name."""
    rng = np.random.default_rng(list(name.encode()))
    time = np.arange(round(seconds * rate)) / rate
    phase = np.cumsum(rng.uniform(180, 320) * 2 ** (0.3 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * time))) / rate
    voice = sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 6)) * (np.sin(2 * np.pi * 1.5 * time) > -0.5)
    chord = sum(np.sin(2 * np.pi * note * time) for note in rng.uniform(100, 900, 3))
    mixture = 0.1 * voice + 0.05 * chord + 0.02 * rng.standard_normal(len(time))
    return mixture.astype(np.float32), (0.1 * voice).astype(np.float32)


def write_song(root: Path, split: str, name: str, seconds: float = 2.0, rate: int = RATE) -> None:
    mixture, vocals = make_song(name, seconds, rate)
    for part, file, waveform in (("Mixtures", "mixture.wav", mixture), ("Sources", "vocals.wav", vocals)):
        folder = root / part / split / name
        folder.mkdir(parents=True)
        wavwrite(folder / file, waveform, rate, "FLOAT")


def write_dataset(root: Path) -> Path:
    for split, names in SPLITS.items():
        for index, name in enumerate(names):
            write_song(root, split, name, seconds=2.0 + 0.3 * index)
    return root


def write_stems(folder: Path, name: str, *stems: str, seconds: float = 0.5, rate: int = RATE) -> dict[str, np.ndarray]:
    """Write stereo stems of a song, or its mixture, into a folder. Returns them, mixed down."""
    folder.mkdir(parents=True, exist_ok=True)
    mixture, vocals = make_song(name, seconds, rate)
    rest = mixture - vocals
    parts = {"mixture": mixture, "vocals": vocals, "drums": 0.5 * rest, "bass": 0.3 * rest, "other": 0.2 * rest}
    for stem in stems:
        wavwrite(folder / f"{stem}.wav", np.stack([1.5 * parts[stem], 0.5 * parts[stem]]), rate, "FLOAT")
    return parts


def write_stem_file(path: Path, name: str, seconds: float = 2.0, rate: int = 44100) -> None:
    """Make a .stem.mp4 like MUSDB18's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.with_suffix(".parts")
    stems = ("mixture", "drums", "bass", "other", "vocals")
    write_stems(folder, name, *stems, seconds=seconds, rate=rate)
    inputs = [word for stem in stems for word in ("-i", str(folder / f"{stem}.wav"))]
    maps = [word for track in range(5) for word in ("-map", str(track))]
    command = ["ffmpeg", "-v", "error", *inputs, *maps, "-c:a", "aac", "-aac_pns", "0", "-b:a", "256k", str(path)]
    subprocess.run(command, check=True)
    shutil.rmtree(folder)


def wav_bytes(waveform: np.ndarray, subtype: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform.T, rate, subtype, format="WAV")
    return file.getvalue()


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time, as pipes do."""

    def __init__(self, data: bytes, size: int):
        super().__init__(data)
        self.size = size

    def read1(self, size=-1):
        return super().read1(min(size, self.size))


def read_piped(data: bytes, raw: RawFormat | None = None, size: int = 1000):
    sound = read_stream(Trickle(data, size), "standard input", raw)
    return sound, np.concatenate(list(sound.blocks), axis=1)


def write_no_picture(path: Path, *_) -> None:
    """In place of drawing one."""
    with whole_file(path) as temporary:
        temporary.write_bytes(bytes(1 << 16))


# ---------------------------------------------------------------------------------------------- commands and processes


def interrupted(function: Callable, call: int) -> Callable:
    """The function, but for Ctrl-C at the call of this number, counted from 1."""
    calls = []

    def run(*arguments, **rest):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **rest)

    return run


def fails(capsys, main, *argv) -> str:
    """Run a command that must fail; returns its one line."""
    capsys.readouterr()
    assert main([str(argument) for argument in argv]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0] == lines[-1] and not any("Traceback" in line for line in lines)
    return errors[0]


def forked(work: Callable[[], int], stdout: IO | None = None, stderr: IO | None = None) -> int:
    """Run work() in a process group of its own, which exits with what it returns.

    Everything is imported already, so it begins at once. Returns the process's number.
    """
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.setsid()
        for number, file in enumerate((stdout, stderr), 1):
            os.dup2(file.fileno() if file else os.open(os.devnull, os.O_WRONLY), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


class Forked:
    """A script's main in a forked process, to be looked after like a subprocess.Popen: where it does not matter how
    Python starts and exits, which takes seconds."""

    def __init__(self, main: Callable[[list[str]], int], *argv, **environment: str):
        def work() -> int:
            os.environ.update(environment)
            return main([str(argument) for argument in argv])

        self.outputs = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        self.pid = forked(work, *self.outputs)
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 300) -> list[str]:
        """What it has written to standard output and standard error, when it has ended."""
        ended = functools.partial(os.waitid, os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if self.returncode is None:
            wait_for(ended, timeout)
        self.wait()
        for file in self.outputs:
            file.seek(0)
        return [file.read() for file in self.outputs]


def wait_for(condition, seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def seconds_to_end(process: subprocess.Popen | Forked) -> float:
    """Wait for a process. Returns how long it still ran or waited, without the time when a busy machine had no
    processor for it."""

    def without_processor() -> float:
        return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9

    started, before = time.monotonic(), without_processor()
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        assert time.monotonic() < started + 300
        time.sleep(0.005)
    return time.monotonic() - started - (without_processor() - before)


def command_line(process: int) -> bytes:
    """Empty if it has just ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def children(process: int) -> list[int]:
    """Processes that it started, but for multiprocessing's own."""
    numbers = map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    lines = {number: command_line(number) for number in numbers}
    return [number for number, line in lines.items() if line and b"resource_tracker" not in line]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*")]
