"""docs/scale.md: every figure follows from results/, by the formulas that the page itself gives."""

import json
import re

import pytest
from helpers import ROOT

PAGE = re.sub(r"\s+", " ", (ROOT / "docs" / "scale.md").read_text(encoding="utf-8"))
RESULTS = ROOT / "results"
[PRICE] = map(float, re.findall(r"([\d.]+) USD; put in your own price", PAGE))
SONGS = 3600 / 240  # in an hour of sound
ALONE = "import torch"
COMMANDS = {
    "single frame": "separate_feedforward.py",
    "recurrent": "separate_RNN.py",
    "recurrent, both directions": "separate_RNN.py --bidirectional",
}
MEASURED = json.loads((RESULTS / "separation_speed.json").read_text())
[SECONDS] = (  # of the processor, for a song
    {name: row["processor, s"] for name, row in rows.items()}
    for name, rows in MEASURED.items()
    if name.startswith("song of 240 s")
)
MEMORY = MEASURED["peak memory, MB"]


def expect(text: str) -> None:
    assert text in PAGE, f"docs/scale.md: expected '{text}'"


def priced(seconds: float) -> str:
    """Processor seconds of an hour of sound, and USD for 1000 hours."""
    return f"{seconds:.0f} ({1000 * seconds / 3600 * PRICE:.2f})"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_hour_of_separation(name):
    seconds = SECONDS[COMMANDS[name]]
    expect(f"| {name} | {priced(SONGS * seconds)} | {priced(SONGS * (seconds - SECONDS[ALONE]))} |")


def test_spleeter():
    expect(f"| Spleeter, 2 stems | {priced(SONGS * SECONDS['Spleeter'])} |")


def test_start_and_memory():
    expect(f"takes {SECONDS[ALONE]} s to load torch")
    expect(f"{MEMORY['2 hours']:.0f} MB with a song of 2 hours")
    expect(f"{MEMORY['10 minutes, --bidirectional']:.0f} MB with `--bidirectional`")
    expect(f"{MEMORY[ALONE]:.0f} MB of each are torch")


def test_a_million_songs():
    hours = 1e6 * (SECONDS[COMMANDS["recurrent"]] - SECONDS[ALONE]) / 3600
    expect(f"{hours:.0f} core-hours, {hours * PRICE:.0f} USD at the price above")
    expect(f"they are {1e6 * 240 / 3600:.0f} hours of sound")
    expect(f"take {1e6 * 240 * 44100 * 2 * 2 / 1e12:.0f} TB")  # two channels, two bytes


@pytest.mark.parametrize(("name", "network"), [("single frame", "feedforward"), ("recurrent", "RNN")])
def test_an_hour_of_training(name, network):
    speed, frames = json.loads((RESULTS / "training_speed.json").read_text())[network], 3600 * 32000 / 2048
    expect(f"{frames:.0f} frames an hour")
    rates = [speed[f"1 threads, {kind}"]["frames per processor second"] for kind in ("float32", "bfloat16")]
    expect(f"| {name} | {frames / rates[0]:.1f} | {frames / rates[1]:.1f} |")


def test_an_hour_of_evaluation():
    judged = json.loads((RESULTS / "evaluation_speed.json").read_text())
    assert judged["data"].startswith("50 songs of 240 s ")
    seconds = judged["processor seconds of all processes, with pictures"] / (50 * 240) * 3600
    expect(f"`evaluate.py` takes {seconds:.0f} processor seconds for an hour of songs")


def test_a_gpu_is_not_measured_until_there_are_results():
    unmeasured = "Not measured yet: nothing in this project has run on a GPU" in PAGE
    assert (RESULTS / "gpu.json").exists() != unmeasured
