"""How far a song's notes lie from the equal-tempered scale of A = 440 Hz, and frames that show it in tune.

Networks learn where instruments' notes lie: what is between them is more likely a voice. On a song that is a quarter of
a tone off they lose several dB. So they hear every song in tune, in training and in separation.
"""

import dataclasses
import math

import numpy as np
import torch

from util import AudioConfig, stft

LOWEST, HIGHEST = 300.0, 4000.0  # Hz, of the partials that tell: below, a bin is too wide
IN_TUNE = 0.05  # share of partials that are taken to be in tune beforehand: noise alone then changes nothing
HALF_LIFE = 30.0  # seconds after which a partial counts half: a stream may hold one song after another
SILENCE = 1e-12


def deviations(magnitude: torch.Tensor, audio: AudioConfig) -> tuple[np.ndarray, np.ndarray]:
    """How far the partials of each frame of magnitude (rows, frames, bins) are off the scale: two sums (rows, frames).

    A partial is a peak of the spectrum; its frequency is the top of a parabola through three logarithmic magnitudes
    (Smith and Serra 1987). Its deviation is a direction in the complex plane, in which a whole turn is a semitone, and
    as long as the partial is strong. The second sum is that of the lengths. Both are 0 where bins are wider than
    semitones are at LOWEST: such a spectrum does not tell.
    """
    if audio.bin_width > LOWEST * (2 ** (1 / 12) - 1):
        return np.zeros(magnitude.shape[:2], complex), np.zeros(magnitude.shape[:2])
    first, last = (round(edge / audio.bin_width) for edge in (LOWEST, HIGHEST))
    near = magnitude[..., first - 1 : last + 2].cpu()  # one bin more on each side
    below, peak, above = near[..., :-2], near[..., 1:-1], near[..., 2:]
    places = torch.nonzero((peak > below.clamp(min=SILENCE)) & (peak >= above), as_tuple=True)  # rows, frames, bins
    below, peak, above = (part[places].double() for part in (below, peak, above))
    a, b, c = (part.clamp(min=SILENCE).log() for part in (below, peak, above))
    frequency = (first + places[2] + 0.5 * (a - c) / (a - 2 * b + c)) * audio.bin_width  # Hz
    deviation = torch.polar(peak, 2 * torch.pi * 12 * torch.log2(frequency / 440))
    total, weight = (
        part.new_zeros(magnitude.shape[:2]).index_put_(places[:2], part, accumulate=True).numpy()
        for part in (deviation, peak)
    )
    return total, weight


def block_in_tune(audio: AudioConfig, total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The blocks that show frames in tune, given sums of `deviations`: shorter than the usual one, if sharp.

    With a block that is s times as long, bin k stands for a frequency s times as low. It is exact to a cent or two.
    """
    semitones = np.angle(total + IN_TUNE * weight) / (2 * np.pi)  # at most half a semitone up or down
    return 2 * np.rint(audio.block / 2 * 2 ** (-semitones / 12)).astype(int)


def longest_block(audio: AudioConfig) -> int:
    """The longest that `block_in_tune` gives."""
    return 2 * math.ceil(audio.block / 2 * 2 ** (0.5 / 12))


class Tuning:
    """The tuning of each channel of a stream, as far as it has been heard."""

    def __init__(self, audio: AudioConfig, channels: int):
        self.audio = audio
        self.total, self.weight = np.zeros(channels, complex), np.zeros(channels)
        self.fade = 0.5 ** (audio.hop / audio.sample_rate / HALF_LIFE)  # from frame to frame

    def follow(self, magnitude: torch.Tensor) -> np.ndarray:
        """The blocks (channels, frames) that show the next frames in tune, given their (channels, frames, bins)."""
        blocks = np.empty(magnitude.shape[:2], int)
        total, weight = deviations(magnitude, self.audio)
        for frame in range(magnitude.shape[1]):
            self.total = self.fade * self.total + total[:, frame]
            self.weight = self.fade * self.weight + weight[:, frame]
            blocks[:, frame] = block_in_tune(self.audio, self.total, self.weight)
        return blocks


def to_tune(sound: torch.Tensor, magnitude: torch.Tensor, blocks: np.ndarray, audio: AudioConfig) -> torch.Tensor:
    """Frames' magnitude (channels, frames, bins) with the given blocks (channels, frames) instead of the usual one.

    sound: (channels, samples), every hop a frame of the longest block. All blocks of a frame end with the same sample.
    """
    frames = sound.unfold(1, longest_block(audio), audio.hop)  # (channels, frames, samples)
    magnitude = magnitude.clone()
    for block, where in _groups(blocks, audio):
        exact = dataclasses.replace(audio, block=block, hop=block // 2)
        seen = stft(frames[where][:, -block:], exact, pad=False).abs()[:, 0]  # (frames of this block, its bins)
        magnitude[where] = torch.nn.functional.pad(seen, (0, audio.bins - exact.bins))
    return magnitude


def from_tune(mask: torch.Tensor, blocks: np.ndarray, audio: AudioConfig) -> torch.Tensor:
    """The mask (channels, frames, bins) of frames with the given blocks, at the usual one's bins, interpolated."""
    mask = mask.clone()
    for block, where in _groups(blocks, audio):
        place = torch.arange(audio.bins, device=mask.device) * (block / audio.block)
        below = place.long().clamp(max=audio.bins - 1)
        above = (below + 1).clamp(max=audio.bins - 1)
        own = mask[where]  # (frames of this block, bins)
        mask[where] = torch.lerp(own[:, below], own[:, above], place - below)
    return mask


def _groups(blocks: np.ndarray, audio: AudioConfig):
    """Each block that is not the usual one, and which frames have it, (channels, frames)."""
    for block in np.unique(blocks).tolist():
        if block != audio.block:
            yield block, torch.from_numpy(blocks == block)
