"""Pictures: what they leave behind."""

import numpy as np
from matplotlib import pyplot

from pictures.plots import plot_losses, plot_spectrograms
from util import AudioConfig


def test_figures_are_closed(tmp_path):
    """Training draws them in every epoch: open ones would fill the memory."""
    before = pyplot.get_fignums()
    history = [{"epoch": 1, "train_loss": 2.0, "valid_loss": 1.0}]
    for rows, points in ((history, []), (history, [(1, 0.5, 9.0)]), ([], [(1, 0.5, 9.0)])):
        plot_losses(tmp_path / "losses.png", rows, "losses", points)
    plot_spectrograms(tmp_path / "spectrograms.png", {"mixture": np.ones((9, 129))}, AudioConfig(8000, 256, 128), "one")
    assert {path.name for path in tmp_path.iterdir()} == {"losses.png", "spectrograms.png"}
    assert pyplot.get_fignums() == before
