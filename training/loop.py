"""The training loop of all networks: epochs, learning rate, early stopping, checkpoints, curves.

It knows a network only by its contract: forward(magnitude, state=None) -> (mask, state).
"""

import argparse
import copy
import itertools
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from Data import (
    Batches,
    DSD100Dataset,
    collate_fn,
)
from process.devices import send
from songs.inspection import is_silent
from training.files import Run
from training.loss import LossCurve, Tally, kl_divergence, mean_over_frames, weighted
from training.mixes import Mixes
from training.options import kept
from training.parallel import average_gradients, hidden, leads, same_everywhere, seed_epoch, share, workers_for
from util import AudioConfig, save_checkpoint

CPU = torch.device("cpu")
CLIP_NORM = 1.0  # of the gradient over all weights; training normally stays below it
AVERAGED_STEPS = 1000  # the validated and saved weights average over at most this many steps
UNREAD = 50  # batches whose losses wait on a GPU until they are read, which it must be waited for
REDRAWN = 60.0  # seconds after which the curves are written anew within an epoch
STATISTICS_BATCHES = 20  # batches from which the input's mean and deviation are measured


# ---------------------------------------------------------------------------------------------- batches


class Loader(DataLoader):
    """Batches of a dataset's excerpts, as the loop asks for them."""

    dataset: DSD100Dataset
    batch_sampler: Batches

    @property
    def whole_songs(self) -> bool:
        return self.dataset.whole_songs

    def begin(self, epoch: int) -> None:
        """From now on, give the batches of this epoch, and of every batch this rank's share."""
        self.batch_sampler.epoch, self.batch_sampler.share = epoch, share()

    def is_silent(self) -> bool:
        """Whether nobody sings in any of its songs."""
        return all(map(is_silent, self.dataset.songs))

    def songs(self) -> set[tuple[str, float]]:
        """Names and seconds of its songs."""
        return {(song.name, song.seconds) for song in self.dataset.songs}

    def describe(self, options: argparse.Namespace) -> str:
        """What it holds, in words."""
        minutes = sum(song.seconds for song in self.dataset.songs) / 60
        data = f"{Path(options.dataset).resolve().name}: {len(self.dataset.songs)} songs, {minutes:.0f} minutes"
        for what in ("voices", "accompaniments"):
            if folder := getattr(options, what):
                data += f" with the {what} of {Path(folder).resolve().name}"
        data += f", in {'whole songs' if self.whole_songs else 'excerpts'}"
        return f"{data}, with the course's settings (--plain)" if options.plain else data


def make_loader(
    dataset: DSD100Dataset, options: argparse.Namespace, shuffle: bool, device: torch.device = CPU
) -> Loader:
    """device: of the network."""
    # Mixes draw in threads. A process forked while one of them ends may wait forever for what that thread held in MKL.
    workers = 0 if options.mix else workers_for(options, device)
    return Loader(
        dataset,
        batch_sampler=Batches(dataset, options.batch_size, shuffle),
        collate_fn=collate_fn,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # its own, so that loading does not advance the one that dropout uses
    )


# ---------------------------------------------------------------------------------------------- one epoch


def carry_state(state: tuple | None, starts: torch.Tensor) -> tuple | None:
    """The state for the next batch of whole songs: without gradient, its rows only, zero where a song starts.

    state: tensors (layers, rows, size) or None; starts: (batch,) bool, batch <= rows.
    """
    if state is None:
        return None
    goes_on = send(~starts, state[0].device)[:, None]  # (batch, 1)
    return tuple(part.detach()[:, : len(starts)] * goes_on for part in state)


def run_epoch(
    network: torch.nn.Module,
    loader: Loader | Mixes,
    device: torch.device,
    title: str,
    optimizer: torch.optim.Optimizer | None = None,
    reverse: bool = False,
    weighting: float = 0.0,
    bfloat16: bool = False,
    note: Callable[[float, int], float] | None = None,
) -> float:
    """Go through the loader once: train if there is an optimizer, else validate. Returns the mean loss per frame.

    reverse: the loss is the reverse divergence; weighting: power of the mixture's magnitude that weights it.
    bfloat16: train, but do not validate, with 16-bit matrix products.
    note: is told each batch's loss, over all ranks, and its number, from 1; returns the smoothed loss to show.
    With whole songs, the state is carried from batch to batch and detached (truncated back-propagation through time).
    Each rank goes through its share of every batch. Raises UserError at a non-finite loss.
    """
    network.train(optimizer is not None)
    tally, state = Tally(title, note), None
    started = time.perf_counter()
    progress = tqdm(loader, title, file=sys.stderr, leave=False, disable=hidden(), unit="batch")
    with torch.set_grad_enabled(optimizer is not None):
        for number, batch in enumerate(progress, 1):
            loss, count = torch.zeros((), device=device), 0
            if optimizer is not None:
                optimizer.zero_grad()
            if batch:  # a rank's share of the last batch may be empty
                mixture, vocals = send(batch["mixture"], device), send(batch["vocals"], device)  # (batch, frames, bins)
                state = carry_state(state, batch["starts"]) if loader.whole_songs else None
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 and optimizer is not None):
                    mask, state = network(mixture, state)
                mixture, vocals = weighted(mixture, vocals, batch["lengths"], weighting)
                loss = mean_over_frames(kl_divergence(vocals, mask.float() * mixture, reverse), batch["lengths"])
                count = int(batch["lengths"].sum())
            if optimizer is not None:
                if count:
                    loss.backward()
                average_gradients(network, count)
                torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
                optimizer.step()
            tally.add(loss, count, batch.get("names", []))
            if device.type == "cpu" or number % UNREAD == 0:
                tally.read()
                rate = tally.frames / (time.perf_counter() - started)
                progress.set_postfix_str(f"loss {tally.shown:.4g}, {rate:.0f} frames/s", refresh=False)
        tally.read()
    return tally.mean


def learning_rate(peak: float, epoch: int, epochs: int) -> float:
    """Half a cosine from `peak` in epoch 1 down towards 0 after the last (Loshchilov and Hutter 2017, eq. 5)."""
    return peak * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def follow(average: torch.nn.Module, network: torch.nn.Module, step: int) -> None:
    """Move average's weights towards those of network after step number `step`, counted from 1.

    An exponential moving average over a ninth of the steps so far, AVERAGED_STEPS at most (Polyak and Juditsky 1992
    average all steps). It evens out the noise of single steps, which could make a lucky epoch look like the best.
    Buffers, such as a normalisation's running statistics, are the network's.
    """
    share = max(1 / AVERAGED_STEPS, 9 / (step + 9))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), share)
        for own, new in zip(average.buffers(), network.buffers(), strict=True):
            own.copy_(new)


# ---------------------------------------------------------------------------------------------- one run


def measure_input(network: torch.nn.Module, loader: Loader | Mixes) -> None:
    """Set the statistics of the network's input compression from the first training batches."""
    compression: Any = network.compression
    frames = []
    for batch in itertools.islice(loader, STATISTICS_BATCHES):
        frames += [song[:length] for song, length in zip(batch["mixture"], batch["lengths"], strict=True)]
    compression.measure(torch.cat(frames))


def train(
    network: torch.nn.Module,
    audio: AudioConfig,
    train_loader: Loader | Mixes,
    valid_loader: Loader,
    device: torch.device,
    options: argparse.Namespace,
    run: Run,
    resumed: dict | None = None,
) -> None:
    """Train to the last epoch, or until validation has not improved for `patience` epochs. Save after every epoch.

    The weights that are validated and saved are an average over the last steps, see `follow`; with options.plain, they
    are those of the last step, and the learning rate is constant.
    resumed: the run's last checkpoint. A resumed run ends with the same weights and curves as one never stopped.
    """
    network.to(device)
    same_everywhere(network)
    average = network if options.plain else copy.deepcopy(network).to(device)  # which lays out the LSTM for cuDNN anew
    valid_loader.begin(0)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )  # fused: a third of the time, with the small batches that learn best
    history, curve, steps = [], LossCurve(), 0
    trained_on = train_loader.describe(options) + options.before  # in words, shown when the network is used
    songs = sorted({*map(tuple, options.songs_before), *train_loader.songs()})  # which evaluate.py tells apart
    if resumed is not None:
        trained_on, songs = resumed["trained_on"], resumed.get("songs", songs)
        network.load_state_dict(resumed["weights_of_last_step"])
        optimizer.load_state_dict(resumed["optimizer"])
        torch.set_rng_state(resumed["rng_state"])
        torch.cuda.set_rng_state_all(resumed["cuda_rng_states"][: torch.cuda.device_count()])
        history = resumed["history"]
        steps = max(int(state["step"]) for state in optimizer.state.values())  # frozen parameters have none
        curve = LossCurve(**resumed.get("loss_curve", {"batches": steps}))  # an earlier version kept no curve
        if leads():  # in case it was killed before it could write these
            run.write_results(resumed, curve, average, audio, valid_loader.dataset.songs[0], device)
    if average is not network:
        numbers = itertools.count(steps + 1)  # the optimizer's own count is on the GPU
        optimizer.register_step_post_hook(lambda *_: follow(average, network, next(numbers)))
    divergence: dict[str, Any] = {"reverse": options.divergence == "reverse", "weighting": options.weighting}
    batches, written = 0, time.monotonic()

    def note(loss: float, number: int) -> float:
        nonlocal written
        smoothed = curve.add(loss, len(history) + number / batches)
        if leads() and time.monotonic() - written > REDRAWN:
            run.write_curves(history, curve)
            written = time.monotonic()
        return smoothed

    while len(history) < options.epochs:
        epoch = len(history) + 1
        best = min(history, key=lambda row: row["valid_loss"], default={"epoch": 0, "valid_loss": math.inf})
        if epoch - best["epoch"] > options.patience:
            print(f"stopped early: validation loss has not improved in {options.patience} epochs")
            break
        rate = options.learning_rate
        if not options.plain:
            rate = learning_rate(rate, epoch, options.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        started = time.perf_counter()
        title = f"epoch {epoch}/{options.epochs}"
        train_loader.begin(epoch)
        batches = len(train_loader)
        seed_epoch(options.seed, epoch)
        train_loss = run_epoch(
            network, train_loader, device, title, optimizer, bfloat16=options.bfloat16, note=note, **divergence
        )
        valid_loss = run_epoch(average, valid_loader, device, f"{title}, validation", **divergence)
        seconds = round(time.perf_counter() - started, 1)
        losses = {"train_loss": train_loss, "valid_loss": valid_loss, "smoothed_loss": curve.value}
        history.append({"epoch": epoch, **losses, "learning_rate": rate, "seconds": seconds})
        better = valid_loss < best["valid_loss"]
        mark = " *" if better else ""
        print(f"{title}: training {train_loss:.5f}, validation {valid_loss:.5f}{mark}, {seconds} s", flush=True)

        facts = {
            "epoch": epoch,
            "best_valid_loss": min(valid_loss, best["valid_loss"]),
            "history": history,
            "trained_on": trained_on,
            "songs": songs,
            "plain": options.plain,
            "command": options.command,
        }
        state = {
            "weights_of_last_step": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng_state": torch.get_rng_state(),
            "cuda_rng_states": torch.cuda.get_rng_state_all(),
            "options": kept(options),
            "loss_curve": vars(curve),
        }
        if leads():
            save_checkpoint(run.last, average, audio, **facts, **state)
            run.write_results(facts, curve, average, audio, valid_loader.dataset.songs[0], device)
