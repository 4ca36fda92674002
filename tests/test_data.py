"""Reading pieces of them, transforms, batches."""

import dataclasses
import itertools

import numpy as np
import pytest
import soxr
import torch
from helpers import RATE, make_song, write_song
from torch.utils.data import DataLoader
from torchvision.transforms import Compose

from Data import (
    Batches,
    DSD100Dataset,
    Excerpt,
    MakeMagnitudeSpectrum,
    RandomShift,
    Rescale,
    ShuffleFrameOrder,
    collate_fn,
)
from Model import FeedforwardNetwork
from songs import song as song_module
from songs.dataset import find_songs, find_sounds
from songs.effects import OCTAVES, at_speed, equalizer_curves, room, saturate
from songs.song import Accompaniment, KeptSong, Voice, keep
from sound.resampling import resample
from training.loss import kl_divergence, mean_over_frames
from training.variation import RandomEffects, RandomEqualizer, RandomSpeed, Remix
from util import AudioConfig, load_network, stft, wavwrite

AUDIO = AudioConfig(RATE, 256, 128)


# ---------------------------------------------------------------------------------------------- reading


def test_stereo_is_mixed_down(tmp_path):
    mixture, vocals = make_song("song", 0.5)
    (tmp_path / "song").mkdir()
    wavwrite(tmp_path / "song" / "mixture.wav", np.stack([mixture, 0 * mixture]), RATE, "FLOAT")
    wavwrite(tmp_path / "song" / "vocals.wav", np.stack([vocals, 0 * vocals]), RATE, "FLOAT")
    song = find_songs(tmp_path)["Test"][0]
    assert np.allclose(song.read(), 0.5 * np.stack([mixture, vocals]))


@pytest.mark.parametrize(("rate", "target"), [(44100, 32000), (8000, 16000), (48000, 16000), (16000, 16000)])
def test_resampled_piece_is_a_piece_of_the_resampled_song(tmp_path, rate, target):
    write_song(tmp_path, "Test", "song", seconds=1.0, rate=rate)
    song = find_songs(tmp_path)["Test"][0]
    whole = resample(song.read(), rate, target)
    padded = np.pad(whole, ((0, 0), (5000, 5000)))
    for start, samples in ((0, 1000), (4321, 2000), (-500, 1200), (target - 700, 1500)):
        piece = song.read_at(target, start, samples)
        assert piece.shape == (2, samples)
        difference = np.abs(piece - padded[:, start + 5000 : start + 5000 + samples])
        difference[:, max(0, -start) : max(0, 2 - start)] /= 100  # soxr cuts its own ringing at a file's first samples
        assert difference.max() < 1e-4


def test_looped_reading_goes_round(dataset):
    song = find_songs(dataset)["Train"][0]
    whole = song.read()
    twice = np.concatenate([whole, whole, whole], axis=1)
    assert np.allclose(
        song.read_looped(RATE, -100, 2 * song.samples), twice[:, song.samples - 100 :][:, : 2 * song.samples]
    )


def test_song_shorter_than_what_is_read_of_it_is_repeated(dataset):
    song = dataclasses.replace(find_songs(dataset)["Train"][0], samples=100)
    expected = np.take(song.read(), np.arange(-30, 970), axis=1, mode="wrap")
    assert np.allclose(song.read_looped(RATE, -30, 1000), expected)


def test_songs_are_never_read_whole(dataset, monkeypatch):
    asked = []

    def spy(path, start=0, samples=None):
        asked.append(samples)
        return original(path, start, samples)

    original = song_module.wavread
    monkeypatch.setattr(song_module, "wavread", spy)
    train = DSD100Dataset(find_songs(dataset)["Train"], AUDIO, MakeMagnitudeSpectrum(), excerpt_seconds=0.5)
    for index in range(len(train)):
        train[0, index]
    assert len(asked) == 2 * len(train)
    assert max(asked) <= 0.5 * RATE + 2 * AUDIO.block


def test_excerpts_together_are_the_whole_song(dataset):
    songs = find_songs(dataset)["Train"]
    pieces = DSD100Dataset(songs, AUDIO, MakeMagnitudeSpectrum(), excerpt_seconds=0.37)
    mixture = torch.cat([pieces[0, i]["mixture"] for i in range(len(pieces)) if pieces.excerpts[i][0] == 1])
    expected = stft(torch.from_numpy(songs[1].read()[0]), AUDIO).abs()
    assert mixture.shape == expected.shape
    assert torch.allclose(mixture, expected, atol=1e-6)


# ---------------------------------------------------------------------------------------------- transforms


def excerpt_of(dataset, seed: int = 0) -> Excerpt:
    songs = find_songs(dataset)["Train"]
    return Excerpt(songs[0], 16, 47, AUDIO, songs, np.random.default_rng(seed))


def test_rescale_scales_mixture_and_voice_alike(dataset):
    plain, scaled = excerpt_of(dataset), Rescale(0.5, 0.6)(excerpt_of(dataset))
    assert 0.5 <= scaled.gain <= 0.6
    assert torch.allclose(scaled.spectra(), scaled.gain * plain.spectra())


def spectrum_at(waveform: np.ndarray, start: int) -> torch.Tensor:
    """STFT (..., 31 frames, bins) of waveform (..., samples), looped, from sample `start` on."""
    indices = np.arange(start, start + 30 * AUDIO.hop + AUDIO.block)
    piece = np.take(waveform, indices, axis=-1, mode="wrap").astype(np.float32)
    return stft(torch.from_numpy(piece), AUDIO, pad=False)


BACKING = ("backing", "backing_shift", "backing_gain")
START = 16 * AUDIO.hop - AUDIO.block // 2  # of what `excerpt_of` reads


def test_random_shift_reads_from_elsewhere(dataset):
    shifted = RandomShift(30)(excerpt_of(dataset))
    assert 0 < shifted.shift <= 30
    expected = spectrum_at(shifted.song.read(), START + round(shifted.shift * RATE))
    assert torch.allclose(shifted.spectra(), expected, atol=1e-6)


@pytest.mark.parametrize("speed", [0.5, 0.77, 1.25, 1.5])
def test_random_speed_equals_resampling(dataset, speed):
    plain = excerpt_of(dataset)
    played = RandomSpeed(speed, speed)(plain)
    assert played.speed == pytest.approx(speed)
    audio = at_speed(AUDIO, speed)
    exact = audio.block / AUDIO.block
    assert exact == pytest.approx(speed, rel=0.02) and audio.hop == pytest.approx(exact * AUDIO.hop, abs=1)
    frames = [16 * audio.hop + round(frame * audio.hop) for frame in range(31)]  # centres, in the song's samples
    resampled = soxr.resample(plain.song.read().T, 10000 * exact, 10000, "VHQ").T
    expected = torch.stack(
        [spectrum_at(resampled, round(centre / exact) - AUDIO.block // 2)[:, 0] for centre in frames], dim=1
    )
    error = (played.spectra().abs() - expected.abs()).square().sum() / expected.abs().square().sum()
    assert error < 5e-3  # the rest: centres lie between two samples of the resampled song


def test_remix_puts_another_accompaniment_under_these_vocals(dataset):
    plain, remixed = excerpt_of(dataset), Remix(1.0, -6.0, 6.0)(excerpt_of(dataset))
    assert Remix(0.0)(excerpt_of(dataset)).backing is None
    mixture, vocals = remixed.spectra()
    assert torch.equal(vocals, plain.spectra()[1])
    other_mixture, other_vocals = spectrum_at(remixed.backing.read(), START + round(remixed.backing_shift * RATE))
    assert torch.allclose(mixture, vocals + remixed.backing_gain * (other_mixture - other_vocals), atol=1e-6)
    assert 10 ** (-6 / 20) <= remixed.backing_gain <= 10 ** (6 / 20)
    assert len({Remix(1.0)(excerpt_of(dataset, seed)).backing.name for seed in range(20)}) == 2  # never its own


def test_a_voice_alone_always_gets_an_accompaniment_and_music_gives_one(tmp_path):
    time = np.arange(2 * RATE) / RATE
    for name, frequency in (("voices/a/one", 500), ("music/two", 1000)):
        (tmp_path / name).parent.mkdir(parents=True)
        wavwrite(tmp_path / f"{name}.wav", 0.1 * np.sin(2 * np.pi * frequency * time), RATE, "FLOAT")
    voices, music = find_sounds(tmp_path / "voices", Voice), find_sounds(tmp_path / "music", Accompaniment)
    assert [song.name for song in (*voices, *music)] == ["a/one", "two"]
    voices, music = keep(voices, 100), list(keep(music, 100))
    transform = Compose([Remix(0.0, 0.0, 0.0), MakeMagnitudeSpectrum()])
    sample = DSD100Dataset(list(voices), AUDIO, transform, 0.5, accompaniments=music)[0, 1]
    peaks = {name: sample[name].mean(0) for name in ("mixture", "vocals")}
    assert peaks["vocals"].argmax() == 500 / RATE * AUDIO.block
    tone = round(1000 / RATE * AUDIO.block)
    assert peaks["mixture"][tone] == pytest.approx(float(peaks["vocals"].max()), rel=0.1)
    assert peaks["vocals"][tone] < 0.01 * peaks["mixture"][tone]


def test_remixed_speed_is_the_voice_s_alone(dataset):
    slow, plain = (Remix(1.0)(excerpt) for excerpt in (RandomSpeed(0.8, 0.8)(excerpt_of(dataset)), excerpt_of(dataset)))
    slow = dataclasses.replace(slow, **{name: getattr(plain, name) for name in BACKING})
    (mixture, vocals), (other_mixture, other_vocals) = slow.spectra(), plain.spectra()
    assert not torch.allclose(vocals, other_vocals, atol=1e-3)
    assert torch.allclose(mixture - vocals, other_mixture - other_vocals, atol=1e-6)


def test_transposed_accompaniments_leave_another_song_s_voice_alone(dataset):
    plain = Remix(1.0)(excerpt_of(dataset))
    higher = dataclasses.replace(plain, semitones=2)
    (mixture, vocals), (plain_mixture, plain_vocals) = higher.spectra(), plain.spectra()
    assert torch.equal(vocals, plain_vocals)
    assert not torch.allclose(mixture, plain_mixture, atol=1e-3)


def test_random_equalizer_of_the_voice_alone(dataset):
    plain, coloured = excerpt_of(dataset), RandomEqualizer(6.0, 0.0)(excerpt_of(dataset))
    (mixture, vocals), (plain_mixture, plain_vocals) = coloured.spectra(), plain.spectra()
    assert torch.allclose(mixture - vocals, plain_mixture - plain_vocals, atol=1e-6)
    assert not torch.allclose(vocals, plain_vocals, rtol=0.1)


def test_random_equalizer_colours_voice_and_accompaniment_apart(dataset):
    plain, coloured = excerpt_of(dataset), RandomEqualizer(6.0)(excerpt_of(dataset))
    assert coloured.equalizer.shape == (2, 9) and coloured.equalizer.std() == pytest.approx(6, rel=0.5)
    (mixture, vocals), (plain_mixture, plain_vocals) = coloured.spectra(), plain.spectra()
    for source, plain_source, bands in (
        (vocals, plain_vocals, coloured.equalizer[0]),
        (mixture - vocals, plain_mixture - plain_vocals, coloured.equalizer[1]),
    ):
        for octave, decibels in zip(OCTAVES, bands, strict=True):
            position = octave / RATE * AUDIO.block  # in bins
            if 1 <= position < AUDIO.bins and position == round(position):
                expected = 10 ** (decibels / 20) * plain_source[:, int(position)]
                assert expected.abs().max() > 1e-5 and torch.allclose(source[:, int(position)], expected, rtol=1e-3)


def test_random_effects_change_the_voice_and_leave_the_accompaniment(dataset):
    plain, dry = excerpt_of(dataset), RandomEffects(0.0)(excerpt_of(dataset))
    assert torch.equal(plain.spectra(), dry.spectra())
    wet = RandomEffects(1.0)(excerpt_of(dataset))
    assert 0 <= wet.drive <= 12 and 0.2 * RATE <= len(wet.room) <= 1.5 * RATE
    assert -18 <= 10 * np.log10(np.sum(wet.room**2)) <= -5
    (mixture, vocals), (plain_mixture, plain_vocals) = wet.spectra(), plain.spectra()
    assert torch.allclose(mixture - vocals, plain_mixture - plain_vocals, atol=1e-6)
    assert not torch.allclose(vocals, plain_vocals, atol=1e-3)
    drawn = [RandomEffects(0.5)(excerpt_of(dataset, seed)) for seed in range(40)]
    assert 10 < sum(excerpt.drive is not None for excerpt in drawn) < 30
    assert 10 < sum(excerpt.room is not None for excerpt in drawn) < 30


def test_a_room_has_its_energy_its_delay_and_its_decay():
    response = room(np.random.default_rng(0), 8000, 1.0, -10.0, 0.02)
    assert len(response) == 8000 and not response[:160].any() and response[160:].all()
    early, late = (np.sum(response[first : first + 800].astype(float) ** 2) for first in (160, 4160))
    assert 10 * np.log10(np.sum(response.astype(float) ** 2)) == pytest.approx(-10, abs=1e-3)
    assert 10 * np.log10(early / late) == pytest.approx(30, abs=2)  # of 60 dB in 1 s


def test_reverberation_is_the_voice_again_later(dataset):
    response = np.zeros(AUDIO.hop + 1, np.float32)
    response[-1] = 0.5
    plain, echo = excerpt_of(dataset), dataclasses.replace(excerpt_of(dataset), room=response)
    vocals, expected = echo.spectra()[1], plain.spectra()[1]
    once = AUDIO.block // AUDIO.hop  # frames from which on a frame a hop earlier lies within the excerpt
    assert torch.allclose(vocals[once:], expected[once:] + 0.5 * expected[once - 1 : -1], atol=1e-6)


def test_saturation_clips_softly_and_keeps_the_level():
    tone = np.sqrt(2) * np.sin(2 * np.pi * np.arange(1000) / 50)  # RMS of 1
    loud, soft = saturate(tone, 12.0), saturate(tone, -60.0)
    assert np.sqrt(np.mean(loud**2)) == pytest.approx(1) and np.abs(soft - tone).max() < 1e-5
    limit = 3 / 10 ** (12 / 20)
    ratio = np.tanh(tone / limit)
    assert loud == pytest.approx(ratio / np.sqrt(np.mean(ratio**2))) and loud.max() < 0.9 * tone.max()
    assert not saturate(np.zeros(10), 6.0).any()


def test_equalizer_curve_is_straight_between_octaves():
    gains = equalizer_curves(np.arange(9.0)[None], AudioConfig(32000, 512, 256))[0]  # 62.5 Hz a bin, 1 dB an octave
    assert 20 * torch.log10(gains[[1, 2, 3, 4, 256]]).numpy() == pytest.approx([0, 1, np.log2(3), 2, 8], abs=1e-4)


def test_magnitude_of_the_voice_or_its_projection_on_the_mixture(dataset):
    mixture, vocals = excerpt_of(dataset).spectra()
    plain, projected = (MakeMagnitudeSpectrum(projected)(excerpt_of(dataset)) for projected in (False, True))
    assert torch.equal(plain["vocals"], vocals.abs()) and torch.equal(plain["mixture"], projected["mixture"])
    # Of all real masks from 0 to 1, the projection's comes closest to the voice, bin by bin.
    best = projected["vocals"] / mixture.abs()
    error = (best * mixture - vocals).abs()
    for mask in torch.linspace(0, 1, 21):
        assert (error <= (mask * mixture - vocals).abs() + 1e-6).all()


def test_shuffle_moves_mixture_and_voice_together(dataset):
    sample = MakeMagnitudeSpectrum()(excerpt_of(dataset))
    shuffled = ShuffleFrameOrder()({**sample, "rng": np.random.default_rng(1)})
    order = np.random.default_rng(1).permutation(len(sample["mixture"]))
    assert torch.equal(shuffled["mixture"], sample["mixture"][order])
    assert torch.equal(shuffled["vocals"], sample["vocals"][order])
    assert not torch.equal(shuffled["mixture"], sample["mixture"])


# ---------------------------------------------------------------------------------------------- batches


def make_set(dataset, whole_songs: bool = False, seed: int = 0) -> DSD100Dataset:
    drawn = RandomShift(), RandomSpeed(), RandomEffects(0.4), RandomEqualizer(), Rescale(), Remix(0.5)
    transform = Compose([*drawn, MakeMagnitudeSpectrum()])
    return DSD100Dataset(find_songs(dataset)["Train"], AUDIO, transform, 0.5, seed, whole_songs)


def epoch_of(dataset, epoch: int, workers: int, seed: int = 0) -> list[dict]:
    train = make_set(dataset, seed=seed)
    batches = Batches(train, 4)
    batches.epoch = epoch
    return list(DataLoader(train, batch_sampler=batches, collate_fn=collate_fn, num_workers=workers))


def test_same_seed_same_epoch_for_any_number_of_workers(dataset):
    here, there = epoch_of(dataset, 3, 0), epoch_of(dataset, 3, 2)
    assert len(here) == len(there) > 2
    for one, other in zip(here, there, strict=True):
        assert one["names"] == other["names"]
        assert torch.equal(one["mixture"], other["mixture"]) and torch.equal(one["vocals"], other["vocals"])
    for different in (epoch_of(dataset, 4, 0), epoch_of(dataset, 3, 0, seed=1)):
        assert not torch.equal(here[0]["mixture"], different[0]["mixture"])


def test_every_excerpt_once_an_epoch(dataset):
    train = make_set(dataset)
    assert len(Batches(train, 4)) == len(list(Batches(train, 4))) == -(-len(train) // 4)
    keys = [key for batch in Batches(train, 4) for key in batch]
    assert sorted(keys) == [(0, index) for index in range(len(train))]
    assert keys != sorted(keys)


def test_rows_of_whole_songs_go_through_one_song_after_the_other(dataset):
    train = make_set(dataset, whole_songs=True)
    batches = list(Batches(train, 2))
    assert sorted(key for batch in batches for key in batch) == [(0, index) for index in range(len(train))]
    for row in range(2):
        excerpts = [train.excerpts[batch[row][1]] for batch in batches if row < len(batch)]
        for before, after in itertools.pairwise(excerpts):
            assert after[1] == 0 or after[:2] == (before[0], before[2])


def test_excerpts_of_a_whole_song_are_pieces_of_one_mixture(dataset):
    train = make_set(dataset, whole_songs=True)
    of_song = [index for index, (song, _, _) in enumerate(train.excerpts) if song == 1]
    train.transform = Compose(train.transform.transforms[:-1])  # keep the plans
    plans = [train[5, index] for index in of_song]
    drawn = {(plan.shift, plan.speed, plan.gain, plan.backing, plan.backing_shift) for plan in plans}
    assert len(plans) > 2 and len(drawn) == 1


def test_collate_pads_and_a_padded_song_has_the_loss_of_the_song_alone(dataset, trained):
    network, _, _ = load_network(trained / "savedModel_feedforward_best.pt", FeedforwardNetwork)
    songs = find_songs(dataset)["Train"]
    whole = DSD100Dataset(songs, AUDIO, MakeMagnitudeSpectrum(), excerpt_seconds=100)
    samples = [whole[0, index] for index in range(3)]

    def losses(batch: dict) -> torch.Tensor:
        mask, _ = network(batch["mixture"])
        return kl_divergence(batch["vocals"], mask * batch["mixture"])

    batch = collate_fn(samples)
    assert batch["lengths"].tolist() == [AUDIO.frames(song.samples) for song in songs]
    assert batch["mixture"].shape == (3, max(batch["lengths"]), AUDIO.bins)
    assert batch["mixture"][0, batch["lengths"][0] :].abs().sum() == 0
    padded = losses(batch)
    alone = [
        mean_over_frames(losses(collate_fn([sample])), torch.tensor([len(sample["mixture"])])) for sample in samples
    ]
    for row in range(3):
        length = batch["lengths"][row]
        assert padded[row, :length].mean().item() == pytest.approx(alone[row].item(), rel=1e-5)
    together = mean_over_frames(padded, batch["lengths"]).item()
    assert together == pytest.approx(np.average([loss.item() for loss in alone], weights=batch["lengths"]), rel=1e-5)


# ---------------------------------------------------------------------------------------------- kept in memory


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_kept_songs_read_the_same_samples_from_memory(tmp_path, subtype):
    mixture, vocals = make_song("song", 0.5)
    mixture = 9 * mixture if subtype == "FLOAT" else mixture  # louder than integers can be
    for name, waveform in (("mixture", mixture), ("vocals", vocals)):
        (tmp_path / "song").mkdir(exist_ok=True)
        wavwrite(tmp_path / "song" / f"{name}.wav", waveform, RATE, subtype)
    song = find_songs(tmp_path)["Test"][0]
    (kept,) = keep([song], 10)
    assert kept.sound.dtype == (np.int16 if subtype == "PCM_16" else np.float32)
    assert kept.files == song.files and kept.stems().keys() == song.stems().keys()
    expected = [song.read(), song.read(100, 50), song.read_looped(RATE, -30, 9000), song.read_at(11025, 50, 300)]
    for path in tmp_path.glob("*/*"):
        path.unlink()
    found = [kept.read(), kept.read(100, 50), kept.read_looped(RATE, -30, 9000), kept.read_at(11025, 50, 300)]
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    assert (kept.artist, kept.seconds) == (song.artist, song.seconds)


def test_no_more_songs_are_kept_than_there_is_room_for(dataset):
    song = find_songs(dataset)["Train"][0]
    songs, room = [song] * 15, 8 * song.samples / 1e6
    assert [isinstance(song, KeptSong) for song in keep(songs, 12.5 * room)] == [True] * 12 + [False] * 3
    assert [isinstance(song, KeptSong) for song in keep(songs, 9 * room)] == [False] * 15  # too long to decode at once
    assert [isinstance(song, KeptSong) for song in keep(songs, 0)] == [False] * 15
