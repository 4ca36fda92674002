"""Measure how fast both networks train, loader included, against the speed of the matrix product on the same machine.

    python benchmarks/speed/training.py prepared --output results/training_speed.json
    python benchmarks/speed/training.py prepared --threads 1 --rounds 0 --learn 4

The dataset, here `prepared`, comes from prepare_dataset.py; loader and network are those of `train_*.py DATASET`, which
gets the options after --. Training takes about 6 operations per weight and frame (a multiplication and an addition
forwards, twice as many backwards), so the fastest product of large matrices limits the frames per second. All numbers
of threads, each with 32 and 16 bits, take turns on the machine. On a busy one, read the processor time.

For comparison, the simplest way: whole songs loaded, one frame at a time. Last, the effect of 16 bits on the loss: both
networks learn from the same batches with 32 and with 16 bits and are validated. A processor that cannot multiply 16-bit
numbers multiplies them in 32 bits.
"""

import copy
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
from process.commandline import parser_from
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
LEARNING_RATE = 1e-3
SEEDS = 2  # number of trainings whose losses are compared


class Some:
    """A loader of the first batches of an epoch."""

    def __init__(self, loader, epoch: int, count: int):
        self.loader, self.dataset, self.epoch, self.count, self.frames = loader, loader.dataset, epoch, count, 0

    def __iter__(self) -> Iterator[dict]:
        self.loader.batch_sampler.epoch = self.epoch
        for batch in itertools.islice(self.loader, self.count):
            self.frames += int(batch["lengths"].sum())
            yield batch


def as_the_command_makes_it(name: str, arguments: list[str]) -> dict:
    """What train_<name>.py would train, and its loaders."""
    made: dict[str, Any] = {}

    def keep(network, audio, train_loader, valid_loader, device, options, *_):
        made.update(network=network, audio=audio, train=train_loader, valid=valid_loader, options=options)

    train, training_command.train = training_command.train, keep
    script, more = SCRIPTS[name]
    try:
        with tempfile.TemporaryDirectory() as folder:
            if script.main([*arguments, *more, "--device", "cpu", "--output", folder]):
                sys.exit(1)
    finally:
        training_command.train = train
    return made


def optimizer_of(network: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2, fused=True)


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
    """One measurement: some batches, from the songs to the updated weights."""
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


def naive_speed(made: dict, songs: int = 2) -> dict[str, float]:
    """Load whole songs, then take a step per frame: the frame forwards, its loss, backwards, Adam."""
    network, audio = copy.deepcopy(made["network"]), made["audio"]
    frames: list[torch.Tensor] = []

    def load() -> None:
        for song in made["valid"].dataset.songs[:songs]:
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
    add("--output", type=Path, metavar="FILE", help="write the figures into this JSON file")
    options, rest = parser.parse_known_args(argv)
    rest = [word for word in rest if word != "--"]
    numbers = options.threads or [1, 2]
    report: dict[str, Any] = {
        "command": " ".join(["benchmarks/speed/training.py", *(sys.argv[1:] if argv is None else argv)]),
        "commit": code_version(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "operations per frame": "6 per weight",
    }
    for name in SCRIPTS:
        made = as_the_command_makes_it(name, [options.dataset, *rest])
        fresh = copy.deepcopy(made["network"])
        variants = {f"{count} threads, {kind}": (count, kind) for count in numbers for kind in TYPES}
        measured: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants if options.rounds}
        for number in range(options.rounds):
            for variant, (count, kind) in variants.items():
                torch.set_num_threads(count)
                measured[variant].append(learning_speed(made, kind, number + 1, options.batches))
        own: dict[str, Any] = {
            "weights": sum(parameter.numel() for parameter in fresh.parameters()),
            "audio": str(made["audio"]),
        }
        for variant, rounds in measured.items():
            own[variant] = {key: round(statistics.median(each[key] for each in rounds), 4) for key in rounds[0]}
            share = (
                own[variant]["share of the float32 limit"],
                own[variant]["share of the float32 limit, processor time"],
            )
            speed = own[variant]["frames per second"]
            print(f"{name}, {variant}: {speed:.0f} frames/s, {share[0]:.0%} of the float32 limit", flush=True)
            print(f"    by processor time: {share[1]:.0%}", flush=True)
        if options.rounds:
            torch.set_num_threads(1)
            own["one frame at a time, 1 thread"] = naive_speed(made)
            print(
                f"{name}, one frame at a time: {own['one frame at a time, 1 thread']['frames per second']:.0f} frames/s"
            )
        if options.learn:
            made["network"] = fresh
            torch.set_num_threads(max(numbers))
            own[f"validation loss after {options.learn} epochs"] = found = losses(made, options.learn)
            print(f"{name}, validation loss: {found}", flush=True)
        report[name] = own
    if options.output:
        with whole_file(options.output) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
