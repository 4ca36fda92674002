"""Separation that also runs backwards in time: better, at the cost of latency."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from separation.separator import Block, Each, Frames, Piece, Separator, Step, push_through
from util import AudioConfig

Segment = tuple[np.ndarray, np.ndarray, bool]  # see Bidirectional.cut


class Bidirectional:
    """A Separator that runs the network forwards and backwards in time. The voice is the mean of both.

    The future tells as much as the past (Schuster and Paliwal 1997), and a network trained to follow voices can also
    follow them backwards. Forwards, it hears the stream as it arrives; backwards, it hears segments, each preceded by
    the context after it and cross-faded with the next segment. Either pass warms up on its first seconds in the
    opposite direction, so that it knows the song when it starts. The result does not depend on how the stream is cut
    into pieces. Latency: SEGMENT + FADE + CONTEXT.

    Like a Separator, it works in steps. While one segment is heard backwards in a thread of its own, the next may be
    heard forwards.
    """

    SEGMENT, FADE, CONTEXT = 60.0, 0.5, 10.0  # seconds

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, rate: int, channels: int, keys: int = 1):
        self.make_separator = lambda: Separator(network, audio, rate, channels, keys)
        self.segment, self.fade, self.context = (round(rate * t) for t in (self.SEGMENT, self.FADE, self.CONTEXT))
        self.enough = self.segment + self.fade + self.context  # samples to hear a segment backwards
        self.forwards = self.make_separator()
        nothing = np.zeros((channels, 0), np.float32)
        self.start: np.ndarray | None = nothing  # of the stream, until there is enough context to warm up on
        self.before = 0  # warm-up samples that are still to come out, and to be dropped
        self.mixture, self.known = [nothing], [nothing]  # from the start of the next segment: its voice, forwards
        self.fading = nothing  # the last segment's voice, backwards, where it overlaps

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.analyse, Each(self.forwards.find_masks), self.cut, Each(self.hear_backwards)

    def push(self, waveform: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See push_through."""
        return push_through(self.steps, waveform, last)

    def analyse(self, blocks: Iterable[Block]) -> Iterator[Frames]:
        """As Separator.analyse, after the warm-up."""
        return self.forwards.analyse(self._warming_up(blocks))

    def _warming_up(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for waveform, last in blocks:
            if self.start is not None:
                waveform = self.start = np.concatenate([self.start, waveform], axis=1)
                if waveform.shape[1] < self.context and not last:
                    continue
                turned = waveform[:, : self.context][:, ::-1]
                self.start, self.before = None, turned.shape[1]
                yield turned, False
            yield waveform, last

    def cut(self, masked: Iterable[tuple[Frames, torch.Tensor]]) -> Iterator[Segment]:
        """Cut what was heard forwards into segments: the mixture, which goes on for FADE and CONTEXT behind a segment,
        the voice in the segment, and whether it is the last one."""
        for mixture, voice, last in self.forwards.synthesise(masked):
            skipped = min(self.before, mixture.shape[1])
            self.before -= skipped
            self.mixture.append(mixture[:, skipped:])
            self.known.append(voice[:, skipped:])
            while (arrived := sum(piece.shape[1] for piece in self.mixture)) >= self.enough or (last and arrived):
                yield self._segment(min(self.segment, arrived), last)

    def _segment(self, samples: int, last: bool) -> Segment:
        mixture, known = (np.concatenate(pieces, axis=1) for pieces in (self.mixture, self.known))
        self.mixture, self.known = [mixture[:, samples:].copy()], [known[:, samples:].copy()]
        return mixture[:, : self.enough], known[:, :samples], last and samples == mixture.shape[1]

    def hear_backwards(self, segment: Segment) -> Piece:
        """Make the voice the mean of what was heard forwards and of what is heard backwards."""
        sound, known, last = segment
        samples = known.shape[1]
        voice = self._hear(np.concatenate([sound[:, -self.context :], sound[:, ::-1]], axis=1))
        voice = voice[:, ::-1][:, : samples + self.fade]
        faded = self.fading.shape[1]
        # The fade leaves out the very edge, whose frames do not see what comes before.
        share = np.linspace(2, 0, faded, dtype=np.float32).clip(max=1)
        voice[:, :faded] += (self.fading - voice[:, :faded]) * share
        self.fading = voice[:, samples : sound.shape[1]].copy()
        return sound[:, :samples], (known + voice[:, :samples]) / 2, last

    def _hear(self, sound: np.ndarray) -> np.ndarray:
        """The voice in the sound by itself. Pushed in pieces, which takes less memory."""
        separator, voice = self.make_separator(), []
        for piece in np.array_split(sound, range(self.context, sound.shape[1], self.context), axis=1):
            voice.append(separator.push(piece)[1])
        voice.append(separator.push(sound[:, :0], last=True)[1])
        return np.concatenate(voice, axis=1)
