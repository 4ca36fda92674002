"""Measure separation side by side with `import torch`: time, memory, and sound through a pipe.

    python benchmarks/speed/separation.py --output results/separation

Writes benchmark.md. The song is synthesised; what is in it makes no difference to time and memory. Times are those
of whole processes with their start-up, taken in turn, so that other work on the machine slows all of them alike;
processor time (user and system, all threads) is beside them, as it hardly depends on that.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from Model_RNN import RecurrentNetwork  # noqa: E402
from scoring.report import code_version  # noqa: E402
from sound.files import create_sound  # noqa: E402
from util import load_network  # noqa: E402

RATE, CHANNELS = 44100, 2
SECONDS = 240  # the song whose separation is timed
MORE_TIME = (["--bidirectional"], ["--keys", "3"])  # for a better voice
IMPORT = [sys.executable, "-c", "import torch"]
MEMORY = """
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""  # prints the peak memory, kB, after running a script


def script(name: str) -> str:
    return str(ROOT / f"separate_{name}.py")


def write_song(path: Path, seconds: int) -> None:
    """A gliding tone with partials over noise, made and written second by second."""
    rng = np.random.default_rng(0)
    with create_sound(path, RATE, CHANNELS, "PCM_16", samples=seconds * RATE) as file:
        for second in range(seconds):
            moment = second + np.arange(RATE) / RATE
            phase = 2 * np.pi * (220 * moment + 20 * np.sin(moment))
            tone = sum(np.sin(k * phase) / k for k in range(1, 6))
            file.write((0.1 * tone + 0.02 * rng.standard_normal((CHANNELS, RATE))).astype(np.float32))


def timed(command: list[str], **options) -> tuple[float, float]:
    """Run a command. Returns its wall time and its processor time, seconds."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(command, check=True, **options)
    wall, after = time.perf_counter() - started, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def measure_speed(folder: Path, rounds: int) -> list[str]:
    song, stems = folder / "song.wav", str(folder / "stems")
    write_song(song, SECONDS)
    commands = {"`import torch` alone": IMPORT}
    for name in ("feedforward", "RNN"):
        commands[f"`separate_{name}.py`, voice"] = [sys.executable, script(name), "--quiet", str(song), "-o", stems]
    commands["`separate_RNN.py`, both stems"] = [*commands["`separate_RNN.py`, voice"], "--stems", "both"]
    for more in MORE_TIME:
        commands[f"`separate_RNN.py {' '.join(more)}`, voice"] = [*commands["`separate_RNN.py`, voice"], *more]
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(timed(command))
    lines = ["| | wall, s | times import | processor, s | times import |", "|---|---:|---:|---:|---:|"]
    base = None
    for name, pairs in times.items():
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
        base = base or medians
        walls, processors = zip(*pairs, strict=True)
        cells = f"{medians[0]:.1f} ({min(walls):.1f} to {max(walls):.1f}) | {medians[0] / base[0]:.2f}"
        cells += f" | {medians[1]:.1f} ({min(processors):.1f} to {max(processors):.1f}) | {medians[1] / base[1]:.2f}"
        lines.append(f"| {name} | {cells} |")
    return lines


def measure_pipe(folder: Path, rounds: int) -> list[str]:
    """Raw PCM through a pipe on one core, without the start-up that a tenth of a second of sound takes, too."""
    raw = ["--raw", str(RATE), str(CHANNELS), "s16le"]
    command = [sys.executable, script("RNN"), "--quiet", "-", "-", *raw]
    speeds = []
    for _ in range(rounds):
        spent = []
        for seconds in (0.1, 60):
            (folder / "raw").write_bytes(np.random.default_rng(0).integers(-9999, 9999, int(seconds * RATE) * 2, "i2"))
            with (folder / "raw").open("rb") as sound:
                cat = subprocess.Popen(["cat"], stdin=sound, stdout=subprocess.PIPE)
                one_core = {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})}
                spent.append(timed(command, stdin=cat.stdout, stdout=subprocess.DEVNULL, **one_core))
                cat.stdout.close()
                cat.wait()
        speeds.append([60 / (long - short) for short, long in zip(*spent, strict=True)])
    wall, processor = (statistics.median(column) for column in zip(*speeds, strict=True))
    return [
        f"`separate_RNN.py - -`, raw stereo of {RATE} Hz through a pipe, one core, start-up taken off: "
        f"{wall:.0f}x real time by wall time, {processor:.0f}x by processor time."
    ]


def measure_memory(folder: Path, hours: float) -> list[str]:
    lines = ["| stereo, 44.1 kHz, 16 bit | peak memory, MB |", "|---|---:|"]
    peaks = []
    lengths = {"1 minute": 60, f"{hours:g} hours": round(hours * 3600), "10 minutes, `--bidirectional`": 600}
    for name, seconds in lengths.items():
        write_song(folder / "song.wav", seconds)
        command = [sys.executable, "-c", MEMORY, script("RNN"), "--quiet", "--stems", "both"]
        command += [str(folder / "song.wav"), "-o", str(folder / "stems")]
        command += ["--bidirectional"] if "bidirectional" in name else []
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
        lines.append(f"| {name} | {peaks[-1]:.0f} |")
    code = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    alone = subprocess.run([*IMPORT[:2], f"import torch; {code}"], check=True, capture_output=True, text=True).stdout
    return [
        *lines,
        f"| `import torch` alone | {int(alone) / 1024:.0f} |",
        "",
        f"Difference of the first two: {peaks[1] - peaks[0]:.1f} MB.",
    ]


def measure_variants() -> list[str]:
    """The recurrent network alone, on a block of a song: what was tried to make it faster."""
    network, audio, _ = load_network(ROOT / "pretrained" / "savedModel_RNN_best.pt", RecurrentNetwork)
    magnitude = torch.rand(CHANNELS, 93, audio.bins)  # as many frames as a block of a 44.1 kHz file has

    def bfloat16():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return network(magnitude)[0]

    def float32():
        return network(magnitude)[0]

    variants = {"float32, 1 thread (used)": (float32, 1), "bfloat16, 1 thread": (bfloat16, 1)}
    variants[f"float32, {os.cpu_count()} threads"] = (float32, os.cpu_count())
    times = {name: [] for name in variants}
    lines = ["| | wall, ms | processor, ms | largest difference of the mask |", "|---|---:|---:|---:|"]
    with torch.inference_mode():
        expected = float32()
        for _ in range(30):
            for name, (forward, threads) in variants.items():
                torch.set_num_threads(threads)
                wall, processor = time.perf_counter(), time.process_time()
                forward()
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
        for name, (forward, _) in variants.items():
            wall, processor = (1000 * statistics.median(column) for column in zip(*times[name], strict=True))
            lines.append(f"| {name} | {wall:.1f} | {processor:.1f} | {(forward() - expected).abs().max():.1g} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure separation side by side with `import torch`.")
    parser.add_argument("--output", type=Path, default=Path("benchmark"), metavar="FOLDER", help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of each command (%(default)s)")
    parser.add_argument("--hours", type=float, default=2, help="of the long file (%(default)s)")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    command = " ".join(["python benchmarks/speed/separation.py", *sys.argv[1:]])
    lines = [f"Command: `{command}`; the song is synthesised.", ""]
    lines += [f"Commit {code_version()}; {machine}; {versions}; pretrained networks (16 kHz, block 2048, hop 512).", ""]
    with tempfile.TemporaryDirectory() as folder:
        title = f"Time of whole processes: a song of {SECONDS} s, stereo, 44.1 kHz; median of {options.rounds}"
        lines += [f"{title} rounds in turn (least to most)", "", *measure_speed(Path(folder), options.rounds), ""]
        lines += ["Live", "", *measure_pipe(Path(folder), min(3, options.rounds)), ""]
        lines += ["Memory, both stems, `separate_RNN.py`", "", *measure_memory(Path(folder), options.hours), ""]
    lines += ["The recurrent network alone, 93 frames of two channels, median of 30", "", *measure_variants()]
    text = "\n".join(lines) + "\n"
    (options.output / "benchmark.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
