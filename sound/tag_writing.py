"""Writes tags into sound files: the simplest ones with libsndfile, the others with mutagen."""

import base64
import contextlib
import dataclasses
import re
from pathlib import Path
from typing import Any

from sound.tags import ID3_TAGS, LAST_KIND, LIBSNDFILE_TAGS, MP4_TAGS, OTHER_KIND, Picture, Tags, mutagen_module

LONGEST_TEXT = 1000  # characters; with much more, libsndfile writes broken AIFF files
LARGEST_PICTURE = (1 << 24) - (1 << 16)  # bytes; in FLAC, 24 bits give the length of a picture with its description
# mutagen's names of formats with Vorbis comments
VORBIS = {"FLAC": ("flac", "FLAC"), "OGG": ("oggvorbis", "OggVorbis"), "OPUS": ("oggopus", "OggOpus")}


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
    """Write all tags into a complete WAV, FLAC, OGG, Opus, MP3, M4A or AIFF file, and none into others, which have no
    place for them; only the comment, if the others cannot be written. Raises OSError if the disk is full."""
    pictures = [picture for picture in tags.pictures if len(picture.data) < LARGEST_PICTURE]
    try:
        if file_format in VORBIS:
            _write_vorbis(path, file_format, tags.texts, pictures)
        elif file_format in ("WAV", "WAVEX", "AIFF", "MP3"):
            _write_id3(path, file_format, tags.texts, pictures)
        elif file_format == "M4A":
            _write_mp4(path, tags.texts, pictures)
    except (mutagen_module("_util").MutagenError, ValueError) as error:
        cause = error.args[0] if error.args else error
        if isinstance(cause, OSError):
            raise cause from error
        comment = Tags({name: values for name, values in tags.texts.items() if name == "comment"})
        if tags == comment:
            raise OSError(f"tags: {error}") from error
        write_tags(path, file_format, comment)  # which tells who wrote the file; the sound is worth more than the rest


def _write_vorbis(path: Path, file_format: str, texts: dict[str, list[str]], pictures: list[Picture]) -> None:
    module, name = VORBIS[file_format]
    file = getattr(mutagen_module(module), name)(path)
    blocks = []
    for picture in pictures:
        block = mutagen_module("flac").Picture()
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
    id3 = mutagen_module("id3")
    file, tags = None, id3.ID3()
    if file_format != "MP3":
        file = mutagen_module("aiff").AIFF(path) if file_format == "AIFF" else mutagen_module("wave").WAVE(path)
        file.add_tags()
        tags = file.tags
    frames = {name: frame for frame, name in ID3_TAGS.items()}
    for name, values in texts.items():
        if name == "comment":
            tags.add(id3.COMM(encoding=id3.Encoding.UTF8, lang="eng", desc="", text=values))
        elif name == "lyrics":
            tags.add(id3.USLT(encoding=id3.Encoding.UTF8, lang="XXX", desc="", text="\n\n".join(values)))
        elif name == "website" and all(url == _latin(url) for url in values):
            for url in values:
                tags.add(id3.WOAR(url=url))
        elif name in frames and _fits(id3, name, values):
            tags.add(getattr(id3, frames[name])(encoding=id3.Encoding.UTF8, text=values))
        else:
            tags.add(id3.TXXX(encoding=id3.Encoding.UTF8, desc=name, text=values))
    for number, picture in enumerate(pictures):
        description = picture.description or " " * number  # which tells pictures of one kind apart
        kind = picture.kind if picture.kind <= LAST_KIND else OTHER_KIND
        tags.add(id3.APIC(id3.Encoding.UTF8, _latin(picture.mime), kind, description, picture.data))
    if file:
        file.save()
    else:
        tags.save(path)


def _latin(text: str) -> str:
    """The text in the letters that ID3 has for addresses and MIME types."""
    return text.encode("latin-1", errors="replace").decode("latin-1")


def _fits(id3: Any, name: str, values: list[str]) -> bool:
    """Whether ID3 takes these values: a date must look like 2011-03-04 or the beginning of it."""
    return "date" not in name or all(str(id3.ID3TimeStamp(value)) == value for value in values)


def _write_mp4(path: Path, texts: dict[str, list[str]], pictures: list[Picture]) -> None:
    mp4 = mutagen_module("mp4")
    file, atoms = mp4.MP4(path), {name: atom for atom, name in MP4_TAGS.items()}
    for name, values in texts.items():
        atom, number = atoms.get(name, ""), re.fullmatch(r"(\d{1,4})(?:/(\d{1,4}))?", values[0])
        if atom in ("trkn", "disk") and number:
            file[atom] = [(int(number[1]), int(number[2] or 0))]
        elif atom == "tmpo" and number and not number[2]:
            file[atom] = [int(number[1])]
        elif atom == "cpil":
            file[atom] = values[0] == "1"
        elif atom in ("", "trkn", "disk", "tmpo"):
            file[f"----:com.apple.iTunes:{name.upper()}"] = [value.encode() for value in values]
        else:
            file[atom] = values
    if pictures:
        kinds = mp4.MP4Cover.FORMAT_JPEG, mp4.MP4Cover.FORMAT_PNG
        file["covr"] = [mp4.MP4Cover(one.data, kinds[one.data.startswith(b"\x89PNG")]) for one in pictures]
    file.save()
