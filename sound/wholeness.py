"""Whether a file is as long as its headers say, not shorter nor, with another one joined to it, longer: neither
libsndfile nor ffmpeg compares that with its size."""

import math
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from process.errors import UserError
from sound.mpeg import behind_id3, missing, mpeg_frame

UNKNOWN_LENGTH = 1 << 62  # samples; libsndfile reports about 2**63 if the header gives no length
# What libsndfile's log says of a file that is shorter than its header says.
SIZES_IN_LOG = re.compile(
    r"\W*(?P<name>data|SSND|BODY|Data Size|Data length|riff|Riff size) *:? *(?P<told>\d+) \(?should be (?P<found>\d+)"
)
LENGTHS_OF_32_BITS = ("data", "SSND", "BODY", "Data Size", "Data length")
LONGEST_OF_32_BITS = 0x7FFF0000  # bytes; longer ones are told by programs that write into a pipe
CUT_OFF_BY_LOG = re.compile(r"truncated|Calculated frame count \d+ does not match value from 'ds64' chunk of [1-9]")

MP4_START = b"ftyp"
MP4_BOXES = b"ftyp moov mdat free skip wide uuid moof mfra sidx styp meta pdin prft emsg".split()
REALMEDIA_CHUNKS = b".RMF PROP CONT MDPR DATA INDX".split()
# Matroska: what holds others, and may leave its length open; and what else stands in a file, a Segment or a Cluster.
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
_NAMES = """
    1a45dfa3 114d9b74 1549a966 1654ae6b 1c53bb6b 1254c367 1941a469 1043a770 ec bf e7 a3 a0 a7 ab 5854
"""
ELEMENTS = {SEGMENT, CLUSTER, *map(bytes.fromhex, _NAMES.split())}
ASF_FILE = bytes.fromhex("A1DCAB8C47A9CF118EE400C00C205365")  # the object that tells about the file
ADTS = (b"\xff\xf0", b"\xff\xf1", b"\xff\xf8", b"\xff\xf9")  # AAC of MPEG 4 and 2, with and without checksums
AC3, DTS = b"\x0b\x77", b"\x7f\xfe\x80\x01"  # what each of their frames begins with
AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
LARGEST_VOC = 1 << 24  # bytes; in longer files, blocks overflow their lengths


class CutOff(UserError):
    """Sound that ends too early, or of which only the beginning can be read. What comes before is whole."""


def check_whole(path: Path, log: str = "") -> None:
    """Raise CutOff if a file is shorter than its headers say, or has another joined to it. log: libsndfile's of it."""
    for _ in up_to_cut(iter(()), path, log):
        pass


def up_to_cut(blocks: Iterator[np.ndarray], path: Path, log: str = "") -> Iterator[np.ndarray]:
    """The blocks of a file; then, if its headers say another length than it has, CutOff is raised."""
    reason = _cut_off(path, log)
    yield from blocks
    if reason:
        raise CutOff(f"{path}: {reason}")


def _cut_off(path: Path, log: str) -> str | None:
    """What shows that a file is shorter than its headers say; None if it is whole.

    libsndfile's log has lines such as 'data : 88200 (should be 44100)' for WAV, AIFF, AU, IFF and Wave64. OGG: the last
    page does not carry the flag of a last page. FLAC: reading finds fewer samples than the header says. Streams of
    frames that tell no length (MP3 without a Xing or Info tag, AAC, AC-3, DTS) end with a whole frame.
    """
    for line in log.splitlines():
        if CUT_OFF_BY_LOG.search(line) and "should be an even number" not in log:  # else only a byte of padding is
            return "cut off: expected as many samples as its header says, found fewer"
        if match := SIZES_IN_LOG.match(line):
            told, found = int(match["told"]), int(match["found"])
            if found < told < (LONGEST_OF_32_BITS if match["name"] in LENGTHS_OF_32_BITS else UNKNOWN_LENGTH):
                return f"cut off: expected {told} bytes of sound, found {found}"
    size = path.stat().st_size
    with path.open("rb") as data:
        at = behind_id3(data.read(10), 0)
        data.seek(at)
        start = data.read(1 << 14)
        if start.startswith(b"OggS"):
            data.seek(max(0, size - (1 << 17)))  # longer than any page
            tail = data.read()
            page = tail[tail.rfind(b"OggS") :]  # 27 bytes: mark, version, flags, ..., number of segments; their sizes
            whole = len(page) > 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
            if not (page.startswith(b"OggS") and whole and page[5] & 4):
                return "cut off: expected the last page of an OGG stream, found none"
        if mpeg_frame(start, 0):
            return missing(path)
        told = _told_size(data, at, start, size)
        if told > size:
            return f"cut off: expected {told} bytes, found {size}"
        behind = told or next((at + end(start) for mark, end in ENDS.items() if start.startswith(mark)), size)
        if behind >= size:
            return None
        data.seek(behind)
        place = slice(4, 8) if start[4:8] in MP4_BOXES else slice(4)
        if data.read(8)[place] == start[place]:
            return f"expected one file of {behind} bytes, found another joined to it"
    return None


def _told_size(data: BinaryIO, at: int, start: bytes, size: int) -> int:
    """How many bytes a file has at least, by its headers; 0 if they do not tell, or libsndfile compares them itself.

    start: what comes first, behind tags, at byte `at`.
    """
    if start[4:8] in MP4_BOXES:
        first = _mp4_box(start[:16]) if start[4:8] == MP4_START else 0
        return _behind_chunks(data, size, at + first, 16, _mp4_box_behind)
    if start.startswith(b"RIFF") and start[8:12] == b"AVI ":
        return _behind_chunks(data, size, at, 12, _avi_chunk)
    if start.startswith(b"Creative Voice File"):
        first = int.from_bytes(start[20:22], "little") if size < LARGEST_VOC else size
        return _behind_chunks(data, size, at + first, 4, _voc_block)
    for mark, (first, header, length) in CHUNKS.items():
        if start.startswith(mark):
            return _behind_chunks(data, size, at + first, header, length)
    for mark, told in TOLD_AT_ONCE.items():
        if start.startswith(mark):
            return at + told(start)
    return 0


# ---------------------------------------------------------------------------------------------- chunk after chunk


def _behind_chunks(data: BinaryIO, size: int, at: int, header: int, length: Callable[[bytes], int]) -> int:
    """Where the last of the chunks ends that begin at `at`. length: bytes of the chunk with this header, of which there
    are `header`; 0 if they begin no chunk, or if it does not tell."""
    while at + header <= size:
        data.seek(at)
        step = length(data.read(header))
        if step <= 0:
            break
        at += step
    return at


def _mp4_box(header: bytes) -> int:
    short = int.from_bytes(header[:4], "big")
    return (int.from_bytes(header[8:], "big") if short == 1 else short) if header[4:8] in MP4_BOXES else 0


def _mp4_box_behind(header: bytes) -> int:
    return 0 if header[4:8] == MP4_START else _mp4_box(header)


def _avi_chunk(header: bytes) -> int:
    length = int.from_bytes(header[4:8], "little") if header[:4] == b"RIFF" else 0
    return 8 + length if 0 < length < 0xFFFFFFFF else 0


def _caf_chunk(header: bytes) -> int:
    length = int.from_bytes(header[4:], "big", signed=True)
    return 12 + length if length >= 0 and header[:4] != b"caff" else 0


def _realmedia_chunk(header: bytes) -> int:
    length = int.from_bytes(header[4:], "big") if header[:4] in REALMEDIA_CHUNKS else 0
    return length - 10 if header[:4] == b"DATA" else length  # by so much, ffmpeg tells too many


def _wavpack_block(header: bytes) -> int:
    return 8 + int.from_bytes(header[4:], "little") if header[:4] == b"wvpk" else 0


def _voc_block(header: bytes) -> int:
    return 4 + int.from_bytes(header[1:], "little") if 0 < header[0] < 10 else 0


def _matroska_element(header: bytes) -> int:
    """Both the name and the length behind it begin with as many zero bits as they have more bytes than one."""
    name = header[: 9 - header[0].bit_length()]
    rest = header[len(name) :]
    width = 9 - (rest[0].bit_length() if rest else 0)
    if name not in ELEMENTS or width > len(rest):
        return 0
    most = (1 << 7 * width) - 1
    length = int.from_bytes(rest[:width], "big") & most
    if length < most:
        return len(name) + width + length
    return len(name) + width if name in (SEGMENT, CLUSTER) else 0  # its length is open: look at what it holds


def _adts_frame(header: bytes) -> int:
    return int.from_bytes(header[3:6], "big") >> 5 & 0x1FFF if header[:2] in ADTS else 0


def _ac3_frame(header: bytes) -> int:
    """AC-3 tells rate and bit rate, E-AC-3 the size itself."""
    if header[:2] != AC3:
        return 0
    if header[5] >> 3 > 10:
        return 2 + 2 * (int.from_bytes(header[2:4], "big") & 0x7FF)
    rate, code = header[4] >> 6, header[4] & 63
    if rate == 3 or code >= 2 * len(AC3_KBITS):
        return 0
    kbits = AC3_KBITS[code >> 1]
    return 2 * (2 * kbits, kbits * 320 // 147 + code % 2, 3 * kbits)[rate]  # at 48, 44.1 and 32 kHz


def _dts_frame(header: bytes) -> int:
    return 1 + (int.from_bytes(header[5:8], "big") >> 4 & 0x3FFF) if header[:4] == DTS else 0


CHUNKS: dict[bytes, tuple[int, int, Callable[[bytes], int]]] = {  # mark of the file -> as for _behind_chunks
    b"\x1aE\xdf\xa3": (0, 12, _matroska_element),
    b"caff": (8, 12, _caf_chunk),
    b".RMF": (0, 8, _realmedia_chunk),
    b"wvpk": (0, 8, _wavpack_block),
    AC3: (0, 6, _ac3_frame),
    DTS: (0, 8, _dts_frame),
    **dict.fromkeys(ADTS, (0, 6, _adts_frame)),
}


# ---------------------------------------------------------------------------------------------- told at the start


def _nist(start: bytes) -> int:
    header = re.match(rb"NIST_1A\n *(\d{1,7})\n", start)
    fields = dict(re.findall(rb"(sample_count|channel_count|sample_n_bytes) -i (\d{1,20})", start))
    coded = re.search(rb"sample_coding -s\d+ (pcm|ulaw|alaw)\n", start) or b"sample_coding" not in start
    return int(header[1]) + math.prod(map(int, fields.values())) if header and len(fields) == 3 and coded else 0


def _avr(start: bytes) -> int:
    stereo, bits, frames = start[12:14] != b"\0\0", start[14:16], start[26:30]
    return 128 + int.from_bytes(frames, "big") * (2 if stereo else 1) * int.from_bytes(bits, "big") // 8


def _asf(start: bytes) -> int:
    at = start.find(ASF_FILE)
    live = at < 0 or start[at + 88 : at + 89] in (b"", b"\1", b"\3")
    return 0 if live else int.from_bytes(start[at + 40 : at + 48], "little")


def _flv(start: bytes) -> int:
    found = re.search(rb"\0\x08filesize\0(.{8})", start, re.DOTALL)
    told = struct.unpack(">d", found[1])[0] if found else 0.0
    return int(told) if 0 < told < UNKNOWN_LENGTH else 0


def _ape(start: bytes) -> int:
    """Since version 3.98: how long descriptor, header, table, WAV header, sound (64 bits) and what follows are."""
    if len(start) < 36 or int.from_bytes(start[4:6], "little") < 3980:
        return 0
    *before, low, high, behind = struct.unpack("<7I", start[8:36])
    return sum(before) + (high << 32) + low + behind


def _tta(start: bytes) -> int:
    """A header of 22 bytes, the length of every frame, a checksum, the frames."""
    rate, samples = struct.unpack("<II", start[10:18]) if len(start) >= 18 else (0, 0)
    frames = -(-samples * 245 // (256 * rate)) if rate else 0
    table = start[22 : 22 + 4 * frames]
    return 22 + 4 * frames + 4 + sum(struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]))


def _dsf(start: bytes) -> int:
    return int.from_bytes(start[12:20], "little")


def _dff(start: bytes) -> int:
    return 12 + int.from_bytes(start[4:12], "big")


TOLD_AT_ONCE: dict[bytes, Callable[[bytes], int]] = {
    b"NIST_1A": _nist,
    b"2BIT": _avr,
    bytes.fromhex("3026B2758E66CF11"): _asf,
    b"FLV": _flv,
    b"MAC ": _ape,
    b"TTA1": _tta,
    b"DSD ": _dsf,
    b"FRM8": _dff,
}
# Of formats that libsndfile holds against their sizes itself: where they end. It does not look for what follows.
ENDS: dict[bytes, Callable[[bytes], int]] = {
    b".snd": lambda start: int.from_bytes(start[4:8], "big") + int.from_bytes(start[8:12], "big"),
    b"dns.": lambda start: int.from_bytes(start[4:8], "little") + int.from_bytes(start[8:12], "little"),
    b"riff": lambda start: int.from_bytes(start[16:24], "little"),  # Wave64
    b"RF64": lambda start: 8 + int.from_bytes(start[20:28], "little"),
}
