"""Try a GPU: does it separate, evaluate and train as the CPU does, does it repeat itself, and how fast is it?

    python benchmarks/speed/gpu.py songs --output results/gpu.json
    python benchmarks/speed/gpu.py songs --output gpu.json --device cpu --seconds 5 --batches 1 --only separation

The dataset, here `songs`, comes from make_demo_dataset.py: what is measured does not depend on the music. What has been
found is written after each step; a step that fails, or for which --limit leaves no time, says so in its place, and the
exit status is 1. benchmarks/speed/gpu.sh does it all.
"""

import argparse
import csv
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import training.threads  # noqa: F401  (before torch)

# isort: split
import numpy as np
import soundfile
import torch

import train_feedforward
import train_RNN
from benchmarks.speed.separation import CHANNELS, RATE, write_song
from process.commandline import parser_from, typed
from process.devices import choose_device
from process.errors import UserError, command, whole_file
from scoring.report import code_version
from training import loop
from util import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
LEAST = 20.0  # seconds without which no step begins
BANDS = "--encoder bands --bands 30 --sample-rate 32000 --block 4096 --hop 1024"  # as the networks in pretrained/
SHORT = "--steps 10 --excerpt 2 --batch-size 8"  # a training that only has to repeat itself
VARIED = "--target projection --remix 0.5 --gain -3 12 --speed 0.76 1.32 --transpose 4 --effects 0.35 --equalizer 2"
MIXED = f"--mix {{dataset}}=1 {VARIED} --weighting 1 {BANDS}"  # as recipe/pretrained.sh trains
TRAININGS = {  # network, times the batches, options of its script
    "RNN, as recipe/pretrained.sh": ("RNN", 4, f"{MIXED} --hidden-size 96 --layers 2 --excerpt 5 --batch-size 8"),
    "RNN, 8 times the batch": ("RNN", 1, f"{MIXED} --hidden-size 96 --layers 2 --excerpt 5 --batch-size 64"),
    "feedforward, as recipe/pretrained.sh": ("feedforward", 4, f"{MIXED} --excerpt 1 --batch-size 48"),
    "RNN, the course's": ("RNN", 4, ""),
    "feedforward, the course's": ("feedforward", 4, ""),
}
SEPARATIONS = {
    "feedforward": ("feedforward", []),
    "RNN": ("RNN", []),
    "RNN --bidirectional": ("RNN", ["--bidirectional"]),
}


def script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / f"{name}.py"), *map(str, arguments)]


# ---------------------------------------------------------------------------------------------- separation, evaluation


def measure_separation(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Whole processes: seconds, and how far the voice is from the CPU's, of full scale; through a pipe, too."""
    song = folder / "song.wav"
    write_song(song, options.seconds)
    found: dict[str, Any] = {"song": f"{options.seconds} s, {CHANNELS} channels, {RATE} Hz, synthesised"}
    for name, (network, more) in SEPARATIONS.items():
        voices, found[name] = [], {}
        for device in ("cpu", options.device):
            voice, started = folder / f"{device.partition(':')[0]}.wav", time.perf_counter()
            given = [song, voice, "--quiet", "--overwrite", "--float", "--device", device, *more]
            subprocess.run(script(f"separate_{network}", *given), check=True)
            found[name][f"seconds, {device}"] = round(time.perf_counter() - started, 2)
            voices.append(soundfile.read(voice, dtype="float32")[0])
        found[name] |= compared(*voices)
        if name == "RNN":
            found["RNN, through a pipe"] = compared(voices[0], piped(options, song))
    return found


def piped(options: argparse.Namespace, song: Path) -> np.ndarray:
    """The voice (samples, channels) of a song that goes through a pipe to the device and back."""
    sound = soundfile.read(song, dtype="float32")[0]
    given = ["-", "-", "--quiet", "--raw", RATE, CHANNELS, "f32le", "--device", options.device]
    done = subprocess.run(script("separate_RNN", *given), input=sound.tobytes(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32).reshape(-1, CHANNELS)


def compared(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    return {"largest difference": float(np.abs(one - other).max()), "peak": float(np.abs(one).max())}


def measure_evaluation(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """evaluate.py with the networks of pretrained/: seconds, and the largest difference of an SDR from the CPU's."""
    tables, found = [], {}
    for device in ("cpu", options.device):
        started = time.perf_counter()
        given = [options.dataset, "--device", device, "--workers", 2, "--output", folder / device.partition(":")[0]]
        subprocess.run(script("evaluate", *given), check=True, stdout=subprocess.DEVNULL)
        found[f"seconds, {device}"] = round(time.perf_counter() - started, 2)
        with (folder / device.partition(":")[0] / "evaluation.csv").open(newline="") as file:
            tables.append([row for row in csv.DictReader(file) if row["system"] in ("feedforward", "RNN")])
    differences = [
        abs(float(one["SDR v3 sources"]) - float(other["SDR v3 sources"])) for one, other in zip(*tables, strict=True)
    ]
    return {**found, "scores": len(differences), "largest difference, dB": max(differences)}


# ---------------------------------------------------------------------------------------------- training


def measure_repetition(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Trainings of two epochs: the same again, and one that is stopped in its second epoch and resumed."""
    common = [options.dataset, "--epochs", "2", "--dropout", "0.1", "--device", options.device, *BANDS.split()]
    mixed = ["--mix", f"{options.dataset}=1", *SHORT.split()]
    trainings = {
        "feedforward, excerpts by processes": (train_feedforward, [*common, "--effects", "0.5"]),
        "RNN, --mix": (train_RNN, [*common, *mixed, "--init", "scratch"]),
    }
    found: dict[str, Any] = {}
    for name, (train_script, given) in trainings.items():
        runs = {}
        for run in ("first", "again", "resumed"):
            output = folder / name.partition(",")[0] / run
            argv = [*given, "--output", str(output)]
            if run == "resumed":
                stop_in_second_epoch(train_script.main, argv)
                argv.append("--resume")
            ended(train_script.main(argv), 0)
            runs[run] = load_checkpoint(next(output.glob("*_last.pt")))
        for run in ("again", "resumed"):
            pairs = [(runs["first"]["weights_of_last_step"][key], value) for key, value in weights(runs[run])]
            found[f"{name}, {run}"] = {
                "same weights": all(torch.equal(*pair) for pair in pairs),
                "largest difference of a weight": max(float((one - other).abs().max()) for one, other in pairs),
                "validation losses": [runs[which]["history"][-1]["valid_loss"] for which in ("first", run)],
            }
    return found


def weights(checkpoint: dict) -> list[tuple[str, torch.Tensor]]:
    return list(checkpoint["weights_of_last_step"].items())


def stop_in_second_epoch(main: Callable[[list[str]], int], argv: list[str]) -> None:
    run_epoch, calls = loop.run_epoch, iter(range(99))

    def stopped(*arguments, **more):
        if next(calls) == 2:  # each epoch trains, then validates
            raise KeyboardInterrupt
        return run_epoch(*arguments, **more)

    loop.run_epoch = stopped
    try:
        ended(main(argv), 130)
    finally:
        loop.run_epoch = run_epoch


def ended(status: int, expected: int) -> None:
    """Of a training in this process, which has told already how it ended."""
    if status in (130, 143) and status != expected:  # Ctrl-C or SIGTERM, and not by stop_in_second_epoch
        raise KeyboardInterrupt
    if status != expected:
        raise UserError(f"expected a training that ends with status {expected}, found {status}")


def measure_training(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """benchmarks/speed/training.py beside two CPU cores."""
    network, times, more = TRAININGS[name]
    output = folder / "training.json"
    given = [options.dataset, "--network", network, "--threads", 2, "--learn", 0, "--rounds", options.rounds]
    given += ["--batches", times * options.batches, "--device", options.device, "--output", output, "--"]
    given += [word.format(dataset=options.dataset) for word in more.split()]
    subprocess.run(script("benchmarks/speed/training", *given), check=True)
    return json.loads(output.read_text())[network]


# ---------------------------------------------------------------------------------------------- all of it

OF_TRAINING = {f"training: {name}": functools.partial(measure_training, name) for name in TRAININGS}
FIRST = next(iter(OF_TRAINING))
STEPS: dict[str, Callable[[argparse.Namespace, Path], dict[str, Any]]] = {  # the most wanted first
    "repetition": measure_repetition,
    FIRST: OF_TRAINING[FIRST],
    "separation": measure_separation,
    "evaluation": measure_evaluation,
    **OF_TRAINING,
}


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add = parser.add_argument
    add("dataset", help="dataset to train on and to evaluate")
    add("--output", type=Path, required=True, metavar="FILE", help="write the figures into this JSON file")
    add("--device", default="cuda", help="try this device (default: %(default)s)")
    add("--seconds", type=int, default=240, help="length of the song to separate (default: %(default)s)")
    batches = (
        "number of batches of a training on the CPU, a tenth of those on the device (default: %(default)s or more)"
    )
    add("--batches", type=int, default=2, metavar="N", help=batches)
    add("--rounds", type=int, default=1, metavar="N", help="report the median of N measurements (default: %(default)s)")
    add("--limit", type=float, default=330, metavar="SECONDS", help="begin no step after this (default: %(default)s)")
    only = f"take these steps alone: {'; '.join(STEPS)}"
    add("--only", nargs="+", action="extend", default=[], choices=STEPS, metavar="STEP", help=only)
    options = parser.parse_args(argv)
    device, started = choose_device(options.device), time.monotonic()
    report: dict[str, Any] = {
        "command": typed("benchmarks/speed/gpu.py", argv),
        "commit": code_version(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "cores": os.cpu_count(),
        "versions": {"torch": torch.__version__, "CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()},
    }
    failed = []
    for name in options.only or STEPS:
        begun = time.monotonic()
        try:
            if begun - started > options.limit - LEAST:
                raise UserError(f"left out: {options.limit:.0f} s were over")
            with tempfile.TemporaryDirectory() as folder:
                report[name] = STEPS[name](options, Path(folder))
        except (UserError, subprocess.CalledProcessError, RuntimeError) as error:
            report[name] = {"failed": str(error)}
            failed.append(name)
        report[name]["seconds of this step"] = round(time.monotonic() - begun, 1)
        print(f"{name}: {json.dumps(report[name], indent=2)}", flush=True)
        with whole_file(options.output) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")
    if failed:
        raise UserError(f"{options.output}: not measured: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
