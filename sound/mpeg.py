"""MPEG sound (MP3, MP2): frame after frame, each with a header, of which the first may hold no sound but tell of all.

Decoders take the frames that they find. Here, they are walked through: how many there are, and whether any are missing.
"""

import itertools
import mmap
from dataclasses import dataclass
from pathlib import Path

from sound.known import WINDOW, forget, mapped, remembered

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


@dataclass(frozen=True)
class Frame:
    """What the four bytes at the start of a frame of MPEG sound say."""

    kind: tuple[int, int, int, bool]  # version, layer, sample rate in Hz, mono?: the same in all frames of a file
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
    return Frame((version, layer, hertz, mono), size, samples, (17 if mono else 32) if first else (9 if mono else 17))


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


def _is_one(data: mmap.mmap) -> bool:
    """Whether the header tells the bytes that are there, and a number of frames that these can be: to walk through an
    hour of frames takes half a second."""
    at = behind_id3(data, 0)
    frame, frames, size = xing_header(data, at) or (None, None, None)
    if not frame or not frames or not size or not size <= frames * LARGEST_FRAME:
        return False
    end = at + size
    return end == len(data) or (end + 128 == len(data) and data[end : end + 3] == b"TAG")


@dataclass
class Stretch:
    """Frames of MPEG sound from one header with a length to the next."""

    start: int
    promised: int | None = None  # frames that the header tells of; None without one
    told: int | None = None  # bytes that it tells of
    first: int = -1  # where the first frame of sound begins
    frames: int = 0
    samples: int = 0  # per channel, of all frames
    end: int = 0


@remembered
def walk(path: Path) -> tuple[Stretch, ...]:
    """The stretches of a file; none if its header tells exactly what is there."""
    with mapped(path) as data:
        return () if _is_one(data) else tuple(_stretches(data))


def _stretches(data: mmap.mmap) -> list[Stretch]:
    found: list[Stretch] = []
    at, window = behind_id3(data, 0), WINDOW
    kind: tuple | None = None
    while at < len(data):
        if at > window:
            window = at + WINDOW
            forget(data)
        frame = mpeg_frame(data, at)
        if not frame or kind not in (None, frame.kind) or at + frame.size > len(data):
            at = _next_frame(data, at, kind)
            frame = mpeg_frame(data, at)
            if not frame:
                break
            if kind not in (None, frame.kind):  # joined, without a header
                found.append(Stretch(at))
        if header := xing_header(data, at):
            found.append(Stretch(at, *header[1:], end=at + frame.size))
            kind = None  # the sound may be of another kind than the header
        else:
            if not found:
                found.append(Stretch(at))
            last = found[-1]
            last.first = at if last.first < 0 else last.first
            last.frames, last.samples, last.end = last.frames + 1, last.samples + frame.samples, at + frame.size
            kind = frame.kind
        at += frame.size
    return [stretch for stretch in found if stretch.end]


def missing(path: Path) -> str | None:
    """What shows that MPEG sound ends too early; None if nothing does, as if the last frame of a file is whole whose
    headers tell no length.

    A header counts the bytes from itself on, or, of some writers, from the tags in front of it on.
    """
    stretches = walk(path)
    if not stretches:
        return None
    before = 0
    with mapped(path) as data:
        for stretch, behind in itertools.pairwise((*stretches, Stretch(len(data)))):
            told, found = stretch.told or 0, behind.start - before
            if told > found:
                return f"cut off: expected {told} bytes, found {found}"
            before = stretch.end
        first, last = (mpeg_frame(data, at) for at in (stretches[-1].start, before))
        if first and last and first.kind == last.kind:
            return f"cut off: expected {last.size} bytes in the last frame, found {len(data) - before}"
    return None


def behind_id3(data: bytes | mmap.mmap, at: int) -> int:
    if data[at : at + 3] != b"ID3" or at + 10 > len(data):
        return at
    sevens = data[at + 6 : at + 10]
    return at + 10 + (sevens[0] << 21 | sevens[1] << 14 | sevens[2] << 7 | sevens[3])


def _next_frame(data: mmap.mmap, at: int, kind: tuple | None) -> int:
    """Where the sound goes on behind tags or damage: at a frame with another one behind it; with two, if they are of
    another kind, as in a file that was joined to this one."""
    at = behind_id3(data, at) - 1
    while (at := data.find(b"\xff", at + 1)) >= 0:
        frame = mpeg_frame(data, at)
        if frame and _is_followed(data, at, frame, by=1 if kind in (None, frame.kind) else 2):
            return at
    return len(data)


def _is_followed(data: mmap.mmap, at: int, frame: Frame, by: int) -> bool:
    """Whether so many frames of the same kind, or the end, stand behind a frame."""
    for _ in range(by):
        at += frame.size
        if at == len(data):
            return True
        behind = mpeg_frame(data, at)
        if not behind or behind.kind != frame.kind:
            return False
        frame = behind
    return True
