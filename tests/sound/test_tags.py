"""Tags of every kind of file, as foreign programs write them, in the stems of every format."""

import base64
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import mutagen
import mutagen.flac
import mutagen.mp3
import mutagen.mp4
import mutagen.oggvorbis
import mutagen.wave
import numpy as np
import pytest
import soundfile
from helpers import ROOT, needs_ffmpeg, read_piped, wav_bytes
from mutagen import id3

import separate_feedforward
from sound.encoding import create_with_ffmpeg
from sound.tag_reading import info_texts, read_tags, written_here
from sound.tags import WRITTEN_HERE, Picture, Tags, stem_tags, texts_of
from sound.writing import create_sound
from util import wavread

NOISE = 0.1 * np.random.default_rng(0).standard_normal((2, 16000)).astype(np.float32)
COVER = Picture(3, "image/png", "", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300)
SONG = Tags(
    {
        "title": ["Jóga"],
        "artist": ["Björk", "Sjón"],
        "albumartist": ["Björk Guðmundsdóttir"],
        "album": ["日本"],
        "date": ["1997-09-15"],
        "genre": ["Electronic"],
        "tracknumber": ["2/10"],
        "discnumber": ["1/1"],
        "composer": ["Б. Г."],
        "comment": ["ripped by me"],
        "lyrics": ["All these\naccidents"],
        "isrc": ["GBAQH9700013"],
        "compilation": ["0"],
        "mood": ["grün"],
        "my own tag": ["ä"],
    },
    [COVER],
)
WITH_PLACE = ("wav", "flac", "ogg", "mp3", "aiff")  # formats with a place for all tags


def write(path: Path, tags: Tags | None = None) -> Path:
    with create_sound(path, 44100, 2, None, tags) as file:
        file.write(NOISE)
    return path


# ---------------------------------------------------------------------------------------------- writing and reading


def test_a_chunk_of_texts_that_is_nothing_but_zeros_takes_no_time(tmp_path):
    path, zeros = write(tmp_path / "song.wav", Tags({"title": ["Joga"]})), b"INFO" + bytes(1 << 22)
    with path.open("ab") as file:
        file.write(struct.pack("<4sI", b"LIST", len(zeros)) + zeros)
    began = time.process_time()
    assert info_texts(zeros[4:]) == {} and read_tags(path).texts == {"title": ["Joga"]}
    assert time.process_time() - began < 5


@pytest.mark.parametrize("extension", WITH_PLACE)
def test_what_is_written_is_read_again(tmp_path, extension):
    path = write(tmp_path / f"song.{extension}", SONG)
    assert read_tags(path) == SONG
    tagged, plain = wavread(path)[0], wavread(write(tmp_path / f"plain.{extension}"))[0]
    assert np.array_equal(tagged, plain)
    assert not read_tags(tmp_path / f"plain.{extension}")


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["m4a", "opus"])
def test_what_is_written_beside_ffmpeg_is_read_again(tmp_path, extension):
    tags = Tags({**SONG.texts, "bpm": ["120"], "artistsort": ["Bjork"], "website": ["http://例え.jp/"]}, SONG.pictures)
    with create_with_ffmpeg(tmp_path / f"song.{extension}", 48000, 1, tags) as file:
        file.write(np.zeros((1, 9600), np.float32))
    assert read_tags(tmp_path / f"song.{extension}") == tags


@needs_ffmpeg
def test_numbers_that_m4a_has_no_place_for_are_texts(tmp_path):
    tags = Tags({"tracknumber": ["B2"], "bpm": ["about 120"], "discnumber": ["99999"], "title": ["x"]})
    with create_with_ffmpeg(tmp_path / "song.m4a", 48000, 1, tags) as file:
        file.write(np.zeros((1, 9600), np.float32))
    assert read_tags(tmp_path / "song.m4a") == tags


def test_other_libraries_find_the_names_they_look_for(tmp_path):
    for extension in ("mp3", "wav"):
        tags = mutagen.File(write(tmp_path / f"song.{extension}", SONG)).tags
        assert (tags["TPE1"].text, tags["TPE2"].text) == (["Björk", "Sjón"], ["Björk Guðmundsdóttir"])
        assert (str(tags["TRCK"]), str(tags["TDRC"]), tags.getall("APIC")[0].data) == ("2/10", "1997-09-15", COVER.data)
    for extension in ("flac", "ogg"):
        tags = mutagen.File(write(tmp_path / f"song.{extension}", SONG)).tags
        assert (tags["ARTIST"], tags["albumartist"]) == (["Björk", "Sjón"], ["Björk Guðmundsdóttir"])
    assert mutagen.File(tmp_path / "song.flac").pictures[0].data == COVER.data
    with soundfile.SoundFile(tmp_path / "song.wav") as file:  # and those that read no ID3 in WAV
        assert (file.title, file.artist, file.comment) == ("Jóga", "Björk; Sjón", "ripped by me")


@pytest.mark.parametrize("extension", WITH_PLACE)
def test_values_that_a_format_does_not_have(tmp_path, extension):
    tags = Tags({"date": ["sometime in May"], "größe=": ["x"], "tracknumber": ["B2"], "title": ["a" * 100000]})
    found = read_tags(write(tmp_path / f"song.{extension}", tags)).texts
    expected = tags.texts if extension not in ("flac", "ogg") else {**tags.texts, "größe=": None}
    assert all(found.get(name) == value for name, value in expected.items())


@pytest.mark.parametrize("extension", WITH_PLACE)
def test_what_id3_lacks_the_letters_and_kinds_for(tmp_path, extension):
    tags = Tags({"website": ["http://例え.jp/"], "title": ["x"]}, [Picture(300, "image/ü日", "", COVER.data)])
    found = read_tags(write(tmp_path / f"song.{extension}", tags))
    assert found.texts == tags.texts and found.pictures[0].data == COVER.data


@pytest.mark.parametrize("extension", ["mp3", "flac"])
def test_of_tags_that_cannot_be_written_the_comment_stays(tmp_path, extension):
    tags = Tags({"title": ["\udcff"], "comment": ["by me"]})
    assert read_tags(write(tmp_path / f"song.{extension}", tags)).texts == {"comment": ["by me"]}


# ---------------------------------------------------------------------------------------------- foreign files


def info_chunk(texts: dict[bytes, bytes]) -> bytes:
    content = b"INFO"
    for name, text in texts.items():
        content += name + struct.pack("<I", len(text) + 1) + text + b"\0" * (1 + (len(text) + 1) % 2)
    return b"LIST" + struct.pack("<I", len(content)) + content


def id3_chunk(name: bytes, order: str, tags: dict[str, str]) -> bytes:
    block = Path("block")
    block.write_bytes(b"")
    frames = id3.ID3()
    for frame, text in tags.items():
        frames.add(getattr(id3, frame)(encoding=1, text=[text]))
    frames.save(block, v2_version=3)
    content = block.read_bytes()
    return name + struct.pack(f"{order}I", len(content)) + content + b"\0" * (len(content) % 2)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
@pytest.mark.parametrize("name", [b"id3 ", b"ID3 "])
@pytest.mark.parametrize("before", [True, False])
def test_wav_files_with_both_kinds_of_tags(tmp_path, monkeypatch, encoding, name, before):
    monkeypatch.chdir(tmp_path)
    chunks = info_chunk({b"IART": "Björk".encode(encoding), b"IPRD": "Café".encode(encoding)})
    chunks += id3_chunk(name, "<", {"TIT2": "Jóga", "TPE2": "日本"})
    data = wav_bytes(NOISE, "PCM_16")
    at = data.index(b"data") if before else len(data)
    Path("song.wav").write_bytes(data[:at] + chunks + data[at:])
    expected = {"artist": ["Björk"], "album": ["Café"], "title": ["Jóga"], "albumartist": ["日本"]}
    assert read_tags("song.wav").texts == expected
    sound, _ = read_piped(Path("song.wav").read_bytes())
    assert sound.tags.texts == (expected if before else {})  # a stream has begun before its end is known


def test_aiff_with_an_id3_chunk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path / "song.aiff", Tags({"comment": ["plain"]})).read_bytes()
    Path("song.aiff").write_bytes(data + id3_chunk(b"ID3 ", ">", {"TPE1": "Björk"}))
    assert read_tags("song.aiff").texts == {"comment": ["plain"], "artist": ["Björk"]}


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("encoding", [0, 1, 3])
def test_mp3_of_all_versions(tmp_path, version, encoding):
    path = write(tmp_path / "song.mp3")
    tags = id3.ID3()
    tags.add(id3.TPE1(encoding=encoding, text=["Björk"]))
    tags.add(id3.TCON(encoding=encoding, text=["(17)"]))
    tags.add(id3.TXXX(encoding=encoding, desc="replaygain_track_gain", text=["-7 dB"]))
    tags.add(id3.COMM(encoding=encoding, desc="iTunSMPB", lang="eng", text=["0000"]))
    tags.update_to_v23() if version == 3 else None
    tags.save(path, v2_version=version)
    assert read_tags(path).texts == {"artist": ["Björk"], "genre": ["Rock"]}


def test_mp3_with_tags_at_its_end(tmp_path):
    data = write(tmp_path / "song.mp3").read_bytes()
    old = b"TAG" + b"".join(text.ljust(30, b"\0") for text in ("Jóga".encode("latin-1"), b"Bjork", b"")) + bytes(35)
    (tmp_path / "song.mp3").write_bytes(data + old)
    assert read_tags(tmp_path / "song.mp3").texts == {"title": ["Jóga"], "artist": ["Bjork"], "genre": ["Blues"]}
    (tmp_path / "song.mp3").write_bytes(data)
    tags = mutagen.apev2.APEv2()
    tags["Album Artist"], tags["Year"] = "Björk", "1997"
    tags["Cover Art (Front)"] = mutagen.apev2.APEValue(b"x.png\0" + COVER.data, mutagen.apev2.BINARY)
    tags.save(tmp_path / "song.mp3")
    assert read_tags(tmp_path / "song.mp3") == Tags({"albumartist": ["Björk"], "date": ["1997"]}, [COVER])


def test_flac_behind_id3(tmp_path):
    path = write(tmp_path / "song.flac", SONG)
    (tmp_path / "id3").write_bytes(b"")
    id3.ID3().save(tmp_path / "id3")
    tags = id3.ID3()
    tags.add(id3.TIT2(text=["other"]))
    tags.save(tmp_path / "id3")
    path.write_bytes((tmp_path / "id3").read_bytes() + path.read_bytes())
    assert read_tags(path) == SONG


def test_old_ogg_with_a_cover(tmp_path):
    path = write(tmp_path / "song.ogg")
    file = mutagen.oggvorbis.OggVorbis(path)
    block = mutagen.flac.Picture()
    block.type, block.mime, block.data = COVER.kind, COVER.mime, COVER.data
    file["metadata_block_picture"] = [base64.b64encode(block.write()).decode(), "no picture"]
    file["DESCRIPTION"], file["encoder"], file["R128_TRACK_GAIN"] = "Übung", "x", "1"
    file.save()
    assert read_tags(path) == Tags({"comment": ["Übung"]}, [COVER])


FOREIGN = {
    "m4a": ("aac", "m4a"),
    "mp4": ("alac", "m4a"),
    "opus": ("libopus", "ogg"),
    "oga": ("flac", "ogg"),
    "wma": ("wmav2", "asf"),
    "wv": ("wavpack", "wv"),
    "tta": ("tta", "tta"),
    "mka": ("ac3", "matroska"),
    "webm": ("libopus", "webm"),
}


def convert(source: Path, target: Path, *options: str) -> None:
    line = ["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, f"file:{target}"]
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)


def foreign(folder: Path, extension: str, wrong_name: bool) -> Path:
    codec, container = FOREIGN[extension]
    write(folder / "source.wav")
    target = folder / ("song.mp3" if wrong_name else f"song.{extension}")
    tags = {"title": "Jóga", "artist": "Björk", "album": "日本", "album_artist": "Ó", "date": "1997", "genre": "Pop"}
    options = [word for name, text in tags.items() for word in ("-metadata", f"{name}={text}")]
    container = {"m4a": "ipod"}.get(container, container)
    convert(folder / "source.wav", target, "-ar", "48000", "-c:a", codec, *options, "-f", container)
    return target


@needs_ffmpeg
@pytest.mark.parametrize("extension", FOREIGN)
@pytest.mark.parametrize("wrong_name", [False, True])
def test_files_that_ffmpeg_decodes(tmp_path, monkeypatch, extension, wrong_name):
    path = foreign(tmp_path, extension, wrong_name)
    monkeypatch.chdir(tmp_path)
    options = ["--stems", "vocals", "--quiet", "--checkpoint", str(ROOT / "pretrained/savedModel_feedforward_best.pt")]
    assert separate_feedforward.main([path.name, "voice.flac", *options]) == 0
    found = read_tags("voice.flac").texts
    expected = {"title": ["Jóga (vocals)"], "artist": ["Björk"], "album": ["日本"], "albumartist": ["Ó"]}
    expected |= {"date": ["1997"], "genre": ["Pop"], "comment": [WRITTEN_HERE]}
    assert found == expected


def test_cover_and_numbers_of_mp4(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    path = foreign(tmp_path, "m4a", False)
    file = mutagen.mp4.MP4(path)
    file["covr"] = [mutagen.mp4.MP4Cover(COVER.data, mutagen.mp4.MP4Cover.FORMAT_PNG)]
    file["trkn"], file["disk"], file["cpil"], file["tmpo"] = [(3, 12)], [(1, 0)], True, [120]
    file["----:com.apple.iTunes:ISRC"] = [b"GB1"]
    file["----:com.apple.iTunes:iTunSMPB"] = [b" 0000"]
    file.save()
    found = read_tags(path)
    assert found.pictures == [COVER]
    expected = {"tracknumber": ["3/12"], "discnumber": ["1"], "compilation": ["1"], "bpm": ["120"], "isrc": ["GB1"]}
    assert expected.items() <= found.texts.items() and "itunsmpb" not in found.texts


@pytest.mark.parametrize("extension", [*WITH_PLACE, "caf", "w64", "au"])
def test_damaged_tags_are_no_reason_to_refuse_a_song(tmp_path, extension):
    whole = write(tmp_path / f"song.{extension}", SONG).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        data = bytearray(whole)
        for at in (*rng.integers(4, 2000, 5), *rng.integers(len(data) - 90000, len(data), 5)):
            data[at] = rng.integers(256)
        (tmp_path / f"song.{extension}").write_bytes(data[: rng.integers(1000, len(data))])
        assert isinstance(read_tags(tmp_path / f"song.{extension}"), Tags)


# ---------------------------------------------------------------------------------------------- stems


@pytest.mark.parametrize("extension", WITH_PLACE)
@pytest.mark.parametrize("tags", [Tags(), SONG, Tags({"comment": ["größer" * 900]}), Tags({"comment": ["a", "b"]})])
def test_stems_tell_who_wrote_them(tmp_path, extension, tags):
    song, stem = write(tmp_path / f"song.{extension}", tags), tmp_path / f"stem.{extension}"
    assert not written_here(song)
    write(stem, stem_tags(read_tags(song), "vocals"))
    assert written_here(stem)
    found = read_tags(stem)
    assert found.pictures == tags.pictures
    assert found.texts.get("title") == (["Jóga (vocals)"] if "title" in tags.texts else None)
    assert found.texts["comment"] == ["; ".join([WRITTEN_HERE, *tags.texts.get("comment", [])])]
    again = stem_tags(found, "accompaniment")  # of a stem, as it were a song: told once
    assert sum(comment.count(WRITTEN_HERE) for comment in again.texts["comment"]) == 1


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["m4a", "opus"])
def test_a_stem_is_known_by_its_content_whatever_it_is_called(tmp_path, extension):
    for place, tags in (("stem", stem_tags(Tags(), "vocals")), ("song", Tags())):
        with create_with_ffmpeg(tmp_path / f"{place}.{extension}", 48000, 1, tags) as file:
            file.write(np.zeros((1, 9600), np.float32))
        for name in ("x.mp3", "x.m4a", "x.opus", "x.wav", "x"):
            shutil.copy(tmp_path / f"{place}.{extension}", tmp_path / name)
            assert written_here(tmp_path / name) == (place == "stem"), name


def test_what_is_no_sound_was_not_written_here(tmp_path):
    (tmp_path / "text.wav").write_text(WRITTEN_HERE)
    assert not any(written_here(tmp_path / name) for name in ("text.wav", "missing.wav", "."))


LOADED = """
import sys
from separation.command import main
from Model import FeedforwardNetwork
from sound.tag_reading import written_here
status = main(FeedforwardNetwork, "A.\\n\\nB.\\n\\nC.", sys.argv[1:])
assert written_here(sys.argv[2])
sys.exit(status or "mutagen" in sys.modules)
"""


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("tagged", [False, True])
def test_mutagen_is_loaded_only_for_tags(tmp_path, extension, tagged):
    write(tmp_path / f"song.{extension}", Tags({"title": ["Jóga"]} if tagged else {}))
    files = [tmp_path / f"song.{extension}", tmp_path / f"voice.{extension}"]
    options = ["--quiet", "--checkpoint", ROOT / "pretrained/savedModel_feedforward_best.pt"]
    run = subprocess.run([sys.executable, "-c", LOADED, *files, *options], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == int(tagged), run.stderr


# ---------------------------------------------------------------------------------------------- texts hard to write


def test_texts_with_zeros_are_several_and_what_is_no_text_is_replaced():
    found = texts_of([("title", ["A\0B\0", " "]), ("artist", ["x\udcff"])])
    assert found == {"title": ["A", "B"], "artist": ["x?"]}


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["m4a", "opus"])
@pytest.mark.parametrize(
    "text", ["x" * 300_000, "a\nb\n\nc", "1=2; 3 # 4 \\ 5", "; a", "=", "\u6b4c", "'\"$HOME`"], ids=range(7)
)
def test_any_text_is_written_into_what_ffmpeg_encodes(tmp_path, extension, text):
    tags = Tags({"lyrics": [text], "title": ["J\xf3ga"], "comment": [text]})
    with create_with_ffmpeg(tmp_path / f"song.{extension}", 48000, 1, tags) as file:
        file.write(np.zeros((1, 9600), np.float32))
    assert read_tags(tmp_path / f"song.{extension}").texts == tags.texts
