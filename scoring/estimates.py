"""Other programs' estimates: which files of a folder are which song's, and how an estimate is shifted or scaled.

Known are the names that these programs write, in any sound format, at any depth of the folder:

    <song>                                        the voice alone, named like the song
    <song>/vocals                                 Spleeter, MSST; below a model's folder, Demucs; below test/, museval
    <song>_<model>/vocals                         Open-Unmix
    <song>_vocals, <song>_vocals_<model>          Spleeter's and MSST's templates; the separation scripts
    <song>_(Vocals)_<model>, 1_<song>_(Vocals)    audio-separator; Ultimate Vocal Remover
    <song> [vocals]                               square brackets, as websites put them
    <song>/mixture_vocals, <song>/mixture/vocals  any of them, where every song's mixture has the same name
    <song>_mix_vocals, <song>.stem/vocals         any of them, where the mixture's file is <song>_mix or <song>.stem
    <song>/mixture                                the separation scripts, whose files say who wrote them

Not taken are the dataset's own files, and what was separated from a stem: <song>/vocals_vocals, <song>_vocals_vocals.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from process.errors import UserError
from songs.names import ACCOMPANIMENT, MIXTURE, NO_VOICE, STEM, VOCALS, WORDS, part_named, plain
from songs.song import Song, StemFolder
from sound.ffmpeg import open_with_ffmpeg
from sound.files import UnknownFormat
from sound.names import SUFFIXES
from sound.tag_reading import written_here
from util import wavread

Estimate = tuple[Path, Path | None]  # files of voice and, if there is one, accompaniment

_PLAIN = {name.replace(" ", "_") for name in {*WORDS[VOCALS], *WORDS[ACCOMPANIMENT], *NO_VOICE}}
_PARTS = {name.replace("_", "[ _-]?") for name in _PLAIN}
# After the song's name: a part, and perhaps the model; or a part in brackets, and perhaps the model before or after.
_NAMED = re.compile(rf"[ _.-]+(?P<part>{'|'.join(sorted(_PARTS, key=len, reverse=True))})(?:[ _.-](?P<model>.*))?")
_BRACKETS = re.compile(r"(?P<model>[^([]*?)[ _.-]*[(\[](?P<part>.+?)[)\]].*")

# How plainly a file's name says what it is: the plainest are taken.
LIKE_SONG, PART, SONG_AND_PART, OTHER_PART, WITH_MODEL = range(5)


def find_estimates(folder: Path, songs: Sequence[Song]) -> dict[str, Estimate]:
    """The estimates of songs, by their names. Raises UserError if a song has several of the same kind, or if two songs,
    whose names differ only in case, may have the same."""
    own = {os.path.realpath(path) for song in songs for path in song.files}
    mixtures = {song.name: "" if isinstance(song, StemFolder) else _key(song.mixture.stem) for song in songs}
    # A song is called by its name or, unless that is a word such as 'mixture', by the name of its mixture's file.
    keys = {mixture: [name] for name, mixture in mixtures.items() if mixture and part_named(mixture) is None}
    keys |= {key: [name for name in mixtures if _key(name) == key] for key in map(_key, mixtures)}
    found: dict[tuple[str, str], dict[Path, tuple[int, int]]] = {}  # (song, part) -> file -> (how plainly, how deep)
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(name.startswith(".") for name in inside.parts) or path.is_dir():
            continue
        name, places = _key(inside.stem), [_key(place) for place in inside.parts[:-1]]
        near = [key for key in keys if any(key in text for text in (name, *places))]
        known = [(len(key), key, match) for key in near if (match := _match(name, places, key, mixtures[keys[key][0]]))]
        if known and os.path.realpath(path) not in own:
            _, key, (part, rank) = max(known)  # 'One More' is no estimate of 'One'
            song = _spelt_like(keys[key], path, folder)
            if part == MIXTURE or (rank == LIKE_SONG and key != _key(song)):  # named like the song's mixture
                part = VOCALS if written_here(path) else MIXTURE
            found.setdefault((song, part), {})[path] = rank, len(inside.parts)
    estimates = {}
    for name in mixtures:
        voice = _plainest(folder, name, VOCALS, found.get((name, VOCALS), {}))
        if voice:
            estimates[name] = voice, _plainest(folder, name, ACCOMPANIMENT, found.get((name, ACCOMPANIMENT), {}))
    return estimates


def _spelt_like(songs: Sequence[str], path: Path, folder: Path) -> str:
    """Of songs that have the same key, the one whose estimate a file is."""
    place = str(path.relative_to(folder))
    same = songs if len(songs) == 1 else [song for song in songs if song in place]
    if len(same) != 1:
        told = " and ".join(f"'{song}'" for song in songs)
        raise UserError(f"{folder}: expected estimates of {told}, spelt alike, found '{place}'")
    return same[0]


def _key(name: str) -> str:
    """A name as programs write it that replace what a file's name cannot have."""
    return re.sub(r'[<>:"/\\|?*_]+', "_", plain(name)).strip("_. ")


def _match(name: str, places: Sequence[str], song: str, mixture: str) -> tuple[str, int] | None:
    """The part of a song that a file holds, and how plainly its name says so; None if it is not one of the song's.

    name, places, song, mixture: keys of the file's name, of the folders that it is in, of what the song is called and
    of its mixture's file.
    """
    if name == song:
        kinds = {part_named(place) for place in places} | {MIXTURE for place in places if place.startswith("mix")}
        if kinds & {VOCALS, ACCOMPANIMENT}:
            return (VOCALS if VOCALS in kinds else ACCOMPANIMENT), PART
        return None if kinds & {MIXTURE, STEM} or song in places else (VOCALS, LIKE_SONG)
    if part := _part_after(name, song):
        return part, SONG_AND_PART
    if song not in places and not any(place.startswith(f"{song}_") for place in places):
        return None
    part, rank = part_named(name), PART if name in _PLAIN else OTHER_PART
    stem, _, last = name.rpartition("_")
    if part in (VOCALS, ACCOMPANIMENT) and last in _PLAIN and part_named(stem):
        return None  # separated from a stem
    if part not in (VOCALS, ACCOMPANIMENT, MIXTURE):
        words = filter(None, (mixture, *WORDS[MIXTURE]))
        part, rank = next(filter(None, (_part_after(name, word) for word in words)), None), SONG_AND_PART
    return (part, rank if song in places else WITH_MODEL) if part else None


def _part_after(name: str, song: str) -> str | None:
    """The part named after the song's name: of 'song_vocals', of 'song_(Vocals)_model' and of '1_song_(Vocals)'."""
    numbered = re.sub(r"^\d+_", "", name)
    rest = next((own.removeprefix(song) for own in (name, numbered) if own.startswith(song)), "")
    if brackets := _BRACKETS.fullmatch(rest):
        usual = not brackets["model"] or numbered != name  # Ultimate Vocal Remover can put the model's name before
        part = part_named(brackets["part"]) if usual else None
    else:
        named = _NAMED.fullmatch(rest)
        part = part_named(named["part"]) if named and not part_named(named["model"] or "") else None
    return part if part in (VOCALS, ACCOMPANIMENT) else None


def _plainest(folder: Path, song: str, part: str, found: dict[Path, tuple[int, int]]) -> Path | None:
    best = [path for path, rank in found.items() if rank == min(found.values())]
    if len({path.with_suffix("") for path in best}) > 1:
        names = " and ".join(f"'{path.relative_to(folder)}'" for path in best[:2])
        raise UserError(f"{folder}: expected one estimate of the {part} of '{song}', found {names}: name one's folder")
    return min(best, key=lambda path: SUFFIXES.index(path.suffix.lower()), default=None)


def read_estimate(path: Path) -> tuple[np.ndarray, int]:
    """Like `wavread`, and whatever ffmpeg reads."""
    try:
        return wavread(path)
    except UnknownFormat as error:
        with open_with_ffmpeg(path, error.reason) as sound:
            return np.concatenate(list(sound.blocks), axis=1).astype(np.float32, copy=False), sound.info.rate


# ---------------------------------------------------------------------------------------------- shifted or scaled

LONGEST_LAG = 0.5  # seconds
RESEMBLES = 0.3  # least correlation that tells a lag
MATTERS = 0.5  # dB of SDR that shifting or scaling would bring
LEAST_GAIN = 1.0  # dB


def displacement(reference: np.ndarray, estimate: np.ndarray, rate: int) -> str:
    """How an estimate (samples,) is late or early, louder or softer than it should be, '' if that hardly matters."""
    most = min(round(LONGEST_LAG * rate), len(reference) - 1)
    size = next_fast_len(len(reference) + most, real=True)
    cross = irfft(rfft(estimate, size) * rfft(reference, size).conj(), size)  # with the reference later by 0, 1, ...
    shifted = np.concatenate([cross[size - most :] if most else cross[:0], cross[: most + 1]])  # by -most to most
    lag = int(np.argmax(np.abs(shifted))) - most
    power, own = (float(np.sum(np.square(signal, dtype=np.float64))) for signal in (reference, estimate))
    if not power or not own or not np.isfinite(own):
        return ""
    here, there = (float(shifted[place + most]) / np.sqrt(power * own) for place in (0, lag))  # correlations
    found = []
    if abs(there) >= RESEMBLES and _sdr(there) - _sdr(here) >= MATTERS:
        found.append(f"{abs(lag)} samples ({1000 * abs(lag) / rate:.1f} ms) {'late' if lag > 0 else 'early'}")
    else:
        lag, there = 0, here
    inner = float(shifted[lag + most])
    gain, best = inner / power, inner / own  # how much of the voice it holds; the factor that fits it best
    error, least = own - 2 * inner + power, power * (1 - there**2)
    scalable = gain > 0 and (gain > 1) == (best < 1) and error > least * 10 ** (MATTERS / 10)
    if gain < 0 and abs(there) >= RESEMBLES:
        found.append("with its polarity reversed")
    elif scalable and abs(20 * np.log10(gain)) >= LEAST_GAIN:
        found.append(f"at {gain:.2g} times its level")
    return " and ".join(found)


def _sdr(correlation: float) -> float:
    """SDR in dB of an estimate, times the factor that fits best."""
    shared = min(correlation**2, 1 - 1e-12)
    return 10 * np.log10(max(shared, 1e-12) / (1 - shared))
