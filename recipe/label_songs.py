"""Turn songs without stems into songs to train on: a teacher, Spleeter, says what in them is the voice.

    python recipe/label_songs.py spleeter.npz SONGS DATA
    python recipe/label_songs.py spleeter.npz SONGS DATA --network pretrained/savedModel_RNN_bidirectional_best.pt

SONGS is any folder of sound files, in stereo and at their level. Every song goes through the teacher twice, the second
time played faster by a fifth, three semitones higher, and from 3 s later on: the mean is better than either, and where
both agree, the teacher is sure. Writes

    DATA/taught/<song>/vocals.ogg and accompaniment.ogg   the mean of both, at 22.05 kHz: the voice ends at 11 kHz
    DATA/accompaniments/taught/<song>.ogg                 songs in which no voice was heard anywhere
    DATA/taught.csv                                       a row a song: what was heard, and how sure it is

With a network, the voice is a mean of the teacher's and of what the network hears in both directions: two that err
differently are better than either.

Songs of which the teacher is not sure are left out; so are those that are in the table already. The weights are made by
export_spleeter.py.
"""

import csv
import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from teacher import AUDIO, EDGE, Spleeter  # noqa: E402

from Model_RNN import both_ways  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.devices import choose_device  # noqa: E402
from process.errors import UserError, command, printable  # noqa: E402
from process.locking import only_writer  # noqa: E402
from separation.separate import KINDS, separate  # noqa: E402
from songs.dataset import sounds_below  # noqa: E402
from songs.layouts import Found  # noqa: E402
from songs.song import Accompaniment, Song  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import load_network, wavread, wavwrite  # noqa: E402

RATE = 22050  # Hz, of what is written
LATER = 3.0  # seconds
SPEED = 6 / 5  # of the second pass
SHARE = 0.4  # of the network in the voice
WINDOW = 3.0  # seconds
UNSUNG = -25.0  # dB: the voice re the mixture, in its best window, of a song without one
AGREEMENT = 6.0  # dB: the voice re the difference of the two passes, at least
SOFTEST = -18.0  # dB: the voice re the mixture, at least: what is softer is mostly what leaked
PEAK = 0.9


@dataclasses.dataclass(frozen=True)
class Row:
    """What the teacher heard in a song."""

    song: str
    minutes: float
    voice_db: float  # re the mixture
    loudest_db: float  # the same in the window where it is loudest
    agreement_db: float
    verdict: str  # sung, unsung, or unsure


Hears = Callable[[np.ndarray], np.ndarray]  # mixture (2, samples) at the teacher's rate -> its voice


def network_of(path: Path, device: torch.device) -> Hears:
    """What a network hears in a song, forwards and backwards.

    Its mask is not raised to a power, which gains SDR v3 by leaving less of the voice: a label is the voice as it is.
    """
    network, audio, _ = load_network(path, *KINDS)
    network = both_ways(network.to(device))
    network.config = dataclasses.replace(network.config, power=1.0)
    return lambda mixture: separate(network, mixture, AUDIO.sample_rate, audio)


def label(teacher: Spleeter, mixture: np.ndarray, name: str, network: Hears | None = None) -> tuple[Row, np.ndarray]:
    """The row of a song, mixture (2, samples) at the teacher's rate, and its voice, the same shape."""
    sound = torch.from_numpy(mixture)
    later = min(round(LATER * AUDIO.sample_rate), mixture.shape[1] // 2)  # something is left of a short song
    first = teacher.separate(sound)
    second = played_faster(teacher, mixture[:, later:])
    difference = below(EDGE / SPEED, first[:, later:]) - second
    agreement = decibels(first[:, later:].square().sum(), difference.square().sum())
    voice = first.clone()
    voice[:, later:] -= 0.5 * difference
    loudness, all_of_it = (powers(part) for part in (voice, sound))
    level = decibels(loudness.sum(), all_of_it.sum())
    loudest = max(map(decibels, loudness, all_of_it.clamp(min=0.01 * all_of_it.mean())))
    sure = agreement >= AGREEMENT and level >= SOFTEST
    verdict = "unsung" if loudest < UNSUNG else "sung" if sure else "unsure"
    minutes = mixture.shape[1] / AUDIO.sample_rate / 60
    row = Row(name, round(minutes, 2), round(level, 2), round(loudest, 2), round(agreement, 2), verdict)
    heard = voice.numpy()
    if network is not None and verdict == "sung":
        heard = (1 - SHARE) * heard + SHARE * network(mixture)
    return row, heard


def played_faster(teacher: Spleeter, mixture: np.ndarray) -> torch.Tensor:
    """The voice in mixture (2, samples) as the teacher hears it when it is played SPEED times as fast."""
    rate = round(AUDIO.sample_rate / SPEED)
    fast = teacher.separate(torch.from_numpy(resample(mixture, AUDIO.sample_rate, rate)))
    voice = torch.from_numpy(resample(fast.numpy(), rate, AUDIO.sample_rate))[:, : mixture.shape[1]]
    return torch.nn.functional.pad(voice, (0, mixture.shape[1] - voice.shape[1]))


def below(frequency: float, sound: torch.Tensor) -> torch.Tensor:
    """What of sound (channels, samples) lies below a frequency in Hz."""
    spectrum = torch.fft.rfft(sound)
    spectrum[:, round(frequency * sound.shape[1] / AUDIO.sample_rate) :] = 0
    return torch.fft.irfft(spectrum, sound.shape[1])


def powers(sound: torch.Tensor) -> torch.Tensor:
    """The energy of each window of sound (channels, samples)."""
    window = round(WINDOW * AUDIO.sample_rate)
    padded = torch.nn.functional.pad(sound, (0, -sound.shape[1] % window))
    return padded.double().square().unflatten(1, (-1, window)).sum(dim=(0, 2))


def decibels(power: torch.Tensor, reference: torch.Tensor) -> float:
    return 10 * math.log10((float(power) + 1e-12) / (float(reference) + 1e-12) + 1e-9)


def read(song: Song) -> np.ndarray:
    """A song as the teacher takes it: (2, samples) at its rate."""
    sound, rate = wavread(song.mixture)
    sound = resample(sound[:2], rate, AUDIO.sample_rate)
    return np.array(np.broadcast_to(sound, (2, sound.shape[1])))


def write(row: Row, mixture: np.ndarray, voice: np.ndarray, data: Path) -> None:
    """Write a song's sources, or what has no voice, with their peak below full scale; of what is unsure, nothing."""
    if row.verdict == "unsure":
        return
    files = {data / "taught" / row.song / "vocals.ogg": voice}
    files[data / "taught" / row.song / "accompaniment.ogg"] = mixture - voice
    if row.verdict == "unsung":
        files = {data / "accompaniments" / "taught" / f"{row.song}.ogg": mixture}
    files = {path: resample(sound, AUDIO.sample_rate, RATE) for path, sound in files.items()}
    gain = min(1.0, PEAK / max(max(np.abs(sound).max() for sound in files.values()), 1e-9))  # of both: their sum stays
    for path, sound in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        wavwrite(path, gain * sound, RATE)


def label_all(songs: list[Found], teacher: Spleeter, network: Hears | None, data: Path) -> list[str]:
    """Label the songs that are not in the table yet. Returns the names of those that cannot be read."""
    table = data / "taught.csv"
    done = set()
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            done = {row["song"] for row in csv.DictReader(file)}
    names = [field.name for field in dataclasses.fields(Row)]
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        if not file.tell():  # at the end, which is the beginning
            writer.writeheader()
        failed = []
        for found in songs:
            name = printable(found.name.replace("/", " "))
            if name in done:
                continue
            try:
                mixture = read(found.open())
            except UserError as error:
                print(f"error: {printable(str(error))}", file=sys.stderr)
                failed.append(name)
                continue
            row, voice = label(teacher, mixture, name, network)
            write(row, mixture, voice, data)
            writer.writerow(dataclasses.asdict(row))
            file.flush()
            done.add(name)  # also of another format
            print(f"{name}: {row.minutes} min, voice {row.voice_db} dB, agreement {row.agreement_db} dB, {row.verdict}")
    return failed


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    parser.add_argument("weights", type=Path, help="Spleeter's weights, .npz, as export_spleeter.py writes them")
    parser.add_argument("songs", type=Path, help="folder of sound files, in stereo and at their level")
    parser.add_argument("data", type=Path, help="folder to write the labelled songs into")
    parser.add_argument(
        "--device", default="auto", help="run on cpu, cuda, mps, or the best available (default: %(default)s)"
    )
    counts = f"checkpoint of a network, whose voice then counts for {100 * SHARE:.0f} %% (default: none)"
    parser.add_argument("--network", type=Path, metavar="CHECKPOINT", help=counts)
    options = parser.parse_args(argv)
    songs = sounds_below(options.songs, Accompaniment)
    device = choose_device(options.device)
    teacher = Spleeter(options.weights, device)
    network = network_of(options.network, device) if options.network else None
    with only_writer(options.data):
        failed = label_all(songs, teacher, network, options.data)
    if failed:
        raise UserError(f"{options.songs}: {len(failed)} songs could not be read")


if __name__ == "__main__":
    sys.exit(main())
