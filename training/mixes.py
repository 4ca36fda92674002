"""Training batches drawn from a bank of sounds: voices under accompaniments as mixing desks make them, on any device.

    mixes = Mixes(bank, groups, alone, audio, options, device)
    mixes.begin(epoch=1)
    for batch in mixes: ...  # mixture and vocals (batch, frames, bins), lengths, names, starts

What is mixed is first drawn (`desk.Plan`), then played. Every linear thing is one product in the spectrum of the whole
excerpt: other rates and speeds, equalisers, rooms, and the band that both sources fill. Each excerpt draws its random
numbers from a generator made of (seed, epoch, step, row): a run is the same for any number of threads and ranks.
"""

import argparse
import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.fft import next_fast_len

from Data import project
from process.ahead import made_ahead
from process.devices import send
from process.errors import UserError
from songs.dataset import NoDataset, apart, belongs, find_songs, find_sounds
from songs.effects import OCTAVES, gain_of
from songs.song import Accompaniment, Song, Voice
from training.bank import Bank, Parts, Track, open_bank
from training.desk import REST_FADE, Desk, Group, Plan, Take, minutes, voice_of
from training.parallel import leader_first, share, workers_for
from util import AudioConfig, stft

SILENT = 0.001  # RMS, -60 dB
MARGIN = 0.03  # seconds at either end of an excerpt, where its end shows before its beginning


class Mixes:
    """The batches of an epoch of `options.steps`, mixed on a device. options.workers: threads that draw ahead."""

    whole_songs = False

    def __init__(
        self,
        bank: Bank,
        groups: Sequence[Group],
        alone: Sequence[Parts],
        audio: AudioConfig,
        options: argparse.Namespace,
        device: torch.device,
    ):
        self.sound, self.audio, self.options, self.device = bank.samples.to(device), audio, options, device
        self.workers = workers_for(options, device)
        self.desk = Desk(groups, alone, audio, options)
        self.frames = max(1, round(options.excerpt * audio.sample_rate / audio.hop))
        self.margin = round(MARGIN * audio.sample_rate)
        self.span = (self.frames - 1) * audio.hop + audio.block  # samples that the frames see
        # Of an excerpt. Sounds of all usual rates then keep their own key exactly: see near_fast_length.
        unit = 2 * audio.sample_rate // math.gcd(audio.sample_rate, 50)
        self.samples = unit * next_fast_len(math.ceil((self.span + 2 * self.margin) / unit))
        frequencies = torch.arange(self.samples // 2 + 1, device=device) * (audio.sample_rate / self.samples)
        self.frequencies = frequencies  # Hz, of the excerpt's spectrum
        place = (frequencies.clamp(min=1) / OCTAVES[0]).log2().clamp(0, len(OCTAVES) - 1)
        self.octave = place.long().clamp(max=len(OCTAVES) - 2)
        self.within = place - self.octave
        self.bank, self.alone = bank, alone
        self.epoch, self.share = 1, slice(None)  # until it begins, whole batches

    def begin(self, epoch: int) -> None:
        """See training.loop.Loader."""
        self.epoch, self.share = epoch, share()

    def is_silent(self) -> bool:
        """Whether nobody sings in any of its songs."""
        return all(voice_of(song).level < SILENT for group in self.desk.groups for song in group.sung)

    def songs(self) -> set[tuple[str, float]]:
        """Names and seconds of its songs and voices."""
        voices = [(song.name, voice_of(song)) for group in self.desk.groups for song in group.sung]
        return {(name, voice.samples / voice.rate) for name, voice in voices}

    def describe(self, _: argparse.Namespace) -> str:
        """What it holds, in words."""
        voices = [
            (group.name, group.sung, f" ({share:.0%} of excerpts)") for group, share in self.desk.shares_of_groups
        ]
        parts = [*voices, ("accompaniments", self.alone, "")] if self.alone else voices
        texts = [f"{name}: {len(songs)} files, {minutes(songs):.0f} minutes{text}" for name, songs, text in parts]
        return f"{', '.join(texts)}; fingerprint {self.bank.fingerprint[:16]}"

    def __len__(self) -> int:
        return self.options.steps

    def __iter__(self) -> Iterator[dict]:
        steps = range(len(self))
        if not self.workers:
            return map(self.batch, steps)
        return made_ahead(self.batch, steps, self.workers, ahead=self.workers)

    def plans(self, step: int) -> list[Plan]:
        key = [self.options.seed, self.epoch, step]
        rows = range(self.options.batch_size)[self.share]
        return [self.desk.draw(np.random.default_rng([*key, row])) for row in rows]

    @torch.no_grad()
    def batch(self, step: int) -> dict:
        """Batch number `step`: mixture and vocals (batch, frames, bins), as in Data.collate_fn."""
        plans = self.plans(step)
        if not plans:
            return {}
        voice, accompaniment = self.sources(plans)
        ends = self.margin + self.span
        spectra = stft(torch.stack([voice + accompaniment, voice])[..., self.margin : ends], self.audio, pad=False)
        mixture, vocals = spectra  # (batch, frames, bins), complex
        projected = self.options.target == "projection"
        return {
            "mixture": mixture.abs(),
            "vocals": project(vocals, mixture) if projected else vocals.abs(),
            "lengths": torch.full((len(plans),), self.frames),
            "names": [plan.name for plan in plans],
            "starts": torch.zeros(len(plans), dtype=torch.bool),
        }

    def sources(self, plans: Sequence[Plan]) -> torch.Tensor:
        """Voice and accompaniment (2, plans, samples)."""
        spectra = torch.stack(
            [
                torch.stack([self.spectrum(plan.voice) for plan in plans]),
                torch.stack([self.spectrum(plan.accompaniment) for plan in plans]),
            ]
        )  # (2, plans, bins of the excerpt)
        curves = send(torch.from_numpy(np.stack([plan.equalizer for plan in plans], axis=1)).float(), self.device)
        curves = torch.lerp(curves[..., self.octave], curves[..., self.octave + 1], self.within)
        numbers = torch.tensor([(plan.gain, plan.bandwidth) for plan in plans], dtype=torch.float32)
        gains, limits = send(numbers, self.device).T[..., None]  # each (plans, 1)
        spectra *= 10 ** (curves / 20) * gains * (self.frequencies < limits)
        rooms = [row for row, plan in enumerate(plans) if plan.room is not None]
        for row in rooms:
            response = send(torch.from_numpy(plans[row].room), self.device)
            spectra[0, row] *= 1 + torch.fft.rfft(response[: self.samples], self.samples)
        return torch.fft.irfft(spectra, self.samples)

    def spectrum(self, takes: Sequence[Take]) -> torch.Tensor:
        """The spectrum of takes together at the network's rate: (samples // 2 + 1,), complex."""
        total = torch.zeros(self.samples // 2 + 1, dtype=torch.complex64, device=self.device)
        for take in takes:
            length = near_fast_length(self.samples * take.speed * take.tracks[0].rate / self.audio.sample_rate)
            spectrum = torch.fft.rfft(self.play(take, length))
            bins = min(len(spectrum), len(total)) - 1  # without the highest one, which stands for two
            total[:bins] += spectrum[:bins] * (self.samples / length)
        return total

    def play(self, take: Take, length: int) -> torch.Tensor:
        """A take's next samples (length,) as they are in the bank."""
        heard = torch.zeros(length, device=self.device)
        for track in take.tracks:
            heard += self.read(track, take.start, length, take.balance)
        if take.drive is not None:
            heard = saturate(heard, take.drive)
        if take.rest is not None:
            seconds = torch.arange(length, device=self.device) * (self.options.excerpt / length)
            first, last = take.rest
            heard = heard * ((first - seconds).maximum(seconds - last) / REST_FADE).clamp(0, 1)
        return heard * take.gain

    def read(self, track: Track, start: int, length: int, balance: float) -> torch.Tensor:
        """Samples of a track, its channels mixed down: (length,)."""
        weights = (1.0,) if track.channels == 1 else (balance, 1 - balance)
        heard = torch.zeros(length, device=self.device)
        for channel, weight in enumerate(weights):
            first = track.start + channel * track.samples
            sound = self.sound[first : first + track.samples]
            pieces, left, place = [], length, start
            while left:
                pieces.append(sound[place : place + left])
                left -= len(pieces[-1])
                place = 0
            heard += torch.cat(pieces).float() * (weight * track.scale)
        return heard


def near_fast_length(samples: float) -> int:
    """The nearest even number that the Fourier transform likes: with no prime factor above 11.

    Rounding up would play sounds sharp, by most of a semitone in short excerpts: music would be out of tune. The
    nearest is a few cents off, rarely 15; of lengths like `samples` at other rates, none.
    """
    half = samples / 2
    above = next_fast_len(max(1, math.ceil(half)))
    below = min(above, max(1, math.floor(half)))
    while next_fast_len(below) > below:
        below -= 1
    return 2 * min(below, above, key=lambda length: abs(length - half))


def saturate(waveform: torch.Tensor, drive: float) -> torch.Tensor:
    """See songs.effects.saturate."""
    level = waveform.square().mean().sqrt()
    bent = (waveform / (3 * level * gain_of(-drive)).clamp(min=1e-9)).tanh()
    return bent * (level / bent.square().mean().sqrt().clamp(min=1e-9))


# ---------------------------------------------------------------------------------------------- from the command line


def folder_and_share(text: str) -> tuple[str, float]:
    """'FOLDER=SHARE' of the command line. Raises argparse's error for anything else."""
    folder, _, share = text.rpartition("=")
    with contextlib.suppress(ValueError):
        if folder and 0 < float(share) < math.inf:
            return folder, float(share)
    raise argparse.ArgumentTypeError(f"expected FOLDER=SHARE, a share above 0, found '{text}'")


def open_mixes(
    songs: dict[str, list[Song]], audio: AudioConfig, options: argparse.Namespace, folder: Path, device: torch.device
) -> Mixes:
    """The batches that `options` ask for. songs: the dataset's, by split; folder: where the bank goes."""
    left_out: set[Song] = set()
    parts = [(path, share, _songs_of(path, songs, options, left_out)) for path, share in options.mix]
    for name in options.leave_out:
        if not any(belongs(song, [name]) for song in left_out):
            raise UserError(f"--leave-out: expected a song, artist or sound '{name}' in the mix, found none")
    music = options.accompaniments
    alone = apart(music, find_sounds(music, Accompaniment), songs) if music else []
    with leader_first():
        bank = open_bank(folder, [song for _, _, own in parts for song in own] + alone)
    entries = iter(bank.songs)
    groups = [Group(Path(path).resolve().name, share, [next(entries) for _ in own]) for path, share, own in parts]
    rest = list(entries)
    if not rest and not any(group.accompaniments for group in groups):
        raise UserError("--mix: expected songs, or --accompaniments, for the voices to sing with, found voices alone")
    return Mixes(bank, groups, rest, audio, options, device)


def _songs_of(
    folder: str, songs: dict[str, list[Song]], options: argparse.Namespace, left_out: set[Song]
) -> list[Song]:
    """The songs to train on in a folder of the mix, or the voices alone: all of a folder without splits.

    Without those that are held out or left out, which join `left_out`.
    """
    if Path(folder).resolve() == Path(options.dataset).resolve():
        found = songs["Train"]
    else:
        try:
            splits = find_songs(folder, include_test=options.include_test, learn_undivided=True)
            found = splits["Train"] + splits["Valid"]
            if test := len(splits["Test"]):
                print(f"{folder}: left out, since --include-test is not given: {test} in Test", flush=True)
        except NoDataset:
            found = find_sounds(folder, Voice)
        found = apart(folder, found, songs)
    left_out.update(song for song in found if belongs(song, options.hold_out + options.leave_out))
    found = [song for song in found if song not in left_out]
    if not found:
        raise UserError(f"{folder}: expected songs or voices to train on, found none that is not held out or in Test")
    return found
