"""From mixture to voice: resample, STFT, mask, overlap-add, resample back. Files, pipes and evaluation use it."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from networks.hearing import Hearing, together
from networks.packing import packed
from process.ahead import pool_of
from process.cores import cores
from sound.resampling import Resampler
from util import AudioConfig, overlap_add, overlap_windows, stft

FRAMES = 144  # per call of the network, over all keys: more take more memory and are not faster, few take longer
SEGMENT, CONTEXT = 20.0, 5.0  # seconds, per call of a network that foresees, and before and after it

Block = tuple[np.ndarray, bool]  # the next samples of a mixture (channels, samples), and whether they are the last
Piece = tuple[np.ndarray, np.ndarray, bool]  # mixture and voice (channels, samples), and whether they are the last
Step = Callable[[Iterable[Any]], Iterator[Any]]


@dataclasses.dataclass(frozen=True)
class Each:
    """A step that makes one item out of every item, and takes so long that it may have threads of its own."""

    make: Callable[[Any], Any]
    threads: int = 1  # as many items may be made at a time; 0: none beside the thread that asks for them

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        return map(self.make, items)


def push_through(steps: Sequence[Step], waveform: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Put the next samples of a mixture (channels, any number), float, through the steps from blocks to pieces.

    Returns the samples of the mixture whose voice is now final, unchanged, and their voice, float32, both
    (channels, samples). With last=True, that is all the rest: the voice is as long as the mixture.
    """
    items: Iterable[Any] = [(waveform, last)]
    for step in steps:
        items = step(items)
    nothing = waveform[:, :0]
    mixtures, voices, _ = zip((nothing, nothing.astype(np.float32), False), *items, strict=True)
    return np.concatenate(mixtures, axis=1), np.concatenate(voices, axis=1)


@dataclasses.dataclass(frozen=True)
class Frames:
    """The next frames of a stream on their way through a Separator, with the samples that have arrived with them."""

    block: Block  # at the mixture's rate
    arrived: int  # samples of the stream so far, at the network's rate
    spectrum: torch.Tensor  # (channels, frames, bins), complex
    magnitude: torch.Tensor  # of all channels together: (1, frames, bins)
    before: int  # how many others a network that foresees hears before them


# Frames, and what the network hears, these frames and perhaps others before and after them: their magnitudes, and then
# their masks, (keys, more frames, bins)
Heard = tuple[Frames, torch.Tensor]


class Separator:
    """Estimates the voice in one stream of sound as it arrives: resample, STFT, mask, overlap-add, resample back.

    The network hears all channels together: see networks/hearing.py. Its mask is the same for every channel, so the
    voice stays where it is in the stereo image: a channel's magnitude times the mask, with the channel's phase. Above
    the network's band (half its sample rate), the voice gets the share that it has in the band's top octave, frame by
    frame: nearly all of a sung s, next to nothing of a cymbal. Below 20 Hz it gets nothing. The voice is as long as the
    mixture and does not depend on how the stream is cut into pieces. Latency: a block, plus the reach of the
    resamplers. A network that foresees hears the stream in segments, each with some context before and after it, which
    adds SEGMENT + CONTEXT to the latency.

    It works in steps, each of which has its own part of the state, so that the one that takes longest may run in a
    thread of its own. None keeps frames that it is done with while it waits for the next ones: they take most of the
    memory.

    network: anything with forward(magnitude, state) -> (mask, state), in eval mode. If it `foresees`, it must not need
    the state: segments are two at a time. keys: the odd number of keys for test-time augmentation.
    """

    def __init__(self, network: torch.nn.Module, audio: AudioConfig, rate: int, channels: int, keys: int = 1):
        self.audio, self.rates = audio, (rate, audio.sample_rate)
        self.device = next(network.parameters(), torch.empty(0)).device
        self.hearing = Hearing(network, audio, keys)
        rows = len(self.hearing.blocks)  # of the network's batch

        # analyse
        self.to_network = Resampler(rate, audio.sample_rate, channels)
        self.foresees = bool(getattr(network, "foresees", False))
        seconds = audio.hop / audio.sample_rate  # of a frame
        # frames per call of the network, and how many more it hears on either side
        self.most = math.ceil(SEGMENT / seconds) if self.foresees else max(1, FRAMES // rows)
        self.context = math.ceil(CONTEXT / seconds) if self.foresees else 0
        self.longest = self.hearing.longest  # a frame in the highest key reaches this far back
        # At the network's rate: the samples that frames to come will see, and before them those of `before` frames, the
        # context of the next. The first frame is centred at sample 0.
        self.sound = torch.zeros(channels, self.longest - audio.block // 2, device=self.device)
        self.arrived = 0  # samples
        self.before = 0

        # find_masks
        self.network = packed(network)
        # On the CPU each row gets a thread of its own. Threads within a matrix product wait for each other all the
        # time; these do not, and so lose nothing on a busy machine.
        self.groups = min(rows, cores()) if self.device.type == "cpu" else 1
        self.pool = pool_of(self.groups)
        self.states: Sequence[tuple | None] = [None] * self.groups  # of the network

        # synthesise
        self.mixture = np.zeros((channels, 0), np.float32)  # samples whose voice is not final yet
        # Overlap-add so far, where frames to come will add more: sums of the channels' voice and of the gain, and the
        # sum of squared windows.
        self.sums = torch.zeros(channels + 1, 0, device=self.device), torch.zeros(0, device=self.device)
        self.done = -(audio.block // 2)  # the sums' first sample
        self.from_network = Resampler(audio.sample_rate, rate, channels)
        self.gain = np.zeros(0, np.float32)  # of self.mixture, at the network's rate
        self.given = 0  # samples returned so far

    @property
    def steps(self) -> tuple[Step, ...]:
        # Segments do not depend on each other, so two may be made at a time. Metal, on Apple's GPUs, does not survive
        # two threads (pytorch issue 197805).
        threads = 0 if self.device.type == "mps" else 2 if self.foresees else 1
        return self.analyse, Each(self.find_masks, threads), self.synthesise

    def push(self, waveform: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See push_through."""
        return push_through(self.steps, waveform, last)

    # ---------------------------------------------------------------------------------------------- analyse

    def analyse(self, blocks: Iterable[Block]) -> Iterator[Heard]:
        """Cut each block into frames, a call of the network after the other. What is left is kept for the next."""
        hop = self.audio.hop
        for waveform, last in blocks:
            self._arrive(waveform, last)
            frames = max(0, (self.sound.shape[1] - self.longest) // hop + 1)
            calls = list(self._calls(frames, last)) or [(0, 0)]
            for number, (first, end) in enumerate(calls):
                arriving = waveform[:, : None if number == 0 else 0], last and number == len(calls) - 1
                yield self._look(arriving, first, end, frames)
            done = max(calls[-1][1], self.before)
            self.before = min(done, self.context)
            self.sound = self.sound[:, (done - self.before) * hop :].clone()

    def _calls(self, frames: int, last: bool) -> Iterator[tuple[int, int]]:
        """Which of the frames at hand each call is for: the first, and the one after the last.

        A network that foresees gets segments of always the same size, so that they do not depend on the blocks. For
        any other, calls are of about one size.
        """
        if not self.foresees:
            calls = -(-frames // self.most)
            yield from ((number * frames // calls, (number + 1) * frames // calls) for number in range(calls))
            return
        for first in range(self.before, frames, self.most):
            if last or first + self.most + self.context <= frames:
                yield first, min(first + self.most, frames)

    @torch.inference_mode()
    def _arrive(self, waveform: np.ndarray, last: bool) -> None:
        sound = self.to_network.push(waveform.astype(np.float32, copy=False), last)
        self.arrived += sound.shape[1]
        new = torch.from_numpy(np.array(sound)).to(self.device)  # a copy: a pipe's samples are read-only
        if last and self.arrived:  # to the end of the frame centred on or after the last sample
            new = torch.nn.functional.pad(new, (0, -self.arrived % self.audio.hop + self.audio.block // 2))
        self.sound = torch.cat([self.sound, new], dim=1)

    @torch.inference_mode()
    def _look(self, block: Block, first: int, end: int, frames: int) -> Heard:
        """Frames of self.sound, perhaps none, and what the network hears: those, in their context."""
        if end == first:
            spectrum = torch.zeros(len(self.sound), 0, self.audio.bins, dtype=torch.complex64, device=self.device)
            magnitude = together(spectrum)
            return Frames(block, self.arrived, spectrum, magnitude, 0), magnitude
        start, stop = max(0, first - self.context), min(end + self.context, frames)
        seen = self.sound[:, start * self.audio.hop : (stop - 1) * self.audio.hop + self.longest]
        spectrum = stft(seen[:, self.longest - self.audio.block :], self.audio, pad=False)
        magnitude = together(spectrum)
        heard = self.hearing.hear(seen, magnitude)  # (keys, more frames, bins)
        missing = self.context - (first - start), self.context - (stop - end)
        before, after = (min(count, stop - start) for count in missing)
        if before or after:  # the song's first and last seconds turned round are better context than none
            ends = heard[:, :before].flip(1), heard[:, stop - start - after :].flip(1)
            heard = torch.cat([ends[0], heard, ends[1]], dim=1)
        own = slice(first - start, end - start)
        return Frames(block, self.arrived, spectrum[:, own], magnitude[:, own], before + first - start), heard

    # ---------------------------------------------------------------------------------------------- find masks

    @torch.inference_mode()
    def find_masks(self, heard: Heard) -> Heard:
        """The masks of what the network hears in place of the magnitudes."""
        frames, magnitude = heard
        if not magnitude.numel():
            return heard
        run = map if self.groups == 1 else self.pool.map
        masks, self.states = zip(*run(self._run, magnitude.tensor_split(self.groups), self.states), strict=True)
        return frames, torch.cat(masks)

    @torch.inference_mode()  # a thread does not inherit it
    def _run(self, magnitude: torch.Tensor, state: tuple | None) -> tuple[torch.Tensor, tuple | None]:
        return self.network(magnitude, state)

    # ---------------------------------------------------------------------------------------------- synthesise

    def synthesise(self, masked: Iterable[Heard]) -> Iterator[Piece]:
        """Apply mask - gain at the network's rate and gain at the mixture's.

        Together: the mask within the network's band, the gain above it.
        """
        return map(self._piece, masked)

    @torch.inference_mode()
    def _piece(self, masked: Heard) -> Piece:
        waveform, last = masked[0].block
        self.mixture = np.concatenate([self.mixture, waveform], axis=1)
        sound = self._overlapped(*masked)
        voice = self.from_network.push(sound[:-1], last)
        known = self.mixture.shape[1] if last else voice.shape[1]
        if last:  # resampling there and back may add or lose a sample
            voice = np.pad(voice[:, :known], [(0, 0), (0, max(0, known - voice.shape[1]))])
        mixture, self.mixture = self.mixture[:, :known], self.mixture[:, known:]
        return mixture, voice + self._above(mixture, sound[-1]), last

    def _overlapped(self, frames: Frames, mask: torch.Tensor) -> np.ndarray:
        """Mask - gain applied to the mixture, and the gain: (channels + 1, samples), at the network's rate.

        mask: the network's, of all that it heard. What is not final yet is kept for the next call.
        """
        hop, last = self.audio.hop, frames.block[1] and frames.arrived
        sound = [self.sums[0][:, :0]]
        if count := frames.spectrum.shape[1]:
            mask = self.hearing.put_back(mask[:, frames.before : frames.before + count])  # (1, count, bins)
            gain = top_octave(mask, frames.magnitude)  # (1, count)
            masked, weight = overlap_add(frames.spectrum * (mask - gain[..., None]), self.audio)
            self._add(torch.cat([masked, overlap_windows(gain, self.audio)]), weight)
            sound.append(self._take(count * hop))
        if last:
            sound.append(self._take(self.audio.block - hop))
        known = torch.cat(sound, dim=1)
        excess = self.done - frames.arrived if last else 0
        return known[:, : known.shape[1] - excess].cpu().numpy()

    def _add(self, waveform: torch.Tensor, weight: torch.Tensor) -> None:
        """Add the next frames to the sums of those before."""
        sums, weights = self.sums
        waveform[:, : sums.shape[1]] += sums
        weight[: len(weights)] += weights
        self.sums = waveform, weight

    def _take(self, samples: int) -> torch.Tensor:
        """Take the sums' first samples, which no later frame reaches, normalised. None from before sample 0."""
        sums, weights = self.sums
        self.sums = sums[:, samples:], weights[samples:]
        start = max(0, -self.done)
        self.done += samples
        return sums[:, start:samples] / weights[start:samples]

    def _above(self, mixture: np.ndarray, gain: np.ndarray) -> np.ndarray:
        """The next samples of the mixture (channels, samples), each times its gain.

        gain: its next values (samples,) at the network's rate; it is interpolated in between.
        """
        self.gain = np.concatenate([self.gain, gain])
        if not self.gain.size:  # a song shorter than one sample at the network's rate
            return np.zeros_like(mixture)
        rate, network_rate = self.rates
        first, after = divmod(self.given * network_rate, rate)  # sample of self.gain, and how far after it
        times = np.arange(mixture.shape[1]) * (network_rate / rate) + after / rate
        self.given += mixture.shape[1]
        above = mixture * np.interp(times, np.arange(len(self.gain)), self.gain)
        self.gain = self.gain[self.given * network_rate // rate - first :]
        return above.astype(np.float32)


def top_octave(mask: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """The share of power in the upper half of the bins that a mask (..., bins) lets pass: (...), 0 for silence."""
    mask, magnitude = (values[..., values.shape[-1] // 2 :] for values in (mask, magnitude))
    return (mask * magnitude).square().sum(dim=-1) / magnitude.square().sum(dim=-1).clamp(min=1e-20)
