"""Measure how fast both networks train, loader included, against the speed of the matrix product on the same machine.

    python benchmarks/speed/training.py prepared --output results/training_speed.json
    python benchmarks/speed/training.py prepared --threads 1 --rounds 0 --learn 4
    python benchmarks/speed/training.py prepared --threads 2 --learn 0 --device cuda -- --mix prepared=1

The dataset, here `prepared`, comes from prepare_dataset.py; loader and network are those of `train_*.py DATASET`, which
gets the options after --. Training takes about 6 operations per weight and frame (a multiplication and an addition
forwards, twice as many backwards), so the fastest product of large matrices limits the frames per second. All numbers
of threads, each with 32 and 16 bits, take turns on the machine. On a busy one, read the processor time.

For comparison, the simplest way: whole songs loaded, one frame at a time. Last, the effect of 16 bits on the loss: both
networks learn from the same batches with 32 and with 16 bits and are validated. A processor that cannot multiply 16-bit
numbers multiplies them in 32 bits.

With --device, that device takes turns with the CPU, each with its own loader. Of a GPU, the share of time in which it
neither computes nor copies is measured, and what it would do if batches cost nothing, or nothing but batches.
"""

import argparse
import copy
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import training.threads  # noqa: F401  (before torch)

# isort: split
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import train_feedforward
import train_RNN
from benchmarks.speed.on_device import LEARNING_RATE, TIMES, Some, optimizer_of, speed_on
from process.commandline import parser_from, typed
from process.errors import command, whole_file
from scoring.report import code_version
from sound.resampling import resample
from training import command as training_command
from training.loop import learning_rate, run_epoch
from training.loss import kl_divergence
from util import stft

SCRIPTS = {"feedforward": (train_feedforward, []), "RNN": (train_RNN, ["--init", "scratch"])}
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SIZE = 2048  # rows and columns of the matrices
NAIVE_FRAMES = 200
SEEDS = 2  # number of trainings whose losses are compared


def as_the_command_makes_it(name: str, arguments: list[str], device: str = "cpu") -> dict:
    """What train_<name>.py would train on a device, and its loaders."""
    made: dict[str, Any] = {}

    def keep(network, audio, train_loader, valid_loader, device, options, *_):
        made.update(
            network=network, audio=audio, train=train_loader, valid=valid_loader, options=options, device=device
        )

    train, training_command.train = training_command.train, keep
    script, more = SCRIPTS[name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            if script.main([*arguments, *more, "--device", device, "--output", folder]):
                sys.exit(1)
    finally:
        training_command.train = train
    return made


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time in seconds."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def product_speed(dtype: torch.dtype) -> tuple[float, float]:
    """The operations per second of wall and of processor time that the product of large matrices reaches."""
    one, other = (torch.randn(SIZE, SIZE).to(dtype) for _ in range(2))
    fastest = [min(seconds) for seconds in zip(*(timed(lambda: one @ other) for _ in range(6)), strict=True)]
    return 2 * SIZE**3 / fastest[0], 2 * SIZE**3 / fastest[1]


def learning_speed(made: dict, kind: str, epoch: int, batches: int) -> dict[str, float]:
    """One measurement on the CPU: some batches, from the songs to the updated weights."""
    network: Any = made["network"]
    some: Any = Some(made["train"], epoch, batches)
    operations = 6 * sum(parameter.numel() for parameter in network.parameters())  # per frame
    before = {name: product_speed(dtype) for name, dtype in TYPES.items()}
    clock, processor = timed(
        lambda: run_epoch(network, some, torch.device("cpu"), "", optimizer_of(network), bfloat16=kind == "bfloat16")
    )
    after = {name: product_speed(dtype) for name, dtype in TYPES.items()}
    measured = {"frames per second": some.frames / clock, "frames per processor second": some.frames / processor}
    for name in TYPES:
        limits = [max(pair) / operations for pair in zip(before[name], after[name], strict=True)]
        measured[f"{name} limit, frames per second"] = limits[0]
        measured[f"share of the {name} limit"] = some.frames / clock / limits[0]
        measured[f"share of the {name} limit, processor time"] = some.frames / processor / limits[1]
    return measured


def naive_speed(made: dict) -> dict[str, float]:
    """Load two whole songs, then take a step per frame: the frame forwards, its loss, backwards, Adam."""
    network, audio = copy.deepcopy(made["network"]), made["audio"]
    frames: list[torch.Tensor] = []

    def load() -> None:
        for song in made["valid"].dataset.songs[:2]:
            sound = torch.from_numpy(resample(song.read(), song.rate, audio.sample_rate))
            frames.extend(stft(sound, audio).abs().transpose(0, 1))

    loading = timed(load)[1] / len(frames)  # processor seconds per frame
    optimizer = torch.optim.Adam(network.parameters())
    few = frames[:NAIVE_FRAMES]

    def learn() -> None:
        state = None
        for mixture, vocals in few:
            mask, state = network(mixture[None, None], state)
            state = None if state is None else tuple(part.detach() for part in state)
            loss = kl_divergence(vocals, mask[0, 0] * mixture)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    clock, processor = timed(learn)
    each = processor / len(few) + loading
    return {"frames per second": len(few) / clock, "frames per processor second": 1 / each}


def multiplies_16_bits() -> bool:
    """Whether 16-bit products are faster than 32-bit ones, as on processors that have them."""
    return product_speed(torch.bfloat16)[1] > product_speed(torch.float32)[1]


class Products16(TorchDispatchMode):
    """Products of 16-bit matrices, computed like on processors that have them: summed in 32 bits, the sum rounded.

    A product of two 8-bit significands has 16 bits, which fit into 32-bit numbers: only the order of the sums differs.
    """

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        short = [torch.is_tensor(value) and value.dtype == torch.bfloat16 for value in args]
        if not any(short) or operation.overloadpacket.__name__ not in ("mm", "addmm"):
            return operation(*args, **kwargs or {})
        args = [value.float() if is_short else value for value, is_short in zip(args, short, strict=True)]
        return operation(*args, **kwargs or {}).bfloat16()


def losses(made: dict, epochs: int) -> dict[str, Any]:
    """Validation losses after the same epochs with 32 and 16 bits, for several seeds, and the ratio of their means.

    The learning rate falls to 0 as in a whole training; before that, other differences between runs outweigh the bits.
    """
    found: dict[str, list[float]] = {kind: [] for kind in TYPES}
    products: AbstractContextManager = nullcontext() if multiplies_16_bits() else Products16()
    for seed, kind in itertools.product(range(SEEDS), TYPES):
        network, device = copy.deepcopy(made["network"]), torch.device("cpu")
        optimizer, made["train"].dataset.seed = optimizer_of(network), seed
        for epoch in range(1, epochs + 1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(LEARNING_RATE, epoch, epochs)
            made["train"].batch_sampler.epoch = epoch
            with products if kind == "bfloat16" else nullcontext():
                run_epoch(network, made["train"], device, "", optimizer, bfloat16=kind == "bfloat16")
        found[kind].append(run_epoch(network, made["valid"], device, ""))
    made_in = "32 bits" if isinstance(products, Products16) else "16 bits"
    quotient = sum(found["bfloat16"]) / sum(found["float32"])
    return {**found, "bfloat16 to float32": quotient, "16-bit numbers multiplied in": made_in}


def measure(name: str, options: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    """All figures of a network. rest: options of its training script."""
    made = as_the_command_makes_it(name, [options.dataset, *rest])
    fresh, numbers = copy.deepcopy(made["network"]), options.threads or [1, 2]
    variants = {f"{count} threads, {kind}": (count, kind) for count in numbers for kind in TYPES}
    measured: dict[str, list[dict]] = {variant: [] for variant in variants if options.rounds}
    there = as_the_command_makes_it(name, [options.dataset, *rest], options.device) if options.device else made
    for number in range(options.rounds):
        for variant, (count, kind) in variants.items():
            torch.set_num_threads(count)
            measured[variant].append(learning_speed(made, kind, number + 1, options.batches))
        for kind in TYPES if options.device else ():
            own = speed_on(there, kind, number + 1, TIMES * options.batches)
            measured.setdefault(f"{options.device}, {kind}", []).append(own)
    report: dict[str, Any] = {
        "weights": sum(parameter.numel() for parameter in fresh.parameters()),
        "audio": str(made["audio"]),
        "options": " ".join(rest),
    }
    for variant, rounds in measured.items():
        report[variant] = {key: median([each[key] for each in rounds]) for key in rounds[0]}
        print(
            f"{name}, {variant}: " + ", ".join(f"{key} {value}" for key, value in report[variant].items()), flush=True
        )
    if options.device and options.rounds:
        slow = report[f"{max(numbers)} threads, float32"]["frames per second"]
        for kind in TYPES:
            ratio = report[f"{options.device}, {kind}"]["frames per second"] / slow
            report[f"{options.device}, {kind}, to {max(numbers)} threads, float32"] = round(ratio, 2)
    elif options.rounds:
        torch.set_num_threads(1)
        report["one frame at a time, 1 thread"] = slow = naive_speed(made)
        print(f"{name}, one frame at a time: {slow['frames per second']:.0f} frames/s", flush=True)
    if options.learn:
        made["network"] = fresh
        torch.set_num_threads(max(numbers))
        report[f"validation loss after {options.learn} epochs"] = found = losses(made, options.learn)
        print(f"{name}, validation loss: {found}", flush=True)
    return report


def median(values: list[float | None]) -> float | None:
    """None if there are none."""
    found = [value for value in values if value is not None]
    return round(statistics.median(found), 4) if found else None


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add = parser.add_argument
    add("dataset", help="dataset to train on")
    threads = "measure the speed with these numbers of threads (default: 1 2)"
    add("--threads", type=int, nargs="+", action="extend", metavar="N", help=threads)
    add("--batches", type=int, metavar="N", default=30, help="batches per measurement (default: %(default)s)")
    repeats = "report the median of N measurements; 0 measures no speed (default: %(default)s)"
    add("--rounds", type=int, metavar="N", default=3, help=repeats)
    learn = "train for this many epochs to compare losses; 0 compares none (default: %(default)s)"
    add("--learn", type=int, default=10, metavar="EPOCHS", help=learn)
    add("--network", choices=SCRIPTS, action="append", help="measure this network (default: both)")
    add("--device", help=f"measure the speed on this device, too, with {TIMES} times as many batches")
    add("--output", type=Path, metavar="FILE", help="write the figures into this JSON file")
    options, rest = parser.parse_known_args(argv)
    rest = [word for word in rest if word != "--"]
    report: dict[str, Any] = {
        "command": typed("benchmarks/speed/training.py", argv),
        "commit": code_version(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "operations per frame": "6 per weight",
    }
    if options.device and torch.device(options.device).type == "cuda":
        report["GPU"] = torch.cuda.get_device_name(options.device)
    for name in options.network or SCRIPTS:
        report[name] = measure(name, options, rest)
        if options.output:  # so far: whatever stops the next network
            with whole_file(options.output) as temporary:
                temporary.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
