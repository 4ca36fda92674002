"""Sound files, read and written block by block with libsndfile, which must be whole."""

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from process.errors import UserError, whole_file
from sound.libsndfile import name_to_write, open_part, open_to_read, silence
from sound.parts import Part, Slice, find_parts
from sound.tags import Tags, needs_mutagen, texts_for_libsndfile, write_tags

BLOCK = 1 << 17  # samples of all channels read or written at once; much longer blocks overflow libvorbis's stack
SECONDS = 10  # read at once at most: at a low sample rate, a block would become many more at the network's
UNKNOWN_LENGTH = 1 << 62  # samples; libsndfile reports about 2**63 if the header gives no length
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
ADD_PEAK_CHUNK = 0x1050  # libsndfile's command for a chunk of float files that holds, among others, the current time
WAV_IF_IT_FITS = 0x1210  # libsndfile's command to turn RF64 into WAV when the file is closed, if it is short enough
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
MP3_BITRATES = (32, 320), (8, 160), (8, 64)  # kb/s, lowest and highest from 32 kHz on, from 16 kHz on, and below
# Hz and channels that a format has at most; with more than these, libvorbis crashes the whole program.
MOST = {"OGG": (200_000, 255), "MP3": (48_000, 2), "FLAC": (655_350, 8)}
LARGEST_WAV = 0xFFFF0000  # bytes; beyond, WAV's 32-bit lengths overflow, and RF64 is written under the same name

# What libsndfile's log says of a file that is shorter than its header says.
SIZES_IN_LOG = re.compile(
    r"\W*(?P<name>data|SSND|BODY|Data Size|Data length|riff|Riff size) *:? *(?P<told>\d+) \(?should be (?P<found>\d+)"
)
LENGTHS_OF_32_BITS = ("data", "SSND", "BODY", "Data Size", "Data length")
CUT_OFF_BY_LOG = re.compile(r"truncated|Calculated frame count \d+ does not match value from 'ds64' chunk of [1-9]")

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

    @property
    def seconds(self) -> float:
        """The length, infinite if unknown."""
        return math.inf if self.samples is None else self.samples / self.rate


@dataclasses.dataclass
class Sound:
    """Sound open for reading: its header, its samples in blocks (channels, samples), and the tags of a stream.

    Iterating over the blocks raises UserError if the sound is cut off or holds NaN or infinite samples. The tags of a
    file are read by `read_tags`.
    """

    info: SoundInfo
    blocks: Iterator[np.ndarray]
    tags: Tags = dataclasses.field(default_factory=Tags)


# ---------------------------------------------------------------------------------------------- reading


class UnknownFormat(UserError):
    """libsndfile cannot read the file, or not to its end; `reason` tells why.

    samples: how many per channel it should have, if libsndfile knows.
    """

    def __init__(self, path: Path, reason: str, samples: int | None = None):
        super().__init__(f"{path}: cannot be read as sound: {reason}")
        self.reason, self.samples = reason, samples


@contextlib.contextmanager
def open_sound(path: str | Path, start: int = 0, samples: int | None = None) -> Iterator[Sound]:
    """Open a sound file, or a piece of it by seeking.

    start: first sample; samples: how many (default: all to the end). Raises UserError if the file is missing, empty or
    cut off, UnknownFormat if libsndfile does not know its format.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a named pipe" if path.is_fifo() else "a device"
        raise UserError(f"{path}: expected a sound file, found {kind}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: expected a sound file, found an empty file")
    with contextlib.ExitStack() as stack:
        parts: list[Part] = []
        try:
            file = stack.enter_context(open_to_read(path))
        except soundfile.LibsndfileError as error:
            parts = find_parts(path, "WAV", 0)  # joined WAV and AIFF files are nothing that libsndfile knows
            if not parts:
                _check_whole("", path)  # or ffmpeg would take half a file for a whole one
                raise UnknownFormat(path, error.error_string.rstrip(".")) from error
            file = _open_parts(path, parts, stack)[0]
        check_rate(file.samplerate, path)
        if file.frames == 0:
            raise UserError(f"{path}: expected sound, found a file with no samples")
        if file.frames >= UNKNOWN_LENGTH:
            raise UnknownFormat(path, "expected a length in the header, found a header written for a stream")
        _check_whole(file.extra_info, path)
        info = SoundInfo(file.samplerate, file.channels, file.frames, file.format, file.subtype)
        if start == 0 and samples is None and not parts:
            parts = find_parts(path, file.format, file.frames)
        if parts:
            files = _open_parts(path, parts, stack)
            info = dataclasses.replace(info, samples=sum(file.frames for file in files))
            yield Sound(info, itertools.chain.from_iterable(_read(file, path, info.dtype, 0, None) for file in files))
        else:
            yield Sound(info, _read(file, path, info.dtype, start, samples))


def _open_parts(path: Path, parts: list[Part], stack: contextlib.ExitStack) -> list[soundfile.SoundFile]:
    """Open what stands one behind the other in a file: files of one sample rate and number of channels."""
    shared = stack.enter_context(path.open("rb"))
    try:
        files = [stack.enter_context(open_part(Slice(shared, part))) for part in parts]
    except soundfile.LibsndfileError as error:
        raise UnknownFormat(path, f"{len(parts)} joined files: {error.error_string.rstrip('.')}") from error
    for file in files:
        for found, expected, unit in (
            (file.samplerate, files[0].samplerate, "Hz"),
            (file.channels, files[0].channels, "channels"),
        ):
            if found != expected:
                raise UserError(f"{path}: {len(files)} joined files: expected {expected} {unit} in all, found {found}")
    return files


def sound_info(path: str | Path) -> SoundInfo:
    """Read a sound file's header. Raises UserError if the file is missing, not sound, empty or cut off."""
    with open_sound(path) as sound:
        return sound.info


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


def _read(file: soundfile.SoundFile, path: Path, dtype: str, start: int, samples: int | None) -> Iterator[np.ndarray]:
    expected = file.frames - start if samples is None else samples
    wanted, order = expected, VORBIS_ORDER.get(file.channels) if file.subtype in ("VORBIS", "OPUS") else None
    size = max(1, min(BLOCK // file.channels, SECONDS * file.samplerate))  # samples; the same memory for every file
    while wanted > 0:
        try:
            with silence if file.format == "MP3" else contextlib.nullcontext():
                if wanted == expected and start > 0:  # not for every piece: some sample types cannot seek
                    file.seek(start)
                block = file.read(min(wanted, size), dtype, always_2d=True)  # (samples, channels)
        except soundfile.LibsndfileError as error:
            raise UnknownFormat(path, error.error_string.rstrip("."), file.frames) from error
        if len(block) == 0:
            break
        if order is not None:
            block = block[:, order]
        check_finite(block, path)
        wanted -= len(block)
        yield block.T
    whole_mp3 = samples is None and file.format == "MP3"  # whose length may be an estimate
    if wanted == expected or (wanted > 0 and not whole_mp3):
        raise UserError(f"{path}: cut off: expected {expected} samples from {start} on, found {expected - wanted}")


def _check_whole(log: str, path: Path) -> None:
    cut_off = _cut_off(log, path)
    if cut_off:
        raise UserError(f"{path}: cut off: {cut_off}")


def _cut_off(log: str, path: Path) -> str | None:
    """What shows that a file is shorter than its header says, which libsndfile ignores; None if it is whole.

    libsndfile's log has lines such as 'data : 88200 (should be 44100)' for WAV, AIFF, AU, IFF and Wave64. Lengths near
    2**32 are no error: programs that write into a pipe do not know the length. OGG: the last page does not carry the
    flag of a last page. FLAC: reading finds fewer samples than the header says. A cut-off MP3 file cannot be told from
    a whole one.
    """
    for line in log.splitlines():
        if CUT_OFF_BY_LOG.search(line) and "should be an even number" not in log:  # else only a byte of padding is
            return "expected as many samples as its header says, found fewer"
        if match := SIZES_IN_LOG.match(line):
            told, found = int(match["told"]), int(match["found"])
            if found < told < (0x7FFF0000 if match["name"] in LENGTHS_OF_32_BITS else UNKNOWN_LENGTH):
                return f"expected {told} bytes of sound, found {found}"
    size = path.stat().st_size
    with path.open("rb") as data:
        start = data.read(1024)
        if start.startswith(b"OggS"):
            data.seek(max(0, size - (1 << 17)))  # longer than any page
            end = data.read()
            page = end[end.rfind(b"OggS") :]  # 27 bytes: mark, version, flags, ..., number of segments; their sizes
            whole = len(page) > 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
            if not (page.startswith(b"OggS") and whole and page[5] & 4):
                return "expected the last page of an OGG stream, found none"
        told = _size_in_header(data, start, size)
    return None if told <= size else f"expected {told} bytes, found {size}"


def _size_in_header(data: BinaryIO, start: bytes, size: int) -> int:
    """How many bytes a file has at least, by the headers that libsndfile does not compare with it: CAF, NIST, AVR."""
    if start.startswith(b"caff"):
        at, told = 8, 8
        while at + 12 <= size:
            data.seek(at)
            length = int.from_bytes(data.read(12)[4:], "big", signed=True)
            if length < 0:  # to the end, in a stream
                return 0
            told = at = at + 12 + length
        return told
    if start.startswith(b"NIST_1A"):
        fields = dict(re.findall(rb"(sample_count|channel_count|sample_n_bytes) -i (\d+)", start))
        header = int(start[8:16])
        coded = re.search(rb"sample_coding -s\d+ (pcm|ulaw|alaw)\n", start) or b"sample_coding" not in start
        return header + math.prod(int(number) for number in fields.values()) if len(fields) == 3 and coded else 0
    if start.startswith(b"2BIT"):
        stereo, bits, frames = start[12:14] != b"\0\0", start[14:16], start[26:30]
        return 128 + int.from_bytes(frames, "big") * (2 if stereo else 1) * int.from_bytes(bits, "big") // 8
    return 0


# ---------------------------------------------------------------------------------------------- writing


def output_format(path: str | Path) -> str:
    """libsndfile's name of the format that a path's extension asks for.

    Raises UserError for an unknown extension or a missing folder: call it before the work, not after.
    """
    path = Path(path)
    file_format = path.suffix[1:].upper()
    if file_format not in soundfile.available_formats() or file_format == "RAW":
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
            self.put(waveform[:, start : start + BLOCK].T)
        self.samples += waveform.shape[1]


@contextlib.contextmanager
def create_sound(
    path: str | Path,
    rate: int,
    channels: int,
    subtype: str | None = None,
    tags: Tags | None = None,
    samples: int | None = None,
    bitrate: int | None = None,
) -> Iterator[SoundWriter]:
    """Write a sound file in the format of the path's extension; it gets its name only when it is whole.

    subtype: libsndfile's name of the sample type, e.g. PCM_16, PCM_24, FLOAT (default: the format's default);
    tags: title, artist and so on; samples: their number per channel, if known; bitrate: of MP3, kb/s (default: the
    best quality).
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
    if unknown_length or (
        file_format == "WAV" and (samples or 0) * channels * BITS.get(subtype, 64) // 8 > LARGEST_WAV
    ):
        file_format = "RF64"

    def failure(error: soundfile.LibsndfileError) -> UserError:
        cause = _refusal(temporary) or error.error_string
        return UserError(f"{path}: cannot be written ({rate} Hz, {channels} channels): {cause}")

    order = np.argsort(VORBIS_ORDER[channels]) if subtype in ("VORBIS", "OPUS") and channels in VORBIS_ORDER else None

    def put(samples: np.ndarray) -> None:  # (samples, channels)
        if order is not None:
            samples = np.ascontiguousarray(samples[:, order])
        if subtype in BITS:  # libsndfile would truncate, not round
            samples = to_integers(samples, BITS[subtype]) << (32 - BITS[subtype])
        try:
            file.write(samples)
        except soundfile.LibsndfileError as error:
            raise failure(error) from error

    with whole_file(path) as temporary:
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
            if unknown_length and temporary.open("rb").read(4) == b"RIFF":
                file_format = "WAV"
            write_tags(temporary, file_format, tags)
        _check_end(temporary, path, writer.samples)


def mp3_quality(rate: int, bitrate: int | None) -> dict[str, Any]:
    """libsndfile's options for MP3 of a bit rate in kb/s, or of the best quality, in which the bit rate varies."""
    if bitrate is None:
        return {"bitrate_mode": "VARIABLE", "compression_level": 0.0}
    lowest, highest = MP3_BITRATES[0 if rate >= 32000 else 1 if rate >= 16000 else 2]
    level = (highest - bitrate) / (highest - lowest)
    return {"bitrate_mode": "CONSTANT", "compression_level": min(max(level, 0.0), 1.0)}


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
            with open_sound(temporary, samples - 1) as sound:
                for _ in sound.blocks:
                    pass
    except UserError as error:
        raise UserError(f"{path}: cannot be written: its end is missing, as on a full disk") from error
