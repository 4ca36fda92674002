"""Pictures: what is in them, that nothing is cut off or covered, and what they leave behind."""

import numpy as np
import pytest
from matplotlib import pyplot

from pictures import plots
from pictures.plots import plot_boxes, plot_by_level, plot_losses, plot_spectrograms
from util import AudioConfig

TITLE = "A$AP $ong, $worst$ of " + "a dataset with a very long name " * 4
SYSTEMS = ("mixture", "single frame", "a_very_long_name_of_a_system_without_a_space $", "ideal ratio mask")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, with everything in its place."""
    drawn = []

    def keep(figure, _):
        figure.canvas.draw()
        drawn.append(figure)

    monkeypatch.setattr(plots, "_save", keep)
    yield drawn
    for figure in drawn:
        pyplot.close(figure)


def scores(songs: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return np.linspace(-9, 3, songs), {name: rng.normal(index, 2, songs) for index, name in enumerate(SYSTEMS)}


def assert_whole(figure) -> None:
    """All words are inside the picture, and the legend covers no song."""
    for artist in (*figure.axes, *figure.texts, *figure.legends):
        box = artist.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, artist
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes)


def test_figures_are_closed(tmp_path):
    """Training draws them in every epoch: open ones would fill the memory."""
    before = pyplot.get_fignums()
    history = [{"epoch": 1, "train_loss": 2.0, "valid_loss": 1.0}]
    for rows, points in ((history, []), (history, [(1, 0.5, 9.0)]), ([], [(1, 0.5, 9.0)])):
        plot_losses(tmp_path / "losses.png", rows, "losses", points)
    plot_spectrograms(tmp_path / "spectrograms.png", {"mixture": np.ones((9, 129))}, AudioConfig(8000, 256, 128), "one")
    assert {path.name for path in tmp_path.iterdir()} == {"losses.png", "spectrograms.png"}
    assert pyplot.get_fignums() == before


@pytest.mark.parametrize(("rate", "block"), [(32000, 4096), (8000, 256)])
def test_spectrograms_show_octaves_and_decibels_below_the_loudest(figures, rate, block):
    audio = AudioConfig(rate, block, block // 2)
    tones = {20: 1.0, block // 4: 0.1}  # bin -> magnitude
    loud = np.zeros((40, audio.bins))
    loud[:, list(tones)] = list(tones.values())
    plot_spectrograms("", {"mixture": loud, "voice": 0.01 * loud}, audio, TITLE)
    for axes, level in zip(figures[0].axes, (0, -40), strict=False):
        (image,) = axes.images
        _, _, low, high = image.get_extent()
        assert high == pytest.approx(np.log2(rate / 2)) and 2**low == pytest.approx(50)
        rows = np.linspace(low, high, len(image.get_array()) + 1)
        for number, magnitude in tones.items():
            row = np.searchsorted(rows, np.log2(number * rate / block)) - 1
            shown = image.get_array()[row - 1 : row + 2]
            assert shown.max() == pytest.approx(level + 20 * np.log10(magnitude))
            assert image.get_array()[[row - 40, row + 40]].max() == -80
    labels = [label.get_text() for label in figures[0].axes[0].get_yticklabels()]
    assert labels[:4] == ["0.05", "0.1", "0.2", "0.5"]
    assert figures[0].axes[-1].get_ylabel() == "dB relative to the loudest point"
    assert_whole(figures[0])


@pytest.mark.parametrize("songs", [1, 200])
def test_boxes_mark_the_mean_of_every_system(figures, songs):
    _, own = scores(songs)
    plot_boxes("", own, "SDR in dB", TITLE)
    axes = figures[0].axes[0]
    diamonds = [line.get_ydata() for line in axes.lines if line.get_marker() == "D"]
    assert np.concatenate(diamonds) == pytest.approx([values.mean() for values in own.values()])
    labels = [label.get_text().splitlines() for label in axes.get_xticklabels()]
    assert [label[-1] for label in labels] == [f"{values.mean():.2f}" for values in own.values()]
    assert labels[1][0] == "single frame" and "mean" in axes.get_xlabel()
    assert_whole(figures[0])


def test_boxes_of_infinite_scores(figures):
    _, own = scores(4)
    own["mixture"][1] = own["ideal ratio mask"][:] = np.inf
    plot_boxes("", own, "SDR in dB", TITLE)
    labels = [label.get_text().splitlines()[-1] for label in figures[0].axes[0].get_xticklabels()]
    assert labels[0] == labels[-1] == "infinite"


@pytest.mark.parametrize("songs", [2, 9, 10])
def test_a_line_needs_songs_that_show_a_trend(figures, songs):
    plot_by_level("", *scores(songs), "SDR in dB", TITLE)
    lines = [line for line in figures[0].axes[0].lines if line.get_linestyle() == "-"]
    assert len(lines) == (len(SYSTEMS) if songs >= 10 else 0)
    names = [text.get_text().replace("\n", "") for text in figures[0].legends[0].get_texts()]
    assert names[:2] == ["mixture", "single frame"] and len(names) == len(SYSTEMS)
    assert_whole(figures[0])


def test_songs_of_one_level_have_no_line(figures):
    levels, own = scores(40)
    plot_by_level("", 0 * levels, own, "SDR in dB", "one level")
    assert all(line.get_linestyle() != "-" for line in figures[0].axes[0].lines)


@pytest.mark.filterwarnings("error")
def test_names_with_letters_that_the_font_lacks_are_drawn_in_silence(tmp_path):
    plot_spectrograms(tmp_path / "a.png", {"mixture": np.ones((9, 129))}, AudioConfig(8000, 256, 64), "歌 🎵 हिन्दी")
    assert (tmp_path / "a.png").stat().st_size
