"""Finding other programs' estimates by the names they write, and measuring how they are shifted or scaled."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import RATE, make_song

from process.errors import UserError
from scoring.estimates import displacement, find_estimates
from songs.song import Song

SONGS = ("One", "One More (Live)", "Björk - Jóga", "AC_DC: T.N.T.")


def song_of(name: str, mixture: str = "mixture.wav") -> Song:
    return Song(name, Path("data", name, mixture), Path("data", name, "vocals.wav"), RATE, 1, 1)


def found(folder, *files: str, songs: Sequence[Song] = ()) -> dict[str, tuple]:
    """What is found in a folder of these files, by default of SONGS."""
    songs = songs or [song_of(name) for name in SONGS]
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not looked into")
    return {
        song: tuple(path and str(path.relative_to(folder)) for path in paths)
        for song, paths in find_estimates(folder, songs).items()
    }


@pytest.mark.parametrize(
    ("voice", "accompaniment"),
    [
        ("{}.wav", None),
        ("{}.m4a", None),
        ("{}.WAV", "{}/accompaniment.ogg"),
        ("{}/vocals.wav", "{}/accompaniment.wav"),  # Spleeter
        ("{}/Vocals.MP3", "{}/Instrumental.mp3"),
        ("htdemucs_ft/{}/vocals.mp3", "htdemucs_ft/{}/no_vocals.mp3"),  # Demucs
        ("{}_umxhq/vocals.wav", "{}_umxhq/accompaniment.wav"),  # Open-Unmix
        ("{}_my_model/vocals.flac", None),
        ("test/{}/vocals.wav", "test/{}/accompaniment.wav"),  # museval
        ("{}_(Vocals)_UVR-MDX-NET-Inst_HQ_3.flac", "{}_(Instrumental)_UVR-MDX-NET-Inst_HQ_3.flac"),  # audio-separator
        ("{}_(vocals)_model_bs_roformer.m4a", None),
        ("1_{}_(Vocals).wav", "1_{}_(Instrumental).wav"),  # Ultimate Vocal Remover
        ("12_{}_MDX23C-InstVoc HQ_(Vocals).wav", "12_{}_MDX23C-InstVoc HQ_(No Vocals).wav"),
        ("1_{}_(Vocals)_(No Other).wav", None),
        ("{} [vocals].mp3", "{} [music].mp3"),
        ("{}_vocals.wav", "{}_instrumental.wav"),
        ("{}-vocals.opus", "{}-no_vocals.opus"),
        ("{}_vocals_mdx23c.flac", "{}_instrumental_mdx23c.flac"),
        ("{}_vocals.wav", "{}_accompaniment.wav"),  # the separation scripts
        ("Test/{}/mixture_vocals.wav", "Test/{}/mixture_accompaniment.wav"),
        ("out/{}/mixture/vocals.wav", "out/{}/mixture/accompaniment.wav"),
        ("{}/mixture_(Vocals)_htdemucs.wav", "{}/mixture_(Instrumental)_htdemucs.wav"),
        ("vocals/{}.wav", "instrumental/{}.wav"),
    ],
)
def test_names_that_programs_write(tmp_path, voice, accompaniment):
    written = ("One", "One More (Live)", "Björk - Jóga", "AC_DC_ T.N.T")  # the last without what files cannot have
    expected = {
        song: (voice.format(name), accompaniment and accompaniment.format(name))
        for song, name in zip(SONGS, written, strict=True)
    }
    files = [name for own in expected.values() for name in own if name]
    beside = ("mixture.wav", "One_(Drums)_vocals.wav", "Two_vocals.wav", "Two/vocals.wav", ".One.wav", "One_vocals.txt")
    assert found(tmp_path, *files, *beside) == expected


def test_names_ignore_case_and_how_accents_are_composed(tmp_path):
    decomposed = unicodedata.normalize("NFD", "BJÖRK - Jóga")
    assert found(tmp_path, f"{decomposed}_VOCALS.wav") == {"Björk - Jóga": (f"{decomposed}_VOCALS.wav", None)}


def test_what_belongs_to_another_song_or_is_no_voice_is_not_taken(tmp_path):
    files = (
        "One More_vocals.wav",
        "One More.wav",
        "One (Live)_vocals.wav",
        "One_(Drums).wav",
        "One/drums.wav",
        "One/mixture.wav",
        "One/vocals_vocals.wav",  # separated from a stem
        "One/other_vocals.wav",
        "One/vocals_accompaniment.wav",
        "One_vocals_vocals.wav",
        "One_vocals_no_vocals.wav",
    )
    assert found(tmp_path, *files, "mixtures/One.wav", "One/One.wav", "drums/One.wav", "Another One_vocals.wav") == {}


def test_the_plainest_name_is_taken_and_of_two_alike_none(tmp_path):
    files = ("One.wav", "One/vocals.wav", "One/vocals.flac", "One_umx/vocals.wav")
    assert found(tmp_path, *files) == {"One": ("One.wav", None)}
    (tmp_path / "One.wav").unlink()
    assert found(tmp_path) == {"One": ("One/vocals.wav", None)}
    for model in ("htdemucs", "mdx"):
        (tmp_path / "two" / model / "One").mkdir(parents=True)
        (tmp_path / "two" / model / "One" / "vocals.wav").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"expected one estimate of the vocals of 'One', found 'htdemucs/One/vocals.wav'"
    ):
        find_estimates(tmp_path / "two", [song_of(name) for name in SONGS])


@pytest.mark.parametrize("mixture", ["One_mix.wav", "One.stem.mp4", "One - Full Mix.flac", "One master.wav"])
@pytest.mark.parametrize("name", ["{}_vocals.wav", "{}/vocals.wav", "{}_(Vocals)_model.wav", "One/{}_vocals.wav"])
def test_a_song_may_be_called_like_the_file_of_its_mixture(tmp_path, mixture, name):
    file = name.format(Path(mixture).stem)
    assert found(tmp_path, file, mixture, songs=[song_of("One", mixture)]) == {"One": (file, None)}


def test_a_folder_named_like_a_sound_is_no_estimate(tmp_path):
    assert found(tmp_path, "One.wav/notes.txt", "One/vocals.wav") == {"One": ("One/vocals.wav", None)}


def test_the_datasets_own_files_are_no_estimates(tmp_path):
    song = Song("One", tmp_path / "One" / "mixture.wav", tmp_path / "One" / "vocals.wav", RATE, 1, 1)
    assert found(tmp_path, "One/vocals.wav", "One/mixture.wav", songs=[song]) == {}
    files = ("One/mixture_vocals.wav", "One/mixture_accompaniment.wav")
    assert found(tmp_path, *files, songs=[song]) == {"One": files}


# ---------------------------------------------------------------------------------------------- shifted or scaled


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("lag", [0, 1105, -300, 20])
@pytest.mark.parametrize(
    ("gain", "told"), [(1, ""), (0.5, "at 0.5 times its level"), (2, "at 2 times its level"), (0.9, "")]
)
def test_lag_and_gain_are_told_where_they_matter(noise, lag, gain, told):
    mixture, vocals = make_song("song", 4.0)
    estimate = np.roll(gain * (vocals + noise * (mixture - vocals)), lag)
    estimate[: max(0, lag)], estimate[len(estimate) + min(0, lag) :] = 0, 0
    text = displacement(vocals, estimate, RATE)
    late = f"{abs(lag)} samples ({1000 * abs(lag) / RATE:.1f} ms) {'late' if lag > 0 else 'early'}" if lag else ""
    assert text.startswith(late) and (bool(late) or not text.startswith(("20", "1", "3")))
    if told and not lag:
        assert text.replace("0.49", "0.5").replace("0.51", "0.5") == told
    assert bool(text) == bool(lag or told)


def test_what_has_no_lag_or_gain_to_tell():
    mixture, vocals = make_song("song", 2.0)
    other = make_song("another", 2.0)[1]
    for estimate in (vocals, mixture, 0 * vocals, other, 0.05 * np.random.default_rng(0).standard_normal(len(vocals))):
        assert displacement(vocals, estimate.astype(np.float32), RATE) == ""
    assert displacement(0 * vocals, vocals, RATE) == "" and displacement(vocals[:1], vocals[:1], RATE) == ""
    assert displacement(vocals, -vocals, RATE) == "with its polarity reversed"


@pytest.mark.parametrize("songs", [("Song", "song"), ("J\u00f3ga", "Jo\u0301ga")])
@pytest.mark.parametrize("pattern", ["{}.wav", "{}_vocals.wav", "{}/vocals.wav", "test/{}/vocals.flac"])
def test_songs_whose_names_differ_only_in_case_have_an_estimate_each(tmp_path, songs, pattern):
    files = [pattern.format(name) for name in songs]
    found_here = found(tmp_path, *files, songs=[song_of(name) for name in songs])
    assert [voice for voice, _ in found_here.values()] == files


def test_an_estimate_that_may_be_either_songs_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"expected estimates of 'Song' and 'song', spelt alike, found 'SONG\.wav'"):
        found(tmp_path, "SONG.wav", songs=[song_of("Song"), song_of("song")])
