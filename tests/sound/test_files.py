"""Files as people bring them: misnamed, streamed, of every bit depth."""

import contextlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import needs_ffmpeg
from sounds import NOISE, SAMPLES, convert, separate

from process.errors import UserError
from sound import writing
from sound.files import UnknownFormat, sound_info
from sound.samples import SoundInfo
from sound.tag_reading import read_tags
from sound.tags import Tags
from sound.writing import create_sound, kept_subtype
from util import wavread, wavwrite

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
        ("svx", 96000, 1, "SVX has up to 65535 Hz and 1 channels"),
        ("mpc2k", 96000, 2, "MPC2K has up to 65535 Hz and 2 channels"),
    ],
)
def test_limits_of_a_format_are_named(tmp_path, extension, rate, channels, message):
    refused = pytest.raises(UserError, match=rf"cannot be written \({rate} Hz, {channels} channels\): {message}")
    with refused:
        wavwrite(tmp_path / f"song.{extension}", np.zeros((channels, 100)), rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", [name.lower() for name in soundfile.available_formats()])
def test_what_is_written_has_its_rate_and_length_or_leaves_no_file(tmp_path, extension):
    path = tmp_path / f"song.{extension}"
    try:
        wavwrite(path, np.full((1, 3000), 0.5, np.float32), 44100)
    except UserError as error:
        assert "expected a name ending in .wav, .flac, .ogg or .mp3" in str(error)
        assert not list(tmp_path.iterdir())
    else:
        info = sound_info(path)
        assert (info.rate, info.samples, info.channels) == (44100, 3000, 1) and list(tmp_path.iterdir()) == [path]


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


def test_wav_of_known_length_beyond_4_gb_is_rf64(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "LARGEST", 2 * 2 * SAMPLES - 1)
    for waveform, mark in ((NOISE, b"RF64"), (NOISE[:, 1:], b"RIFF")):
        wavwrite(tmp_path / "song.wav", waveform, 44100, "PCM_16")
        assert (tmp_path / "song.wav").read_bytes()[:4] == mark
        assert np.abs(wavread(tmp_path / "song.wav")[0] - waveform).max() < 2**-15


@pytest.mark.parametrize("extension", ["aiff", "au", "wavex"])
@pytest.mark.parametrize("known", [True, False])
def test_formats_that_end_at_4_gb_say_so_before_they_overflow(tmp_path, monkeypatch, extension, known):
    monkeypatch.setattr(writing, "LARGEST", 2 * 2 * SAMPLES - 1)
    path, written = tmp_path / f"song.{extension}", []
    message = f"song.{extension}: cannot be written: {extension.upper()} holds up to 4 GB; .wav and .flac hold more"
    refused, samples = pytest.raises(UserError, match=message), SAMPLES if known else None
    with refused, create_sound(path, 44100, 2, "PCM_16", samples=samples) as file:
        for start in range(0, SAMPLES, 5000):
            file.write(NOISE[:, start : start + 5000])
            written.append(start)
    assert len(written) == (0 if known else 3) and not list(tmp_path.iterdir())
