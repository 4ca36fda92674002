"""Reads the tags of sound files of all kinds. mutagen, which does most of the work, is loaded only if it must be."""

import base64
import contextlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import soundfile

from sound.libsndfile import open_to_read
from sound.tags import FRONT_COVER, ID3_TAGS, MP4_TAGS, WAV_TAGS, WRITTEN_HERE, Picture, Tags, mutagen_module, texts_of

FLAC_COMMENTS, FLAC_PICTURE = 4, 6  # kinds of blocks
LARGEST_LIST = 1 << 20  # bytes of a WAV file's LIST chunk with texts; no texts are longer
# How files begin whose tags libsndfile reads as well as anybody: CAF, Wave64, AU.
CHUNKS_OF_LIBSNDFILE = (b"caff", b"riff", b".snd", b"dns.")


def read_tags(path: str | Path) -> Tags:
    """The tags of a sound file of any kind. A file whose tags cannot be read has none: the sound is worth more."""
    path = Path(path)
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb") as file:  # mutagen learns no name
        start = file.read(1 << 16)
        with _anything_but_a_missing_library():
            if start.startswith((b"RIFF", b"RF64")):
                return _chunks(file, "<")
            if start.startswith(b"FORM"):
                named, found = _libsndfile_texts(path), _chunks(file, ">")
                return Tags(named | found.texts, found.pictures)
            if start.startswith((b"fLaC", b"OggS")) and not _has_comments(file, start):
                return Tags()
            if start.startswith(CHUNKS_OF_LIBSNDFILE):
                return Tags(_libsndfile_texts(path))
            if _is_mpeg(start) and not _ends_with_tags(file):
                return Tags()
            return _with_mutagen(file, start)
    return Tags()


@contextlib.contextmanager
def _anything_but_a_missing_library() -> Iterator[None]:
    """Suppress errors: damaged bytes may raise anything."""
    try:
        yield
    except ImportError:
        raise
    except Exception:
        pass


def _is_mpeg(start: bytes) -> bool:
    """Whether a file begins with a frame of MPEG sound, layer 1 to 3: eleven bits of 1, and no layer 0."""
    return len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0 and start[1] & 6 != 0


def _ends_with_tags(file: IO[bytes]) -> bool:
    file.seek(max(0, file.seek(0, os.SEEK_END) - (1 << 16)))
    end = file.read()
    return end[-128:-125] == b"TAG" or b"APETAGEX" in end


def _has_comments(file: IO[bytes], start: bytes) -> bool:
    """Whether a FLAC or OGG file has any comment or picture."""
    if start.startswith(b"OggS"):
        at = max(start.find(b"\x03vorbis") + 7, start.find(b"OpusTags") + 8)
        return at < 8 or _any_comment(start[at:])
    at, last = 4, False
    while not last:
        file.seek(at)
        header = file.read(4)  # whether it is the last block and its kind, 24 bits of length
        if len(header) < 4:
            return False
        last, kind, size = header[0] > 127, header[0] & 127, int.from_bytes(header[1:], "big")
        if kind == FLAC_PICTURE or (kind == FLAC_COMMENTS and _any_comment(file.read(size))):
            return True
        at += 4 + size
    return False


def _any_comment(block: bytes) -> bool:
    """Whether a block of Vorbis comments says more than which program wrote it."""
    at = 4 + int.from_bytes(block[:4], "little")  # behind the vendor
    count = int.from_bytes(block[at : at + 4], "little")
    at += 4
    while count and at < len(block) and block[at + 4 : at + 12].lower() == b"encoder=":
        at, count = at + 4 + int.from_bytes(block[at : at + 4], "little"), count - 1
    return count > 0


def _chunks(file: IO[bytes], order: str) -> Tags:
    """The tags in the chunks of a WAV (order '<') or AIFF ('>') file."""
    tags, end, at, long_size = Tags(), file.seek(0, os.SEEK_END), 12, 0
    while at + 8 <= end:
        file.seek(at)
        name, size = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"ds64":
            long_size = struct.unpack("<8xQ", file.read(16))[0]
        elif name == b"data" and size == 0xFFFFFFFF:
            size = long_size
        elif name == b"LIST" and size <= LARGEST_LIST and file.read(4) == b"INFO":
            tags = Tags(info_texts(file.read(size - 4)) | tags.texts, tags.pictures)
        elif name in (b"id3 ", b"ID3 "):
            found = id3_tags(file.read(size))
            tags = Tags(tags.texts | found.texts, tags.pictures + found.pictures)
        at += 8 + size + size % 2
    return tags


def info_texts(content: bytes) -> dict[str, list[str]]:
    """The texts of a WAV file's LIST chunk of the kind INFO."""
    texts, at = {}, 0
    while at + 8 <= len(content):
        identifier, size = struct.unpack_from("<4sI", content, at)
        text = content[at + 8 : at + 8 + size].partition(b"\0")[0]
        if identifier in WAV_TAGS and text:
            try:
                texts[WAV_TAGS[identifier]] = [text.decode()]
            except UnicodeDecodeError:  # the format does not say; this is what programs for Windows write
                texts[WAV_TAGS[identifier]] = [text.decode("cp1252", errors="replace")]
        at += 8 + size + size % 2
    return texts


def id3_tags(content: bytes) -> Tags:
    """The tags of an ID3v2 block, as in a chunk of a WAV or AIFF file."""
    with _anything_but_a_missing_library():
        return _from_id3(mutagen_module("id3").ID3(fileobj=io.BytesIO(content)))
    return Tags()


def _libsndfile_texts(path: Path) -> dict[str, list[str]]:
    with open_to_read(path) as file:
        return texts_of((name, [text]) for name, text in file.copy_metadata().items())


def _with_mutagen(file: IO[bytes], start: bytes) -> Tags:
    """The tags that mutagen finds. Raises any exception if it finds none."""
    file.seek(0)
    if start.startswith(b"ID3"):  # in front of anything: four times seven bits give its length
        file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=True)))
        behind = file.read(4)
        file.seek(0)
        if behind == b"fLaC":
            return _from_vorbis(mutagen_module("flac").FLAC(fileobj=file))
    if start.startswith(b"ID3") or _is_mpeg(start):
        tags = Tags()
        with contextlib.suppress(mutagen_module("id3").error):
            tags = _from_id3(mutagen_module("id3").ID3(fileobj=file))
        with contextlib.suppress(mutagen_module("apev2").error):
            file.seek(0)
            found = _from_ape(mutagen_module("apev2").APEv2(fileobj=file))
            tags = Tags(found.texts | tags.texts, tags.pictures or found.pictures)
        return tags
    found = mutagen_module("_file").File(fileobj=file)
    kinds = {"MP4": _from_mp4, "ASF": _from_asf}
    if type(found).__name__ in kinds:
        return kinds[type(found).__name__](found.tags)
    if hasattr(found.tags, "getall"):  # AAC, TTA, DSF, ...
        return _from_id3(found.tags)
    if type(found.tags).__name__ == "APEv2":  # WavPack, Monkey's Audio, Musepack, ...
        return _from_ape(found.tags)
    return _from_vorbis(found)


def _from_id3(tags: Any) -> Tags:
    pairs = []
    # ID3v1 holds the first 30 letters of the other comment, if there is another.
    not_comments = ("iTun", "ID3v1") if len(tags.getall("COMM")) > 1 else ("iTun",)
    for frame in tags.values():
        if frame.FrameID == "TCON":
            pairs.append(("genre", frame.genres))
        elif frame.FrameID in ID3_TAGS:
            pairs.append((ID3_TAGS[frame.FrameID], frame.text))
        elif frame.FrameID == "TXXX":
            pairs.append((frame.desc, frame.text))
        elif frame.FrameID == "COMM" and not frame.desc.startswith(not_comments):
            pairs.append(("comment", frame.text))
        elif frame.FrameID == "USLT":
            pairs.append(("lyrics", [frame.text]))
        elif frame.FrameID.startswith("W"):
            pairs.append(("website", [frame.url]))
    pictures = [Picture(int(one.type), one.mime, one.desc, one.data) for one in tags.getall("APIC")]
    return Tags(texts_of(pairs), pictures)


def _from_mp4(tags: Any) -> Tags:
    pairs: list[tuple[str, Any]] = []
    for name, values in tags.items():
        if name in ("trkn", "disk"):  # pairs of a number and how many there are
            pairs.append((MP4_TAGS[name], ["/".join(str(number) for number in pair if number) for pair in values]))
        elif name == "cpil":
            pairs.append((MP4_TAGS[name], [int(values)]))
        elif name in MP4_TAGS:
            pairs.append((MP4_TAGS[name], values))
        elif name.startswith("----:"):
            pairs.append((name.split(":")[-1], [value.decode(errors="replace") for value in values]))
    covers = [bytes(cover) for cover in tags.get("covr", [])]
    return Tags(texts_of(pairs), [Picture(FRONT_COVER, _mime(cover), "", cover) for cover in covers])


def _from_asf(tags: Any) -> Tags:
    pictures = []
    for value in tags.get("WM/Picture", []):  # kind, length, MIME type and description in UTF-16, each ended by 0
        kind, size = struct.unpack("<BI", value.value[:5])
        mime, description, _ = value.value[5:-size].decode("utf-16-le").split("\0")
        pictures.append(Picture(kind, mime, description, value.value[-size:]))
    return Tags(texts_of((name, [value]) for name, value in tags if name != "WM/Picture"), pictures)


def _from_ape(tags: Any) -> Tags:
    texts = texts_of((name, value) for name, value in tags.items() if type(value).__name__ == "APETextValue")
    pictures = []
    for name, value in tags.items():
        if name.lower().startswith("cover art") and type(value).__name__ == "APEBinaryValue":
            data = value.value.partition(b"\0")[2]  # behind the picture's name
            kind = 4 if "back" in name.lower() else FRONT_COVER
            pictures.append(Picture(kind, _mime(data), "", data))
    return Tags(texts, pictures)


def _from_vorbis(found: Any) -> Tags:
    pictures = list(getattr(found, "pictures", []))
    for text in (found.tags or {}).get("metadata_block_picture", []):
        with _anything_but_a_missing_library():
            pictures.append(mutagen_module("flac").Picture(base64.b64decode(text)))
    kept = [Picture(int(one.type), one.mime, one.desc, one.data) for one in pictures]
    return Tags(texts_of((name, [value]) for name, value in found.tags or []), kept)


def _mime(picture: bytes) -> str:
    return "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"


def written_here(path: str | Path) -> bool:
    """Whether a file is a stem that the separation scripts have written."""
    path, texts = Path(path), {}
    with contextlib.suppress(soundfile.LibsndfileError, OSError):
        with path.open("rb") as file:
            start = file.read(64)
        not_for_libsndfile = start[4:8] == b"ftyp" or b"OpusHead" in start  # M4A and Opus, whatever they are called
        texts = read_tags(path).texts if not_for_libsndfile else _libsndfile_texts(path)
    return any(WRITTEN_HERE in comment for comment in texts.get("comment", []))
