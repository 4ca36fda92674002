"""A song heard in several keys, whose masks are put back; and in other keys in training."""

import dataclasses

import numpy as np
import pytest
import torch

from Data import DSD100Dataset
from networks.hearing import Hearing, together, transposed, transposed_back
from separation.separate import separate
from separation.separator import Separator
from songs.song import Song
from training.variation import RandomTranspose, Remix
from util import AudioConfig, stft, wavwrite

AUDIO = AudioConfig(16000, 2048, 512)


def chord(seconds: float = 2.0) -> np.ndarray:
    """A chord of four notes with harmonics, and some noise: (samples,)."""
    time = np.arange(round(seconds * AUDIO.sample_rate)) / AUDIO.sample_rate
    notes = 440 * 2 ** (np.array([-10, -3, 2, 6]) / 12)
    tones = sum(np.sin(2 * np.pi * k * note * time + k) / k for note in notes for k in range(1, 8))
    return (0.05 * tones + 0.003 * np.random.default_rng(0).standard_normal(len(time))).astype(np.float32)


def magnitude(sound: np.ndarray) -> torch.Tensor:
    return stft(torch.from_numpy(sound), AUDIO).abs()


@pytest.mark.parametrize("block", [1826, 2048, 2298])
def test_frames_of_another_block_and_back(block):
    """Each frame is that of both channels with this block; a mask over frequency comes back to where it belongs."""
    sound = torch.from_numpy(np.stack([chord(0.5), np.roll(chord(0.5), 99)]))
    heard = transposed(sound, block, AUDIO)
    assert heard.shape == (1, (sound.shape[1] - block) // AUDIO.hop + 1, AUDIO.bins)
    audio = dataclasses.replace(AUDIO, block=block)
    shared = min(AUDIO.bins, audio.bins)
    for frame, own in enumerate(heard[0]):
        start = frame * AUDIO.hop
        alone = together(stft(sound[:, start : start + block], audio, pad=False))[0, 0]
        assert torch.allclose(own[:shared], alone[:shared], atol=1e-7) and not own[shared:].any()
    mask = (torch.arange(AUDIO.bins) / block).expand(3, -1)  # rises with frequency
    restored = transposed_back(mask, block, AUDIO)
    assert (restored - torch.arange(AUDIO.bins) / AUDIO.block)[:, :910].abs().max() < 1e-6
    assert block != AUDIO.block or torch.equal(restored, mask)


def test_in_one_key_a_song_is_heard_as_it_is():
    hearing, frames = Hearing(torch.nn.Identity(), AUDIO), magnitude(chord()[None])
    assert torch.equal(hearing.hear(torch.from_numpy(chord()[None]), frames), frames)
    assert hearing.longest == AUDIO.block


def test_the_frames_of_all_keys_end_together_and_a_mask_over_frequency_meets_itself():
    hearing = Hearing(torch.nn.Identity(), AUDIO, keys=3)
    sound = torch.from_numpy(np.stack([chord(0.5), np.roll(chord(0.5), 99)]))
    count = (sound.shape[1] - hearing.longest) // AUDIO.hop + 1
    frames = torch.rand(1, count, AUDIO.bins)
    heard = hearing.hear(sound, frames)
    assert torch.equal(heard[1:2], frames) and hearing.blocks[1] == AUDIO.block
    for own, block in ((heard[0], hearing.blocks[0]), (heard[2], hearing.blocks[2])):
        ends = hearing.longest + AUDIO.hop * torch.arange(count)
        alone = torch.cat([transposed(sound[:, end - block : end], block, AUDIO)[0] for end in ends])
        assert torch.allclose(own, alone, atol=1e-7) and own.std() > 1e-3
    over = torch.arange(AUDIO.bins) / torch.tensor(hearing.blocks)[:, None]  # frequency, by key
    mask = (0.2 + over).expand(count, -1, -1).transpose(0, 1)
    restored = hearing.put_back(mask)
    assert (restored - mask[1])[..., 5:910].abs().max() < 1e-5


class From2000Hz(torch.nn.Module):
    """A network that lets through what is above 2000 Hz in the song as it hears it, which it keeps."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def forward(self, magnitude, state=None):
        self.heard.append(magnitude)
        mask = (torch.arange(AUDIO.bins) * AUDIO.bin_width > 2000).float()
        return mask.expand_as(magnitude), state


def test_in_several_keys_it_is_heard_semitones_apart_and_masks_meet(monkeypatch):
    """The highest peak is a semitone higher from key to key, the masks' edges as much lower; the middle one counts."""
    monkeypatch.setattr("separation.separator.cores", lambda: 1)  # all keys at once
    sound, network = chord(4), From2000Hz()
    voices = separate(network, np.stack([sound, 0.5 * sound]), AUDIO.sample_rate, AUDIO, keys=5)
    heard = torch.cat(network.heard, dim=1)
    peaks = heard[:, 31:].mean(1).argmax(dim=-1) * AUDIO.bin_width
    assert len(heard) == 5
    semitones = 12 * torch.log2(peaks / peaks[0])
    assert semitones.tolist() == pytest.approx([0, 1, 2, 3, 4], abs=0.3)
    for voice in voices:
        passed = magnitude(voice)[31:].square().sum(0) / magnitude(sound)[31:].square().sum(0)
        edge = float((passed > 0.25 * passed[-100:].mean()).nonzero()[0]) * AUDIO.bin_width
        assert edge == pytest.approx(2000, abs=1.5 * AUDIO.bin_width)


def test_the_beginning_is_heard_in_every_key_whatever_follows():
    sound = chord()[None]
    separator = Separator(From2000Hz(), AUDIO, AUDIO.sample_rate, 1, keys=3)
    _, first = separator.push(sound[:, :16000])
    whole = separate(From2000Hz(), sound, AUDIO.sample_rate, AUDIO, keys=3)
    assert np.abs(whole[:, : first.shape[1]] - first).max() < 1e-6 and first.shape[1] > 13000


@pytest.fixture
def songs(tmp_path) -> list[Song]:
    """Two songs without a voice."""
    found = []
    for name in ("one", "other"):
        for part in ("mixture", "vocals"):
            waveform = chord(3) * (part == "mixture")
            wavwrite(tmp_path / f"{name}_{part}.wav", waveform, AUDIO.sample_rate, "FLOAT")
        found.append(Song.open(name, tmp_path / f"{name}_mixture.wav", tmp_path / f"{name}_vocals.wav"))
    return found


def test_random_transpose_moves_accompaniments_by_whole_semitones(songs):
    """A chord that is a semitone higher has its strongest partial there, whether it is the song's or another's."""
    plain = DSD100Dataset(songs, AUDIO, lambda excerpt: excerpt, 2.0)[0, 0]
    drawn = {RandomTranspose(2)(plain).semitones for _ in range(50)}
    assert drawn == {-2, -1, 0, 1, 2} and RandomTranspose(0)(plain).semitones == 0
    remixed = Remix(1.0, 0.0, 0.0)(plain)
    assert remixed.backing is songs[1]
    for excerpt in (plain, remixed):
        spectra = [dataclasses.replace(excerpt, semitones=by).spectra()[0].abs().mean(0) for by in (0, 3, -3)]
        place = [float(spectrum.argmax()) for spectrum in spectra]
        assert 12 * np.log2(np.array(place[1:]) / place[0]) == pytest.approx([3, -3], abs=0.2)
