"""Files joined end to end, as `cat` and streaming servers do, and MP3 files whose header does not tell the length.

libsndfile reads the first of several joined files, or as much MP3 as the header promises. Here, the file is walked
through: where it holds more, each part is read on its own.
"""

import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

KBITS = {  # by MPEG 1?, layer: kbit/s by the header's four bits
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44100, 48000, 32000)  # Hz, of MPEG 1; MPEG 2 has half of it, MPEG 2.5 a quarter
LARGEST_KBITS = 14  # index of the largest frames
LARGEST_FRAME = 1441  # bytes, of layer 3 at any rate
FLAC_START = b"fLaC\0\0\0\x22"  # and the header of the first block, whose size is always the same
WINDOW = 1 << 24  # bytes looked at before their memory is given back
CLOSE = 512  # bytes
FIRST_PAGE = b"OggS\0\x02"  # of a stream


@dataclass(frozen=True)
class Frame:
    """What the four bytes at the start of a frame of MPEG sound say."""

    kind: tuple[int, int, int]  # version, layer, sample rate in Hz: the same in all frames of a file
    size: int  # bytes
    samples: int  # per channel
    side_info: int  # bytes between header and data, of layer 3


def mpeg_frame(data: bytes | mmap.mmap, at: int) -> Frame | None:
    """The frame at a place in a file; None if there is none."""
    header = data[at : at + 4]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer, kbits, rate = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3), header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 1000 * KBITS[first, layer][kbits]
    padding = header[2] >> 1 & 1
    if layer == 1:
        samples, size = 384, (12 * bits // hertz + padding) * 4
    else:
        samples = 576 if layer == 3 and not first else 1152
        size = samples // 8 * bits // hertz + padding
    mono = header[3] >> 6 == 3
    return Frame((version, layer, hertz), size, samples, (17 if mono else 32) if first else (9 if mono else 17))


@dataclass
class Part:
    """A piece of a file that is a file of its own: from byte `start` to `end`, behind the bytes `head`."""

    start: int
    end: int
    head: bytes = b""


class Slice(io.RawIOBase):
    """A part of an open file, to be read like a file. Several slices share one open file."""

    def __init__(self, file: BinaryIO, part: Part):
        self.file, self.part, self.at = file, part, 0
        self.size = len(part.head) + part.end - part.start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer) -> int:
        size = max(0, min(len(buffer), self.size - self.at))
        data = self.part.head[self.at : self.at + size]
        if len(data) < size:
            self.file.seek(self.part.start + max(0, self.at - len(self.part.head)))
            data += self.file.read(size - len(data))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)


def find_parts(path: Path, file_format: str, samples: int) -> list[Part]:
    """The parts of a file of which libsndfile would read only `samples` samples, if it holds more; else none."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if file_format == "MP3":
            return _mp3_parts(data, samples)
        if file_format in ("WAV", "WAVEX", "AIFF"):
            starts = list(_forms(data))
        elif file_format in ("FLAC", "OGG"):
            starts = list(_found(data, FLAC_START if file_format == "FLAC" else FIRST_PAGE))
        else:
            return []
        ends = [*starts[1:], len(data)]
        return [Part(start, end) for start, end in zip(starts, ends, strict=True)] if len(starts) > 1 else []


def _found(data: mmap.mmap, mark: bytes) -> Iterator[int]:
    """Where a mark is, unless one stands close before it: as streams that run side by side begin in OGG."""
    before = -CLOSE
    for start in range(0, len(data), WINDOW):
        end = start + WINDOW + len(mark) - 1
        at = data.find(mark, start, end)
        while at >= 0:
            if at - before >= CLOSE:
                yield at
            before = at
            at = data.find(mark, at + 1, end)
        _forget(data)


def _forms(data: mmap.mmap) -> Iterator[int]:
    """Where WAV or AIFF files begin that stand one behind the other."""
    at = 0
    while (data[at : at + 4], data[at + 8 : at + 11]) in ((b"RIFF", b"WAV"), (b"FORM", b"AIF")):
        yield at
        size = int.from_bytes(data[at + 4 : at + 8], "little" if data[at : at + 4] == b"RIFF" else "big")
        at += 8 + size + size % 2


def _forget(data: mmap.mmap) -> None:
    """Give back the memory of what was looked at: otherwise, a long file would take as much memory as it has bytes."""
    if hasattr(mmap, "MADV_DONTNEED"):
        data.madvise(mmap.MADV_DONTNEED)


@dataclass
class _Stretch:
    """Frames of MPEG sound from one header with a length to the next."""

    start: int
    promised: int | None  # frames that the header tells of; None without one
    first: int = -1  # where the first frame of sound begins
    frames: int = 0
    end: int = 0


def xing_header(data: bytes | mmap.mmap, at: int) -> tuple[Frame, int | None, int | None] | None:
    """The frame at a place, if it holds no sound but a header, and the frames and bytes that this header tells."""
    frame = mpeg_frame(data, at)
    mark = at + 4 + frame.side_info if frame else 0
    if not frame or data[mark : mark + 4] not in (b"Xing", b"Info") or len(data) < mark + 16:
        return None
    flags, place, told = data[mark + 7], mark + 8, list[int | None]()
    for bit in (1, 2):
        told.append(int.from_bytes(data[place : place + 4], "big") if flags & bit else None)
        place += 4 if flags & bit else 0
    return frame, told[0], told[1]


def _is_one_mp3(data: mmap.mmap) -> bool:
    """Whether the header tells the bytes that are there, and a number of frames that these can be: to walk through an
    hour of frames takes half a second."""
    at = behind_id3(data, 0)
    frame, frames, size = xing_header(data, at) or (None, None, None)
    if not frame or not frames or not size or not size <= frames * LARGEST_FRAME:
        return False
    end = at + size
    return end == len(data) or (end + 128 == len(data) and data[end : end + 3] == b"TAG")


def _mp3_parts(data: mmap.mmap, samples: int) -> list[Part]:
    if _is_one_mp3(data):
        return []
    stretches: list[_Stretch] = []
    at, kind, length, window = behind_id3(data, 0), None, 1152, WINDOW
    while at < len(data):
        if at > window:
            window = at + WINDOW
            _forget(data)
        frame = mpeg_frame(data, at)
        if frame is None or (kind and frame.kind != kind) or at + frame.size > len(data):
            at = _next_frame(data, at, kind)
            continue
        kind, length = frame.kind, frame.samples
        if header := xing_header(data, at):
            stretches.append(_Stretch(at, header[1], end=at + frame.size))
        else:
            if not stretches:
                stretches.append(_Stretch(at, None))
            last = stretches[-1]
            last.first = at if last.first < 0 else last.first
            last.frames, last.end = last.frames + 1, at + frame.size
        at += frame.size
    stretches = [stretch for stretch in stretches if stretch.frames]
    if len(stretches) == 1:
        promised = stretches[0].promised
        if (promised or 0) + 1 >= stretches[0].frames or (promised is None and samples >= stretches[0].frames * length):
            return []
    return [_mp3_part(data, stretch) for stretch in stretches]


def _mp3_part(data: mmap.mmap, stretch: _Stretch) -> Part:
    if stretch.promised is not None and stretch.promised + 1 >= stretch.frames:
        return Part(stretch.start, stretch.end)
    header = bytearray(data[stretch.first : stretch.first + 4])  # of the first frame, but without a checksum
    header[1] |= 1
    header[2] = LARGEST_KBITS << 4 | header[2] & 0x0C
    frame = mpeg_frame(bytes(header), 0)
    assert frame is not None
    if frame.kind[1] != 3:
        return Part(stretch.first, stretch.end)
    told = bytes(frame.side_info) + b"Xing" + (1).to_bytes(4, "big") + stretch.frames.to_bytes(4, "big")
    return Part(stretch.first, stretch.end, (bytes(header) + told).ljust(frame.size, b"\0"))


def behind_id3(data: bytes | mmap.mmap, at: int) -> int:
    if data[at : at + 3] != b"ID3" or at + 10 > len(data):
        return at
    sevens = data[at + 6 : at + 10]
    return at + 10 + (sevens[0] << 21 | sevens[1] << 14 | sevens[2] << 7 | sevens[3])


def _next_frame(data: mmap.mmap, at: int, kind: tuple[int, int, int] | None) -> int:
    """Where the sound goes on behind tags or damage: at a frame with another one behind it."""
    if data[at : at + 3] == b"ID3":
        return behind_id3(data, at)
    while (at := data.find(b"\xff", at + 1)) >= 0:
        frame = mpeg_frame(data, at)
        if frame and kind in (None, frame.kind) and (behind := at + frame.size) <= len(data):
            other = mpeg_frame(data, behind)
            if behind == len(data) or (other and other.kind == frame.kind):
                return at
    return len(data)
