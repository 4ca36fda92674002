"""Write a small dataset of synthesised songs, to try and test everything here without a download.

    python make_demo_dataset.py demo/songs
    python train_feedforward.py demo/songs --encoder bands --epochs 20 --batch-size 8 --output demo
    python train_RNN.py demo/songs --hidden-size 96 --epochs 80 --batch-size 4 --output demo

Every song has its own singer, tempo, key, chords and instruments, all drawn from --seed: the same command writes the
same bytes. The layout is the course's, {Mixtures,Sources}/{Train,Valid,Test}/<song>/{mixture,vocals}.wav, 32 kHz, mono,
16 bits; the accompaniment is mixture minus vocals. The dataset is small, so small batches give enough training steps.

It is synthetic, for demonstrations and tests only: a figure measured on it says nothing about real music.
"""

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfilt

from process.commandline import parser_from
from process.errors import UserError, command
from process.locking import only_writer, visible
from util import AudioConfig, istft, stft, wavwrite

RATE = AudioConfig().sample_rate
PEAK = 0.9  # of the louder of mixture and vocals
MAJOR = (0, 2, 4, 5, 7, 9, 11)  # semitones of the scale's seven degrees above its tonic
PROGRESSIONS = ("1564", "6415", "1645", "1425", "6545", "1345")  # degrees of the scale, one for each bar's chord
BAR = 4  # beats

# ---------------------------------------------------------------------------------------------- song


@dataclasses.dataclass(frozen=True)
class Song:
    """What singer and band agree on. Here and below, notes are MIDI numbers: semitones, with 69 = 440 Hz."""

    seconds: float
    beat: float  # seconds
    tonic: int  # 0 = C
    progression: str

    def chord(self, time: float) -> list[int]:
        """The three pitch classes (0 = C) of the chord at that time, root first."""
        degree = int(self.progression[int(time / self.beat / BAR + 1e-6) % len(self.progression)]) - 1
        return [(self.tonic + MAJOR[(degree + third) % 7]) % 12 for third in (0, 2, 4)]

    def times(self, beats: float) -> np.ndarray:
        """The times in seconds of every `beats`-th beat of the song."""
        return np.arange(0, self.seconds, beats * self.beat)


def hertz(note: float | np.ndarray) -> float | np.ndarray:
    """Frequency of a note in Hz."""
    return 440 * 2 ** ((note - 69) / 12)


# ---------------------------------------------------------------------------------------------- voice

FRAMES = AudioConfig(block=1024, hop=256, window="hann")  # the voice's filter moves in steps of 8 ms
FRAME_RATE = RATE / FRAMES.hop
FREQUENCIES = np.linspace(0, RATE / 2, FRAMES.bins)
KINDS = {"male": (45, 1.0), "female": (55, 1.16), "child": (60, 1.32)}  # lowest note; factor on the formants
FORMANTS = {  # Hz, after Peterson and Barney (1952), men; the two highest hardly depend on the vowel
    "a": (730, 1090, 2440, 3400, 4500),
    "e": (530, 1840, 2480, 3500, 4500),
    "i": (270, 2290, 3010, 3600, 4500),
    "o": (570, 840, 2410, 3300, 4400),
    "u": (300, 870, 2240, 3200, 4300),
}
BANDWIDTHS = (90, 110, 160, 250, 350)  # Hz
FORMANT_LEVELS = (0, -4, -9, -12, -18)  # dB
CONSONANTS = {  # centre and width of the noise in Hz, amplitude relative to a vowel, frames of silence and of noise
    "s": (6800, 1600, 0.35, 0, 12),
    "sh": (3600, 1100, 0.4, 0, 12),
    "f": (7000, 4000, 0.15, 0, 10),
    "t": (4500, 2200, 0.5, 5, 4),
    "k": (2100, 800, 0.5, 5, 4),
}


def compose_melody(song: Song, lowest: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """The sung notes as (first frame, end frame, note): a random walk on the scale, in phrases of two bars."""
    scale = [note for note in range(lowest, lowest + 15) if (note - song.tonic) % 12 in MAJOR]
    place = len(scale) // 2
    melody = []
    for phrase in song.times(2 * BAR):
        beat, last_beat = rng.choice([0.5, 1, 1.5]), rng.choice([6, 6.5, 7])
        while beat < last_beat:
            length = min(rng.choice([0.5, 0.5, 1, 1, 1.5, 2]), last_beat - beat)
            place = int(np.clip(place + rng.integers(-2, 3), 0, len(scale) - 1))
            note, start, end = scale[place], phrase + beat * song.beat, phrase + (beat + length) * song.beat
            if length >= 1:  # long notes belong to the chord
                note = min((n for n in scale if n % 12 in song.chord(start)), key=lambda n: abs(n - scale[place]))
            if end < song.seconds:
                melody.append((round(start * FRAME_RATE), round(end * FRAME_RATE), note))
            beat += length
    return melody


def wander(frames: int, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A random curve (frames,) with standard deviation 1 that changes within about `seconds`."""
    curve = gaussian_filter1d(rng.standard_normal(frames), seconds * FRAME_RATE)
    return curve / curve.std()


def unit_power(gains: np.ndarray) -> np.ndarray:
    """Scale filter gains (..., bins) so that white noise keeps its power."""
    return gains / np.sqrt(np.mean(gains**2, axis=-1, keepdims=True))


def vowel_gains(formants: np.ndarray, tilt: float) -> np.ndarray:
    """Gains (frames, bins) of a vocal tract with these formants (frames, 5) in Hz, falling by `tilt` dB per octave."""
    gains = np.zeros((len(formants), FRAMES.bins))
    for formant, bandwidth, level in zip(formants.T, BANDWIDTHS, FORMANT_LEVELS, strict=True):
        gains += 10 ** (level / 20) / np.sqrt(1 + ((FREQUENCIES - formant[:, None]) / (bandwidth / 2)) ** 2)
    return unit_power(gains * 10 ** (-tilt / 20 * np.log2(1 + FREQUENCIES / 300)))


def glottal_pulses(pitch: np.ndarray, samples: int) -> np.ndarray:
    """Pulses (samples,) of power 1 with this pitch (frames,): all harmonics below 14 kHz, with equal amplitudes."""
    f0 = hertz(np.interp(np.arange(samples) / FRAMES.hop, np.arange(len(pitch)), pitch))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    harmonics = np.floor(14000 / f0)
    return (np.sin((harmonics + 0.5) * phase) / np.sin(phase / 2) - 1) / np.sqrt(2 * harmonics)  # Dirichlet's kernel


def sing(song: Song, kind: str, rng: np.random.Generator) -> np.ndarray:
    """The voice (samples,): glottal pulses and noise through a filter that moves from vowel to vowel."""
    lowest, tract = KINDS[kind]
    lowest += int(rng.integers(5))
    tract *= rng.uniform(0.94, 1.06)  # the shorter the vocal tract, the higher the formants
    tilt = rng.uniform(3, 7)  # of the glottal spectrum, dB per octave
    breath = rng.uniform(0.05, 0.25)  # noise relative to the pulses
    vibrato_rate, vibrato_depth = rng.uniform(4.8, 6.8), rng.uniform(0.15, 0.6)  # Hz, semitones
    glide = rng.uniform(0.015, 0.045)  # seconds

    # Curves with one value per frame; their steps from note to note are smoothed afterwards.
    samples = round(song.seconds * RATE)
    frames = FRAMES.frames(samples)
    pitch, voicing, vibrato = np.full(frames, float(lowest)), np.zeros(frames), np.zeros(frames)
    formants = np.tile(np.array(FORMANTS["a"], float), (frames, 1))
    hiss = np.zeros((frames, FRAMES.bins))  # gains of the consonants' noise
    for first, end, note in compose_melody(song, lowest, rng):
        vowel, next_vowel = (np.array(FORMANTS[name], float) for name in rng.choice(list(FORMANTS), 2))
        path = rng.choice([0.3, 1.0]) * np.linspace(0, 1, end - first)[:, None]  # towards the next vowel
        formants[first:end] = vowel + path * (next_vowel - vowel)
        formants[end:] = formants[end - 1]
        pitch[first:] = note
        voicing[first:end] = rng.uniform(0.6, 1.0)
        vibrato[first + 30 : end] = 1  # sets in after a quarter of a second
        if rng.random() < 0.7:  # a consonant before the note
            centre, width, level, silence, length = CONSONANTS[rng.choice(list(CONSONANTS))]
            voicing[max(first - length - silence, 0) : first] = 0
            shape = unit_power(np.exp(-0.5 * ((FREQUENCIES - centre) / width) ** 2))
            hiss[max(first - length, 0) : first] = level * rng.uniform(0.7, 1.3) * shape
    swing = np.sin(2 * np.pi * vibrato_rate * np.arange(frames) / FRAME_RATE + wander(frames, 0.5, rng))
    pitch = gaussian_filter1d(pitch, glide * FRAME_RATE) + vibrato_depth * gaussian_filter1d(vibrato, 10) * swing
    pitch += 0.15 * wander(frames, 0.2, rng) + 0.03 * wander(frames, 0.02, rng)  # drift and jitter
    voicing = gaussian_filter1d(voicing, 2) * (1 + 0.1 * wander(frames, 0.1, rng))

    gains = voicing[:, None] * vowel_gains(tract * gaussian_filter1d(formants, 4, axis=0), tilt)
    sources = glottal_pulses(pitch, samples), rng.standard_normal(samples)
    pulses, noise = (stft(torch.from_numpy(source), FRAMES).numpy() for source in sources)
    # Harmonics in phase add up to needles; a delay that grows with frequency, up to 6 ms, spreads each pulse.
    spread = np.exp(-1j * np.pi * 0.006 * FREQUENCIES**2 / (RATE / 2))
    spectrum = spread * gains * pulses + (breath * gains + hiss) * noise
    return istft(torch.from_numpy(spectrum), FRAMES, samples).numpy()


# ---------------------------------------------------------------------------------------------- accompaniment


def add(track: np.ndarray, start: float, sound: np.ndarray) -> None:
    """Add a sound to the track at `start` seconds; what exceeds the track is cut off."""
    place = track[round(start * RATE) :][: len(sound)]
    place += sound[: len(place)]


def tone(note: float, seconds: float, harmonics: np.ndarray, decay: float = 0.0) -> np.ndarray:
    """A note with harmonics of these amplitudes, up to 14 kHz; harmonic k decays with exp(-k decay t)."""
    time = np.arange(round(seconds * RATE)) / RATE
    fundamental = np.exp((2j * np.pi * hertz(note) - decay) * time)  # its k-th power is harmonic k
    sound = np.polynomial.polynomial.polyval(fundamental, [0, *harmonics[: int(14000 / hertz(note))]]).imag
    ramps = np.minimum(time / 0.01, (seconds - time) / 0.05).clip(0, 1)  # starts in 10 ms, ends in 50 ms
    return sound * ramps


def draw_timbre(count: int, rng: np.random.Generator) -> np.ndarray:
    """Random amplitudes of an instrument's harmonics: falling and uneven."""
    numbers = np.arange(1, count + 1)
    return numbers ** -rng.uniform(1.0, 1.8) * rng.uniform(0.3, 1.0, count)


def near(pitch_class: int, lowest: int) -> int:
    """The note of that pitch class in the octave from `lowest` on."""
    return lowest + (pitch_class - lowest) % 12


def play_chords(song: Song, track: np.ndarray, rng: np.random.Generator) -> None:
    """An organ or pad: each bar's chord, held."""
    timbre, lowest = draw_timbre(12, rng), int(rng.integers(48, 58))
    length = BAR * song.beat
    for time in song.times(BAR):
        for pitch_class in song.chord(time):
            for detune in (-0.04, 0.04):  # a pair beats like a chorus
                add(track, time, tone(near(pitch_class, lowest) + detune, length + 0.05, timbre))


def play_arpeggio(song: Song, track: np.ndarray, rng: np.random.Generator) -> None:
    """A guitar or piano: the chord's notes one after another, or strummed together."""
    timbre, lowest, decay = draw_timbre(16, rng), int(rng.integers(52, 66)), rng.uniform(0.3, 1.5)
    order = rng.permutation([0, 1, 2, 3])
    step = rng.choice([0.5, 1.0])
    for number, time in enumerate(song.times(step)):
        notes = [near(pitch_class, lowest) for pitch_class in song.chord(time)]
        notes.append(notes[0] + 12)
        for note in [notes[order[number % 4]]] if step < 1 else notes:
            add(track, time, rng.uniform(0.6, 1.0) * tone(note, 2 * step * song.beat, timbre, decay))


def play_bass(song: Song, track: np.ndarray, rng: np.random.Generator) -> None:
    """The chord's root, sometimes its fifth, in eighth or quarter notes."""
    timbre, step = draw_timbre(10, rng), rng.choice([0.5, 1.0])
    for time in song.times(step):
        pitch_class = song.chord(time)[0 if rng.random() < 0.8 else 2]
        add(track, time, tone(near(pitch_class, 28), step * song.beat, timbre, decay=0.7))


def play_drums(song: Song, track: np.ndarray, rng: np.random.Generator) -> None:
    """Bass drum, snare on the second and fourth beats, and hi-hat in eighth notes."""
    time = np.arange(round(0.4 * RATE)) / RATE
    swept = 2 * np.pi * (45 * time + rng.uniform(2, 5) * (1 - np.exp(-30 * time)))
    kick = np.sin(swept) * np.exp(-rng.uniform(8, 14) * time)
    snare_band = butter(2, (rng.uniform(900, 1500), rng.uniform(6000, 9000)), "bandpass", fs=RATE, output="sos")
    hat_band = butter(2, rng.uniform(6000, 8000), "highpass", fs=RATE, output="sos")
    snare_decay, hat_decay, hat_level = rng.uniform(12, 25), rng.uniform(25, 70), rng.uniform(0.2, 0.5)
    body = 0.4 * np.sin(2 * np.pi * rng.uniform(170, 230) * time) * np.exp(-25 * time)
    kicks = {0, 4} | set(rng.choice(8, 2).tolist())  # eighth notes of the bar
    for number, start in enumerate(song.times(0.5)):
        strength = rng.uniform(0.7, 1.0)
        hiss = rng.standard_normal(len(time))  # different for every stroke
        add(track, start, hat_level * strength * sosfilt(hat_band, hiss) * np.exp(-hat_decay * time))
        if number % 8 in kicks:
            add(track, start, strength * kick)
        if number % 4 == 2:
            add(track, start, strength * (0.7 * sosfilt(snare_band, hiss) * np.exp(-snare_decay * time) + body))


PLAYERS = {play_drums: 0.0, play_bass: -2.0, play_chords: -2.0, play_arpeggio: -1.0}  # level in the band, dB


def accompany(song: Song, rng: np.random.Generator) -> np.ndarray:
    """The band (samples,): each player at its level, up to 3 dB more or less."""
    band = np.zeros(round(song.seconds * RATE))
    for play, level in PLAYERS.items():
        track = np.zeros_like(band)
        play(song, track, rng)
        band += track / track.std() * 10 ** ((level + rng.uniform(-3, 3)) / 20)
    return band


# ---------------------------------------------------------------------------------------------- dataset


def make_song(kind: str, seconds: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mixture and vocals, each (samples,), the voice between 4 dB below and 3 dB above its accompaniment."""
    progression = PROGRESSIONS[rng.integers(len(PROGRESSIONS))]
    song = Song(seconds, beat=60 / rng.uniform(80, 130), tonic=int(rng.integers(12)), progression=progression)
    vocals, accompaniment = sing(song, kind, rng), accompany(song, rng)
    vocals *= accompaniment.std() / vocals.std() * 10 ** (rng.uniform(-4, 3) / 20)
    mixture = vocals + accompaniment
    scale = PEAK / max(np.abs(mixture).max(), np.abs(vocals).max())
    return scale * mixture, scale * vocals


def split_of(index: int, songs: int) -> str:
    """Of 14 songs, 9 for training, 2 for validation, 3 for test; other numbers in proportion, at least one of each."""
    valid, test = (max(1, round(songs * share / 14)) for share in (2, 3))
    return "Train" if index < songs - valid - test else "Valid" if index < songs - test else "Test"


def write_dataset(folder: Path, options: argparse.Namespace) -> None:
    """Write all songs into `folder`, each with its own random generator."""
    for index in range(options.songs):
        kind = list(KINDS)[index % len(KINDS)]
        mixture, vocals = make_song(kind, options.seconds, np.random.default_rng([options.seed, index]))
        split, name = split_of(index, options.songs), f"singer{index + 1:02}_{kind}"
        for part, stem, waveform in (("Mixtures", "mixture", mixture), ("Sources", "vocals", vocals)):
            song_folder = folder / part / split / name
            song_folder.mkdir(parents=True)
            wavwrite(song_folder / f"{stem}.wav", waveform, RATE, "PCM_16")
        print(f"{split}/{name}", flush=True)


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("target", type=Path, help="folder to write: new or empty")
    text = "number of songs, each by a different singer (default: %(default)s)"
    parser.add_argument("--songs", type=int, default=14, metavar="N", help=text)
    text = "length of each song, in seconds (default: %(default)g)"
    parser.add_argument("--seconds", type=float, default=24.0, help=text)
    parser.add_argument("--seed", type=int, default=0, help="seed for everything random (default: %(default)s)")
    options = parser.parse_args(argv)
    for name, least, most in (("songs", 3, 999), ("seconds", 5, 600), ("seed", 0, 2**32)):
        if not least <= getattr(options, name) <= most:
            parser.error(f"--{name} must be from {least} to {most}, found {getattr(options, name)}")
    with only_writer(options.target) as target:
        part = target / ".part"  # an incomplete dataset never appears under its final names
        there = visible(target)
        if there:
            raise UserError(f"{target}: expected a new or empty folder, found '{min(there)}' in it")
        try:
            shutil.rmtree(part, ignore_errors=True)
            write_dataset(part, options)
            for folder in sorted(part.iterdir()):
                folder.rename(target / folder.name)
        except OSError as error:
            raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    print(f"{options.songs} songs of {options.seconds:g} seconds in {target}")


if __name__ == "__main__":
    sys.exit(main())
