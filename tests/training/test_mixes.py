"""The bank of decoded sounds, and the batches that are mixed from it."""

import argparse
import collections
import dataclasses
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import soxr
import torch
from helpers import AUDIO_OPTIONS, QUICK, ROOT, fails, interrupted, make_song, write_song, write_stems

import train_feedforward
import train_RNN
from songs.dataset import find_songs, find_sounds
from songs.song import Accompaniment, Voice
from training import bank, command, desk, loop, mixes
from training.bank import Track, measure, open_bank
from training.desk import LEVEL, Group, Plan, Take
from training.mixes import Mixes
from util import AudioConfig, load_network, wavread, wavwrite

AUDIO = AudioConfig(8000, 256, 128)
RATE = 16000  # of the songs: not the network's
OPTIONS = {
    "seed": 0,
    "steps": 3,
    "batch_size": 4,
    "excerpt": 0.5,
    "workers": 0,
    "remix": 0.5,
    "speed": [0.8, 1.3],
    "gain": [-3.0, 12.0],
    "transpose": 2,
    "effects": 0.4,
    "equalizer": [2.0, 2.0],
    "target": "projection",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of songs in stems (stereo), of karaoke, of voices and of accompaniments."""
    root = tmp_path_factory.mktemp("mix")
    for name in ("Ann - One", "Ben - Two", "Cy - Three", "Dee - Four"):
        folder = root / "songs" / name
        folder.mkdir(parents=True)
        mixture, voice = make_song(name, 2.0, RATE)
        rng = np.random.default_rng(len(name))
        stems = {"vocals": voice, "other": mixture - voice}
        stems |= {stem: 0.03 * rng.standard_normal(len(voice)) for stem in ("drums", "bass")}
        for stem, sound in stems.items():
            wavwrite(folder / f"{stem}.wav", np.stack([sound, 0.5 * sound]), RATE)
    (root / "mir1k" / "Wavfile").mkdir(parents=True)
    for name in ("abjones_1_01", "bug_1_01"):
        mixture, voice = make_song(name, 1.2, RATE)
        wavwrite(root / "mir1k" / "Wavfile" / f"{name}.wav", np.stack([mixture - voice, voice]), RATE)
    for folder, names in (("voices/choir", ("Eve", "Flo")), ("accompaniments", ("Gig",))):
        (root / folder).mkdir(parents=True)
        for name in names:
            wavwrite(root / folder / f"{name}.wav", make_song(name, 1.5, 4000)[0], 4000)
    return root


@pytest.fixture(scope="module")
def groups(data, tmp_path_factory):
    """(bank, groups, accompaniments alone)"""
    parts = {
        "songs": find_songs(data / "songs", include_test=True),
        "mir1k": find_songs(data / "mir1k", include_test=True),
        "voices": {"Train": find_sounds(data / "voices", Voice)},
        "alone": {"Train": find_sounds(data / "accompaniments", Accompaniment)},
    }
    parts = {name: [song for own in splits.values() for song in own] for name, splits in parts.items()}
    opened = open_bank(tmp_path_factory.mktemp("bank"), [song for own in parts.values() for song in own])
    entries = iter(opened.songs)
    parts = {name: [next(entries) for _ in own] for name, own in parts.items()}
    shares = {"songs": 0.5, "mir1k": 0.3, "voices": 0.2}
    return opened, [Group(name, share, parts[name]) for name, share in shares.items()], parts["alone"]


def make_mixes(groups, audio: AudioConfig = AUDIO, **options) -> Mixes:
    opened, folders, alone = groups
    return Mixes(opened, folders, alone, audio, argparse.Namespace(**OPTIONS | options), torch.device("cpu"))


def take_of(sound: np.ndarray, rate: int, mixed: Mixes, **more) -> Take:
    """A take of a sound that takes the place of the mixed's bank."""
    scale = np.abs(sound).max() / bank.FULL_SCALE
    mixed.sound = torch.from_numpy(np.rint(sound / scale).astype(np.int16))
    track = Track(0, len(sound), 1, rate, scale, *measure(sound[None], rate))
    return Take((track,), **{"start": 0, "gain": 1.0} | more)


def plan_of(voice: Take, accompaniment: Take, **more) -> Plan:
    return dataclasses.replace(Plan("", (voice,), (accompaniment,), 1.0, np.zeros((2, 9)), None), **more)


# ---------------------------------------------------------------------------------------------- the bank


def test_the_bank_holds_every_stem_in_16_bits(groups, data):
    opened, (songs, *_), alone = groups
    one = next(song for song in songs.songs if song.name == "Ann - One")
    assert set(one.accompaniment) == {"bass", "drums", "other"}
    for name, track in {"vocals": one.vocals, **one.accompaniment}.items():
        sound, rate = wavread(data / "songs" / "Ann - One" / f"{name}.wav")
        kept = opened.samples[track.start : track.start + sound.size].numpy().reshape(sound.shape) * track.scale
        np.testing.assert_allclose(kept, sound, atol=track.scale)
        assert (track.rate, track.channels, track.samples) == (rate, 2, sound.shape[1])
    assert alone[0].vocals is None and set(alone[0].accompaniment) == {"accompaniment"}


def test_a_song_is_the_sum_of_its_stems(data):
    for folder in ("songs", "mir1k"):
        for song in find_songs(data / folder)["Test"]:
            mixture, vocals = song.read()
            stems = {name: sound.mean(axis=0) for name, sound in song.stems().items()}
            np.testing.assert_allclose(stems["vocals"], vocals, atol=1e-7)
            np.testing.assert_allclose(sum(stems.values()), mixture, atol=1e-6)


def test_a_bank_is_made_once_and_again_when_a_file_changes(data, tmp_path, monkeypatch):
    sound = make_song("x", 1.0)[0]
    (tmp_path / "v").mkdir()
    wavwrite(tmp_path / "v" / "x.wav", sound, 8000)
    songs = find_sounds(tmp_path / "v", Voice)
    decoded = []
    integers = bank._integers
    monkeypatch.setattr(bank, "_integers", lambda song: decoded.append(song) or integers(song))
    first, second = (open_bank(tmp_path, songs) for _ in range(2))
    assert len(decoded) == 1 and first.songs == second.songs and torch.equal(first.samples, second.samples)
    wavwrite(tmp_path / "v" / "x.wav", 0.5 * sound, 8000)
    assert open_bank(tmp_path, songs).fingerprint != first.fingerprint and len(decoded) == 2


@pytest.mark.parametrize(("file", "left"), [("bank.i16", 0), ("bank.i16", 1000), ("bank.json", 0), ("bank.json", 90)])
def test_a_bank_that_is_cut_short_is_made_anew(data, tmp_path, file, left):
    songs = find_sounds(data / "voices", Voice)
    before = open_bank(tmp_path, songs)
    expected = before.samples.clone()
    os.truncate(tmp_path / file, left)
    again = open_bank(tmp_path, songs)
    assert again.songs == before.songs and torch.equal(again.samples, expected)


def test_a_banks_fingerprint_is_taken_in_every_python(tmp_path, monkeypatch):
    monkeypatch.delattr(hashlib, "file_digest", raising=False)  # which came with 3.11
    wavwrite(tmp_path / "x.wav", make_song("x", 0.1)[0], 8000)
    digest = hashlib.sha256((tmp_path / "x.wav").read_bytes()).digest()
    songs = find_sounds(tmp_path, Voice)
    assert open_bank(tmp_path, songs).fingerprint == hashlib.sha256(b"x" + digest).hexdigest()


def test_a_bank_of_voices_is_not_one_of_music(data, tmp_path):
    """The same files, first by mistake taken for voices."""
    voices, music = (find_sounds(data / "accompaniments", kind) for kind in (Voice, Accompaniment))
    assert open_bank(tmp_path, voices).songs[0].vocals is not None
    assert open_bank(tmp_path, music).songs[0].vocals is None


def test_level_is_that_of_what_sounds_and_bandwidth_ends_where_nothing_does():
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(32000))
    spectrum[12000:] = 0  # 6 kHz of 8
    sound = np.fft.irfft(spectrum)
    sound *= 0.1 / np.sqrt(np.mean(sound**2))
    assert measure(np.append(sound, np.zeros(64000))[None], 16000)[0] == pytest.approx(0.1, rel=0.01)
    _, bandwidth = measure(sound[None], 16000)
    assert bandwidth == pytest.approx(6000, abs=200)
    assert measure(np.zeros((2, 16000)), 16000) == (0, 0)
    for nothing_in_the_middle in (np.stack([sound, -sound]), np.full((1, 16000), 0.1, np.float32)):
        assert measure(nothing_in_the_middle, 16000) == (pytest.approx(0.1, rel=0.01), 0)


# ---------------------------------------------------------------------------------------------- playing


@pytest.mark.parametrize(("rate", "speed"), [(44100, 1.0), (22050, 1.0), (16000, 1.0), (32000, 1.19), (32000, 0.84)])
def test_other_rates_and_speeds_are_as_soxr_makes_them(groups, rate, speed):
    mixed = make_mixes(groups, AudioConfig(32000, 4096, 1024), excerpt=1.0)
    spectrum = np.fft.rfft(make_song("rates", 3.0, rate)[0])
    spectrum[round(0.6 * len(spectrum)) :] = 0  # soxr's filter begins to fall above
    sound = np.fft.irfft(spectrum)
    take = take_of(sound, rate, mixed, start=1000, speed=speed)
    length = mixes.near_fast_length(mixed.samples * speed * rate / 32000)  # the speed it is rounded to
    played = torch.fft.irfft(mixed.spectrum([take]), mixed.samples).numpy()
    inner = slice(mixed.margin, mixed.margin + mixed.span)
    expected = soxr.resample(sound[1000 : 1000 + length], length, mixed.samples, quality="VHQ")[inner]
    assert np.sum((played[inner] - expected) ** 2) < 1e-6 * np.sum(expected**2)  # -60 dB


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("excerpt", [1.0, 5.0])
def test_what_is_in_tune_stays_so_in_every_key(groups, rate, excerpt):
    mixed = make_mixes(groups, AudioConfig(32000, 4096, 1024), excerpt=excerpt)
    off = []  # cents
    for semitones in range(-4, 5):
        wanted = 440 * 2 ** (semitones / 12)
        sine = 0.1 * np.sin(2 * np.pi * 440 * np.arange(10 * rate) / rate)
        spectrum = mixed.spectrum([take_of(sine, rate, mixed, speed=wanted / 440)])
        played = torch.fft.irfft(spectrum, mixed.samples)[mixed.margin : -mixed.margin]
        peak = torch.fft.rfft(played * torch.hann_window(len(played)), 32 * len(played)).abs().argmax().item()
        off.append(1200 * np.log2(peak * 32000 / (32 * len(played)) / wanted))
    assert max(map(abs, off)) < 12 and abs(np.mean(off)) < 3
    assert abs(off[4]) < 0.5  # their own key


def test_a_take_from_the_end_of_a_track_goes_on_at_its_beginning(groups):
    mixed = make_mixes(groups)
    take = take_of(np.arange(1, 1001.0), 8000, mixed, start=900)
    heard = mixed.play(take, 2500).numpy()
    np.testing.assert_allclose(heard, np.arange(900, 3400) % 1000 + 1, atol=0.1)


def test_a_stereo_track_is_heard_from_one_side_or_the_other(groups):
    mixed, song = make_mixes(groups), groups[1][0].songs[0]
    left, right = (mixed.read(song.vocals, 0, 1000, balance) for balance in (1.0, 0.0))
    torch.testing.assert_close(right, 0.5 * left, atol=1e-4, rtol=0)  # as the fixture has it
    torch.testing.assert_close(mixed.read(song.vocals, 0, 1000, 0.5), 0.75 * left, atol=1e-4, rtol=0)


def test_saturation_keeps_the_level_and_a_rest_is_silent(groups):
    mixed = make_mixes(groups)
    sound = make_song("loud", 1.0)[0]
    plain = mixed.play(take_of(sound, 8000, mixed), 4000)
    bent = mixed.play(take_of(sound, 8000, mixed, drive=12.0), 4000)
    assert bent.square().mean() == pytest.approx(plain.square().mean().item(), rel=1e-3)
    assert bent.abs().max() < 0.8 * plain.abs().max()
    rested = mixed.play(take_of(sound, 8000, mixed, rest=(0.1, 0.3)), 4000)  # of half a second
    assert rested[800:2400].abs().max() == 0
    assert torch.equal(rested[2700:], plain[2700:])


def test_a_room_adds_its_energy_to_the_voice_alone(groups):
    mixed = make_mixes(groups, excerpt=4.0)
    rng = np.random.default_rng(0)
    take = take_of(rng.standard_normal(40000), 8000, mixed)
    response = np.zeros(1000, np.float32)
    response[700] = 0.5
    dry, wet = (mixed.sources([plan_of(take, take, room=room)]) for room in (None, response))
    torch.testing.assert_close(wet[1], dry[1])
    torch.testing.assert_close(wet[0] - dry[0], 0.5 * dry[0].roll(700, dims=-1), atol=1e-4, rtol=0)


def test_an_equaliser_raises_its_octaves(groups):
    mixed = make_mixes(groups, excerpt=4.0)
    take = take_of(np.random.default_rng(0).standard_normal(40000), 8000, mixed)
    curves = np.zeros((2, 9))
    curves[0, 4] = 6.0  # the octave around 1 kHz
    raised, plain = (
        torch.fft.rfft(mixed.sources([plan_of(take, take, **more)])).abs() for more in ({"equalizer": curves}, {})
    )
    gains = 20 * (raised / plain.clamp(min=1e-9)).log10()[:, 0]
    at = [round(hertz / mixed.frequencies[1].item()) for hertz in (500, 1000, 2000)]
    torch.testing.assert_close(gains[0, at], torch.tensor([0.0, 6.0, 0.0]), atol=0.05, rtol=0)
    assert gains[1, at].abs().max() < 1e-3


def test_both_sources_end_where_the_emptier_one_does(groups):
    mixed = make_mixes(groups)
    for step in range(5):
        plans = mixed.plans(step)
        spectra = torch.fft.rfft(mixed.sources(plans)).abs()  # (2, plans, bins)
        for row, plan in enumerate(plans):
            above = mixed.frequencies > plan.bandwidth + 1
            assert spectra[:, row, above].max() < 1e-4 * spectra[:, row].max() if above.any() else True
            fills = max(take.bandwidth for take in plan.accompaniment), plan.voice[0].bandwidth
            assert plan.bandwidth <= min(fills)
    assert min(plan.bandwidth for step in range(5) for plan in mixed.plans(step)) < 4000  # some were cut


# ---------------------------------------------------------------------------------------------- drawing


def batches(mixed: Mixes) -> list[dict]:
    return list(mixed)


def test_an_epoch_is_the_same_whenever_and_by_however_many_it_is_drawn(groups, monkeypatch):
    once, again, ahead, other = (make_mixes(groups, **more) for more in ({}, {}, {"workers": 2}, {"seed": 1}))
    one = batches(once)
    assert len(one) == 3 and one[0]["mixture"].shape == (4, 31, 129)
    for others, same in ((again, True), (ahead, True), (other, False)):
        for mine, theirs in zip(one, batches(others), strict=True):
            assert mine.keys() == theirs.keys()
            assert torch.equal(mine["mixture"], theirs["mixture"]) == same
            assert torch.equal(mine["vocals"], theirs["vocals"]) == same
    again.begin(2)
    assert not torch.equal(one[0]["mixture"], batches(again)[0]["mixture"])
    monkeypatch.setattr(mixes, "share", lambda: slice(1, None, 2))  # the second of two ranks
    once.begin(1)
    for mine, both in zip(batches(once), one, strict=True):
        torch.testing.assert_close(mine["mixture"], both["mixture"][1::2])
        assert mine["names"] == both["names"][1::2]


def test_folders_are_drawn_in_their_shares(groups):
    mixed = make_mixes(groups, batch_size=1000)
    names = collections.Counter(plan.name for plan in mixed.plans(0))
    total = {group.name: sum(names[song.name] for song in group.songs) for group in groups[1]}
    assert total == pytest.approx({"songs": 500, "mir1k": 300, "voices": 200}, abs=60)
    assert min(names.values()) > 60  # every file of a folder is drawn


def test_levels_are_as_drawn(groups):
    mixed = make_mixes(groups, batch_size=200, remix=1.0)
    over = []
    for plan in mixed.plans(0):
        levels = [np.sqrt(sum(desk.loudness(take) for take in takes)) for takes in (plan.voice[:1], plan.accompaniment)]
        over.append(20 * np.log10(levels[1] / levels[0]))
    assert -5 < min(over) < 1 and 9 < max(over) < 16 and np.mean(over) == pytest.approx(4.5, abs=1.5)
    sound = mixed.sources(mixed.plans(0)[:50]).sum(0)
    level = 20 * np.log10(sound.square().mean(dim=-1).sqrt().numpy() / LEVEL)
    assert np.median(level) == pytest.approx(0, abs=3)


def test_a_song_that_is_kept_is_the_song(groups):
    """But for balance, key and colour."""
    mixed = make_mixes(groups, remix=0.0, transpose=0, equalizer=[0.0, 0.0])
    plans = [plan for plan in mixed.plans(0) + mixed.plans(1) if " - " in plan.name]
    for plan in plans:
        [voice], [accompaniment] = plan.voice, plan.accompaniment
        assert (voice.start, voice.balance, voice.speed) == (accompaniment.start, accompaniment.balance, 1)
        assert len(accompaniment.tracks) == 3 and plan.room is None
        assert abs(20 * np.log10(voice.gain / accompaniment.gain)) <= desk.BALANCE
    assert plans


def test_what_accompanies_is_never_the_songs_own_once_it_is_replaced(groups):
    mixed = make_mixes(groups, remix=1.0, batch_size=200)
    own = {song.name: set(song.accompaniment.values()) for song in groups[1][1].songs}
    composed = 0
    for plan in mixed.plans(0):
        tracks = {track for take in plan.accompaniment for track in take.tracks}
        assert not tracks & own.get(plan.name, set())
        composed += len(plan.accompaniment) == 3 and all(len(take.tracks) == 1 for take in plan.accompaniment)
    assert composed > 10


# ---------------------------------------------------------------------------------------------- through the scripts


def options_of(data, folder, *more: str) -> list[str]:
    mix = [f"{data / name}={share}" for name, share in (("songs", 0.5), ("mir1k", 0.3), ("voices", 0.2))]
    options = [str(data / "songs"), "--include-test", "--hold-out", "Dee", "--mix", *mix, "--steps", "2"]
    options += ["--accompaniments", str(data / "accompaniments"), "--leave-out", "bug", "--output", str(folder)]
    return [*options, *QUICK, *more]


def weights(folder, name: str, which: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / f"savedModel_{name}_{which}.pt", weights_only=True)["weights"]


def test_both_networks_train_on_a_mix(data, tmp_path):
    assert train_feedforward.main(options_of(data, tmp_path, *AUDIO_OPTIONS, "--encoder", "bands", "--bands", "8")) == 0
    made = (tmp_path / "bank.i16").stat().st_mtime_ns
    assert train_RNN.main(options_of(data, tmp_path, "--hidden-size", "16")) == 0
    assert (tmp_path / "bank.i16").stat().st_mtime_ns == made
    network, _, checkpoint = load_network(tmp_path / "savedModel_RNN_best.pt", train_RNN.RecurrentNetwork)
    assert network.config.bands == 8
    assert "songs: 3 files" in checkpoint["trained_on"] and "mir1k: 1 files" in checkpoint["trained_on"]
    assert [name for name, _ in checkpoint["songs"]] == [
        "Ann - One",
        "Ben - Two",
        "Cy - Three",
        "abjones_1_01",
        "choir/Eve",
        "choir/Flo",
    ]
    assert "(20% of excerpts)" in checkpoint["trained_on"] and "fingerprint" in checkpoint["trained_on"]


def test_no_process_is_forked_beside_the_threads_that_mix(data, tmp_path, monkeypatch):
    def fork():
        raise AssertionError("forked")

    monkeypatch.setattr(os, "fork", fork)
    assert train_feedforward.main(options_of(data, tmp_path, *AUDIO_OPTIONS, "--workers", "2")) == 0


def test_a_mix_stopped_and_resumed_equals_one_uninterrupted_bit_for_bit(data, tmp_path, monkeypatch):
    more = [*AUDIO_OPTIONS, "--epochs", "3", "--dropout", "0.2"]
    assert train_feedforward.main(options_of(data, tmp_path / "straight", *more)) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_epoch", interrupted(loop.run_epoch, 3))  # in the second epoch: two calls in each
        assert train_feedforward.main(options_of(data, tmp_path / "stopped", *more)) == 130
    assert train_feedforward.main(options_of(data, tmp_path / "stopped", *more, "--resume", "--workers", "2")) == 0
    straight, stopped = (weights(tmp_path / folder, "feedforward") for folder in ("straight", "stopped"))
    assert all(torch.equal(straight[name], stopped[name]) for name in straight)


def test_a_mix_in_which_nobody_sings_is_told(groups):
    mixed = make_mixes(groups)
    assert not mixed.is_silent()
    mixed.desk.groups = [
        dataclasses.replace(group, songs=[hushed(song) for song in group.songs]) for group in mixed.desk.groups
    ]
    assert mixed.is_silent()


def hushed(song):
    return dataclasses.replace(song, vocals=dataclasses.replace(song.vocals, level=9e-4)) if song.vocals else song


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--leave-out", "Nobody"], "--leave-out: expected a song, artist or sound 'Nobody'"),
        (["--mix", "songs"], "argument --mix: expected FOLDER=SHARE, a share above 0, found 'songs'"),
        (["--mix", "songs=0"], "argument --mix: expected FOLDER=SHARE, a share above 0, found 'songs=0'"),
        (["--mix", "songs=half"], "argument --mix: expected FOLDER=SHARE, a share above 0, found 'songs=half'"),
        (["--mix", "nowhere=1"], "nowhere: no such dataset folder"),
        (["--steps", "0"], "--steps must be from 1"),
        (["--voices", "there"], "--voices has no effect with --mix"),
        (["--sequences", "songs"], "--sequences has no effect with --mix"),
    ],
)
def test_wrong_mixes_end_in_one_line(data, tmp_path, capsys, more, message):
    status = 0
    try:
        status = train_feedforward.main([*options_of(data, tmp_path, *AUDIO_OPTIONS), *more])
    except SystemExit as stopped:
        status = stopped.code
    assert status in (1, 2) and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Ann/mixture.wav", "Ann/vocals.wav"), "vocals.wav: expected 800 samples like mixture.wav, found 700"),
        (("Ann/mixture.wav", "Ann/singer.wav"), "mixture.wav: expected a voice without accompaniment, found "),
        (("Ann_mix.wav", "Ann_singer.wav"), "Ann_mix.wav: expected a voice without accompaniment, found a file named"),
    ],
)
def test_songs_with_a_fault_are_not_taken_for_voices(data, tmp_path, capsys, names, message):
    for name, samples in zip(names, (800, 700), strict=True):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        wavwrite(tmp_path / "mine" / name, make_song(name, samples / RATE, RATE)[1], RATE)
    argv = [*options_of(data, tmp_path, *AUDIO_OPTIONS), "--mix", f"{tmp_path / 'mine'}=1"]
    assert message in fails(capsys, train_feedforward.main, *argv)


@pytest.fixture
def divided(tmp_path):
    """A folder of songs with splits: Ann and Ben train, Cy validates, Dee tests."""
    for name in ("train/Ann", "train/Ben", "valid/Cy", "test/Dee"):
        write_stems(tmp_path / "divided" / name, name, "mixture", "vocals")
    return tmp_path / "divided"


def mixed_names(monkeypatch, capsys, *argv) -> tuple[list[str], str]:
    """The names of all songs in the mix that training would begin with, and what it says."""
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(command, "train", lambda network, audio, loader, *rest: seen.append(loader))
        capsys.readouterr()
        assert train_feedforward.main([str(argument) for argument in (*argv, *AUDIO_OPTIONS, *QUICK)]) == 0
    return sorted(song.name for song in seen[0].bank.songs), capsys.readouterr().out


def test_songs_that_validate_or_test_are_trained_on_in_no_guise(divided, tmp_path, monkeypatch, capsys):
    (tmp_path / "linked").mkdir()
    for name in ("train/Ann", "valid/Cy", "test/Dee"):
        (tmp_path / "linked" / name.replace("/", " ")).symlink_to(divided / name)
    (tmp_path / "music").symlink_to(divided / "valid")
    argv = [divided, "--output", tmp_path, "--mix", f"{tmp_path / 'linked'}=1", f"{divided}=1"]
    names, said = mixed_names(monkeypatch, capsys, *argv, "--accompaniments", tmp_path / "music")
    assert names == ["Ann", "Ben", "train Ann"]
    assert f"{tmp_path / 'linked'}: left out, since they validate or test: 2\n" in said


def test_test_songs_of_a_mixs_folders_are_trained_on_when_asked(data, divided, tmp_path, monkeypatch, capsys):
    write_song(tmp_path / "tiny", "Train", "amber")
    write_song(tmp_path / "tiny", "Valid", "dune")
    mix = [f"{divided}=1", f"{data / 'songs'}=1", f"{data / 'mir1k'}=1"]
    argv = [tmp_path / "tiny", "--output", tmp_path, "--mix", *mix]
    names, said = mixed_names(monkeypatch, capsys, *argv)
    undivided = ["Ann - One", "Ben - Two", "Cy - Three", "Dee - Four"]
    assert names == sorted(["Ann", "Ben", "Cy", *undivided, "abjones_1_01"])
    assert f"{divided}: left out, since --include-test is not given: 1 in Test\n" in said
    names, said = mixed_names(monkeypatch, capsys, *argv, "--include-test")
    assert names == sorted(["Ann", "Ben", "Cy", "Dee", *undivided, "abjones_1_01", "bug_1_01"])
    assert "left out" not in said


def test_voices_need_music(data, tmp_path, capsys):
    mix = ["--mix", f"{data / 'voices'}=1", "--output", str(tmp_path), *AUDIO_OPTIONS, *QUICK]
    line = fails(capsys, train_feedforward.main, data / "songs", "--include-test", "--hold-out", "Dee", *mix)
    assert "expected songs, or --accompaniments, for the voices to sing with, found voices alone" in line


@pytest.mark.parametrize("option", ["--leave-out", "--steps"])
def test_options_of_a_mix_need_one(data, tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        train_feedforward.main([str(data / "songs"), option, "3", "--output", str(tmp_path)])
    assert f"{option} needs --mix" in capsys.readouterr().err


def test_the_recipe_makes_all_networks_and_goes_on_where_it_was_stopped(data, tmp_path):
    tiny = [*AUDIO_OPTIONS, *QUICK, "--epochs", "1", "--steps", "2", "--bands", "8"]
    command = ["bash", str(ROOT / "recipe" / "pretrained.sh"), str(data), str(tmp_path), *tiny]
    environment = {**os.environ, "PYTHON": sys.executable, "PROCESSES": "", "HOLD_OUT": "Dee\nCy", "LEAVE_OUT": "bug_1"}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "2 songs Train, 2 songs Valid" in first and "RNN network" in first
    facts = torch.load(tmp_path / "savedModel_RNN_best.pt", weights_only=True)
    assert facts["trained_on"].startswith("songs: 2 files") and "mir1k: 1 files" in facts["trained_on"]
    made = {name: weights(tmp_path, name, "best") for name in ("feedforward", "RNN", "RNN_bidirectional")}
    (tmp_path / "savedModel_RNN_last.pt").unlink()
    (tmp_path / "savedModel_RNN_best.pt").unlink()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert again.count("epoch 1/1") == 1  # the recurrent one's
    for name, before in made.items():
        now = weights(tmp_path, name, "best")
        assert all(torch.equal(now[key], value) for key, value in before.items())


def calls_of_the_recipe(tmp_path, *options, **variables) -> tuple[subprocess.CompletedProcess, list[str]]:
    """What the recipe ends with, and the command lines of the Python that it calls: none runs."""
    stub = tmp_path / "python"
    stub.write_text('#!/bin/sh\necho "$@"\n')
    stub.chmod(0o755)
    (tmp_path / "songs").mkdir()
    command = ["bash", str(ROOT / "recipe" / "pretrained.sh"), str(tmp_path), str(tmp_path / "out"), *options]
    environment = {**os.environ, "PYTHON": str(stub), **variables}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    return ended, ended.stdout.splitlines()


def test_the_recipe_chooses_the_power_on_the_songs_that_validate_in_training(tmp_path):
    ended, calls = calls_of_the_recipe(tmp_path, "--epochs", "3", "--include-test")
    assert ended.returncode == 0 and len(calls) == 7
    assert all("--epochs 3" in call and "--include-test" in call for call in calls[:3])
    assert all("choose_power.py" in call and "--include-test" in call for call in calls[3:6])


@pytest.mark.parametrize("processes", ["1", "3", "", "two"])
def test_the_recipe_trains_in_several_processes_on_request(tmp_path, processes):
    ended, calls = calls_of_the_recipe(tmp_path, PROCESSES=processes)
    if processes == "two":
        assert ended.returncode == 1 and ended.stderr == "error: PROCESSES: expected a number from 1, found 'two'\n"
        return
    several = "-m torch.distributed.run --standalone --nproc-per-node 3 " if processes == "3" else ""
    for call, network in zip(calls, ("feedforward", "RNN", "RNN"), strict=False):
        assert call.startswith(f"{several}{ROOT}/train_{network}.py {tmp_path}/songs --output {tmp_path}/out")
    assert ["--bidirectional" in call for call in calls[:3]] == [False, False, True]
    assert len(calls) == 7 and all("choose_power.py" in call and "distributed" not in call for call in calls[3:6])


@pytest.mark.parametrize("layout", ["DSD100", "MUSDB18-HQ"])
def test_datasets_with_stems_give_their_stems(tmp_path, layout):
    sounds = {stem: make_song(stem, 0.5)[0] for stem in ("vocals", "drums", "bass", "other")}
    sounds["mixture"] = sum(sounds.values())
    for split in ("Dev", "Test") if layout == "DSD100" else ("train", "test"):
        for name in ("Ann - One", "Ben - Two"):
            for stem, sound in sounds.items():
                part = tmp_path / ("Mixtures" if stem == "mixture" else "Sources") if layout == "DSD100" else tmp_path
                (part / split / name).mkdir(parents=True, exist_ok=True)
                wavwrite(part / split / name / f"{stem}.wav", sound, 8000)
    songs = find_songs(tmp_path)
    assert len(songs["Test"]) == 2 and songs["Train"] and songs["Valid"]
    stems = songs["Train"][0].stems()
    assert set(stems) == {"vocals", "drums", "bass", "other"}
    for stem, sound in stems.items():
        np.testing.assert_allclose(sound[0], sounds[stem], atol=1e-4)
    assert len(songs["Train"][0].files) == 5


def test_two_ranks_learn_what_one_learns(data, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert train_feedforward.main(options_of(data, alone, *AUDIO_OPTIONS)) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(ROOT / "train_feedforward.py"), *options_of(data, together, *AUDIO_OPTIONS)]
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, check=True)
    one, two = (weights(folder, "feedforward") for folder in (alone, together))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3)
