"""Tags (title, artist, cover, ...) of sound files of all kinds, read into one vocabulary and written again.

mutagen does the work. It is loaded only for files that have tags beyond what libsndfile can carry.
"""

import base64
import contextlib
import dataclasses
import importlib
import io
import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import soundfile

from sound.libsndfile import open_to_read

WRITTEN_HERE = "separated by separate_feedforward.py or separate_RNN.py"  # part of the comment of every stem

# libsndfile's names, which are those of Vorbis comments, and what they are called in other vocabularies.
WAV_TAGS = {  # of a WAV file's LIST chunk
    b"INAM": "title",
    b"IART": "artist",
    b"IPRD": "album",
    b"ICRD": "date",
    b"IGNR": "genre",
    b"IPRT": "tracknumber",
    b"ITRK": "tracknumber",
    b"ICMT": "comment",
    b"ICOP": "copyright",
}
LIBSNDFILE_TAGS = ("title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license")
ID3_TAGS = {
    "TIT2": "title",
    "TPE1": "artist",
    "TALB": "album",
    "TPE2": "albumartist",
    "TDRC": "date",
    "TCON": "genre",
    "TRCK": "tracknumber",
    "TPOS": "discnumber",
    "TCOM": "composer",
    "TCOP": "copyright",
    "TEXT": "lyricist",
    "TPE3": "conductor",
    "TPE4": "remixer",
    "TPUB": "organization",
    "TSRC": "isrc",
    "TLAN": "language",
    "TMED": "media",
    "TMOO": "mood",
    "TBPM": "bpm",
    "TKEY": "key",
    "TCMP": "compilation",
    "TIT1": "grouping",
    "TIT3": "subtitle",
    "TSST": "discsubtitle",
    "TDOR": "originaldate",
    "TSOT": "titlesort",
    "TSOP": "artistsort",
    "TSOA": "albumsort",
    "TSO2": "albumartistsort",
    "TSOC": "composersort",
}
MP4_TAGS = {
    "\xa9nam": "title",
    "\xa9ART": "artist",
    "\xa9alb": "album",
    "aART": "albumartist",
    "\xa9day": "date",
    "\xa9gen": "genre",
    "trkn": "tracknumber",
    "disk": "discnumber",
    "\xa9wrt": "composer",
    "\xa9cmt": "comment",
    "\xa9lyr": "lyrics",
    "\xa9grp": "grouping",
    "cprt": "copyright",
    "tmpo": "bpm",
    "cpil": "compilation",
    "sonm": "titlesort",
    "soar": "artistsort",
    "soal": "albumsort",
    "soaa": "albumartistsort",
    "soco": "composersort",
}
OTHER_NAMES = {  # in APE, ASF and Matroska, in lower case, without spaces, hyphens, underscores and 'WM/'
    "author": "artist",
    "albumtitle": "album",
    "year": "date",
    "track": "tracknumber",
    "disc": "discnumber",
    "partofset": "discnumber",
    "description": "comment",
    "unsyncedlyrics": "lyrics",
    "publisher": "organization",
    "beatsperminute": "bpm",
}
KNOWN = {*ID3_TAGS.values(), "comment", "lyrics"}
# Beginnings, spelt as above, of what is true of the file that was read, but not of its stems: how it was encoded, how
# loud and how long it is. Pictures are read apart.
NOT_OF_STEMS: tuple[str, ...] = (
    "encod",
    "software",
    "vendor",
    "length",
    "duration",
    "majorbrand",
    "minorversion",
    "compatiblebrands",
)
NOT_OF_STEMS += ("itunsmpb", "itunnorm", "itunpgap", "handlername", "replaygain", "r128", "mp3gain", "creationtime")
NOT_OF_STEMS += ("statistics", "numberof", "bps", "waveformatextensible", "accurateripdiscid", "md5signature")
NOT_OF_STEMS += ("coverart", "metadatablockpicture", "picture")

LONGEST_TEXT = 1000  # characters; with much more, libsndfile writes broken AIFF files
FLAC_COMMENTS, FLAC_PICTURE = 4, 6  # kinds of blocks
FRONT_COVER = 3  # in ID3's, and so in everybody's, list of kinds of pictures
LARGEST_PICTURE = (1 << 24) - (1 << 16)  # bytes; in FLAC, 24 bits give the length of a picture with its description
# How files begin whose tags libsndfile reads as well as anybody: CAF, Wave64, AU.
CHUNKS_OF_LIBSNDFILE = (b"caff", b"riff", b".snd", b"dns.")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A cover or another picture: its kind as ID3 counts them, MIME type, description, and bytes."""

    kind: int
    mime: str
    description: str
    data: bytes


@dataclasses.dataclass
class Tags:
    """What a file says about its sound: texts by the names of Vorbis comments in lower case, and pictures."""

    texts: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    pictures: list[Picture] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.texts or self.pictures)


def stem_tags(tags: Tags, stem: str) -> Tags:
    """The tags of a song's stem: the song's, with the stem in its title and a comment that tells who wrote it."""
    texts = {name: values for name, values in tags.texts.items() if name != "comment"}
    if "title" in texts:
        texts["title"] = [f"{title} ({stem})" for title in texts["title"]]
    own = [comment for comment in tags.texts.get("comment", []) if WRITTEN_HERE not in comment]
    return Tags(texts | {"comment": ["; ".join([WRITTEN_HERE, *own])]}, tags.pictures)


def written_here(path: str | Path) -> bool:
    """Whether a file is a stem that the separation scripts have written."""
    path, texts = Path(path), {}
    with contextlib.suppress(soundfile.LibsndfileError, OSError):
        texts = read_tags(path).texts if path.suffix.lower() in (".m4a", ".opus") else _libsndfile_texts(path)
    return any(WRITTEN_HERE in comment for comment in texts.get("comment", []))


# ---------------------------------------------------------------------------------------------- reading


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
        elif name == b"LIST" and file.read(4) == b"INFO":
            tags = Tags(info_texts(file.read(size - 4)) | tags.texts, tags.pictures)
        elif name in (b"id3 ", b"ID3 "):
            found = id3_tags(file.read(size))
            tags = Tags(tags.texts | found.texts, tags.pictures + found.pictures)
        at += 8 + size + size % 2
    return tags


def info_texts(content: bytes) -> dict[str, list[str]]:
    """The texts of a WAV file's LIST chunk of the kind INFO."""
    texts = {}
    while len(content) >= 8:
        identifier, size = struct.unpack("<4sI", content[:8])
        text = content[8 : 8 + size].split(b"\0")[0]
        if identifier in WAV_TAGS and text:
            try:
                texts[WAV_TAGS[identifier]] = [text.decode()]
            except UnicodeDecodeError:  # the format does not say; this is what programs for Windows write
                texts[WAV_TAGS[identifier]] = [text.decode("cp1252", errors="replace")]
        content = content[8 + size + size % 2 :]
    return texts


def id3_tags(content: bytes) -> Tags:
    """The tags of an ID3v2 block, as in a chunk of a WAV or AIFF file."""
    with _anything_but_a_missing_library():
        return _from_id3(_mutagen("id3").ID3(fileobj=io.BytesIO(content)))
    return Tags()


def _libsndfile_texts(path: Path) -> dict[str, list[str]]:
    with open_to_read(path) as file:
        return texts_of((name, [text]) for name, text in file.copy_metadata().items())


def _mutagen(module: str) -> Any:
    return importlib.import_module(f"mutagen.{module}")


def _with_mutagen(file: IO[bytes], start: bytes) -> Tags:
    """The tags that mutagen finds. Raises any exception if it finds none."""
    file.seek(0)
    if start.startswith(b"ID3"):  # in front of anything: four times seven bits give its length
        file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=True)))
        behind = file.read(4)
        file.seek(0)
        if behind == b"fLaC":
            return _from_vorbis(_mutagen("flac").FLAC(fileobj=file))
    if start.startswith(b"ID3") or _is_mpeg(start):
        tags = Tags()
        with contextlib.suppress(_mutagen("id3").error):
            tags = _from_id3(_mutagen("id3").ID3(fileobj=file))
        with contextlib.suppress(_mutagen("apev2").error):
            file.seek(0)
            found = _from_ape(_mutagen("apev2").APEv2(fileobj=file))
            tags = Tags(found.texts | tags.texts, tags.pictures or found.pictures)
        return tags
    found = _mutagen("_file").File(fileobj=file)
    kinds = {"MP4": _from_mp4, "ASF": _from_asf}
    if type(found).__name__ in kinds:
        return kinds[type(found).__name__](found.tags)
    if hasattr(found.tags, "getall"):  # AAC, TTA, DSF, ...
        return _from_id3(found.tags)
    if type(found.tags).__name__ == "APEv2":  # WavPack, Monkey's Audio, Musepack, ...
        return _from_ape(found.tags)
    return _from_vorbis(found)


def texts_of(pairs: Iterable[tuple[str, Iterable[Any]]]) -> dict[str, list[str]]:
    """Texts by the names of Vorbis comments, from (name, values) in any vocabulary."""
    texts: dict[str, list[str]] = {}
    for name, values in pairs:
        plain = re.sub("[ _-]", "", name.lower()).removeprefix("wm/")
        key = OTHER_NAMES.get(plain, plain if plain in KNOWN else name.lower())
        if plain.startswith(NOT_OF_STEMS):
            continue
        for value in values:
            text = str(value).strip("\0 ")
            if text and text not in texts.setdefault(key, []):
                texts[key].append(text)
    return {name: values for name, values in texts.items() if values}


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
            pictures.append(_mutagen("flac").Picture(base64.b64decode(text)))
    kept = [Picture(int(one.type), one.mime, one.desc, one.data) for one in pictures]
    return Tags(texts_of((name, [value]) for name, value in found.tags or []), kept)


def _mime(picture: bytes) -> str:
    return "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"


# ---------------------------------------------------------------------------------------------- writing


def texts_for_libsndfile(tags: Tags, file_format: str) -> dict[str, str]:
    """What libsndfile shall write into a file of its own format: all that it knows, unless mutagen replaces it."""
    if file_format in ("FLAC", "OGG", "MP3") and needs_mutagen(tags):
        return {}
    return {name: "; ".join(tags.texts[name])[:LONGEST_TEXT] for name in LIBSNDFILE_TAGS if name in tags.texts}


def needs_mutagen(tags: Tags) -> bool:
    """Whether there is more than a comment in plain letters, which libsndfile writes correctly into any format."""
    plain = all(text.isascii() for texts in tags.texts.values() for text in texts)
    return bool(tags.texts.keys() - {"comment"} or tags.pictures or not plain)


def write_tags(path: Path, file_format: str, tags: Tags) -> None:
    """Write all tags into a complete WAV, FLAC, OGG, MP3 or AIFF file, and none into others, which have no place for
    them. Raises OSError if the disk is full."""
    pictures = [picture for picture in tags.pictures if len(picture.data) < LARGEST_PICTURE]
    try:
        if file_format in ("FLAC", "OGG"):
            _write_vorbis(path, file_format, tags.texts, pictures)
        elif file_format in ("WAV", "WAVEX", "AIFF", "MP3"):
            _write_id3(path, file_format, tags.texts, pictures)
    except importlib.import_module("mutagen").MutagenError as error:
        cause = error.args[0] if error.args else error
        raise cause if isinstance(cause, OSError) else OSError(f"tags: {error}") from error


def _write_vorbis(path: Path, file_format: str, texts: dict[str, list[str]], pictures: list[Picture]) -> None:
    file = _mutagen("flac").FLAC(path) if file_format == "FLAC" else _mutagen("oggvorbis").OggVorbis(path)
    blocks = []
    for picture in pictures:
        block = _mutagen("flac").Picture()
        block.type, block.mime, block.desc, block.data = dataclasses.astuple(picture)
        blocks.append(block)
    for name, values in texts.items():
        with contextlib.suppress(ValueError):  # a name with letters that Vorbis comments do not have
            file[name] = values
    if file_format == "FLAC":
        for block in blocks:
            file.add_picture(block)
    elif blocks:
        file["metadata_block_picture"] = [base64.b64encode(block.write()).decode() for block in blocks]
    file.save()


def _write_id3(path: Path, file_format: str, texts: dict[str, list[str]], pictures: list[Picture]) -> None:
    id3 = _mutagen("id3")
    file, tags = None, id3.ID3()
    if file_format != "MP3":
        file = _mutagen("aiff").AIFF(path) if file_format == "AIFF" else _mutagen("wave").WAVE(path)
        file.add_tags()
        tags = file.tags
    frames = {name: frame for frame, name in ID3_TAGS.items()}
    for name, values in texts.items():
        if name == "comment":
            tags.add(id3.COMM(encoding=id3.Encoding.UTF8, lang="eng", desc="", text=values))
        elif name == "lyrics":
            tags.add(id3.USLT(encoding=id3.Encoding.UTF8, lang="XXX", desc="", text="\n\n".join(values)))
        elif name == "website":
            for url in values:
                tags.add(id3.WOAR(url=url))
        elif name in frames and _fits(id3, name, values):
            tags.add(getattr(id3, frames[name])(encoding=id3.Encoding.UTF8, text=values))
        else:
            tags.add(id3.TXXX(encoding=id3.Encoding.UTF8, desc=name, text=values))
    for number, picture in enumerate(pictures):
        description = picture.description or " " * number  # which tells pictures of one kind apart
        tags.add(id3.APIC(id3.Encoding.UTF8, picture.mime, picture.kind, description, picture.data))
    if file:
        file.save()
    else:
        tags.save(path)


def _fits(id3: Any, name: str, values: list[str]) -> bool:
    """Whether ID3 takes these values: a date must look like 2011-03-04 or the beginning of it."""
    return "date" not in name or all(str(id3.ID3TimeStamp(value)) == value for value in values)
