"""The command line of train_feedforward.py and train_RNN.py: options, songs, a new or resumed network, a run."""

import argparse
import dataclasses
import hashlib
import multiprocessing
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms import Compose
from tqdm import tqdm

from Data import (
    DSD100Dataset,
    InTune,
    MakeMagnitudeSpectrum,
    RandomEffects,
    RandomEqualizer,
    RandomShift,
    RandomSpeed,
    RandomTranspose,
    Remix,
    Rescale,
    ShuffleFrameOrder,
)
from networks.encoders import ENCODERS, grow
from networks.hearing import adapts
from process.commandline import parser_from
from process.errors import UserError, command
from process.locking import only_writer
from songs.layouts import add_dataset_arguments, find_songs, find_sounds
from songs.song import Accompaniment, Song, Voice, keep
from training.loop import STATE, Loader, Run, lasting, make_loader, measure_input, train
from training.mixes import Mixes, folder_and_share, open_mixes
from training.parallel import hidden, joined, leads, ranks
from util import AudioConfig, choose_device, load_checkpoint, load_network, set_seed

CORNER = 700.0  # Hz, below which an encoder's bands are about equally wide, as on the mel scale

RANGES: dict[str, tuple[float, float]] = {  # limits of the numeric options
    "sample_rate": (1000, 768000),
    "block": (16, 1 << 20),
    "hop": (1, 1 << 20),
    "excerpt": (0.1, 3600),
    "remix": (0, 1),
    "effects": (0, 1),
    "transpose": (0, 12),
    "keep": (0, 1_000_000),
    "workers": (0, 256),
    "steps": (1, 1_000_000),
    "bands": (1, 1000),
    "epochs": (1, 1_000_000),
    "patience": (1, 1_000_000),
    "batch_size": (1, 65536),
    "learning_rate": (1e-9, 100),
    "weight_decay": (0, 100),
    "dropout": (0, 1),
    "memory": (1, 65536),
    "seed": (0, 2**63 - 1),
    "threads": (1, 256),
}


def parse_options(
    network_class: type[Any], documentation: str, argv: list[str] | None, starts_from: type[Any] | None
) -> argparse.Namespace:
    """The options of a run. A wrong command line ends here with exit status 2. documentation: the script's."""
    parser = parser_from(documentation)
    add_dataset_arguments(parser)
    add = parser.add_argument
    output = "write checkpoints, curves and pictures into this folder (default: the current one)"
    add("--output", metavar="FOLDER", default=".", help=output)
    add("--resume", action="store_true", help="continue the run in the output folder")
    add("--overwrite", action="store_true", help="replace the run in the output folder")

    add = parser.add_argument_group("data").add_argument
    course = AudioConfig()
    or_first = ", or that of --init" if starts_from else ""
    # A frame that is seen by itself gains nothing from its neighbours: shorter excerpts of more songs teach more.
    excerpt, batch_size = (4.0, 16) if starts_from else (1.0, 32)
    rate = f"resample songs to this sample rate, in Hz (default: {course.sample_rate}{or_first})"
    add("--sample-rate", type=int, metavar="HZ", help=rate)
    block = f"length of the STFT's window, in samples (default: {course.block}{or_first})"
    add("--block", type=int, metavar="SAMPLES", help=block)
    hop = f"distance from one STFT frame to the next, in samples (default: {course.hop}{or_first})"
    add("--hop", type=int, metavar="SAMPLES", help=hop)
    length = "length of a training excerpt, in seconds (default: %(default)s)"
    add("--excerpt", type=float, metavar="SECONDS", default=excerpt, help=length)
    sequences = "train on excerpts in random order, or on whole songs, carrying the state along (default: %(default)s)"
    add("--sequences", choices=("excerpts", "songs"), default="excerpts", help=sequences)
    remix = "probability that an excerpt's vocals get another song's accompaniment (default: %(default)s)"
    add("--remix", type=float, metavar="P", default=0.8, help=remix)
    gain = "range of that accompaniment's random gain, in dB (default: -6 6)"
    add("--gain", type=float, nargs=2, metavar=("LOW", "HIGH"), default=[-6.0, 6.0], help=gain)
    voices = "train also on the solo vocals in this folder's sound files, remixed with songs' accompaniments"
    add("--voices", metavar="FOLDER", help=voices)
    accompaniments = "remix also with the music without vocals in this folder's sound files"
    add("--accompaniments", metavar="FOLDER", help=accompaniments)
    speed = "range of an excerpt's random playback speed; 1 1 turns it off (default: 0.7 1.4)"
    add("--speed", type=float, nargs=2, metavar=("LOW", "HIGH"), default=[0.7, 1.4], help=speed)
    transpose = "transpose accompaniments up or down by at most this many semitones (default: %(default)s)"
    add("--transpose", type=int, metavar="SEMITONES", default=0, help=transpose)
    effects = "probability of saturation, and of reverberation, on an excerpt's vocals (default: %(default)s)"
    add("--effects", type=float, metavar="P", default=0.0, help=effects)
    equalizer = "spread of a random equaliser's octave bands, in dB; two numbers for vocals and music (default: 2)"
    add("--equalizer", type=float, nargs="+", metavar="DB", default=[2.0], help=equalizer)
    kept = "keep up to this many MB of decoded songs in memory, read the others as needed (default: %(default)s)"
    add("--keep", type=int, metavar="MB", default=2000, help=kept)
    workers = "number of extra processes that read and transform songs, or of threads with --mix (default: %(default)s)"
    add("--workers", type=int, default=0, help=workers)
    mix = "draw excerpts' vocals from these folders, of songs or of solo vocals, in these shares: training/mixes.py"
    add("--mix", nargs="+", type=folder_and_share, default=[], metavar="FOLDER=SHARE", help=mix)
    left_out = "songs, artists or solo vocals of those folders that are not trained on"
    add("--leave-out", nargs="+", default=[], metavar="NAME", help=left_out)
    steps = "number of batches in an epoch, with --mix (default: %(default)s)"
    add("--steps", type=int, default=200, help=steps)

    add = parser.add_argument_group("learning").add_argument
    encoder = (
        "kind of encoder and decoder: fully connected as in the course (dense), by frequency band (bands), by band "
    )
    encoder += f"and pitch (harmonic), or convolutional (conv) (default: dense{or_first})"
    add("--encoder", choices=ENCODERS, help=encoder)
    bands = f"number of bands of an encoder by band (default: {network_class.Config.bands}{or_first})"
    add("--bands", type=int, metavar="N", help=bands)
    if starts_from is not None:
        memory = "hidden size of the LSTM, for each band if the encoder has bands (default: %(default)s)"
        add("--memory", type=int, metavar="UNITS", default=network_class.Config.memory, help=memory)
        default = f"{Run(Path(), starts_from.name).best} in the output folder"
    else:
        default = "scratch"
    init = f"start from the weights of this checkpoint, or from random ones with 'scratch' (default: {default})"
    add("--init", metavar="CHECKPOINT", help=init)
    epochs = "number of epochs, over which the learning rate falls to 0 (default: %(default)s)"
    add("--epochs", type=int, default=60, help=epochs)
    patience = "stop after this many epochs without a lower validation loss (default: %(default)s)"
    add("--patience", type=int, default=20, help=patience)
    size = "number of excerpts, or of whole songs side by side, in a batch (default: %(default)s)"
    add("--batch-size", type=int, default=batch_size, help=size)
    add("--learning-rate", type=float, default=1e-3, help="learning rate of the first epoch (default: %(default)s)")
    add("--weight-decay", type=float, default=1e-2, help="weight decay of AdamW (default: %(default)s)")
    add("--dropout", type=float, default=0.0, help="probability of dropping a hidden unit (default: %(default)s)")
    target = "estimate the vocals' magnitude, or its projection on the mixture's phase (default: %(default)s)"
    add("--target", choices=("magnitude", "projection"), default="magnitude", help=target)
    divergence = "minimise D(vocals || estimate), or the reverse, D(estimate || vocals) (default: %(default)s)"
    add("--divergence", choices=("forward", "reverse"), default="forward", help=divergence)
    add("--bfloat16", action="store_true", help="train with 16-bit matrix products, faster on some CPUs")
    seed = "seed of weights, order and random transforms (default: %(default)s)"
    add("--seed", type=int, default=0, help=seed)
    add("--device", default="auto", help="train on cpu, cuda, mps, or the best available (default: %(default)s)")
    threads = "number of CPU threads of the network (default here: %(default)s)"
    add("--threads", type=int, default=torch.get_num_threads(), help=threads)

    options = parser.parse_args(argv)
    if options.resume and options.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    for name, (least, most) in RANGES.items():
        value = getattr(options, name, None)
        if value is not None and not least <= value <= most:  # in this order NaN is refused, too
            parser.error(f"--{name.replace('_', '-')} must be from {least} to {most}, found {value}")
    if not 0.1 <= options.speed[0] <= options.speed[1] <= 10:
        parser.error(f"--speed must be LOW <= HIGH, both from 0.1 to 10, found {options.speed}")
    if not -100 <= options.gain[0] <= options.gain[1] <= 100:
        parser.error(f"--gain must be LOW <= HIGH, both from -100 to 100, found {options.gain}")
    if len(options.equalizer) > 2 or not all(0 <= spread <= 100 for spread in options.equalizer):
        parser.error(f"--equalizer must be one or two numbers from 0 to 100, found {options.equalizer}")
    options.equalizer = [options.equalizer[0], options.equalizer[-1]]
    options.data = {}  # fingerprints of its songs
    options.before = ""  # training data of the checkpoint that the run starts from
    options.command = shlex.join([f"train_{network_class.name}.py", *(sys.argv[1:] if argv is None else argv)])
    return options


def resumed_checkpoint(run: Run, options: argparse.Namespace) -> dict | None:
    """The checkpoint to continue from, None for a new run. Raises UserError if one run would harm another."""
    if not options.resume:
        existing = next((path for path in (run.last, run.best) if path.exists()), None)
        if existing and not options.overwrite:
            raise UserError(f"{existing}: a run is already there; expected --resume, --overwrite or another --output")
        return None
    checkpoint = load_checkpoint(run.last, run.name)
    if not {"options", "history", *STATE} <= checkpoint.keys():
        raise UserError(f"{run.last}: expected a checkpoint to resume from, found one with weights only")
    for name, value in lasting(options).items():
        if name != "data" and checkpoint["options"].get(name) != value:
            found = checkpoint["options"].get(name)
            raise UserError(f"{run.last}: the run was started with {name} = {found}, cannot continue with {value}")
    return checkpoint


def fingerprints(valid: Sequence[Song], loader: Loader | Mixes) -> dict[str, str]:
    """What a run learns from, wherever it lies: a checksum of each kind of songs, their lengths and their shares."""
    data: dict[str, object] = {"validation songs": _facts(valid)}
    if isinstance(loader, Mixes):
        groups = [(group.share, [song.name for song in group.songs]) for group in loader.desk.groups]
        data["mix"] = [groups, loader.bank.fingerprint]
    else:
        data |= {"training songs": _facts(loader.dataset.songs), "music": _facts(loader.dataset.accompaniments)}
    return {what: hashlib.sha256(repr(facts).encode()).hexdigest() for what, facts in data.items()}


def _facts(songs: Sequence[Song]) -> list[tuple[str, int, int]]:
    return [(song.name, song.samples, song.rate) for song in songs]


def check_data(run: Run, checkpoint: dict, data: dict[str, str], options: argparse.Namespace) -> None:
    """Raise UserError if a run would go on with other songs; checkpoints of earlier versions do not tell theirs."""
    before = checkpoint["options"].get("data", data)
    for what in [*before, *data]:
        if before.get(what) != data.get(what):
            raise UserError(
                f"{run.last}: the run was started with other {what} than {options.dataset} and the options give now: "
                "expected the same names and lengths"
            )


def starts_from_scratch(starts_from: type[Any] | None, options: argparse.Namespace) -> bool:
    return options.init == "scratch" or (options.init is None and starts_from is None)


def make_network(
    network_class: type[Any], starts_from: type[Any] | None, options: argparse.Namespace, folder: Path
) -> tuple[torch.nn.Module, AudioConfig]:
    """A new network: with random weights, or with those of a `starts_from` or of one of its own kind."""
    given = {name: getattr(options, name) for name in ("sample_rate", "block", "hop", "encoder", "bands")}
    given = {name: value for name, value in given.items() if value is not None}
    sizes = {"dropout": options.dropout, "adapts": not options.mix}
    sizes |= {"memory": options.memory} if starts_from else {}
    if starts_from_scratch(starts_from, options):
        sizes |= {name: given.pop(name) for name in ("encoder", "bands") if name in given}
        audio = AudioConfig(**given)
        sizes |= {"bins": audio.bins, "bin_width": audio.bin_width, "corner": 2 * CORNER / audio.sample_rate}
        return network_class(network_class.Config(**sizes)), audio
    path = Run(folder, starts_from.name).best if starts_from and not options.init else Path(options.init)
    if not path.exists():
        train_first = f"run train_{starts_from.name}.py first, or " if starts_from else ""
        raise UserError(
            f"{path}: expected a checkpoint to start from, found none; {train_first}"
            "name another, or 'scratch', with --init"
        )
    first_class = network_class
    if starts_from and load_checkpoint(path)["name"] != network_class.name:
        first_class = starts_from
    own_kind = first_class is network_class
    first: Any  # the network to start from
    first, audio, checkpoint = load_network(path, first_class)
    config = dataclasses.asdict(first.config)
    for name, value in given.items():
        found = config[name] if name in config else getattr(audio, name)
        grows = own_kind and (found, value) == ("bands", "harmonic")
        if found != value and not grows:
            raise UserError(f"{path}: expected {name} {value}, found {found}")
    if own_kind:
        sizes |= {"encoder": options.encoder or first.config.encoder}
        sizes.pop("memory", None)
        network = network_class(dataclasses.replace(first.config, bin_width=audio.bin_width, **sizes))
        grow(network, first)
        options.before = f"; before that, {checkpoint.get('trained_on', 'unknown data')}"
    else:
        network = network_class(network_class.Config(**config | sizes))
        network.start_from(first)
    return network, audio


def make_training_set(
    songs: list[Song], audio: AudioConfig, transform: Compose, options: argparse.Namespace
) -> DSD100Dataset:
    """The songs and solo voices to train on, and all accompaniments, decoded in advance as far as memory allows."""
    voices = find_sounds(options.voices, Voice) if options.voices else []
    accompaniments = find_sounds(options.accompaniments, Accompaniment) if options.accompaniments else []
    # The memory goes to training songs: validation reads each song only once per epoch.
    reading = tqdm([*songs, *voices, *accompaniments], "reading", leave=False, disable=hidden(), unit="song")
    copies = ranks() * (1 if multiprocessing.get_start_method() == "fork" else 1 + options.workers)
    kept = iter(list(keep(reading, options.keep / copies)))
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
    songs: list[Song],
    audio: AudioConfig,
    make_spectrum: MakeMagnitudeSpectrum,
    shuffle_frames: bool,
    options: argparse.Namespace,
) -> Loader:
    """Excerpts of songs and voices through the course's transforms."""
    transforms = [InTune(), RandomTranspose(options.transpose), RandomShift(), RandomSpeed(*options.speed)]
    transforms += [RandomEqualizer(*options.equalizer), Rescale(), Remix(options.remix, *options.gain)]
    transforms += [RandomEffects(options.effects), make_spectrum]
    if shuffle_frames:
        transforms.append(ShuffleFrameOrder())
    return make_loader(make_training_set(songs, audio, Compose(transforms), options), options, shuffle=True)


@command
def main(
    network_class: type[Any],
    documentation: str,
    argv: list[str] | None = None,
    starts_from: type[Any] | None = None,
    shuffle_frames: bool = False,
) -> None:
    """Train a network from the command line of a script with this docstring.

    starts_from: class of the network that provides its first weights.
    """
    options = parse_options(network_class, documentation, argv, starts_from)
    with joined(), only_writer(options.output) if leads() else nullcontext(Path(options.output)) as folder:
        try:
            start(network_class, starts_from, shuffle_frames, options, folder)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            lost = "a process that reads songs was killed, or ran out of memory; continue with --resume"
            raise UserError(f"{options.dataset}: {lost} (--workers {options.workers})") from error


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
    torch.set_num_threads(options.threads)
    set_seed(options.seed)
    device = choose_device(options.device)

    songs = find_songs(options.dataset, options.hold_out, options.include_test)
    for split in ("Train", "Valid"):
        if not songs[split]:
            raise UserError(f"{options.dataset}: expected songs for training and validation, found none in {split}")
    if resumed is not None:
        network, audio, _ = load_network(run.last, network_class)
    else:
        network, audio = make_network(network_class, starts_from, options, folder)

    make_spectrum = MakeMagnitudeSpectrum(projected=options.target == "projection")
    valid_transform = Compose([InTune(), make_spectrum] if adapts(network) else [make_spectrum])
    valid_set = DSD100Dataset(songs["Valid"], audio, valid_transform, options.excerpt, whole_songs=True)
    train_loader: Loader | Mixes
    if options.mix:
        train_loader = open_mixes(songs["Train"], audio, options, folder, device)
    else:
        train_loader = make_train_loader(songs["Train"], audio, make_spectrum, shuffle_frames, options)
    if resumed is None and starts_from_scratch(starts_from, options):
        measure_input(network, train_loader)

    options.data = fingerprints(songs["Valid"], train_loader)
    if resumed is not None:
        check_data(run, resumed, options.data, options)
    if options.overwrite and leads():
        for path in (run.last, run.best):
            path.unlink(missing_ok=True)  # so that nothing of the old run passes for the new one's

    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"{network.name} network, {parameters / 1e6:.1f} M parameters, {device}, {audio}\n"
        f"{options.dataset}: {', '.join(f'{len(songs[split])} songs {split}' for split in ('Train', 'Valid'))}",
        flush=True,
    )
    train(network, audio, train_loader, make_loader(valid_set, options, shuffle=False), device, options, run, resumed)
    print(f"best checkpoint: {run.best}\ncurves: {run.path('loss.png')}, {run.path('loss.csv')}")
