"""Damaged sound files and datasets: short campaigns of benchmarks/, and each defect that the long ones have found."""

import contextlib
import faulthandler
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import RATE, ROOT, fails, make_song, needs_ffmpeg, read_piped, wav_bytes, write_song

import prepare_dataset
import separate_feedforward
import separate_RNN
from benchmarks.faults import folders, forked, sound
from benchmarks.faults.mutations import LIES, mend_pages, whole_files, with_known_answer
from process.errors import UserError
from songs.dataset import read_dataset
from sound.ffmpeg import open_with_ffmpeg
from sound.files import open_sound
from util import AudioConfig, wavread, wavwrite

# ---------------------------------------------------------------------------------------------- campaigns


@pytest.fixture
def forks(monkeypatch):
    """Forks of this process may take as much memory beyond what it has taken for all tests before."""
    taken = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    monkeypatch.setattr(forked, "BYTES", taken + forked.BYTES)


@pytest.mark.parametrize(
    ("campaign", "options"), [(sound, ["--files", "100", "--lines", "0"]), (folders, ["--folders", "30"])]
)
def test_short_campaign(tmp_path, forks, campaign, options):
    """Another seed than that of the long ones, of which results/faults/ tells."""
    assert campaign.main([*options, "--seed", "1", "--output", str(tmp_path / "counts.json")]) == 0
    report = json.loads((tmp_path / "counts.json").read_text())
    counts = [value for value in report.values() if isinstance(value, dict) and "runs" in value]
    assert sum(own["runs"] for own in counts) >= 90
    assert not any(own["faults"] for own in counts)
    assert sum(own["results"] for own in counts) and sum(own["refused with one line"] for own in counts)


def noisy() -> int:
    print("one\ntwo", file=sys.stderr)
    return 1


def crash() -> None:
    faulthandler.disable()  # pytest's, whose report would look like a crash of the tests
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        (lambda: 0, ""),
        (lambda: print("error: one line", file=sys.stderr) or 1, ""),
        (noisy, "exit status 1 with 2 lines"),
        (lambda: 3, "exit status 3"),
        (lambda: 1 / 0, "traceback: ZeroDivisionError"),
        (crash, "died of signal 11"),
        (lambda: np.ones(3 << 27)[0] * 0, "traceback: numpy"),
        (lambda: np.ones(3 << 26)[0] * 0, "took "),
        (lambda: [None for _ in iter(int, 1)], "did not end in time"),
    ],
)
def test_the_campaigns_see_what_goes_wrong(tmp_path, monkeypatch, forks, call, fault):
    if fault == "did not end in time":
        monkeypatch.setattr(forked, "SECONDS", 1)
    assert forked.run_forked(call, tmp_path).fault().startswith(fault)
    assert fault or not forked.run_forked(call, tmp_path).fault()


def test_the_campaigns_see_what_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(forked, "PATIENCE", 2)
    assert forked.run_forked(lambda: time.sleep(99), tmp_path).fault() == "did not end in time"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs file systems of its own, as Linux has")
def test_short_campaign_of_full_disks(tmp_path):
    line = ["unshare", "--map-root-user", "--mount", sys.executable, str(ROOT / "benchmarks/faults/disk.py")]
    line += ["--runs", "5", "--seed", "1", "--output", str(tmp_path / "counts.json")]
    inside = {**os.environ, "FAULTS_DISK": "yes"}  # else it would load everything, only to start itself like this
    run = subprocess.run(line, env=inside, capture_output=True, text=True)
    if "unshare failed" in run.stderr:
        pytest.skip("may not mount file systems")
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "counts.json").read_text())
    counts = [own for own in report.values() if isinstance(own, dict) and "runs" in own]
    assert sum(own["runs"] for own in counts) == 10 and not any(own["faults"] for own in counts)


@pytest.mark.parametrize(
    ("script", "options"),
    [("memory.py", ["--steps", "480", "--hours", "0.1", "--undrawn"]), ("same.py", ["--runs", "1"])],
)
def test_short_campaigns_of_long_runs_and_of_the_same_again(script, options):
    line = [sys.executable, str(ROOT / "benchmarks/faults" / script), *options]
    run = subprocess.run(line, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_calls_that_run_at_once_end_in_their_order(tmp_path):
    def call(number):
        return lambda: print(f"error: {number}", file=sys.stderr) or number % 2

    ended = forked.run_all([call(number) for number in range(7)], tmp_path, processes=3)
    assert [(one.status, one.err) for one in ended] == [(number % 2, f"error: {number}\n") for number in range(7)]


@pytest.mark.parametrize(
    ("samples", "status", "fault"),
    [
        (None, 0, ""),
        (50, 0, ""),
        (49, 0, "expected 49 samples, found 50"),
        (0, 0, "expected 0"),
        (50, 1, "refused: error: no"),
    ],
)
def test_the_campaign_sees_wrong_answers(tmp_path, samples, status, fault):
    for stem in ("vocals", "accompaniment") if status == 0 else ():
        wavwrite(tmp_path / f"{stem}.wav", np.zeros((1, 50)), RATE)
    separation = sound.Separation("name", "kind", tmp_path, tmp_path, sound.separate_RNN, [], samples)
    ended = forked.Ended(status, "", "error: no" if status else "", 0.1, 1)
    assert separation.fault(ended).startswith(fault) and bool(separation.fault(ended)) == bool(fault)


def test_a_campaign_ends_in_time():
    (report,) = sound.run_campaign(10**6, 1, lines=0, hours=1e-9)
    assert report["forked"]["runs"] == sound.AT_ONCE and not report["forked"]["faults"]


def test_known_answers_are_known(tmp_path):
    """Of every kind, as libsndfile alone reads them."""
    files, found = whole_files(tmp_path), set()
    for number in range(200):
        data, what, samples = with_known_answer(np.random.default_rng(number), "flac", files)
        found.add(what)
        path = tmp_path / "song.flac"
        path.write_bytes(data)
        if samples:
            assert wavread(path)[0].shape[1] == samples, what
        else:
            with pytest.raises(UserError):
                wavread(path)
    assert found == {"whole", "tagged", "joined", "cut off"}


def test_headers_that_are_cut_off_can_be_damaged_too(tmp_path):
    rng = np.random.default_rng(0)
    for extension, lie in LIES.items():
        data = whole_files(tmp_path)[extension][0]
        for size in range(100):
            lie(rng, data[:size] or b"x")


def test_whole_files_are_whole(tmp_path):
    """So that what the campaigns refuse is refused for its damage; and pages are mended as their writer made them."""
    for extension, files in whole_files(tmp_path).items():
        for data in files:
            path = tmp_path / f"song.{extension}"
            path.write_bytes(data)
            if extension != "m4a":
                assert np.isfinite(wavread(path)[0]).all()
            if extension == "ogg":
                assert mend_pages(data) == data


# ---------------------------------------------------------------------------------------------- what was found


@pytest.mark.parametrize(("rate", "fine"), [(1, False), (999, False), (1000, True), (768000, True), (10**7, False)])
def test_rates_beyond_sound_are_refused(tmp_path, rate, fine):
    soundfile.write(tmp_path / "song.wav", np.zeros(100), rate)
    whole = (tmp_path / "song.wav").read_bytes()
    for attempt in (lambda: wavread(tmp_path / "song.wav"), lambda: read_piped(whole), lambda: AudioConfig(rate)):
        if fine:
            attempt()
        else:
            with pytest.raises(UserError, match=f"from 1000 to 768000 Hz, found {rate}"):
                attempt()


@pytest.mark.parametrize(("rate", "channels"), [(200_001, 1), (44100, 256)])
def test_ogg_that_would_break_libvorbis(tmp_path, rate, channels):
    with pytest.raises(UserError, match="OGG has up to 200000 Hz and 255 channels"):
        wavwrite(tmp_path / "song.ogg", np.zeros((channels, 100)), rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("extension", ["mp3", "ogg", "flac"])
def test_levels_that_would_break_encoders(tmp_path, extension):
    """As of float samples with a wrong bit."""
    loud = np.zeros((2, 48000), np.float32)
    loud[:, 20000:20400] = 1e11
    ended = forked.run_forked(lambda: wavwrite(tmp_path / f"song.{extension}", loud, 48000), tmp_path)
    assert ended.status == 0, ended.err
    assert wavread(tmp_path / f"song.{extension}")[0].shape == loud.shape


def test_blocks_of_many_channels_and_of_low_rates_are_short(tmp_path):
    for rate, channels in ((44100, 1000), (1000, 1)):
        soundfile.write(tmp_path / "song.wav", np.zeros((20000, channels)), rate)
        with open_sound(tmp_path / "song.wav") as sound:
            blocks = [block.shape[1] for block in sound.blocks]
        assert sum(blocks) == 20000 and max(blocks) <= min((1 << 17) // channels, 10 * rate)


def test_a_thousand_channels_give_what_each_of_them_gives(trained, tmp_path):
    song = make_song("song", 0.2)[0]
    checkpoint = ["--checkpoint", str(trained / "savedModel_RNN_best.pt"), "--float", "--quiet"]
    for name, waveform in (("one", song), ("all", np.tile(song, (1000, 1)))):
        wavwrite(tmp_path / f"{name}.wav", waveform, RATE, "FLOAT")
        argv = [str(tmp_path / f"{name}.wav"), str(tmp_path / f"{name} voice.wav"), *checkpoint]
        assert separate_RNN.main(argv) == 0
    one, every = (wavread(tmp_path / f"{name} voice.wav")[0] for name in ("one", "all"))
    assert every.shape == (1000, len(song)) and np.abs(every - one).max() < 1e-5


@needs_ffmpeg
def test_ffmpeg_is_not_waited_for_when_its_sound_is_refused(tmp_path):
    """More sound than a pipe holds, at a rate that is refused: ffmpeg waits for its reader, which must not for it."""
    soundfile.write(tmp_path / "song.wav", np.zeros(10**6), 900_000)
    refused = pytest.raises(UserError, match="to 768000 Hz, found 900000 Hz")
    with refused, open_with_ffmpeg(tmp_path / "song.wav", "test"):
        pass


def test_what_the_mp3_decoder_tells_is_not_passed_on(tmp_path, capfd):
    data = next(iter(whole_files(tmp_path)["mp3"]))
    rng = np.random.default_rng(0)
    for number in range(20):
        changed = bytearray(data)
        for at in rng.integers(200, len(data), 30):
            changed[at] ^= 0xFF
        (tmp_path / f"{number}.mp3").write_bytes(changed)
        with contextlib.suppress(UserError):
            wavread(tmp_path / f"{number}.mp3")
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_chunks_that_claim_to_be_huge_are_not_kept():
    whole = wav_bytes(make_song("song", 0.1)[0], "PCM_16")
    at = whole.index(b"data")
    before = 8 << 20
    chunk = b"LIST" + struct.pack("<I", before) + b"INFO" + bytes(before - 4)
    sound, found = read_piped(whole[:at] + chunk + whole[at:], size=1 << 20)
    assert not sound.tags and found.shape[1] == RATE // 10
    with pytest.raises(UserError, match="expected the header of a WAV file, found only part of one"):
        read_piped(whole[:at] + b"fmt " + struct.pack("<I", 0xFFFFFFFF) + bytes(1000))


def test_a_pipe_without_samples():
    with pytest.raises(UserError, match="standard input: expected sound, found no samples"):
        read_piped(wav_bytes(np.zeros((1, 0)), "PCM_16"))


def test_a_song_that_cannot_be_prepared_leaves_no_folder(tmp_path, capsys):
    for name in ("good", "bad"):
        write_song(tmp_path / "data", "Train", name, 0.3)
    spoilt = tmp_path / "data/Sources/Train/bad/vocals.wav"
    soundfile.write(spoilt, np.full(RATE * 3 // 10, np.nan), RATE, "FLOAT")
    assert "1 songs cannot be used" in fails(capsys, prepare_dataset.main, tmp_path / "data", tmp_path / "new")
    assert not read_dataset(tmp_path / "new").errors


def test_a_hidden_file_named_with_dots_alone_is_no_song(trained, tmp_path):
    wavwrite(tmp_path / "song.wav", make_song("song", 0.2)[0], RATE)
    for name in ("..wav", "...wav", ".hidden.wav"):
        shutil.copy(tmp_path / "song.wav", tmp_path / name)
    argv = [str(tmp_path), "--output", str(tmp_path / "out"), "--checkpoint"]
    assert separate_feedforward.main([*argv, str(trained / "savedModel_feedforward_best.pt")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["song_vocals.wav"]
