"""Lossy sound files: the sample rates and bit rates they have, and M4A and Opus, which the ffmpeg program encodes."""

import contextlib
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from process.errors import UserError, whole_file
from sound.resampling import Resampler
from sound.tag_writing import write_tags
from sound.tags import Tags
from sound.writing import SoundWriter, mp3_bitrates

ENCODERS = {".m4a": ("aac", "ipod", 256), ".opus": ("libopus", "opus", 160)}  # ffmpeg's encoder and container, kb/s
MOST_OPUS = 256  # kb/s a channel, of libopus
MOST_AAC = 6  # bits a sample of a channel: 6144 a frame of 1024
LOSSY = (".mp3", *ENCODERS)  # those whose bit rate can be chosen
RATES = {  # Hz; Opus always plays at 48 kHz
    ".mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ".m4a": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
    ".opus": (48000,),
}
ANY_RATE = 48000  # Hz, for sounds whose own rate the format lacks
# By the number of channels, what WAV takes them for; by itself, ffmpeg takes three for two and a subwoofer.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
CONFUSED = {".opus": (5, 7)}  # numbers of channels whose order ffmpeg's encoder changes


def rate_to_write(path: str | Path, rate: int) -> int:
    """The sample rate of a file that is to hold sound of this rate, in Hz: another one where the format lacks it."""
    return rate if rate in RATES.get(Path(path).suffix.lower(), (rate,)) else ANY_RATE


def bitrate_to_write(path: str | Path, rate: int, channels: int, bitrate: int) -> int:
    """The bit rate in kb/s of a lossy file for which this one is asked: the nearest that its format has."""
    lowest, highest = {
        ".mp3": mp3_bitrates(rate),
        ".m4a": (1, MOST_AAC * rate * channels // 1000),
        ".opus": (1, MOST_OPUS * channels),
    }[Path(path).suffix.lower()]
    return min(max(lowest, bitrate), highest)


@contextlib.contextmanager
def resampled(
    file: contextlib.AbstractContextManager[SoundWriter], from_rate: int, to_rate: int, channels: int
) -> Iterator[SoundWriter]:
    """A file open for writing, which takes sound of another rate than it has."""
    with file as writer:
        resampler = Resampler(from_rate, to_rate, channels)
        outer = Resampled(writer, resampler)
        yield outer
        writer.write(resampler.push(np.zeros((channels, 0), np.float32), last=True))
        outer.peak = writer.peak


class Resampled(SoundWriter):
    def __init__(self, writer: SoundWriter, resampler: Resampler):
        super().__init__(writer.name, writer.subtype, writer.put)
        self.writer, self.resampler = writer, resampler

    def write(self, waveform: np.ndarray) -> None:
        self.writer.write(self.resampler.push(waveform.astype(np.float32, copy=False)))
        self.peak, self.samples = self.writer.peak, self.writer.samples


@contextlib.contextmanager
def create_with_ffmpeg(
    path: str | Path,
    rate: int,
    channels: int,
    tags: Tags,
    bitrate: int | None = None,
    waiting: dict[Path, Path] | None = None,
) -> Iterator[SoundWriter]:
    """Write an M4A or Opus file; it gets its name only when it is whole. bitrate: kb/s (default: the best that helps);
    waiting: see whole_file.

    Raises UserError if ffmpeg is not installed, or cannot write it, and then leaves no file.
    """
    suffix = Path(path).suffix.lower()
    encoder, container, usual = ENCODERS[suffix]
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(f"{path}: cannot be written: {container} files need the program ffmpeg, which is not installed")
    if not Path(path).parent.is_dir():
        raise UserError(f"{path}: no such folder: '{Path(path).parent}'")
    if channels not in LAYOUTS or channels in CONFUSED.get(suffix, ()):
        limits = "ffmpeg keeps the order of up to 8 channels" + (", but not of 5 or 7" if suffix in CONFUSED else "")
        raise UserError(f"{path}: cannot be written ({rate} Hz, {channels} channels): {limits}")
    source = ["-f", "f32le", "-ar", str(rate), "-ac", str(channels), "-channel_layout", LAYOUTS[channels]]
    kilobits = bitrate or usual
    if suffix == ".opus":  # libopus refuses more, while AAC's encoder takes the most that it can
        kilobits = bitrate_to_write(path, rate, channels, kilobits)
    target = ["-c:a", encoder, "-b:a", f"{kilobits}k", "-f", container]
    with (
        whole_file(path, waiting) as temporary,
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            [program, "-v", "error", *source, "-i", "pipe:0", *target, "-y", f"file:{temporary}"],
            stdin=subprocess.PIPE,
            stderr=messages,
        ) as process,
    ):

        def check(lost: bool) -> None:
            if lost or process.returncode:
                messages.seek(0)
                lines = messages.read().decode(errors="replace").strip().splitlines() or ["it ended early"]
                raise UserError(f"{path}: cannot be written ({rate} Hz, {channels} channels): {lines[-1]}")

        def to_pipe(action: Callable[[], object]) -> None:
            try:
                action()
            except BrokenPipeError:
                process.wait()
                check(lost=True)

        assert process.stdin is not None  # it is a pipe
        pipe = process.stdin

        def put(samples: np.ndarray) -> None:  # (samples, channels)
            to_pipe(functools.partial(pipe.write, samples.astype("<f4").tobytes()))

        try:
            yield SoundWriter(path, encoder, put)
            to_pipe(pipe.close)
            process.wait()
            check(lost=False)
            write_tags(temporary, suffix[1:].upper(), tags)
        finally:
            process.kill()  # if it still runs: what it wrote is not wanted
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
