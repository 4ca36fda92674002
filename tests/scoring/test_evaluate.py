"""evaluate.py through its main: rows, summary, tables; MIR-1K's protocol; other programs' estimates; oddities."""

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from helpers import RATE, fails, make_song, needs_ffmpeg

import evaluate
from Model_RNN import RecurrentNetwork, both_ways
from pictures import plots
from process.checksums import checksum
from scoring import scores
from scoring.bss_eval import bss_eval_sources
from scoring.report import _remarks, code_version, homework_line
from scoring.summary import decibels
from scoring.systems import IDEAL_MASKS, Mixture
from separation.separate import separate
from songs.dataset import find_songs
from util import load_network, wavwrite

BOUNDS = ["mixture", *IDEAL_MASKS]
SYSTEMS = ["mixture", "feedforward", "RNN", *IDEAL_MASKS]
SDR = "SDR v3 sources"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Songs are judged here instead of in other processes, which take seconds to start; one test has them."""

    def judge_songs(songs, systems, workers, **options):
        return [scores.judge_song(song, systems, **options) for song in songs]

    monkeypatch.setattr(evaluate, "judge_songs", judge_songs)


def run(dataset, folder, *more: str) -> tuple[dict, list[dict]]:
    """Run evaluate.py, by default without networks. Returns (evaluation.json, rows of evaluation.csv)."""
    checkpoints = () if "--rnn" in more or "--checkpoint" in more else ("--checkpoint",)
    assert evaluate.main([str(dataset), "--output", str(folder), "--workers", "1", *more, *checkpoints]) == 0
    with (folder / "evaluation.csv").open() as file:
        return json.loads((folder / "evaluation.json").read_text()), list(csv.DictReader(file))


def column(rows: list[dict], system: str, name: str = SDR, source: str = "vocals") -> list[float]:
    return [float(row[name]) for row in rows if (row["system"], row["source"]) == (system, source)]


def write_plain_song(folder, mixture, vocals, rate=RATE) -> None:
    folder.mkdir(parents=True)
    wavwrite(folder / "mixture.wav", mixture, rate, "FLOAT")
    wavwrite(folder / "vocals.wav", vocals, rate, "FLOAT")


@pytest.fixture
def three_songs(tmp_path):
    """A plain folder of three songs, 1 to 2 s. Returns (folder, {name: (mixture, vocals)})."""
    songs = {name: make_song(name, seconds) for name, seconds in (("one", 1.0), ("two. b", 1.5), ("three", 2.0))}
    for name, (mixture, vocals) in songs.items():
        write_plain_song(tmp_path / "data" / name, mixture, vocals)
    return tmp_path / "data", songs


# ---------------------------------------------------------------------------------------------- rows, summary, tables


def test_writes_rows_summary_and_tables(dataset, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "judge_songs", scores.judge_songs)  # the real one, in other processes
    checkpoints = ["--feedforward", str(trained / "savedModel_feedforward_best.pt")]
    checkpoints += ["--rnn", str(trained / "savedModel_RNN_best.pt"), "--workers", "2"]
    report, rows = run(dataset, tmp_path, *checkpoints)
    expected = [(song, source, name) for song in ("ember", "fern") for name in SYSTEMS for source in scores.SOURCES]
    assert [(row["song"], row["source"], row["system"]) for row in rows] == expected
    for source in scores.SOURCES:
        for system in SYSTEMS:
            sdr = column(rows, system, source=source)
            figures = report["scores"][source][system][SDR]
            assert figures["mean"] == pytest.approx(np.mean(sdr), abs=1e-3)
            assert figures["median"] == pytest.approx(np.median(sdr), abs=1e-3)
            assert figures["standard deviation"] == pytest.approx(np.std(sdr, ddof=1), abs=1e-3)
            low, high = figures["interval of the mean"]
            assert [low, high] == pytest.approx([min(sdr), max(sdr)], abs=1e-3)  # of two songs, both draws of one
    means = {name: report["scores"]["vocals"][name][SDR]["mean"] for name in SYSTEMS}
    assert means["mixture"] < means["RNN"] < means["ideal ratio mask"]
    pair = next(p for p in report["differences"]["vocals"] if {p["system"], p["minus"]} == {"RNN", "mixture"})
    sign = 1 if pair["system"] == "RNN" else -1
    gains = sign * (np.array(column(rows, "RNN")) - column(rows, "mixture"))
    assert pair["mean"] == pytest.approx(gains.mean(), abs=1e-3) and pair["songs"] == 2
    assert report["data"].startswith("tiny songs, Test: 2 songs") and "512 taps" in report["protocol"]
    assert "trained on tiny songs" in report["systems"]["RNN"] and report["not scored"] == []
    assert report["checkpoints"]["RNN"] == checksum(trained / "savedModel_RNN_best.pt")
    assert report["seconds"]["scores"] > 0 and report["seconds"]["RNN"] > 0
    table = (tmp_path / "evaluation.md").read_text()
    heading = "| system | mean SDR v3 sources | 95 % interval of this mean | median SDR v3 sources |"
    assert heading in table and f"| recurrent | {means['RNN']:.2f} |" in table
    assert "| mean difference of SDR v3 sources | 95 % interval of this mean |" in table
    assert table.count("recurrent - single frame") + table.count("single frame - recurrent") == 1
    assert " - mixture |" not in table and "mask - " not in table  # differences between networks only
    said = capsys.readouterr()
    assert_terminal_shows(said.out, report)
    assert "trained on" not in said.err and "recurrent: recurrent network (" in said.err


def assert_terminal_shows(text: str, report: dict) -> None:
    """One aligned table, and at the end the line that the homework asks for."""
    lines = text.splitlines()
    titles = ["mixture", "single frame", "recurrent", *IDEAL_MASKS]
    start = lines.index(next(line for line in lines if line.startswith("system ")))
    table = lines[start : start + 1 + len(titles)]
    assert re.split(r" {2,}", table[0]) == ["system", "mean SDR", "95 % interval", "median", "songs"]
    assert len({len(line) for line in table}) == 1 and lines[start + len(table)] == ""
    for line, title, name in zip(table[1:], titles, SYSTEMS, strict=True):
        figures = report["scores"]["vocals"][name][SDR]
        low, high = figures["interval of the mean"]
        own = [f"{figures['mean']:.2f}", f"{low:.2f} … {high:.2f}", f"{figures['median']:.2f}", "2"]
        assert re.split(r" {2,}", line) == [title, *own]
    means = {name: f"{report['scores']['vocals'][name][SDR]['mean']:.2f}" for name in SYSTEMS}
    assert lines[-1] == (
        f"mean SDR of the voice, BSS_EVAL v3, 2 songs: single frame {means['feedforward']}, "
        f"recurrent {means['RNN']} dB (mixture {means['mixture']}, ideal ratio mask {means['ideal ratio mask']})"
    )
    assert "SIR" not in text and " | " not in text


@pytest.mark.parametrize(
    ("systems", "expected"),
    [
        (["mixture", "ideal ratio mask", "true magnitude"], "1 song: mixture 1.00, ideal ratio mask 2.00 dB"),
        (
            ["mixture", "RNN bidirectional", "RNN_3", "spleeter", "ideal ratio mask"],
            "1 song: recurrent bidirectional 2.00, RNN_3 3.00, spleeter 4.00 dB (mixture 1.00, ideal ratio mask 5.00)",
        ),
    ],
)
def test_the_homeworks_line_names_the_systems_that_there_are(systems, expected):
    figures = {name: {SDR: {"mean": 1.0 + number}} for number, name in enumerate(systems)}
    report = {"systems": dict.fromkeys(systems), "scores": {"vocals": figures}, "songs scored": {"vocals": 1}}
    assert homework_line(report) == f"mean SDR of the voice, BSS_EVAL v3, {expected}"


def test_mixture_scores_its_own_sdr(dataset, tmp_path):
    _, rows = run(dataset, tmp_path, "--split", "Valid")
    mixture, vocals = make_song("dune", 2.0)
    expected = bss_eval_sources(np.stack([vocals, mixture - vocals]), np.stack([mixture, mixture]))
    assert {row["song"] for row in rows} == {"dune"}
    for source, sdr, sir in zip(scores.SOURCES, expected.sdr, expected.sir, strict=True):
        assert column(rows, "mixture", source=source) == pytest.approx([sdr], abs=1e-3)
        assert column(rows, "mixture", "SIR v3 sources", source) == pytest.approx([sir], abs=1e-3)
        assert column(rows, "mixture", "SAR v3 sources", source) == [np.inf]
    level = 10 * np.log10(np.sum(vocals**2) / np.sum((mixture - vocals) ** 2))
    assert float(rows[0]["voice to accompaniment"]) == pytest.approx(level, abs=1e-3)


def test_ideal_masks(three_songs, tmp_path, monkeypatch):
    """With voice and accompaniment in different bins, every mask is perfect; with one of them all, none is."""
    data, _ = three_songs
    report, _ = run(data, tmp_path)
    means = {name: report["scores"]["vocals"][name][SDR]["mean"] for name in BOUNDS}
    assert all(means[name] > means["mixture"] + 5 for name in IDEAL_MASKS)
    assert report["scores"]["vocals"]["true magnitude"]["ISR v3 images"]["mean"] > 10
    time = np.arange(2 * 32000) / 32000  # the masks' own rate, when there is no network
    vocals, accompaniment = np.sin(2 * np.pi * np.array([[440], [5000]]) * time).astype(np.float32)
    write_plain_song(tmp_path / "tones" / "tone", vocals + accompaniment, vocals, 32000)
    _, rows = run(tmp_path / "tones", tmp_path)
    for name in IDEAL_MASKS:
        assert column(rows, name, "SDR v3 images")[0] > 45


def test_mir1k_protocol(trained, tmp_path):
    """GNSDR is the mean, weighted by length, of the SDR's gain over the mixture; the mixture's own is zero."""
    (tmp_path / "data" / "Wavfile").mkdir(parents=True)
    for name, seconds in (("leon_1_01", 1.0), ("leon_1_02", 3.0)):
        mixture, vocals = make_song(name, seconds)
        clip = np.stack([mixture - vocals, 0.2 * vocals])
        wavwrite(tmp_path / "data" / "Wavfile" / f"{name}.wav", clip, RATE, "FLOAT")
    report, rows = run(tmp_path / "data", tmp_path, "--rnn", str(trained / "savedModel_RNN_best.pt"))
    assert [float(row["voice to accompaniment"]) for row in rows] == pytest.approx([0] * len(rows), abs=1e-3)
    assert "0 dB" in report["MIR-1K protocol"]
    figures = report["MIR-1K"]
    assert figures["mixture"]["GNSDR v2.1"] == 0 == figures["mixture"]["GNSDR v3 sources"]
    for version in ("v2.1", "v3 sources"):
        gains = np.array(column(rows, "RNN", f"SDR {version}")) - column(rows, "mixture", f"SDR {version}")
        expected = np.average(gains, weights=[1, 3])
        assert figures["RNN"][f"GNSDR {version}"] == pytest.approx(expected, abs=2e-3)
        low, high = figures["RNN"][f"interval of GNSDR {version}"]
        assert [low, high] == pytest.approx([gains.min(), gains.max()], abs=2e-3)
        for score in ("SIR", "SAR"):
            expected = np.average(column(rows, "ideal ratio mask", f"{score} {version}"), weights=[1, 3])
            assert figures["ideal ratio mask"][f"G{score} {version}"] == pytest.approx(expected, abs=2e-3)
    assert figures["ideal ratio mask"]["GNSDR v2.1"] > 5
    assert not (tmp_path / "sdr_by_level.png").exists()  # all at 0 dB
    assert "| system | GNSDR v2.1 | 95 % interval of GNSDR v2.1 |" in (tmp_path / "evaluation.md").read_text()


def test_framewise_and_second_opinion(three_songs, tmp_path, museval):
    data, songs = three_songs
    report, rows = run(data, tmp_path, "--framewise", "--check-with-mir-eval")
    assert report["largest difference from mir_eval"][SDR]["difference"] < 1e-4
    assert report["largest difference from mir_eval"][SDR]["rows compared"] == len(rows)
    mixture, vocals = songs["three"]
    references, estimates = np.stack([vocals, mixture - vocals]), np.stack([mixture, mixture])
    expected = museval.metrics.bss_eval(
        references[..., None], estimates[..., None], window=RATE, hop=RATE, compute_permutation=False
    )
    row = next(row for row in rows if row["song"] == "three")
    for name, frames in zip(("SDR", "ISR", "SIR"), expected, strict=False):
        assert float(row[f"{name} v4, median of frames"]) == pytest.approx(np.median(frames[0]), abs=1e-3)
    assert "| median SDR v4, median of frames |" in (tmp_path / "evaluation.md").read_text()


def test_where_mir_eval_fails_there_is_no_second_opinion():
    found = scores.score(np.array([[0.5], [0.25]]), np.array([[[0.75], [0.75]]]), RATE, check=True)
    assert np.isnan(found["SDR mir_eval"]).all() and not np.isnan(found[SDR]).any()


# ---------------------------------------------------------------------------------------------- pictures


def test_pictures(three_songs, tmp_path, monkeypatch):
    data, songs = three_songs
    for name, gain in (("one", 0.1), ("two. b", 0.6), ("three", 0.3)):
        (tmp_path / "tool").mkdir(exist_ok=True)
        mixture, vocals = songs[name]
        wavwrite(tmp_path / "tool" / f"{name}.wav", vocals + gain * (mixture - vocals), RATE, "FLOAT")
    drawn = {}
    for function in ("plot_boxes", "plot_by_level", "plot_spectrograms"):
        original = getattr(plots, function)

        def spy(path, *arguments, original=original):
            drawn[path.name] = arguments
            original(path, *arguments)

        monkeypatch.setattr(plots, function, spy)
    _, rows = run(data, tmp_path, "--estimates", str(tmp_path / "tool"))
    spectrograms = [f"spectrograms_{place}.png" for place in ("worst", "median", "best")]
    assert {path.name for path in tmp_path.glob("*.png")} == {"sdr_boxes.png", "sdr_by_level.png", *spectrograms}
    for scores_drawn in (drawn["sdr_boxes.png"][0], drawn["sdr_by_level.png"][1]):
        assert scores_drawn["tool"] == pytest.approx(column(rows, "tool"), abs=1e-3)
    levels = [float(row["voice to accompaniment"]) for row in rows if row["system"] == "tool"]
    assert drawn["sdr_by_level.png"][0] == pytest.approx(levels[::2], abs=1e-3)
    titles = [drawn[name][2].split(",")[0] for name in spectrograms]
    assert titles == ["two. b", "three", "one"]
    magnitudes = drawn["spectrograms_best.png"][0]
    assert list(magnitudes) == ["mixture", "voice", "estimate", "error: estimate - voice"]
    assert np.square(magnitudes["error: estimate - voice"]).sum() < 0.05 * np.square(magnitudes["mixture"]).sum()
    run(data, tmp_path)  # without a system whose songs would be drawn: no picture of the evaluation before is left
    assert {path.name for path in tmp_path.glob("*.png")} == {"sdr_boxes.png", "sdr_by_level.png"}


def test_listening_page(three_songs, tmp_path):
    data, _ = three_songs
    _, rows = run(data, tmp_path, "--page", str(tmp_path / "page"))
    page = (tmp_path / "page" / "index.html").read_text()
    shown = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert shown["systems"] == BOUNDS and shown["columns"][0] == SDR
    assert [song["name"] for song in shown["songs"]] == ["one", "three", "two. b"]
    for song, sdr in zip(shown["songs"], column(rows, "ideal ratio mask"), strict=True):
        assert song["scores"]["vocals"][1][0] == pytest.approx(sdr, abs=1e-3)
        sound = (tmp_path / "page" / "songs" / f"{song['id']}.js").read_text()
        assert "ideal ratio mask: accompaniment" in sound and '"mixture: voice"' not in sound


# ---------------------------------------------------------------------------------------------- which systems


def test_any_checkpoints_and_any_estimates(three_songs, trained, tmp_path):
    data, songs = three_songs
    (tmp_path / "other tool").mkdir()
    for name, (mixture, vocals) in songs.items():
        estimate = np.stack([vocals, vocals]) + 0.1 * (mixture - vocals)  # stereo
        wavwrite(tmp_path / "other tool" / f"{name}.wav", estimate, RATE, "FLOAT")
        (tmp_path / "both" / name).mkdir(parents=True)
        wavwrite(tmp_path / "both" / name / "vocals.flac", estimate, RATE)
        wavwrite(tmp_path / "both" / name / "no_vocals.flac", mixture - vocals, RATE)
    copy = shutil.copy(trained / "savedModel_RNN_best.pt", tmp_path / "copy.pt")
    more = ["--checkpoint", str(trained / "savedModel_feedforward_best.pt"), f"again={copy}", "--checkpoint", str(copy)]
    more += ["--estimates", str(tmp_path / "other tool"), "--estimates", f"second={tmp_path / 'both'}"]
    report, rows = run(data, tmp_path, *more)
    assert list(report["systems"]) == ["mixture", "feedforward", "again", "RNN", "other tool", "second", *IDEAL_MASKS]
    assert column(rows, "again") == column(rows, "RNN") != column(rows, "feedforward")
    assert np.array(column(rows, "other tool", "SDR v2.1")) == pytest.approx(
        20 + np.array([float(row["voice to accompaniment"]) for row in rows if row["system"] == "again"][::2]), abs=1.5
    )
    # The voice leaves 0.9 of the accompaniment, perfect but for the gain; no_vocals.flac has 16 bits.
    assert column(rows, "other tool", source="accompaniment") == [np.inf] * 3
    assert all(40 < sdr < 99 for sdr in column(rows, "second", source="accompaniment"))
    text = (tmp_path / "evaluation.md").read_text()
    assert "other tool - second" in text or "second - other tool" in text


def test_estimates_of_another_rate_or_length(three_songs, tmp_path):
    data, songs = three_songs
    (tmp_path / "tool").mkdir()
    wavwrite(tmp_path / "tool" / "one.wav", songs["one"][1][:-100], RATE, "FLOAT")
    wavwrite(tmp_path / "tool" / "two. b.wav", np.pad(songs["two. b"][1], (0, 100)), RATE, "FLOAT")
    wavwrite(tmp_path / "tool" / "three.wav", np.repeat(songs["three"][1], 2), 2 * RATE, "FLOAT")
    report, rows = run(data, tmp_path, "--estimates", str(tmp_path / "tool"))
    notes = {row["song"]: row["note"] for row in rows if row["system"] == "tool"}
    expected = {"one": "100 samples too short", "two. b": "100 samples too long", "three": "resampled from 16000 Hz"}
    assert notes == expected and report["adjusted estimates"] == 3
    assert min(column(rows, "tool")) > 15 and report["songs scored"]["vocals"] == 3


def test_folders_of_estimates_without_a_song_in_common_are_told_before_scoring(
    three_songs, tmp_path, capsys, monkeypatch
):
    data, songs = three_songs
    for folder, name in (("ea", "one"), ("eb", "three")):
        (tmp_path / folder).mkdir()
        wavwrite(tmp_path / folder / f"{name}.wav", songs[name][1], RATE)
    monkeypatch.setattr(evaluate, "judge_songs", None)
    folders = [tmp_path / "ea", tmp_path / "eb"]
    line = fails(capsys, evaluate.main, data, "--output", tmp_path, "--checkpoint", "--estimates", *folders)
    expected = f"{folders[0]} and {folders[1]}: expected estimates of at least one song in common, found none"
    assert line == f"error: {expected}"


def test_the_command_is_kept_as_it_can_be_typed_again(three_songs, tmp_path):
    data, _ = three_songs
    report, _ = run(data, tmp_path / "two words")
    assert f"--output '{tmp_path / 'two words'}'" in report["command"]


@needs_ffmpeg
def test_estimates_in_formats_that_ffmpeg_reads_are_found_and_listed(three_songs, tmp_path, capsys):
    data, songs = three_songs
    (tmp_path / "tool" / "htdemucs").mkdir(parents=True)
    for name, (_, vocals) in songs.items():
        wavwrite(tmp_path / "voice.wav", vocals, RATE)
        ending = "_(Vocals)_model.m4a" if name == "one" else "_vocals.mka"
        output = tmp_path / "tool" / "htdemucs" / f"{name}{ending}"
        coder = "alac" if name == "one" else "flac"
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / "voice.wav", "-c:a", coder, output]
        subprocess.run(command, check=True)
    output.unlink()
    report, rows = run(data, tmp_path, "--estimates", str(tmp_path / "tool"))
    assert report["songs scored"]["vocals"] == 2
    assert (
        min(float(row["SDR v3 images"]) for row in rows if row["system"] == "tool" and row["SDR v3 images"] != "nan")
        > 40
    )
    lines = capsys.readouterr().err.splitlines()
    assert "  one: htdemucs/one_(Vocals)_model.m4a" in lines and "  three: none" in lines
    assert "  two. b: htdemucs/two. b_vocals.mka" in lines


def test_lag_and_gain_of_estimates_are_reported(three_songs, tmp_path):
    data, songs = three_songs
    (tmp_path / "tool").mkdir()
    for name, (mixture, vocals) in songs.items():
        estimate = vocals + 0.1 * (mixture - vocals)
        estimate = {"one": np.roll(estimate, 200), "two. b": 0.1 * estimate, "three": estimate}[name]
        wavwrite(tmp_path / "tool" / f"{name}.wav", estimate, RATE, "FLOAT")
    report, rows = run(data, tmp_path, "--estimates", str(tmp_path / "tool"))
    notes = {row["song"]: row["note"] for row in rows if row["system"] == "tool"}
    late, soft = "the voice is 200 samples (25.0 ms) late", "the voice is at 0.1 times its level"
    assert notes == {"one": late, "two. b": soft, "three": ""} and report["adjusted estimates"] == 0
    found = [(entry["song"], entry["system"], entry["found"]) for entry in report["displaced estimates"]]
    assert found == [("one", "tool", late), ("two. b", "tool", soft)]
    text = (tmp_path / "evaluation.md").read_text()
    assert f"tool, 2 songs: {late} (one), which counts as an error" in text


def test_the_reason_for_no_score_is_not_that_an_estimate_was_adjusted(three_songs, tmp_path):
    data, songs = three_songs
    (tmp_path / "tool").mkdir()
    for name, (_, vocals) in songs.items():
        silent = name != "three"
        estimate = np.zeros(2 * len(vocals)) if silent else vocals
        wavwrite(tmp_path / "tool" / f"{name}.wav", estimate, 2 * RATE if silent else RATE, "FLOAT")
    write_plain_song(data / "rest", songs["one"][0], 0 * songs["one"][1])
    wavwrite(tmp_path / "tool" / "rest.wav", songs["one"][1][:-50], RATE, "FLOAT")
    report, _ = run(data, tmp_path, "--estimates", str(tmp_path / "tool"))
    reasons = {(r["song"], r["system"]): r["reason"] for r in report["not scored"] if r["source"] == "vocals"}
    assert reasons["one", "tool"] == reasons["two. b", "tool"] == "silent estimate"
    assert {reason for (song, _), reason in reasons.items() if song == "rest"} == {"silent reference"}
    text = (tmp_path / "evaluation.md").read_text()
    assert "vocals of 1, silent reference." in text and "vocals of 2, silent estimate (tool)." in text


def spoil(path, value: float) -> None:
    """Write `value` over the last sample of a WAV file of floats."""
    path.write_bytes(path.read_bytes()[:-4] + np.float32(value).tobytes())


def test_what_cannot_be_scored_is_counted_and_left_out_for_all(three_songs, tmp_path):
    data, songs = three_songs
    tool = tmp_path / "tool"
    tool.mkdir()
    mixture, vocals = songs["one"]
    cases = {  # song -> its mixture, its voice, the estimate
        "silent": (mixture, 0 * vocals, 0.9 * vocals),
        "a cappella": (vocals, vocals, 0.9 * vocals),
        "broken": (mixture, vocals, 0.9 * vocals),
        "long": (mixture, vocals, np.pad(vocals, (0, RATE))),
        "missing": (mixture, vocals, None),
        "nothing": (mixture, vocals, 0 * vocals),
        "nan": (mixture, vocals, vocals),
        **{name: (*song, 0.8 * song[1] + 0.2 * song[0]) for name, song in songs.items()},
    }
    for name, (song_mixture, song_vocals, estimate) in cases.items():
        if name not in songs:
            write_plain_song(data / name, song_mixture, song_vocals)
        if estimate is not None:
            wavwrite(tool / f"{name}.wav", estimate, RATE, "FLOAT")
    spoil(data / "broken" / "vocals.wav", np.inf)
    spoil(tool / "nan.wav", np.nan)

    report, rows = run(data, tmp_path, "--estimates", str(tool))
    assert report["songs"] == 10
    assert report["songs scored"] == {"vocals": 4, "accompaniment": 5}
    reasons = {(r["song"], r["system"]): r["reason"] for r in report["not scored"] if r["source"] == "vocals"}
    assert reasons["silent", "mixture"] == "silent reference" == reasons["silent", "tool"]
    assert "NaN or infinity" in reasons["broken", "mixture"] and "NaN or infinity" in reasons["nan", "tool"]
    assert "expected 8000 samples" in reasons["long", "tool"] and "found none" in reasons["missing", "tool"]
    assert reasons["nothing", "tool"] == "silent estimate" and ("nothing", "mixture") not in reasons
    kept = {*songs, "a cappella"}
    oracle = [row for row in rows if (row["system"], row["source"]) == ("ideal ratio mask", "vocals")]
    expected = [float(row[SDR]) for row in oracle if row["song"] in kept]
    figures = report["scores"]["vocals"]["ideal ratio mask"]
    assert figures[SDR]["songs"] == 4 and figures[SDR]["median"] == pytest.approx(np.median(expected), abs=1e-3)
    assert figures["SIR v3 sources"]["songs"] == 3  # not of the song with a single source
    assert report["scores"]["vocals"]["mixture"][SDR]["mean"] == "inf"  # of the song without accompaniment
    text = (tmp_path / "evaluation.md").read_text()
    assert "Scored: vocals of 4 songs" in text and "Not scored: vocals of 1, silent reference." in text
    assert "Not scored: vocals of 1, silent estimate (tool)." in text
    assert "vocals of 3, estimate missing, unreadable or of the wrong length (tool)" in text
    assert "vocals of 1, song unreadable" in text


def test_recurrent_networks_in_both_directions_and_all_in_several_keys_on_request(three_songs, trained, tmp_path):
    data, songs = three_songs
    paths = [trained / f"savedModel_{name}_best.pt" for name in ("feedforward", "RNN")]
    more = ["--checkpoint", str(paths[0]), f"one={paths[1]}", "--bidirectional", "--tta", "3"]
    report, rows = run(data, tmp_path, *more)
    once = ["feedforward", "one", "one bidirectional"]
    assert list(report["systems"]) == ["mixture", *once, *(f"{name} 3 keys" for name in once), *IDEAL_MASKS]
    assert report["systems"]["one bidirectional"] == report["systems"]["one"] + ", bidirectional"
    assert report["systems"]["one 3 keys"] == report["systems"]["one"] + ", mean of 3 keys"
    network, audio, _ = load_network(paths[1], RecurrentNetwork)
    ways = {"one bidirectional": (both_ways(network), 1), "one 3 keys": (network, 3)}
    ways["one bidirectional 3 keys"] = both_ways(network), 3
    for system, (heard, keys) in ways.items():
        found = column(rows, system)
        for sdr, (name, (mixture, vocals)) in zip(found, sorted(songs.items()), strict=True):
            [voice] = separate(heard, mixture[None], RATE, audio, keys)
            sources, estimates = np.stack([vocals, mixture - vocals]), np.stack([voice, mixture - voice])
            assert sdr == pytest.approx(bss_eval_sources(sources, estimates).sdr[0], abs=0.01), name
    assert len({tuple(column(rows, system)) for system in ("one", *ways)}) == 4


def test_songs_that_a_network_was_trained_on_are_told(dataset, trained, tmp_path, capsys):
    network = f"mine={trained / 'savedModel_RNN_best.pt'}"
    run(dataset, tmp_path / "unknown", "--checkpoint", network)
    assert "trained on" not in capsys.readouterr().err.replace("network, trained on", "")
    assert "was trained" not in (tmp_path / "unknown" / "evaluation.md").read_text()

    report, _ = run(dataset, tmp_path / "known", "--checkpoint", network, "--split", "Train")
    remark = "mine was trained on these songs, so its scores do not show how good it is on others."
    assert f"warning: {remark}\n" in capsys.readouterr().err
    assert remark in (tmp_path / "known" / "evaluation.md").read_text()
    assert len(report["trained on"]["mine"]) == 3

    [song, *_] = find_songs(dataset)["Train"]
    for name, seconds in ((song.name.upper(), song.seconds), ("other", 1.0)):
        samples = round(seconds * RATE)
        mixture, vocals = make_song(name, seconds)
        write_plain_song(tmp_path / "data" / name, mixture[:samples], vocals[:samples])
    report, _ = run(tmp_path / "data", tmp_path / "some", "--checkpoint", network)
    assert f"on 1 of these songs, such as {song.name.upper()}, " in (tmp_path / "some" / "evaluation.md").read_text()
    shutil.rmtree(tmp_path / "data" / song.name.upper())
    write_plain_song(tmp_path / "data" / song.name, *make_song(song.name, song.seconds + 1))
    report, _ = run(tmp_path / "data", tmp_path / "another", "--checkpoint", network)
    assert report["trained on"] == {"mine": []}


def test_why_no_song_has_a_score_is_told_of_the_voice(three_songs, tmp_path, capsys):
    data, songs = three_songs
    shutil.rmtree(data / "one")
    write_plain_song(data / "one", songs["one"][1], songs["one"][1])  # without accompaniment, which has no score
    (tmp_path / "tool").mkdir()
    for name, (_, vocals) in songs.items():
        wavwrite(tmp_path / "tool" / f"{name}.wav", vocals[:4000], RATE)
    arguments = [str(data), "--output", str(tmp_path / "out"), "--workers", "1", "--checkpoint"]
    error = fails(capsys, evaluate.main, *arguments, "--estimates", str(tmp_path / "tool"))
    assert f"found none: {tmp_path / 'tool' / 'one.wav'}: expected 8000 samples" in error


def test_tables_of_two_evaluations_do_not_lie_side_by_side(three_songs, tmp_path, capsys):
    data, _ = three_songs
    (tmp_path / "evaluation.md").mkdir()
    arguments = [str(data), "--output", str(tmp_path), "--workers", "1", "--checkpoint"]
    assert "evaluation.md: cannot be written" in fails(capsys, evaluate.main, *arguments)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "evaluation.md"}


def test_remarks_and_tables_call_a_system_the_same():
    silent = {"song": "one", "source": "vocals", "system": "RNN 3 keys", "reason": "silent estimate"}
    found = {"not scored": [silent], "systems": {"mixture": "", "RNN 3 keys": ""}, "trained on": {}}
    [remark] = _remarks({**found, "adjusted estimates": 0, "displaced estimates": []})
    assert remark == "Not scored: vocals of 1, silent estimate (recurrent 3 keys)."


@pytest.mark.parametrize(("value", "text"), [(np.nan, "-"), (np.inf, "∞"), (-np.inf, "-∞"), (-0.125, "-0.12")])
def test_how_a_score_is_written(value, text):
    assert decibels(value) == text


def test_level_of_a_voice_in_a_long_song(tmp_path):
    vocals = np.full(1_000_000, 0.1)
    write_plain_song(tmp_path / "song", vocals + 0.03 * np.sign(np.sin(np.arange(len(vocals)))), vocals)
    [song] = find_songs(tmp_path)["Test"]
    rows, _ = scores.judge_song(song, [Mixture()])
    assert rows[0]["voice to accompaniment"] == pytest.approx(20 * np.log10(0.1 / 0.03), abs=1e-4)


# ---------------------------------------------------------------------------------------------- errors, options


def test_errors(three_songs, tmp_path, trained, capsys):
    data, _ = three_songs
    checkpoint = str(trained / "savedModel_RNN_best.pt")
    (tmp_path / "empty").mkdir()
    for more, line in (
        (["--estimates", str(tmp_path / "nowhere")], "no such folder of estimates"),
        (
            ["--estimates", str(tmp_path / "empty")],
            "expected estimates named like the songs ('one.wav' or 'one/vocals.wav'), found none",
        ),
        (["--checkpoint", checkpoint, checkpoint], "found 2 called 'recurrent': write NAME=PATH"),
        (["--checkpoint", checkpoint, f"recurrent={checkpoint}"], "found 2 called 'recurrent': write NAME=PATH"),
        (["--checkpoint", f"mixture={checkpoint}"], "found 2 called 'mixture'"),
        (["--checkpoint", "nothing.pt"], "nothing.pt: no such checkpoint"),
        (["--split", "Train", "--checkpoint"], "expected songs in Train, found none"),
        (["--bidirectional", "--checkpoint"], "expected a recurrent network, found none"),
        (["--feedforward", checkpoint], "expected a network of the kind feedforward, found RNN; --checkpoint"),
    ):
        checkpoints = [] if "--checkpoint" in more else ["--checkpoint"]
        assert evaluate.main([str(data), "--output", str(tmp_path / "out"), *more, *checkpoints]) == 1
        assert line in capsys.readouterr().err


def test_options_arrive(dataset, trained, tmp_path, monkeypatch):
    seen = {}
    judge = evaluate.judge_songs

    def judge_songs(songs, systems, workers, **options):
        seen.update(songs=[song.name for song in songs], systems=systems, workers=workers, **options)
        return judge(songs, systems, workers)

    monkeypatch.setattr(evaluate, "judge_songs", judge_songs)
    checkpoint = trained / "savedModel_RNN_best.pt"
    more = ["--split", "Valid", "--hold-out", "coral", "fern", "--include-test", "--rnn", str(checkpoint)]
    assert evaluate.main([str(dataset), *more, "--workers", "2", "--output", str(tmp_path / "new" / "folder")]) == 0
    assert (seen["songs"], seen["workers"]) == (["coral", "fern"], 2)
    assert next(system.path for system in seen["systems"] if system.name == "RNN") == checkpoint
    assert not seen["framewise"] and not seen["check"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_code_and_not_of_what_it_lies_in(tmp_path, monkeypatch):
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring" / "report.py").touch()
    monkeypatch.setattr("scoring.report.__file__", str(tmp_path / "scoring" / "report.py"))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "homework"]):
        subprocess.run([*git, *command], check=True)
    assert code_version() is None
    subprocess.run([*git, "add", "scoring"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "code"], check=True)
    assert len(code_version()) == 12
