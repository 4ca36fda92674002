"""Tags (title, artist, cover, ...) of sound files of all kinds in one vocabulary, that of Vorbis comments."""

import dataclasses
import importlib
import re
from collections.abc import Iterable
from typing import Any

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

OTHER_KIND, FRONT_COVER, LAST_KIND = 0, 3, 20  # in ID3's, and so in everybody's, list of kinds of pictures


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


def texts_of(pairs: Iterable[tuple[str, Iterable[Any]]]) -> dict[str, list[str]]:
    """Texts by the names of Vorbis comments, from (name, values) in any vocabulary."""
    texts: dict[str, list[str]] = {}
    for name, values in pairs:
        plain = re.sub("[ _-]", "", name.lower()).removeprefix("wm/")
        key = OTHER_NAMES.get(plain, plain if plain in KNOWN else name.lower())
        if plain.startswith(NOT_OF_STEMS):
            continue
        for value in values:
            for part in str(value).encode(errors="replace").decode().split("\0"):  # as ID3 divides values
                text = part.strip()
                if text and text not in texts.setdefault(key, []):
                    texts[key].append(text)
    return {name: values for name, values in texts.items() if values}


def mutagen_module(name: str) -> Any:
    """A part of mutagen. It is loaded only for files that have tags beyond what libsndfile can carry."""
    return importlib.import_module(f"mutagen.{name}")
