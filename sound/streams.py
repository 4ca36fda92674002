"""Streams of sound: WAV or raw PCM through pipes.

A block is what has arrived so far, so that live sound passes at once and a fast source comes in large blocks.
"""

import contextlib
import dataclasses
import importlib
import re
import struct
from collections.abc import Iterator
from typing import IO

import numpy as np

from process.errors import UserError
from sound.samples import BITS, Sound, SoundInfo, check_finite, check_rate, to_integers
from sound.tag_reading import id3_tags, info_texts
from sound.tags import Tags
from sound.wholeness import LONGEST_OF_32_BITS, UNKNOWN_LENGTH, CutOff
from sound.writing import SoundWriter

READ = 1 << 18  # bytes read from a pipe at most, which then holds as many where the system can; usually it holds 2**16
LARGEST_CHUNK = 1 << 20  # bytes of a WAV file's tags; longer chunks are skipped
UNKNOWN_BYTES = 0xFFFFFFFF  # length in a WAV header: told in another chunk, or until the pipe closes
ANOTHER = re.compile(rb"(RIFF|RF64)....WAVE", re.DOTALL)  # 12 bytes, with which a WAV file begins
WAV_PCM, WAV_FLOAT, WAV_EXTENSIBLE = 1, 3, 0xFFFE  # WAV's format tags

RAW_TYPES = {  # ffmpeg's name of a sample type: libsndfile's name
    "u8": "PCM_U8",
    "s16le": "PCM_16",
    "s24le": "PCM_24",
    "s32le": "PCM_32",
    "f32le": "FLOAT",
    "f64le": "DOUBLE",
}
SAMPLE_BYTES = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}


@dataclasses.dataclass(frozen=True)
class RawFormat:
    """What raw PCM has no header for: sample rate in Hz, channels, libsndfile's name of the sample type."""

    rate: int
    channels: int
    subtype: str


# ---------------------------------------------------------------------------------------------- samples and bytes


def decode(data: bytes, subtype: str, channels: int) -> np.ndarray:
    """Convert little-endian interleaved samples to waveform (channels, samples), full scale 1, exactly."""
    if subtype == "FLOAT":
        samples = np.frombuffer(data, "<f4")
    elif subtype == "DOUBLE":
        samples = np.frombuffer(data, "<f8")
    elif subtype == "PCM_U8":
        samples = (np.frombuffer(data, np.uint8) - np.float32(128)) / np.float32(128)
    elif subtype == "PCM_16":
        samples = np.frombuffer(data, "<i2") / np.float32(1 << 15)
    elif subtype == "PCM_24":
        padded = np.zeros((len(data) // 3, 4), np.uint8)  # the three bytes become the upper ones of four
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = (padded.view("<i4")[:, 0] >> 8) / np.float32(1 << 23)
    else:
        samples = np.frombuffer(data, "<i4") / np.float64(1 << 31)
    return samples.reshape(-1, channels).T


def encode(samples: np.ndarray, subtype: str) -> bytes:
    """Convert samples (samples, channels) to little-endian interleaved bytes: the inverse of `decode`."""
    if subtype not in BITS:
        return samples.astype("<f4" if subtype == "FLOAT" else "<f8").tobytes()
    integers = to_integers(samples, BITS[subtype])
    if subtype == "PCM_U8":
        return (integers + 128).astype(np.uint8).tobytes()
    if subtype == "PCM_24":
        return np.ascontiguousarray(integers, "<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return integers.astype("<i2" if subtype == "PCM_16" else "<i4").tobytes()


# ---------------------------------------------------------------------------------------------- reading


def read_stream(stream: IO[bytes], name: str, raw: RawFormat | None = None) -> Sound:
    """The sound that a stream delivers: raw PCM if `raw` describes it, else WAV, whose header is read here.

    Raises UserError, naming the stream, for other data and, during iteration over the blocks, if it ends too early.
    """
    _hold_more(stream)
    if raw:
        format_name, (rate, channels, subtype), size, tags = "RAW", dataclasses.astuple(raw), None, Tags()
    else:
        format_name, (rate, channels, subtype), size, tags = "WAV", *_read_wav_header(stream, name)
    check_rate(rate, name)
    frame = SAMPLE_BYTES[subtype] * channels
    info = SoundInfo(rate, channels, None if size is None else size // frame, format_name, subtype)
    return Sound(info, _blocks(stream, name, info, frame), tags)


def _hold_more(stream: IO[bytes]) -> None:
    """Let a pipe hold READ bytes, which Linux can: from a fast source, larger blocks come, whose work is less."""
    with contextlib.suppress(ImportError, AttributeError, OSError):  # another system; another stream, or no right to
        fcntl = importlib.import_module("fcntl")
        fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, READ)


def _blocks(stream: IO[bytes], name: str, info: SoundInfo, frame: int) -> Iterator[np.ndarray]:
    rest, wanted = b"", info.samples  # bytes of an incomplete frame; samples still expected
    empty = True
    while data := arrived(stream, READ):
        data = rest + data
        whole = len(data) // frame
        if wanted is not None:
            whole = min(whole, wanted)
            wanted -= whole
        block, rest = data[: whole * frame], data[whole * frame :]
        if wanted == 0:  # what follows is read, too: the writer must not find the pipe closed
            if ANOTHER.search(rest):
                raise UserError(f"{name}: expected one WAV file, found another joined to it: give them as a file")
            rest = rest[-11:]
        waveform = decode(block, info.subtype, info.channels)
        check_finite(waveform, name)
        if whole:
            empty = False
            yield waveform
    if wanted and info.samples:
        raise CutOff(f"{name}: cut off: expected {info.samples} samples, found {info.samples - wanted}")
    if rest and wanted is None:
        raise CutOff(f"{name}: cut off: expected {frame} bytes per frame, found {len(rest)} at its end")
    if empty:
        raise UserError(f"{name}: expected sound, found no samples")


def _read_wav_header(stream: IO[bytes], name: str) -> tuple[tuple[int, int, str], int | None, Tags]:
    """Read up to the first sample. Returns (rate, channels, subtype), the bytes of sound if known, and the tags."""
    riff = _take(stream, 12)
    if not riff:
        raise UserError(f"{name}: expected sound, found nothing")
    if riff[:4] not in (b"RIFF", b"RF64") or riff[8:] != b"WAVE":
        raise UserError(f"{name}: expected WAV, or raw PCM described by --raw, found other data")
    layout, tags, long_size = None, Tags(), 0
    while len(header := _take(stream, 8)) == 8:
        chunk, size = struct.unpack("<4sI", header)
        if chunk == b"data":
            if layout is None:
                break
            if size == UNKNOWN_BYTES:
                size = long_size
            elif size >= LONGEST_OF_32_BITS:
                size = 0
            return layout, size if 0 < size < UNKNOWN_LENGTH else None, tags
        content = b""
        if chunk in (b"fmt ", b"ds64", b"LIST", b"id3 ", b"ID3 ") and size <= LARGEST_CHUNK:
            content = _take(stream, size + size % 2)
        else:
            _skip(stream, size + size % 2)
        if chunk == b"fmt " and len(content) >= 16:
            layout = _wav_layout(content, name)
        elif chunk == b"ds64" and len(content) >= 16:  # of RF64: the lengths of the file and of the sound, 64 bits each
            long_size = struct.unpack("<8xQ", content[:16])[0]
        elif chunk == b"LIST" and content[:4] == b"INFO":
            tags = Tags(info_texts(content[4:]) | tags.texts, tags.pictures)
        elif chunk in (b"id3 ", b"ID3 ") and content:
            found = id3_tags(content)
            tags = Tags(tags.texts | found.texts, found.pictures)
    raise UserError(f"{name}: expected the header of a WAV file, found only part of one")


def _wav_layout(content: bytes, name: str) -> tuple[int, int, str]:
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == WAV_EXTENSIBLE and len(content) >= 26:
        tag = struct.unpack("<H", content[24:26])[0]
    subtypes = {(WAV_PCM, 8): "PCM_U8", (WAV_PCM, 16): "PCM_16", (WAV_PCM, 24): "PCM_24", (WAV_PCM, 32): "PCM_32"}
    subtypes |= {(WAV_FLOAT, 32): "FLOAT", (WAV_FLOAT, 64): "DOUBLE"}
    if (tag, bits) not in subtypes or not channels or not rate:
        raise UserError(
            f"{name}: expected PCM or float samples, found format {tag}, {bits} bits, {channels} channels, {rate} Hz"
        )
    if frame > channels * bits // 8:  # as arecord writes 24 bits in 32, which other programs mean otherwise
        raise UserError(
            f"{name}: expected {channels * bits // 8} bytes for {channels} channels of {bits} bits, found {frame}"
        )
    return rate, channels, subtypes[tag, bits]


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0 and (piece := arrived(stream, min(size, READ))):
        size -= len(piece)


def _take(stream: IO[bytes], size: int) -> bytes:
    """Exactly `size` bytes, or fewer at the stream's end."""
    data = b""
    while len(data) < size and (piece := arrived(stream, size - len(data))):
        data += piece
    return data


def arrived(stream: IO[bytes], most: int) -> bytes:
    """Up to `most` bytes, as soon as there are any; none at the stream's end."""
    return stream.read1(most)  # type: ignore[attr-defined]  # every buffered stream has it


# ---------------------------------------------------------------------------------------------- writing


def write_stream(
    stream: IO[bytes], rate: int, channels: int, subtype: str, raw: bool, name: str = "standard output"
) -> SoundWriter:
    """Write sound into a stream as it comes: raw, or with a WAV header that leaves the length open."""

    def send(data: bytes) -> None:
        try:
            stream.write(data)
            stream.flush()
        except OSError as error:
            error.filename = name
            raise

    if not raw:
        sample = SAMPLE_BYTES[subtype]
        tag = WAV_PCM if subtype in BITS else WAV_FLOAT
        layout = struct.pack("<HHIIHH", tag, channels, rate, rate * channels * sample, channels * sample, 8 * sample)
        header = struct.pack("<4sI4s4sI", b"RIFF", UNKNOWN_BYTES, b"WAVE", b"fmt ", len(layout)) + layout
        send(header + struct.pack("<4sI", b"data", UNKNOWN_BYTES))
    return SoundWriter(name, subtype, lambda samples: send(encode(samples, subtype)))
