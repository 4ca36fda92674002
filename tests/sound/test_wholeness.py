"""Half a file is no song: whatever tells its size is held against what is there."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import needs_ffmpeg
from sounds import NOISE, SAMPLES, convert, separate

from process.errors import UserError
from sound.files import UnknownFormat
from sound.mpeg import mpeg_frame
from sound.wholeness import ASF_FILE, CutOff, check_whole
from util import wavread, wavwrite

ASF = bytes.fromhex("3026B2758E66CF11A6D900AA0062CE6C")
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
        with pytest.raises(UserError, match=r"cut off|flac decoder lost sync"):
            wavread(path)


CONTAINERS = {  # extension -> how ffmpeg writes it
    "m4a": "-c:a aac",
    "mp4": "-c:a aac -movflags +faststart",
    "mov": "-c:a pcm_s16le -movflags +faststart",
    "mka": "-c:a flac",
    "mkv": "-c:a aac",
    "webm": "-c:a libopus",
    "live.mka": "-c:a flac -live 1",
    "avi": "-c:a libmp3lame",
    "flv": "-c:a aac",
    "wma": "-c:a wmav2",
    "rm": "-c:a real_144 -ar 8000 -ac 1",
    "wv": "-c:a wavpack",
    "tta": "-c:a tta",
    "voc": "-c:a pcm_s16le",
    "mp3": "-c:a libmp3lame",
    "vbr.mp3": "-c:a libmp3lame -q:a 5 -metadata title=x",
    "caf": "-c:a alac",
}


@pytest.fixture(scope="module")
def containers(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("containers")
    wavwrite(folder / "source.wav", np.tile(NOISE, 4), 44100)
    for extension, options in CONTAINERS.items():
        convert(folder / "source.wav", folder / f"song.{extension}", *options.split())
    return folder


@needs_ffmpeg
@pytest.mark.parametrize("extension", CONTAINERS)
def test_half_of_any_container(tmp_path, containers, extension):
    """Whatever ffmpeg itself would say of it."""
    data = (containers / f"song.{extension}").read_bytes()
    path = tmp_path / "song"
    for behind in (b"", b"TAG" + bytes(125), b"\0" * 999):
        path.write_bytes(data + behind)
        check_whole(path)
    for kept in (0.5, 0.9, 0.97) if extension != "m4a" else ():  # whose table is at its end
        path.write_bytes(data[: round(kept * len(data))])
        with pytest.raises(CutOff, match=rf"cut off: expected \d+ bytes, found {path.stat().st_size}"):
            check_whole(path)


STREAMS = {  # extension -> how ffmpeg writes frames that tell no length
    "mp3": "-c:a libmp3lame -write_xing 0 -id3v2_version 0",
    "tagged.mp3": "-c:a libmp3lame -write_xing 0 -metadata title=x",
    "mono.mp3": "-c:a libmp3lame -write_xing 0 -ac 1 -ar 22050",
    "mp2": "-c:a mp2",
    "ac3": "-c:a ac3",
    "32.ac3": "-c:a ac3 -ar 32000 -b:a 96k",
    "48.ac3": "-c:a ac3 -ar 48000",
    "eac3": "-c:a eac3",
    "dts": "-c:a dca -strict -2 -ar 48000",
    "aac": "-c:a aac",
}


@needs_ffmpeg
@pytest.mark.parametrize("extension", STREAMS)
def test_streams_of_frames_end_with_a_whole_one(tmp_path, extension):
    wavwrite(tmp_path / "source.wav", NOISE, 44100)
    path = tmp_path / f"song.{extension}"
    convert(tmp_path / "source.wav", path, *STREAMS[extension].split())
    data = path.read_bytes()
    for behind in (b"", b"TAG" + bytes(125), b"\0" * 999):
        path.write_bytes(data + behind)
        check_whole(path)
    for missing in (1, 9, 50):
        path.write_bytes(data[:-missing])
        with pytest.raises(CutOff, match=r"cut off: expected \d+ bytes( in the last frame)?, found \d+"):
            check_whole(path)


@needs_ffmpeg
def test_the_rest_of_a_stream_of_frames_is_read_if_partial(tmp_path, capsys):
    wavwrite(tmp_path / "source.wav", NOISE, 44100)
    convert(tmp_path / "source.wav", tmp_path / "song.mp3", "-write_xing", "0")
    data = (tmp_path / "song.mp3").read_bytes()
    (tmp_path / "song.mp3").write_bytes(data[:-9])
    separate(tmp_path / "song.mp3", tmp_path / "voice.wav", status=1)
    assert "in the last frame" in capsys.readouterr().err and not (tmp_path / "voice.wav").exists()
    separate(tmp_path / "song.mp3", tmp_path / "voice.wav", "--partial")
    assert "cut off" in capsys.readouterr().err
    assert SAMPLES - 2 * 1152 < wavread(tmp_path / "voice.wav")[0].shape[1] < SAMPLES + 2 * 1152


@pytest.mark.parametrize(
    "header",
    [
        b"MAC " + struct.pack("<HH7I", 3990, 0, 52, 24, 8, 44, 200, 0, 6),  # 334 bytes
        b"DSD " + struct.pack("<3Q", 28, 334, 0),
        b"FRM8" + struct.pack(">Q", 322) + b"DSD ",
        b"\x1aE\xdf\xa3\x80" + b"\x18\x53\x80\x67" + b"\x41\x43",  # of 323 bytes
        struct.pack(">I4sQ", 1, b"mdat", 334),
        ASF + bytes(14) + ASF_FILE + struct.pack("<Q16sQ40sI", 104, b"", 334, b"", 2),
    ],
    ids=["ape", "dsf", "dff", "matroska", "mp4", "asf"],
)
def test_sizes_told_by_headers(tmp_path, header):
    path = tmp_path / "song"
    path.write_bytes(header.ljust(334, b"\0"))
    check_whole(path)
    path.write_bytes(header.ljust(333, b"\0"))
    with pytest.raises(CutOff, match="cut off: expected 334 bytes, found 333"):
        check_whole(path)


@pytest.mark.parametrize(
    "header",
    [
        b"\x1aE\xdf\xa3\x80" + b"\x18\x53\x80\x67" + b"\x01" + b"\xff" * 7 + b"\x1f\x43\xb6\x75\xff",
        struct.pack(">I4sQ", 0, b"mdat", 334),
        b"RIFF\xff\xff\xff\xffAVI LIST",
        b"RIFF\0\0\0\0AVI LIST",
        ASF + bytes(14) + ASF_FILE + struct.pack("<Q16sQ40sI", 104, b"", 334, b"", 1),
        b"NIST_1A\nabcdefgh\nsample_count -i 9\nchannel_count -i 9\nsample_n_bytes -i 9\n",
    ],
    ids=["matroska", "mp4", "avi", "avi of a pipe", "asf", "nist"],
)
def test_headers_of_live_streams_and_damaged_ones_tell_no_size(tmp_path, header):
    (tmp_path / "song").write_bytes(header.ljust(100, b"\0"))
    check_whole(tmp_path / "song")


@needs_ffmpeg
def test_half_a_song_for_ffmpeg_leaves_no_stem(tmp_path, containers, capsys):
    for extension in ("m4a", "mka"):
        data = (containers / f"song.{extension}").read_bytes()
        (tmp_path / f"song.{extension}").write_bytes(data[: len(data) // 2])
        separate(tmp_path / f"song.{extension}", tmp_path / "voice.wav", status=1)
        assert f"song.{extension}: c" in capsys.readouterr().err
        assert not (tmp_path / "voice.wav").exists()


@pytest.mark.parametrize("extension", ["wav", "aiff", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("tag", [b"", b"ID3\3\0\0\0\0\0\x0a0123456789"])
def test_joined_files_of_which_the_last_is_cut_off(tmp_path, extension, tag):
    path = tmp_path / f"song.{extension}"
    wavwrite(path, NOISE, 44100)
    data = path.read_bytes()
    tag = tag if extension == "mp3" else b""
    path.write_bytes(tag + data + tag + data)
    assert wavread(path)[0].shape == (2, 2 * SAMPLES)
    for kept in (0.5, 0.9):
        path.write_bytes(tag + data + tag + data[: round(kept * len(data))])
        with pytest.raises(UserError, match=r"cut off|flac decoder lost sync"):
            wavread(path)


@pytest.mark.parametrize("file_format", ["AU", "W64", "RF64", "NIST", "CAF"])
def test_joined_files_of_which_only_the_first_would_be_read(tmp_path, file_format):
    path = tmp_path / "song"
    soundfile.write(path, NOISE.T, 44100, format=file_format)
    data = path.read_bytes()
    soundfile.write(path, NOISE[:, :7777].T, 44100, format=file_format)
    path.write_bytes(data + path.read_bytes())
    with pytest.raises(CutOff, match=f"expected one file of {len(data)} bytes, found another joined to it"):
        wavread(path)


@needs_ffmpeg
@pytest.mark.parametrize("extension", ["m4a", "mp4", "mov", "wma", "flv"])
def test_joined_files_of_which_ffmpeg_would_read_only_the_first(tmp_path, containers, extension):
    data = (containers / f"song.{extension}").read_bytes()
    (tmp_path / "song").write_bytes(data * 2)
    with pytest.raises(CutOff, match=f"expected one file of {len(data)} bytes, found another joined to it"):
        check_whole(tmp_path / "song")


def test_joined_files_of_which_the_first_is_cut_off(tmp_path):
    path = tmp_path / "song.mp3"
    wavwrite(path, NOISE, 44100)
    data = path.read_bytes()
    half = 0
    while half < len(data) // 2:
        half += mpeg_frame(data, half).size
    path.write_bytes(data[:half] + data)
    with pytest.raises(CutOff, match=rf"expected {len(data)} bytes, found {half}"):
        wavread(path)


@pytest.mark.parametrize(("file_format", "mark"), [("AIFF", b"SSND"), ("SVX", b"BODY"), ("WAV", b"data")])
def test_lengths_of_32_bits_that_a_stream_left_open(tmp_path, file_format, mark):
    path, channels = tmp_path / "song", 1 if file_format == "SVX" else 2
    soundfile.write(path, NOISE[:channels].T, 44100, format=file_format)
    data = bytearray(path.read_bytes())
    for at in (4, data.index(mark) + 4):
        data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert wavread(path)[0].shape == (channels, SAMPLES)


@pytest.mark.parametrize("file_format", ["RF64", "W64", "CAF"])
@pytest.mark.parametrize("place", range(4, 100, 4))
def test_lengths_of_64_bits_that_no_file_has(tmp_path, file_format, place):
    soundfile.write(tmp_path / "song", NOISE.T, 44100, format=file_format)
    data = bytearray((tmp_path / "song").read_bytes())
    data[place : place + 8] = b"\xff" * 8
    (tmp_path / "song.wav").write_bytes(data)
    try:
        assert len(wavread(tmp_path / "song.wav")[0])
    except UserError as error:
        assert str(error).startswith(str(tmp_path))


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
