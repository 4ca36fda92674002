"""The metric against closed forms and mir_eval, and evaluate.py through its main."""

import csv
import json

import numpy as np
import pytest
from conftest import RATE, make_song

import evaluate
from bss_eval import bss_eval_sources
from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from util import load_network, wavwrite

# ---------------------------------------------------------------------------------------------- evaluate.py


def run(dataset, trained, folder, *more: str) -> dict:
    checkpoints = ["--feedforward", str(trained / "savedModel_feedforward_best.pt")]
    checkpoints += ["--rnn", str(trained / "savedModel_RNN_best.pt")]
    argv = [str(dataset), *checkpoints, "--output", str(folder), "--workers", "1", *more]
    assert evaluate.main(argv) == 0
    return json.loads((folder / "evaluation.json").read_text())


def test_writes_rows_summary_and_table(dataset, trained, tmp_path, capsys):
    report = run(dataset, trained, tmp_path)
    with (tmp_path / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    systems = ["mixture", "feedforward", "RNN", "ideal ratio mask"]
    assert [(row["song"], row["system"]) for row in rows] == [(s, name) for s in ("ember", "fern") for name in systems]
    for system in systems:
        sdr = [float(row["SDR"]) for row in rows if row["system"] == system]
        figures = report["systems"][system]
        assert figures["mean SDR"] == pytest.approx(np.mean(sdr), abs=1e-3)
        assert figures["median SDR"] == pytest.approx(np.median(sdr), abs=1e-3)
    means = {name: report["systems"][name]["mean SDR"] for name in systems}
    assert means["mixture"] < means["ideal ratio mask"] and means["RNN"] < means["ideal ratio mask"]
    assert (report["songs"], report["songs not scored"]) == (2, [])
    assert report["data"].startswith("tiny songs, Test: 2 songs") and "512-tap" in report["protocol"]
    assert "trained on tiny songs" in report["checkpoints"]["RNN"]
    table = (tmp_path / "evaluation.md").read_text()
    assert f"| RNN | {means['RNN']:.2f} |" in table
    assert table.strip() in capsys.readouterr().out


def test_mixture_scores_its_own_sdr(dataset, trained, tmp_path):
    run(dataset, trained, tmp_path, "--split", "Valid")
    with (tmp_path / "evaluation.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["system"] == "mixture")
    mixture, vocals = make_song("dune", 2.0)
    expected = bss_eval_sources(vocals[None], mixture[None]).sdr[0]
    assert row["song"] == "dune" and float(row["SDR"]) == pytest.approx(expected, abs=0.01)


def test_mir1k_protocol(trained, tmp_path):
    """GNSDR is the mean, weighted by length, of the SDR's gain over the mixture; the mixture's own is zero."""
    (tmp_path / "data" / "Wavfile").mkdir(parents=True)
    for name, seconds in (("leon_1_01", 1.0), ("leon_1_02", 3.0)):
        mixture, vocals = make_song(name, seconds)
        clip = np.stack([mixture - vocals, 0.2 * vocals])
        wavwrite(tmp_path / "data" / "Wavfile" / f"{name}.wav", clip, RATE, "FLOAT")
    report = run(tmp_path / "data", trained, tmp_path)
    with (tmp_path / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "v2.1" in report["protocol"] and "0 dB" in report["protocol"]
    assert report["systems"]["mixture"]["GNSDR v2.1"] == 0 == report["systems"]["mixture"]["GNSDR v3"]
    for version in (" v2.1", ""):
        own, base = ([float(r["SDR" + version]) for r in rows if r["system"] == s] for s in ("RNN", "mixture"))
        expected = np.average(np.array(own) - base, weights=[1, 3])
        assert report["systems"]["RNN"]["GNSDR" + (version or " v3")] == pytest.approx(expected, abs=2e-3)
    sir = [float(row["SIR v2.1"]) for row in rows if row["system"] == "ideal ratio mask"]
    assert report["systems"]["ideal ratio mask"]["GSIR v2.1"] == pytest.approx(
        np.average(sir, weights=[1, 3]), abs=2e-3
    )
    assert report["systems"]["ideal ratio mask"]["GNSDR v2.1"] > 5


def test_silent_songs_are_counted_and_do_not_spoil_the_mean(trained, tmp_path):
    for name in ("loud", "silent"):
        mixture, vocals = make_song(name, 1.0)
        (tmp_path / "data" / name).mkdir(parents=True)
        wavwrite(tmp_path / "data" / name / "mixture.wav", mixture, RATE, "FLOAT")
        wavwrite(tmp_path / "data" / name / "vocals.wav", vocals * (name == "loud"), RATE, "FLOAT")
    report = run(tmp_path / "data", trained, tmp_path)
    assert (report["songs"], report["songs not scored"]) == (2, ["silent"])
    assert "1 not scored" in report["data"]
    with (tmp_path / "evaluation.csv").open() as file:
        loud = [float(row["SDR"]) for row in csv.DictReader(file) if row["song"] == "loud"]
    assert [figures["mean SDR"] for figures in report["systems"].values()] == pytest.approx(loud, abs=1e-3)


def test_options_arrive(dataset, trained, tmp_path, monkeypatch):
    seen = {}

    def judge_songs(songs, paths, workers):
        seen.update(songs=[song.name for song in songs], paths=paths, workers=workers)
        return iter([judge_song(song, _load(paths)) for song in songs])

    def _load(paths):
        return {"feedforward": load_network(paths["feedforward"], FeedforwardNetwork)[:2]} | {
            "RNN": load_network(paths["RNN"], RecurrentNetwork)[:2]
        }

    judge_song = evaluate.judge_song
    monkeypatch.setattr(evaluate, "judge_songs", judge_songs)
    more = ["--split", "Valid", "--hold-out", "coral", "fern", "--include-test", "--workers", "2"]
    run(dataset, trained, tmp_path / "new" / "folder", *more)
    assert (seen["songs"], seen["workers"]) == (["coral", "fern"], 2)
    assert seen["paths"]["RNN"] == trained / "savedModel_RNN_best.pt"
