"""The demonstration dataset: its layout, that a seed fixes it, and that it is worth separating."""

import numpy as np

import make_demo_dataset
from scoring.bss_eval import bss_eval_sources
from songs.dataset import find_songs
from util import wavread

OPTIONS = ["--songs", "3", "--seconds", "6"]


def test_layout_levels_and_determinism(tmp_path):
    for folder, seed in (("one", "0"), ("two", "0"), ("three", "1")):
        assert make_demo_dataset.main([str(tmp_path / folder), *OPTIONS, "--seed", seed]) == 0
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.wav"))
    assert len(files) == 6
    for file in files:
        first, second, third = ((tmp_path / folder / file).read_bytes() for folder in ("one", "two", "three"))
        assert first == second != third

    splits = find_songs(tmp_path / "one")
    assert [len(splits[split]) for split in ("Train", "Valid", "Test")] == [1, 1, 1]
    for song in (song for songs in splits.values() for song in songs):
        mixture, vocals = song.read()
        assert (song.rate, song.samples, wavread(song.mixture)[0].shape) == (32000, 6 * 32000, (1, 6 * 32000))
        assert 0.8 < max(np.abs(mixture).max(), np.abs(vocals).max()) < 0.95
        assert -6 < bss_eval_sources(vocals[None], mixture[None]).sdr[0] < 5  # neither alone nor drowned
        quiet = np.abs(vocals.reshape(-1, 1600)).max(axis=1) < 0.01
        assert 0.1 < quiet.mean() < 0.6  # phrases with rests


def test_a_folder_with_hidden_files_is_empty(tmp_path):
    """macOS leaves one in every folder that was looked at."""
    (tmp_path / ".DS_Store").touch()
    assert make_demo_dataset.main([str(tmp_path), "--songs", "3", "--seconds", "5"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {".DS_Store", "Mixtures", "Sources"}
