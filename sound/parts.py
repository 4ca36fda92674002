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

from sound.known import WINDOW, forget, mapped, remembered
from sound.mpeg import LARGEST_KBITS, Stretch, mpeg_frame, walk

FLAC_START = b"fLaC\0\0\0\x22"  # and the header of the first block, whose size is always the same
FIRST_PAGE = b"OggS\0\x02"  # of a stream
CLOSE = 512  # bytes


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


@remembered
def find_parts(path: Path, file_format: str, samples: int) -> tuple[Part, ...]:
    """The parts of a file of which libsndfile would read only `samples` samples, if it holds more; else none."""
    with mapped(path) as data:
        if file_format == "MP3":
            return _mp3_parts(path, data, samples)
        if file_format in ("WAV", "WAVEX", "AIFF"):
            starts = list(_forms(data))
        elif file_format in ("FLAC", "OGG"):
            starts = list(_found(data, FLAC_START if file_format == "FLAC" else FIRST_PAGE))
        else:
            return ()
        ends = [*starts[1:], len(data)]
        return tuple(map(Part, starts, ends)) if len(starts) > 1 else ()


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
        forget(data)


def _forms(data: mmap.mmap) -> Iterator[int]:
    """Where WAV or AIFF files begin that stand one behind the other."""
    at = 0
    while (data[at : at + 4], data[at + 8 : at + 11]) in ((b"RIFF", b"WAV"), (b"FORM", b"AIF")):
        yield at
        size = int.from_bytes(data[at + 4 : at + 8], "little" if data[at : at + 4] == b"RIFF" else "big")
        at += 8 + size + size % 2


def _mp3_parts(path: Path, data: mmap.mmap, samples: int) -> tuple[Part, ...]:
    stretches = [stretch for stretch in walk(path) if stretch.frames]
    if not stretches:
        return ()
    if len(stretches) == 1:
        promised = stretches[0].promised
        if (promised or 0) + 1 >= stretches[0].frames or (promised is None and samples >= stretches[0].samples):
            return ()
    return tuple(_mp3_part(data, stretch) for stretch in stretches)


def _mp3_part(data: mmap.mmap, stretch: Stretch) -> Part:
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
