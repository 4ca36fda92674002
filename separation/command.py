"""The command line of separate_feedforward.py and separate_RNN.py: songs, stems, their files, and messages."""

import argparse
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from networks.hearing import KEYS
from process.commandline import parser_from
from process.errors import UserError, command, make_folder, printable, safe_name
from process.stopping import stop_status
from separation.bidirectional import Bidirectional
from separation.separate import describe, find_checkpoint
from separation.stems import ACCOMPANIMENT, PIPE, VOCALS, Job, separate_song
from sound.files import SOUND_SUFFIXES
from sound.streams import FFMPEG_SUFFIXES, RAW_TYPES, RawFormat
from util import AudioConfig, choose_device, load_network

STEMS = {VOCALS: (VOCALS,), ACCOMPANIMENT: (ACCOMPANIMENT,), "both": (VOCALS, ACCOMPANIMENT)}
FORMATS = ("wav", "flac", "ogg", "mp3")
NAMES = "{name}_{stem}"  # of files in an output folder


def parse_options(
    network_class: type[Any], documentation: str, argv: list[str] | None
) -> tuple[argparse.Namespace, list[Job]]:
    """The options, and the songs to separate. A wrong command line ends here with exit status 2.

    documentation: the script's docstring.
    """
    usage = "%(prog)s [options] INPUT OUTPUT\n       %(prog)s [options] INPUT ... --output FOLDER or PATTERN"
    parser = parser_from(documentation, usage=usage)
    add = parser.add_argument
    paths = "song, or folder of songs: WAV, FLAC, OGG, MP3, and whatever ffmpeg can decode if it is installed; "
    paths += "- reads WAV from standard input, -- precedes names that begin with a dash"
    add("paths", nargs="+", metavar="INPUT", help=paths)
    output = (
        "write into this folder, this file (replaced if it exists), or files named by a pattern with {name} (of the "
    )
    output += "song) and {stem}; - writes to standard output"
    add("-o", "--output", metavar="OUTPUT", help=output)
    add("--stems", choices=STEMS, default=VOCALS, help="stems to write (default: %(default)s)")
    file_format = f"format of files whose name does not determine it (default: {FORMATS[0]})"
    add("--format", choices=FORMATS, help=file_format)
    add("--float", action="store_true", help="write float samples, which never clip (default: the song's bit depth)")
    raw = (
        "take standard input and output as raw PCM instead of WAV, with this sample rate in Hz, number of channels and "
    )
    raw += f"type ({', '.join(RAW_TYPES)})"
    add("--raw", nargs=3, metavar=("RATE", "CHANNELS", "TYPE"), help=raw)
    if network_class.remembers:
        latency = Bidirectional.SEGMENT + Bidirectional.FADE + Bidirectional.CONTEXT
        bidirectional = "run the network backwards in time, too: better, half as fast, "
        bidirectional += f"{latency:.0f} s of latency (for files only)"
        add("--bidirectional", action="store_true", help=bidirectional)
    keys = "test-time augmentation: average the masks of the song in this many keys, which is better and as many times "
    keys += "slower (default: %(default)s)"
    add("--keys", type=int, choices=KEYS, default=1, help=keys)
    checkpoint = "checkpoint to separate with (default: the best one in the current folder, else the pretrained one)"
    add("--checkpoint", type=Path, metavar="FILE", help=checkpoint)
    add("--device", default="auto", help="run on cpu, cuda, mps, or the best available (default: %(default)s)")
    add("--quiet", action="store_true", help="report nothing but errors, clipping and changes of level")
    parser.set_defaults(bidirectional=False)
    options = parser.parse_args(argv)
    try:
        return options, plan(options)
    except ValueError as error:
        parser.error(str(error))


# ---------------------------------------------------------------------------------------------- which song goes where


def plan(options: argparse.Namespace) -> list[Job]:
    """The songs to separate and the names of their stems. Raises ValueError if the command line makes no sense."""
    inputs, output = options.paths, options.output
    if output is None:
        if len(inputs) != 2:
            raise ValueError("expected INPUT OUTPUT, or any number of inputs and --output")
        *inputs, output = inputs
    stems, raw = STEMS[options.stems], raw_format(options.raw)
    if raw and PIPE not in inputs:
        raise ValueError("--raw describes standard input: expected - as INPUT")
    if output == PIPE and options.format:
        raise ValueError(f"--format {options.format}: standard output is WAV, or raw PCM with --raw")
    pattern = output if output == PIPE else output_pattern(output, options)
    songs = [song for path in inputs for song in find_songs(path, pattern)]
    if (len(songs) > 1 and "{name}" not in pattern) or (len(stems) > 1 and "{stem}" not in pattern):
        raise ValueError(
            f"--output {output}: expected a folder, or {{name}} and {{stem}} to tell songs and stems apart"
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
        raise ValueError(
            f"--raw {' '.join(words)}: expected sample rate in Hz, number of channels, type ({', '.join(RAW_TYPES)})"
        )
    return RawFormat(int(rate), int(channels), RAW_TYPES[kind])


def output_pattern(output: str, options: argparse.Namespace) -> str:
    """The pattern of the stems' names, with {name} and {stem}, that an output stands for: a folder, file or pattern."""
    suffix = Path(output).suffix.lower()
    a_file = suffix in SOUND_SUFFIXES or options.output is None  # INPUT OUTPUT makes no folder
    if Path(output).is_dir() or not (a_file or "{name}" in output or "{stem}" in output):
        return str(Path(output) / f"{NAMES}.{options.format or FORMATS[0]}")
    if suffix not in SOUND_SUFFIXES and (options.format or not a_file):
        return f"{output}.{options.format or FORMATS[0]}"
    if options.format and suffix[1:] != options.format:
        raise ValueError(f"--format {options.format}: expected an output of that format, found '{output}'")
    return output


def fill(pattern: str, name: str, stem: str) -> str:
    """The name of a stem's file. The song's name may have folders in it, but never leads out of the pattern's."""
    return pattern.replace("{stem}", stem).replace("{name}", "/".join(map(safe_name, Path(name).parts or ("",))))


def find_songs(path: str, pattern: str) -> list[tuple[str, str]]:
    """(file, name) of a song, or of all songs in a folder and below it, except for stems from an earlier run."""
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
        raise UserError(f"{path}: expected a folder with sound files, found none in it")
    return songs


def check_names(jobs: list[Job]) -> None:
    """Raise UserError if a stem would replace an input, or another stem."""
    songs = {os.path.realpath(job.source) for job in jobs if job.source != PIPE}
    sources: dict[str, str] = {}  # stem -> song
    for job in jobs:
        for target in job.targets.values():
            path = os.path.realpath(target)
            if path in songs and target != PIPE:
                raise UserError(f"{target}: expected an output other than the input, found the same file")
            if path in sources:
                raise UserError(f"{target}: expected one song per file, found '{sources[path]}' and '{job.source}'")
            sources[path] = job.source


# ---------------------------------------------------------------------------------------------- separate and report


def separate_job(network, audio: AudioConfig, job: Job, quiet: bool) -> None:
    """Separate a song, and report its progress, time and changes of level on standard error."""
    started = time.perf_counter()
    with tqdm(desc=job.source, unit="s", unit_scale=True, file=sys.stderr, disable=quiet or None, leave=False) as bar:

        def report(seconds: float, total: float | None) -> None:
            bar.total = total
            bar.update(seconds - bar.n)

        seconds, gain, peak = separate_song(network, audio, job, report)
    took = time.perf_counter() - started
    if gain != 1:
        print(
            f"{job.source}: all stems {decibels(gain)}, as one would have clipped (--float avoids this)",
            file=sys.stderr,
        )
    if peak > 1:
        print(f"{job.source}: clipped, peak at {decibels(peak)}", file=sys.stderr)
    if not quiet:
        speed = f"{seconds:.1f} s of sound in {took:.1f} s, {seconds / took:.0f}x real time"
        print(f"{job.source} -> {', '.join(job.targets.values())}: {speed}", file=sys.stderr)


def decibels(gain: float) -> str:
    return f"{20 * math.log10(gain):+.2f} dB"


@command
def main(network_class: type[Any], documentation: str, argv: list[str] | None = None) -> None:
    """Separate songs with a network of this class, from the command line of a script with this docstring."""
    options, jobs = parse_options(network_class, documentation, argv)
    device = choose_device(options.device)
    path = options.checkpoint or find_checkpoint(network_class.name)
    network, audio, checkpoint = load_network(path, network_class)
    network.to(device)
    torch.set_num_threads(1)  # the rest reads and writes; more threads are many times slower on a busy machine
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
            sys.exit(stop_status(stop))  # the usual way to end live sound: no message
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} songs were not separated: {', '.join(failed)}")
