"""The command line of separate_feedforward.py and separate_RNN.py: options, progress, and what went wrong."""

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from Model_RNN import BidirectionalNetwork, both_ways
from networks.hearing import KEYS
from process.commandline import parser_from, renamed
from process.devices import choose_device, device_errors
from process.errors import UserError, command, in_words, make_folder, printable
from process.memory import share_memory
from process.stopping import stop_status
from separation.naming import FORMATS, STEMS, Plan, is_done, make_plan
from separation.separate import OUT_OF_TUNE, describe, find_checkpoint, headline
from separation.separator import CONTEXT, SEGMENT
from separation.stems import Job, is_pipe, separate_song
from sound.streams import RAW_TYPES
from util import AudioConfig, load_network


def parse_options(
    network_class: type[Any], documentation: str, argv: list[str] | None
) -> tuple[argparse.Namespace, Plan]:
    """The options, and the songs to separate. A wrong command line ends here with exit status 2.

    documentation: the script's docstring.
    """
    usage = "%(prog)s [options] INPUT\n       %(prog)s [options] INPUT OUTPUT\n"
    usage += "       %(prog)s [options] INPUT ... --output FOLDER or PATTERN"
    parser = parser_from(documentation, usage=usage)
    add = parser.add_argument
    paths = "song, or folder of songs: WAV, FLAC, OGG, MP3, AIFF, and whatever ffmpeg can decode if it is installed; "
    paths += "- reads WAV from standard input, -- precedes names that begin with a dash"
    add("paths", nargs="+", metavar="INPUT", help=paths)
    output = "write into this folder, this file, or files named by a pattern with {name} (of the song), {folder} (that "
    output += "it is in) and {stem}; "
    output += "- writes to standard output (default: beside INPUT, if there is only one)"
    add("-o", "--output", metavar="OUTPUT", help=output)
    add("--stems", choices=STEMS, help="stems to write (default: vocals; without an output, both)")
    existing = parser.add_mutually_exclusive_group()
    overwrite = "replace files that these scripts have not written (default: only stems of an earlier run are replaced)"
    existing.add_argument("--overwrite", action="store_true", help=overwrite)
    existing.add_argument("--skip-existing", action="store_true", help="leave out songs whose stems exist")
    file_format = f"format of files whose name does not determine it (default: {FORMATS[0]})"
    add("--format", choices=FORMATS, help=file_format)
    add("--float", action="store_true", help="write float samples, which never clip (default: the song's bit depth)")
    bitrate = "bit rate of MP3, M4A and Opus, in kb/s (default: MP3 of the best quality, M4A 256, Opus 160)"
    add("--bitrate", type=int, metavar="KBPS", help=bitrate)
    raw = (
        "take standard input and output as raw PCM instead of WAV, with this sample rate in Hz, number of channels and "
    )
    raw += f"type ({', '.join(RAW_TYPES)})"
    add("--raw", nargs=3, metavar=("RATE", "CHANNELS", "TYPE"), help=raw)
    track = "sound track of a video to separate, counted from 1 (default: the first)"
    add("--track", type=int, metavar="N", help=track)
    partial = "separate what can be read of a damaged file (default: refuse it)"
    add("--partial", action="store_true", help=partial)
    if network_class.remembers:
        bidirectional = "separate with the network that also hears the song backwards: better, a little slower, and "
        bidirectional += f"with {SEGMENT + CONTEXT:.0f} s of latency"
        add("--bidirectional", action="store_true", help=bidirectional)
    keys = "test-time augmentation: average the masks of the song in this many keys; better, but takes that many times "
    keys += "as long (default: %(default)s, none)"
    add("--tta", type=int, choices=KEYS, default=1, dest="keys", help=keys)
    renamed(parser, "--keys", "--tta")
    checkpoint = "checkpoint to separate with (default: the best one in the current folder, else the pretrained one)"
    add("--checkpoint", type=Path, metavar="FILE", help=checkpoint)
    add("--device", default="auto", help="run on cpu, cuda, mps, or the best available (default: %(default)s)")
    add("--verbose", action="store_true", help="report how the network was trained, too")
    add("--quiet", action="store_true", help="report nothing but errors, clipping and changes of level")
    parser.set_defaults(bidirectional=False)
    argv = sys.argv[1:] if argv is None else argv
    # Options may stand between INPUT and OUTPUT; argparse knows no -- then.
    options = parser.parse_args(argv) if "--" in argv else parser.parse_intermixed_args(argv)
    try:
        return options, make_plan(options)
    except ValueError as error:
        parser.error(str(error))


# ---------------------------------------------------------------------------------------------- separate and report


@dataclasses.dataclass
class Progress:
    """How far a run is, for its messages on standard error. Those that are not about faults are left out if quiet."""

    songs: int
    quiet: bool
    number: int = 0  # of the song at work
    separated: int = 0
    skipped: int = 0
    seconds: float = 0.0  # that the separated ones took

    def say(self, text: str, always: bool = False) -> None:
        if always or not self.quiet:
            print(printable(text), file=sys.stderr)

    @property
    def label(self) -> str:
        return f"song {self.number} of {self.songs}: " if self.songs > 1 else ""

    @property
    def left(self) -> str:
        """Time left, if the other songs take as long as those before."""
        others = self.songs - self.number
        return f", about {duration(self.seconds / self.separated * others)} left" if others and self.separated else ""

    def summary(self, failed: int) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.separated} of {self.songs} songs separated in {duration(self.seconds)}{skipped}, {failed} failed"


def duration(seconds: float) -> str:
    units = ((3600, "h"), (60, "min"), (1, "s"))
    size, unit = next(((size, unit) for size, unit in units if seconds >= 2 * size), units[-1])
    return f"{seconds / size:.0f} {unit}"


def separate_job(network, audio: AudioConfig, job: Job, progress: Progress) -> None:
    """Separate a song, and report its progress, time and changes of level on standard error."""
    started, quiet = time.perf_counter(), progress.quiet or None
    name = progress.label + job.source
    with tqdm(desc=printable(name), unit="s", unit_scale=True, file=sys.stderr, disable=quiet, leave=False) as bar:

        def report(seconds: float, total: float | None) -> None:
            bar.total = total
            bar.update(seconds - bar.n)

        seconds, gain, peak = separate_song(network, audio, job, report, progress.say)
    took = time.perf_counter() - started
    progress.separated, progress.seconds = progress.separated + 1, progress.seconds + took
    if gain != 1:
        progress.say(f"{job.source}: all stems {decibels(gain)}, as one would have clipped (--float avoids this)", True)
    if peak > 1:
        progress.say(f"{job.source}: clipped, peak at {decibels(peak)}", True)
    speed = f"{seconds:.1f} s of sound in {took:.1f} s, {seconds / took:.0f}x real time"
    progress.say(f"{name} -> {', '.join(job.targets.values())}: {speed}{progress.left}")


def decibels(gain: float) -> str:
    return f"{20 * math.log10(gain):+.2f} dB"


@command
def main(network_class: type[Any], documentation: str, argv: list[str] | None = None) -> None:
    """Separate songs with a network of this class, from the command line of a script with this docstring."""
    options, plan = parse_options(network_class, documentation, argv)
    torch.set_num_threads(1)  # the rest reads and writes; more threads are many times slower on a busy machine
    share_memory()
    device = choose_device(options.device)
    kinds: list[Any] = [BidirectionalNetwork, network_class] if network_class.remembers else [network_class]
    names = [kind.name for kind in kinds if options.bidirectional or not kind.foresees]
    path = options.checkpoint or find_checkpoint(*names)
    network, audio, checkpoint = load_network(path, *kinds)
    if options.bidirectional:
        network = both_ways(network)
    with device_errors(device):
        network.to(device)
    progress = Progress(len(plan.jobs), options.quiet)
    progress.say(headline(path, network, audio, device))
    if checkpoint.get("in_tune"):
        progress.say(f"warning: {path}: {OUT_OF_TUNE}: train it anew", True)
    if options.verbose:
        progress.say(f"{describe(path, checkpoint)} ({audio})")
    for line in plan.left_out:
        progress.say(f"left out: {printable(line)}")
    failed = []
    for job in plan.jobs:
        progress.number += 1
        done = options.skip_existing and is_done(job)  # looked up now: another program may have written them meanwhile
        if done and job.source not in plan.refused:
            progress.skipped += 1
            continue
        try:
            if job.source in plan.refused:
                raise UserError(plan.refused[job.source])
            for target in job.targets.values():
                if plan.make_folders and not is_pipe(target):
                    make_folder(Path(target).parent)
            with device_errors(device):
                separate_job(network, audio, job, progress)
        except (UserError, OSError) as error:
            if len(plan.jobs) == 1 or isinstance(error, BrokenPipeError):
                raise
            failed.append(job.source)
            print(f"error: {printable(in_words(error))}", file=sys.stderr)
        except KeyboardInterrupt as stop:
            if not job.piped:
                raise
            sys.exit(stop_status(stop))  # the usual way to end live sound: no message
    if len(plan.jobs) > 1 or progress.skipped:
        progress.say(progress.summary(len(failed)))
    if failed:
        raise UserError(f"{len(failed)} of {len(plan.jobs)} songs were not separated: {', '.join(failed)}")
