"""How a network hears a song: in tune with A = 440 Hz, and with the spectral colour of the songs it was trained on.

Tuning. A network learns where the notes of instruments lie; what lies between them is more likely a voice. On a song
that is a quarter tone off, it loses several dB. So it hears every song in tune, in training and in separation.

Colour. Microphones, instruments and mixing desks raise some bands of a song and lower others. Separation undoes most
of that, as speech recognisers do (Atal 1974, cepstral mean subtraction).

Both are estimated from the frames so far, and older frames count less. On request, a network hears a song in several
keys (test-time augmentation).

Channels are heard together: what they share, which is where most voices are, and part of what they do not. Of their
mean alone, a voice of opposite sign in two of them would be missing.
"""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import torch

from networks.compression import Compression
from util import AudioConfig, stft

HALF_LIFE = 30.0  # seconds after which a frame counts half: a stream may play one song after another
SILENCE = 1e-12
LOWEST, HIGHEST = 300.0, 4000.0  # Hz, range of the partials that show the tuning: below it, bins are too wide
IN_TUNE = 0.05  # share of partials presumed to be in tune, so that noise alone changes nothing
TAKEN_BACK = 2 / 3  # share of a song's colour that is undone: the rest may be its notes
MOST = np.log(4)  # at most 12 dB of it, so that no silent band is blown up
WIDTH = 0.5  # octaves, standard deviation of the Gaussian that smooths colour
POINTS = 4  # per octave at which colour is estimated
BESIDE = 0.25  # -6 dB: how much of what channels do not share is heard
LOWEST_SUNG = 20.0  # Hz; below, there is rumble and a constant offset, and no voice
RAISED_BELOW = 8000.0  # Hz; above, SDR hardly counts, and masks raised to a power would only make voices dull
KEYS = (1, 3, 5)  # numbers of keys that a song can be heard in
MASK_FLOOR = 1e-4  # masks are clamped to it, and to 1 minus it, before their logits are averaged over keys

# ---------------------------------------------------------------------------------------------- channels


def together(spectrum: torch.Tensor) -> torch.Tensor:
    """The magnitude (1, ...) of all channels of a complex spectrum (channels, ...).

    Its square is that of the channels' mean and, times BESIDE, that of the rest; of stereo, these are middle and side.
    """
    if len(spectrum) == 1:
        return spectrum.abs()
    middle = power(sum(spectrum[1:], spectrum[0]) / len(spectrum))
    total = sum(map(power, spectrum[1:]), power(spectrum[0])) / len(spectrum)
    return torch.lerp(middle, total, BESIDE).sqrt()[None]


def power(spectrum: torch.Tensor) -> torch.Tensor:
    return spectrum.real.square() + spectrum.imag.square()


# ---------------------------------------------------------------------------------------------- tuning


def deviations(magnitude: torch.Tensor, audio: AudioConfig) -> tuple[np.ndarray, np.ndarray]:
    """How far the partials of each frame are from the tempered scale.

    magnitude: (rows, frames, bins). Returns two sums over partials, each (rows, frames): of their deviations, complex,
    and of their magnitudes.

    A partial is a peak of the spectrum; its frequency is the vertex of a parabola through three log magnitudes (Smith
    and Serra 1987). Its deviation is a complex number whose angle says how far it is from the nearest note, a full
    turn being a semitone, and whose absolute value is its magnitude. Both sums are 0 if bins are wider than a semitone
    at LOWEST: such a spectrum shows no tuning.
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
    """The block (window length in samples) that shows a sound this many semitones higher: a longer one.

    With a block s times as long, bin k stands for a frequency s times as low. Accurate to a cent or two.
    """
    return 2 * np.rint(block / 2 * 2 ** (np.asarray(semitones) / 12)).astype(int)


def block_in_tune(audio: AudioConfig, total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The blocks that show frames in tune, given the sums from `deviations`: the sharper, the shorter."""
    semitones = np.angle(total + IN_TUNE * weight) / (2 * np.pi)  # at most half a semitone up or down
    return transposing_block(audio.block, -semitones)


def longest_block(audio: AudioConfig, keys: int = 1) -> int:
    """The longest block that `Hearing` may need with this many keys."""
    return 2 * math.ceil(audio.block / 2 * 2 ** ((0.5 + keys // 2) / 12))


def to_tune(sound: torch.Tensor, magnitude: torch.Tensor, blocks: np.ndarray, audio: AudioConfig) -> torch.Tensor:
    """Magnitude (rows, frames, bins) of the same frames, seen through `blocks` (rows, frames).

    sound: (channels, samples), one frame of at least the longest block every hop; magnitude: (1, frames, bins), as
    audio.block shows it. All blocks of a frame end together.
    """
    longest = sound.shape[1] - (magnitude.shape[1] - 1) * audio.hop
    frames = sound.unfold(1, longest, audio.hop)  # (channels, frames, samples)
    magnitude = magnitude.repeat(len(blocks), 1, 1)
    for block, where in _groups(blocks, audio):
        exact = dataclasses.replace(audio, block=block, hop=block // 2)
        own = frames[:, where.nonzero()[:, 1], -block:]  # (channels, frames of this block, samples)
        seen = together(stft(own, exact, pad=False))[0, :, 0]  # (frames of this block, its bins)
        magnitude[where] = torch.nn.functional.pad(seen, (0, audio.bins - exact.bins))  # or cut
    return magnitude


def from_tune(mask: torch.Tensor, blocks: np.ndarray, audio: AudioConfig) -> torch.Tensor:
    """Interpolate the mask (rows, frames, bins) of frames seen through `blocks` at the bins of audio.block."""
    mask = mask.clone()
    for block, where in _groups(blocks, audio):
        place = torch.arange(audio.bins, device=mask.device) * (block / audio.block)
        below = place.long().clamp(max=audio.bins - 1)
        above = (below + 1).clamp(max=audio.bins - 1)
        own = mask[where]  # (frames of this block, bins)
        mask[where] = torch.lerp(own[:, below], own[:, above], place - below)
    return mask


def _groups(blocks: np.ndarray, audio: AudioConfig) -> Iterator[tuple[int, torch.Tensor]]:
    """Each block other than audio.block, and which frames have it: bool (rows, frames)."""
    for block in np.unique(blocks).tolist():
        if block != audio.block:
            yield block, torch.from_numpy(blocks == block)


# ---------------------------------------------------------------------------------------------- streams


class FadingSum:
    """A running sum over frames, in which those HALF_LIFE ago count half."""

    def __init__(self, audio: AudioConfig):
        self.fade = 0.5 ** (audio.hop / audio.sample_rate / HALF_LIFE)
        self.last: np.ndarray | None = None

    def follow(self, values: np.ndarray) -> np.ndarray:
        """The next frames' values (rows, frames, ...) -> the sum after each of them, same shape."""
        last = np.zeros_like(values[:, :1]) if self.last is None else self.last
        values = np.concatenate([last, values], axis=1)
        number = np.arange(values.shape[1])
        weights = np.tril(self.fade ** (number[:, None] - number))  # (sums, values)
        sums = np.moveaxis(np.tensordot(weights, values, (1, 1)), 0, 1)
        self.last = sums[:, -1:]
        return sums[:, 1:]


class Tuning:
    """Follows the tuning of a stream, or of several: one a row."""

    def __init__(self, audio: AudioConfig):
        self.audio = audio
        self.sums = FadingSum(audio), FadingSum(audio)

    def follow(self, magnitude: torch.Tensor) -> np.ndarray:
        """Magnitude of the next frames (rows, frames, bins) -> blocks (rows, frames) that show them in tune."""
        parts = zip(self.sums, deviations(magnitude, self.audio), strict=True)
        return block_in_tune(self.audio, *(sums.follow(part) for sums, part in parts))


class Colour:
    """Follows how the colour of a stream, or of several, differs from that of the training songs.

    Colour is the mean difference between log spectra, smoothed over frequency. compression: the network's, which holds
    the mean log spectrum of the training songs.
    """

    def __init__(self, compression: Compression, audio: AudioConfig):
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
        """Undo most of the colour in the next frames' magnitude (rows, frames, bins). Loud frames count more."""
        difference = (self.compression.log_spectrum(magnitude) - self.compression.mean) @ self.smooth  # (..., points)
        root_level = magnitude.square().mean(dim=-1, keepdim=True).sqrt().sqrt()  # (rows, frames, 1)
        values, weights = (part.cpu().double().numpy() for part in (difference, root_level))  # mps has no double
        total, weight = self.sums[0].follow(weights * values), self.sums[1].follow(weights)
        gain = np.clip(-TAKEN_BACK * total / np.maximum(weight, SILENCE), -MOST, MOST)
        return magnitude * torch.exp(torch.from_numpy(gain).float().to(magnitude.device) @ self.spread)


def can_be_sung(audio: AudioConfig) -> torch.Tensor:
    """0 for bins that show what is below LOWEST_SUNG, 1 for all others: (bins,).

    The window spreads a frequency over the two nearest bins, so the first bin above LOWEST_SUNG shows it, too.
    """
    return (torch.arange(audio.bins) > LOWEST_SUNG / audio.bin_width + 1).float()


def adapts(network: torch.nn.Module) -> bool:
    """Whether a network hears songs in tune and in the colour it knows, as it was trained: unless its config denies."""
    return hasattr(network, "compression") and getattr(getattr(network, "config", None), "adapts", True)


class Hearing:
    """A stream as a network hears it. One that does not adapt to songs, or was not trained on any (it has no
    `compression`), hears the plain sound.

    With several keys, the network hears the song in tune and transposed by whole semitones up and down, one row a key.
    It makes different errors in each key, and averaging the masks reduces them.

    Frames have the length of the longest block, and end where those of audio.block end, whose magnitudes they go with.
    """

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, keys: int = 1):
        self.audio = audio
        compression = getattr(network, "compression", None)
        self.learnt = compression is not None
        self.adapts = adapts(network)
        self.power: float = getattr(getattr(network, "config", None), "power", 1.0)  # of its mask
        self.raised = math.ceil(RAISED_BELOW / audio.bin_width)  # bins whose mask is raised to it
        self.sung = can_be_sung(audio)
        self.semitones = range(-(keys // 2), keys // 2 + 1) if self.learnt else range(1)
        if compression is not None and self.adapts:
            self.tuning, self.colour = Tuning(audio), Colour(compression, audio)

    def hear(self, sound: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
        """What to show the network of the next frames: magnitude (keys, frames, bins).

        Given their sound (channels, samples) and the channels' common magnitude (1, frames, bins).
        """
        if not self.adapts and len(self.semitones) == 1:
            return magnitude
        in_tune = self.tuning.follow(magnitude) if self.adapts else np.full(magnitude.shape[:2], self.audio.block)
        self.blocks = np.concatenate([transposing_block(in_tune, higher) for higher in self.semitones])
        magnitude = to_tune(sound, magnitude, self.blocks, self.audio)
        return self.colour.follow(magnitude) if self.adapts else magnitude

    def put_back(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask (keys, frames, bins) of what was heard last -> the voice's, (1, frames, bins)."""
        if self.adapts or len(self.semitones) > 1:
            mask = from_tune(mask, self.blocks, self.audio)
        if len(self.semitones) > 1:
            mask = torch.logit(mask, MASK_FLOOR).mean(0, keepdim=True).sigmoid()
        mask = mask * self.sung.to(mask.device)
        mask[..., : self.raised].pow_(self.power)
        return mask
