"""Resampling with soxr, of whole waveforms and of sound that arrives piece by piece."""

import math

import numpy as np
import soxr


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample waveform (..., samples). Returns float32 (..., round(samples * to_rate / from_rate))."""
    if from_rate == to_rate:
        return waveform
    flat = waveform.reshape(-1, waveform.shape[-1])
    resampled = np.stack([soxr.resample(np.ascontiguousarray(channel), from_rate, to_rate) for channel in flat])
    return resampled.reshape(*waveform.shape[:-1], -1).astype(np.float32, copy=False)


class Resampler:
    """`resample` for sound that arrives piece by piece: the same samples within 1e-6, with little latency.

    soxr's own stream returns samples in blocks of its FFTs, up to 120 ms late. Here, each piece is resampled together
    with as much sound on either side as soxr's filter reaches, starting where sample times of both rates coincide.
    """

    REACH = 100  # samples of the lower rate on either side, beyond which the filter is below 1e-6
    PIECES_PER_SECOND = 200  # at most: shorter pieces are not worth a call

    def __init__(self, from_rate: int, to_rate: int, channels: int):
        self.from_rate, self.to_rate = from_rate, to_rate
        divisor = math.gcd(from_rate, to_rate)
        self.up, self.down = to_rate // divisor, from_rate // divisor  # every `down` samples in become `up` samples out
        self.reach = math.ceil(self.REACH * max(1, from_rate / to_rate))
        self.sound = np.zeros((channels, 0), np.float32)  # what later samples still need of the input
        self.start = 0  # index of its first sample in the input, a multiple of `down`
        self.done = 0  # samples returned so far

    def push(self, waveform: np.ndarray, last: bool = False) -> np.ndarray:
        """Take the next samples (channels, any number) and return those that are ready: all the rest if `last`."""
        if self.from_rate == self.to_rate:
            return waveform
        self.sound = np.concatenate([self.sound, waveform], axis=1)
        ready = (self.start + self.sound.shape[1] - self.reach) * self.to_rate // self.from_rate
        if not last and ready - self.done < max(1, self.to_rate // self.PIECES_PER_SECOND):
            return self.sound[:, :0]
        resampled = soxr.resample(self.sound.T, self.from_rate, self.to_rate).T
        first = self.start // self.down * self.up
        piece = resampled[:, self.done - first :] if last else resampled[:, self.done - first : ready - first]
        self.done += piece.shape[1]
        start = (self.done * self.from_rate // self.to_rate - self.reach) // self.down * self.down
        if start > self.start:
            self.sound, self.start = self.sound[:, start - self.start :], start
        return piece
