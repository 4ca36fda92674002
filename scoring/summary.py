"""Statistics of the scores of many songs: means, medians, intervals, paired differences, and MIR-1K's figures; and
how they are written for people."""

import itertools
from collections.abc import Sequence

import numpy as np

RESAMPLES = 10000
INTERVAL = (2.5, 97.5)  # percentiles
Rows = Sequence[dict]


def values_of(rows: Rows, source: str, column: str, systems: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A column's scores (systems, songs) and the songs' lengths in seconds (songs,).

    Only of songs where every system has a score, so that all figures describe the same songs.
    """
    own = [row for row in rows if row["source"] == source]
    scores = np.array([[row[column] for row in own if row["system"] == system] for system in systems])
    seconds = np.array([row["seconds"] for row in own if row["system"] == systems[0]])
    scored = ~np.isnan(scores).any(axis=0)
    return scores[:, scored], seconds[scored]


def bootstrap(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """95 % interval of the mean of values (systems, songs): percentiles of means over songs drawn with replacement.

    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3. Every system gets the same
    draws. Returns (systems, 2); nan for fewer than two songs, or if values are NaN or infinite.
    """
    songs = values.shape[1]
    if songs < 2:
        return np.full((len(values), 2), np.nan)
    weights = np.ones(songs) if weights is None else weights
    counts = np.random.default_rng(0).multinomial(songs, np.full(songs, 1 / songs), RESAMPLES)  # how often each song
    finite = np.isfinite(values).all(axis=1, keepdims=True)
    means = counts @ (np.where(finite, values, 0) * weights).T / (counts @ weights)[:, None]  # (RESAMPLES, systems)
    return np.where(finite, np.percentile(means, INTERVAL, axis=0).T, np.nan)


def statistics(values: np.ndarray) -> list[dict]:
    """For each system of values (systems, songs): mean, its interval, median and standard deviation over songs."""
    with np.errstate(invalid="ignore"):  # of infinite scores
        return [
            {
                "songs": len(own),
                "mean": float(np.mean(own)),
                "interval of the mean": [float(bound) for bound in interval],
                "median": float(np.median(own)),
                "standard deviation": float(np.std(own, ddof=1)) if len(own) > 1 else np.nan,
            }
            for own, interval in zip(values, bootstrap(values), strict=True)
        ]


def summarise(rows: Rows, systems: Sequence[str], columns: Sequence[str], source: str) -> dict[str, dict[str, dict]]:
    """Statistics of each column for each system. Returns {system: {column: {statistic: value}}}; dB.

    A column without scores, such as SIR with a single source, is left out.
    """
    summary: dict[str, dict[str, dict]] = {system: {} for system in systems}
    for column in columns:
        values, _ = values_of(rows, source, column, systems)
        if values.size:
            for system, figures in zip(systems, statistics(values), strict=True):
                summary[system][column] = figures
    return summary


def differences(rows: Rows, systems: Sequence[str], column: str, source: str) -> list[dict]:
    """Statistics of the differences of a column, song by song, between every two systems, the better one first."""
    values, _ = values_of(rows, source, column, systems)
    if not values.size:
        return []
    order = np.argsort(-np.median(values, axis=1), kind="stable")
    pairs = list(itertools.combinations(order, 2))
    with np.errstate(invalid="ignore"):  # inf - inf
        paired = np.array([values[better] - values[worse] for better, worse in pairs])
    return [
        {"system": systems[better], "minus": systems[worse], **figures}
        for (better, worse), figures in zip(pairs, statistics(paired), strict=True)
    ]


def mir1k_figures(rows: Rows, systems: Sequence[str], baseline: str) -> dict[str, dict]:
    """GNSDR, GSIR and GSAR of the voice (Hsu and Jang 2010): means weighted by the clips' lengths.

    GNSDR is the mean of SDR(estimate) - SDR(mixture). baseline: the mixture's name.
    Returns {system: {"GNSDR v2.1": dB, ..., "interval of GNSDR v2.1": [dB, dB], ...}}.
    """
    figures: dict[str, dict] = {system: {} for system in systems}
    for version in ("v2.1", "v3 sources"):
        for score in ("SDR", "SIR", "SAR"):
            values, seconds = values_of(rows, "vocals", f"{score} {version}", systems)
            if not values.size:
                continue
            name = f"GN{score}" if score == "SDR" else f"G{score}"
            if score == "SDR":
                values = values - values[systems.index(baseline)]
            for system, own, interval in zip(systems, values, bootstrap(values, seconds), strict=True):
                figures[system][f"{name} {version}"] = float(np.average(own, weights=seconds))
                figures[system][f"interval of {name} {version}"] = [float(bound) for bound in interval]
    return figures


# ---------------------------------------------------------------------------------------------- for people

TITLES = {"feedforward": "single frame", "RNN": "recurrent"}


def title(system: str) -> str:
    """A system's name for people: 'RNN bidirectional' is 'recurrent bidirectional'."""
    kind, *more = system.split(" ")
    return " ".join([TITLES.get(kind, kind), *more])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table for the terminal, its headings first: the first column is text, the others are figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))])
        for first, *cells in rows
    )


def short_table(summary: dict[str, dict[str, dict]], main: str) -> str:
    """The column `main` of every system, for the terminal."""
    rows = [["system", "mean SDR", "95 % interval", "median", "songs"]]
    for system, columns in summary.items():
        figures = columns[main]
        interval = interval_text(figures["interval of the mean"])
        mean, median = (decibels(figures[name]) for name in ("mean", "median"))
        rows.append([title(system), mean, interval, median, str(figures["songs"])])
    return aligned(rows)


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose other columns are figures."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def decibels(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}".replace("inf", "∞")


def interval_text(interval: Sequence[float]) -> str:
    return "-" if np.isnan(interval).any() else " … ".join(decibels(bound) for bound in interval)


def score_table(summary: dict[str, dict[str, dict]], main: str) -> str:
    """All statistics of the column `main`, and the mean of each other one, or the median for v4, as is usual."""
    others = {
        column: "median" if "v4" in column else "mean" for column in next(iter(summary.values())) if column != main
    }
    heading = [
        "system",
        f"mean {main}",
        "95 % interval of this mean",
        f"median {main}",
        f"standard deviation of {main}",
    ]
    return markdown(
        heading + [f"{aggregate} {column}" for column, aggregate in others.items()],
        [
            [
                title(system),
                decibels(figures[main]["mean"]),
                interval_text(figures[main]["interval of the mean"]),
                decibels(figures[main]["median"]),
                decibels(figures[main]["standard deviation"]),
                *(decibels(figures[column][aggregate]) for column, aggregate in others.items()),
            ]
            for system, figures in summary.items()
        ],
    )


def difference_table(pairs: Sequence[dict], column: str) -> str:
    return markdown(
        ["difference", f"mean difference of {column}", "95 % interval of this mean", f"median difference of {column}"],
        [
            [
                f"{title(pair['system'])} - {title(pair['minus'])}",
                decibels(pair["mean"]),
                interval_text(pair["interval of the mean"]),
                decibels(pair["median"]),
            ]
            for pair in pairs
        ],
    )


def mir1k_table(figures: dict[str, dict]) -> str:
    columns = list(next(iter(figures.values())))
    return markdown(
        ["system", *(column.replace("interval of", "95 % interval of") for column in columns)],
        [
            [
                title(system),
                *(interval_text(own[column]) if "interval" in column else decibels(own[column]) for column in columns),
            ]
            for system, own in figures.items()
        ],
    )
