"""How fast a network trains on a GPU, and how long the GPU waits meanwhile: for benchmarks/speed/training.py."""

import copy
import itertools
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from training.loop import run_epoch
from training.mixes import Mixes

LEARNING_RATE = 1e-3
WARM = 5  # batches before a measurement
TIMES = 10  # as many batches as on the CPU
WORK = ("kernel", "gpu_memcpy", "gpu_memset")  # the kinds of a trace's events in which a GPU computes or copies


class Some:
    """A loader of this many batches from the beginning of an epoch on, or of the first one again and again."""

    def __init__(self, loader, epoch: int, count: int, again: bool = False):
        self.loader, self.epoch, self.count, self.again = loader, epoch, count, again
        self.whole_songs, self.frames = loader.whole_songs, 0

    def __iter__(self) -> Iterator[dict]:
        if isinstance(self.loader, Mixes):
            self.loader.options.steps = self.count  # so that threads draw no more than these
        batches = itertools.chain.from_iterable(map(self._epoch, itertools.count(self.epoch)))
        for batch in (
            itertools.repeat(next(batches), self.count) if self.again else itertools.islice(batches, self.count)
        ):
            self.frames += int(batch["lengths"].sum())
            yield batch

    def _epoch(self, number: int) -> Iterable[dict]:
        self.loader.begin(number)
        return self.loader


def optimizer_of(network: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2, fused=True)


def drain(loader: Iterable[dict]) -> None:
    for _ in loader:
        pass


def speed_on(made: dict, kind: str, epoch: int, batches: int) -> dict[str, float | None]:
    """One measurement on the device it was made for: some batches, from the songs to the updated weights."""
    device = made["device"]
    network: Any = copy.deepcopy(made["network"]).to(device)
    optimizer = optimizer_of(network)

    def learn(some: Any) -> None:
        run_epoch(network, some, device, "", optimizer, bfloat16=kind == "bfloat16")  # reads the losses at its end

    def per_second(some: Some, work: Callable[[Any], object]) -> float:
        started = time.perf_counter()
        work(some)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return some.frames / (time.perf_counter() - started)

    learn(Some(made["train"], epoch, WARM))
    measured: dict[str, float | None] = {
        "frames per second": per_second(Some(made["train"], epoch, batches), learn),
        "if batches cost nothing, frames per second": per_second(
            Some(made["train"], epoch, batches, again=True), learn
        ),
        "batches alone, frames per second": per_second(Some(made["train"], epoch, batches), drain),
        "share of time the GPU waits": None,
    }
    if device.type == "cuda":
        few = Some(made["train"], epoch, max(1, batches // TIMES))
        working = working_seconds(lambda: learn(few))
        speed = measured["frames per second"]
        measured["share of time the GPU waits"] = speed and 1 - working / (few.frames / speed)
    return measured


def working_seconds(work: Callable[[], object]) -> float:
    """How long CUDA computes or copies during some work."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        profiler.export_chrome_trace(f"{folder}/trace.json")
        return working(json.loads(Path(folder, "trace.json").read_text())["traceEvents"])


def working(events: Iterable[dict]) -> float:
    """Seconds in which at least one of a trace's events is a GPU's work; the trace has microseconds."""
    total, end = 0.0, -math.inf
    for first, seconds in sorted((event["ts"], event["dur"]) for event in events if event.get("cat") in WORK):
        total += max(0.0, first + seconds - max(first, end))
        end = max(end, first + seconds)
    return total / 1e6
