"""How far a song's notes lie from the equal-tempered scale of A = 440 Hz, and frames that show it in tune.

Networks learn where instruments' notes lie: what is between them is more likely a voice. On a song that is a quarter of
a tone off they lose several dB. So they hear every song in tune, in training and in separation.
"""

import dataclasses

import numpy as np
import torch

from util import AudioConfig

LOWEST, HIGHEST = 300.0, 4000.0  # Hz, of the partials that tell: below, a bin is too wide
IN_TUNE = 0.05  # share of partials that are taken to be in tune beforehand: noise alone then changes nothing
HALF_LIFE = 30.0  # seconds after which a partial counts half: a stream may hold one song after another


def deviations(magnitude: torch.Tensor, audio: AudioConfig) -> tuple[np.ndarray, np.ndarray]:
    """How far the partials of each frame of magnitude (..., frames, bins) deviate from the scale: two sums, (frames,).

    A partial is a peak of the spectrum; its frequency is the top of a parabola through three logarithmic magnitudes
    (Smith and Serra 1987). Its deviation is a direction in the complex plane, in which a whole turn is a semitone, and
    as long as the partial is strong. The second sum is that of the lengths.
    """
    first, last = (round(edge / audio.bin_width) for edge in (LOWEST, HIGHEST))
    near = magnitude.flatten(0, -3)[..., first - 1 : last + 2].cpu()  # (all channels, frames, bins and one on each side)
    below, peak, above = near[..., :-2], near[..., 1:-1], near[..., 2:]
    places = torch.nonzero((peak > below) & (peak >= above), as_tuple=True)
    below, peak, above = (values[places].double() for values in (below, peak, above))
    a, b, c = (values.clamp(min=1e-12).log() for values in (below, peak, above))
    frequency = (first + places[2] + 0.5 * (a - c) / (a - 2 * b + c)) * audio.bin_width  # Hz
    deviation = torch.polar(peak, 2 * torch.pi * 12 * torch.log2(frequency / 440))
    frames = magnitude.shape[-2]
    total = deviation.new_zeros(frames).index_add_(0, places[1], deviation)
    weight = peak.new_zeros(frames).index_add_(0, places[1], peak)
    return total.numpy(), weight.numpy()


def in_tune(audio: AudioConfig, total: complex, weight: float) -> AudioConfig:
    """Block and hop that show a song in tune, given sums of `deviations`: shorter ones, if it is sharp.

    With a block that is s times as long, bin k stands for a frequency s times as low: see `effects.at_speed`, which
    takes the next block that is transformed fast, where this one is exact to a cent or two.
    """
    semitones = np.angle(total + IN_TUNE * weight) / (2 * np.pi)  # at most half a semitone up or down
    block = 2 * round(audio.block / 2 * 2 ** (-semitones / 12))
    return dataclasses.replace(audio, block=block, hop=audio.hop * block // audio.block)


class Tuning:
    """The tuning of a stream, as far as it has been heard: which block shows each frame in tune."""

    def __init__(self, audio: AudioConfig):
        self.audio = audio
        self.sums = np.zeros(2, complex)
        self.fade = 0.5 ** (audio.hop / audio.sample_rate / HALF_LIFE)  # from frame to frame

    def follow(self, magnitude: torch.Tensor) -> list[AudioConfig]:
        """The next frames' (channels, frames, bins), by what was heard up to each: all channels are tuned alike."""
        blocks = []
        for sums in zip(*deviations(magnitude, self.audio), strict=True):
            self.sums = self.fade * self.sums + sums
            blocks.append(in_tune(self.audio, self.sums[0], self.sums[1].real))
        return blocks
