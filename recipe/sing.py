"""Make speech sing: keep its timbre and consonants, and stretch its vowels along a random melody.

    pip install -r recipe/requirements.txt
    python recipe/sing.py speech sung

Reads speech as fetch_voices.py and synthesise_voices.py write it. Writes sung/<package>/<speaker>/00.flac: 30 s of each
speaker's speech, which singing makes longer. Files that exist already are skipped. The vocoder WORLD (Morise et al.
2016, IEICE Trans. E99-D; pyworld, MIT licence) analyses the speech into pitch, spectral envelope and aperiodicity, and
synthesises the song.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
from packages import at_level, library, write_flac  # noqa: E402

from make_demo_dataset import MAJOR, hertz  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import AudioConfig, wavread  # noqa: E402

RATE = AudioConfig().sample_rate  # Hz
HOP = 0.005  # s from frame to frame of the vocoder
SPEECH = 30  # s used of each speaker
LOWEST, HIGHEST = 65, 600  # Hz, pitch of speech
LEAST = 100  # voiced frames that speech must have
VOWEL = 12  # voiced frames in a row; only longer runs are stretched
MINOR = (0, 2, 3, 5, 7, 8, 10)  # semitones above the tonic


def walk(frames: int, scale: list[int], degree: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A random walk of notes of 0.15 to 0.9 s with vibrato on a scale: semitones (frames,), last degree."""
    notes, length = [], 0
    while length < frames:
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, len(scale) - 1))
        time = np.arange(int(rng.uniform(0.15, 0.9) / HOP)) * HOP
        depth = rng.uniform(0, 0.5) * np.clip((time - 0.2) / 0.3, 0, 1)  # semitones; long notes only
        notes.append(scale[degree] + depth * np.sin(2 * np.pi * rng.uniform(4.8, 6.5) * time + rng.uniform(0, 6)))
        length += len(time)
    return np.concatenate(notes)[:frames] + np.cumsum(rng.normal(0, 0.01, frames)), degree


def glide(notes: np.ndarray, frames: int) -> np.ndarray:
    """Notes (frames,), smoothed over `frames` on either side."""
    window = np.hanning(2 * frames + 3)[1:-1]
    return np.convolve(np.pad(notes, frames, "edge"), window / window.sum(), "valid")


def compose(f0: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A melody for speech with pitch f0 (frames,) in Hz, 0 if unvoiced.

    Returns for every frame of the song the frame of the speech that sounds (fractions lie between two), and its pitch
    in Hz, 0 if unvoiced. The melody lies around the speaker's own pitch or up to five semitones above.
    """
    voiced = f0 > 0
    home = 69 + 12 * np.log2(np.median(f0[voiced]) / hertz(69)) + rng.uniform(0, 5)
    steps = MAJOR if rng.random() < 0.5 else MINOR
    scale = [octave + step for octave in (-12, 0) for step in steps if -5 <= octave + step <= 9]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]]))).reshape(-1, 2)
    sources, pitches, last, degree = [], [], 0, len(scale) // 2
    for first, end in edges:
        stretch = rng.uniform(1.3, 3) if end - first > VOWEL else 1
        place = np.linspace(first, end - 1, int((end - first) * stretch))
        notes, degree = walk(len(place), scale, degree, rng)
        notes = glide(home + notes, int(rng.uniform(0.02, 0.08) / HOP))
        own = 12 * np.log2(np.interp(place, np.arange(first, end), f0[first:end]) / np.median(f0[first:end]))
        notes += 0.1 * np.clip(own, -3, 3)  # a little of the speaker's own intonation
        sources += [np.arange(last, first), place]
        pitches += [np.zeros(first - last), hertz(notes)]
        last = end
    return np.concatenate(sources), np.concatenate(pitches)


def between(frames: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Frames (frames, bins), interpolated at fractional places (number,): (number, bins)."""
    before = np.floor(places).astype(int)
    after = np.minimum(before + 1, len(frames) - 1)
    share = (places - before)[:, None]
    return (1 - share) * frames[before] + share * frames[after]


def sing(speech: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Speech (samples,) at RATE, sung: another number of samples, at -20 dB; None if hardly any of it is voiced."""
    world, sound = library("pyworld"), speech.astype(np.float64)
    f0, time = world.dio(sound, RATE, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=1000 * HOP)
    f0 = world.stonemask(sound, f0, time, RATE)
    if np.count_nonzero(f0) < LEAST:
        return None
    places, pitch = compose(f0, rng)
    envelope = np.exp(between(np.log(world.cheaptrick(sound, f0, time, RATE)), places))
    noise = between(world.d4c(sound, f0, time, RATE), places)
    return at_level(world.synthesize(pitch, envelope, noise, RATE, 1000 * HOP).astype(np.float32))


def speech_of(folder: Path) -> np.ndarray:
    """The first SPEECH seconds of the files in a speaker's folder: (samples,) at RATE."""
    speech, seconds = [], 0.0
    for path in sorted(folder.glob("*.flac")):
        waveform, rate = wavread(path)
        speech.append(resample(waveform.mean(axis=0), rate, RATE))
        seconds += len(speech[-1]) / RATE
        if seconds >= SPEECH:
            break
    return np.concatenate(speech)[: SPEECH * RATE]


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("voices", type=Path, help="folder of speech: <package>/<speaker>/*.flac")
    parser.add_argument("output", type=Path, metavar="FOLDER", help="folder to write")
    options = parser.parse_args(argv)
    library("pyworld")  # fail before the work, not after
    speakers = sorted({path.parent for path in options.voices.glob("*/*/*.flac")})
    if not speakers:
        raise UserError(f"{options.voices}: expected <package>/<speaker>/*.flac, found none")
    for folder in speakers:
        name = folder.relative_to(options.voices).as_posix()
        target = options.output / name / "00.flac"
        if target.exists():
            continue
        song = sing(speech_of(folder), np.random.default_rng(list(name.encode())))
        if song is None:
            print(f"{name}: left out: hardly any of it is voiced", flush=True)
            continue
        write_flac(target, song, RATE)
        print(f"{name}: {len(song) / RATE:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
