"""Pictures of training: loss curves and spectrograms, as PNG files."""

from pathlib import Path

import matplotlib
import numpy as np

from errors import whole_file
from util import AudioConfig

matplotlib.use("Agg")  # no screen needed
from matplotlib import pyplot

LOWEST_DB = -80.0


def plot_losses(path: str | Path, history: list[dict], title: str) -> None:
    """Draw training and validation loss over epochs. history: one dict an epoch, as in the checkpoint."""
    epochs = [row["epoch"] for row in history]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(epochs, [row["train_loss"] for row in history], "o-", markersize=3, label="training")
    axes.plot(epochs, [row["valid_loss"] for row in history], "s--", markersize=3, label="validation")
    best = min(history, key=lambda row: row["valid_loss"])
    label = f"best: {best['valid_loss']:.4g} in epoch {best['epoch']}"
    axes.plot(best["epoch"], best["valid_loss"], "o", markersize=11, fillstyle="none", color="black", label=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch", ylabel="KL divergence per frame", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def plot_spectrograms(path: str | Path, spectrograms: dict[str, np.ndarray], audio: AudioConfig, title: str) -> None:
    """Draw magnitude spectrograms (frames, bins), titled by their names, in dB below the loudest of all."""
    loudest = max(magnitude.max() for magnitude in spectrograms.values())
    floor = 10 ** (LOWEST_DB / 20) * max(loudest, 1e-12)
    figure, axes = pyplot.subplots(
        len(spectrograms), 1, figsize=(9, 2.6 * len(spectrograms)), sharex=True, layout="constrained", squeeze=False
    )
    for axis, (name, magnitude) in zip(axes[:, 0], spectrograms.items(), strict=True):
        levels = 20 * np.log10(np.maximum(magnitude, floor) / max(loudest, 1e-12))
        seconds = len(magnitude) * audio.hop / audio.sample_rate
        image = axis.imshow(
            levels.T,
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, audio.sample_rate / 2000),
            vmin=LOWEST_DB,
            vmax=0,
            cmap="magma",
        )
        axis.set(title=name, ylabel="kHz")
    axes[-1, 0].set_xlabel("seconds")
    figure.suptitle(title)
    figure.colorbar(image, ax=axes, label="dB")
    _save(figure, path)


def _save(figure: pyplot.Figure, path: str | Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100)
    pyplot.close(figure)
