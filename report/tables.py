"""Write what results/ says of the pretrained networks and of speed into the tables of README, docs and model card.

    python report/tables.py
    python report/tables.py --check

Rows are found by their first cell below their heading, and all others are replaced. Texts around the tables are not
touched: what they say of the figures has to be read again.
"""

import dataclasses
import functools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command, whole_file  # noqa: E402

SDR = "SDR v3 sources"
README, RESULTS, CARD = "README.md", "docs/results.md", "pretrained/README.md"
SEPARATION, SCALE = "docs/separation.md", "docs/scale.md"
SPEED = "separation_speed.json"
SONG = 240  # seconds, of the song that its times are of
CORE_HOUR = 0.04  # USD, as in docs/scale.md
FIVE_KEYS = "both 5 keys"  # is in an evaluation of its own
SYSTEMS = {  # as tables name them -> as evaluate.py names them
    "mixture": "mixture",
    "single frame": "feedforward",
    "recurrent": "RNN",
    "recurrent, 3 keys": "RNN 3 keys",
    "recurrent, both directions": "RNN bidirectional",
    "recurrent, both directions, 3 keys": "RNN bidirectional 3 keys",
    "recurrent, both directions, 5 keys": FIVE_KEYS,
    "Spleeter, 2 stems": "spleeter",
}
FROM_MONO = {"Spleeter, from mono": "spleeter_mono"}  # of the one set in stereo
SETS = ("musdb", "songs", "held_out_singers")
MEMORY = {"recurrent": "recurrent", "both directions": "both"}  # networks that have one, as evaluations name them

Row = tuple[str, list[str]]  # its first cell, and the others


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of a page, in their order, below a heading and above the next one."""

    page: str
    heading: str
    rows: Callable[[], list[Row]]


# ---------------------------------------------------------------------------------------------- what results say


@functools.cache
def result(name: str) -> dict:
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def evaluation(folder: str, system: str) -> dict:
    """The evaluation of a set of songs that has a system."""
    name = f"five_keys/{folder}/evaluation.json" if system == FIVE_KEYS else f"{folder}/evaluation.json"
    if system not in result(name)["scores"]["vocals"]:
        raise UserError(f"results/{name}: expected scores of '{system}', found none")
    return result(name)


def sdr(folder: str, system: str) -> dict:
    return evaluation(folder, system)["scores"]["vocals"][system][SDR]


def mean(folder: str, system: str) -> str:
    return f"{sdr(folder, system)['mean']:.2f}"


def interval(low: float, high: float) -> str:
    return f"{low:.2f} … {high:.2f}"


def difference(folder: str, system: str, other: str) -> str:
    """'+0.11 (-0.04 … 0.28)': of two systems of an evaluation, song by song."""
    for found in result(f"{folder}/evaluation.json")["differences"]["vocals"]:
        low, high = found["interval of the mean"]
        if (found["system"], found["minus"]) == (system, other):
            return f"{found['mean']:+.2f} ({interval(low, high)})"
        if (found["system"], found["minus"]) == (other, system):
            return f"{-found['mean']:+.2f} ({interval(-high, -low)})"
    raise UserError(f"results/{folder}: expected the difference of {system} and {other}, found none")


# ---------------------------------------------------------------------------------------------- tables


def readme_rows() -> list[Row]:
    names = {
        "mixture": "mixture",
        "single frame (`separate_feedforward.py`)": "feedforward",
        "recurrent (`separate_RNN.py`)": "RNN",
        "recurrent, both directions, 3 keys (`--bidirectional --tta 3`)": "RNN bidirectional 3 keys",
        "Spleeter, 2 stems": "spleeter",
        **FROM_MONO,
        "ideal ratio mask": "ideal ratio mask",
    }
    found = {label: sdr("musdb", system) for label, system in names.items()}
    return [
        (label, [f"{score['mean']:.2f}", interval(*score["interval of the mean"])]) for label, score in found.items()
    ]


def sdr_rows(folder: str) -> list[Row]:
    """Mean, its interval, median."""
    rows = []
    for label, system in (SYSTEMS | FROM_MONO if folder == "musdb" else SYSTEMS).items():
        score = sdr(folder, system)
        cells = [f"{score['mean']:.2f}", interval(*score["interval of the mean"]), f"{score['median']:.2f}"]
        rows.append((label, cells))
    return rows


def singer_rows() -> list[Row]:
    """GNSDR v2.1, its interval, GSIR and GSAR v2.1, GNSDR v3, mean SDR v3."""
    rows = []
    for label, system in SYSTEMS.items():
        if system == "mixture":
            continue
        clips = evaluation("held_out_singers", system)["MIR-1K"][system]
        gains = [f"{clips[name]:.2f}" for name in ("GNSDR v2.1", "GSIR v2.1", "GSAR v2.1", "GNSDR v3 sources")]
        cells = [gains[0], interval(*clips["interval of GNSDR v2.1"]), *gains[1:], mean("held_out_singers", system)]
        rows.append((label, cells))
    return rows


def card_rows() -> list[Row]:
    systems = ("feedforward", "RNN", "RNN bidirectional", "RNN bidirectional 3 keys", FIVE_KEYS, "spleeter")
    labels = (
        "16 excerpts of MUSDB18, artists never heard",
        "5 excerpts of DSD100",
        "78 clips of MIR-1K, two singers never heard",
    )
    return [(label, [mean(folder, system) for system in systems]) for label, folder in zip(labels, SETS, strict=True)]


def both_ways_rows() -> list[Row]:
    """The recurrent network, run both ways, trained for it; the difference of the last two."""
    rows = []
    names = ("16 excerpts of MUSDB18", "5 excerpts of DSD100", "78 clips of MIR-1K")
    for name, folder in zip(names, (f"both_ways/{songs}" for songs in SETS), strict=True):
        for label, keys in ((name, ""), ("the same, 3 keys", " 3 keys")):
            systems = [f"{system}{keys}" for system in ("untrained", "untrained bidirectional", "trained")]
            means = [mean(folder, system) for system in systems]
            rows.append((label, [*means, difference(folder, systems[2], systems[1])]))
    return rows


def weighting_rows() -> list[Row]:
    """Without and with weighting; then networks before and after training with it; the difference of both."""
    alone = zip(("MUSDB18, 16 excerpts", "DSD100, 5 excerpts", "MIR-1K, 78 clips"), SETS, strict=True)
    rows = [(label, compared(f"weighting/{songs}", "single_unweighted", "single")) for label, songs in alone]
    return rows + further_rows("weighting")


def further_rows(results: str) -> list[Row]:
    """Networks before and after they were trained further; the difference of both."""
    return [
        (row, compared(folder, f"{system}_before", system))
        for row, folder, system in each_set(results, {"single frame": "single", **MEMORY})
    ]


def second_lstm_rows() -> list[Row]:
    """The pretrained networks of three commits; the difference of the last two."""
    return [
        (row, [mean(folder, f"{system}_first"), *compared(folder, f"{system}_before", system)])
        for row, folder, system in each_set("second_lstm", MEMORY)
    ]


def each_set(results: str, systems: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """For each system, by its label, and each set of songs: first cell of the row, folder of the evaluation, system."""
    for label, system in systems.items():
        labels = (f"{label}, 16 excerpts of MUSDB18", "the same, 5 excerpts of DSD100", "the same, 78 clips of MIR-1K")
        for row, songs in zip(labels, SETS, strict=True):
            yield row, f"{results}/{songs}", system


def compared(folder: str, before: str, now: str) -> list[str]:
    return [mean(folder, before), mean(folder, now), difference(folder, now, before)]


def tuning_rows() -> list[Row]:
    found = result("tuning/musdb.json")["mean SDR v3"]
    names = {"single frame": "feedforward", "recurrent": "RNN", "both directions": "RNN_bidirectional"}
    return [(f"{label}, now", [f"{score:.2f}" for score in found[name].values()]) for label, name in names.items()]


def brightness_rows() -> list[Row]:
    found = result("brightness/musdb.json")["median and quartiles of the level re the true voice, dB"]
    return [
        (label, [f"{median:.1f} ({low:.1f} … {high:.1f})" for median, low, high in found[name].values()])
        for label, name in (("single frame", "feedforward"), ("recurrent", "RNN"))
    ]


def times() -> dict[str, dict]:
    """Of whole processes: wall and processor seconds, by command."""
    [found] = (value for name, value in result(SPEED).items() if name.startswith(f"song of {SONG} s"))
    return found


def time_rows() -> list[Row]:
    """Wall time, the same relative to that of `import torch`, processor time."""
    labels = {"import torch": "`import torch` alone", "Spleeter": "Spleeter, 2 stems"}
    return [
        (
            labels.get(name, f"`{name}`"),
            [f"{own['wall, s']:.1f}", f"{own['wall, times import torch']:.2f}", f"{own['processor, s']:.1f}"],
        )
        for name, own in times().items()
    ]


def memory_rows() -> list[Row]:
    """Peak memory in MB."""
    labels = {
        "import torch": "`import torch` alone",
        "1 minute": "song of 1 minute",
        "2 hours": "song of 2 hours",
        "10 minutes, --bidirectional": "song of 10 minutes, `--bidirectional`",
        "10 minutes, --bidirectional --tta 5": "song of 10 minutes, `--bidirectional --tta 5`",
    }
    peak = result(SPEED)["peak memory, MB"]
    return [(label, [f"{peak[name]:.0f}"]) for name, label in labels.items()]


def hour_rows() -> list[Row]:
    """Processor seconds and cost of an hour of sound: a process a song, and without loading torch."""
    names = {
        "single frame": "separate_feedforward.py",
        "recurrent": "separate_RNN.py",
        "recurrent, both directions": "separate_RNN.py --bidirectional",
    }
    seconds = {name: own["processor, s"] * 3600 / SONG for name, own in times().items()}
    torch = seconds["import torch"]
    rows = [(label, [priced(seconds[name]), priced(seconds[name] - torch)]) for label, name in names.items()]
    return [*rows, ("Spleeter, 2 stems", [priced(seconds["Spleeter"]), ""])]


def priced(seconds: float) -> str:
    """Processor seconds of an hour of sound, and USD for 1000 hours."""
    return f"{seconds:.0f} ({seconds * 1000 / 3600 * CORE_HOUR:.2f})"


TABLES = (
    Table(README, "## How good it is", readme_rows),
    Table(CARD, "## What they are good at", card_rows),
    Table(RESULTS, "## Real songs: MUSDB18", functools.partial(sdr_rows, "musdb")),
    Table(RESULTS, "## The pretrained networks", singer_rows),
    Table(RESULTS, "### Real songs: DSD100", functools.partial(sdr_rows, "songs")),
    Table(RESULTS, "### In tune", tuning_rows),
    Table(RESULTS, "### Both directions", both_ways_rows),
    Table(RESULTS, "### Weighted by the mixture", weighting_rows),
    Table(RESULTS, "### A second LSTM", second_lstm_rows),
    Table(RESULTS, "### More music", functools.partial(further_rows, "more_music")),
    Table(RESULTS, "## How bright the voice is", brightness_rows),
    Table(SEPARATION, "## Time and memory", lambda: [*time_rows(), *memory_rows()]),
    Table(SCALE, "## Separation", hour_rows),
)


def filled(text: str, table: Table) -> str:
    """A page with the table's rows as results have them. Raises UserError if it has no such row."""
    before, heading, rest = text.partition(f"\n{table.heading}\n")
    next_heading = re.search(r"^#+ ", rest, re.MULTILINE)
    end = next_heading.start() if next_heading else len(rest)
    section, after, place = rest[:end], rest[end:], 0
    for label, cells in table.rows():
        row = re.compile(rf"^\| {re.escape(label)} \|.*$", re.MULTILINE).search(section, place)
        if row is None:
            raise UserError(f"{table.page}: expected a row '{label}' below '{table.heading}', found none")
        line = f"| {label} | {' | '.join(cells)} |".replace("|  |", "| |")
        section = section[: row.start()] + line + section[row.end() :]
        place = row.start() + len(line)
    return before + heading + section + after


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is not up to date")
    options = parser.parse_args(argv)
    stale = []
    for page in dict.fromkeys(table.page for table in TABLES):
        before = text = (ROOT / page).read_text(encoding="utf-8")
        for table in TABLES:
            if table.page == page:
                text = filled(text, table)
        if text == before:
            continue
        stale.append(page)
        if not options.check:
            with whole_file(ROOT / page) as temporary:
                temporary.write_text(text, encoding="utf-8")
    if options.check and stale:
        raise UserError(f"{', '.join(stale)}: tables differ from results/; run python report/tables.py")
    print(f"written: {', '.join(stale)}" if stale else "all tables are up to date")


if __name__ == "__main__":
    sys.exit(main())
