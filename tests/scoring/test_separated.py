"""What the separation scripts write for a dataset's songs is found by evaluation, as it is."""

from pathlib import Path

import pytest
from helpers import RATE, make_song, needs_ffmpeg, write_song, write_stem_file, write_stems

import evaluate
import separate_RNN
from scoring.estimates import find_estimates
from songs.dataset import find_songs
from sound.tag_reading import written_here
from util import wavwrite

NAMES = ("Ember - One", "Ember - One More")


def write_pairs(root: Path, name: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    mixture, vocals = make_song(name, 0.5)
    wavwrite(root / f"{name}_mix.wav", mixture, RATE)
    wavwrite(root / f"{name}_vocals.wav", vocals, RATE)


def write_own(root: Path, name: str) -> None:
    parts = write_stems(root / name, name, "vocals")
    wavwrite(root / name / f"{name} master.wav", parts["mixture"], RATE, "FLOAT")


WRITE = {  # layout -> writes a Test song
    "course": lambda root, name: write_song(root, "Test", name, 0.5),
    "MUSDB18-HQ": lambda root, name: write_stems(
        root / "test" / name, name, "mixture", "vocals", "drums", "bass", "other"
    ),
    "MUSDB18": lambda root, name: write_stem_file(root / "test" / f"{name}.stem.mp4", name, 0.5),
    "pairs": write_pairs,
    "own": write_own,
}


@pytest.mark.parametrize(
    ("layout", "inputs", "output", "expected"),
    [
        ("course", "Mixtures/Test", "out", "{}/mixture_vocals.wav"),
        ("course", ".", "out", "Mixtures/Test/{}/mixture_vocals.wav"),
        ("course", "Mixtures/Test", "out/{name}.flac", "{}/mixture.flac"),
        ("course", "Mixtures/Test/*/mixture.wav", "out/{folder}", "{}.wav"),
        ("course", "Mixtures/Test/*/mixture.wav", "out/{folder}/{stem}.ogg", "{}/vocals.ogg"),
        ("course", "Mixtures/Test", None, "Mixtures/Test/{}/mixture_vocals.wav"),
        ("MUSDB18-HQ", "test", "out", "{}/mixture_vocals.wav"),
        ("MUSDB18-HQ", "test/*/mixture.wav", "out/{folder}", "{}.wav"),
        ("MUSDB18-HQ", "test", None, "test/{}/mixture_vocals.wav"),
        pytest.param("MUSDB18", "test", "out", "{}.stem_vocals.wav", marks=needs_ffmpeg),
        pytest.param("MUSDB18", "test", "out/{name}.wav", "{}.stem.wav", marks=needs_ffmpeg),
        ("pairs", ".", "out", "{}_mix_vocals.wav"),
        ("pairs", ".", "out/{name}.wav", "{}_mix.wav"),
        ("pairs", ".", None, "{}_mix_vocals.wav"),
        ("own", ".", "out", "{}/{} master_vocals.wav"),
        ("own", "*/*master.wav", "out/{folder}.flac", "{}.flac"),
        ("own", ".", None, "{}/{} master_vocals.wav"),
    ],
)
def test_what_was_separated_is_found(trained, tmp_path, capsys, layout, inputs, output, expected):
    data = tmp_path / "data"
    for name in NAMES:
        WRITE[layout](data, name)
    paths = [str(path) for path in sorted(data.glob(inputs))] if "*" in inputs else [str(data / inputs)]
    where = [] if output is None else ["--output", str(tmp_path / output)]
    checkpoint = ["--checkpoint", str(trained / "savedModel_RNN_best.pt"), "--quiet"]
    assert separate_RNN.main([*paths, *where, *checkpoint]) == 0, capsys.readouterr().err
    folder = data if output is None else tmp_path / "out"
    songs = find_songs(data)["Test"]
    assert [song.name for song in songs] == sorted(NAMES)
    found = {name: voice for name, (voice, _) in find_estimates(folder, songs).items()}
    assert found == {name: folder / expected.format(name, name) for name in NAMES}
    assert all(map(written_here, found.values()))


def test_a_network_scores_what_its_stems_score(dataset, trained, tmp_path, forked_judges):
    checkpoint = ["--checkpoint", str(trained / "savedModel_RNN_best.pt")]
    songs = str(dataset / "Mixtures" / "Test")
    assert separate_RNN.main([songs, "--output", str(tmp_path / "out"), "--stems", "both", *checkpoint]) == 0
    argv = [str(dataset), *checkpoint, "--estimates", f"stems={tmp_path / 'out'}", "--workers", "1"]
    assert evaluate.main([*argv, "--output", str(tmp_path / "results")]) == 0
    text = (tmp_path / "results" / "evaluation.md").read_text()
    rows = [line.split(" | ")[1:] for line in text.splitlines() if line.startswith(("| recurrent |", "| stems |"))]
    assert len(rows) == 4 and rows[0] == rows[1] and rows[2] == rows[3]
