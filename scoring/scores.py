"""From songs and systems to scores: one song, then many in parallel processes."""

import contextlib
import functools
import os
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path

import mir_eval
import numpy as np
import torch
from tqdm import tqdm

from process.errors import UserError
from process.stopping import hidden_from_ctrl_c, kill
from scoring.bss_eval import bss_eval_framewise, correlate
from scoring.listening_page import write_song
from scoring.summary import title
from scoring.systems import Recording, System
from songs.song import Song

SOURCES = ("vocals", "accompaniment")
FRAME_SECONDS = 1.0  # of v4

# Column of the results -> field of bss_eval's scores. `images` have the SIR and SAR of `sources`.
SOURCES_COLUMNS = {"SDR v3 sources": "sdr", "SIR v3 sources": "sir", "SAR v3 sources": "sar"}
IMAGES_COLUMNS = {"SDR v3 images": "sdr", "ISR v3 images": "isr"}
GAIN_COLUMNS = {"SDR v2.1": "sdr", "SIR v2.1": "sir", "SAR v2.1": "sar"}
FRAMEWISE_COLUMNS = {f"{name} v4, median of frames": name.lower() for name in ("SDR", "ISR", "SIR", "SAR")}
COLUMNS = [*SOURCES_COLUMNS, *IMAGES_COLUMNS, *GAIN_COLUMNS, *FRAMEWISE_COLUMNS]
MIR_EVAL_COLUMNS = ("SDR mir_eval", "SIR mir_eval", "SAR mir_eval")  # v3 sources


def judge_song(
    song: Song, systems: list[System], framewise: bool = False, check: bool = False, page: Path | None = None
) -> tuple[list[dict], dict[str, float]]:
    """Score every system on both sources of a song, with all versions of BSS_EVAL.

    framewise: also v4; check: also mir_eval's scores; page: folder of a listening page, which gets the song's sound.
    Returns one row (column -> value) per system and source, and the seconds spent on reading, on each system and on the
    scores. A row that cannot be scored holds nan, and the reason in its `note`.
    """
    clock: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        last, clock[name] = time.perf_counter(), time.perf_counter() - last

    try:
        recording, problem = Recording(song, *song.read()), ""
    except UserError as error:
        recording, problem = Recording(song, *np.zeros((2, song.samples), np.float32)), str(error)
    references = recording.sources
    lap("reading")

    estimates = np.zeros((len(systems), *references.shape), np.float32)
    problems, notes = [problem] * len(systems), [""] * len(systems)
    for index, system in enumerate(systems):
        if not problem:
            try:
                estimates[index], notes[index] = system.estimate(recording)
            except UserError as error:
                problems[index] = str(error)
        lap(system.name)

    columns = score(references, estimates, song.rate, framewise, check)
    lap("scores")
    if page:
        named = {title(system.name): own for system, own in zip(systems, estimates, strict=True)}
        write_song(page, song.name, song.rate, recording.mixture, references, named)
        lap("page")
    energies = np.einsum("jn,jn->j", references, references, dtype=np.float64)  # 32 bits round a long song's sum
    level = 10 * np.log10(energies[0] / energies[1]) if energies.all() else np.nan
    rows = []
    for index, system in enumerate(systems):
        for number, source in enumerate(SOURCES):
            rows.append(
                {
                    "song": song.name,
                    "seconds": round(song.seconds, 3),
                    "voice to accompaniment": float(level),
                    "source": source,
                    "system": system.name,
                    **{name: float(values[index, number]) for name, values in columns.items()},
                    "note": problems[index] or _oddity(references[number], estimates[index, number]) or notes[index],
                }
            )
    return rows, clock


def _oddity(reference: np.ndarray, estimate: np.ndarray) -> str:
    if not reference.any():
        return "silent reference"
    if not estimate.any():
        return "silent estimate"
    return "" if np.isfinite(estimate).all() else "estimate with NaN or infinite samples"


def score(
    references: np.ndarray, estimates: np.ndarray, rate: int, framewise: bool = False, check: bool = False
) -> dict[str, np.ndarray]:
    """All scores of estimates (systems, 2, samples). Returns {column: (systems, 2), dB}."""
    correlations = correlate(references, estimates)
    groups = [
        (SOURCES_COLUMNS, correlations.sources()),
        (IMAGES_COLUMNS, correlations.images()),
        (GAIN_COLUMNS, correlations.sources(taps=1)),
    ]
    if framewise:
        frames = bss_eval_framewise(references, estimates, round(FRAME_SECONDS * rate))
        groups.append((FRAMEWISE_COLUMNS, type(frames)(*(_median(values) for values in frames))))
    columns = {name: getattr(scores, field) for names, scores in groups for name, field in names.items()}
    if check:
        columns |= dict(zip(MIR_EVAL_COLUMNS, _mir_eval(references, estimates), strict=True))
    return columns


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the frames with a score, nan if there is none. (systems, 2, frames) -> (systems, 2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of rows without a score
        return np.nanmedian(values, axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _mir_eval(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """SDR, SIR and SAR of v3 `sources` by mir_eval, (3, systems, 2); nan for silence, which it refuses.

    Also nan where its equations have no solution, as those of a single sample: it then asks for what NumPy 2 lacks.
    """
    scores = np.full((3, *estimates.shape[:2]), np.nan)
    for index, pair in enumerate(estimates):
        if references.any(axis=1).all() and pair.any(axis=1).all():
            with warnings.catch_warnings(), contextlib.suppress(AttributeError):
                warnings.simplefilter("ignore", FutureWarning)  # mir_eval announces the removal of this module
                scores[:, index] = mir_eval.separation.bss_eval_sources(
                    references.astype(np.float64), pair.astype(np.float64), compute_permutation=False
                )[:3]
    return scores


# ---------------------------------------------------------------------------------------------- songs in parallel


def _start_worker() -> None:
    torch.set_num_threads(1)  # the processes share the cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End as soon as the main process has ended, even by SIGKILL: else this process would wait for songs forever."""
    parent = parent_process()
    assert parent is not None, "started in worker processes only"
    parent.join()
    os._exit(1)


def judge_songs(
    songs: list[Song], systems: list[System], workers: int, **options
) -> list[tuple[list[dict], dict[str, float]]]:
    """`judge_song` of every song, in parallel processes. Returns its results in the order given."""
    judge = functools.partial(judge_song, systems=systems, **options)
    longest_first = sorted(songs, key=lambda song: -song.samples)  # so that no process is left alone with a long one
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        try:
            with hidden_from_ctrl_c():
                futures = {song: pool.submit(judge, song) for song in longest_first}
            done = as_completed(futures.values())
            for future in tqdm(done, "evaluating", len(songs), file=sys.stderr, disable=None, unit="song"):
                future.result()  # re-raises what the process raised
        except BaseException as error:
            kill(active_children())  # at once: nobody needs the songs in progress
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a process that scores songs was killed, or ran out of memory (--workers 1 takes the least)"
                ) from error
            raise
    return [futures[song].result() for song in songs]
