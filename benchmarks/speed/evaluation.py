"""Time a whole evaluation by evaluate.py, on songs of 4 minutes strung together from those of a dataset.

    python benchmarks/speed/evaluation.py MIR-1K --songs 50 --output results/evaluation_speed.json
    python benchmarks/speed/evaluation.py MIR-1K --songs 4 -- --workers 1 --framewise

Two different songs at 32 kHz are evaluated again and again, as their content does not affect the time. Options after --
go to evaluate.py. Reports wall and processor time (the one to read on a busy machine), and which parts take them.
"""

import json
import os
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

import evaluate
from process.commandline import parser_from, typed
from process.errors import command, whole_file
from scoring.report import code_version
from songs.dataset import find_songs
from sound.resampling import resample
from util import wavwrite

RATE, SECONDS, DIFFERENT = 32000, 240, 2


def write_songs(folder: Path, dataset: str, count: int) -> None:
    """Write `count` songs into `folder`, all but the first two as links."""
    songs = [song for split in find_songs(dataset).values() for song in split]
    for number in range(count):
        song = folder / f"song {number:03d}"
        song.mkdir()
        first = folder / f"song {number % DIFFERENT:03d}"
        if song == first:
            pieces = []
            for index in np.random.default_rng(number).permutation(len(songs)):
                pieces.append(resample(songs[index].read(), songs[index].rate, RATE))
                if sum(piece.shape[1] for piece in pieces) >= RATE * SECONDS:
                    break
            sound = np.concatenate(pieces, axis=1)[:, : RATE * SECONDS]
            for name, waveform in zip(("mixture", "vocals"), sound, strict=True):
                wavwrite(song / f"{name}.wav", waveform, RATE, "PCM_16")
        else:
            for name in ("mixture.wav", "vocals.wav"):
                (song / name).symlink_to(first / name)


def processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("dataset", help="dataset to take the sound from")
    parser.add_argument("--songs", type=int, metavar="N", default=50, help="number of songs (default: %(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures into this JSON file")
    options, rest = parser.parse_known_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        songs, results = Path(folder) / "songs", Path(folder) / "evaluation"
        songs.mkdir()
        write_songs(songs, options.dataset, options.songs)
        before = processor_seconds()
        status = evaluate.main([str(songs), "--output", str(results), *(word for word in rest if word != "--")])
        if status:
            sys.exit(status)
        used = processor_seconds() - before
        found = json.loads((results / "evaluation.json").read_text(encoding="utf-8"))
    report = {
        "data": f"{options.songs} songs of {SECONDS} s at {RATE} Hz",
        "systems": list(found["systems"]),
        "command": typed("benchmarks/speed/evaluation.py", argv),
        "commit": code_version(),
        "cores": os.cpu_count(),
        "processor seconds of all processes, with pictures": round(used, 1),
        "clock seconds": found["seconds"].pop("altogether"),
        "processes": found["seconds"].pop("processes"),
        "clock seconds in all processes by part": found["seconds"],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        with whole_file(options.output) as temporary:
            temporary.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
