"""Damaged songs, of which --partial separates the whole part; sound tracks of videos; named pipes."""

import os
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import RATE, make_song, needs_ffmpeg

import separate_RNN
from sound.files import sound_info
from sound.streams import RAW_TYPES, encode
from util import wavread, wavwrite

SONG = np.tile(make_song("song", 4)[0], (2, 1))  # 4 s at 8 kHz, in two channels
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def ffmpeg(*words: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *words], check=True)


def write(name: str) -> None:
    """The song, in a file that its name tells the kind of."""
    if name.endswith((".wav", ".flac", ".aiff", ".mp3", ".ogg")):
        wavwrite(name, SONG, RATE)
    else:
        wavwrite("source.wav", SONG, RATE)
        options = ["-movflags", "+faststart"] if name.endswith(".mp4") else []
        ffmpeg("-i", "source.wav", *options, name)
        Path("source.wav").unlink()


def halve(name: str) -> None:
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: len(data) // 2])


HALVES = [
    "wav",
    "aiff",
    "flac",
    "ogg",
    "mp3",
    *(pytest.param(one, marks=needs_ffmpeg) for one in ("mka", "mp4", "tta")),
]


@pytest.mark.parametrize("extension", HALVES)
def test_the_whole_part_of_half_a_song(run, extension):
    name = f"song.{extension}"
    write(name)
    halve(name)
    said = run(name, "voice.wav", "--partial", "--quiet")
    samples = sound_info("voice.wav").samples
    assert 0.25 * SONG.shape[1] < samples < 0.8 * SONG.shape[1]
    assert said.startswith(f"{name}: c") and said.count("\n") == 1  # however quiet
    assert said.endswith(f"; only what can be read, {samples / RATE:.2f} s, is separated\n")
    Path("voice.wav").unlink()
    said = run(name, "voice.wav", status=1)
    assert said.endswith("; --partial separates what can be read\n") and not Path("voice.wav").exists()


def test_both_stems_of_half_a_song_add_up_to_it(run):
    write("song.wav")
    halve("song.wav")
    run("song.wav", "--partial")
    voice, accompaniment = (wavread(f"song_{stem}.wav")[0] for stem in ("vocals", "accompaniment"))
    assert np.array_equal(voice + accompaniment, wavread_half())


def wavread_half() -> np.ndarray:
    wavwrite("whole.wav", SONG, RATE)
    whole, _ = wavread("whole.wav")
    return whole[:, : sound_info("song_vocals.wav").samples]


def test_samples_that_are_no_numbers_end_the_whole_part(run):
    spoilt = np.tile(make_song("song", 20)[0], (1, 1)).T
    spoilt[150_000] = np.nan
    soundfile.write("song.wav", spoilt, RATE, "FLOAT")
    assert "found NaN or infinity; --partial separates what can be read" in run("song.wav", "voice.wav", status=1)
    assert "found NaN or infinity; only what can be read, " in run("song.wav", "voice.wav", "--partial")
    assert 0 < sound_info("voice.wav").samples <= 150_000
    spoilt[0] = np.nan
    soundfile.write("song.wav", spoilt, RATE, "FLOAT")
    for options in ([], ["--partial"]):  # nothing comes before
        assert run("song.wav", "voice.wav", *options, status=1).endswith("found NaN or infinity\n")


@needs_ffmpeg
def test_damage_in_the_middle(run):
    wavwrite("song.flac", np.random.default_rng(0).uniform(-0.1, 0.1, (2, 400_000)), 44100)
    data = bytearray(Path("song.flac").read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 9000] = bytes(9000)
    Path("song.flac").write_bytes(data)
    for options, status in ([], 1), (["--partial"], 0):
        said = run("song.flac", "voice.wav", "--quiet", *options, status=status)
        assert "ffmpeg tried, too" in said or "cut off" in said
    assert 380_000 < sound_info("voice.wav").samples < 400_000  # what stands behind the damage, too


def test_without_ffmpeg_the_part_that_libsndfile_reads(run, monkeypatch):
    wavwrite("song.flac", np.tile(SONG, 5), RATE)
    halve("song.flac")
    monkeypatch.setenv("PATH", "")
    assert "; only what can be read, " in run("song.flac", "voice.wav", "--partial")
    assert 0 < sound_info("voice.wav").samples < 4 * SONG.shape[1]


def test_a_whole_song_is_as_whole_as_ever(run):
    write("song.wav")
    assert "only what" not in run("song.wav", "voice.wav", "--partial")
    assert sound_info("voice.wav").samples == SONG.shape[1]


def test_half_a_song_through_a_pipe(run, monkeypatch):
    write("song.wav")
    halve("song.wav")
    for options, status in ([], 1), (["--partial"], 0):
        with Path("song.wav").open("rb") as stream:
            monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": stream}))
            said = run("-", "voice.wav", *options, status=status)
        assert "\nerror: standard input: cut off: " in said if status else "\nstandard input: cut off: " in said
    assert said.count("; only what can be read, 2.00 s, is separated\n") == 1


# ---------------------------------------------------------------------------------------------- sound tracks


@pytest.fixture
def video(run):
    """Two sound tracks, of which the second is softer and longer."""
    wavwrite("one.wav", SONG, RATE)
    wavwrite("two.wav", np.tile(0.5 * SONG, 2), RATE)
    maps = "-map 0 -map 1 -c:a flac -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu"
    names = ["-metadata:s:a:1", "title=Singing along"]
    ffmpeg("-i", "one.wav", "-i", "two.wav", *maps.split(), *names, "film.mkv")


@needs_ffmpeg
def test_a_sound_track_is_chosen(run, video):
    said = run("film.mkv", "first.wav")
    tracks = "2 sound tracks (1 eng, 2 deu Singing along)"
    assert f"film.mkv: the first of {tracks}; --track chooses another" in said
    for track in (1, 2):
        assert "chooses another" not in run("film.mkv", f"{track}.wav", "--track", str(track))
    assert [sound_info(f"{name}.wav").samples // SONG.shape[1] for name in ("first", "1", "2")] == [1, 1, 2]
    run("two.wav", "expected.wav")
    assert np.abs(wavread("2.wav")[0] - wavread("expected.wav")[0]).max() < 1e-3
    said = run("film.mkv", "x.wav", "--track", "3", status=1)
    assert said.endswith(f"film.mkv: expected sound track 3, found {tracks}\n")
    run("one.wav", "x.wav", "--track", "1")
    assert "one.wav: expected sound track 2, found 1 sound track\n" in run("one.wav", "y.wav", "--track", "2", status=1)
    halve("film.mkv")
    assert "cut off: expected" in run("film.mkv", "y.wav", "--track", "2", status=1)
    assert "only what can be read" in run("film.mkv", "y.wav", "--track", "2", "--partial")


PICTURES = "-f lavfi -i testsrc=size=64x48:rate=25:duration=6"


@needs_ffmpeg
@pytest.mark.parametrize(
    ("options", "seconds", "silent"),
    [
        (f"{PICTURES} -itsoffset 1 -i song.wav -c:a flac film.mkv", 5, [0]),
        (f"{PICTURES} -i song.wav -af aselect='lt(t,1)+gt(t,2)' -c:a flac film.mkv", 4, [1]),
        (f"{PICTURES} -i song.wav -c:a libopus film.webm", 4, []),  # whose sound begins some ms before its pictures
        ("-itsoffset 1 -i song.wav -c:a flac film.mka", 4, []),
    ],
    ids=["late", "with a gap", "in time", "no pictures"],
)
def test_the_sound_of_a_video_stays_in_step_with_its_pictures(run, options, seconds, silent):
    wavwrite("song.wav", make_song("song", 4, 48000)[0], 48000)
    ffmpeg(*options.split())
    run(options.split()[-1], "rest.wav", "--stems", "accompaniment")
    found, rate = wavread("rest.wav")
    assert abs(found.shape[1] - seconds * rate) < rate / 1000  # as exactly as Matroska tells times
    middles = [found[0, second * rate + rate // 4 :][: rate // 2] for second in range(seconds)]
    assert [second for second, middle in enumerate(middles) if not middle.any()] == silent


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["song.wav", "--track", "0"], "--track 0: expected 1 for the first sound track"),
        (["-", "x.wav", "--track", "1"], "--track chooses a sound track of a file, found a pipe"),
        (["song.wav", "x.wav", "--raw", "8000", "2", "s16le"], "--raw describes what a pipe carries: expected -"),
    ],
)
def test_options_that_make_no_sense(run, capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        separate_RNN.main(words)
    assert ended.value.code == 2 and message in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- named pipes


@needs_pipes
@pytest.mark.parametrize("raw", [[], ["--raw", str(RATE), "2", "s16le"]])
@pytest.mark.parametrize("output", [["out"], ["-o", "out"]], ids=len)
def test_named_pipes_at_both_ends(run, raw, output):
    write("song.wav")
    data = encode(SONG.T, RAW_TYPES["s16le"]) if raw else Path("song.wav").read_bytes()
    for name in ("in", "out"):
        os.mkfifo(name)
    feeder = threading.Thread(target=lambda: Path("in").write_bytes(data))
    found = []
    reader = threading.Thread(target=lambda: found.append(Path("out").read_bytes()))
    for thread in (feeder, reader):
        thread.start()
    run("in", *output, *raw)
    for thread in (feeder, reader):
        thread.join()
    assert Path("out").is_fifo() and (raw or found[0].startswith(b"RIFF"))
    run("song.wav", "voice.wav")
    expected, _ = wavread("voice.wav")
    if raw:
        voice = np.frombuffer(found[0], "<i2").reshape(-1, 2).T / np.float32(1 << 15)
    else:
        Path("copy.wav").write_bytes(found[0])
        voice, _ = wavread("copy.wav")
    assert voice.shape == expected.shape and np.abs(voice - expected).max() < 2**-14
