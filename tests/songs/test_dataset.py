"""Finding songs in every layout, and dividing them."""

import errno
import os
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import RATE, make_song, needs_ffmpeg, write_song, write_stem_file, write_stems

import Data
import sound.files
from process.errors import UserError
from songs.dataset import find_songs, find_sounds, read_dataset
from songs.song import Voice
from util import wavread, wavwrite


def names(splits: dict) -> dict[str, list[str]]:
    return {split: [song.name for song in found] for split, found in splits.items()}


def test_course_layout(dataset):
    assert names(find_songs(dataset)) == {
        "Train": ["amber", "basil", "coral"],
        "Valid": ["dune"],
        "Test": ["ember", "fern"],
    }


def test_hold_out_and_include_test(dataset):
    assert names(find_songs(dataset, ["coral", "fern"], include_test=True)) == {
        "Train": ["amber", "basil", "dune", "ember"],
        "Valid": ["coral", "fern"],
        "Test": [],
    }


def test_dsd100_as_published(tmp_path):
    """Dev and Test; Dev is divided by artist, the same way for the same seed."""
    artists = ("ANiMAL", "ANiMAL", "ANiMAL", "Bob - and", "Bob - or", "Carlos", "Dede", "Eve", "Fay", "Gil")
    for number, artist in enumerate(artists):
        write_song(tmp_path, "Dev", f"{number:03} - {artist} - Song {number}", seconds=0.2)
    write_song(tmp_path, "Test", "010 - ANiMAL - Test", seconds=0.2)
    assert read_dataset(tmp_path).layout == "DSD100"
    for seed in range(20):
        found = read_dataset(tmp_path, seed=seed).songs
        assert [len(found[split]) for split in ("Train", "Valid", "Test")] == [8, 2, 1]
        artists = [{song.artist for song in found[split]} for split in ("Train", "Valid")]
        assert not artists[0] & artists[1] and "Bob" in artists[0] | artists[1]
        assert found == read_dataset(tmp_path, seed=seed).songs
    assert len({str(names(read_dataset(tmp_path, seed=seed).songs)) for seed in range(20)}) > 5
    held = names(find_songs(tmp_path, ["ANiMAL"]))
    assert len(held["Valid"]) == 3 and held["Test"] == ["010 - ANiMAL - Test"]
    held = names(find_songs(tmp_path, ["ANiMAL"], include_test=True))
    assert len(held["Valid"]) == 4 and not held["Test"]


def test_include_test_keeps_artists_apart(tmp_path):
    for split, count in (("Dev", 5), ("Test", 5)):
        for number in range(count):
            write_song(tmp_path, split, f"{number:03} - Artist {number} - {split}", seconds=0.2)
    found = find_songs(tmp_path, include_test=True)
    assert [len(found[split]) for split in ("Train", "Valid", "Test")] == [8, 2, 0]
    assert {song.artist for song in found["Valid"]}.isdisjoint(song.artist for song in found["Train"])


def test_mir1k_two_channel_clips(tmp_path):
    """Accompaniment left, voice right, brought to the same energy; split by singer, and by song for validation."""
    (tmp_path / "Wavfile").mkdir()
    for name in ("amy_1_01", "amy_9_02", "abjones_5_08", "abjones_2_01", "leon_1_01"):
        mixture, vocals = make_song(name, 1.0)
        wavwrite(tmp_path / "Wavfile" / f"{name}.wav", np.stack([mixture - vocals, 0.2 * vocals]), RATE, "FLOAT")
    found = find_songs(tmp_path)
    assert names(found) == {
        "Train": ["abjones_2_01", "amy_1_01"],
        "Valid": ["abjones_5_08", "amy_9_02"],
        "Test": ["leon_1_01"],
    }
    mixture, vocals = found["Test"][0].read()
    assert np.corrcoef(vocals, make_song("leon_1_01", 1.0)[1])[0, 1] > 0.999
    assert np.sum(vocals**2) == pytest.approx(np.sum((mixture - vocals) ** 2), rel=1e-4)
    piece = found["Test"][0].read(1000, 500)  # scaled like the whole clip, not by the piece's own energy
    assert np.allclose(piece, np.stack([mixture, vocals])[:, 1000:1500])
    assert names(find_songs(tmp_path, ["leon"], include_test=True))["Valid"] == ["leon_1_01"]


def test_plain_folder_of_songs_is_all_test(tmp_path):
    mixture, vocals = make_song("song", 0.5)
    (tmp_path / "My Song").mkdir()
    wavwrite(tmp_path / "My Song" / "mixture.flac", mixture, RATE)
    wavwrite(tmp_path / "My Song" / "vocals.flac", vocals, RATE)
    assert names(find_songs(tmp_path)) == {"Train": [], "Valid": [], "Test": ["My Song"]}


def test_musdb18_hq_and_folders_with_a_split_of_their_own(tmp_path):
    stems = ("mixture", "vocals", "drums", "bass", "other")
    for split, count in (("train", 5), ("test", 2)):
        for number in range(count):
            parts = write_stems(tmp_path / split / f"Artist {number} - Title", f"{split}{number}", *stems)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "MUSDB18" and not dataset.errors and not dataset.unused
    assert [len(dataset.songs[split]) for split in ("Train", "Valid", "Test")] == [4, 1, 2]
    assert np.allclose(dataset.songs["Test"][1].read(), [parts["mixture"], parts["vocals"]], atol=1e-7)
    assert dataset.songs["Test"][1].channels == 2
    (tmp_path / "test").rename(tmp_path / "valid")
    assert [len(songs) for songs in find_songs(tmp_path).values()] == [5, 2, 0]


def test_stems_without_a_mixture_are_added_up(tmp_path):
    parts = write_stems(tmp_path / "My Song", "song", "vocals", "drums", "bass", "other")
    (song,) = find_songs(tmp_path)["Test"]
    assert np.allclose(song.read(), [parts["mixture"], parts["vocals"]], atol=1e-6)
    assert np.allclose(song.read(1000, 500), [parts["mixture"][1000:1500], parts["vocals"][1000:1500]], atol=1e-6)
    wavwrite(tmp_path / "My Song" / "bass.wav", np.zeros(99), RATE)
    with pytest.raises(UserError, match=r"bass\.wav: expected 4000 samples like vocals\.wav, found 99"):
        find_songs(tmp_path)
    wavwrite(tmp_path / "My Song" / "bass.wav", np.zeros(4000), 16000)
    with pytest.raises(UserError, match=r"bass\.wav: expected 8000 Hz like vocals\.wav, found 16000 Hz"):
        find_songs(tmp_path)


def test_the_voice_of_a_song_in_stems_is_the_voice_whatever_its_file_is_called(tmp_path):
    parts = write_stems(tmp_path / "My Song", "song", "vocals", "drums", "bass")
    (tmp_path / "My Song" / "vocals.wav").rename(tmp_path / "My Song" / "Lead Vox.wav")
    (song,) = find_songs(tmp_path)["Test"]
    stems = song.stems()
    assert list(stems) == ["vocals", "bass", "drums"]
    np.testing.assert_allclose(stems["vocals"].mean(axis=0), parts["vocals"], atol=1e-6)


def test_pairs_of_files_and_what_has_no_partner(tmp_path):
    expected = {}
    for name, mix, voice in (("First Song", "_mix", "_vocals"), ("my_second", " - Mixture", " - Vocals")):
        mixture, vocals = expected[name] = make_song(name, 0.5)
        wavwrite(tmp_path / f"{name}{mix}.flac", mixture, RATE)
        wavwrite(tmp_path / f"{name}{voice}.wav", vocals, RATE)
    (tmp_path / "alone").mkdir()
    left = [tmp_path / "third_mix.wav", tmp_path / "remix.wav", tmp_path / "alone" / "vocals.wav"]
    for path in left:
        wavwrite(path, mixture, RATE)
    (tmp_path / "fourth_vocals.m4a").write_bytes(b"not looked into")
    dataset = read_dataset(tmp_path)
    assert names(dataset.songs) == {"Train": [], "Valid": [], "Test": ["First Song", "my_second"]}
    for song in dataset.songs["Test"]:
        assert np.allclose(song.read(), expected[song.name], atol=1e-4)
    assert sorted(dataset.unused) == sorted([*left, tmp_path / "fourth_vocals.m4a"])


def test_songs_without_a_split_are_divided_where_asked(tmp_path):
    for number in range(10):
        write_stems(tmp_path / f"Artist {number // 2} - {number}", str(number), "vocals", "other")
    counts = {(): [0, 0, 10], ("include_test",): [8, 2, 0], ("divide_all",): [6, 2, 2]}
    for options, count in counts.items():
        found = read_dataset(tmp_path, **dict.fromkeys(options, True)).songs
        assert [len(found[split]) for split in ("Train", "Valid", "Test")] == count
        assert sum(len({song.artist for song in songs}) for songs in found.values()) == 5


def test_without_a_validation_split_a_fifth_of_the_songs_validates(tmp_path):
    for number in range(5):
        write_song(tmp_path / "course", "Train", f"Artist {number} - Song", 0.1)
        write_stems(tmp_path / "tested" / "test" / f"Artist {number} - Song", str(number), "vocals", "other")
        write_stems(tmp_path / "album" / f"Artist - Song {number}", str(number), "vocals", "other")
    counts = {"course": [4, 1, 0], "tested": [4, 1, 0], "album": [4, 1, 0]}
    for name, count in counts.items():
        found = find_songs(tmp_path / name, include_test=True)
        assert [len(found[split]) for split in ("Train", "Valid", "Test")] == count, name
    assert [len(songs) for songs in find_songs(tmp_path / "course").values()] == [4, 1, 0]
    assert [len(songs) for songs in find_songs(tmp_path / "album").values()] == [0, 0, 5]


def test_a_songs_own_folder_is_a_dataset_of_one_song(tmp_path, monkeypatch):
    write_stems(tmp_path / "My Song", "song", "mixture", "vocals")
    write_stems(tmp_path / "In Stems", "song", "vocals", "drums", "bass")
    for name in ("My Song", "In Stems"):
        assert names(find_songs(tmp_path / name)) == {"Train": [], "Valid": [], "Test": [name]}
        assert not read_dataset(tmp_path / name).unused
    monkeypatch.chdir(tmp_path / "My Song")
    assert names(find_songs("."))["Test"] == ["My Song"]
    write_stems(tmp_path / "voices", "song", "vocals")
    with pytest.raises(UserError, match=r"found 1 files that form no song, such as 'vocals\.wav'"):
        find_songs(tmp_path / "voices")


def test_broken_songs_are_errors_that_do_not_hide_the_others(tmp_path):
    for name in ("good", "bad"):
        write_song(tmp_path, "Train", name, seconds=0.2)
    (tmp_path / "Sources" / "Train" / "bad" / "vocals.wav").unlink()
    write_song(tmp_path, "Train", "voice alone", seconds=0.2)
    shutil.rmtree(tmp_path / "Mixtures" / "Train" / "voice alone")
    dataset = read_dataset(tmp_path)
    assert names(dataset.songs)["Train"] == ["good"]
    assert [str(error) for error in dataset.errors] == [f"{tmp_path}/Sources/Train/bad/vocals.wav: no such file"]
    assert list(dataset.unused) == [tmp_path / "Sources" / "Train" / "voice alone" / "vocals.wav"]
    with pytest.raises(UserError, match=r"bad/vocals\.wav: no such file"):
        find_songs(tmp_path)


@pytest.mark.parametrize(("rate", "found"), [(RATE // 2, "8000 Hz like vocals.wav, found 4000"), (RATE, "found 2000")])
def test_stems_beside_the_voice_are_of_its_rate_and_length(tmp_path, rate, found):
    write_stems(tmp_path / "song", "song", "mixture", "vocals", "bass", "other")
    wavwrite(tmp_path / "song" / "drums.wav", np.zeros(2000), rate)
    (error,) = read_dataset(tmp_path).errors
    assert "drums.wav: expected " in str(error) and found in str(error)


def test_two_songs_of_one_name(tmp_path):
    mixture, vocals = make_song("song", 0.2)
    for folder, part in (("song", "{}.wav"), (".", "song_{}.wav")):
        (tmp_path / folder).mkdir(exist_ok=True)
        wavwrite(tmp_path / folder / part.format("mixture"), mixture, RATE)
        wavwrite(tmp_path / folder / part.format("vocals"), vocals, RATE)
    with pytest.raises(UserError, match="expected one song named 'song' in Test, found another"):
        find_songs(tmp_path)
    dataset = read_dataset(tmp_path)
    [song], [error] = dataset.songs["Test"], dataset.errors
    assert (
        str(error).startswith(f"{tmp_path / 'song' / 'mixture.wav'}: ")
        and song.mixture == tmp_path / "song_mixture.wav"
    )


# ---------------------------------------------------------------------------------------------- names


def write_files(root, *files: str, channels: int = 1) -> None:
    """Write a tenth of a second of noise under each name, another for every name but for its format."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(name.lower().split(".")[0].encode()))
        wavwrite(root / name, 0.1 * rng.standard_normal((channels, RATE // 10)), RATE)


@pytest.mark.parametrize(
    ("mixture", "vocals"),
    [("mix.wav", "vocals.wav"), ("Mixdown.flac", "Vox.wav"), ("song_MIX.wav", "song - Lead Vocals.wav")],
)
def test_a_mixture_is_known_by_any_of_its_names_and_never_added_to_the_voice(tmp_path, mixture, vocals):
    write_files(tmp_path / "song", mixture, vocals, "drums.wav", "noise.wav")
    dataset = read_dataset(tmp_path)
    (song,) = dataset.songs["Test"]
    assert (song.mixture.name, song.vocals.name) == (mixture, vocals) and not dataset.errors
    assert {path.name for path in dataset.unused} == {"drums.wav", "noise.wav"}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["vocals.wav", "accompaniment.wav"], None),
        (["voice.wav", "Electric Guitar 2.wav", "No Other Drums.wav"], "No Other Drums"),
        (["vox.wav", "INSTRUMENTAL.wav"], None),
        (["vocals.wav", "drums.wav", "drums.flac", "bass.wav"], None),
        (["vocals.wav", "kazoo.wav"], "kazoo"),
        (["vocals.wav", "drums.wav", "song.wav"], "song"),
        (["vocals.wav", "drums.wav", "drums mix.wav"], "drums mix"),
        (["vocals.wav", "drums.wav", "vocals reverb.wav"], "vocals reverb"),
        (["vocals.wav", "drums.wav", "backing vocals.wav"], "one file of the vocals"),
        (["voice.wav", "vox.wav", "drums.wav"], "one file of the vocals"),
        (["mix.wav", "mixdown.wav", "vocals.wav"], "one file of the mixture"),
        (["vocals.wav", "no_vocals.wav", "drums.wav"], "an accompaniment or its stems"),
    ],
)
def test_stems_are_added_up_if_all_are_known_by_name(tmp_path, files, found):
    write_files(tmp_path / "song", *files)
    dataset = read_dataset(tmp_path)
    if found is None:
        (song,) = dataset.songs["Test"]
        assert not dataset.errors and song.vocals.name == files[0]
        others = {path.stem: wavread(path)[0][0] for path in sorted((tmp_path / "song").iterdir())}
        assert np.allclose(song.read()[0], sum(others.values()), atol=1e-6)
    else:
        (error,) = dataset.errors
        assert found in str(error) and not dataset.songs["Test"] and not dataset.unused


def test_a_stem_in_another_format_is_not_left_out_of_the_mixture(tmp_path):
    write_files(tmp_path / "song", "vocals.wav", "drums.wav")
    (tmp_path / "song" / "bass.m4a").write_bytes(b"never read")
    assert "bass.m4a: expected WAV, FLAC" in str(read_dataset(tmp_path).errors[0])


def test_pairs_use_the_same_names(tmp_path):
    write_files(tmp_path, "one_mixdown.wav", "One (Vox).wav", "two.Mix.WAV", "two.voice.flac", "three_mix.wav")
    dataset = read_dataset(tmp_path)
    assert names(dataset.songs)["Test"] == ["one", "two"]
    assert [path.name for path in dataset.unused] == ["three_mix.wav"]


def test_names_ignore_case_and_how_accents_are_composed(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Björk - Jóga") for form in ("NFC", "NFD"))
    write_files(tmp_path, f"mixtures/TRAIN/{composed}/Mixture.WAV", f"SOURCES/Train/{decomposed}/VOCALS.wav")
    write_files(tmp_path, "mixtures/Valid/dune/mixture.Flac", "SOURCES/valid/DUNE/Vocals.FLAC")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "course" and not dataset.errors and not dataset.unused
    assert names(dataset.songs) == {"Train": [composed], "Valid": ["dune"], "Test": []}
    held = names(find_songs(tmp_path, [unicodedata.normalize("NFD", "björk"), "Dune"]))
    assert held == {"Train": [], "Valid": [composed, "dune"], "Test": []}


@pytest.mark.parametrize(("folders", "layout"), [(("Train", "TEST"), "MUSDB18"), (("wavfile", "wavfile"), "MIR-1K")])
def test_folders_of_a_layout_in_any_case(tmp_path, folders, layout):
    inner = ("AMY_1_01.WAV",) if layout == "MIR-1K" else ("one/mixture.wav", "one/vocals.wav")
    write_files(tmp_path, *(f"{folder}/{name}" for folder in folders for name in inner), channels=2)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == layout and not dataset.unused and not dataset.errors
    assert [len(songs) for songs in dataset.songs.values()] == ([1, 0, 0] if layout == "MIR-1K" else [1, 0, 1])


# ---------------------------------------------------------------------------------------------- layouts told apart


def test_ordinary_stereo_songs_are_not_taken_for_clips_of_mir1k(tmp_path, capsys):
    songs = ("train/My Song.wav", "dev/another.flac", "test/a_b_c.wav", "test/amy_1.wav", "train/amy_1_01_mix.wav")
    write_files(tmp_path, *songs, channels=2)
    with pytest.raises(UserError, match="expected a dataset"):
        read_dataset(tmp_path)
    write_files(tmp_path, "train/abjones_1_01.wav", "test/geniusturtle_10_02.wav", channels=2)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "MIR-1K" and len(dataset.songs["Train"]) == len(dataset.songs["Test"]) == 1
    assert sorted(dataset.unused) == sorted(tmp_path / name for name in songs)
    find_songs(tmp_path)
    told = f"{tmp_path}: layout MIR-1K; sound files not used: 5, listed by Data.py\n"
    assert capsys.readouterr().out == told


def test_every_sound_file_that_is_not_used_is_named_with_a_reason(tmp_path):
    layouts = {
        "course": ("Mixtures/Test/one/mixture.wav", "Sources/Test/one/vocals.wav"),
        "MUSDB18": ("test/one/mixture.wav", "test/one/vocals.wav"),
        "MIR-1K": ("Wavfile/amy_1_01.wav",),
        "folder": ("one/mixture.wav", "one/vocals.wav"),
    }
    for layout, files in layouts.items():
        root = tmp_path / layout
        beside = (f"{Path(files[-1]).parent}/take.wav",) if layout != "MIR-1K" else ()
        others = (*beside, "alone/deep/er/mixture.wav", "alone/deep/er/vocals.wav", "loose.wav", "notes/x.FLAC")
        write_files(root, *files, *others, channels=2)
        others += ("loose.m4a", "notes/tape.opus")
        for name in others[-2:]:
            (root / name).write_bytes(b"never read")
        (root / ".hidden.wav").write_bytes(b"")
        (root / "linked").symlink_to(root / "alone")
        dataset = read_dataset(root)
        assert dataset.layout == layout and sum(map(len, dataset.songs.values())) == 1
        assert sorted(dataset.unused) == sorted([*(root / name for name in others), root / "linked"])
        assert all(dataset.unused.values())


# ---------------------------------------------------------------------------------------------- stem.mp4


@needs_ffmpeg
def test_pieces_of_a_stem_file_are_pieces_of_the_whole(tmp_path):
    """Sound for sound what ffmpeg decodes from the beginning, wherever a piece starts."""
    write_stem_file(tmp_path / "train" / "Artist - Song.stem.mp4", "song")
    write_stem_file(tmp_path / "train" / "Other - Song.stem.mp4", "other")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "MUSDB18" and [len(songs) for songs in dataset.songs.values()] == [1, 1, 0]
    song = min((song for songs in dataset.songs.values() for song in songs), key=lambda song: song.name)
    assert (song.name, song.rate, song.samples, song.channels) == ("Artist - Song", 44100, 88200, 2)
    whole = song.read()
    for truth, decoded in zip(make_song("song", 2.0, 44100), whole, strict=True):
        assert np.corrcoef(truth, decoded)[0, 1] > 0.99 and np.std(decoded) == pytest.approx(np.std(truth), rel=0.05)
    for start, samples in ((0, 100), (1, 2000), (1024, 1024), (4095, 10), (4097, 5000), (54321, 20000), (88100, 100)):
        assert np.array_equal(song.read(start, samples), whole[:, start : start + samples])


@needs_ffmpeg
def test_bad_stem_files(tmp_path):
    path = tmp_path / "train" / "Song.stem.mp4"
    write_stem_file(path, "song")
    data = path.read_bytes()
    path.write_bytes(b"no sound")
    with pytest.raises(UserError, match=r"Song\.stem\.mp4: cannot be read by ffprobe: "):
        find_songs(tmp_path)
    wavwrite(tmp_path / "song.wav", np.zeros(9), RATE)
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", tmp_path / "song.wav", path], check=True)
    with pytest.raises(UserError, match=r"expected the 5 sound tracks mixture, .*, found 1"):
        find_songs(tmp_path)
    five = [word for _ in range(5) for word in ("-map", "0:a")]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", tmp_path / "song.wav", *five, "-f", "matroska", path], check=True
    )
    with pytest.raises(UserError, match="expected MP4, which tells how long each sound track is"):
        find_songs(tmp_path)
    path.write_bytes(data[: len(data) // 2])  # its index is at the end
    with pytest.raises(UserError, match=r"Song\.stem\.mp4: "):
        find_songs(tmp_path)


def test_stem_files_need_ffmpeg(tmp_path, monkeypatch):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "Song.stem.mp4").write_bytes(b"never read")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="expected the programs ffmpeg and ffprobe to be installed"):
        find_songs(tmp_path)


def test_folders_named_like_sounds_are_folders_and_hidden_ones_are_left_out(tmp_path):
    for name in ("Ann - Songs 2010.FLAC/one", ".stversions/old", "two"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        wavwrite(tmp_path / f"{name}.wav", np.ones(99), RATE)
    assert [song.name for song in find_sounds(tmp_path, Voice)] == ["two", "Ann - Songs 2010.FLAC/one"]
    (tmp_path / "two.wav").unlink()
    write_stems(tmp_path / "Ann - Songs 2010.FLAC", "song", "mixture", "vocals")
    dataset = read_dataset(tmp_path)
    assert [song.name for song in dataset.songs["Test"]] == ["Ann - Songs 2010.FLAC"] and not dataset.errors
    assert list(dataset.unused) == [tmp_path / "Ann - Songs 2010.FLAC" / "one.wav"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_of_voices_are_text_even_if_those_of_their_files_are_not(tmp_path):
    wavwrite(tmp_path / "x.wav", np.ones(99), RATE)
    (tmp_path / "x.wav").rename(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    assert [song.name for song in find_sounds(tmp_path, Voice)] == ["caf\\udce9"]


@pytest.mark.skipif(os.name == "nt", reason="no line breaks in names there")
def test_each_problem_takes_one_line_whatever_files_are_called(tmp_path, capsys):
    root = tmp_path / "a\nb"
    write_files(root, "c\nd/mixture.wav", "c\nd/vocals.wav", "e/mixture.wav", "e/vocals.wav", "f\ng.wav")
    (root / "c\nd" / "vocals.wav").write_bytes(b"no sound")
    assert Data.main([str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}/a\\nb: layout folder"
    assert [line.partition(": ")[0] for line in lines[-3:]] == ["left out", "warning", "cannot be used"]
    find_songs(root / "e")
    assert capsys.readouterr().out == f"{tmp_path}/a\\nb/e: layout folder\n"


def test_what_must_not_be_read_is_told_and_hides_no_other_song(dataset, monkeypatch):
    locked, closed = dataset / "Mixtures" / "Test" / "ember" / "mixture.wav", dataset / "Sources" / "Test" / "fern"

    def refusing(function: Callable, *paths: Path) -> Callable:
        def call(path, *rest):
            if Path(path) in paths:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *rest)

        return call

    monkeypatch.setattr(sound.files, "open_to_read", refusing(sound.files.open_to_read, locked))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir, closed))
    found = read_dataset(dataset)
    assert names(found.songs)["Train"] == ["amber", "basil", "coral"]
    assert str(found.errors[0]) == f"{locked}: cannot be read: Permission denied"
    assert found.unused == {closed: "cannot be read: Permission denied"}
