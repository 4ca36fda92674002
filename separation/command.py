"""The separation scripts' command line: which songs, which stems, where they go, and what is told meanwhile."""

import argparse
import math
import os
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from networks.hearing import KEYS
from process.errors import UserError, command, make_folder, printable, safe_name
from process.stopping import stop_status
from separation.separate import describe, find_checkpoint
from separation.stems import ACCOMPANIMENT, PIPE, VOCALS, Job, separate_song
from sound.files import SOUND_SUFFIXES
from sound.streams import FFMPEG_SUFFIXES, RAW_TYPES, RawFormat
from util import AudioConfig, choose_device, load_network

STEMS = {VOCALS: (VOCALS,), ACCOMPANIMENT: (ACCOMPANIMENT,), "both": (VOCALS, ACCOMPANIMENT)}
FORMATS = ("wav", "flac", "ogg", "mp3")
NAMES = "{name}_{stem}"  # of files in an output folder


def parse_options(network_class: type, argv: list[str] | None) -> tuple[argparse.Namespace, list[Job]]:
    """The options, and the songs to separate. Wrong command lines end here with exit status 2."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [options] INPUT OUTPUT\n       %(prog)s [options] INPUT ... --output FOLDER or PATTERN",
        description=f"Separate the singing voice with the {network_class.name} network. "
        "OUTPUT is replaced if it exists. Put -- before names that begin with a dash.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="INPUT",
        help="songs, or folders of songs: WAV, FLAC, OGG, MP3 and, if ffmpeg is installed, whatever it can decode; "
        "- reads WAV from standard input",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="a folder, a file, a pattern of names with {name} (the song's) and {stem}, or - for standard output",
    )
    parser.add_argument("--stems", choices=STEMS, default=VOCALS, help="what to write (%(default)s)")
    parser.add_argument("--format", choices=FORMATS, help="of files whose name does not tell (wav)")
    parser.add_argument("--float", action="store_true", help="write float samples, which never clip")
    parser.add_argument(
        "--raw",
        nargs=3,
        metavar=("RATE", "CHANNELS", "TYPE"),
        help=f"standard input and output are raw PCM, not WAV; types: {', '.join(RAW_TYPES)}",
    )
    if network_class.remembers:
        text = "hear songs backwards, too: better, takes twice as long, not for live sound"
        parser.add_argument("--bidirectional", action="store_true", help=text)
    text = "hear songs in so many keys and take the mean: better, takes as many times as long (%(default)s)"
    parser.add_argument("--keys", type=int, choices=KEYS, default=1, help=text)
    parser.add_argument("--checkpoint", type=Path, help="default: the best one in the current folder, else pretrained")
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (%(default)s)")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors and changes of level")
    parser.set_defaults(bidirectional=False)
    options = parser.parse_args(argv)
    try:
        return options, plan(options)
    except ValueError as error:
        parser.error(str(error))


# ---------------------------------------------------------------------------------------------- which song goes where


def plan(options: argparse.Namespace) -> list[Job]:
    """The songs to separate and the names of their stems. Raises ValueError for a command line that makes no sense."""
    inputs, output = options.paths, options.output
    if output is None:
        if len(inputs) != 2:
            raise ValueError("expected INPUT OUTPUT, or --output after any number of inputs")
        *inputs, output = inputs
    stems, raw = STEMS[options.stems], raw_format(options.raw)
    if raw and PIPE not in inputs:
        raise ValueError("--raw tells what standard input holds: expected the input -")
    if output == PIPE and options.format:
        raise ValueError(f"--format {options.format}: standard output is WAV, or raw PCM with --raw")
    pattern = output if output == PIPE else output_pattern(output, options)
    songs = [song for path in inputs for song in find_songs(path, pattern)]
    if (len(songs) > 1 and "{name}" not in pattern) or (len(stems) > 1 and "{stem}" not in pattern):
        raise ValueError(
            f"--output {output}: expected a folder, or {{name}} and {{stem}} for songs and stems to differ"
        )
    jobs = [
        Job(
            source,
            {stem: fill(pattern, name, stem) for stem in stems},
            raw,
            options.float,
            options.bidirectional,
            options.keys,
        )
        for source, name in songs
    ]
    check_names(jobs)
    return jobs


def raw_format(words: list[str] | None) -> RawFormat | None:
    if words is None:
        return None
    rate, channels, kind = words
    if not (rate.isdigit() and channels.isdigit() and int(rate) and int(channels) and kind in RAW_TYPES):
        raise ValueError(f"--raw {' '.join(words)}: expected a rate in Hz, channels and a type: {', '.join(RAW_TYPES)}")
    return RawFormat(int(rate), int(channels), RAW_TYPES[kind])


def output_pattern(output: str, options: argparse.Namespace) -> str:
    """The pattern of the stems' names that an output means: a folder's, a file's or one with {name} and {stem}."""
    suffix = Path(output).suffix.lower()
    a_file = suffix in SOUND_SUFFIXES or options.output is None  # INPUT OUTPUT makes no folder
    if Path(output).is_dir() or not (a_file or "{name}" in output or "{stem}" in output):
        return str(Path(output) / f"{NAMES}.{options.format or FORMATS[0]}")
    if suffix not in SOUND_SUFFIXES and (options.format or not a_file):
        return f"{output}.{options.format or FORMATS[0]}"
    if options.format and suffix[1:] != options.format:
        raise ValueError(f"--format {options.format}: expected an output of that name, found '{output}'")
    return output


def fill(pattern: str, name: str, stem: str) -> str:
    """The name of a stem's file; the song's name, perhaps with folders below the input's, must not lead elsewhere."""
    return pattern.replace("{stem}", stem).replace("{name}", "/".join(map(safe_name, Path(name).parts or ("",))))


def find_songs(path: str, pattern: str) -> list[tuple[str, str]]:
    """(file, name) of a song, or of all songs in a folder and those below it, but for stems that were written there."""
    if path == PIPE or not Path(path).is_dir():
        return [(path, "stdin" if path == PIPE else Path(path).stem)]
    files = [file for file in sorted(Path(path).rglob("*")) if file.suffix.lower() in SOUND_SUFFIXES + FFMPEG_SUFFIXES]
    hidden = [any(part.startswith(".") for part in file.relative_to(path).parts) for file in files]
    files = [file for file, leave in zip(files, hidden, strict=True) if not leave and file.is_file()]
    names = {file: file.relative_to(path).with_suffix("") for file in files}
    written = {
        os.path.realpath(Path(fill(pattern, str(name), stem)).with_suffix(""))
        for name in names.values()
        for stem in (VOCALS, ACCOMPANIMENT)
    }
    songs = [
        (str(file), str(name)) for file, name in names.items() if os.path.realpath(file.with_suffix("")) not in written
    ]
    if not songs:
        raise UserError(f"{path}: expected a sound file, found a folder without any")
    return songs


def check_names(jobs: list[Job]) -> None:
    """Raise UserError if a stem would replace a song that was given, or another stem."""
    songs = {os.path.realpath(job.source) for job in jobs if job.source != PIPE}
    sources = {}  # of stems so far
    for job in jobs:
        for target in job.targets.values():
            path = os.path.realpath(target)
            if path in songs and target != PIPE:
                raise UserError(f"{target}: expected another file than the input, found the same")
            if path in sources:
                raise UserError(f"{target}: expected it for one song, found '{sources[path]}' and '{job.source}'")
            sources[path] = job.source


# ---------------------------------------------------------------------------------------------- what is told


def separate_job(network, audio: AudioConfig, job: Job, quiet: bool) -> None:
    """Separate a song and tell on standard error how far it is, what it took, and what happened to its level."""
    started = time.perf_counter()
    with tqdm(desc=job.source, unit="s", unit_scale=True, file=sys.stderr, disable=quiet or None, leave=False) as bar:

        def report(seconds: float, total: float | None) -> None:
            bar.total = total
            bar.update(seconds - bar.n)

        seconds, gain, peak = separate_song(network, audio, job, report)
    took = time.perf_counter() - started
    if gain != 1:
        print(
            f"{job.source}: all stems {decibels(gain)}, for one would have clipped (not with --float)", file=sys.stderr
        )
    if peak > 1:
        print(f"{job.source}: clipped, with a peak of {decibels(peak)}", file=sys.stderr)
    if not quiet:
        speed = f"{seconds:.1f} s of sound in {took:.1f} s, {seconds / took:.0f} times real time"
        print(f"{job.source} -> {', '.join(job.targets.values())}: {speed}", file=sys.stderr)


def decibels(gain: float) -> str:
    return f"{20 * math.log10(gain):+.2f} dB"


@command
def main(network_class: type, argv: list[str] | None = None) -> None:
    """Separate songs from the command line with a network of this class."""
    options, jobs = parse_options(network_class, argv)
    device = choose_device(options.device)
    path = options.checkpoint or find_checkpoint(network_class.name)
    network, audio, checkpoint = load_network(path, network_class)
    network.to(device)
    torch.set_num_threads(1)  # reading and writing take the other core; on a busy machine, two are many times slower
    if not options.quiet:
        print(f"{describe(path, checkpoint)} ({audio}, on {device})", file=sys.stderr)
    failed = []
    for job in jobs:
        try:
            if options.output is not None:
                for target in job.targets.values():
                    if target != PIPE:
                        make_folder(Path(target).parent)
            separate_job(network, audio, job, options.quiet)
        except (UserError, OSError) as error:
            if len(jobs) == 1 or isinstance(error, BrokenPipeError):
                raise
            failed.append(job.source)
            print(f"error: {printable(str(error))}", file=sys.stderr)
        except KeyboardInterrupt as stop:
            if not job.piped:
                raise
            sys.exit(stop_status(stop))  # the way to end live sound: not worth a word
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} songs were not separated: {', '.join(failed)}")
