"""Effects that transforms apply to sound: speed, equaliser, saturation, rooms. The random choices are in training/."""

import dataclasses
import functools

import numpy as np
import torch
from scipy.fft import next_fast_len

from util import AudioConfig

OCTAVES = 1000 * 2.0 ** np.arange(-4, 5)  # Hz, centres of the equaliser's bands: 63 Hz to 16 kHz


def at_speed(audio: AudioConfig, speed: float) -> AudioConfig:
    """The block and hop that show a song as `audio` would show it at `speed` times its speed, without resampling.

    With a block s times as long, bin k stands for a frequency s times as low; a tape that runs s times as fast brings
    that frequency back to bin k. The block is rounded to a fast length for the Fourier transform, and the hop follows.
    """
    if speed == 1:
        return audio
    block = 2 * next_fast_len(max(1, round(audio.block / 2 * speed)), real=True)
    return dataclasses.replace(audio, block=block, hop=max(1, audio.hop * block // audio.block))


def equalizer_curves(decibels: np.ndarray, audio: AudioConfig) -> torch.Tensor:
    """Gains (sources, bins) of equalisers set to decibels (sources, len(OCTAVES)), with straight lines between bands.

    The lines are straight in dB over octaves; the gains are factors, not dB.
    """
    position = _octave_of_bins(audio)
    curves = np.stack([np.interp(position, np.log2(OCTAVES), bands) for bands in decibels])
    return torch.from_numpy(10 ** (curves / 20)).float()


def gain_of(decibels: float) -> float:
    """The factor that raises a sound by so many dB."""
    return 10 ** (decibels / 20)


def saturate(waveform: np.ndarray, drive: float) -> np.ndarray:
    """Soft clipping (tanh) at `drive` dB below three times the RMS. The RMS stays the same."""
    level = np.sqrt(np.mean(waveform**2))
    if level == 0:
        return waveform
    limit = 3 * level * gain_of(-drive)
    bent = np.tanh(waveform / limit)
    return bent * (level / np.sqrt(np.mean(bent**2)))


@functools.lru_cache
def _octave_of_bins(audio: AudioConfig) -> np.ndarray:
    frequencies = np.arange(audio.bins) * audio.bin_width
    return np.log2(np.maximum(frequencies, 1.0))


def room(rng: np.random.Generator, rate: int, seconds: float, level: float, first: float) -> np.ndarray:
    """Impulse response of a room without the direct sound: noise that decays exponentially, by 60 dB in `seconds`.

    level: its energy in dB, relative to the direct sound; first: seconds until the first reflection. Returns (samples,)
    at `rate` Hz, float32.
    """
    time = np.arange(round(seconds * rate)) / rate
    reflections = rng.standard_normal(len(time)) * 10 ** (-3 * time / seconds) * (time >= first)
    return (reflections * gain_of(level) / np.sqrt(np.sum(reflections**2))).astype(np.float32)
