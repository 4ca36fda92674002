"""Transforms beyond the course's: what else varies songs in training. Each takes an excerpt and returns another."""

import dataclasses
import math

import numpy as np

from Data import Excerpt
from songs.effects import OCTAVES, gain_of, room


class RandomTranspose:
    """Transpose accompaniments by up to `most` whole semitones; their tempo changes, too.

    It makes many accompaniments out of few. An accompaniment that is not replaced takes its voice along.
    """

    def __init__(self, most: int):
        self.most = most

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        return dataclasses.replace(excerpt, semitones=int(excerpt.rng.integers(-self.most, self.most + 1)))


class RandomSpeed:
    """Play the song at a random speed, like a tape: pitch, formants and tempo change together.

    It makes many singers out of few. The speed is uniform in octaves. The excerpt keeps its number of frames.
    """

    def __init__(self, low: float = 0.7, high: float = 1.4):
        self.low, self.high = low, high

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        octaves = excerpt.rng.uniform(math.log2(self.low), math.log2(self.high))
        return dataclasses.replace(excerpt, speed=2**octaves)


class RandomEqualizer:
    """Colour voice and accompaniment independently, like other microphones, rooms and mixing desks.

    The gain of each octave band is normal, with a standard deviation of `voice` or `accompaniment` dB.
    """

    def __init__(self, voice: float = 2.0, accompaniment: float = 2.0):
        self.deviations = np.array([[voice], [accompaniment]])  # dB

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        curves = excerpt.rng.normal(0, self.deviations, (2, len(OCTAVES)))
        return dataclasses.replace(excerpt, equalizer=curves)


class RandomEffects:
    """Saturate the voice and add reverberation, each with `probability`, as mixing desks do.

    The reverberation decays in 0.2 to 1.5 s and is 5 to 18 dB below the voice.
    """

    def __init__(self, probability: float):
        self.probability = probability

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        rng, rate = excerpt.rng, excerpt.audio.sample_rate
        if rng.random() < self.probability:
            excerpt = dataclasses.replace(excerpt, drive=rng.uniform(0, 12))
        if rng.random() < self.probability:
            seconds, level, first = rng.uniform(0.2, 1.5), rng.uniform(-18, -5), rng.uniform(0, 0.04)
            excerpt = dataclasses.replace(excerpt, room=room(rng, rate, seconds, level, first))
        return excerpt


class Remix:
    """With `probability`, replace the accompaniment by another song's; always, if the vocals come without one.

    It starts anywhere in that song, and its level changes by `softest` to `loudest` dB.
    """

    def __init__(self, probability: float, softest: float = -6.0, loudest: float = 6.0):
        self.probability, self.softest, self.loudest = probability, softest, loudest

    def __call__(self, excerpt: Excerpt) -> Excerpt:
        chosen = excerpt.rng.random() < self.probability
        songs = excerpt.songs
        own = next((number for number, song in enumerate(songs) if song is excerpt.song), None)
        others = len(songs) - (own is not None)
        if others == 0 or not (chosen or own is None):
            return excerpt
        drawn = int(excerpt.rng.integers(others))
        backing = songs[drawn if own is None else drawn + (drawn >= own)]
        shift = excerpt.rng.uniform(0, backing.seconds)
        gain = gain_of(excerpt.rng.uniform(self.softest, self.loudest))
        return dataclasses.replace(excerpt, backing=backing, backing_shift=shift, backing_gain=gain)
