"""Lossy stems: MP3 of the best quality or of a bit rate, rates that a format lacks, M4A and Opus through ffmpeg."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import fails, make_song, needs_ffmpeg

import separate_RNN
from process.errors import UserError
from sound.encoding import bitrate_to_write, create_with_ffmpeg, rate_to_write
from sound.ffmpeg import open_with_ffmpeg
from sound.resampling import resample
from sound.tag_reading import read_tags, written_here
from sound.tags import Tags
from sound.writing import create_sound
from util import wavread, wavwrite

SECONDS = 2.0


def song(rate: int) -> np.ndarray:
    time = np.arange(round(SECONDS * rate)) / rate
    tones = 0.2 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 0.4 * rate * time)
    noise = np.random.default_rng(0).normal(0, 0.02, (2, len(time)))
    return (tones + noise).astype(np.float32)


def kilobits(path: str | Path) -> float:
    """Per second."""
    return Path(path).stat().st_size * 8 / 1000 / SECONDS


def decoded(path: str) -> tuple[np.ndarray, int]:
    with open_with_ffmpeg(Path(path), "") as sound:
        return np.concatenate(list(sound.blocks), axis=1), sound.info.rate


def test_mp3_has_the_best_quality_or_the_bit_rate_that_is_asked_for(tmp_path):
    for bitrate in (None, 64, 128, 320):
        with create_sound(tmp_path / f"{bitrate}.mp3", 44100, 2, bitrate=bitrate) as file:
            file.write(song(44100))
    assert kilobits(tmp_path / "None.mp3") > 200
    for bitrate in (64, 128, 320):
        assert 0.95 * bitrate < kilobits(tmp_path / f"{bitrate}.mp3") < 1.1 * bitrate
    best, _ = wavread(tmp_path / "None.mp3")
    spectrum = np.abs(np.fft.rfft(best[0]))
    assert spectrum[round(0.4 * 44100 * SECONDS)] > 0.9 * 0.1 * SECONDS * 44100 / 2  # 17.6 kHz: not cut off


@pytest.mark.parametrize(("rate", "lowest"), [(44100, 32), (16000, 8), (8000, 8)])
def test_mp3_has_its_lowest_bit_rate_for_all_below(tmp_path, rate, lowest):
    for bitrate in (8, lowest):
        with create_sound(tmp_path / f"{bitrate}.mp3", rate, 2, bitrate=bitrate) as file:
            file.write(song(rate))
        assert 0.9 * lowest < kilobits(tmp_path / f"{bitrate}.mp3") < 1.2 * lowest


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_opus_has_its_highest_bit_rate_for_all_above(tmp_path, channels):
    sound = np.random.default_rng(0).normal(0, 0.1, (channels, 96000)).astype(np.float32)
    for bitrate in (256 * channels, 512 * channels):
        with create_with_ffmpeg(tmp_path / f"{bitrate}.opus", 48000, channels, Tags(), bitrate) as file:
            file.write(sound)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2 and max(sizes) < 1.01 * min(sizes)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "asked", "written"),
    [
        ("a.mp3", 44100, 2, 320, 320),
        ("a.MP3", 44100, 2, 512, 320),
        ("a.mp3", 44100, 2, 8, 32),
        ("a.mp3", 8000, 1, 128, 64),
        ("a.m4a", 44100, 2, 512, 512),
        ("a.m4a", 44100, 1, 512, 264),
        ("a.opus", 48000, 1, 512, 256),
    ],
)
def test_bit_rates_that_formats_lack(name, rate, channels, asked, written):
    assert bitrate_to_write(name, rate, channels, asked) == written


def test_a_bit_rate_that_the_format_lacks_is_told(run):
    wavwrite("song.wav", song(44100), 44100)
    told = "song.wav: stems have 320 kb/s, since their format lacks 512 kb/s for this song"
    assert told in run("song.wav", "voice.mp3", "--bitrate", "512")
    assert "kb/s" not in run("song.wav", "voice.mp3", "--bitrate", "320")


@pytest.mark.parametrize(
    ("name", "rate", "written"),
    [
        ("a.mp3", 44100, 44100),
        ("a.MP3", 96000, 48000),
        ("a.mp3", 88200, 48000),
        ("a.mp3", 192000, 48000),
        ("a.mp3", 44101, 48000),
        ("a.m4a", 96000, 96000),
        ("a.m4a", 192000, 48000),
        ("a.opus", 44100, 48000),
        ("a.wav", 192000, 192000),
        ("a.flac", 44101, 44101),
    ],
)
def test_rates_that_formats_lack(name, rate, written):
    assert rate_to_write(name, rate) == written


@pytest.mark.parametrize("extension", ["mp3", "m4a", "opus"])
@needs_ffmpeg
def test_stems_of_a_rate_that_the_format_lacks_are_resampled_and_it_is_told(run, extension):
    wavwrite("song.wav", 0.5 * np.stack([make_song(name, SECONDS, 192000)[0] for name in "ab"]), 192000)
    run("song.wav", "voice.wav")
    said = run("song.wav", "-o", "stems", "--format", extension)
    assert "song.wav: stems have 48000 Hz, since their format lacks the song's 192000 Hz" in said
    voice, rate = decoded(f"stems/song_vocals.{extension}")
    expected = resample(wavread("voice.wav")[0], 192000, 48000)
    assert rate == 48000 and 0 <= voice.shape[1] - expected.shape[1] <= 1024
    error = voice[:, : expected.shape[1]] - expected
    assert np.abs(error).max() < 0.1 and error.std() < 0.3 * expected.std()


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["m4a", "opus"])
def test_m4a_and_opus_through_ffmpeg(run, extension):
    tags = Tags({"title": ["Für Elise"], "artist": ["L. v. B."], "tracknumber": ["3"]})
    with create_sound("song.flac", 48000, 2, tags=tags) as file:
        file.write(song(48000))
    run("song.flac", f"voice.{extension}")
    found = read_tags(f"voice.{extension}").texts
    assert (found["title"], found["artist"]) == (["Für Elise (vocals)"], ["L. v. B."])
    assert written_here(f"voice.{extension}")
    run("song.flac", f"voice.{extension}", "--bitrate", "64")  # replaces it
    run("song.flac", "voice.wav")
    expected, _ = wavread("voice.wav")
    voice, rate = decoded(f"voice.{extension}")
    assert rate == 48000 and 0 <= voice.shape[1] - expected.shape[1] <= 1024
    run("song.flac", "-o", "stems", "--stems", "both", "--format", extension)
    said = run("stems", "-o", "again", status=1)
    assert "found only stems of an earlier run" in said
    shutil.copy("song.flac", f"mine.{extension}")
    assert "no earlier run wrote it" in run("song.flac", f"mine.{extension}", status=1)


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["m4a", "opus"])
@pytest.mark.parametrize("channels", range(1, 10))
def test_channels_keep_their_places_through_ffmpeg(tmp_path, extension, channels):
    """Each has a tone of its own, low enough for a subwoofer. What would change their order is refused."""
    path, hertz = tmp_path / f"song.{extension}", [50 + 10 * number for number in range(channels)]
    time = np.arange(48000) / 48000
    waveform = np.stack([0.3 * np.sin(2 * np.pi * tone * time) for tone in hertz]).astype(np.float32)
    if channels > 8 or (extension == "opus" and channels in (5, 7)):
        with pytest.raises(UserError, match="ffmpeg keeps the order of up to 8 channels"):
            create_with_ffmpeg(path, 48000, channels, Tags()).__enter__()
        assert not list(tmp_path.iterdir())
        return
    with create_with_ffmpeg(path, 48000, channels, Tags()) as file:
        file.write(waveform)
    with open_with_ffmpeg(path, "") as sound:
        found = np.concatenate(list(sound.blocks), axis=1)[:, 4000:44000]
    peaks = np.abs(np.fft.rfft(found * np.hanning(40000))).argmax(axis=1)
    assert [round(peak * 48000 / 40000 / 10) * 10 for peak in peaks] == hertz


@needs_ffmpeg
def test_what_ffmpeg_cannot_write_leaves_no_file(run):
    wavwrite("song.wav", np.zeros((20, 8000), np.float32), 8000)
    said = run("song.wav", "voice.m4a", status=1)
    assert "error: voice.m4a: cannot be written (8000 Hz, 20 channels): " in said
    assert [path.name for path in Path().iterdir()] == ["song.wav"]
    assert "no such folder: 'nowhere'" in run("song.wav", "nowhere/voice.opus", status=1)


@pytest.mark.parametrize("name", ["voice.m4a", "voice.opus"])
def test_without_ffmpeg_it_is_an_error(trained, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    wavwrite("song.wav", make_song("song", 0.3)[0], 8000)
    monkeypatch.setenv("PATH", "")
    checkpoint = trained / "savedModel_RNN_best.pt"
    line = fails(capsys, separate_RNN.main, "song.wav", "-o", name, "--checkpoint", checkpoint)
    assert f"{name}: cannot be written: " in line and "need the program ffmpeg, which is not installed" in line
    assert [path.name for path in Path().iterdir()] == ["song.wav"]


@pytest.mark.parametrize("words", [["voice.wav", "--bitrate", "128"], ["voice.mp3", "--bitrate", "7"]])
def test_bit_rates_that_make_no_sense(run, words, capsys):
    wavwrite("song.wav", make_song("song", 0.3)[0], 8000)
    with pytest.raises(SystemExit) as ended:
        separate_RNN.main(["song.wav", *words])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "--bitrate: " in error and len(error.splitlines()[-1]) < 100


@needs_ffmpeg
def test_a_level_above_full_scale_is_noticed(tmp_path):
    with create_with_ffmpeg(tmp_path / "loud.m4a", 44100, 2, Tags()) as file:
        file.write(8 * song(44100))
    assert file.peak > 1.5
