"""Separation that also runs backwards in time: better, at the cost of latency."""

import numpy as np
import torch

from separation.separator import Separator
from util import AudioConfig


class Bidirectional:
    """A Separator that runs the network forwards and backwards in time. The voice is the mean of both.

    The future tells as much as the past (Schuster and Paliwal 1997), and a network trained to follow voices can also
    follow them backwards. Forwards, it hears the stream as it arrives; backwards, it hears segments, each preceded by
    the context after it and cross-faded with the next segment. Either pass warms up on its first seconds in the
    opposite direction, so that it knows the song when it starts. The result does not depend on how the stream is cut
    into pieces. Latency: SEGMENT + FADE + CONTEXT.
    """

    SEGMENT, FADE, CONTEXT = 60.0, 0.5, 10.0  # seconds

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, rate: int, channels: int, keys: int = 1):
        self.make_separator = lambda: Separator(network, audio, rate, channels, keys)
        self.segment, self.fade, self.context = (round(rate * t) for t in (self.SEGMENT, self.FADE, self.CONTEXT))
        self.mixture = np.zeros((channels, 0), np.float32)  # from the start of the next segment
        self.forwards: Separator | None = None  # made once there is enough context to warm up on
        self.before = 0  # warm-up samples whose voice is still to come, and to be dropped
        self.known = np.zeros((channels, 0), np.float32)  # the voice in self.mixture, forwards
        self.fading = np.zeros((channels, 0), np.float32)  # the last segment's voice, backwards, where it overlaps
        self.stopped = False

    def push(self, waveform: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See Separator.push."""
        self.mixture = np.concatenate([self.mixture, waveform], axis=1)
        self.known = np.concatenate([self.known, self._hear_forwards(waveform, last)], axis=1)
        mixture, voice = [self.mixture[:, :0]], [self.known[:, :0]]
        enough = self.segment + self.fade + self.context
        while (arrived := self.mixture.shape[1]) >= enough or (last and arrived):
            samples = min(self.segment, arrived)
            mixture.append(self.mixture[:, :samples])
            voice.append((self.known[:, :samples] + self._hear_backwards(samples)) / 2)
            self.mixture, self.known = self.mixture[:, samples:], self.known[:, samples:]
        return np.concatenate(mixture, axis=1), np.concatenate(voice, axis=1)

    def stop(self) -> None:
        """Make a push in another thread raise InterruptedError soon: a segment takes seconds."""
        self.stopped = True

    def _hear_forwards(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        """The voice (channels, samples) that the next samples complete, forwards: a little behind them."""
        if self.forwards is None:
            if self.mixture.shape[1] < self.context and not last:
                return self.known[:, :0]
            turned = self.mixture[:, : self.context][:, ::-1]
            self.forwards, self.before = self.make_separator(), turned.shape[1]
            waveform = np.concatenate([turned, self.mixture], axis=1)
        voice = self._hear(self.forwards, waveform, last)
        skipped = min(self.before, voice.shape[1])
        self.before -= skipped
        return voice[:, skipped:]

    def _hear_backwards(self, samples: int) -> np.ndarray:
        """The voice in the first `samples` of self.mixture, backwards: (channels, samples)."""
        sound = self.mixture[:, : samples + self.fade + self.context]
        turned = np.concatenate([sound[:, -self.context :], sound[:, ::-1]], axis=1)
        voice = self._hear(self.make_separator(), turned, last=True)[:, ::-1][:, : samples + self.fade]
        faded = self.fading.shape[1]
        # The fade leaves out the very edge, whose frames do not see what comes before.
        share = np.linspace(2, 0, faded, dtype=np.float32).clip(max=1)
        voice[:, :faded] += (self.fading - voice[:, :faded]) * share
        self.fading = voice[:, samples : sound.shape[1]]
        return voice[:, :samples]

    def _hear(self, separator: Separator, sound: np.ndarray, last: bool) -> np.ndarray:
        """The voice that the next sound completes. Pushed in pieces, which takes less memory."""
        voice = []
        for piece in np.array_split(sound, range(self.context, sound.shape[1], self.context), axis=1):
            if self.stopped:
                raise InterruptedError("stopped")
            voice.append(separator.push(piece)[1])
        if last:
            voice.append(separator.push(sound[:, :0], last=True)[1])
        return np.concatenate(voice, axis=1)
