"""The one training loop: epochs, learning rate, early stopping, checkpoints, curves. It knows no network by name.

A network is trained through its contract alone: forward(magnitude, state=None) -> (mask, state). `main` is what
train_feedforward.py and train_RNN.py call.
"""

import argparse
import csv
import dataclasses
import itertools
import math
import sys
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import Compose
from tqdm import tqdm

from Data import (
    Batches,
    DSD100Dataset,
    MakeMagnitudeSpectrum,
    RandomShift,
    RandomSpeed,
    Remix,
    Rescale,
    ShuffleFrameOrder,
    collate_fn,
)
from loss import SmoothedLoss, kl_divergence, mean_over_frames
from plots import plot_losses, plot_spectrograms
from songs import Song, add_dataset_arguments, find_songs
from util import (
    AudioConfig,
    UserError,
    choose_device,
    command,
    load_checkpoint,
    load_network,
    save_checkpoint,
    set_seed,
    whole_file,
)

CLIP_NORM = 1.0  # of the gradient over all weights; training normally stays below it
STATISTICS_BATCHES = 20  # from which the input's mean and deviation are measured

# ---------------------------------------------------------------------------------------------- one epoch


def carry_state(state: tuple | None, starts: torch.Tensor) -> tuple | None:
    """The state for the next batch of whole songs: no gradient, only its rows, zero where a song starts.

    state: tensors (layers, rows, size) or None; starts: (batch,) bool, batch <= rows.
    """
    if state is None:
        return None
    goes_on = (~starts).to(state[0].device)[:, None]  # (batch, 1)
    return tuple(part.detach()[:, : len(starts)] * goes_on for part in state)


def run_epoch(
    network: torch.nn.Module,
    loader: DataLoader,
    device: torch.device,
    title: str,
    optimizer: torch.optim.Optimizer | None = None,
    reverse: bool = False,
    bfloat16: bool = False,
) -> float:
    """Go through the loader once, learning if there is an optimizer, else judging. Returns the mean loss per frame.

    reverse: the other divergence as loss; bfloat16: learn with matrix products of 16 bits, judge with 32.
    For a dataset of whole songs the state is carried from batch to batch and detached (truncated back-propagation
    through time). Raises UserError at a non-finite loss.
    """
    network.train(optimizer is not None)
    total, frames, smoothed, state = 0.0, 0, SmoothedLoss(), None
    started = time.perf_counter()
    progress = tqdm(loader, title, file=sys.stderr, leave=False, disable=None, unit="batch")
    with torch.set_grad_enabled(optimizer is not None):
        for number, batch in enumerate(progress, 1):
            mixture, vocals = batch["mixture"].to(device), batch["vocals"].to(device)  # (batch, frames, bins)
            state = carry_state(state, batch["starts"]) if loader.dataset.whole_songs else None
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 and optimizer is not None):
                mask, state = network(mixture, state)
            loss = mean_over_frames(kl_divergence(vocals, mask.float() * mixture, reverse), batch["lengths"])
            value = loss.item()
            if not math.isfinite(value):
                songs = ", ".join(sorted(set(batch["names"])))
                raise UserError(f"{title}, batch {number}: expected a finite loss, found {value} (songs: {songs})")
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
                optimizer.step()
            count = int(batch["lengths"].sum())
            total, frames = total + value * count, frames + count
            rate = frames / (time.perf_counter() - started)
            progress.set_postfix_str(f"loss {smoothed.update(value):.4g}, {rate:.0f} frames/s", refresh=False)
    return total / frames


def learning_rate(peak: float, epoch: int, epochs: int) -> float:
    """Half a cosine from `peak` in epoch 1 down towards 0 after the last (Loshchilov and Hutter 2017, eq. 5)."""
    return peak * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))


# ---------------------------------------------------------------------------------------------- one run


@dataclasses.dataclass(frozen=True)
class Run:
    """Names of everything a training run writes."""

    folder: Path
    name: str

    def path(self, ending: str) -> Path:
        return self.folder / f"savedModel_{self.name}_{ending}"

    best = property(lambda self: self.path("best.pt"))
    last = property(lambda self: self.path("last.pt"))

    def write_curves(self, history: list[dict]) -> None:
        with whole_file(self.path("loss.csv")) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, history[0].keys())
            writer.writeheader()
            writer.writerows(history)
        plot_losses(self.path("loss.png"), history, f"{self.name}: {len(history)} epochs")

    def draw_song(self, network: torch.nn.Module, song: Song, audio: AudioConfig, device: torch.device) -> None:
        """Draw the first 30 seconds of a song: mixture, voice and the network's estimate."""
        sample = DSD100Dataset([song], audio, MakeMagnitudeSpectrum(), excerpt_seconds=30)[0, 0]
        network.eval()
        with torch.no_grad():
            mask, _ = network(sample["mixture"][None].to(device))
        estimate = mask[0].cpu() * sample["mixture"]
        pictures = {"mixture": sample["mixture"], "voice": sample["vocals"], "estimated voice": estimate}
        pictures = {name: magnitude.numpy() for name, magnitude in pictures.items()}
        plot_spectrograms(self.path("spectrograms.png"), pictures, audio, f"{self.name}: {song.name}")


def make_loader(dataset: DSD100Dataset, options: argparse.Namespace, shuffle: bool) -> DataLoader:
    return DataLoader(
        dataset,
        batch_sampler=Batches(dataset, options.batch_size, shuffle),
        collate_fn=collate_fn,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        generator=torch.Generator(),  # its own, so that loading draws nothing from the one that dropout uses
    )


def measure_input(network: torch.nn.Module, loader: DataLoader) -> None:
    """Set the statistics of the network's input compression from the first training batches."""
    frames = [batch["mixture"].flatten(0, 1) for batch in itertools.islice(loader, STATISTICS_BATCHES)]
    network.compression.measure(torch.cat(frames))


def train(network, audio, train_loader, valid_loader, device, options, run, resumed=None) -> None:
    """Train to the last epoch, or until validation has not improved for `patience` epochs, saving after every epoch.

    resumed: the run's last checkpoint, to go on from there with the same result as if it had not been stopped.
    """
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    history = []
    if resumed is not None:
        optimizer.load_state_dict(resumed["optimizer"])
        torch.set_rng_state(resumed["rng_state"])
        history = resumed["history"]
    reverse = options.divergence == "reverse"

    while len(history) < options.epochs:
        epoch = len(history) + 1
        best = min(history, key=lambda row: row["valid_loss"], default={"epoch": 0, "valid_loss": math.inf})
        if epoch - best["epoch"] > options.patience:
            print(f"stopped early: no better validation loss in {options.patience} epochs")
            break
        rate = learning_rate(options.learning_rate, epoch, options.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        started = time.perf_counter()
        title = f"epoch {epoch}/{options.epochs}"
        train_loader.batch_sampler.epoch = epoch
        train_loss = run_epoch(network, train_loader, device, title, optimizer, reverse, options.bfloat16)
        valid_loss = run_epoch(network, valid_loader, device, f"{title}, validation", reverse=reverse)
        seconds = round(time.perf_counter() - started, 1)
        losses = {"train_loss": train_loss, "valid_loss": valid_loss}
        history.append({"epoch": epoch, **losses, "learning_rate": rate, "seconds": seconds})
        better = valid_loss < best["valid_loss"]
        mark = " *" if better else ""
        print(f"{title}: training {train_loss:.5f}, validation {valid_loss:.5f}{mark}, {seconds} s", flush=True)

        facts = {
            "epoch": epoch,
            "best_valid_loss": min(valid_loss, best["valid_loss"]),
            "history": history,
            "trained_on": describe_data(options, train_loader.dataset),
            "command": options.command,
        }
        if better:  # before the last checkpoint: a run killed between the two repeats the epoch and writes both again
            save_checkpoint(run.best, network, audio, **facts)
            run.draw_song(network, valid_loader.dataset.songs[0], audio, device)
        state = {"optimizer": optimizer.state_dict(), "rng_state": torch.get_rng_state()}
        save_checkpoint(run.last, network, audio, **facts, **state, options=lasting(options))
        run.write_curves(history)


def describe_data(options: argparse.Namespace, dataset: DSD100Dataset) -> str:
    """What a network was trained on, in words: kept in its checkpoint, shown when it is used."""
    minutes = sum(song.samples / song.rate for song in dataset.songs) / 60
    return f"{Path(options.dataset).resolve().name}: {len(dataset.songs)} songs, {minutes:.0f} minutes"


# ---------------------------------------------------------------------------------------------- command line

MAY_CHANGE = ("output", "epochs", "patience", "device", "workers", "threads", "resume", "overwrite", "command")


def lasting(options: argparse.Namespace) -> dict:
    """The options that shape the weights: a resumed run must be given the same."""
    return {name: value for name, value in vars(options).items() if name not in MAY_CHANGE}


def parse_options(argv: list[str] | None, network_class: type, starts_from: type | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Train the {network_class.name} network.")
    add_dataset_arguments(parser)
    add = parser.add_argument
    add("--output", metavar="FOLDER", default=".", help="where checkpoints and curves go (default: current folder)")
    add("--resume", action="store_true", help="go on with the run in the output folder")
    add("--overwrite", action="store_true", help="replace the run in the output folder")
    add = parser.add_argument_group("data").add_argument
    for field in dataclasses.fields(AudioConfig):
        if field.name != "window":
            name = "--" + field.name.replace("_", "-")
            default = f"default: {field.default}" + (", or as in the --init checkpoint" if starts_from else "")
            add(name, type=int, metavar="HZ" if field.name == "sample_rate" else "SAMPLES", help=f"({default})")
    add("--excerpt", type=float, metavar="SECONDS", default=4.0, help="length of a training excerpt (%(default)s)")
    add(
        "--sequences",
        choices=("excerpts", "songs"),
        default="excerpts",
        help="excerpts in random order, or whole songs excerpt by excerpt with the state carried over (%(default)s)",
    )
    add(
        "--remix",
        type=float,
        metavar="P",
        default=0.5,
        help="probability of another song's accompaniment (%(default)s)",
    )
    add("--speed", type=float, nargs=2, default=None)
    add("--workers", type=int, default=0, help="processes that read and transform songs (%(default)s)")
    add = parser.add_argument_group("learning").add_argument
    if starts_from is not None:
        best = Run(Path(), starts_from.name).best
        add("--init", metavar="CHECKPOINT", help=f"to start from, or 'scratch' (default: {best} in the output folder)")
    add("--epochs", type=int, default=60, help="the learning rate falls to 0 over these (%(default)s)")
    add("--patience", type=int, default=20, help="stop after so many epochs without a better one (%(default)s)")
    add("--batch-size", type=int, default=16, help="excerpts, or songs side by side (%(default)s)")
    add("--learning-rate", type=float, default=1e-3, help="of the first epoch (%(default)s)")
    add("--weight-decay", type=float, default=1e-2, help="of AdamW (%(default)s)")
    add("--dropout", type=float, default=0.0, help="share of hidden units left out (%(default)s)")
    add(
        "--divergence",
        choices=("forward", "reverse"),
        default="forward",
        help="D(voice || estimate), or D(estimate || voice) (%(default)s)",
    )
    add("--bfloat16", action="store_true", help="learn with 16-bit matrix products: faster where the CPU has them")
    add("--seed", type=int, default=0, help="of weights, order and transforms (%(default)s)")
    add("--device", default="auto", help="cpu, cuda, mps or auto (%(default)s)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of the network on the CPU (%(default)s)")
    options = parser.parse_args(argv)
    if options.resume and options.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    for name in ("epochs", "patience", "batch_size", "threads", "excerpt", "learning_rate"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name.replace('_', '-')} must be positive, found {getattr(options, name)}")
    options.command = " ".join([f"train_{network_class.name}.py", *(sys.argv[1:] if argv is None else argv)])
    return options


def resumed_checkpoint(run: Run, options: argparse.Namespace) -> dict | None:
    """The checkpoint to go on from, None for a new run. Raises UserError where one run would harm another."""
    if not options.resume:
        existing = next((path for path in (run.last, run.best) if path.exists()), None)
        if existing and not options.overwrite:
            raise UserError(f"{existing}: a run is already there; expected --resume, --overwrite or another --output")
        return None
    checkpoint = load_checkpoint(run.last, run.name)
    for name, value in lasting(options).items():
        if checkpoint["options"].get(name) != value:
            found = checkpoint["options"].get(name)
            raise UserError(f"{run.last}: the run was started with {name} = {found}, cannot go on with {value}")
    return checkpoint


def make_network(
    network_class: type, starts_from: type | None, options: argparse.Namespace, folder: Path
) -> tuple[torch.nn.Module, AudioConfig]:
    """A new network, on its own or from the weights of a `starts_from`."""
    given = {name: getattr(options, name) for name in ("sample_rate", "block", "hop") if getattr(options, name)}
    if starts_from is None or options.init == "scratch":
        audio = AudioConfig(**given)
        return network_class(network_class.Config(bins=audio.bins, dropout=options.dropout)), audio
    path = Path(options.init) if options.init else Run(folder, starts_from.name).best
    if not path.exists():
        raise UserError(
            f"{path}: expected the checkpoint to start from, found none; run train_{starts_from.name}.py first, "
            "or give another one or 'scratch' with --init"
        )
    first, audio, _ = load_network(path, starts_from)
    for name, value in given.items():
        if getattr(audio, name) != value:
            raise UserError(f"{path}: expected {name} {value}, found {getattr(audio, name)}")
    config = dataclasses.asdict(first.config) | {"dropout": options.dropout}
    network = network_class(network_class.Config(**config))
    network.start_from(first)
    return network, audio


@command
def main(
    network_class: type, argv: list[str] | None = None, starts_from: type | None = None, shuffle_frames: bool = False
) -> None:
    """Train a network from the command line. starts_from: class whose checkpoint it takes its first weights from."""
    options = parse_options(argv, network_class, starts_from)
    folder = Path(options.output)
    run = Run(folder, network_class.name)
    resumed = resumed_checkpoint(run, options)
    torch.set_num_threads(options.threads)
    set_seed(options.seed)
    device = choose_device(options.device)

    songs = find_songs(options.dataset, options.hold_out, options.include_test, options.seed)
    for split in ("Train", "Valid"):
        if not songs[split]:
            raise UserError(f"{options.dataset}: expected songs to train and to validate on, found none in {split}")
    if resumed is not None:
        network = network_class(network_class.Config(**resumed["config"]))
        network.load_state_dict(resumed["weights"])
        audio = AudioConfig(**resumed["audio"])
    else:
        network, audio = make_network(network_class, starts_from, options, folder)

    transforms = [
        RandomShift(),
        *([RandomSpeed(*options.speed)] if options.speed else []),
        Rescale(),
        Remix(options.remix),
        MakeMagnitudeSpectrum(),
    ]
    if shuffle_frames:
        transforms.append(ShuffleFrameOrder())
    whole_songs = options.sequences == "songs"
    train_set = DSD100Dataset(songs["Train"], audio, Compose(transforms), options.excerpt, options.seed, whole_songs)
    valid_set = DSD100Dataset(songs["Valid"], audio, MakeMagnitudeSpectrum(), options.excerpt, whole_songs=True)
    train_loader = make_loader(train_set, options, shuffle=True)
    if resumed is None and (starts_from is None or options.init == "scratch"):
        measure_input(network, train_loader)

    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"{network.name} network, {parameters / 1e6:.1f} M parameters, {device}, {audio}\n"
        f"{options.dataset}: {', '.join(f'{len(songs[split])} songs {split}' for split in ('Train', 'Valid'))}",
        flush=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    train(network, audio, train_loader, make_loader(valid_set, options, shuffle=False), device, options, run, resumed)
    print(f"best checkpoint: {run.best}\ncurves: {run.path('loss.png')}, {run.path('loss.csv')}")
