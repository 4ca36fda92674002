"""How a network hears a song: in tune with A = 440 Hz, and coloured like the songs it has learnt from.

A network learns where instruments' notes lie: what is between them is more likely a voice. On a song that is a quarter
of a tone off it loses several dB. So it hears every song in tune, in training and in separation. And microphones,
instruments and mixing desks raise some bands of a song and lower others: in separation most of that is taken back, as
recognisers of speech do it (Atal 1974, cepstral mean subtraction).

Both are estimated from what has been heard so far; of a stream, what is old counts less and less. On request, a network
hears a song in several keys.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch

from util import AudioConfig, stft

HALF_LIFE = 30.0  # seconds after which what was heard counts half: a stream may hold one song after another
SILENCE = 1e-12
LOWEST, HIGHEST = 300.0, 4000.0  # Hz, of the partials that tell a song's tuning: below, a bin is too wide
IN_TUNE = 0.05  # share of partials that are taken to be in tune beforehand: noise alone then changes nothing
TAKEN_BACK = 2 / 3  # of a song's colour: the rest may be its notes
MOST = np.log(4)  # of it: 12 dB, so that no band without sound is blown up
WIDTH = 0.5  # octaves, standard deviation over which colour is smoothed
POINTS = 4  # in an octave, at which it is known
KEYS = (1, 3, 5)  # in how many to hear a song
MASK_FLOOR = 1e-4  # of masks whose logits are averaged over keys

# ---------------------------------------------------------------------------------------------- tuning


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


def transposing_block(block: np.ndarray | int, semitones: np.ndarray | float) -> np.ndarray:
    """The block that shows a sound so many semitones higher: longer.

    With a block that is s times as long, bin k stands for a frequency s times as low. It is exact to a cent or two.
    """
    return 2 * np.rint(block / 2 * 2 ** (np.asarray(semitones) / 12)).astype(int)


def block_in_tune(audio: AudioConfig, total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The blocks that show frames in tune, given sums of `deviations`: shorter than the usual one, if sharp."""
    semitones = np.angle(total + IN_TUNE * weight) / (2 * np.pi)  # at most half a semitone up or down
    return transposing_block(audio.block, -semitones)


def longest_block(audio: AudioConfig, keys: int = 1) -> int:
    """The longest that shows a frame in tune, in so many keys."""
    return 2 * math.ceil(audio.block / 2 * 2 ** ((0.5 + keys // 2) / 12))


def to_tune(sound: torch.Tensor, magnitude: torch.Tensor, blocks: np.ndarray, audio: AudioConfig) -> torch.Tensor:
    """Frames' magnitude (channels, frames, bins) with the given blocks (channels, frames) instead of the usual one.

    sound: (channels, samples), every hop a frame of at least the longest block. All blocks of a frame end together.
    """
    longest = sound.shape[1] - (magnitude.shape[1] - 1) * audio.hop
    frames = sound.unfold(1, longest, audio.hop)  # (channels, frames, samples)
    magnitude = magnitude.clone()
    for block, where in _groups(blocks, audio):
        exact = dataclasses.replace(audio, block=block, hop=block // 2)
        seen = stft(frames[where][:, -block:], exact, pad=False).abs()[:, 0]  # (frames of this block, its bins)
        magnitude[where] = torch.nn.functional.pad(seen, (0, audio.bins - exact.bins))  # or cut
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


def _groups(blocks: np.ndarray, audio: AudioConfig) -> Iterator[tuple[int, torch.Tensor]]:
    """Each block that is not the usual one, and which frames have it, (channels, frames)."""
    for block in np.unique(blocks).tolist():
        if block != audio.block:
            yield block, torch.from_numpy(blocks == block)


# ---------------------------------------------------------------------------------------------- what a stream needs


class FadingSum:
    """A sum over the frames so far, of which those of HALF_LIFE ago count half."""

    def __init__(self, audio: AudioConfig):
        self.fade = 0.5 ** (audio.hop / audio.sample_rate / HALF_LIFE)
        self.last = None

    def follow(self, values: np.ndarray) -> np.ndarray:
        """The next frames' values (channels, frames, ...) -> the sum after each of them, same shape."""
        last = np.zeros_like(values[:, :1]) if self.last is None else self.last
        values = np.concatenate([last, values], axis=1)
        number = np.arange(values.shape[1])
        weights = np.tril(self.fade ** (number[:, None] - number))  # (sums, values)
        sums = np.moveaxis(np.tensordot(weights, values, (1, 1)), 0, 1)
        self.last = sums[:, -1:]
        return sums[:, 1:]


class Tuning:
    """The tuning of each channel of a stream, as far as it has been heard."""

    def __init__(self, audio: AudioConfig):
        self.audio = audio
        self.sums = FadingSum(audio), FadingSum(audio)

    def follow(self, magnitude: torch.Tensor) -> np.ndarray:
        """The blocks (channels, frames) that show the next frames in tune, given their (channels, frames, bins)."""
        parts = zip(self.sums, deviations(magnitude, self.audio), strict=True)
        return block_in_tune(self.audio, *(sums.follow(part) for sums, part in parts))


class Colour:
    """How each channel of a stream is coloured otherwise than what a network has learnt from, as far as it was heard.

    It is the mean difference of the logarithmic spectra, smoothed over frequency. compression: the network's, which
    knows the mean spectrum of the songs that it was trained on.
    """

    def __init__(self, compression: torch.nn.Module, audio: AudioConfig):
        self.compression = compression
        octave = np.log2(np.arange(audio.bins).clip(min=1))  # of each bin
        points = np.linspace(0, octave[-1], round(POINTS * octave[-1]) + 1)
        near = np.exp(-0.5 * ((points[:, None] - octave) / WIDTH) ** 2)  # (points, bins)
        between = np.stack([np.interp(octave, points, row) for row in np.eye(len(points))])  # (points, bins)
        device = compression.mean.device
        self.smooth = torch.from_numpy(near.T / near.sum(1)).float().to(device)  # (bins, points)
        self.spread = torch.from_numpy(between).float().to(device)
        self.sums = FadingSum(audio), FadingSum(audio)

    def follow(self, magnitude: torch.Tensor) -> torch.Tensor:
        """The next frames (channels, frames, bins) with most of it taken back. Loud frames tell more than soft ones."""
        difference = (self.compression.log_spectrum(magnitude) - self.compression.mean) @ self.smooth
        weight = magnitude.square().mean(dim=-1, keepdim=True).sqrt().sqrt()  # (channels, frames, 1), of their level
        difference, weight = (part.double().cpu().numpy() for part in (difference, weight))
        total, weight = (sums.follow(part) for sums, part in zip(self.sums, (weight * difference, weight), strict=True))
        gain = np.clip(-TAKEN_BACK * total / np.maximum(weight, SILENCE), -MOST, MOST)
        return magnitude * torch.exp(torch.from_numpy(gain).float().to(magnitude.device) @ self.spread)


class Hearing:
    """A stream as a network hears it. One that has no `compression` has not learnt from songs: it hears what there is.

    So does one that does not adapt. In several keys it hears the song (in tune), and by whole semitones higher and
    lower: rows of keys x channels. It errs otherwise in each, and the mean of the masks errs less.

    Frames are of the longest block, and end with those of the usual one, of which their magnitudes are.
    """

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, keys: int = 1):
        self.audio = audio
        self.learnt = hasattr(network, "compression")
        self.adapts = self.learnt and network.config.adapts
        self.semitones = range(-(keys // 2), keys // 2 + 1) if self.learnt else range(1)
        if self.adapts:
            self.tuning, self.colour = Tuning(audio), Colour(network.compression, audio)

    def hear(self, sound: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
        """The next frames' sound (channels, samples) and magnitude (channels, frames, bins) -> what to show it."""
        if not self.adapts and len(self.semitones) == 1:
            return magnitude
        in_tune = self.tuning.follow(magnitude) if self.adapts else np.full(magnitude.shape[:2], self.audio.block)
        self.blocks = np.concatenate([transposing_block(in_tune, higher) for higher in self.semitones])
        sound, magnitude = (part.repeat(len(self.semitones), *[1] * (part.ndim - 1)) for part in (sound, magnitude))
        magnitude = to_tune(sound, magnitude, self.blocks, self.audio)
        return self.colour.follow(magnitude) if self.adapts else magnitude

    def put_back(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask (keys x channels, frames, bins) of what was heard last -> that of the sound itself, without keys."""
        if not self.adapts and len(self.semitones) == 1:
            return mask
        masks = from_tune(mask, self.blocks, self.audio)
        if len(self.semitones) == 1:
            return masks
        masks = masks.unflatten(0, (len(self.semitones), -1))  # (keys, channels, frames, bins)
        return torch.logit(masks, MASK_FLOOR).mean(0).sigmoid()
