"""Sound files, written block by block with libsndfile, which get their names only when they are whole."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from process.errors import UserError, whole_file
from sound.files import open_sound
from sound.libsndfile import name_to_write
from sound.samples import ALAC, BITS, BLOCK, FLOATS, VORBIS_ORDER, SoundInfo, check_finite, to_integers
from sound.tag_writing import needs_mutagen, texts_for_libsndfile, write_tags
from sound.tags import Tags

ADD_PEAK_CHUNK = 0x1050  # libsndfile's command for a chunk of float files that holds, among others, the current time
WAV_IF_IT_FITS = 0x1210  # libsndfile's command to turn RF64 into WAV when the file is closed, if it is short enough
MP3_BITRATES = (32, 320), (8, 160), (8, 64)  # kb/s, lowest and highest from 32 kHz on, from 16 kHz on, and below
# Hz and channels that a format has at most; with more than these, libvorbis crashes the whole program, and the rates of
# SVX and MPC2K lose their upper bits.
MOST = {"OGG": (200_000, 255), "MP3": (48_000, 2), "FLAC": (655_350, 8), "SVX": (65_535, 1), "MPC2K": (65_535, 2)}
# RAW has no header, SD2 is two files, HTK and WVE have few sample rates and round to them, and SDS and XI cannot be
# read from the end, where it shows whether they are whole.
UNFIT = ("RAW", "SD2", "HTK", "WVE", "SDS", "XI")
LOWEST_MP3 = 0.9999  # of 1, the compression level of the lowest bit rate, which libsndfile refuses
LOUDEST_MP3 = 1e4  # times full scale: far beyond what is clipped; LAME ends the whole program at 1e8
# Bytes of sound beyond which lengths of 32 bits overflow. WAV becomes RF64 then, under the same name.
LARGEST = 0xFFFF0000
UNLIMITED = ("FLAC", "OGG", "MP3", "W64", "RF64", "CAF")


def output_format(path: str | Path) -> str:
    """libsndfile's name of the format that a path's extension asks for.

    Raises UserError for an unknown extension or a missing folder: call it before the work, not after.
    """
    path = Path(path)
    file_format = path.suffix[1:].upper()
    if file_format not in soundfile.available_formats() or file_format in UNFIT:
        raise UserError(f"{path}: expected a name ending in .wav, .flac, .ogg or .mp3, found '{path.suffix}'")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such folder: '{path.parent}'")
    return file_format


def kept_subtype(info: SoundInfo, file_format: str) -> str:
    """The sample type of `info`, if the format has it, so that nothing is lost; else the finest, or the default."""
    exact = info.subtype in BITS or info.subtype in FLOATS  # not, for instance, MP3 inside WAV
    if exact and soundfile.check_format(file_format, info.subtype):
        return info.subtype
    finer = info.subtype in FLOATS or BITS.get(info.subtype, 0) > 16 or info.subtype in ALAC
    if finer and soundfile.check_format(file_format, "PCM_24"):
        return "PCM_24"
    return soundfile.default_subtype(file_format)


class SoundWriter:
    """A sound file, or anything else that takes samples (samples, channels) through `put`, open for writing."""

    def __init__(self, name: str | Path, subtype: str, put):
        self.name, self.subtype, self.put = name, subtype, put
        self.full = 1 - 2.0 ** (1 - BITS[subtype]) if subtype in BITS else 1.0  # the largest positive sample
        self.peak = 0.0  # so far, relative to full scale; above 1, samples were clipped
        self.samples = 0  # per channel so far

    def write(self, waveform: np.ndarray) -> None:
        """Append waveform (channels, samples), full scale 1. Raises UserError for NaN or infinite samples."""
        if not waveform.size:
            return
        check_finite(waveform, self.name, " to write", np.inf)
        if self.subtype not in FLOATS:
            self.peak = max(self.peak, float(waveform.max()) / self.full, -float(waveform.min()))
        for start in range(0, waveform.shape[1], BLOCK):
            block = waveform[:, start : start + BLOCK]
            self.put(block.T)
            self.samples += block.shape[1]


@contextlib.contextmanager
def create_sound(
    path: str | Path,
    rate: int,
    channels: int,
    subtype: str | None = None,
    tags: Tags | None = None,
    samples: int | None = None,
    bitrate: int | None = None,
    waiting: dict[Path, Path] | None = None,
) -> Iterator[SoundWriter]:
    """Write a sound file in the format of the path's extension; it gets its name only when it is whole.

    subtype: libsndfile's name of the sample type, e.g. PCM_16, PCM_24, FLOAT (default: the format's default);
    tags: title, artist and so on; samples: their number per channel, if known; bitrate: of MP3, kb/s (default: the
    best quality); waiting: see whole_file.
    Raises UserError for unknown extensions, impossible combinations and write errors, and then leaves no file.
    """
    file_format, tags = output_format(path), tags or Tags()
    subtype = subtype or soundfile.default_subtype(file_format)
    if not soundfile.check_format(file_format, subtype):
        raise UserError(f"{path}: {file_format} files cannot hold {subtype} samples")
    most = MOST.get(file_format, (rate, channels))
    if rate > most[0] or channels > most[1]:
        limits = f"{file_format} has up to {most[0]} Hz and {most[1]} channels"
        raise UserError(f"{path}: cannot be written ({rate} Hz, {channels} channels): {limits}")
    unknown_length = file_format == "WAV" and samples is None
    frame = channels * BITS.get(subtype, 64) // 8  # bytes; of float samples, as many as they have at most
    if unknown_length or (file_format == "WAV" and (samples or 0) * frame > LARGEST):
        file_format = "RF64"

    def check_length(samples: int) -> None:
        if file_format not in ("WAV", *UNLIMITED) and samples * frame > LARGEST:
            raise UserError(f"{path}: cannot be written: {file_format} holds up to 4 GB; .wav and .flac hold more")

    def failure(error: soundfile.LibsndfileError) -> UserError:
        cause = _refusal(temporary) or error.error_string
        return UserError(f"{path}: cannot be written ({rate} Hz, {channels} channels): {cause}")

    order = np.argsort(VORBIS_ORDER[channels]) if subtype in ("VORBIS", "OPUS") and channels in VORBIS_ORDER else None

    def put(samples: np.ndarray) -> None:  # (samples, channels)
        check_length(writer.samples + len(samples))
        if order is not None:
            samples = np.ascontiguousarray(samples[:, order])
        if file_format == "MP3":
            samples = np.clip(samples, -LOUDEST_MP3, LOUDEST_MP3)
        if subtype in BITS:  # libsndfile would truncate, not round
            samples = to_integers(samples, BITS[subtype]) << (32 - BITS[subtype])
        try:
            file.write(samples)
        except soundfile.LibsndfileError as error:
            raise failure(error) from error

    check_length(samples or 0)
    with whole_file(path, waiting) as temporary:
        try:
            quality = mp3_quality(rate, bitrate) if file_format == "MP3" else {}
            file = soundfile.SoundFile(
                name_to_write(temporary), "w", rate, channels, subtype, format=file_format, **quality
            )
        except soundfile.LibsndfileError as error:
            raise failure(error) from error
        with contextlib.closing(file):
            soundfile._snd.sf_command(file._file, ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)
            if unknown_length:
                soundfile._snd.sf_command(file._file, WAV_IF_IT_FITS, soundfile._ffi.NULL, 1)
            for name, value in texts_for_libsndfile(tags, file_format).items():
                with contextlib.suppress(soundfile.LibsndfileError):  # a tag that the format does not have
                    setattr(file, name, value)
            writer = SoundWriter(path, subtype, put)
            yield writer
            try:
                file.close()
            except soundfile.LibsndfileError as error:
                raise failure(error) from error
        if needs_mutagen(tags):
            with temporary.open("rb") as written:
                if unknown_length and written.read(4) == b"RIFF":
                    file_format = "WAV"
            write_tags(temporary, file_format, tags)
        _check_end(temporary, path, writer.samples)


def mp3_bitrates(rate: int) -> tuple[int, int]:
    """The lowest and the highest bit rate of MP3 at this sample rate, in kb/s."""
    return MP3_BITRATES[0 if rate >= 32000 else 1 if rate >= 16000 else 2]


def mp3_quality(rate: int, bitrate: int | None) -> dict[str, Any]:
    """libsndfile's options for MP3 of a bit rate in kb/s, or of the best quality, in which the bit rate varies."""
    if bitrate is None:
        return {"bitrate_mode": "VARIABLE", "compression_level": 0.0}
    lowest, highest = mp3_bitrates(rate)
    level = (highest - bitrate) / (highest - lowest)
    return {"bitrate_mode": "CONSTANT", "compression_level": min(max(level, 0.0), LOWEST_MP3)}


def _refusal(path: Path) -> str:
    """Why the operating system accepts no more bytes, where libsndfile says 'System error.'; '' if it accepts them."""
    try:
        with path.open("ab") as file:
            file.write(bytes(1 << 16))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _check_end(temporary: Path, path: str | Path, samples: int) -> None:
    """Raise UserError if the last sample is missing: libsndfile does not report that the end of a FLAC, OGG or MP3
    file could not be written."""
    try:
        if samples:
            with open_sound(temporary, samples - 1, 1) as sound:
                for _ in sound.blocks:
                    pass
    except UserError as error:
        raise UserError(f"{path}: cannot be written: its end is missing, as on a full disk") from error
