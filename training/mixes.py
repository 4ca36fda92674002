"""Training batches drawn from a bank of sounds: voices under accompaniments as mixing desks make them, on any device.

    mixes = Mixes(bank, groups, audio, options)
    mixes.begin(epoch=1)
    for batch in mixes: ...  # mixture and vocals (batch, frames, bins), lengths, names, starts

What is mixed is first drawn (`Plan`), then played. Every linear thing is one product in the spectrum of the whole
excerpt: other rates and speeds, equalisers, rooms, and the band that both sources fill. Each excerpt draws its random
numbers from a generator made of (seed, epoch, step, row): a run is the same for any number of threads and ranks.
"""

import argparse
import collections
import dataclasses
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from scipy.fft import next_fast_len

from Data import project
from process.errors import UserError
from songs.effects import OCTAVES, room
from songs.layouts import belongs, find_songs, find_sounds
from songs.song import Accompaniment, Song, Voice
from training.bank import Bank, Parts, Track, open_bank
from training.parallel import leader_first, share, workers_for
from util import AudioConfig, send, stft

LEVEL = 0.1  # RMS of a mixture, -20 dB
SOFTEST = 0.01  # level of a track that is not blown up to the others', -40 dB: it holds no voice, but what leaked in
SILENT = 0.001  # RMS, -60 dB
MARGIN = 0.03  # seconds at either end of an excerpt, where its end shows before its beginning
FILLED = 0.98  # of the band that a sound fills: its upper edge is no cliff

# How often, of excerpts
ASIDE = 0.4  # a stereo song is not heard from the middle, but from anywhere between its sides
AS_SUNG = 0.3  # a voice keeps its speed
TRANSPOSED = 0.5  # an accompaniment is
SECOND = 0.3  # a second voice sings along
RESTS = 0.2  # the voice rests
COMPOSED = 0.4  # of accompaniments from songs in stems: drums, bass and the rest are of three songs
DOUBLED = 0.1  # two accompaniments play at once
OWN_KIND = 0.5  # an accompaniment that replaces a song's own is of a song of the same folder
ALONE = 0.35  # the others are of the folder of accompaniments

BALANCE = 2.0  # dB, up or down, between voice and accompaniment of a song as it is
STEM_BALANCE = 3.0  # the same of each stem of three songs
SECOND_BELOW = 2.0, 14.0  # dB
DOUBLED_BELOW = 0.0, 10.0
ROOM_SECONDS, ROOM_BELOW, ROOM_FIRST = (0.2, 1.8), (6.0, 20.0), 0.04
REST_SECONDS, REST_FADE = (0.5, 6.0), 0.03
DRIVE = 12.0  # dB, at most


@dataclasses.dataclass(frozen=True)
class Group:
    """Songs of one folder, and the share of excerpts that have their voice from it."""

    name: str
    share: float
    songs: Sequence[Parts]

    @property
    def sung(self) -> list[Parts]:
        return [song for song in self.songs if song.vocals]

    @property
    def accompaniments(self) -> list[Parts]:
        return [song for song in self.songs if accompaniment_level(song)]

    @property
    def in_stems(self) -> list[Parts]:
        return [song for song in self.accompaniments if {"drums", "bass", "other"} <= song.accompaniment.keys()]


def accompaniment_level(song: Parts) -> float:
    return math.hypot(*(track.level for track in song.accompaniment.values()))


# ---------------------------------------------------------------------------------------------- what to mix


@dataclasses.dataclass(frozen=True)
class Take:
    """A piece of tracks that lie side by side, played together."""

    tracks: tuple[Track, ...]
    start: int  # sample; from a track's end it goes on at its beginning
    gain: float
    speed: float = 1.0  # as of a tape
    balance: float = 0.5  # share of the left channel in what is heard, the right one has the rest
    drive: float | None = None  # dB, of saturation
    rest: tuple[float, float] | None = None  # seconds from, seconds to

    @property
    def bandwidth(self) -> float:
        """Hz that it fills when it is played, infinite if it is silent."""
        return max(track.bandwidth for track in self.tracks) * self.speed or math.inf


@dataclasses.dataclass(frozen=True)
class Plan:
    """An excerpt."""

    name: str
    voice: tuple[Take, ...]  # the first one leads
    accompaniment: tuple[Take, ...]
    gain: float
    equalizer: np.ndarray  # dB, (2, len(OCTAVES)): of voice and accompaniment
    room: np.ndarray | None  # impulse response of what is added to the voice

    @property
    def bandwidth(self) -> float:
        """Hz that both sources fill: above, one alone would betray by its presence which one it is."""
        return FILLED * min(self.voice[0].bandwidth, max(take.bandwidth for take in self.accompaniment))


class Desk:
    """Draws plans."""

    def __init__(
        self, groups: Sequence[Group], alone: Sequence[Parts], audio: AudioConfig, options: argparse.Namespace
    ):
        self.groups, self.rate, self.options = list(groups), audio.sample_rate, options
        self.sung = [group.sung for group in groups]
        shares = np.array([group.share for group in groups], float)
        self.shares = shares / shares.sum()
        self.seconds = options.excerpt
        self.pools = [(group.accompaniments, group.in_stems) for group in groups]
        self.pools.append((list(alone), []))
        weights = np.append((1 - ALONE) * self.shares, ALONE) * [bool(songs) for songs, _ in self.pools]
        self.weights = weights / weights.sum()

    @property
    def shares_of_groups(self) -> list[tuple[Group, float]]:
        return list(zip(self.groups, self.shares, strict=True))

    def draw(self, rng: np.random.Generator) -> Plan:
        number = rng.choice(len(self.groups), p=self.shares)
        song = pick(rng, self.sung[number])
        alone = not song.accompaniment or rng.random() < self.options.remix
        voice, accompaniment = (self.remix if alone else self.keep)(rng, song, number)
        level = math.sqrt(sum(loudness(take) for take in (*voice, *accompaniment)))
        gain = LEVEL / max(level, SOFTEST) * decibels(rng.uniform(-3, 3))
        spread = np.array(self.options.equalizer)[:, None]
        reverberant = alone and rng.random() < self.options.effects
        return Plan(
            song.name,
            tuple(voice),
            tuple(accompaniment),
            gain,
            rng.normal(0, spread, (2, len(OCTAVES))),
            self.draw_room(rng) if reverberant else None,
        )

    def keep(self, rng: np.random.Generator, song: Parts, _: int) -> tuple[list[Take], list[Take]]:
        """The song as it is, but for its balance and its key."""
        vocals, rest = voice_of(song), tuple(song.accompaniment.values())
        at, key, balance = start(rng, vocals), self.key(rng), side(rng)
        gain = decibels(rng.uniform(-BALANCE, BALANCE))
        return [Take((vocals,), at, gain, key, balance)], [Take(rest, at, 1.0, key, balance)]

    def remix(self, rng: np.random.Generator, song: Parts, number: int) -> tuple[list[Take], list[Take]]:
        """The song's voice, changed, with other music."""
        voice = [self.sing(rng, song, 1.0)]
        if rng.random() < SECOND:
            voice.append(self.sing(rng, pick(rng, self.sung[number]), decibels(-rng.uniform(*SECOND_BELOW))))
        gain = decibels(rng.uniform(*self.options.gain))
        accompaniment = self.play(rng, number, song, gain)
        if rng.random() < DOUBLED:
            accompaniment += self.play(rng, number, song, gain * decibels(-rng.uniform(*DOUBLED_BELOW)))
        return voice, accompaniment

    def sing(self, rng: np.random.Generator, song: Parts, level: float) -> Take:
        low, high = np.log2(self.options.speed)
        rest = None
        if rng.random() < RESTS:
            first = rng.uniform(-1, self.seconds)
            rest = first, first + rng.uniform(*REST_SECONDS)
        vocals = voice_of(song)
        return Take(
            (vocals,),
            start(rng, vocals),
            level / max(vocals.level, SOFTEST),
            speed=1.0 if rng.random() < AS_SUNG else 2 ** rng.uniform(low, high),
            balance=side(rng),
            drive=rng.uniform(0, DRIVE) if rng.random() < self.options.effects else None,
            rest=rest,
        )

    def play(self, rng: np.random.Generator, number: int, song: Parts, level: float) -> list[Take]:
        """An accompaniment that is not the song's own."""
        others = self.pools[number][0]
        if len(others) < 2 or rng.random() >= OWN_KIND:
            number = rng.choice(len(self.pools), p=self.weights)
        songs, in_stems = self.pools[number]
        speed = self.key(rng)
        if len(in_stems) >= 3 and rng.random() < COMPOSED:
            takes = []
            for stem in ("drums", "bass", "other"):
                one = pick(rng, in_stems)
                track = one.accompaniment[stem]
                gain = (
                    level / max(accompaniment_level(one), SOFTEST) * decibels(rng.uniform(-STEM_BALANCE, STEM_BALANCE))
                )
                takes.append(Take((track,), start(rng, track), gain, speed, side(rng)))
            return takes
        one = pick(rng, songs)
        while one is song and len(songs) > 1:
            one = pick(rng, songs)
        tracks = tuple(one.accompaniment.values())
        return [Take(tracks, start(rng, tracks[0]), level / max(accompaniment_level(one), SOFTEST), speed, side(rng))]

    def key(self, rng: np.random.Generator) -> float:
        """The speed that transposes by whole semitones."""
        most = self.options.transpose
        return 2 ** (rng.integers(-most, most + 1) / 12) if rng.random() < TRANSPOSED else 1.0

    def draw_room(self, rng: np.random.Generator) -> np.ndarray:
        seconds, below, first = rng.uniform(*ROOM_SECONDS), rng.uniform(*ROOM_BELOW), rng.uniform(0, ROOM_FIRST)
        return room(rng, self.rate, seconds, -below, first)


def minutes(songs: Sequence[Parts]) -> float:
    tracks = [song.vocals or next(iter(song.accompaniment.values())) for song in songs]
    return sum(track.samples / track.rate for track in tracks) / 60


def pick(rng: np.random.Generator, songs: Sequence[Parts]) -> Parts:
    return songs[int(rng.integers(len(songs)))]


def voice_of(song: Parts) -> Track:
    """The vocals of a song that has some."""
    assert song.vocals is not None
    return song.vocals


def start(rng: np.random.Generator, track: Track) -> int:
    return int(rng.integers(track.samples))


def side(rng: np.random.Generator) -> float:
    return rng.uniform() if rng.random() < ASIDE else 0.5


def decibels(value: float) -> float:
    """A gain."""
    return 10 ** (value / 20)


def loudness(take: Take) -> float:
    """Its power, as far as its tracks tell."""
    return take.gain**2 * sum(track.level**2 for track in take.tracks)


# ---------------------------------------------------------------------------------------------- playing it


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
        self.samples = even_fast_length(self.span + 2 * self.margin)  # of an excerpt
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
        if not self.workers:
            yield from map(self.batch, range(len(self)))
            return
        with ThreadPoolExecutor(self.workers, initializer=torch.get_num_threads) as pool:
            ahead: collections.deque[Future] = collections.deque()
            for step in range(len(self)):
                ahead.append(pool.submit(self.batch, step))
                if len(ahead) > self.workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

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
            length = even_fast_length(self.samples * take.speed * take.tracks[0].rate / self.audio.sample_rate)
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


def even_fast_length(samples: float) -> int:
    """The next even number that the Fourier transform likes."""
    return 2 * next_fast_len(math.ceil(samples / 2), real=True)


def saturate(waveform: torch.Tensor, drive: float) -> torch.Tensor:
    """See songs.effects.saturate."""
    level = waveform.square().mean().sqrt()
    bent = (waveform / (3 * level * decibels(-drive)).clamp(min=1e-9)).tanh()
    return bent * (level / bent.square().mean().sqrt().clamp(min=1e-9))


# ---------------------------------------------------------------------------------------------- from the command line


def folder_and_share(text: str) -> tuple[str, float]:
    """'FOLDER=SHARE' of the command line. Raises ValueError for anything else."""
    folder, _, share = text.rpartition("=")
    if not folder or not 0 < float(share) < math.inf:
        raise ValueError(text)
    return folder, float(share)


def open_mixes(
    songs: list[Song], audio: AudioConfig, options: argparse.Namespace, folder: Path, device: torch.device
) -> Mixes:
    """The batches that `options` ask for. songs: the dataset's to train on; folder: where the bank goes."""
    left_out: set[Song] = set()
    parts = [(path, share, _songs_of(path, songs, options, left_out)) for path, share in options.mix]
    for name in options.leave_out:
        if not any(belongs(song, [name]) for song in left_out):
            raise UserError(f"--leave-out: expected a song, artist or sound '{name}' in the mix, found none")
    alone = find_sounds(options.accompaniments, Accompaniment) if options.accompaniments else []
    with leader_first():
        bank = open_bank(folder, [song for _, _, own in parts for song in own] + alone)
    entries = iter(bank.songs)
    groups = [Group(Path(path).resolve().name, share, [next(entries) for _ in own]) for path, share, own in parts]
    return Mixes(bank, groups, list(entries), audio, options, device)


def _songs_of(folder: str, songs: list[Song], options: argparse.Namespace, left_out: set[Song]) -> list[Song]:
    """All songs in a folder of the mix (or the voices alone), of the dataset's own those to train on.

    Without those that are held out or left out, which join `left_out`.
    """
    if Path(folder).resolve() == Path(options.dataset).resolve():
        found = songs
    else:
        try:
            found = [song for own in find_songs(folder, include_test=True).values() for song in own]
        except UserError:
            found = find_sounds(folder, Voice)
    left_out.update(song for song in found if belongs(song, options.hold_out + options.leave_out))
    found = [song for song in found if song not in left_out]
    if not found:
        raise UserError(f"{folder}: expected songs or voices to train on, found none that is not held out")
    return found
