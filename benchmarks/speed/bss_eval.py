"""Time this project's BSS_EVAL, mir_eval, museval and fast_bss_eval on the same songs, in one process and thread.

    python benchmarks/speed/bss_eval.py --output results/bss_eval_speed.json    # a song of 4 minutes of noise
    python benchmarks/speed/bss_eval.py --dataset MIR-1K --songs 20

With two mono sources: seconds of CPU, and the largest difference from this project's SDR and SIR. museval and
fast_bss_eval are left out unless they are installed (pip install museval fast_bss_eval).
"""

import contextlib
import importlib
import json
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mir_eval
import numpy as np
from tqdm import tqdm

from process.commandline import parser_from, typed
from process.errors import command, whole_file
from scoring.bss_eval import bss_eval_framewise, bss_eval_images, bss_eval_sources
from scoring.report import code_version
from songs.dataset import find_songs

FRAME_SECONDS = 1.0  # museval's frames


def scorers(rate: int) -> dict[str, Callable]:
    """Name -> function of references and estimates (2, samples), float64, whose first result is the SDR."""
    frame = round(FRAME_SECONDS * rate)
    found: dict[str, Callable] = {
        "bss_eval_sources": bss_eval_sources,
        "mir_eval sources": lambda *pair: mir_eval.separation.bss_eval_sources(*pair, compute_permutation=False),
        "bss_eval_images": bss_eval_images,
        "mir_eval images": lambda *pair: mir_eval.separation.bss_eval_images(*pair, compute_permutation=False),
    }
    found["bss_eval_framewise"] = lambda references, estimates: bss_eval_framewise(references, estimates, frame)
    with contextlib.suppress(ImportError):
        museval = importlib.import_module("museval")
        found["museval v4 in frames of 1 s"] = lambda references, estimates: museval.metrics.bss_eval(
            references[..., None], estimates[..., None], window=frame, hop=frame, compute_permutation=False
        )
    with contextlib.suppress(ImportError):
        # With numpy 2 it fails unless it may permute, and so scores every estimate against every reference.
        found["fast_bss_eval sources"] = importlib.import_module("fast_bss_eval").bss_eval_sources
    return found


def songs_of(options: Namespace) -> list[tuple[int, np.ndarray]]:
    """(rate, sources (2, samples)) of each song."""
    if options.dataset:
        found = []
        for song in find_songs(options.dataset)["Test"][: options.songs]:
            mixture, vocals = song.read()
            found.append((song.rate, np.stack([vocals, mixture - vocals])))
        return found
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((options.songs, 2, round(options.seconds * options.rate)))
    return [(options.rate, np.round(sources * 2**15) / 2**15) for sources in noise]


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    add = parser.add_argument
    add("--dataset", help="use the Test songs of this dataset (default: noise)")
    add("--songs", type=int, metavar="N", default=1, help="number of songs (default: %(default)s)")
    add("--seconds", type=float, default=240, help="length of the noise, in seconds (default: %(default)s)")
    add("--rate", type=int, metavar="HZ", default=32000, help="sample rate of the noise, in Hz (default: %(default)s)")
    add("--repeats", type=int, metavar="N", default=3, help="report the median of N runs (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="write the figures into this JSON file")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")  # mir_eval announces the removal of its module

    songs = songs_of(options)
    seconds = {name: [0.0] * options.repeats for name in scorers(songs[0][0])}
    differences = dict.fromkeys(seconds, 0.0)
    bar = tqdm(total=len(songs) * options.repeats * len(seconds), file=sys.stderr, disable=None)
    for repeat in range(options.repeats):
        for rate, sources in songs:
            noise = np.random.default_rng(repeat).standard_normal(sources.shape) * sources.std()
            estimates = sources + 0.2 * sources[::-1] + 0.1 * noise
            expected = bss_eval_sources(sources, estimates)
            for name, scorer in scorers(rate).items():
                started = time.process_time()
                scores = scorer(sources, estimates)
                seconds[name][repeat] += time.process_time() - started
                if name.endswith("sources"):
                    off = max(np.abs(expected.sdr - scores[0]).max(), np.abs(expected.sir - scores[1]).max())
                    differences[name] = max(differences[name], float(off))
                bar.update()
    bar.close()

    own = float(np.median(seconds["bss_eval_sources"]))
    report = {
        "data": f"{len(songs)} songs, {sum(s.shape[1] / rate for rate, s in songs) / 60:.1f} minutes, two mono sources",
        "command": typed("benchmarks/speed/bss_eval.py", argv),
        "commit": code_version(),
        "repeats": options.repeats,
        "seconds of CPU, median of the repeats": {name: round(float(np.median(s)), 3) for name, s in seconds.items()},
        "times bss_eval_sources": {name: round(float(np.median(s)) / own, 2) for name, s in seconds.items()},
        "largest difference from bss_eval_sources in dB": {
            name: float(f"{value:.2g}") for name, value in differences.items() if name.endswith(" sources")
        },
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.output:
        with whole_file(options.output) as temporary:
            temporary.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
