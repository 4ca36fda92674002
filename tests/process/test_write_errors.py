"""Full disks, by a limit on the size of files: an error, what was there before whole, nothing that looks finished.

`benchmarks/faults/disk.py` does it on small file systems.
"""

import contextlib
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import AUDIO_OPTIONS, QUICK, ROOT, fails

import evaluate
import train_feedforward
from pictures.plots import plot_losses
from process.errors import UserError
from scoring.report import write_results
from songs.dataset import find_songs
from sound.tags import Tags
from sound.writing import create_sound
from training.bank import open_bank
from training.files import Run
from training.loss import LossCurve

HISTORY = [{"epoch": 1, "train_loss": 2.0, "valid_loss": 1.0, "learning_rate": 0.1, "seconds": 1.0}]


@contextlib.contextmanager
def files_up_to(size: int):
    """No file of this process can grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_checkpoint(dataset, tmp_path, capsys, share):
    options = [dataset, *QUICK, *AUDIO_OPTIONS, "--output", tmp_path]
    with files_up_to(1000):
        line = fails(capsys, train_feedforward.main, *options)
    assert line.endswith("savedModel_feedforward_last.pt: cannot be written: File too large")
    assert not list(tmp_path.iterdir())
    assert train_feedforward.main([*map(str, options), "--epochs", "1"]) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    size = (tmp_path / "savedModel_feedforward_last.pt").stat().st_size
    with files_up_to(round(share * size)):
        line = fails(capsys, train_feedforward.main, *options, "--resume")
    assert "cannot be written: File too large" in line
    after = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.name for path in after} == {path.name for path in before}
    last = tmp_path / "savedModel_feedforward_last.pt"
    assert after[last] == before[last]
    assert train_feedforward.main([*map(str, options), "--resume"]) == 0


def test_bank(dataset, tmp_path):
    songs = find_songs(dataset)["Train"]
    with files_up_to(9000), pytest.raises(UserError, match=r"bank.i16: cannot be written: File too large"):
        open_bank(tmp_path, songs)
    assert not list(tmp_path.iterdir())
    open_bank(tmp_path, songs)


@pytest.mark.parametrize("size", [0, 50, 5000])
def test_curves(tmp_path, size):
    run = Run(tmp_path, "test")
    with files_up_to(size), pytest.raises(UserError, match=r"loss.(csv|png): cannot be written: File too large"):
        run.write_curves(HISTORY * 3, LossCurve())
    left = [f"savedModel_test_{name}.csv" for name in ("batches", "loss")]
    assert sorted(path.name for path in tmp_path.iterdir()) == (left if size == 5000 else [])
    plot_losses(tmp_path / "curves.png", HISTORY, "before")
    before = (tmp_path / "curves.png").read_bytes()
    with files_up_to(5000), pytest.raises(UserError, match=r"curves.png: cannot be written"):
        plot_losses(tmp_path / "curves.png", HISTORY * 2, "another")
    assert (tmp_path / "curves.png").read_bytes() == before


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("flac", "PCM_24"), ("ogg", None), ("mp3", None)],
)
def test_sound_files_are_whole_or_not_there(tmp_path, suffix, subtype):
    """libsndfile itself does not tell when the end of a FLAC, OGG or MP3 file cannot be written."""
    path, waveform = tmp_path / f"song.{suffix}", 0.1 * np.random.default_rng(0).standard_normal((2, 30000))

    def write() -> None:
        with create_sound(path, 44100, 2, subtype, Tags({"title": ["song"]})) as file:
            file.write(waveform.astype(np.float32))

    write()
    size, samples = path.stat().st_size, soundfile.info(path).frames
    for limit in {*range(0, size, size // 25), *(size - missing for missing in (1, 3, 100, 1000, 3000, 9000))}:
        path.unlink(missing_ok=True)
        try:
            with files_up_to(limit):
                write()
        except UserError as error:
            assert re.search(r"song.*: cannot be written.*: (File too large|its end is missing)", str(error))
            assert not list(tmp_path.iterdir())
        else:  # of an MP3 file, what lies behind the last sample may be missing
            assert suffix == "mp3" and size - limit < 400 and len(soundfile.read(path)[0]) == samples == 30000


def test_results(tmp_path):
    rows = [{"song": f"song {number}", "SDR": 1.0} for number in range(99)]
    write_results(tmp_path, rows[:9], {"songs": 9}, "before")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with files_up_to(1000), pytest.raises(UserError, match=r"evaluation.csv: cannot be written: File too large"):
        write_results(tmp_path, rows, {"songs": 99}, "after")
    with files_up_to(100), pytest.raises(UserError, match=r"evaluation.json: cannot be written: File too large"):
        write_results(tmp_path, rows[:1], {"songs": list(range(99))}, "after")
    after = {path: path.read_bytes() for path in tmp_path.iterdir()}
    json, text = tmp_path / "evaluation.json", tmp_path / "evaluation.md"
    assert after.keys() == before.keys() and (after[json], after[text]) == (before[json], before[text])


def test_listening_page(dataset, trained, forked_judges, tmp_path, capsys):
    """In the processes that judge songs."""
    options = ["--output", tmp_path / "out", "--page", tmp_path / "page", "--workers", "1", "--checkpoint"]
    with files_up_to(9000):
        line = fails(capsys, evaluate.main, dataset, *options, trained / "savedModel_RNN_best.pt")
    assert ".js: cannot be written: File too large" in line
    assert not list((tmp_path / "page").rglob("*.*")) and not (tmp_path / "out").exists()


def test_standard_output(dataset):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, str(ROOT / "Data.py"), str(dataset)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"error: (standard output|file system): No space left on device", done.stderr.strip())


def test_sound_on_standard_output(dataset):
    song = next(dataset.glob("Mixtures/Test/*/mixture.wav"))
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, str(ROOT / "separate_feedforward.py"), str(song), "-"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: standard output: No space left on device"
