"""The command line of train_feedforward.py and train_RNN.py: options, songs, a new or resumed network, training."""

import argparse
import dataclasses
import math
import multiprocessing
import sys
from contextlib import nullcontext
from pathlib import Path

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
from process.errors import UserError, command
from process.locking import only_writer
from songs.layouts import add_dataset_arguments, belongs, find_songs, find_sounds
from songs.song import Accompaniment, Song, Voice, keep
from training.bank import open_bank
from training.loop import STATE, Loader, Run, lasting, make_loader, measure_input, train
from training.mixing import Group, Mixer
from training.parallel import hidden, joined, leads, ranks
from util import AudioConfig, choose_device, load_checkpoint, load_network, set_seed

CORNER = 700.0  # Hz, below which bands are about equally wide, as on the mel scale
RANGES = {  # of the options that are numbers
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


def folder_and_share(text: str) -> tuple[str, float]:
    """'FOLDER=SHARE' of the command line."""
    folder, _, share = text.rpartition("=")
    if not folder or not 0 < float(share) < math.inf:
        raise ValueError(text)
    return folder, float(share)


def parse_options(argv: list[str] | None, network_class: type, starts_from: type | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Train the {network_class.name} network.")
    add_dataset_arguments(parser)
    add = parser.add_argument
    add("--output", metavar="FOLDER", default=".", help="where checkpoints and curves go (default: current folder)")
    add("--resume", action="store_true", help="go on with the run in the output folder")
    add("--overwrite", action="store_true", help="replace the run in the output folder")

    add = parser.add_argument_group("data").add_argument
    course = AudioConfig()
    or_first = " or as in --init" if starts_from else ""
    # Without memory a frame learns from its neighbours nothing new: more and shorter excerpts make a better step.
    excerpt, batch_size = (4.0, 16) if starts_from else (1.0, 32)
    add("--sample-rate", type=int, metavar="HZ", help=f"songs are resampled to it ({course.sample_rate}{or_first})")
    add("--block", type=int, metavar="SAMPLES", help=f"length of the STFT's window ({course.block}{or_first})")
    add("--hop", type=int, metavar="SAMPLES", help=f"from one window to the next ({course.hop}{or_first})")
    add("--excerpt", type=float, metavar="SECONDS", default=excerpt, help="length of a training excerpt (%(default)s)")
    sequences = "excerpts in random order, or whole songs piece by piece with the state carried over (%(default)s)"
    add("--sequences", choices=("excerpts", "songs"), default="excerpts", help=sequences)
    remix = "probability of another song's accompaniment under an excerpt's vocals (%(default)s)"
    add("--remix", type=float, metavar="P", default=0.8, help=remix)
    gain = "range of its random gain in dB (%(default)s)"
    add("--gain", type=float, nargs=2, metavar=("LOW", "HIGH"), default=[-6.0, 6.0], help=gain)
    voices = "sound files of voices alone to train on as well, under which Remix puts accompaniments"
    add("--voices", metavar="FOLDER", help=voices)
    add("--accompaniments", metavar="FOLDER", help="sound files of music without a voice, for Remix as well")
    speed = "range of an excerpt's random speed; 1 1 for none (%(default)s)"
    add("--speed", type=float, nargs=2, metavar=("LOW", "HIGH"), default=[0.7, 1.4], help=speed)
    transpose = "at most so many semitones, whole ones, that accompaniments are transposed by (%(default)s)"
    add("--transpose", type=int, metavar="SEMITONES", default=0, help=transpose)
    effects = "probability of saturation, and of reverberation, of the voice (%(default)s)"
    add("--effects", type=float, metavar="P", default=0.0, help=effects)
    equalizer = "spread of a random equaliser's octave bands; two numbers for voice and accompaniment (2)"
    add("--equalizer", type=float, nargs="+", metavar="DB", default=[2.0], help=equalizer)
    keep = "of songs kept in memory once they are decoded; the others are read again and again (%(default)s)"
    add("--keep", type=int, metavar="MB", default=2000, help=keep)
    workers = "processes that read and transform songs; with --mix, threads that mix ahead (%(default)s)"
    add("--workers", type=int, default=0, help=workers)
    mix = "draw every excerpt's voice from these folders, of songs or of voices alone, in these shares; see mixing.py"
    add("--mix", nargs="+", type=folder_and_share, default=[], metavar="FOLDER=SHARE", help=mix)
    left_out = "songs, artists or sounds of the mix that are not trained on"
    add("--leave-out", nargs="+", default=[], metavar="NAME", help=left_out)
    add("--steps", type=int, default=200, help="of an epoch, with --mix (%(default)s)")

    add = parser.add_argument_group("learning").add_argument
    encoder = "fully connected, by bands, convolutional, or by bands and pitch: see encoders.py"
    add("--encoder", choices=ENCODERS, help=f"{encoder} (dense{or_first})")
    add(
        "--bands",
        type=int,
        metavar="N",
        help=f"of the encoders that have some ({network_class.Config.bands}{or_first})",
    )
    if starts_from is not None:
        memory = network_class.Config.memory
        add("--memory", type=int, metavar="UNITS", default=memory, help="of the LSTM, for each band (%(default)s)")
        default = f"{Run(Path(), starts_from.name).best} in the output folder"
    else:
        default = "scratch"
    add("--init", metavar="CHECKPOINT", help=f"to start from, also one of this network; or 'scratch' ({default})")
    add("--epochs", type=int, default=60, help="the learning rate falls to 0 over these (%(default)s)")
    add("--patience", type=int, default=20, help="stop after so many epochs without a better one (%(default)s)")
    add("--batch-size", type=int, default=batch_size, help="excerpts, or songs side by side (%(default)s)")
    add("--learning-rate", type=float, default=1e-3, help="of the first epoch (%(default)s)")
    add("--weight-decay", type=float, default=1e-2, help="of AdamW (%(default)s)")
    add("--dropout", type=float, default=0.0, help="share of hidden units left out (%(default)s)")
    divergence = "D(voice || estimate), or the reverse (%(default)s)"
    target = "the voice's magnitude, or its projection on the mixture's phase (%(default)s)"
    add("--target", choices=("magnitude", "projection"), default="magnitude", help=target)
    add("--divergence", choices=("forward", "reverse"), default="forward", help=divergence)
    add("--bfloat16", action="store_true", help="learn with 16-bit matrix products: faster on some CPUs")
    add("--seed", type=int, default=0, help="of weights, order and transforms (%(default)s)")
    add("--device", default="auto", help="cpu, cuda, mps or auto (%(default)s)")
    add("--threads", type=int, default=torch.get_num_threads(), help="of the network on the CPU (%(default)s)")

    options = parser.parse_args(argv)
    if options.resume and options.overwrite:
        parser.error("--resume and --overwrite exclude each other")
    for name, (least, most) in RANGES.items():
        value = getattr(options, name, None)
        if value is not None and not least <= value <= most:  # not the other way round, which would let NaN pass
            parser.error(f"--{name.replace('_', '-')} must be from {least} to {most}, found {value}")
    if not 0.1 <= options.speed[0] <= options.speed[1] <= 10:
        parser.error(f"--speed must be LOW <= HIGH, both from 0.1 to 10, found {options.speed}")
    if not -100 <= options.gain[0] <= options.gain[1] <= 100:
        parser.error(f"--gain must be LOW <= HIGH, both from -100 to 100, found {options.gain}")
    if len(options.equalizer) > 2 or not all(0 <= spread <= 100 for spread in options.equalizer):
        parser.error(f"--equalizer must be one or two numbers from 0 to 100, found {options.equalizer}")
    options.equalizer = [options.equalizer[0], options.equalizer[-1]]
    options.before = ""  # what a network to start from was trained on
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
    if not {"options", "history", *STATE} <= checkpoint.keys():
        raise UserError(f"{run.last}: expected a checkpoint to go on from, found one of weights only")
    for name, value in lasting(options).items():
        if checkpoint["options"].get(name) != value:
            found = checkpoint["options"].get(name)
            raise UserError(f"{run.last}: the run was started with {name} = {found}, cannot go on with {value}")
    return checkpoint


def starts_from_scratch(starts_from: type | None, options: argparse.Namespace) -> bool:
    return options.init == "scratch" or (options.init is None and starts_from is None)


def make_network(
    network_class: type, starts_from: type | None, options: argparse.Namespace, folder: Path
) -> tuple[torch.nn.Module, AudioConfig]:
    """A new network: on its own, from the weights of a `starts_from`, or from those of one of its own kind."""
    given = {name: getattr(options, name) for name in ("sample_rate", "block", "hop", "encoder", "bands")}
    given = {name: value for name, value in given.items() if value is not None}
    sizes = {"dropout": options.dropout, "adapts": not options.mix}
    sizes |= {"memory": options.memory} if starts_from else {}
    if starts_from_scratch(starts_from, options):
        sizes |= {name: given.pop(name) for name in ("encoder", "bands") if name in given}
        audio = AudioConfig(**given)
        sizes |= {"bins": audio.bins, "bin_width": audio.bin_width, "corner": 2 * CORNER / audio.sample_rate}
        return network_class(network_class.Config(**sizes)), audio
    path = Path(options.init) if options.init else Run(folder, starts_from.name).best
    if not path.exists():
        train_first = f"run train_{starts_from.name}.py first, or " if starts_from else ""
        raise UserError(
            f"{path}: expected the checkpoint to start from, found none; {train_first}"
            "give another one or 'scratch' with --init"
        )
    of_its_kind = starts_from is None or load_checkpoint(path)["name"] == network_class.name
    first, audio, checkpoint = load_network(path, network_class if of_its_kind else starts_from)
    config = dataclasses.asdict(first.config)
    for name, value in given.items():
        found = config[name] if name in config else getattr(audio, name)
        grows = of_its_kind and (found, value) == ("bands", "harmonic")
        if found != value and not grows:
            raise UserError(f"{path}: expected {name} {value}, found {found}")
    if of_its_kind:
        sizes["encoder"] = options.encoder or first.config.encoder
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
    """The songs and the voices alone to train on, and all accompaniments there are, as far as they fit in memory."""
    voices = find_sounds(options.voices, Voice) if options.voices else []
    accompaniments = find_sounds(options.accompaniments, Accompaniment) if options.accompaniments else []
    # Validation goes through a song once an epoch: what it would gain is better spent on the songs to train on.
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


def make_mixer(
    songs: list[Song], audio: AudioConfig, options: argparse.Namespace, folder: Path, device: torch.device
) -> Mixer:
    """A mixer of all folders of the mix, without what is held out; of the dataset's own, without its Test songs."""
    left_out = set()
    parts = [(path, share, mixed_songs(path, songs, options, left_out)) for path, share in options.mix]
    for name in options.leave_out:
        if not any(belongs(song, [name]) for song in left_out):
            raise UserError(
                f"--leave-out: expected a song, artist or sound '{name}' in the mix, found none of that name"
            )
    alone = find_sounds(options.accompaniments, Accompaniment) if options.accompaniments else []
    bank = open_bank(folder, [song for _, _, own in parts for song in own] + alone)
    entries = iter(bank.songs)
    groups = [Group(Path(path).resolve().name, share, [next(entries) for _ in own]) for path, share, own in parts]
    return Mixer(bank, groups, list(entries), audio, options, device)


def mixed_songs(folder: str, songs: list[Song], options: argparse.Namespace, left_out: set[Song]) -> list[Song]:
    """The songs of a folder of the mix, or the voices alone if it holds no songs. Those left out join `left_out`."""
    if Path(folder).resolve() == Path(options.dataset).resolve():
        found = songs
    else:
        try:
            found = [song for own in find_songs(folder, include_test=True).values() for song in own]
        except UserError:
            found = find_sounds(folder, Voice)
    left_out.update(song for song in found if belongs(song, options.hold_out + options.leave_out))
    found = [song for song in found if song not in left_out]
    if not found:
        raise UserError(f"{folder}: expected songs or voices to train on, found none that is not held out")
    return found


@command
def main(
    network_class: type, argv: list[str] | None = None, starts_from: type | None = None, shuffle_frames: bool = False
) -> None:
    """Train a network from the command line. starts_from: class whose checkpoint it takes its first weights from."""
    options = parse_options(argv, network_class, starts_from)
    with joined(), only_writer(options.output) if leads() else nullcontext(Path(options.output)) as folder:
        try:
            start(network_class, starts_from, shuffle_frames, options, folder)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            lost = "a process that reads songs has ended: killed, or out of memory; go on with --resume"
            raise UserError(f"{options.dataset}: {lost} (--workers {options.workers})") from error


def start(
    network_class: type, starts_from: type | None, shuffle_frames: bool, options: argparse.Namespace, folder: Path
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
            raise UserError(f"{options.dataset}: expected songs to train and to validate on, found none in {split}")
    if resumed is not None:
        network, audio, _ = load_network(run.last, network_class)
    else:
        network, audio = make_network(network_class, starts_from, options, folder)

    make_spectrum = MakeMagnitudeSpectrum(projected=options.target == "projection")
    valid_transform = Compose([InTune(), make_spectrum] if network.config.adapts else [make_spectrum])
    valid_set = DSD100Dataset(songs["Valid"], audio, valid_transform, options.excerpt, whole_songs=True)
    if options.mix:
        train_loader = make_mixer(songs["Train"], audio, options, folder, device)
    else:
        train_loader = make_train_loader(songs["Train"], audio, make_spectrum, shuffle_frames, options)
    if resumed is None and starts_from_scratch(starts_from, options):
        measure_input(network, train_loader)

    if options.overwrite and leads():
        for path in (run.last, run.best):
            path.unlink(missing_ok=True)  # so that nothing of the old run is taken for the new one's

    parameters = sum(parameter.numel() for parameter in network.parameters())
    print(
        f"{network.name} network, {parameters / 1e6:.1f} M parameters, {device}, {audio}\n"
        f"{options.dataset}: {', '.join(f'{len(songs[split])} songs {split}' for split in ('Train', 'Valid'))}",
        flush=True,
    )
    train(network, audio, train_loader, make_loader(valid_set, options, shuffle=False), device, options, run, resumed)
    print(f"best checkpoint: {run.best}\ncurves: {run.path('loss.png')}, {run.path('loss.csv')}")
