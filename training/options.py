"""The options of train_feedforward.py and train_RNN.py."""

import argparse
from pathlib import Path
from typing import Any

import torch

from networks.encoders import ENCODERS
from process.commandline import parser_from, renamed, typed
from songs.dataset import add_dataset_arguments
from training.files import Run
from training.mixes import folder_and_share
from training.parallel import PROCESSES, THREADS
from util import AudioConfig

RANGES: dict[str, tuple[float, float]] = {  # limits of the numeric options
    "sample_rate": (1000, 768000),
    "block": (16, 1 << 20),
    "hop": (1, 1 << 20),
    "excerpt": (0.1, 3600),
    "remix": (0, 1),
    "effects": (0, 1),
    "transpose": (0, 12),
    "cache": (0, 1_000_000),
    "workers": (0, 256),
    "steps": (1, 1_000_000),
    "bands": (1, 1000),
    "epochs": (1, 1_000_000),
    "patience": (1, 1_000_000),
    "batch_size": (1, 65536),
    "learning_rate": (1e-9, 100),
    "weighting": (0, 2),
    "weight_decay": (0, 100),
    "dropout": (0, 1),
    "hidden_size": (1, 65536),
    "layers": (1, 64),
    "seed": (0, 2**63 - 1),
    "threads": (1, 256),
}

PLAIN = {  # what --plain stands for, with a constant learning rate and no average of weights
    "voices": None,
    "accompaniments": None,
    "mix": [],
    "remix": 0.0,
    "gain": [-6.0, 6.0],
    "speed": [1.0, 1.0],
    "transpose": 0,
    "effects": 0.0,
    "equalizer": [0.0, 0.0],
    "encoder": "dense",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "dropout": 0.0,
    "target": "magnitude",
    "divergence": "forward",
    "weighting": 0.0,
    "bfloat16": False,
}


def parse_options(
    network_class: type[Any], documentation: str, argv: list[str] | None, starts_from: type[Any] | None
) -> argparse.Namespace:
    """The options of a run, in `given` the names of those that were typed, in `defaults` what all are if they are not.

    documentation: the script's docstring.

    A wrong command line ends here with exit status 2.
    """
    parser = parser_from(documentation)
    add_dataset_arguments(parser)
    add = parser.add_argument
    output = "write checkpoints, curves and pictures into this folder (default: the current one)"
    add("--output", metavar="FOLDER", default=".", help=output)
    resume = "continue the run in the output folder with the options it was started with; begin one if there is none"
    add("--resume", action="store_true", help=resume)
    add("--overwrite", action="store_true", help="replace the run in the output folder")
    plain = "train as the course does, as a control: Adam at a constant 1e-4, Rescale and RandomShift only"
    add("--plain", action="store_true", help=plain)

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
    gain = "range of the random gain of another song's accompaniment, in dB (default: -6 6)"
    add("--gain", type=float, nargs=2, metavar=("LOW", "HIGH"), default=[-6.0, 6.0], help=gain)
    voices = "train also on the sound files in this folder, solo vocals, remixed with songs' accompaniments"
    add("--voices", metavar="FOLDER", help=voices)
    accompaniments = "remix also with the sound files in this folder, music without vocals"
    add("--accompaniments", metavar="FOLDER", help=accompaniments)
    speed = "range of an excerpt's random playback speed; 1 1 turns it off (default: 0.7 1.4)"
    add("--speed", type=float, nargs=2, metavar=("LOW", "HIGH"), default=[0.7, 1.4], help=speed)
    transpose = "transpose accompaniments up or down by at most this many semitones (default: %(default)s)"
    add("--transpose", type=int, metavar="SEMITONES", default=0, help=transpose)
    effects = "probability of saturation, and of reverberation, on an excerpt's vocals (default: %(default)s)"
    add("--effects", type=float, metavar="P", default=0.0, help=effects)
    equalizer = "spread of a random equaliser's octave bands, in dB; two numbers for vocals and music (default: 2)"
    add("--equalizer", type=float, nargs="+", metavar="DB", default=[2.0], help=equalizer)
    cache = "keep up to this many MB of decoded songs in memory, read the others as needed (default: %(default)s)"
    add("--cache", type=int, metavar="MB", default=2000, help=cache)
    renamed(parser, "--keep", "--cache")
    workers = "number of extra processes that read and transform songs, or of threads with --mix "
    workers += f"(default: 0; with a GPU, one fewer than there are cores, at most {PROCESSES}, or {THREADS} threads)"
    add("--workers", type=int, help=workers)
    mix = "draw excerpts' vocals from these folders, of songs or of solo vocals, in these shares; their Test songs are "
    mix += "used with --include-test only (see docs/training.md)"
    add("--mix", nargs="+", action="extend", type=folder_and_share, default=[], metavar="FOLDER=SHARE", help=mix)
    left_out = "with --mix, do not train on these songs, artists or solo vocals"
    add("--leave-out", nargs="+", action="extend", default=[], metavar="NAME", help=left_out)
    steps = "number of batches in an epoch, with --mix (default: %(default)s)"
    add("--steps", type=int, default=200, help=steps)

    add = parser.add_argument_group("learning").add_argument
    encoder = "kind of encoder and decoder: fully connected as in the course (dense), by frequency band (bands), or "
    encoder += f"convolutional (conv) (default: dense{or_first})"
    add("--encoder", choices=ENCODERS, help=encoder)
    bands = f"number of bands of --encoder bands (default: {network_class.Config.bands}{or_first})"
    add("--bands", type=int, metavar="N", help=bands)
    parser.set_defaults(bidirectional=False)
    if starts_from is not None:
        bidirectional = (
            "train the network for files instead: its LSTM also runs backwards, and it starts from the best "
        )
        bidirectional += "recurrent network"
        add("--bidirectional", action="store_true", help=bidirectional)
        size = "hidden size of the LSTM, of each band if there are bands (default: %(default)s, or that of --init)"
        add("--hidden-size", type=int, metavar="UNITS", default=network_class.Config.memory, help=size)
        renamed(parser, "--memory", "--hidden-size")
        layers = "number of LSTMs, each with a fusion of its own (default: 1, or that of --init)"
        add("--layers", type=int, metavar="N", help=layers)
        default = f"{Run(Path(), starts_from.name).best} in the output folder; with --bidirectional, "
        default += str(Run(Path(), network_class.name).best)
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
    rate = "learning rate of the first epoch (default: %(default)s)"
    add("--learning-rate", "--lr", type=float, default=1e-3, help=rate)
    add("--weight-decay", type=float, default=1e-2, help="weight decay of AdamW (default: %(default)s)")
    add("--dropout", type=float, default=0.0, help="probability of dropping a hidden unit (default: %(default)s)")
    target = "estimate the vocals' magnitude, or its projection on the mixture's phase (default: %(default)s)"
    add("--target", choices=("magnitude", "projection"), default="magnitude", help=target)
    divergence = "minimise D(vocals || estimate), or the reverse, D(estimate || vocals) (default: %(default)s)"
    add("--divergence", choices=("forward", "reverse"), default="forward", help=divergence)
    weighting = "weight each bin's divergence by the mixture's magnitude to this power (default: 0, as in the course)"
    add("--weighting", type=float, metavar="POWER", default=0.0, help=weighting)
    add("--bfloat16", action="store_true", help="train with 16-bit matrix products, faster on some CPUs")
    seed = "seed of weights, order and random transforms (default: %(default)s)"
    add("--seed", type=int, default=0, help=seed)
    add("--device", default="auto", help="train on cpu, cuda, mps, or the best available (default: %(default)s)")
    threads = f"number of CPU threads of the network (default here: {torch.get_num_threads()})"
    add("--threads", type=int, help=threads)

    options = parser.parse_args(argv)
    blank = argparse.Namespace(**dict.fromkeys(vars(options)))  # instead of the defaults
    options.defaults = {name: parser.get_default(name) for name in vars(options)}
    options.given = {name for name, value in vars(parser.parse_args(argv, blank)).items() if value is not None}
    check(options, parser)
    options.equalizer = [options.equalizer[0], options.equalizer[-1]]
    for name, value in PLAIN.items() if options.plain else ():
        if name in options.given and getattr(options, name) != value:
            parser.error(f"--plain trains {worded(name, value)}: leave {flag(name)} out")
        setattr(options, name, value)
    options.data = {}  # fingerprints of its songs
    options.before, options.songs_before = "", []  # what the checkpoint that the run starts from was trained on
    options.command = typed(f"train_{network_class.name}.py", argv)
    return options


def check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """End with exit status 2 if a value is out of its range, or two options contradict each other."""
    if options.resume and options.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    for name, (least, most) in RANGES.items():
        value = getattr(options, name, None)
        if value is not None and not least <= value <= most:  # in this order NaN is refused, too
            parser.error(f"{flag(name)} must be from {least} to {most}, found {value}")
    if not 0.1 <= options.speed[0] <= options.speed[1] <= 10:
        parser.error(f"--speed must be LOW <= HIGH, both from 0.1 to 10, found {options.speed}")
    if not -100 <= options.gain[0] <= options.gain[1] <= 100:
        parser.error(f"--gain must be LOW <= HIGH, both from -100 to 100, found {options.gain}")
    if len(options.equalizer) > 2 or not all(0 <= spread <= 100 for spread in options.equalizer):
        parser.error(f"--equalizer must be one or two numbers from 0 to 100, found {options.equalizer}")
    for name in ("leave_out", "steps"):
        if name in options.given and not (options.mix or options.resume):
            parser.error(f"{flag(name)} needs --mix")
    for name in ("voices", "sequences", "cache"):
        if options.mix and name in options.given:
            parser.error(f"{flag(name)} has no effect with --mix: leave it out")
    if options.bidirectional and options.sequences == "songs":
        parser.error("--bidirectional has no state that --sequences songs could carry along: leave one of them out")


# Of this call, not of the run: checkpoints do not keep them. Those of the second line are not typed.
OF_THE_CALL = {"dataset", "output", "bidirectional", "resume", "overwrite"}
OF_THE_CALL |= {"given", "defaults", "command", "before", "songs_before"}
HOW_LONG = {"epochs", "patience"}
FOLDERS = {"voices", "accompaniments", "mix"}  # which may move; `data` tells what is in them
MAY_CHANGE = HOW_LONG | FOLDERS | {"device", "cache", "workers", "threads"}  # all other options shape the weights


def kept(options: argparse.Namespace) -> dict:
    """The options that a checkpoint keeps, for the run to go on with."""
    return {name: value for name, value in vars(options).items() if name not in OF_THE_CALL}


def flag(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"


def worded(name: str, value: object) -> str:
    """An option's value in a sentence: 'with --gain -6 6', 'without --bfloat16'."""
    if value is True:
        return f"with {flag(name)}"
    if value is None or value is False or value == []:
        return f"without {flag(name)}"
    return f"with {flag(name)} {' '.join(map(str, value if isinstance(value, list) else [value]))}"
