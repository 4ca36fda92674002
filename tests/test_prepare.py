"""prepare_dataset.py: the same sound as the source's in the course's layout, and runs that were stopped go on.
Data.py: what it says of a dataset."""

import collections
import hashlib
import json
import re
import shutil

import numpy as np
import pytest
import torch
from helpers import RATE, fails, make_song, needs_ffmpeg, write_dataset, write_song, write_stem_file, write_stems

import Data
import prepare_dataset
from Data import DSD100Dataset, MakeMagnitudeSpectrum
from songs.dataset import find_songs
from sound.files import sound_info
from util import AudioConfig, wavread, wavwrite


def write_stereo_song(root, split: str, name: str, seconds: float = 0.5, rate: int = 44100) -> None:
    """A song of DSD100: 44.1 kHz, stereo."""
    mixture, vocals = make_song(name, seconds, rate)
    for part, file, waveform in (("Mixtures", "mixture.wav", mixture), ("Sources", "vocals.wav", vocals)):
        folder = root / part / split / name
        folder.mkdir(parents=True)
        wavwrite(folder / file, np.stack([waveform, 0.5 * waveform]), rate, "PCM_16")


@pytest.fixture
def dsd100(tmp_path):
    for number in range(5):
        write_stereo_song(tmp_path / "DSD100", "Dev", f"{number:03} - Artist {number} - Dev")
    write_stereo_song(tmp_path / "DSD100", "Test", "050 - Artist 9 - Test")
    return tmp_path / "DSD100"


def prepare(*argv) -> int:
    return prepare_dataset.main([str(argument) for argument in argv])


def spectra(songs: list, audio: AudioConfig) -> dict[str, torch.Tensor]:
    """Magnitudes of mixture and vocals (2, frames, bins) of all excerpts that training reads, by song."""
    excerpts = DSD100Dataset(songs, audio, MakeMagnitudeSpectrum(), excerpt_seconds=0.3)
    by_song = collections.defaultdict(list)
    for index in range(len(excerpts)):
        sample = excerpts[0, index]
        by_song[sample["name"]].append(torch.stack([sample["mixture"], sample["vocals"]]))
    return {name: torch.cat(pieces, dim=1) for name, pieces in by_song.items()}


def check_same_spectra(source, target) -> None:
    for split, songs in find_songs(source).items():
        prepared = find_songs(target)[split]
        assert [song.name for song in songs] == [song.name for song in prepared]
        expected = spectra(songs, AudioConfig())
        for name, found in spectra(prepared, AudioConfig()).items():
            assert expected[name].max() > 1e-2
            assert found.shape == expected[name].shape and (found - expected[name]).abs().max() < 1e-4


def test_training_sees_the_same_spectra_with_and_without_conversion(dsd100, tmp_path):
    assert prepare(dsd100, tmp_path / "out") == 0
    for path in (tmp_path / "out").rglob("*.wav"):
        info = sound_info(path)
        assert (info.rate, info.channels, info.subtype) == (32000, 1, "PCM_16")
    check_same_spectra(dsd100, tmp_path / "out")


@needs_ffmpeg
def test_stem_files_too(tmp_path):
    for split, name in (("train", "One - a"), ("train", "Two - b"), ("test", "Three - c")):
        write_stem_file(tmp_path / "musdb" / split / f"{name}.stem.mp4", name, seconds=1.0)
    assert prepare(tmp_path / "musdb", tmp_path / "out", "--format", "flac") == 0
    check_same_spectra(tmp_path / "musdb", tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.flac"))) == 6


def test_rate_excerpt_format_and_number_of_songs(dsd100, tmp_path, capsys):
    options = ["--rate", "16000", "--excerpt", "0.2", "--format", "flac", "--songs", "4"]
    assert prepare(dsd100, tmp_path / "out", *options) == 0
    found = find_songs(tmp_path / "out")
    assert [len(found[split]) for split in ("Train", "Valid", "Test")] == [2, 1, 1]
    assert re.search(r"Train +2 +2 +0\.0 +16000 +1", capsys.readouterr().out.split("/out:")[1])
    (source,) = find_songs(dsd100)["Test"]
    (song,) = found["Test"]
    assert (song.rate, song.samples, song.mixture.suffix) == (16000, 3200, ".flac")
    assert np.allclose(song.read(), source.read_at(16000, 2400, 3200), atol=1e-4)  # the middle of half a second


def test_songs_without_a_split_are_divided_and_their_stems_added_up(tmp_path, capsys):
    for number in range(5):
        parts = write_stems(tmp_path / "mine" / f"Song {number}", str(number), "vocals", "drums", "bass", "other")
    (tmp_path / "mine" / "lonely").mkdir()
    wavwrite(tmp_path / "mine" / "lonely" / "drums.wav", parts["drums"], RATE)
    assert prepare(tmp_path / "mine", tmp_path / "out", "--rate", RATE) == 0
    found = find_songs(tmp_path / "out")
    assert [len(found[split]) for split in ("Train", "Valid", "Test")] == [3, 1, 1]
    (song,) = [song for songs in found.values() for song in songs if song.name == "Song 4"]
    assert np.allclose(song.read(), [parts["mixture"], parts["vocals"]], atol=1e-4)
    assert f"left out: {tmp_path / 'mine' / 'lonely' / 'drums.wav'}" in capsys.readouterr().out.split("/out:")[0]


def test_sums_that_would_clip_are_made_softer(tmp_path, capsys):
    parts = write_stems(tmp_path / "mine" / "Loud", "loud", "vocals", "other")
    wavwrite(tmp_path / "mine" / "Loud" / "other.wav", 30 * parts["other"], RATE, "FLOAT")
    wavwrite(tmp_path / "mine" / "Loud" / "vocals.wav", 9 * parts["vocals"], RATE, "FLOAT")
    assert prepare(tmp_path / "mine", tmp_path / "out", "--rate", RATE) == 0
    mixture, vocals = (wavread(next((tmp_path / "out").rglob(name)))[0][0] for name in ("mixture.wav", "vocals.wav"))
    assert 0.99 < np.abs(mixture).max() < 1
    record = json.loads((tmp_path / "out" / "dataset.json").read_text())["songs"]["Train/Loud"]
    gain = 10 ** (record["gain_dB"] / 20)
    assert gain < 0.9 and np.allclose(vocals, gain * 9 * parts["vocals"], atol=2e-3)
    assert f"songs that would have clipped: 1, lowered by up to {-record['gain_dB']} dB" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- stopping and going on


def contents(folder) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_was_stopped_goes_on(dsd100, tmp_path, monkeypatch, capsys):
    assert prepare(dsd100, tmp_path / "whole") == 0
    calls = []

    def stop_at_third(job, **folders):
        calls.append(job.key)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write_song(job, **folders)

    write_song = prepare_dataset.write_song
    monkeypatch.setattr(prepare_dataset, "write_song", stop_at_third)
    monkeypatch.setattr("songs.inspection.cores", lambda: 1)
    assert prepare(dsd100, tmp_path / "out") == 130
    done = json.loads((tmp_path / "out" / "dataset.json").read_text())["songs"]
    assert list(done) == sorted(calls[:2])
    (tmp_path / "out" / "Sources" / calls[0] / "vocals.wav").unlink()  # half a song
    (tmp_path / "out" / "Mixtures" / calls[0] / ".mixture.1.part.wav").write_bytes(b"of a run that was killed")

    del calls[2:]
    monkeypatch.setattr(prepare_dataset, "write_song", write_song)
    before = (tmp_path / "out" / "Mixtures" / calls[1] / "mixture.wav").stat().st_mtime_ns
    capsys.readouterr()
    assert prepare(dsd100, tmp_path / "out") == 0
    assert "songs already done: 1" in capsys.readouterr().out
    assert (tmp_path / "out" / "Mixtures" / calls[1] / "mixture.wav").stat().st_mtime_ns == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("name", [".DS_Store", ".dataset.1.0a1b.part.json"])
def test_a_folder_with_hidden_files_is_empty(dsd100, tmp_path, name):
    """macOS leaves one in every folder that was looked at, a run that was killed at its very beginning another."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).touch()
    assert prepare(dsd100, tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} - {".DS_Store"} == {
        "Mixtures",
        "Sources",
        "dataset.json",
    }


def test_songs_whose_files_have_changed_are_prepared_again(dsd100, tmp_path, capsys):
    assert prepare(dsd100, tmp_path / "out") == 0
    vocals = "Sources/Test/050 - Artist 9 - Test/vocals.wav"
    before = (tmp_path / "out" / vocals).read_bytes()
    sound, rate = wavread(dsd100 / vocals)
    wavwrite(dsd100 / vocals, 0.5 * sound, rate, "PCM_16")
    capsys.readouterr()
    assert prepare(dsd100, tmp_path / "out") == 0
    assert "songs already done: 5" in capsys.readouterr().out and (tmp_path / "out" / vocals).read_bytes() != before


def test_songs_that_come_to_another_split_need_a_new_folder(tmp_path, capsys):
    names = [f"Song {number}" for number in range(8)]
    for name in names[:6]:
        write_stems(tmp_path / "mine" / name, name, "mixture", "vocals")
    assert prepare(tmp_path / "mine", tmp_path / "out", "--rate", RATE) == 0
    before = contents(tmp_path / "out")
    for name in names[6:]:
        write_stems(tmp_path / "mine" / name, name, "mixture", "vocals")
    for changed in ("dataset.json", None):  # even if only the songs themselves tell
        line = fails(capsys, prepare_dataset.main, tmp_path / "mine", tmp_path / "out", "--rate", RATE)
        assert "out: expected nothing but the source's songs, in their splits, found '" in line
        assert contents(tmp_path / "out") == before
        if changed:
            manifest = json.loads((tmp_path / "out" / changed).read_text())
            (tmp_path / "out" / changed).write_text(json.dumps({**manifest, "songs": {}}))
            before = contents(tmp_path / "out")


def test_manifest_tells_source_settings_and_checksums(dsd100, tmp_path):
    assert prepare(dsd100, tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert manifest["settings"] == {
        "source": "DSD100",
        "layout": "DSD100",
        "rate": 32000,
        "songs": None,
        "excerpt": None,
        "format": "wav",
        "seed": 0,
    }
    record = manifest["songs"]["Test/050 - Artist 9 - Test"]
    assert record["vocals"] == "Sources/Test/050 - Artist 9 - Test/vocals.wav"
    files = {file: sha for record in manifest["songs"].values() for file, sha in record["sha256"].items()}
    assert len(files) == 12
    for file, sha in files.items():
        assert hashlib.sha256((tmp_path / "out" / file).read_bytes()).hexdigest() == sha


def test_what_cannot_be_prepared(dsd100, tmp_path, capsys, monkeypatch):
    main = prepare_dataset.main
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    assert "mine: expected a new or empty folder" in fails(capsys, main, dsd100, tmp_path / "mine")
    assert "expected the layout MIR-1K" in fails(capsys, main, dsd100, tmp_path / "out", "--layout", "MIR-1K")
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: collections.namedtuple("Usage", "free")(10**7))
        line = fails(capsys, main, dsd100, tmp_path / "out")
        assert "out: expected 0.01 GB of free disk space, found 0.01 GB" in line and not (tmp_path / "out").exists()
    vocals = dsd100 / "Sources" / "Test" / "050 - Artist 9 - Test" / "vocals.wav"
    wavwrite(vocals, np.zeros(99), 44100)
    assert "DSD100: 1 songs cannot be used" in fails(capsys, main, dsd100, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 10  # the others are there
    line = fails(capsys, main, dsd100, tmp_path / "out", "--rate", "16000")
    assert "dataset.json: written with rate = 32000, cannot go on with 16000" in line
    (tmp_path / "out" / "dataset.json").write_text("[]")
    assert "dataset.json: expected what an earlier run" in fails(capsys, main, dsd100, tmp_path / "out")


@pytest.mark.parametrize("options", [["--rate", "1"], ["--songs", "2"], ["--excerpt", "nan"], ["--layout", "tape"]])
def test_wrong_command_lines_exit_with_2(tmp_path, options):
    with pytest.raises(SystemExit) as stop:
        prepare_dataset.main([str(tmp_path), str(tmp_path / "out"), *options])
    assert stop.value.code == 2 and not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------- looking at a dataset


def test_data_py_shows_what_is_there(tmp_path, capsys):
    write_dataset(tmp_path / "songs")
    for number in range(3):  # exactly 6 dB apart
        mixture, vocals = make_song(f"extra {number}", 20)
        backing = (mixture - vocals) / np.std(mixture - vocals)
        (tmp_path / "plain" / str(number)).mkdir(parents=True)
        scaled = 0.1 * 10 ** (6 * (number - 1) / 20) * vocals / np.std(vocals)
        wavwrite(tmp_path / "plain" / str(number) / "vocals.wav", scaled, RATE, "FLOAT")
        wavwrite(tmp_path / "plain" / str(number) / "mixture.wav", scaled + 0.1 * backing, RATE, "FLOAT")
    assert Data.main([str(tmp_path / "songs")]) == 0
    text = capsys.readouterr().out
    assert "layout course" in text and text.endswith("no problems found\n")
    for split, songs, minutes in (("Train", 3, 0.1), ("Valid", 1, 0.0), ("Test", 2, 0.1)):
        assert re.search(rf"{split} +{songs} +{songs} +{minutes} +8000 +1 ", text)
    assert Data.main([str(tmp_path / "plain")]) == 0
    assert re.search(r"Test +3 +3 +1\.0 +8000 +1 +0\.0 \(-6\.0 to 6\.0\)", capsys.readouterr().out)


def test_data_py_tells_songs_in_two_splits(tmp_path, capsys):
    for split in ("Train", "Test"):
        write_song(tmp_path, split, "twin")
    write_song(tmp_path, "Valid", "single")
    assert Data.main([str(tmp_path)]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert warnings == ["warning: twin: expected a song in one split, found one of this name in Train and Test"]


def test_data_py_finds_what_is_wrong(tmp_path, capsys):
    write_dataset(tmp_path)
    names = ("swapped", "late", "silent", "no band", "short", "nan", "tenth", "half", "twice", "ten times")
    for name in names:
        write_song(tmp_path, "Train", name)
    _, vocals = make_song("late", 2.0)
    spoiled = {
        "swapped": make_song("another", 2.0)[1],
        "late": np.roll(vocals, RATE // 10),
        "silent": np.full(2 * RATE, 1e-4, np.float32),
        "no band": make_song("no band", 2.0)[0],
        "short": vocals[:-5],
        **{
            name: gain * make_song(name, 2.0)[1]
            for name, gain in (("tenth", 0.1), ("half", 0.5), ("twice", 2), ("ten times", 10))
        },
    }
    for name, waveform in spoiled.items():
        wavwrite(tmp_path / "Sources" / "Train" / name / "vocals.wav", waveform, RATE, "FLOAT")
    short = tmp_path / "Sources" / "Train" / "short" / "vocals.wav"
    nan = tmp_path / "Mixtures" / "Train" / "nan" / "mixture.wav"
    nan.write_bytes(nan.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    capsys.readouterr()
    assert Data.main([str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == f"error: {tmp_path}: 2 of 16 songs cannot be used"
    problems = out.splitlines()[out.splitlines().index("") :]
    problems = [line for line in problems if line.startswith(("warning", "cannot"))]
    assert len(problems) == 10
    for start in (
        "warning: swapped: the vocals are not part of the mixture: ",
        "warning: late: the vocals are not part of the mixture: ",
        "warning: tenth: the vocals have another level than in the mixture: ",
        "warning: half: the vocals have another level than in the mixture: ",
        "warning: twice: the vocals ",
        "warning: ten times: the vocals are not part of the mixture: ",
        "warning: silent: the vocals are silent",
        "warning: no band: the mixture holds nothing but the vocals",
        f"cannot be used: {short}: expected 16000 samples like mixture.wav, found 15995",
        f"cannot be used: {nan}: expected finite samples, found NaN or infinity",
    ):
        assert sum(line.startswith(start) for line in problems) == 1, start
