"""Sound through pipes and through ffmpeg: WAV and raw PCM of every type, live, broken, ended."""

import io
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from helpers import RATE, ROOT, Trickle, make_song, needs_ffmpeg, read_piped, wav_bytes

import separate_RNN
from process.errors import UserError
from sound.streams import RAW_TYPES, READ, RawFormat, decode, encode, read_stream, write_stream
from util import wavread, wavwrite

STEREO = np.stack([make_song(name, 1.0)[0] for name in ("left", "right")])


# ---------------------------------------------------------------------------------------------- samples and bytes


@pytest.mark.parametrize("subtype", RAW_TYPES.values())
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_wav_and_raw_as_libsndfile_reads_them(subtype, channels, size):
    waveform = np.random.default_rng(0).uniform(-1, 1, (channels, 300))
    data = wav_bytes(waveform, subtype)
    expected = soundfile.read(io.BytesIO(data), always_2d=True)[0].T
    sound, found = read_piped(data, size=size)
    assert (sound.info.rate, sound.info.channels, sound.info.samples) == (RATE, channels, 300)
    assert sound.info.subtype == subtype and np.array_equal(found, expected)
    body = data[data.index(b"data") + 8 :][: 300 * channels * len(encode(np.zeros((1, 1)), subtype))]
    _, found = read_piped(body, RawFormat(RATE, channels, subtype), size)
    assert np.array_equal(found, expected)
    assert encode(decode(body, subtype, channels).T, subtype) == body


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_written_stream_is_a_wav_file(subtype):
    stream = io.BytesIO()
    writer = write_stream(stream, RATE, 2, subtype, raw=False)
    for start in range(0, 8000, 3000):
        writer.write(STEREO[:, start : start + 3000])
    found, rate = soundfile.read(io.BytesIO(stream.getvalue()), always_2d=True)
    assert rate == RATE and np.abs(found.T - STEREO).max() <= 0.5 / 2**15
    sound, again = read_piped(stream.getvalue())
    assert sound.info.samples is None and np.array_equal(again, found.T)


def test_tags_and_chunks_before_and_after_the_sound():
    title = "Für Elise".encode() + b"\0"
    info = b"INFO" + b"INAM" + struct.pack("<I", len(title)) + title + b"\0" * (len(title) % 2)
    data = wav_bytes(STEREO, "PCM_16")
    at = data.index(b"data")
    odd = b"junk" + struct.pack("<I", 3) + b"abc\0"
    data = data[:at] + odd + b"LIST" + struct.pack("<I", len(info)) + info + data[at:] + odd * 50
    sound, found = read_piped(data)
    assert sound.tags.texts == {"title": ["Für Elise"]} and found.shape == STEREO.shape


@pytest.mark.parametrize("told", [True, False])
def test_rf64_tells_its_length_in_another_chunk(told):
    data = wav_bytes(STEREO, "PCM_16")
    riff, sound_bytes, frames = (len(data) - 8, STEREO.size * 2, STEREO.shape[1]) if told else (0, 0, 0)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, riff, sound_bytes, frames, 0)
    header = b"RF64\xff\xff\xff\xffWAVE" + ds64 + data[12 : data.index(b"data")] + b"data\xff\xff\xff\xff"
    behind = b"LIST\x04\0\0\0INFO" if told else b""
    sound, found = read_piped(header + data[data.index(b"data") + 8 :] + behind)
    assert sound.info.samples == (frames or None) and np.array_equal(found, read_piped(data)[1])


def in_wide_frames(data: bytes) -> bytes:
    """WAV of 24 bits that gives each sample four bytes."""
    at = data.index(b"fmt ") + 8
    return data[: at + 12] + struct.pack("<H", 4 * len(STEREO)) + data[at + 14 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "standard input: expected sound, found nothing"),
        (b"this is no sound " * 9, "standard input: expected WAV, or raw PCM described by --raw, found other data"),
        (wav_bytes(STEREO, "PCM_16")[:30], "expected the header of a WAV file, found only part of one"),
        (wav_bytes(STEREO, "PCM_16")[:-4000], "cut off: expected 8000 samples, found 7000"),
        (wav_bytes(STEREO, "ULAW"), "expected PCM or float samples, found format 7, 8 bits, 2 channels, 8000 Hz"),
        (in_wide_frames(wav_bytes(STEREO, "PCM_24")), "expected 6 bytes for 2 channels of 24 bits, found 8"),
        (wav_bytes(np.full((1, 9), np.nan), "FLOAT"), "expected finite samples, found NaN or infinity"),
        (wav_bytes(STEREO, "PCM_16") * 2, "expected one WAV file, found another joined to it"),
        (wav_bytes(STEREO, "PCM_16") + wav_bytes(STEREO, "FLOAT"), "expected one WAV file, found another joined to it"),
    ],
)
def test_bad_streams(data, message):
    for size in (7, 1000, 1 << 20):
        with pytest.raises(UserError, match=message.replace("(", r"\(")):
            read_piped(data, size=size)


def test_raw_sound_that_ends_within_a_frame():
    with pytest.raises(UserError, match="cut off: expected 4 bytes per frame, found 3 at its end"):
        read_piped(bytes(403), RawFormat(RATE, 2, "PCM_16"))


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture
def pipe(trained, tmp_path, monkeypatch):
    """Run separate_RNN.py in this process with these bytes as standard input; returns standard output."""
    monkeypatch.chdir(tmp_path)

    def run(data: bytes, *argv, status: int = 0) -> bytes:
        output = Trickle(b"", 1)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Trickle(data, 5000)))
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output, write_through=True))
        checkpoint = str(trained / "savedModel_RNN_best.pt")
        assert separate_RNN.main(["--checkpoint", checkpoint, *argv]) == status
        return output.getvalue()

    return run


@pytest.mark.parametrize("stem", ["vocals", "accompaniment"])
def test_pipes_give_what_files_give(pipe, stem):
    wavwrite("song.wav", STEREO, RATE, "PCM_16")
    pipe(b"", "song.wav", "stem.wav", "--stems", stem, "--float")
    expected, _ = wavread("stem.wav")
    data = Path("song.wav").read_bytes()
    outputs = [
        pipe(data, "-", "-", "--stems", stem),
        pipe(b"", "song.wav", "-", "--stems", stem),
        pipe(data[44:], "-", "-", "--stems", stem, "--raw", str(RATE), "2", "s16le"),
    ]
    pipe(data, "-", "from_pipe.wav", "--stems", stem)
    for found in (*(read_piped(output)[1] for output in outputs[:2]), wavread("from_pipe.wav")[0]):
        assert found.shape == STEREO.shape and np.abs(found - expected).max() < 1e-5
    _, found = read_piped(outputs[2], RawFormat(RATE, 2, "PCM_16"))
    assert found.shape == STEREO.shape and np.abs(found - expected).max() < 1.01 / 2**15


def test_what_cannot_be_made_again_is_told_if_it_clips(pipe, capsys):
    square = (np.sign(STEREO) * 0.999).astype(np.float32)
    data = encode(square.T, "PCM_16")
    pipe(data, "-", "-", "--stems", "accompaniment", "--raw", str(RATE), "2", "s16le")
    assert "-: clipped, peak at +" in capsys.readouterr().err
    found = read_piped(pipe(wav_bytes(square, "PCM_16"), "-", "-", "--stems", "accompaniment"))[1]
    assert "clipped" not in capsys.readouterr().err and np.abs(found).max() > 1


def test_errors_in_pipes(pipe, capsys):
    assert pipe(b"junk" * 99, "-", "-", status=1) == b""
    assert "error: standard input: expected WAV" in capsys.readouterr().err
    pipe(wav_bytes(STEREO, "PCM_16")[:-999], "-", "voice.wav", status=1)
    assert "error: standard input: cut off" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("words", "name"), [(["-", "x.wav"], "standard input"), (["song.wav", "-"], "standard output")]
)
def test_a_terminal_is_no_sound(pipe, capsys, monkeypatch, words, name):
    wavwrite("song.wav", STEREO, RATE)
    monkeypatch.setattr(Trickle, "isatty", lambda self: True)
    assert pipe(b"", *words, status=1) == b""
    assert f"error: {name}: expected a pipe or a file, found a terminal" in capsys.readouterr().err


def start(*argv) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "separate_feedforward.py"), *argv]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, bufsize=0, **pipes)


def test_live_sound_comes_out_while_it_goes_in_and_ctrl_c_is_quiet():
    """With 1 s of sound written and the pipe open, all but the last block and hop of it must come out."""
    process = start("-", "-", "--raw", "16000", "1", "s16le", "--quiet")
    hung = threading.Timer(120, process.kill)
    hung.start()
    found = 0
    for seconds in (1, 0.25):  # and it goes on
        process.stdin.write(bytes(2 * round(16000 * seconds)))
        found -= 2 * round(16000 * seconds)
        while found < -2 * (2048 + 512):
            piece = process.stdout.read(1 << 16)
            assert piece, "nothing came out within two minutes"
            found += len(piece)
    hung.cancel()
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130 and process.stderr.read() == b""
    process.stdin.close(), process.stdout.close(), process.stderr.close()


def test_a_reader_that_has_had_enough(tmp_path):
    wavwrite(tmp_path / "song.wav", np.tile(STEREO, 60), RATE)
    process = start(str(tmp_path / "song.wav"), "-", "--quiet")
    assert process.stdout.read(4) == b"RIFF"
    process.stdout.close()
    assert process.wait(300) == 141 and process.stderr.read() == b""
    process.stdin.close(), process.stderr.close()


# ---------------------------------------------------------------------------------------------- ffmpeg


def convert(source: str, target: str, *options: str) -> None:
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", source, *options, target], check=True, stdin=subprocess.DEVNULL
    )


@needs_ffmpeg
@pytest.mark.parametrize("name", ["-song é.m4a", "song.mp4", "song.webm", "song.mka"])
def test_containers_that_libsndfile_does_not_read(pipe, name):
    wavwrite("song.wav", np.stack([make_song(part, 2.0, 48000)[0] for part in "ab"]), 48000)
    codec = {"webm": "libopus", "mka": "ac3"}.get(name.split(".")[1], "aac")
    convert("song.wav", f"file:{name}", "-c:a", codec, "-metadata", "title=Mein Lied")
    convert(f"file:{name}", "decoded.wav", "-c:a", "pcm_f32le")
    before = set(Path().iterdir())
    pipe(b"", "-o", "stems", "--stems", "both", "--", name)
    assert set(Path().iterdir()) - before == {Path("stems")}
    expected, rate = wavread("decoded.wav")
    stems = [wavread(f"stems/{Path(name).stem}_{stem}.wav") for stem in ("vocals", "accompaniment")]
    assert stems[0][1] == rate and stems[0][0].shape == expected.shape
    assert np.abs(stems[0][0] + stems[1][0] - expected).max() <= 1 / 2**15
    with soundfile.SoundFile(f"stems/{Path(name).stem}_vocals.wav") as file:
        assert file.subtype == "PCM_16" and file.title == "Mein Lied (vocals)"


@needs_ffmpeg
def test_files_that_ffmpeg_cannot_read_either(pipe, capsys):
    wavwrite("song.wav", np.tile(STEREO, 20), RATE)
    convert("song.wav", "song.m4a", "-c:a", "aac", "-movflags", "+faststart")
    Path("cut.m4a").write_bytes(Path("song.m4a").read_bytes()[:-20000])
    Path("text.m4a").write_text("no sound at all")
    for name, reason in (
        ("cut.m4a", "cut off: expected "),
        ("text.m4a", "cannot be read as sound (ffmpeg tried, too): "),
    ):
        pipe(b"", name, "voice.wav", status=1)
        assert f"error: {name}: {reason}" in capsys.readouterr().err
        assert not Path("voice.wav").exists()


def test_without_ffmpeg_the_error_names_what_can_be_read(pipe, capsys, monkeypatch):
    Path("song.m4a").write_bytes(b"\0\0\0\x18ftypM4A \0\0\0\0" + bytes(999))
    monkeypatch.setenv("PATH", "")
    pipe(b"", "song.m4a", "voice.wav", status=1)
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: song.m4a: cannot be read as sound: ")
    assert "files other than WAV, FLAC, OGG, MP3 and AIFF need the program ffmpeg, which is not installed" in said


def test_a_pipe_holds_a_large_block():
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        pytest.skip("this system's pipes have one size")
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):
        read_stream(stream, "standard input", RawFormat(8000, 1, "PCM_16"))
        assert fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) == READ
