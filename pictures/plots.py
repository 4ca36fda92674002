"""PNG pictures of training and evaluation: loss curves, spectrograms, scores of songs."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from process.errors import whole_file
from util import AudioConfig

matplotlib.use("Agg")  # no screen needed

from matplotlib import pyplot
from matplotlib.ticker import LogLocator, NullLocator

matplotlib.rcParams["text.parse_math"] = False  # a dollar sign in a song's name is no formula

LOWEST_DB = -80.0
WIDE = 4.0  # range of losses from which on they are drawn on a logarithmic axis
LOWEST_HZ = 50.0  # of spectrograms
FREQUENCY_ROWS = 400
FREQUENCY_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)  # Hz
SONGS_FOR_A_LINE = 10  # fewer show no trend


def plot_losses(
    path: str | Path, history: list[dict], title: str, smoothed: Sequence[tuple[int, float, float]] = ()
) -> None:
    """Draw training and validation loss over epochs, and the smoothed training loss over batches.

    history: one dict per epoch, as in the checkpoint, none in the first; smoothed: (batch, epochs passed, loss).
    """
    epochs = [row["epoch"] for row in history]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    if smoothed:
        _, passed, losses = zip(*smoothed, strict=True)
        label = f"training, smoothed over batches ({smoothed[-1][0]} so far)"
        axes.plot(passed, losses, linewidth=1, color="C0", alpha=0.5, label=label)
    if history:
        axes.plot(epochs, [row["train_loss"] for row in history], "o-", color="C0", markersize=3, label="training")
        valid = [row["valid_loss"] for row in history]
        axes.plot(epochs, valid, "s--", color="C1", markersize=3, label="validation")
        best = min(history, key=lambda row: row["valid_loss"])
        label = f"best: {best['valid_loss']:.4g} in epoch {best['epoch']}"
        axes.plot(best["epoch"], best["valid_loss"], "o", markersize=11, fillstyle="none", color="black", label=label)
    axes.locator_params("x", integer=bool(history))
    shown = np.concatenate([line.get_ydata() for line in axes.lines])
    if shown.min() > 0 and shown.max() > WIDE * shown.min():  # the first batches would leave the others no room
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="epoch", ylabel="KL divergence per frame", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def plot_spectrograms(path: str | Path, spectrograms: dict[str, np.ndarray], audio: AudioConfig, title: str) -> None:
    """Draw magnitude spectrograms {name: (frames, bins)} one below another, in dB relative to the loudest point of all,
    with logarithmic frequency."""
    loudest = max(magnitude.max() for magnitude in spectrograms.values())
    floor = 10 ** (LOWEST_DB / 20) * max(loudest, 1e-12)
    edges = np.geomspace(min(LOWEST_HZ, audio.sample_rate / 8), audio.sample_rate / 2, FREQUENCY_ROWS + 1)
    first_bins = np.round(edges[:-1] * audio.block / audio.sample_rate).astype(int)
    figure, axes = pyplot.subplots(
        len(spectrograms), 1, figsize=(9, 2.6 * len(spectrograms)), sharex=True, layout="constrained", squeeze=False
    )
    for axis, (name, magnitude) in zip(axes[:, 0], spectrograms.items(), strict=True):
        rows = np.maximum.reduceat(magnitude, first_bins, axis=1)  # its loudest bin, or the nearest if it has none
        levels = 20 * np.log10(np.maximum(rows, floor) / max(loudest, 1e-12))
        seconds = len(magnitude) * audio.hop / audio.sample_rate
        octaves = np.log2(edges[[0, -1]])  # an image of octaves is drawn at once, a mesh of a million cells is not
        image = axis.imshow(
            levels.T,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, *octaves),
            vmin=LOWEST_DB,
            vmax=0,
            cmap="magma",
        )
        shown = [hertz for hertz in FREQUENCY_TICKS if edges[0] <= hertz <= edges[-1]]
        axis.set_yticks(np.log2(shown), [f"{hertz / 1000:g}" for hertz in shown])
        axis.set(title=name, ylabel="kHz")
    axes[-1, 0].set_xlabel("seconds")
    figure.suptitle(textwrap.fill(title, 80))
    figure.colorbar(image, ax=axes, label="dB relative to the loudest point")
    _save(figure, path)


def plot_boxes(path: str | Path, scores: dict[str, np.ndarray], label: str, title: str) -> None:
    """Draw the scores (dB) of each system's songs: a box from quartile to quartile, the median, the mean, and a dot per
    song."""
    width = 2 + 1.1 * len(scores)  # inches
    figure, axes = pyplot.subplots(figsize=(width, 5), layout="constrained")
    values = [own[np.isfinite(own)] for own in scores.values()]
    rng = np.random.default_rng(0)
    for position, own in enumerate(values, start=1):
        places = position + rng.uniform(-0.2, 0.2, len(own))  # so that dots do not hide each other
        axes.plot(places, own, ".", markersize=7, alpha=0.5, color=f"C{position - 1}")
    diamond = {"marker": "D", "markersize": 7, "markerfacecolor": "white", "markeredgecolor": "black"}
    line = {"color": "black", "linewidth": 1.5}
    axes.boxplot(values, widths=0.6, showfliers=False, showmeans=True, medianprops=line, meanprops=diamond, zorder=3)
    # Of infinite scores, only some have a mean: it is given where all are finite.
    means = [f"{np.mean(own):.2f}" if np.isfinite(own).all() and own.size else "infinite" for own in scores.values()]
    names = [f"{textwrap.fill(name, 14)}\n{mean}" for name, mean in zip(scores, means, strict=True)]
    axes.set_xticks(range(1, len(scores) + 1), names)
    axes.set(ylabel=label, title=textwrap.fill(title, int(9 * width)), xlabel="system, mean (◇); line: median")
    axes.grid(axis="y", alpha=0.3)
    _save(figure, path)


def plot_by_level(path: str | Path, levels: np.ndarray, scores: dict[str, np.ndarray], label: str, title: str) -> None:
    """Draw each song's scores (dB) against its voice-to-accompaniment ratio (dB), with a regression line per system
    where there are enough songs for one."""
    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    for index, (name, own) in enumerate(scores.items()):
        finite = np.isfinite(own) & np.isfinite(levels)
        marker, color = "osD^vPX"[index % 7], f"C{index}"
        axes.plot(
            levels[finite], own[finite], marker, markersize=4, alpha=0.6, label=textwrap.fill(name, 22), color=color
        )
        if len(np.unique(levels[finite])) >= SONGS_FOR_A_LINE:
            ends = np.array([levels[finite].min(), levels[finite].max()])
            line = np.polynomial.Polynomial.fit(levels[finite], own[finite], 1)
            axes.plot(ends, line(ends), color=color, alpha=0.5)
    ratio = "voice-to-accompaniment ratio of the mixture in dB"
    axes.set(xlabel=ratio, ylabel=label, title=textwrap.fill(title, 60))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")  # beside the songs, never over them
    _save(figure, path)


def _save(figure: pyplot.Figure, path: str | Path) -> None:
    with whole_file(path) as temporary, warnings.catch_warnings():
        # A song's name may have letters that the font lacks: the picture has boxes for them, and nobody can help it.
        warnings.filterwarnings("ignore", "Glyph .* missing from|Matplotlib currently does not support")
        figure.savefig(temporary, dpi=100)
    pyplot.close(figure)
