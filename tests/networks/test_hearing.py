"""Songs are heard in tune, in training and in separation, and there in the colour that a network knows."""

import dataclasses

import numpy as np
import pytest
import torch

from Data import DSD100Dataset, MakeMagnitudeSpectrum, song_in_tune
from networks import hearing
from networks.compression import Compression
from networks.hearing import Colour, Tuning, block_in_tune, deviations, from_tune, longest_block, to_tune, together
from separation.separate import separate
from separation.separator import Separator
from songs.song import Song
from training.variation import InTune, RandomTranspose, Remix
from util import AudioConfig, stft, wavwrite

AUDIO = AudioConfig(16000, 2048, 512)
CENTS = [-40, -30, -10, 0, 5, 20, 40]


def chord(cents: float, seconds: float = 2.0, rate: int = AUDIO.sample_rate) -> np.ndarray:
    """A chord of four notes with harmonics, as far off the scale, with some noise: (samples,)."""
    time = np.arange(round(seconds * rate)) / rate
    notes = 440 * 2 ** ((np.array([-10, -3, 2, 6]) + cents / 100) / 12)
    tones = sum(np.sin(2 * np.pi * k * note * time + k) / k for note in notes for k in range(1, 8))
    return (0.05 * tones + 0.003 * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)


def noise(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * AUDIO.sample_rate)).astype(np.float32)


def magnitude(sound: np.ndarray) -> torch.Tensor:
    return stft(torch.from_numpy(sound), AUDIO).abs()


def expected_block(cents: float) -> float:
    return AUDIO.block * 2 ** (-cents / 1200)


@pytest.mark.parametrize("cents", CENTS)
def test_block_that_shows_a_chord_in_tune(cents):
    total, weight = (part.sum() for part in deviations(magnitude(chord(cents)[None]), AUDIO))
    assert abs(total) > 0.5 * weight  # most partials agree
    assert block_in_tune(AUDIO, total, weight) == pytest.approx(expected_block(cents), abs=4)  # 3 cents
    assert AUDIO.block < longest_block(AUDIO) <= AUDIO.block * 1.0293 + 2


def test_where_partials_do_not_agree_the_scale_is_rather_left_alone():
    assert block_in_tune(AUDIO, 0.9j, 1.0) == pytest.approx(expected_block(24.1), abs=1.1)
    assert block_in_tune(AUDIO, 0.02j, 1.0) == pytest.approx(expected_block(6.1), abs=1.1)


@pytest.mark.parametrize("level", [0, 1e-14])
def test_silence_is_left_alone(level):
    assert (Tuning(AUDIO).follow(torch.full((1, 50, AUDIO.bins), level)) == AUDIO.block).all()


def test_noise_is_left_alone():
    for seed in range(5):
        blocks = Tuning(AUDIO).follow(magnitude(noise(10, seed)[None]))
        assert abs(blocks[0, -1] - AUDIO.block) <= 12  # 10 cents


def test_spectra_too_coarse_to_tell_are_left_alone():
    coarse = AudioConfig(8000, 256, 128)
    blocks = Tuning(coarse).follow(stft(torch.from_numpy(chord(30)[None]), coarse).abs())
    assert (blocks == 256).all()


def test_each_channel_by_itself_however_the_stream_is_cut():
    frames = magnitude(np.stack([chord(20), chord(-30)]))
    tuning = Tuning(AUDIO)
    parts = frames.split([1, 7, 0, frames.shape[1] - 8], dim=1)
    pieces = np.concatenate([tuning.follow(part) for part in parts], axis=1)
    assert np.array_equal(pieces, Tuning(AUDIO).follow(frames))
    assert pieces[:, -1] == pytest.approx([expected_block(20), expected_block(-30)], abs=4)


def test_the_next_song_in_a_stream_has_a_tuning_of_its_own():
    tuning = Tuning(AUDIO)
    tuning.follow(magnitude(chord(20, 60)[None]))
    after = tuning.follow(magnitude(chord(-20, 60)[None]))[0]
    assert after[0] == pytest.approx(expected_block(20), abs=4)
    assert after[-1] == pytest.approx(expected_block(-20), abs=12)


def test_to_tune_and_back():
    """Frames have the given blocks; a mask over frequency comes back to where it belongs."""
    longest = longest_block(AUDIO)
    sound = torch.from_numpy(np.stack([chord(0, 0.5), chord(7, 0.5)]))
    count = (sound.shape[1] - longest) // AUDIO.hop + 1
    sound = sound[:, : longest + (count - 1) * AUDIO.hop]
    usual = together(stft(sound[:, longest - AUDIO.block :], AUDIO, pad=False))[:, :count]
    blocks = np.full((2, count), AUDIO.block)  # in two keys
    blocks[0, 3], blocks[1, 0], blocks[1, -1] = longest, 1990, 2060
    tuned = to_tune(sound, usual, blocks, AUDIO)
    masks = torch.empty_like(tuned)
    for row, frame in np.ndindex(blocks.shape):
        block = int(blocks[row, frame])
        end = longest + frame * AUDIO.hop
        audio = dataclasses.replace(AUDIO, block=block)
        alone = together(stft(sound[:, end - block : end], audio, pad=False))[0, 0]  # of both channels
        shared = min(AUDIO.bins, audio.bins)
        assert torch.allclose(tuned[row, frame, :shared], alone[:shared], atol=1e-7)
        assert not tuned[row, frame, shared:].any()
        masks[row, frame] = torch.arange(AUDIO.bins) / block  # rises with frequency
    restored = from_tune(masks, blocks, AUDIO)
    expected = torch.arange(AUDIO.bins) / AUDIO.block
    assert (restored - expected)[..., :990].abs().max() < 1e-6
    assert torch.equal(tuned[0, 0], usual[0, 0]) and torch.equal(restored[0, 0], masks[0, 0])


class From2000Hz(torch.nn.Module):
    """A network that lets through what is above 2000 Hz in the song as it hears it, which it keeps."""

    def __init__(self):
        super().__init__()
        self.heard, self.compression = [], Compression(AUDIO.bins)

    def forward(self, magnitude, state=None):
        self.heard.append(magnitude)
        mask = (torch.arange(AUDIO.bins) * AUDIO.bin_width > 2000).float()
        return mask.expand_as(magnitude), state


def cents_of(spectra: torch.Tensor) -> float:
    total, _ = (part.sum() for part in deviations(spectra[None], AUDIO))
    return float(100 * np.angle(total) / (2 * np.pi))


@pytest.mark.parametrize("cents", [-35, 0, 35])
def test_a_network_hears_the_song_in_tune_and_its_mask_is_put_back(monkeypatch, cents):
    """The network's 2000 Hz are 40 Hz higher in a song that is 35 cents sharp."""
    monkeypatch.setattr(hearing, "TAKEN_BACK", 0)
    sound, network = chord(cents, 4), From2000Hz()
    [voice] = separate(network, sound[None], AUDIO.sample_rate, AUDIO)
    heard = torch.cat(network.heard, dim=1)[0, 31:]  # after a second
    assert cents_of(magnitude(sound)) == pytest.approx(cents, abs=4)
    assert cents_of(heard) == pytest.approx(0, abs=4)
    passed = magnitude(voice)[31:].square().sum(0) / magnitude(sound)[31:].square().sum(0)
    edge = float((passed > 0.25).nonzero()[0]) * AUDIO.bin_width
    assert edge == pytest.approx(2000 * 2 ** (cents / 1200), abs=1.5 * AUDIO.bin_width)


def test_in_several_keys_it_is_heard_semitones_apart_and_masks_meet(monkeypatch):
    """The highest peak is a semitone higher from key to key, the masks' edges as much lower; the middle one counts."""
    monkeypatch.setattr(hearing, "TAKEN_BACK", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # all keys at once
    sound, network = chord(20, 4), From2000Hz()
    voices = separate(network, np.stack([sound, 0.5 * sound]), AUDIO.sample_rate, AUDIO, keys=5)
    heard = torch.cat(network.heard, dim=1)
    peaks = heard[:, 31:].mean(1).argmax(dim=-1) * AUDIO.bin_width
    assert len(heard) == 5
    semitones = 12 * torch.log2(peaks / peaks[0])
    assert semitones.tolist() == pytest.approx([0, 1, 2, 3, 4], abs=0.3)
    for voice in voices:
        passed = magnitude(voice)[31:].square().sum(0) / magnitude(sound)[31:].square().sum(0)
        edge = float((passed > 0.25 * passed[-100:].mean()).nonzero()[0]) * AUDIO.bin_width
        assert edge == pytest.approx(2000 * 2 ** (20 / 1200), abs=1.5 * AUDIO.bin_width)


def test_the_beginning_is_heard_with_what_is_known_by_then():
    sound = np.concatenate([chord(0, 1), chord(25, 1)])[None]
    separator = Separator(From2000Hz(), AUDIO, AUDIO.sample_rate, 1)
    _, first = separator.push(sound[:, :16000])
    whole = separate(From2000Hz(), sound, AUDIO.sample_rate, AUDIO)
    assert np.abs(whole[:, : first.shape[1]] - first).max() < 1e-6 and first.shape[1] > 13000


def compression_of(sound: np.ndarray) -> Compression:
    """That of a network which has learnt from this sound."""
    compression = Compression(AUDIO.bins)
    compression.measure(magnitude(sound))
    return compression


def test_most_of_a_colour_is_taken_back():
    """6 dB more above 2 kHz: two thirds are taken back, and nothing where the song is as those learnt from."""
    colour = Colour(compression_of(noise(20, 0)), AUDIO)
    frequency = torch.arange(AUDIO.bins) * AUDIO.bin_width
    plain = magnitude(noise(20, 1)[None])
    gain = torch.where(frequency > 2000, 2.0, 1.0)
    changes = 20 * torch.log10(colour.follow(plain * gain)[0, -1] / (plain * gain)[0, -1])  # of one frame, dB
    step = changes[frequency > 5000].mean() - changes[(frequency > 300) & (frequency < 800)].mean()
    assert step == pytest.approx(-4, abs=0.3)
    unchanged = Colour(compression_of(noise(20, 0)), AUDIO).follow(plain)[0, -1] / plain[0, -1]
    assert (20 * torch.log10(unchanged[frequency > 100])).abs().max() < 0.4


def test_a_band_without_sound_is_not_blown_up():
    frames = magnitude(noise(5, 1)[None])
    frames[..., AUDIO.bins // 2 :] *= 1e-4
    heard = Colour(compression_of(noise(5, 0)), AUDIO).follow(frames)
    assert 3.9 < (heard / frames)[0, -1].max() <= 4.001  # 12 dB


def test_colour_of_each_channel_however_the_stream_is_cut():
    compression = compression_of(noise(5, 0))
    frames = magnitude(np.stack([chord(0), noise(2, 3)]))
    whole, pieces = Colour(compression, AUDIO), Colour(compression, AUDIO)
    cut = torch.cat([pieces.follow(part) for part in frames.split([1, 7, 0, frames.shape[1] - 8], dim=1)], dim=1)
    expected = whole.follow(frames)
    assert torch.allclose(cut, expected, rtol=1e-5)
    assert torch.allclose(Colour(compression, AUDIO).follow(frames[1:]), expected[1:], rtol=1e-5)
    assert not torch.allclose(expected[1:], frames[1:], rtol=1e-2)


def test_silence_does_not_colour_what_follows():
    compression, sound = compression_of(noise(5, 0)), noise(2, 1)
    after = Colour(compression, AUDIO).follow(magnitude(np.pad(sound, (64000, 0))[None]))[0, -20:]
    alone = Colour(compression, AUDIO).follow(magnitude(sound[None]))[0, -20:]
    assert torch.allclose(after, alone, rtol=0.02)
    assert not Colour(compression, AUDIO).follow(torch.zeros(1, 50, AUDIO.bins)).any()


def test_a_network_hears_a_song_in_the_colour_it_knows(monkeypatch):
    """Separator shows what Colour makes of the frames."""
    monkeypatch.setattr(hearing, "IN_TUNE", 1e9)  # in tune whatever is heard
    network, sound = From2000Hz(), noise(2, 1)
    network.compression = compression_of(noise(5, 0) + chord(0, 5))
    separate(network, sound[None], AUDIO.sample_rate, AUDIO)
    heard, plain = torch.cat(network.heard, dim=1), magnitude(sound[None])
    assert torch.allclose(heard, Colour(network.compression, AUDIO).follow(plain), rtol=1e-4)
    assert not torch.allclose(heard, plain, rtol=0.1)


@pytest.fixture
def songs(tmp_path) -> list[Song]:
    """Songs that are sharp and flat, without a voice."""
    found = []
    for name, cents in (("sharp", 30), ("flat", -20)):
        for part in ("mixture", "vocals"):
            waveform = chord(cents, 3) * (part == "mixture")
            wavwrite(tmp_path / f"{name}_{part}.wav", waveform, AUDIO.sample_rate, "FLOAT")
        found.append(Song.open(name, tmp_path / f"{name}_mixture.wav", tmp_path / f"{name}_vocals.wav"))
    return found


def test_training_hears_songs_in_tune(songs):
    assert song_in_tune(songs[0], AUDIO).block == pytest.approx(expected_block(30), abs=4)
    assert song_in_tune(songs[1], AUDIO).block == pytest.approx(expected_block(-20), abs=4)
    for index, cents in ((0, 30), (1, -20)):
        heard = [
            DSD100Dataset([songs[index]], AUDIO, transform, 2.0)[0, 0]["mixture"]
            for transform in (MakeMagnitudeSpectrum(), lambda excerpt: MakeMagnitudeSpectrum()(InTune()(excerpt)))
        ]
        assert cents_of(heard[0]) == pytest.approx(cents, abs=3)
        assert cents_of(heard[1]) == pytest.approx(0, abs=3)
        assert heard[0].shape == heard[1].shape


def test_another_song_s_accompaniment_is_in_tune_too(songs):
    remixed = Remix(1.0, 0.0, 0.0)(InTune()(DSD100Dataset(songs, AUDIO, lambda excerpt: excerpt, 2.0)[0, 0]))
    assert remixed.backing is songs[1]
    assert cents_of(remixed.spectra()[0].abs()) == pytest.approx(0, abs=3)
    untuned = dataclasses.replace(remixed, in_tune=False)
    assert cents_of(untuned.spectra()[0].abs()) == pytest.approx(-20, abs=3)


def test_random_transpose_moves_accompaniments_by_whole_semitones(songs):
    """A chord that is a semitone higher has its strongest partial there; another song's is moved, the voice is not."""
    plain = InTune()(DSD100Dataset(songs, AUDIO, lambda excerpt: excerpt, 2.0)[0, 0])
    drawn = {RandomTranspose(2)(plain).semitones for _ in range(50)}
    assert drawn == {-2, -1, 0, 1, 2} and RandomTranspose(0)(plain).semitones == 0
    for excerpt in (plain, Remix(1.0, 0.0, 0.0)(plain)):
        spectra = [dataclasses.replace(excerpt, semitones=by).spectra()[0].abs().mean(0) for by in (0, 3, -3)]
        place = [float(spectrum.argmax()) for spectrum in spectra]
        assert 12 * np.log2(np.array(place[1:]) / place[0]) == pytest.approx([3, -3], abs=0.2)
        assert cents_of(dataclasses.replace(excerpt, semitones=2).spectra()[0].abs()) == pytest.approx(0, abs=4)
