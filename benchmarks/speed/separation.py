"""Measure time and memory of separation beside those of `import torch`, and the speed of sound through a pipe.

    python benchmarks/speed/separation.py --output results/separation
    python benchmarks/speed/separation.py --rounds 1 --hours 0.1

Writes benchmark.md. The song is synthesised, as its content does not affect time and memory. Times include the start of
each process. The commands take turns, so that other work on the machine slows all of them alike; processor time (user
and system, all threads) hardly depends on it.
"""

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

from process.commandline import parser_from  # noqa: E402
from scoring.report import code_version  # noqa: E402
from sound.writing import create_sound  # noqa: E402

RATE, CHANNELS = 44100, 2
SECONDS = 240  # length of the song
BETTER = (["--bidirectional"], ["--tta", "3"])  # options that take more time
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
"""  # runs a script, then prints its peak memory in kB


def script(name: str) -> str:
    return str(ROOT / f"separate_{name}.py")


def write_song(path: Path, seconds: int) -> None:
    """Write a gliding tone with partials over noise, second by second."""
    rng = np.random.default_rng(0)
    with create_sound(path, RATE, CHANNELS, "PCM_16", samples=seconds * RATE) as file:
        for second in range(seconds):
            moment = second + np.arange(RATE) / RATE
            phase = 2 * np.pi * (220 * moment + 20 * np.sin(moment))
            tone = sum(np.sin(k * phase) / k for k in range(1, 6))
            file.write((0.1 * tone + 0.02 * rng.standard_normal((CHANNELS, RATE))).astype(np.float32))


def timed(command: list[str], **options) -> tuple[float, float]:
    """Run a command. Returns its wall time and its processor time in seconds."""
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
    for more in BETTER:
        commands[f"`separate_RNN.py {' '.join(more)}`, voice"] = [*commands["`separate_RNN.py`, voice"], *more]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
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
    """Raw PCM through a pipe on one core. The time of 0.1 s of sound, which is start-up, is subtracted."""
    raw = ["--raw", str(RATE), str(CHANNELS), "s16le"]
    command = [sys.executable, script("RNN"), "--quiet", "-", "-", *raw]
    speeds = []
    for _ in range(rounds):
        spent = []
        for seconds in (0.1, 60):
            samples = np.random.default_rng(0).integers(-9999, 9999, int(seconds * RATE) * CHANNELS, "i2")
            (folder / "raw").write_bytes(samples.tobytes())
            with (folder / "raw").open("rb") as sound:
                cat = subprocess.Popen(["cat"], stdin=sound, stdout=subprocess.PIPE)
                assert cat.stdout
                one_core = {"preexec_fn": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})}
                spent.append(timed(command, stdin=cat.stdout, stdout=subprocess.DEVNULL, **one_core))
                cat.stdout.close()
                cat.wait()
        speeds.append([60 / (long - short) for short, long in zip(*spent, strict=True)])
    wall, processor = (statistics.median(column) for column in zip(*speeds, strict=True))
    return [
        f"`separate_RNN.py - -`, raw stereo of {RATE} Hz through a pipe, one core, without start-up: "
        f"{wall:.0f} times real time by wall time, {processor:.0f} by processor time."
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
        f"Difference between the first two: {peaks[1] - peaks[0]:.1f} MB.",
    ]


def main() -> None:
    parser = parser_from(__doc__)
    output = "write benchmark.md into this folder (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("benchmark"), metavar="FOLDER", help=output)
    rounds = "run each command N times and report the median (default: %(default)s)"
    parser.add_argument("--rounds", type=int, metavar="N", default=5, help=rounds)
    parser.add_argument(
        "--hours", type=float, default=2, help="length of the long song in hours (default: %(default)s)"
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    command = " ".join(["python benchmarks/speed/separation.py", *sys.argv[1:]])
    lines = [f"Command: `{command}`; the song is synthesised.", ""]
    lines += [f"Commit {code_version()}; {machine}; {versions}; pretrained networks (16 kHz, block 2048, hop 512).", ""]
    with tempfile.TemporaryDirectory() as folder:
        title = f"Time of whole processes: a song of {SECONDS} s, stereo, 44.1 kHz; median of {options.rounds}"
        lines += [f"{title} rounds in turn (minimum to maximum)", "", *measure_speed(Path(folder), options.rounds), ""]
        lines += ["Live", "", *measure_pipe(Path(folder), min(3, options.rounds)), ""]
        lines += ["Memory, both stems, `separate_RNN.py`", "", *measure_memory(Path(folder), options.hours), ""]
    text = "\n".join(lines)
    (options.output / "benchmark.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
