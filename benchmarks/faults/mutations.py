"""Damaged sound files: whole ones of many kinds, functions that damage them, and files whose right answer is known."""

import functools
import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

KINDS = {  # extension -> (format, sample type) as libsndfile calls them
    "wav": [
        *(("WAV", name) for name in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        *(("WAV", name) for name in ("ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")),
        *(("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16")),
    ],
    "flac": [("FLAC", "PCM_S8"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")],
    "ogg": [("OGG", "VORBIS"), ("OGG", "OPUS")],
    "mp3": [("MP3", "MPEG_LAYER_III")],
    "aiff": [("AIFF", "PCM_16"), ("AIFF", "PCM_24"), ("AIFF", "FLOAT")],
    "caf": [("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("AU", "PCM_16"), ("VOC", "PCM_16")],
}
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 1000, 0x7FFF, 0xFFFF, 10**7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
HEADER = 128  # bytes that hold most of a file's header


def whole_files(folder: Path) -> dict[str, list[bytes]]:
    """Sound files of each kind by extension, 0.2 s in one or two channels; also M4A if ffmpeg is installed."""
    rng = np.random.default_rng(0)
    files: dict[str, list[bytes]] = {}
    for extension, kinds in KINDS.items():
        for file_format, subtype in kinds:
            for channels, rate in ((1, 8000), (2, 48000 if subtype == "OPUS" else 44100)):
                if (subtype in ("GSM610", "G721_32") and channels > 1) or (subtype == "OPUS" and rate == 44100):
                    continue
                time = np.arange(rate // 5)[:, None] / rate
                tone = 0.3 * np.sin(2 * np.pi * 300 * time) + 0.05 * rng.standard_normal((len(time), channels))
                file = io.BytesIO()
                soundfile.write(file, tone, rate, subtype, format=file_format)
                files.setdefault(extension, []).append(file.getvalue())
    if shutil.which("ffmpeg"):
        (folder / "whole.wav").write_bytes(files["wav"][2])
        whole, m4a = str(folder / "whole.wav"), str(folder / "whole.m4a")
        command = ["ffmpeg", "-v", "error", "-y", "-i", whole, "-c:a", "aac", m4a]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        files["m4a"] = [(folder / "whole.m4a").read_bytes()]
    return files


# ---------------------------------------------------------------------------------------------- damage to any file


def place(rng: np.random.Generator, data: bytes) -> int:
    """A place in the file, half the time in its header."""
    return int(rng.integers(max(1, min(len(data), HEADER) if rng.random() < 0.5 else len(data))))


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(1 << rng.integers(8)):
        changed[place(rng, data)] ^= 1 << rng.integers(8)
    return bytes(changed)


def truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: place(rng, data)]


def write_extreme(rng: np.random.Generator, data: bytes) -> bytes:
    """Write an extreme number of 1, 2, 4 or 8 bytes, in either byte order."""
    size, value, at = 1 << int(rng.integers(4)), int(rng.choice(EXTREMES)), place(rng, data)
    number = (value % (1 << 8 * size)).to_bytes(size, "little" if rng.random() < 0.7 else "big")
    return data[:at] + number + data[at + size :]


def overwrite(rng: np.random.Generator, data: bytes) -> bytes:
    at, size = place(rng, data), int(1 << rng.integers(12))
    return data[:at] + (rng.bytes(size) if rng.random() < 0.5 else bytes(size)) + data[at + size :]


def insert(rng: np.random.Generator, data: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] + rng.bytes(int(1 << rng.integers(12))) + data[at:]


def delete(rng: np.random.Generator, data: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] + data[at + int(1 << rng.integers(12)) :]


def repeat(rng: np.random.Generator, data: bytes) -> bytes:
    start, end = sorted((place(rng, data), place(rng, data)))
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


ANY = (flip_bits, truncate, write_extreme, overwrite, insert, delete, repeat)


# ---------------------------------------------------------------------------------------------- headers that lie


def lie_in_wav(rng: np.random.Generator, data: bytes) -> bytes:
    """Change the format, channels, sample rate, frame size, bit depth or length."""
    changed, at, end = bytearray(data), data.find(b"fmt "), data.find(b"data")
    if at < 0 or end < 0 or len(data) < max(at + 24, end + 8):  # cut off before
        return write_extreme(rng, data)
    fields: list[tuple[int, str, tuple[int, ...]]] = [  # offset, struct's letter, values
        (at + 8, "<H", (0, 1, 2, 3, 6, 7, 17, 49, 80, 85, 0xFFFE, 0xFFFF)),
        (at + 10, "<H", (0, 1, 3, 6, 64, 255, 256, 1000, 1024, 1025, 0xFFFF)),
        (at + 12, "<I", (0, 1, 2, 100, 999, 1000, 12345, 44101, 96000, 768000, 10**7, 0x7FFFFFFF, 0xFFFFFFFF)),
        (at + 20, "<H", EXTREMES[:9]),
        (at + 22, "<H", (0, 1, 7, 8, 12, 16, 24, 32, 33, 64, 255, 0xFFFF)),
        (end + 4, "<I", EXTREMES),
        (4, "<I", EXTREMES),
    ]
    for index in rng.choice(len(fields), rng.integers(1, 4), replace=False):
        offset, letter, values = fields[index]
        struct.pack_into(letter, changed, offset, int(rng.choice(values)) % (1 << 8 * struct.calcsize(letter)))
    return bytes(changed)


def lie_in_flac(rng: np.random.Generator, data: bytes) -> bytes:
    """Change block sizes, sample rate (20 bits), channels (3), bit depth (5) or samples (36) in STREAMINFO."""
    changed = bytearray(data)
    if rng.random() < 0.5:
        known = int.from_bytes(data[18:26], "big")
        for shift, bits in ((44, 20), (41, 3), (36, 5), (0, 36)):
            if rng.random() < 0.4:
                value = int(rng.choice([0, 1, (1 << bits) - 1, int(rng.integers(1 << bits))]))
                known = known & ~(((1 << bits) - 1) << shift) | value << shift
        changed[18:26] = known.to_bytes(8, "big")
    else:
        changed[8:12] = rng.bytes(4)
    return bytes(changed)


def _checksum_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


TABLE = _checksum_table()


def mend_pages(data: bytes) -> bytes:
    """Correct the checksums of an OGG file's pages, so that decoders read what is in them."""
    changed, at = bytearray(data), data.find(b"OggS")
    while at >= 0 and at + 27 <= len(data):
        end = at + 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        changed[at + 22 : at + 26] = bytes(4)
        value = 0
        for byte in changed[at:end]:
            value = (value << 8 ^ TABLE[value >> 24 ^ byte]) & 0xFFFFFFFF
        changed[at + 22 : at + 26] = value.to_bytes(4, "little")
        at = data.find(b"OggS", max(end, at + 4))
    return bytes(changed)


def lie_in_ogg(rng: np.random.Generator, data: bytes) -> bytes:
    """Change position, channels or rate, or do any damage, behind correct checksums."""
    kind = rng.integers(3)
    if kind == 0:
        at = data.rfind(b"OggS") + 6  # the last page's position: the length of the sound
        return mend_pages(data[:at] + int(rng.choice(EXTREMES)).to_bytes(8, "little") + data[at + 8 :])
    if kind == 1:
        at = 28 + int(rng.integers(16))  # of the codec's header
        return mend_pages(data[:at] + int(rng.choice(EXTREMES)).to_bytes(4, "little") + data[at + 4 :])
    return mend_pages(ANY[rng.integers(len(ANY))](rng, data))


def lie_in_mp3(rng: np.random.Generator, data: bytes) -> bytes:
    """Change the header of some frames or of all, or the number of frames in the tag that counts them."""
    changed = bytearray(data)
    tag = max(data.find(b"Xing"), data.find(b"Info"))
    if tag > 0 and rng.random() < 0.3:
        changed[tag + 8 : tag + 12] = int(rng.choice(EXTREMES)).to_bytes(4, "big")
        return bytes(changed)
    at, every, header = data.find(b"\xff"), rng.random() < 0.3, rng.bytes(3)
    while 0 <= at < len(data) - 4:
        if data[at + 1] & 0xE0 == 0xE0 and (every or rng.random() < 0.1):
            changed[at + 1 : at + 4] = bytes([data[at + 1] & 0xE0 | header[0] & 0x1F, header[1], header[2]])
        at = data.find(b"\xff", at + 1)
    return bytes(changed)


# ---------------------------------------------------------------------------------------------- what people bring


TEXTS = (
    b"Bj\xf6rk",
    "\ufeffJo\u0301ga".encode("utf-16"),
    "\u6b4c".encode() * 40,
    b"",
    b"\0" * 9,
    b"3/0",
    b"x" * 5000,
    b"\xff\xfe",
)


def join(rng: np.random.Generator, data: bytes, files: list[bytes]) -> bytes:
    """Append files of the same kind, perhaps of another rate, or without the last one's end."""
    for _ in range(rng.integers(1, 4)):
        other = files[rng.integers(len(files))] if rng.random() < 0.3 else data
        data += other[: place(rng, other)] if rng.random() < 0.1 else other
    return data


def add_tags(rng: np.random.Generator, data: bytes) -> bytes:
    """Put an ID3v2 tag in front, an ID3v1 or APEv2 tag or a chunk of WAV behind, in any encoding or in none."""
    return tagged(rng, data, int(rng.integers(4)), lies=0.1)


def tagged(rng: np.random.Generator, data: bytes, kind: int, lies: float = 0.0) -> bytes:
    """Add a tag of this kind, see above. lies: how often an ID3v2 tag tells a wrong size."""
    frames = b""
    for name in rng.choice(["TIT2", "TPE1", "COMM", "APIC", "TXXX", "TCON", "TDRC", "XXXX"], 3):
        content = bytes([rng.integers(5)]) + TEXTS[rng.integers(len(TEXTS))]
        frames += str(name).encode() + struct.pack(">IH", len(content), 0) + content
    size = len(frames) if rng.random() >= lies else int(rng.choice(EXTREMES))
    id3 = b"ID3" + bytes([rng.integers(2, 5), 0, 0, *(size >> shift & 127 for shift in (21, 14, 7, 0))]) + frames
    if kind == 0:
        return id3 + data
    if kind == 1:
        return data + b"TAG" + TEXTS[rng.integers(len(TEXTS))][:125].ljust(125, b"\0")
    if kind == 2:
        text = TEXTS[rng.integers(len(TEXTS))]
        item = struct.pack("<II", len(text), 0) + b"Title\0" + text
        return data + item + b"APETAGEX" + struct.pack("<4I8x", 2000, len(item) + 32, int(rng.choice([1, 99])), 0)
    chunk = b"INFOINAM" + struct.pack("<I", len(TEXTS[0])) + TEXTS[0] if rng.random() < 0.5 else id3
    return data + (b"LIST" if chunk.startswith(b"INFO") else b"id3 ") + struct.pack("<I", len(chunk)) + chunk


LIES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    "wav": lie_in_wav,
    "flac": lie_in_flac,
    "ogg": lie_in_ogg,
    "mp3": lie_in_mp3,
}


def damaged(rng: np.random.Generator, extension: str, files: dict[str, list[bytes]]) -> bytes:
    """A file of this kind with one to three kinds of damage."""
    data = files[extension][rng.integers(len(files[extension]))]
    for _ in range(rng.integers(1, 4)):
        if extension in LIES and rng.random() < 0.4:
            data = LIES[extension](rng, data)
        elif rng.random() < 0.1:
            data = join(rng, data, files[extension])
        elif rng.random() < 0.15:
            data = add_tags(rng, data)
        elif rng.random() < 0.05:  # half of this and half of another
            other = [*files][rng.integers(len(files))]
            data = data[: len(data) // 2] + files[other][0][len(files[other][0]) // 2 :]
        else:
            data = ANY[rng.integers(len(ANY))](rng, data)
        if not data:
            break
    return data


# ---------------------------------------------------------------------------------------------- what is known

TAGS = {"mp3": (0, 1, 2), "flac": (0,), "wav": (3,)}  # kinds of tags that such files have, see `tagged`
JOINED = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"\xff")  # what files begin with that are one song if they are joined


@functools.cache
def samples_in(data: bytes) -> int:
    """Samples per channel of a whole file."""
    try:
        return soundfile.info(io.BytesIO(data)).frames
    except soundfile.LibsndfileError:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            command = ["ffmpeg", "-v", "error", "-i", file.name, "-ac", "1", "-f", "s16le", "-"]
            return len(subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True).stdout) // 2


def with_known_answer(
    rng: np.random.Generator, extension: str, files: dict[str, list[bytes]]
) -> tuple[bytes, str, int]:
    """A file of which is known what is in it.

    Returns its bytes, what was done to it, and how many samples per channel it holds: 0 if it must be refused.
    """
    data = files[extension][rng.integers(len(files[extension]))]
    kind, samples = rng.integers(4), samples_in(data)
    if kind == 1 and extension in TAGS and not data.startswith((b"riff", b"RF64")):
        return tagged(rng, data, int(rng.choice(TAGS[extension]))), "tagged", samples
    if kind == 2 and data.startswith(JOINED):
        times = int(rng.integers(2, 5))
        return data * times, "joined", times * samples
    if kind == 3:
        return data[: int(len(data) * rng.uniform(0, 0.95))], "cut off", 0
    return data, "whole", samples
