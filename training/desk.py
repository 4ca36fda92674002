"""What to mix: excerpts of songs and voices, drawn at random as mixing desks make songs of them. See mixes.py."""

import argparse
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from songs.effects import OCTAVES, gain_of, room
from songs.song import BAND
from training.bank import Parts, Track
from util import AudioConfig

LEVEL = 0.1  # RMS of a mixture, -20 dB
SOFTEST = 0.01  # level of a track that is not blown up to the others', -40 dB: it holds no voice, but what leaked in
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
        return [song for song in self.accompaniments if set(BAND) <= song.accompaniment.keys()]


def accompaniment_level(song: Parts) -> float:
    return math.hypot(*(track.level for track in song.accompaniment.values()))


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
    """Draws plans.

    groups: the folders of a mix, which have all voices and accompaniments of their own; alone: music without a voice;
    audio, options: the network's, and those of the command line.
    """

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
        remixed = not song.accompaniment or rng.random() < self.options.remix
        voice, accompaniment = self.remix(rng, song, number) if remixed else self.keep(rng, song)
        level = math.sqrt(sum(loudness(take) for take in (*voice, *accompaniment)))
        gain = LEVEL / max(level, SOFTEST) * gain_of(rng.uniform(-3, 3))
        spread = np.array(self.options.equalizer)[:, None]
        reverberant = remixed and rng.random() < self.options.effects
        return Plan(
            song.name,
            tuple(voice),
            tuple(accompaniment),
            gain,
            rng.normal(0, spread, (2, len(OCTAVES))),
            self.draw_room(rng) if reverberant else None,
        )

    def keep(self, rng: np.random.Generator, song: Parts) -> tuple[list[Take], list[Take]]:
        """The song as it is, but for its balance and its key."""
        vocals, rest = voice_of(song), tuple(song.accompaniment.values())
        at, key, balance = start(rng, vocals), self.key(rng), side(rng)
        gain = gain_of(rng.uniform(-BALANCE, BALANCE))
        return [Take((vocals,), at, gain, key, balance)], [Take(rest, at, 1.0, key, balance)]

    def remix(self, rng: np.random.Generator, song: Parts, number: int) -> tuple[list[Take], list[Take]]:
        """The song's voice, changed, with other music."""
        voice = [self.sing(rng, song, 1.0)]
        if rng.random() < SECOND:
            voice.append(self.sing(rng, pick(rng, self.sung[number]), gain_of(-rng.uniform(*SECOND_BELOW))))
        gain = gain_of(rng.uniform(*self.options.gain))
        accompaniment = self.play(rng, number, song, gain)
        if rng.random() < DOUBLED:
            accompaniment += self.play(rng, number, song, gain * gain_of(-rng.uniform(*DOUBLED_BELOW)))
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
            for stem in BAND:
                one = pick(rng, in_stems)
                track = one.accompaniment[stem]
                gain = (
                    level / max(accompaniment_level(one), SOFTEST) * gain_of(rng.uniform(-STEM_BALANCE, STEM_BALANCE))
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


def loudness(take: Take) -> float:
    """Its power, as far as its tracks tell."""
    return take.gain**2 * sum(track.level**2 for track in take.tracks)
