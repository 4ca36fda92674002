"""Fetch speech from games and educational programs in Debian, for sing.py or to train with `--voices`.

    python recipe/fetch_voices.py speech
    python recipe/fetch_voices.py speech --only gcin-voice hedgewars-data

Needs apt-get and dpkg (Debian, Ubuntu; run `apt-get update` first). Writes speech/<package>/<speaker>/<number>.flac:
mono, 32 kHz, pieces of about 40 s, at most ten minutes per speaker. Hum, steady noise and pauses are removed from every
clip, and its level is set to -20 dB; speakers with dull or noisy sound are left out. Packages that exist already are
skipped. The licences, in SOURCES, are the packages' own; this repository contains none of their sound.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
from packages import LEVEL, PEAK, Source, fetch_all, write_flac  # noqa: E402
from scipy.ndimage import binary_dilation, uniform_filter  # noqa: E402
from scipy.signal import butter, istft, sosfilt, stft, welch  # noqa: E402

from process.errors import UserError, command  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import AudioConfig, wavread  # noqa: E402

RATE = AudioConfig().sample_rate  # Hz
FRAME = RATE // 50  # samples: 20 ms
LONGEST, SHORTEST = 600, 8  # s of a speaker
PIECE = 40  # s
REST = RATE // 8  # samples between clips
NARROWEST, NOISIEST = 7500, 20  # required of a speaker: bandwidth in Hz, dB between speech and pauses
HUM = butter(4, 60, "high", fs=RATE, output="sos")

# The groups of a pattern name the speaker. Robots and radio voices are left out.
GAME_UNITS = "swordman|spearman|battleaxe|valkyrie|cudgel_lady|princess|stickfighter|fakir|magician|shaman"
SOURCES = (
    Source("tuxpaint-stamps-default", "GPL-2", "amateurs describe pictures", r"_desc(?:_(\w+))?\.(?:ogg|wav)$"),
    Source(  # the role, if the name tells it, else the scene
        *("fillets-ng-data-cs", "GPL-2", "Czech actors' dialogue"),
        r"sound/(?:share/)?(?:\w+/cs/[^/-]+-(m|v|hs|x|c|pap)-|(\w+)/cs/)[^/]*$",
    ),
    Source("ktuberling-data", "GPL-2+", "words", r"sounds/(?!wav/)([a-z]+)/[^/]*$"),
    Source("klettres-data", "GPL-2+", "letters and syllables", r"klettres/([^/]+)/"),
    Source("hedgewars-data", "GFDL-1.3", "acted, shouted", r"voices/(?!Robot/)([^/]+)/[^/]*$"),
    Source(
        *("nexuiz-data", "GPL-2+", "acted, and a tutorial"),
        r"sound/(?:player|announcer)/(?!robotic|specop|marine)([\w-]+)/(?:coms/)?[^/]*\.(?:ogg|wav)$|sound/(tutorial)/",
        "data.pk3",
    ),
    Source("gcin-voice", "GPL-3 or LGPL-3, CC-BY-3.0", "all syllables of Mandarin", r"/(\d)\.ogg$"),
    Source("0ad-data", "CC-BY-SA-3.0", "acted", r"audio/voice/([^/]+)/civ/civ_((?:fe)?male).*\.ogg$", "public.zip"),
    Source(
        *("megaglest-data", "CC-BY-SA-3.0", "acted"),
        rf"(norsemen|persian|indian)/units/({GAME_UNITS}|fire_archer|horseman)/sounds/[^/]*(?:select|ack|ready)[^/]*$",
    ),
    Source("redeclipse-data", "CC-BY-SA-3.0+", "an announcer", r"sounds/(announcer)/"),
    Source("unknown-horizons", "CC-BY-SA-3.0", "acted", r"audio/voice/(\w+)/"),
    Source("freedroidrpg-data", "GPL-2+", "acted", r"(tux_ingame)_comments/"),
)


# ---------------------------------------------------------------------------------------------- a clip


def levels(waveform: np.ndarray) -> np.ndarray:
    """Levels in dB of all complete frames of 20 ms of waveform (samples,)."""
    frames = waveform[: len(waveform) // FRAME * FRAME].reshape(-1, FRAME)
    return 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)


def is_clipped(waveform: np.ndarray) -> bool:
    """Whether more than a few samples are at full scale, or at what seems to be full scale."""
    magnitude = np.abs(waveform)
    return np.mean(magnitude >= 0.999 * max(magnitude.max(), 0.9)) > 3e-4


def to_mono(waveform: np.ndarray) -> np.ndarray:
    """The mean of channels (channels, samples), or the loudest one if they cancel out or one is silent."""
    mono = waveform.mean(axis=0)
    if np.mean(mono**2) < 0.25 * np.mean(waveform**2):
        return waveform[np.argmax(np.mean(waveform**2, axis=1))]
    return mono


def lower_noise(waveform: np.ndarray) -> np.ndarray:
    """Lower steady noise, estimated from the quietest tenth of the frames, by up to 20 dB (smoothed Wiener gains)."""
    spectrum = stft(waveform, RATE, nperseg=1024)[2]
    power = uniform_filter(np.abs(spectrum) ** 2, (3, 3))
    heard = power.sum(axis=0) > 1e-9  # digital silence says nothing about the noise
    noise = np.percentile(power[:, heard], 10, axis=1, keepdims=True)
    gain = np.maximum(1 - 5 * noise / np.maximum(power, 1e-12), 0.1)
    return istft(spectrum * gain, RATE, nperseg=1024)[1][: len(waveform)].astype(np.float32)


def cut_pauses(waveform: np.ndarray) -> np.ndarray:
    """Speech at -20 dB with pauses of at most 0.3 s, faded in and out. The waveform must not be silent."""
    db = levels(waveform)
    quiet = np.percentile(db, 5)
    floor = quiet + 6 if quiet < db.max() - 25 else -np.inf  # else there is no pause to measure it in
    speech = db > max(db.max() - 40, floor)
    near = binary_dilation(speech, iterations=7)  # keeps 140 ms before and after
    kept = waveform[: len(db) * FRAME].reshape(-1, FRAME)[near].ravel()
    fade = np.linspace(0, 1, FRAME // 2, dtype=np.float32)
    kept[: len(fade)] *= fade
    kept[-len(fade) :] *= fade[::-1]
    kept *= LEVEL / np.sqrt(np.mean(10 ** (db[speech] / 10)))
    return kept * np.float32(min(1, PEAK / np.abs(kept).max()))


def clean(waveform: np.ndarray, rate: int) -> np.ndarray | None:
    """The speech (samples,) at RATE in a clip (channels, samples); None if it is too short, clipped, dull or silent."""
    if rate < 16000 or waveform.shape[1] < 0.15 * rate or is_clipped(waveform):
        return None
    mono = sosfilt(HUM, resample(to_mono(waveform), rate, RATE)).astype(np.float32)
    db = levels(mono)
    if len(db) < 8 or db.max() < -55:
        return None
    if np.percentile(db, 95) - np.percentile(db, 8) > 18:  # there are pauses to measure the noise in
        mono = lower_noise(mono)
    return cut_pauses(mono)


# ---------------------------------------------------------------------------------------------- a speaker


def quality(waveform: np.ndarray) -> tuple[float, float]:
    """Bandwidth in Hz (mean spectrum within 60 dB of its peak), and dB between speech and pauses."""
    frequencies, power = welch(waveform, RATE, nperseg=1024)
    db = 10 * np.log10(power + 1e-20)
    frames = levels(waveform)
    frames = frames[frames > -95]  # not the digital silence between clips
    return frequencies[np.flatnonzero(db > db.max() - 60)[-1]], np.percentile(frames, 90) - np.percentile(frames, 2)


def speak(paths: list[Path]) -> np.ndarray | None:
    """A speaker's clips in random order, up to ten minutes, with a rest after each: (samples,) at RATE.

    None if they are too short or not good enough. Unreadable files are reported.
    """
    speech, seconds = [], 0.0
    for index in np.random.default_rng(0).permutation(len(paths)):
        try:
            clip = clean(*wavread(paths[index]))
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if clip is not None:
            speech += [clip, np.zeros(REST, np.float32)]
            seconds += len(clip) / RATE
        if seconds > LONGEST:
            break
    if seconds < SHORTEST:
        return None
    waveform = np.concatenate(speech)
    bandwidth, contrast = quality(waveform)
    return waveform if bandwidth >= NARROWEST and contrast >= NOISIEST else None


def collect(found: list[tuple[Path, re.Match]], folder: Path) -> str:
    """Write each speaker's voice into its own folder, in even pieces. Returns what was written."""
    speakers: dict[str, list[Path]] = {}
    for path, match in found:
        name = "-".join(group for group in match.groups() if group) or "en"  # English is not marked
        speakers.setdefault(name, []).append(path)
    minutes = []
    for name, paths in speakers.items():
        waveform = speak(paths)
        if waveform is None:
            continue
        seconds = len(waveform) / RATE
        for number, piece in enumerate(np.array_split(waveform, max(1, round(seconds / PIECE)))):
            write_flac(folder / name / f"{number:02d}.flac", piece, RATE)
        minutes.append(seconds / 60)
    return f"{len(minutes)} speakers, {sum(minutes):.1f} minutes"


@command
def main(argv: list[str] | None = None) -> None:
    fetch_all(argv, __doc__, SOURCES, collect)


if __name__ == "__main__":
    sys.exit(main())
