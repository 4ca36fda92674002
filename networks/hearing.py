"""What a network hears of a song, and what becomes of its mask.

Channels are heard together: what they share, which is where most voices are, and part of what they do not. Of their
mean alone, a voice of opposite sign in two of them would be missing.

On request, a network hears a song in several keys (test-time augmentation): as it is, and transposed by whole semitones
up and down. It makes different errors in each key, and averaging the masks reduces them.

Below 8 kHz, the mask is raised to a power, which the network's config names. Below 20 Hz, it is 0.
"""

import dataclasses
import math

import torch

from util import AudioConfig, stft

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


# ---------------------------------------------------------------------------------------------- keys


def transposing_block(block: int, semitones: int) -> int:
    """The block (window length in samples) that shows a sound this many semitones higher: a longer one.

    With a block s times as long, bin k stands for a frequency s times as low. Accurate to a cent or two.
    """
    return 2 * round(block / 2 * 2 ** (semitones / 12))


def transposed(sound: torch.Tensor, block: int, audio: AudioConfig) -> torch.Tensor:
    """The magnitude (1, frames, bins) of a sound (channels, samples) cut into frames of `block` samples.

    Frames start every audio.hop samples. Bins are as many as those of audio.block: missing ones are 0.
    """
    frames = sound.unfold(1, block, audio.hop)  # (channels, frames, samples)
    exact = dataclasses.replace(audio, block=block, hop=block // 2)  # any hop: each frame is transformed by itself
    spectrum = stft(frames, exact, pad=False)[..., 0, :]
    return torch.nn.functional.pad(together(spectrum), (0, audio.bins - exact.bins))  # or cut


def transposed_back(mask: torch.Tensor, block: int, audio: AudioConfig) -> torch.Tensor:
    """Interpolate a mask (..., bins) for frames of `block` samples at the bins of audio.block."""
    place = torch.arange(audio.bins, device=mask.device) * (block / audio.block)
    below = place.long().clamp(max=audio.bins - 1)
    above = (below + 1).clamp(max=audio.bins - 1)
    return torch.lerp(mask[..., below], mask[..., above], place - below)


# ---------------------------------------------------------------------------------------------- masks


def can_be_sung(audio: AudioConfig) -> torch.Tensor:
    """0 for bins that show what is below LOWEST_SUNG, 1 for all others: (bins,).

    The window spreads a frequency over the two nearest bins, so the first bin above LOWEST_SUNG shows it, too.
    """
    return (torch.arange(audio.bins) > LOWEST_SUNG / audio.bin_width + 1).float()


class Hearing:
    """Sound as a network hears it, in an odd number of keys, and its masks made one."""

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, keys: int = 1):
        self.audio = audio
        self.blocks = [transposing_block(audio.block, higher) for higher in range(-(keys // 2), keys // 2 + 1)]
        self.longest = self.blocks[-1]  # samples that a frame reaches back
        self.power: float = getattr(getattr(network, "config", None), "power", 1.0)  # of its mask
        self.raised = math.ceil(RAISED_BELOW / audio.bin_width)  # bins whose mask is raised to it
        self.sung = can_be_sung(audio)

    def hear(self, sound: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
        """What to show the network of the next frames: magnitude (keys, frames, bins).

        sound: (channels, samples), a frame of the longest block every hop; magnitude: (1, frames, bins), that of the
        frames of audio.block that end with these.
        """
        keys = [
            magnitude if block == self.audio.block else transposed(sound[:, self.longest - block :], block, self.audio)
            for block in self.blocks
        ]
        return keys[0] if len(keys) == 1 else torch.cat(keys)

    def put_back(self, mask: torch.Tensor) -> torch.Tensor:
        """The mask (keys, frames, bins) of what was heard -> the voice's, (1, frames, bins)."""
        if len(self.blocks) > 1:
            keys = [transposed_back(own, block, self.audio) for own, block in zip(mask, self.blocks, strict=True)]
            mask = torch.logit(torch.stack(keys), MASK_FLOOR).mean(0, keepdim=True).sigmoid()
        mask = mask * self.sung.to(mask.device)
        mask[..., : self.raised].pow_(self.power)
        return mask
