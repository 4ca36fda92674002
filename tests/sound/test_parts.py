"""Joined files, and MP3 files whose header does not tell the length: read to the end, whole or piece by piece."""

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers import needs_ffmpeg
from sounds import NOISE, SAMPLES, convert

from process.errors import UserError
from songs.song import Song
from sound.files import open_sound
from sound.parts import Part, find_parts
from util import wavread, wavwrite


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125)])
def test_joined_files_are_read_to_the_end(tmp_path, extension, between):
    parts = [NOISE, NOISE[:, :7777], NOISE[:, ::-1]]
    joined, expected = b"", []
    for part in parts:
        wavwrite(tmp_path / f"part.{extension}", part, 44100)
        expected.append(wavread(tmp_path / f"part.{extension}")[0])
        joined += (tmp_path / f"part.{extension}").read_bytes() + (between if extension == "mp3" else b"")
    path = tmp_path / f"joined.{extension}"
    path.write_bytes(joined)
    found, _ = wavread(path)
    assert found.shape == (2, 47777) and np.array_equal(found, np.concatenate(expected, axis=1))
    with open_sound(path) as sound:
        assert sound.info.samples == 47777 == sum(block.shape[1] for block in sound.blocks)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize(
    ("other", "error"),
    [
        ((48000, 2), "2 joined files: expected 44100 Hz in all, found 48000"),
        ((44100, 1), "2 joined files: expected 2 channels in all, found 1"),
    ],
)
def test_joined_files_of_different_rates_and_channels(tmp_path, extension, other, error):
    joined = b""
    for rate, channels in ((44100, 2), other):
        wavwrite(tmp_path / f"part.{extension}", NOISE[:channels], rate)
        joined += (tmp_path / f"part.{extension}").read_bytes()
    (tmp_path / f"joined.{extension}").write_bytes(joined)
    with pytest.raises(UserError, match=error):
        wavread(tmp_path / f"joined.{extension}")


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["mp3", "mp2"])
@pytest.mark.parametrize(
    ("other", "error"),
    [("-ar 48000", "expected 44100 Hz in all, found 48000"), ("-ac 1", "expected 2 channels in all, found 1")],
)
def test_joined_streams_of_frames_of_different_rates_and_channels(tmp_path, extension, other, error):
    """Which no header tells."""
    wavwrite(tmp_path / "song.wav", NOISE, 44100)
    headless = ["-write_xing", "0"] if extension == "mp3" else []
    convert(tmp_path / "song.wav", tmp_path / f"one.{extension}", *headless)
    convert(tmp_path / "song.wav", tmp_path / f"two.{extension}", *headless, *other.split())
    parts = [(tmp_path / f"{name}.{extension}").read_bytes() for name in ("one", "two")]
    for between in (b"", b"TAG" + bytes(125)):
        (tmp_path / "joined.mp3").write_bytes(between.join(parts))
        with pytest.raises(UserError, match=error):
            wavread(tmp_path / "joined.mp3")


@needs_ffmpeg
@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 1), (22050, 2), (8000, 1)])
@pytest.mark.parametrize("title", ["", "title"])
def test_mp3_of_varying_rate_without_a_header(tmp_path, rate, channels, title):
    quiet = np.zeros((channels, 3 * rate), np.float32)
    loud = 0.3 * np.random.default_rng(0).standard_normal((channels, 3 * rate)).astype(np.float32)
    for name, waveform in (("grows", [quiet, loud]), ("shrinks", [loud, quiet])):
        wavwrite(tmp_path / "song.wav", np.concatenate(waveform, axis=1), rate)
        options = ["-q:a", "2", "-write_xing", "0", "-id3v2_version", "3" if title else "0"]
        options += ["-metadata", f"title={title}"]
        convert(tmp_path / "song.wav", tmp_path / f"{name}.mp3", *options)
        found, _ = wavread(tmp_path / f"{name}.mp3")
        assert 0 <= found.shape[1] - 6 * rate < 4000
        half = found.shape[1] // 2
        levels = [np.abs(found[:, :half]).mean(), np.abs(found[:, half:]).mean()]
        assert (levels[0] < levels[1] / 9) == (name == "grows")


def test_mp3_whose_header_promises_too_little(tmp_path):
    wavwrite(tmp_path / "song.mp3", NOISE, 44100)
    whole, _ = wavread(tmp_path / "song.mp3")
    data = bytearray((tmp_path / "song.mp3").read_bytes())
    at = data.index(b"Xing") if b"Xing" in data else data.index(b"Info")
    data[at + 8 : at + 12] = struct.pack(">I", 5)
    (tmp_path / "song.mp3").write_bytes(data)
    assert wavread(tmp_path / "song.mp3")[0].shape[1] >= whole.shape[1]


def test_what_a_file_is_told_to_be_is_what_is_read_of_it(tmp_path, monkeypatch):
    """In a damaged MP3 file, libsndfile may find other sound at first than in the part that is read."""
    path, starts = tmp_path / "song.flac", [0]
    for waveform, rate in ((NOISE, 48000), (NOISE[:1, :7777], 44100)):
        wavwrite(tmp_path / "part.flac", waveform, rate)
        with path.open("ab") as file:
            file.write((tmp_path / "part.flac").read_bytes())
        starts.append(path.stat().st_size)
    monkeypatch.setattr("sound.files.find_parts", lambda *_: (Part(*starts[1:]),))
    with open_sound(path) as sound:
        assert (sound.info.rate, sound.info.channels, sound.info.samples) == (44100, 1, 7777)
        assert all(len(block) == 1 for block in sound.blocks)


# ---------------------------------------------------------------------------------------------- pieces of them


def join(path: Path, *parts: np.ndarray) -> None:
    joined = b""
    for part in parts:
        wavwrite(path, part, 44100)
        joined += path.read_bytes()
    path.write_bytes(joined)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_pieces_of_joined_files(tmp_path, extension):
    """Within a part, across one border and across two, to the end, at it and beyond."""
    path = tmp_path / f"joined.{extension}"
    join(path, NOISE, NOISE[:, :7777], NOISE[:, ::-1])
    whole, _ = wavread(path)
    for start, end in itertools.combinations((0, 100, 19999, 20000, 20001, 27777, 30000, 47777), 2):
        piece, _ = wavread(path, start, end - start)
        assert piece.shape == (2, end - start) and np.abs(piece - whole[:, start:end]).max() < 1e-6, (start, end)
        assert np.abs(wavread(path, start)[0] - whole[:, start:]).max() < 1e-6
    for start, samples in ((47777, 1), (40000, 7778), (50000, 10)):
        with pytest.raises(UserError, match="cut off: expected"):
            wavread(path, start, samples)


def test_a_song_of_joined_files_is_read_piece_by_piece(tmp_path):
    for name in ("mixture", "vocals"):
        join(tmp_path / f"{name}.flac", NOISE, NOISE[:, ::-1])
    song = Song.open("song", tmp_path / "mixture.flac", tmp_path / "vocals.flac")
    assert song.samples == 40000
    expected = np.concatenate([NOISE, NOISE[:, ::-1]], axis=1).mean(axis=0)[15000:25000]
    assert np.abs(song.read(15000, 10000)[0] - expected).max() < 1e-4
    assert np.abs(song.read_at(44100, 15000, 10000)[1] - expected).max() < 1e-4


def test_pieces_of_a_file_that_has_changed(tmp_path):
    """What was known of its parts is forgotten."""
    path = tmp_path / "song.flac"
    join(path, NOISE, NOISE)
    assert wavread(path)[0].shape == (2, 40000)
    join(path, NOISE[:, ::-1], NOISE, NOISE[:, :50])
    assert np.abs(wavread(path, 39000, 1050)[0][:, -50:] - NOISE[:, :50]).max() < 1e-4


def test_an_mp3_file_that_is_one_by_its_header_is_not_walked_through(tmp_path, monkeypatch):
    wavwrite(tmp_path / "song.mp3", NOISE, 44100)
    data = (tmp_path / "song.mp3").read_bytes()
    monkeypatch.setattr("sound.mpeg._stretches", None)
    for tag in (b"", b"TAG" + bytes(125)):
        (tmp_path / "song.mp3").write_bytes(data + tag)
        assert find_parts(tmp_path / "song.mp3", "MP3", SAMPLES) == ()
    for more in (data, b"TAG" + bytes(125) + data):
        (tmp_path / "song.mp3").write_bytes(data + more)
        with pytest.raises(TypeError):
            find_parts(tmp_path / "song.mp3", "MP3", SAMPLES)
