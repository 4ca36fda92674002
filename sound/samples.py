"""Sound as it is read and written: what its header says, its samples in blocks, and the types of samples."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from process.errors import UserError
from sound.tags import Tags

BLOCK = 1 << 17  # samples of all channels read or written at once; much longer blocks overflow libvorbis's stack
# By the number of channels, where Vorbis and Opus keep those that WAV and FLAC put first, second, ...: they have the
# centre between left and right, and the low frequencies last.
VORBIS_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 5, 3, 4),
    7: (0, 2, 1, 6, 5, 3, 4),
    8: (0, 2, 1, 7, 5, 6, 3, 4),
}
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz; no music lies beyond, and resampling would take unlimited memory
LOUDEST = 1e12  # times full scale: far beyond any integer, yet float32 can still sum a million of their squares
BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}  # integer sample types
ALAC = ("ALAC_20", "ALAC_24", "ALAC_32")  # in CAF files
FLOATS = ("FLOAT", "DOUBLE")  # sample types that can exceed full scale


@dataclasses.dataclass(frozen=True)
class SoundInfo:
    """What a sound's header says: rate in Hz, samples per channel, libsndfile's names of format and sample type.

    samples is None if unknown (a pipe), and may be an estimate, too long, for MP3 files without a Xing or Info tag.
    """

    rate: int
    channels: int
    samples: int | None
    format: str
    subtype: str

    @property
    def dtype(self) -> str:
        """The numpy type that represents the samples exactly."""
        return "float64" if self.subtype in ("PCM_32", "DOUBLE") else "float32"


@dataclasses.dataclass
class Sound:
    """Sound open for reading: its header, its samples in blocks (channels, samples), and the tags of a stream.

    Iterating over the blocks raises UserError if the sound is cut off or holds NaN or infinite samples. The tags of a
    file are read by `read_tags`.
    """

    info: SoundInfo
    blocks: Iterator[np.ndarray]
    tags: Tags = dataclasses.field(default_factory=Tags)


def check_finite(waveform: np.ndarray, name: str | Path, purpose: str = "", most: float = LOUDEST) -> None:
    """Raise UserError if waveform holds NaN, infinity or samples beyond `most` times full scale."""
    if not waveform.size:
        return
    peak = max(-waveform.min(), waveform.max())  # both are NaN if any sample is
    if not np.isfinite(peak):
        raise UserError(f"{name}: expected finite samples{purpose}, found NaN or infinity")
    if peak > most:
        raise UserError(f"{name}: expected samples{purpose} up to {most:g} of full scale, found {peak:.3g}")


def check_rate(rate: int, name: str | Path) -> None:
    """Raise UserError for a sample rate (Hz) that no music has and that would take unlimited memory."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise UserError(f"{name}: expected a sample rate from {LOWEST_RATE} to {HIGHEST_RATE} Hz, found {rate} Hz")


def round_to_bits(waveform: np.ndarray, bits: int) -> np.ndarray:
    """Round waveform, full scale 1, to the resolution of `bits`-bit integers, without limiting its range."""
    scale = waveform.dtype.type(2 ** (bits - 1))
    scaled = waveform * scale
    np.rint(scaled, out=scaled)
    scaled /= scale
    return scaled


def to_integers(waveform: np.ndarray, bits: int) -> np.ndarray:
    """Convert waveform, full scale 1, to integers of `bits` bits in int32, clipped at full scale.

    The scale is the one libsndfile reads with, so that reading and writing again changes nothing.
    """
    scale = 2 ** (bits - 1)
    scaled = waveform * (np.float64(scale) if bits > 24 else np.float32(scale))
    np.rint(scaled, out=scaled)
    np.clip(scaled, -scale, scale - 1, out=scaled)
    return scaled.astype(np.int32)
