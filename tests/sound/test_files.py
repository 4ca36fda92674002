"""Files as people bring them: misnamed, joined, cut off, streamed, of every bit depth."""

import contextlib
import os
import shutil
import struct
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import ROOT, needs_ffmpeg

import separate_feedforward
from process.errors import UserError
from sound.files import SoundInfo, UnknownFormat, create_sound, kept_subtype, open_sound, sound_info
from sound.tags import Tags, read_tags
from util import wavread, wavwrite

SAMPLES = 20000
NOISE = 0.1 * np.random.default_rng(0).standard_normal((2, SAMPLES)).astype(np.float32)


def convert(source: Path, target: Path, *options: str) -> None:
    line = ["ffmpeg", "-v", "error", "-y", "-i", str(source), *options, f"file:{target}"]
    subprocess.run(line, check=True, stdin=subprocess.DEVNULL)


def separate(source: Path, target: Path, *options: str, status: int = 0) -> None:
    """With the pretrained network."""
    argv = [str(source), str(target), "--quiet", *options]
    checkpoint = str(ROOT / "pretrained/savedModel_feedforward_best.pt")
    assert separate_feedforward.main([*argv, "--checkpoint", checkpoint]) == status


# ---------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("wrong", ["wav", "flac", "ogg", "mp3", "raw", "gsm", "vox", "sd2", "m4a", "txt", ""])
def test_the_name_is_not_believed(tmp_path, extension, wrong):
    wavwrite(tmp_path / f"song.{extension}", NOISE, 44100)
    expected, _ = wavread(tmp_path / f"song.{extension}")
    other = shutil.copy(tmp_path / f"song.{extension}", tmp_path / f"other.{wrong}".rstrip("."))
    assert np.array_equal(wavread(other)[0], expected)


@pytest.mark.parametrize("name", ["song.mp3", "song.raw", "song.gsm", "song.vox", "song.wav", "song.au", "song"])
def test_what_is_no_sound_is_not_read_for_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(50000))
    with pytest.raises(UnknownFormat, match="cannot be read as sound: Format not recognised"):
        wavread(tmp_path / name)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["song.mp3", "song.wav", "song.raw"])
def test_a_song_in_mp4_whatever_it_is_called(tmp_path, name):
    wavwrite(tmp_path / "source.wav", np.tile(NOISE, 3), 44100)
    convert(tmp_path / "source.wav", tmp_path / name, "-c:a", "aac", "-f", "ipod")
    separate(tmp_path / name, tmp_path / "voice.wav")
    assert abs(sound_info(tmp_path / "voice.wav").samples - 3 * SAMPLES) < 3000


# ---------------------------------------------------------------------------------------------- joined files


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


def test_joined_files_of_different_rates(tmp_path):
    for rate in (44100, 48000):
        wavwrite(tmp_path / f"{rate}.flac", NOISE, rate)
    parts = [(tmp_path / f"{rate}.flac").read_bytes() for rate in (44100, 48000)]
    (tmp_path / "joined.flac").write_bytes(b"".join(parts))
    with pytest.raises(UserError, match="2 joined files: expected 44100 Hz in all, found 48000"):
        wavread(tmp_path / "joined.flac")


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


# ---------------------------------------------------------------------------------------------- half a file


FORMATS = ["WAV", "WAVEX", "RF64", "AIFF", "CAF", "W64", "AU", "VOC", "SVX", "NIST", "AVR", "MAT4", "FLAC", "OGG"]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("kept", [0.5, 0.9, 1])
@pytest.mark.parametrize("extension", ["", "wav"])
def test_half_a_file_is_no_song(tmp_path, file_format, kept, extension):
    channels = 1 if file_format == "SVX" else 2
    soundfile.write(tmp_path / "song", NOISE[:channels].T, 44100, format=file_format)
    data = (tmp_path / "song").read_bytes()
    path = tmp_path / f"cut.{extension}".rstrip(".")
    path.write_bytes(data[: round(kept * len(data))])
    if kept == 1:
        assert wavread(path)[0].shape == (channels, SAMPLES)
    else:
        with pytest.raises(UserError, match=r"cut off|flac decoder lost sync|with no samples"):
            wavread(path)


@needs_ffmpeg
@pytest.mark.parametrize(("extension", "codec"), [("m4a", "aac"), ("wma", "wmav2"), ("wv", "wavpack"), ("tta", "tta")])
def test_half_a_file_for_ffmpeg(tmp_path, capsys, extension, codec):
    wavwrite(tmp_path / "source.wav", np.tile(NOISE, 10), 44100)
    convert(tmp_path / "source.wav", tmp_path / f"song.{extension}", "-c:a", codec)
    data = (tmp_path / f"song.{extension}").read_bytes()
    (tmp_path / f"song.{extension}").write_bytes(data[: len(data) // 2])
    separate(tmp_path / f"song.{extension}", tmp_path / "voice.wav", status=1)
    assert f"song.{extension}: c" in capsys.readouterr().err
    assert not (tmp_path / "voice.wav").exists()


def test_headers_of_streams_tell_no_length(tmp_path):
    soundfile.write(tmp_path / "song.au", NOISE.T, 44100)
    data = bytearray((tmp_path / "song.au").read_bytes())
    data[8:12] = b"\xff" * 4
    (tmp_path / "song.au").write_bytes(data)
    assert wavread(tmp_path / "song.au")[0].shape == (2, SAMPLES)
    soundfile.write(tmp_path / "song.caf", NOISE.T, 44100)
    data = bytearray((tmp_path / "song.caf").read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 12] = b"\xff" * 8
    (tmp_path / "song.caf").write_bytes(data)
    with pytest.raises(UnknownFormat, match="malformed"):  # by libsndfile; ffmpeg reads it
        wavread(tmp_path / "song.caf")


# ---------------------------------------------------------------------------------------------- ffmpeg, asked second


def without_length(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


@needs_ffmpeg
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_flac_written_by_a_stream(tmp_path, subtype):
    wavwrite(tmp_path / "song.flac", NOISE, 44100, subtype)
    expected, _ = wavread(tmp_path / "song.flac")
    without_length(tmp_path / "song.flac")
    with pytest.raises(UnknownFormat, match="expected a length in the header, found a header written for a stream"):
        wavread(tmp_path / "song.flac")
    separate(tmp_path / "song.flac", tmp_path, "--stems", "both", "--format", "flac")
    stems = [wavread(tmp_path / f"song_{stem}.flac")[0] for stem in ("vocals", "accompaniment")]
    assert np.array_equal(stems[0] + stems[1], expected)
    assert sound_info(tmp_path / "song_vocals.flac").subtype == subtype


@needs_ffmpeg
def test_damage_that_ffmpeg_cannot_mend_either_is_told(tmp_path, capsys):
    wavwrite(tmp_path / "song.flac", NOISE, 44100)
    data = bytearray((tmp_path / "song.flac").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9000] = bytes(9000)
    (tmp_path / "song.flac").write_bytes(data)
    separate(tmp_path / "song.flac", tmp_path / "voice.flac", status=1)
    assert "error: " in capsys.readouterr().err and not (tmp_path / "voice.flac").exists()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("extension", "codec", "kind", "expected"),
    [
        ("m4a", "alac", "s32p", "PCM_24"),
        ("m4a", "alac", "s16p", "PCM_16"),
        ("wv", "wavpack", "fltp", "FLOAT"),
        ("tta", "tta", "s32", "PCM_24"),
        ("mka", "pcm_s24le", "s32", "PCM_24"),
        ("m4a", "aac", "fltp", "PCM_16"),
    ],
)
def test_bit_depth_of_what_ffmpeg_decodes(tmp_path, extension, codec, kind, expected):
    wavwrite(tmp_path / "source.wav", NOISE, 44100, "PCM_24")
    options = ["-c:a", codec, "-sample_fmt", kind, *(["-bits_per_raw_sample", "24"] if kind in ("s32p", "s32") else [])]
    convert(tmp_path / "source.wav", tmp_path / f"song.{extension}", *options)
    separate(tmp_path / f"song.{extension}", tmp_path / "voice.wav")
    assert sound_info(tmp_path / "voice.wav").subtype == expected


@pytest.mark.parametrize(
    ("subtype", "file_format", "expected"),
    [
        ("FLOAT", "FLAC", "PCM_24"),
        ("DOUBLE", "FLAC", "PCM_24"),
        ("PCM_32", "FLAC", "PCM_24"),
        ("PCM_24", "FLAC", "PCM_24"),
        ("PCM_16", "FLAC", "PCM_16"),
        ("PCM_U8", "FLAC", "PCM_16"),
        ("MPEG_LAYER_III", "FLAC", "PCM_16"),
        ("ALAC_24", "WAV", "PCM_24"),
        ("ALAC_16", "WAV", "PCM_16"),
        ("FLOAT", "WAV", "FLOAT"),
        ("FLOAT", "OGG", "VORBIS"),
        ("FLOAT", "MP3", "MPEG_LAYER_III"),
    ],
)
def test_nothing_is_lost_where_the_format_has_room(subtype, file_format, expected):
    assert kept_subtype(SoundInfo(44100, 2, 1, "x", subtype), file_format) == expected


# ---------------------------------------------------------------------------------------------- limits, and pipes


@pytest.mark.parametrize(
    ("extension", "rate", "channels", "message"),
    [
        ("mp3", 44100, 6, "MP3 has up to 48000 Hz and 2 channels"),
        ("mp3", 96000, 2, "MP3 has up to 48000 Hz and 2 channels"),
        ("flac", 44100, 9, "FLAC has up to 655350 Hz and 8 channels"),
        ("flac", 700000, 1, "FLAC has up to 655350 Hz and 8 channels"),
        ("ogg", 44100, 256, "OGG has up to 200000 Hz and 255 channels"),
    ],
)
def test_limits_of_a_format_are_named(tmp_path, extension, rate, channels, message):
    refused = pytest.raises(UserError, match=rf"cannot be written \({rate} Hz, {channels} channels\): {message}")
    with refused:
        wavwrite(tmp_path / f"song.{extension}", np.zeros((channels, 100)), rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize(("kind", "status"), [("wav", 0), ("flac", 1)])
def test_a_named_pipe_is_read_as_a_stream(tmp_path, capsys, kind, status):
    wavwrite(tmp_path / f"song.{kind}", NOISE, 44100)
    os.mkfifo(tmp_path / "pipe")
    data = (tmp_path / f"song.{kind}").read_bytes()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), (tmp_path / "pipe").open("wb") as pipe:
            pipe.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    separate(tmp_path / "pipe", tmp_path / "voice.wav", status=status)
    feeder.join()
    if status:
        assert "pipe: expected WAV, or raw PCM described by --raw, found other data" in capsys.readouterr().err
    else:
        assert wavread(tmp_path / "voice.wav")[0].shape == NOISE.shape


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices here")
def test_what_is_neither_a_file_nor_a_folder():
    with pytest.raises(UserError, match="/dev/null: expected a sound file, found a device"):
        wavread("/dev/null")


# ---------------------------------------------------------------------------------------------- channels, long files


def loudest_tones(path: Path) -> list[int]:
    """Hz, by channel."""
    spectra = np.abs(np.fft.rfft(wavread(path)[0][:, 4000:44000] * np.hanning(40000)))
    return [round(peak * 48000 / 40000 / 10) * 10 for peak in spectra.argmax(axis=1)]


@needs_ffmpeg
@pytest.mark.parametrize("channels", range(3, 9))
@pytest.mark.parametrize("codec", ["libvorbis", "libopus"])
def test_channels_keep_their_places(tmp_path, channels, codec):
    """Each channel has a tone of its own, in WAV and, as ffmpeg and as this program write them, in OGG."""
    layout = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}[channels]
    time = np.arange(48000) / 48000
    hertz = [50 + 10 * channel for channel in range(channels)]
    wavwrite(tmp_path / "song.wav", np.stack([0.3 * np.sin(2 * np.pi * tone * time) for tone in hertz]), 48000)
    to_layout = ("-af", f"channelmap=channel_layout={layout}")
    convert(tmp_path / "song.wav", tmp_path / "foreign.ogg", *to_layout, "-c:a", codec)
    convert(tmp_path / "foreign.ogg", tmp_path / "foreign.wav")  # for Opus, ffmpeg itself moves 5 and 7 channels
    assert loudest_tones(tmp_path / "foreign.ogg") == loudest_tones(tmp_path / "foreign.wav")
    moved = codec == "libopus" and channels in (5, 7)
    assert moved or loudest_tones(tmp_path / "foreign.ogg") == hertz
    wavwrite(tmp_path / "own.ogg", wavread(tmp_path / "song.wav")[0], 48000)
    convert(tmp_path / "own.ogg", tmp_path / "back.wav")
    assert loudest_tones(tmp_path / "own.ogg") == loudest_tones(tmp_path / "back.wav") == hertz


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("tags", [Tags(), Tags({"title": ["Jóga"]})])
def test_wav_of_unknown_length_is_rf64_only_if_it_must_be(tmp_path, subtype, tags):
    with create_sound(tmp_path / "song.wav", 44100, 2, subtype, tags) as file:
        file.write(NOISE)
    assert (tmp_path / "song.wav").read_bytes()[:4] == b"RIFF" and "WAV" in sound_info(tmp_path / "song.wav").format
    assert np.abs(wavread(tmp_path / "song.wav")[0] - NOISE).max() < 2**-15
    assert read_tags(tmp_path / "song.wav") == tags
