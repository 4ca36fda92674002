"""From a song to its stems: open a file or a pipe, separate it while reading, write voice and accompaniment."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import torch

from process.errors import UserError
from process.start import CLOSED
from separation.bidirectional import Bidirectional
from separation.separate import make_separator
from separation.separator import Separator
from sound.encoding import ENCODERS, create_with_ffmpeg, rate_to_write, resampled
from sound.files import (
    BITS,
    Sound,
    SoundWriter,
    UnknownFormat,
    create_sound,
    kept_subtype,
    open_sound,
    output_format,
    round_to_bits,
)
from sound.streams import RawFormat, open_with_ffmpeg, probe, read_stream, write_stream
from sound.tags import read_tags, stem_tags
from util import AudioConfig

PIECE = 3 << 17  # samples of all channels separated at once: up to 140 frames of stereo, and a few MB of memory
PIPE = "-"  # standard input or output, in place of a file's name
VOCALS, ACCOMPANIMENT = "vocals", "accompaniment"
Report = Callable[[float, float | None], None]  # takes the seconds done, and the song's length in seconds if known
Tell = Callable[[str], None]  # takes what the user should know about the song


@dataclasses.dataclass(frozen=True)
class Job:
    """A song and its stems: names of files, or '-' for standard input and output.

    raw: the format of standard input and output, if not WAV; as_float: write float samples; bidirectional and keys:
    see Bidirectional and Separator; bitrate: of lossy stems, kb/s, if not the default.
    """

    source: str
    targets: dict[str, str]  # stem -> file
    raw: RawFormat | None = None
    as_float: bool = False
    bidirectional: bool = False
    keys: int = 1
    bitrate: int | None = None

    @property
    def piped(self) -> bool:
        """Whether sound goes through a pipe, which allows no second attempt."""
        return self.reads_pipe or PIPE in self.targets.values()

    @property
    def reads_pipe(self) -> bool:
        """Whether the song is standard input or a named pipe, as a shell's <(...) is."""
        return self.source == PIPE or Path(self.source).is_fifo()


def separate_song(
    network: torch.nn.Module,
    audio: AudioConfig,
    job: Job,
    report: Report = lambda seconds, total: None,
    tell: Tell = lambda text: None,
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
        sound = stack.enter_context(_open_song(job.source, job.raw, failed))
        writers = {
            stem: stack.enter_context(_open_stem(job, stem, target, sound)) for stem, target in job.targets.items()
        }
        rates = {rate_to_write(target, sound.info.rate) for target in job.targets.values()} - {sound.info.rate}
        if rates and gain == 1:
            tell(f"stems have {rates.pop()} Hz, since their format lacks the song's {sound.info.rate} Hz")
        info, subtype = sound.info, next(iter(writers.values())).subtype
        separator = make_separator(network, audio, info.rate, info.channels, job.bidirectional, job.keys)
        if job.piped:  # each block as soon as it arrives
            pieces = _separate_blocks(separator, sound.blocks)
        else:  # read, separate and write in parallel
            blocks = ahead(gathered(sound.blocks, PIECE // info.channels))
            stack.callback(close, blocks)
            stop = separator.stop if isinstance(separator, Bidirectional) else None
            pieces = ahead(_separate_blocks(separator, blocks), stop)
            stack.callback(close, pieces)
        samples = 0
        for mixture, voice in pieces:
            stems = split(mixture, voice, gain, subtype)
            for stem, writer in writers.items():
                writer.write(stems[stem])
            samples += mixture.shape[1]
            report(samples / info.rate, info.samples and info.samples / info.rate)
        peak = max(writer.peak for writer in writers.values())
        if peak > 1 and not job.piped:
            raise _Clips((1 - 3 * 2.0 ** (1 - BITS.get(subtype, 16))) / peak)  # leaves room for two roundings
    return samples / info.rate, peak


def _separate_blocks(
    separator: Separator | Bidirectional, blocks: Iterator[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for block in blocks:
        yield separator.push(block)
    yield separator.push(np.zeros_like(separator.mixture[:, :0]), last=True)


def gathered(blocks: Iterator[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """The same sound in blocks of at least this many samples, but for the last one: larger calls are faster."""
    parts: list[np.ndarray] = []
    for block in blocks:
        parts.append(block)
        if sum(part.shape[1] for part in parts) >= samples:
            yield np.concatenate(parts, axis=1)
            parts = []
    if parts:
        yield np.concatenate(parts, axis=1)


def ahead(items: Iterator, stop: Callable[[], None] | None = None) -> Generator:
    """The same items. A thread makes the next one while this one is used.

    stop: called when no more are wanted, to abort an item that takes long.
    """
    end = object()
    with ThreadPoolExecutor(1) as pool:
        try:
            following = pool.submit(next, items, end)
            while (item := following.result()) is not end:
                following = pool.submit(next, items, end)
                yield item
        finally:  # before the pool waits for its thread
            if stop:
                stop()


def close(items: Generator) -> None:
    """Close a generator. If a thread is making its next item, wait for it."""
    while True:
        try:
            items.close()
            return
        except ValueError:  # 'generator already executing'
            time.sleep(0.01)


def split(mixture: np.ndarray, voice: np.ndarray, gain: float, subtype: str) -> dict[str, np.ndarray]:
    """Both stems (channels, samples) of a mixture, times gain: the voice, rounded to its bit depth, and the rest."""
    voice = voice.astype(mixture.dtype, copy=False)
    if gain != 1:
        mixture, voice = mixture * mixture.dtype.type(gain), voice * mixture.dtype.type(gain)
    if subtype in BITS:
        voice = round_to_bits(voice, BITS[subtype])
    return {VOCALS: voice, ACCOMPANIMENT: mixture - voice}


@contextlib.contextmanager
def _open_song(source: str, raw: RawFormat | None, failed: UnknownFormat | None) -> Iterator[Sound]:
    """Open standard input, or a file: with libsndfile or, if that has failed, with ffmpeg."""
    with contextlib.ExitStack() as stack:
        if source == PIPE:
            _check_piped(sys.stdin.buffer, "standard input")
            sound = read_stream(sys.stdin.buffer, "standard input", raw)
        elif Path(source).is_fifo():
            sound = read_stream(stack.enter_context(Path(source).open("rb")), source, raw)
        elif failed:
            tags, subtype = probe(Path(source))
            sound = stack.enter_context(
                open_with_ffmpeg(Path(source), failed.reason, subtype=subtype, samples=failed.samples)
            )
            sound.tags = read_tags(source) or tags
        else:
            sound = stack.enter_context(open_sound(source))
            sound.tags = read_tags(source)
        yield sound


def _open_stem(job: Job, stem: str, target: str, sound: Sound) -> contextlib.AbstractContextManager[SoundWriter]:
    info = sound.info
    if target == PIPE:
        _check_piped(sys.stdout.buffer, "standard output")
        subtype = job.raw.subtype if job.raw else "FLOAT"
        return contextlib.nullcontext(write_stream(sys.stdout.buffer, info.rate, info.channels, subtype, bool(job.raw)))
    if job.source != PIPE and Path(target).exists() and Path(target).samefile(job.source):
        raise UserError(f"{target}: expected an output other than the input, found the same file")
    rate, tags = rate_to_write(target, info.rate), stem_tags(sound.tags, stem)
    if Path(target).suffix.lower() in ENCODERS:
        file = create_with_ffmpeg(target, rate, info.channels, tags, job.bitrate)
    else:
        file_format = output_format(target)
        as_float = job.as_float or (job.reads_pipe and soundfile.check_format(file_format, "FLOAT"))
        subtype = "FLOAT" if as_float else kept_subtype(info, file_format)
        samples = info.samples if rate == info.rate else None
        file = create_sound(target, rate, info.channels, subtype, tags, samples, job.bitrate)
    return file if rate == info.rate else resampled(file, info.rate, rate, info.channels)


def _check_piped(stream: BinaryIO, name: str) -> None:
    found = "it closed" if name in CLOSED else "a terminal" if stream.isatty() else None
    if found:
        raise UserError(f"{name}: expected a pipe or a file, found {found}")
