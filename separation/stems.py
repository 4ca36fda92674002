"""From a song to its stems: open a file or a pipe, separate it while reading, write voice and accompaniment."""

import contextlib
import dataclasses
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from process.start import CLOSED

import numpy as np
import soundfile
import torch

from process.ahead import made_ahead
from process.errors import UserError, named_together
from separation.separator import SEGMENT, Block, Each, Separator
from sound.encoding import ENCODERS, bitrate_to_write, create_with_ffmpeg, rate_to_write, resampled
from sound.ffmpeg import ffmpeg_is_there, listed, open_with_ffmpeg, probe
from sound.files import UnknownFormat, open_sound
from sound.samples import BITS, Sound, SoundInfo, round_to_bits
from sound.streams import RawFormat, read_stream, write_stream
from sound.tag_reading import read_tags
from sound.tags import stem_tags
from sound.wholeness import CutOff, check_whole, up_to_cut
from sound.writing import SoundWriter, create_sound, kept_subtype, output_format
from util import AudioConfig

PIECE = 8 << 14  # samples of all channels separated at once: some 46 frames of stereo; more take more memory
PIPE = "-"  # standard input or output, in place of a file's name
VOCALS, ACCOMPANIMENT = "vocals", "accompaniment"
Report = Callable[[float, float | None], None]  # takes the seconds done, and the song's length in seconds if known
Tell = Callable[..., None]  # takes what the user should know about the song, and whether he must


def is_pipe(name: str) -> bool:
    """Whether this is standard input or output, or a named pipe, as a shell's <(...) and >(...) are."""
    return name == PIPE or stat.S_ISFIFO(mode(name))


def mode(path: str | Path) -> int:
    """Of what kind a file is, as the module stat tells; 0 if there is none, or if the system does not let anybody see,
    as in a folder that must not be entered, where Path.is_dir() and its like raise PermissionError."""
    with contextlib.suppress(OSError, ValueError):
        return Path(path).stat().st_mode
    return 0


@dataclasses.dataclass(frozen=True)
class Job:
    """A song and its stems: names of files, or '-' for standard input and output.

    raw: the format of standard input and output, if not WAV; as_float: write float samples; keys: see Separator;
    bitrate: of lossy stems, kb/s, if not the default; partial: separate what can be read of a damaged file; track:
    which sound track of a video, from 1, if not the first.
    """

    source: str
    targets: dict[str, str]  # stem -> file
    raw: RawFormat | None = None
    as_float: bool = False
    keys: int = 1
    bitrate: int | None = None
    partial: bool = False
    track: int | None = None

    @property
    def piped(self) -> bool:
        """Whether sound goes through a pipe, which allows no second attempt."""
        return self.reads_pipe or any(map(is_pipe, self.targets.values()))

    @property
    def reads_pipe(self) -> bool:
        return is_pipe(self.source)


def separate_song(
    network: torch.nn.Module,
    audio: AudioConfig,
    job: Job,
    report: Report = lambda seconds, total: None,
    tell: Tell = lambda *_: None,
) -> tuple[float, float, float]:
    """Write a song's stems with its sample rate, channels and length, and its bit depth where the format has it.

    The accompaniment is the song minus the voice as written, so that both add up to the song. If a stem would clip,
    all are written again with a common lower gain; a pipe gets float WAV, which never clips.
    Returns the seconds of sound, the gain, and the stems' peak relative to full scale: above 1, they were clipped.
    Raises UserError if the song cannot be read or a stem cannot be written, and leaves no file then.
    """
    gain = 1.0
    failed: UnknownFormat | None = None
    while True:
        try:
            seconds, peak = _write_stems(network, audio, job, report, tell, gain, failed)
            return seconds, gain, peak
        except _Clips as clips:
            gain *= clips.gain
        except UnknownFormat as error:  # to libsndfile: the next attempt is ffmpeg's
            if failed or (job.piped and error.samples is not None):  # some of it is written already
                raise
            failed = error
        except CutOff as error:
            if job.partial:
                raise
            raise UserError(f"{error}; --partial separates what can be read") from error


class _Clips(Exception):
    """A stem exceeds full scale. With this gain, it would fit."""

    def __init__(self, gain: float):
        self.gain = gain


def _write_stems(
    network: torch.nn.Module,
    audio: AudioConfig,
    job: Job,
    report: Report,
    tell: Tell,
    gain: float,
    failed: UnknownFormat | None,
) -> tuple[float, float]:
    with contextlib.ExitStack() as stack:  # an error leaves no file, not even a stem that is complete
        waiting = stack.enter_context(named_together())
        first = tell if gain == 1 else lambda *_: None  # what is told in the first attempt is not told again
        sound = stack.enter_context(_open_song(job, failed, first))
        arriving = _usable(sound, job, failed, first)
        writers = {
            stem: stack.enter_context(_open_stem(job, stem, target, sound, waiting))
            for stem, target in job.targets.items()
        }
        rates = {rate_to_write(target, sound.info.rate) for target in job.targets.values()} - {sound.info.rate}
        if job.bitrate:
            target = next(iter(job.targets.values()))  # all are of one format
            rate = rate_to_write(target, sound.info.rate)
            found = bitrate_to_write(target, rate, sound.info.channels, job.bitrate)
            if found != job.bitrate:
                first(
                    f"{job.source}: stems have {found} kb/s, since their format lacks {job.bitrate} kb/s for this song"
                )
        if rates:
            first(
                f"{job.source}: stems have {rates.pop()} Hz, since their format lacks the song's {sound.info.rate} Hz"
            )
        info, subtype = sound.info, next(iter(writers.values())).subtype
        separator = Separator(network, audio, info.rate, info.channels, job.keys)
        if not job.piped:  # else each block as soon as it arrives
            # Of less than a segment at a time, most would hold no frames, and still count among those under way.
            piece = round(SEGMENT * info.rate) if separator.foresees else max(1, PIECE // info.channels)
            arriving = gathered(arriving, piece)
        pieces: Iterator = _with_end(arriving, info.channels)
        for step in separator.steps:
            if isinstance(step, Each) and step.threads and not job.piped:
                pieces = made_ahead(step.make, pieces, step.threads)
                stack.callback(pieces.close)
            else:
                pieces = step(pieces)
        samples = 0
        for mixture, voice, _ in pieces:
            stems = split(mixture, voice, gain, subtype)
            for stem, writer in writers.items():
                writer.write(stems[stem])
            samples += mixture.shape[1]
            report(samples / info.rate, info.samples and info.samples / info.rate)
            del mixture, voice, stems  # room for the next
        peak = max(writer.peak for writer in writers.values())
        if peak > 1 and not job.piped:
            raise _Clips((1 - 3 * 2.0 ** (1 - BITS.get(subtype, 16))) / peak)  # leaves room for two roundings
    return samples / info.rate, peak


def _usable(sound: Sound, job: Job, failed: UnknownFormat | None, tell: Tell) -> Iterator[np.ndarray]:
    """The blocks of a song. With --partial, those before an error are all there is."""
    samples = 0
    try:
        for block in sound.blocks:
            yield block
            samples += block.shape[1]
    except UserError as error:
        ffmpeg_is_next = isinstance(error, UnknownFormat) and not failed and not job.piped and ffmpeg_is_there()
        if ffmpeg_is_next:
            raise
        if not samples:
            raise UserError(str(error)) from error
        if not job.partial:
            raise CutOff(str(error)) from error
        seconds = f"{samples / sound.info.rate:.2f} s"
        tell(f"{error}; only what can be read, {seconds}, is separated", True)


def _with_end(blocks: Iterator[np.ndarray], channels: int) -> Iterator[Block]:
    for block in blocks:
        yield block, False
    yield np.zeros((channels, 0), np.float32), True


def gathered(blocks: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """The same sound in blocks of this many samples, but for the last one: larger calls are faster."""
    parts: list[np.ndarray] = []
    missing = samples
    for block in blocks:
        while block.shape[1] >= missing:
            yield np.concatenate([*parts, block[:, :missing]], axis=1)
            block, parts, missing = block[:, missing:], [], samples
        if block.size:
            parts.append(block)
            missing -= block.shape[1]
    if parts:
        yield np.concatenate(parts, axis=1)


def split(mixture: np.ndarray, voice: np.ndarray, gain: float, subtype: str) -> dict[str, np.ndarray]:
    """Both stems (channels, samples) of a mixture, times gain: the voice, rounded to its bit depth, and the rest."""
    voice = voice.astype(mixture.dtype, copy=False)
    if gain != 1:
        mixture, voice = mixture * mixture.dtype.type(gain), voice * mixture.dtype.type(gain)
    if subtype in BITS:
        voice = round_to_bits(voice, BITS[subtype])
    return {VOCALS: voice, ACCOMPANIMENT: mixture - voice}


@contextlib.contextmanager
def _open_song(job: Job, failed: UnknownFormat | None, tell: Tell) -> Iterator[Sound]:
    """Open standard input, or a file: with libsndfile or, if that has failed, with ffmpeg."""
    with contextlib.ExitStack() as stack:
        path, track = Path(job.source), job.track or 1
        if job.source == PIPE:
            _check_piped(sys.stdin.buffer, "standard input")
            sound = read_stream(sys.stdin.buffer, "standard input", job.raw)
        elif job.reads_pipe:
            sound = read_stream(stack.enter_context(path.open("rb")), job.source, job.raw)
        elif failed or track > 1:
            if not (failed or job.partial):
                check_whole(path)
            found = probe(path, track)
            if len(found.tracks) > 1 and job.track is None:
                tell(f"{path}: the first of {listed(found.tracks)}; --track chooses another")
            reason, samples = (failed.reason, failed.samples) if failed else ("it is a video", None)
            options = ("-map", f"0:a:{track - 1}", *found.in_step)
            sound = stack.enter_context(
                open_with_ffmpeg(path, reason, (), options, found.subtype, samples, job.partial)
            )
            if job.partial:  # else it has been checked
                sound.blocks = up_to_cut(sound.blocks, path)
            sound.tags = read_tags(path) or found.tags
        else:
            sound = stack.enter_context(open_sound(path, partial=job.partial))
            sound.tags = read_tags(path)
        yield sound


def _open_stem(
    job: Job, stem: str, target: str, sound: Sound, waiting: dict[Path, Path]
) -> contextlib.AbstractContextManager[SoundWriter]:
    info = sound.info
    if is_pipe(target):
        return _into_pipe(job, target, info)
    if job.source != PIPE and mode(target) and Path(target).samefile(job.source):
        raise UserError(f"{target}: expected an output other than the input, found the same file")
    rate, tags = rate_to_write(target, info.rate), stem_tags(sound.tags, stem)
    if Path(target).suffix.lower() in ENCODERS:
        file = create_with_ffmpeg(target, rate, info.channels, tags, job.bitrate, waiting)
    else:
        file_format = output_format(target)
        as_float = job.as_float or (job.reads_pipe and soundfile.check_format(file_format, "FLOAT"))
        subtype = "FLOAT" if as_float else kept_subtype(info, file_format)
        samples = info.samples if rate == info.rate else None
        file = create_sound(target, rate, info.channels, subtype, tags, samples, job.bitrate, waiting)
    return file if rate == info.rate else resampled(file, info.rate, rate, info.channels)


@contextlib.contextmanager
def _into_pipe(job: Job, target: str, info: SoundInfo) -> Iterator[SoundWriter]:
    subtype, raw = (job.raw.subtype, True) if job.raw else ("FLOAT", False)
    if target == PIPE:
        _check_piped(sys.stdout.buffer, "standard output")
        yield write_stream(sys.stdout.buffer, info.rate, info.channels, subtype, raw)
    else:
        with Path(target).open("wb") as stream:
            yield write_stream(stream, info.rate, info.channels, subtype, raw, target)


def _check_piped(stream: BinaryIO, name: str) -> None:
    found = "it closed" if name in CLOSED else "a terminal" if stream.isatty() else None
    if found:
        raise UserError(f"{name}: expected a pipe or a file, found {found}")
