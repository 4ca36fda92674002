"""Separate the songs of a dataset with Spleeter's 2-stem model, to judge it beside the networks.

    python recipe/separate_spleeter.py spleeter.npz MUSDB18 spleeter
    python recipe/separate_spleeter.py spleeter.npz MUSDB18 spleeter_mono --mono
    python evaluate.py MUSDB18 --estimates spleeter spleeter_mono

Writes <song>.wav, the voice at the song's rate and with its channels, into the folder. evaluate.py mixes all songs down
before the networks hear them; with --mono, Spleeter gets no more either. The weights are made by export_spleeter.py.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from teacher import AUDIO, Spleeter  # noqa: E402

from process.commandline import parser_from  # noqa: E402
from process.devices import choose_device  # noqa: E402
from process.errors import UserError, command, printable  # noqa: E402
from songs.dataset import SPLITS, add_dataset_arguments, find_songs  # noqa: E402
from songs.song import Song  # noqa: E402
from sound.resampling import resample  # noqa: E402
from util import wavwrite  # noqa: E402


def mixture_of(song: Song, mono: bool) -> np.ndarray:
    """A song as Spleeter takes it: (1 or 2 channels, samples)."""
    stems = iter(song.stems().values())
    mixture = sum(stems, start=next(stems))
    return mixture.mean(axis=0, keepdims=True) if mono or len(mixture) > 2 else mixture


def voice_of(teacher: Spleeter, mixture: np.ndarray, rate: int) -> np.ndarray:
    """What Spleeter takes for the voice in mixture (1 or 2 channels, samples): the same shape, at the same rate."""
    channels, samples = mixture.shape
    sound = torch.from_numpy(resample(mixture, rate, AUDIO.sample_rate)).expand(2, -1)
    voice = resample(teacher.separate(sound).numpy()[:channels], AUDIO.sample_rate, rate)[:, :samples]
    return np.pad(voice, ((0, 0), (0, samples - voice.shape[1])))


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    parser.add_argument("weights", type=Path, help="Spleeter's weights, .npz, as export_spleeter.py writes them")
    add_dataset_arguments(parser)
    parser.add_argument("output", type=Path, help="folder to write the voices into")
    parser.add_argument("--split", choices=SPLITS, default="Test", help="separate these songs (default: %(default)s)")
    parser.add_argument("--mono", action="store_true", help="mix a song down before Spleeter hears it")
    device = "run on cpu, cuda, mps, or the best available (default: %(default)s)"
    parser.add_argument("--device", default="auto", help=device)
    options = parser.parse_args(argv)
    songs = find_songs(options.dataset, options.hold_out, options.include_test)[options.split]
    if not songs:
        raise UserError(f"{options.dataset}: expected songs in {options.split}, found none (--split)")
    teacher = Spleeter(options.weights, choose_device(options.device))
    failed = 0
    for song in songs:
        path = options.output / f"{song.name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.resolve() in {own.resolve() for own in song.files}:
                raise UserError(f"{path}: expected a folder of its own for the voices, found the song itself")
            wavwrite(path, voice_of(teacher, mixture_of(song, options.mono), song.rate), song.rate, "FLOAT")
            print(path)
        except UserError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            failed += 1
    if failed:
        raise UserError(f"{options.dataset}: {failed} of {len(songs)} songs could not be separated")


if __name__ == "__main__":
    sys.exit(main())
