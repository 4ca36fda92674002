"""A song heard forwards and backwards: better, and known only when more of it has been heard."""

import numpy as np
import torch

from separation.separator import Separator
from util import AudioConfig


class Bidirectional:
    """As Separator, but the network hears the sound forwards and backwards, and the voice is the mean of both.

    What comes later tells as much as what came before (Schuster and Paliwal 1997), and a network that has learnt to
    follow voices can follow them backwards, too. Forwards it hears the stream as it comes; backwards segment by
    segment, each from some context after it, and faded into the next one. Whatever it hears, it first hears its
    beginning the other way round, so that it knows the song when it starts. However the stream is cut into pieces, the
    voice is the same; it is known SEGMENT + FADE + CONTEXT later.
    """

    SEGMENT, FADE, CONTEXT = 60.0, 0.5, 10.0  # seconds

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, rate: int, channels: int, keys: int = 1):
        self.make_separator = lambda: Separator(network, audio, rate, channels, keys)
        self.segment, self.fade, self.context = (round(rate * t) for t in (self.SEGMENT, self.FADE, self.CONTEXT))
        self.mixture = np.zeros((channels, 0), np.float32)  # from the start of the next segment
        self.forwards = None  # its separator, as soon as there is some context to hear before
        self.before = 0  # samples that it has heard before, of which the voice is to come
        self.known = np.zeros((channels, 0), np.float32)  # the voice in self.mixture, heard forwards
        self.fading = np.zeros((channels, 0), np.float32)  # the last segment's, backwards, as it reaches into this one
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
        """Make a push that runs in another thread end soon, with InterruptedError: a segment takes seconds."""
        self.stopped = True

    def _hear_forwards(self, waveform: np.ndarray, last: bool) -> np.ndarray:
        """The voice that becomes known with the next samples (channels, samples): a little later than they come."""
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
        """The voice in so many samples of self.mixture (channels, samples)."""
        sound = self.mixture[:, : samples + self.fade + self.context]
        turned = np.concatenate([sound[:, -self.context :], sound[:, ::-1]], axis=1)
        voice = self._hear(self.make_separator(), turned, last=True)[:, ::-1][:, : samples + self.fade]
        faded = self.fading.shape[1]
        # Not from the very edge: the frames there do not see what is before it.
        share = np.linspace(2, 0, faded, dtype=np.float32).clip(max=1)
        voice[:, :faded] += (self.fading - voice[:, :faded]) * share
        self.fading = voice[:, samples : sound.shape[1]]
        return voice[:, :samples]

    def _hear(self, separator: Separator, sound: np.ndarray, last: bool) -> np.ndarray:
        """The voice that becomes known with the next sound, which is given piece by piece: it takes less memory."""
        voice = []
        for piece in np.array_split(sound, range(self.context, sound.shape[1], self.context), axis=1):
            if self.stopped:
                raise InterruptedError("stopped")
            voice.append(separator.push(piece)[1])
        if last:
            voice.append(separator.push(sound[:, :0], last=True)[1])
        return np.concatenate(voice, axis=1)
