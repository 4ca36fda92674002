"""What train_feedforward.py and train_RNN.py do: songs, a new or resumed network, a run."""

import argparse
import dataclasses
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms import Compose
from tqdm import tqdm

from Data import DSD100Dataset, MakeMagnitudeSpectrum, RandomShift, Rescale, ShuffleFrameOrder
from process.devices import choose_device, device_errors
from process.errors import UserError, command
from process.locking import only_writer
from process.memory import keep_memory
from songs.dataset import apart, find_songs, find_sounds
from songs.song import Accompaniment, Song, Voice, keep
from training.files import Run
from training.loop import Loader, make_loader, measure_input, train
from training.mixes import Mixes, open_mixes
from training.options import parse_options
from training.parallel import hidden, joined, leads, ranks, workers_for
from training.resuming import check_data, fingerprints, resumed_checkpoint, take_over
from training.variation import RandomEffects, RandomEqualizer, RandomSpeed, RandomTranspose, Remix
from util import AudioConfig, checkpoint_of, load_network, rebuild

CORNER = 700.0  # Hz, below which an encoder's bands are about equally wide, as on the mel scale


def songs_to_learn_from(options: argparse.Namespace) -> dict[str, list[Song]]:
    """The dataset's songs by split, some in Train and some in Valid. Raises UserError if there are none to train on."""
    songs = find_songs(options.dataset, options.hold_out, options.include_test)
    if not songs["Train"]:
        found = "found none"
        if songs["Test"]:
            found = f"found {len(songs['Test'])} in Test alone; --include-test trains on them"
        elif songs["Valid"]:
            found = "found none that is not held out"
        raise UserError(f"{options.dataset}: expected songs to train on, {found}")
    if not songs["Valid"]:
        warn(f"{options.dataset}: there is one song only, so it validates on itself, which shows no overfitting")
        songs["Valid"] = songs["Train"]
    return songs


def warn(text: str) -> None:
    if leads():
        print(f"warning: {text}", file=sys.stderr)


def starts_from_scratch(starts_from: type[Any] | None, options: argparse.Namespace) -> bool:
    return options.init == "scratch" or (options.init is None and starts_from is None)


def make_network(
    network_class: type[Any], starts_from: type[Any] | None, options: argparse.Namespace, folder: Path
) -> tuple[torch.nn.Module, AudioConfig]:
    """A new network: with random weights, or with those of a `starts_from` or of one of its own kind."""
    given = {name: getattr(options, name) for name in ("sample_rate", "block", "hop", "encoder", "bands")}
    given = {name: value for name, value in given.items() if value is not None}
    sizes = {"dropout": options.dropout, "power": 1.0}  # a power is chosen for its weights: recipe/choose_power.py
    sizes |= {"memory": options.hidden_size, "layers": options.layers or 1} if starts_from else {}
    if starts_from_scratch(starts_from, options):
        sizes |= {name: given.pop(name) for name in ("encoder", "bands") if name in given}
        if "bands" in sizes and sizes.get("encoder") != "bands":
            raise UserError("--bands needs --encoder bands")
        audio = AudioConfig(**given)
        sizes |= {"bins": audio.bins, "corner": 2 * CORNER / audio.sample_rate}
        config = network_class.Config(**sizes)
        if config.encoder == "bands" and config.bands > config.bins:
            most = f"{config.bins}, as many as a block of {audio.block} samples has bins"
            raise UserError(f"--bands: expected at most {most}, found {config.bands}")
        return network_class(config), audio
    path = Run(folder, starts_from.name).best if starts_from and not options.init else Path(options.init)
    if not path.exists():
        train_first = f"run train_{starts_from.name}.py first, or " if starts_from else ""
        raise UserError(
            f"{path}: expected a checkpoint to start from, found none; {train_first}"
            "name another, or 'scratch', with --init"
        )
    first, audio, checkpoint = load_network(path, *filter(None, (network_class, starts_from)))
    if options.plain and not checkpoint.get("plain"):
        raise UserError(f"{path}: expected a network that was trained with --plain, too, found one without")
    config = dataclasses.asdict(first.config)
    for name, value in given.items():
        found = config[name] if name in config else getattr(audio, name)
        if found != value:
            raise UserError(f"{path}: expected {name.replace('_', ' ')} {value}, found {found}")
    if first.remembers:
        memory, layers = first.config.memory, first.config.layers
        if "hidden_size" in options.given and options.hidden_size != memory:
            raise UserError(f"{path}: expected a hidden size of {options.hidden_size}, found {memory}")
        sizes |= {"memory": memory, "layers": options.layers or layers}
        if sizes["layers"] < layers:
            raise UserError(f"{path}: expected at most {options.layers} layers, found {layers}")
    network = network_class(network_class.Config(**config | sizes))
    if type(first) is network_class:
        network.load_state_dict(first.state_dict(), strict=False)  # further LSTMs keep what they begin with
    else:
        network.start_from(first)
    options.songs_before = checkpoint.get("songs", [])  # an earlier version did not keep them
    if type(first) is network_class or first.remembers:
        options.before = f"; before that, {checkpoint.get('trained_on', 'unknown data')}"
    return network, audio


def check_loads(network: torch.nn.Module, audio: AudioConfig) -> None:
    """Raise UserError, before anything is learnt, if a checkpoint would not give this network back."""
    try:
        rebuild(type(network), checkpoint_of(network, audio))
    except Exception as error:  # a network may be changed in any way
        found, _, _ = str(error).partition("\n")
        raise UserError(
            f"{network.name} network: expected one that can be rebuilt from its checkpoint, found: {found}; its "
            "tensors must be parameters or buffers (register_buffer)"
        ) from error


def make_training_set(
    splits: dict[str, list[Song]],
    audio: AudioConfig,
    transform: Compose,
    options: argparse.Namespace,
    device: torch.device,
) -> DSD100Dataset:
    """The songs and solo voices to train on, and all accompaniments, decoded in advance as far as memory allows."""
    songs, voices, accompaniments = splits["Train"], [], []
    if options.voices:
        voices = apart(options.voices, find_sounds(options.voices, Voice), splits)
    if options.accompaniments:
        accompaniments = apart(options.accompaniments, find_sounds(options.accompaniments, Accompaniment), splits)
    # The memory goes to training songs: validation reads each song only once per epoch.
    reading = tqdm([*songs, *voices, *accompaniments], "reading", leave=False, disable=hidden(), unit="song")
    copies = ranks() * (1 if multiprocessing.get_start_method() == "fork" else 1 + workers_for(options, device))
    kept = iter(list(keep(reading, options.cache / copies)))
    songs, voices, accompaniments = ([next(kept) for _ in part] for part in (songs, voices, accompaniments))
    whole_songs = options.sequences == "songs"
    return DSD100Dataset(
        [*songs, *voices],
        audio,
        transform,
        options.excerpt,
        options.seed,
        whole_songs,
        accompaniments=[*songs, *accompaniments],
    )


def make_train_loader(
    songs: dict[str, list[Song]],
    audio: AudioConfig,
    make_spectrum: MakeMagnitudeSpectrum,
    shuffle_frames: bool,
    options: argparse.Namespace,
    device: torch.device,
) -> Loader:
    """Excerpts of songs and voices through the course's transforms and, unless it is to be plain, all others."""
    if options.plain:
        transforms = [RandomShift(), Rescale()]
    else:
        transforms = [RandomTranspose(options.transpose), RandomShift(), RandomSpeed(*options.speed)]
        transforms += [RandomEqualizer(*options.equalizer), Rescale(), Remix(options.remix, *options.gain)]
        transforms += [RandomEffects(options.effects)]
    transforms.append(make_spectrum)
    if shuffle_frames:
        transforms.append(ShuffleFrameOrder())
    training_set = make_training_set(songs, audio, Compose(transforms), options, device)
    return make_loader(training_set, options, shuffle=True, device=device)


@command
def main(
    network_class: type[Any],
    documentation: str,
    argv: list[str] | None = None,
    starts_from: type[Any] | None = None,
    shuffle_frames: bool = False,
    bidirectional_class: type[Any] | None = None,
) -> None:
    """Train a network from the command line of a script with this docstring.

    starts_from: class of the network that provides its first weights; bidirectional_class: class of the one that it
    provides with them, which --bidirectional trains instead.
    """
    options = parse_options(network_class, documentation, argv, starts_from)
    if bidirectional_class and options.bidirectional:
        network_class, starts_from = bidirectional_class, network_class
    with joined(), only_writer(options.output) if leads() else nullcontext(Path(options.output)) as folder:
        start(network_class, starts_from, shuffle_frames, options, folder)


@contextmanager
def lost_workers(options: argparse.Namespace, device: torch.device) -> Iterator[None]:
    """Raise UserError if a process that reads songs has ended."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):  # else an error in one, which is told as it is
            raise
        lost = "a process that reads songs was killed, or ran out of memory; continue with --resume and fewer --workers"
        raise UserError(f"{options.dataset}: {lost} than {workers_for(options, device)}") from error


def start(
    network_class: type[Any],
    starts_from: type[Any] | None,
    shuffle_frames: bool,
    options: argparse.Namespace,
    folder: Path,
) -> None:
    """Begin or resume the run in a folder and train to its end."""
    run = Run(folder, network_class.name)
    resumed = resumed_checkpoint(run, options)
    if leads():
        run.remove_parts()
    if resumed is not None:
        network, audio, _ = load_network(run.last, network_class)
        take_over(options, resumed, network, audio, run)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)  # not of the data: every excerpt has its own generator
    keep_memory()
    device = choose_device(options.device)
    with device_errors(device), lost_workers(options, device):
        songs = songs_to_learn_from(options)
        if resumed is None:
            network, audio = make_network(network_class, starts_from, options, folder)
            check_loads(network, audio)

        make_spectrum = MakeMagnitudeSpectrum(projected=options.target == "projection")
        valid_set = DSD100Dataset(songs["Valid"], audio, make_spectrum, options.excerpt, whole_songs=True)
        train_loader: Loader | Mixes
        if options.mix:
            train_loader = open_mixes(songs, audio, options, folder, device)
        else:
            train_loader = make_train_loader(songs, audio, make_spectrum, shuffle_frames, options, device)
        if resumed is None and starts_from_scratch(starts_from, options):
            measure_input(network, train_loader)

        options.data = fingerprints(songs["Valid"], train_loader)
        if resumed is not None:
            check_data(run, resumed, options.data, options)
        if options.overwrite and leads():
            first = Path(options.init or "").resolve()  # which it starts from; its first epoch replaces that
            for path in (run.last, run.best):
                if path.resolve() != first:
                    path.unlink(missing_ok=True)  # so that nothing of the old run passes for the new one's

        parameters = sum(parameter.numel() for parameter in network.parameters())
        print(
            f"{network.name} network, {parameters / 1e6:.1f} M parameters, {device}, {audio}\n"
            f"{options.dataset}: {', '.join(f'{len(songs[split])} songs {split}' for split in ('Train', 'Valid'))}",
            flush=True,
        )
        valid_loader = make_loader(valid_set, options, shuffle=False, device=device)
        for what, loader in (("to train on", train_loader), ("to validate on", valid_loader)):
            if leads() and loader.is_silent():
                warn(
                    f"{options.dataset}: all vocals {what} are silent; expected singing, else there is nothing to learn"
                )
        train(network, audio, train_loader, valid_loader, device, options, run, resumed)
        best = run.best if run.best.exists() else f"none, since that of an earlier epoch is gone: {run.best}"
        print(f"best checkpoint: {best}\ncurves: {run.path('loss.png')}, {run.path('loss.csv')}")
