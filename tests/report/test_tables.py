"""Tables of README, docs and the model card: those of results/, written again when results change."""

import json
import shutil

import pytest
from helpers import ROOT, fails

from report import tables


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The pages and results, where tests may change them."""
    for name in {table.page for table in tables.TABLES}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "results", tmp_path / "results", ignore=shutil.ignore_patterns("*.png", "*.csv"))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    tables.result.cache_clear()
    yield tmp_path
    tables.result.cache_clear()


def test_all_tables_are_those_of_the_results(capsys):
    tables.result.cache_clear()
    assert tables.main(["--check"]) == 0
    assert capsys.readouterr().out == "all tables are up to date\n"


def test_a_new_score_is_told_and_then_written_wherever_it_stands(copy, capsys):
    path = copy / "results" / "musdb" / "evaluation.json"
    report = json.loads(path.read_text())
    new = {"mean": 7.777, "interval of the mean": [6.5, 8.25], "median": 6.66}
    report["scores"]["vocals"]["RNN"]["SDR v3 sources"] |= new
    path.write_text(json.dumps(report))
    pages = {name: (copy / name).read_text() for name in ("README.md", "docs/results.md", "pretrained/README.md")}
    text = fails(capsys, tables.main, "--check")
    assert "README.md, pretrained/README.md, docs/results.md: tables differ from results/" in text
    assert {name: (copy / name).read_text() for name in pages} == pages
    assert tables.main([]) == 0
    readme, results, card = ((copy / name).read_text() for name in pages)
    assert "| recurrent (`separate_RNN.py`) | 7.78 | 6.50 … 8.25 |" in readme
    assert "| recurrent | 7.78 | 6.50 … 8.25 | 6.66 |" in results
    assert card.count(" | 7.78 | ") == 1
    changed = [
        (a, b) for a, b in zip(pages["docs/results.md"].splitlines(), results.splitlines(), strict=True) if a != b
    ]
    assert len(changed) == 1


def test_a_new_time_and_a_new_peak_of_memory_are_written(copy):
    path = copy / "results" / "separation_speed.json"
    speed = json.loads(path.read_text())
    rows = speed["song of 240 s, stereo, 44100 Hz, whole process"]
    rows["separate_RNN.py"] |= {"wall, s": 9.87, "wall, times import torch": 6.5, "processor, s": 12.0}
    rows["import torch"]["processor, s"] = 2.0
    speed["peak memory, MB"]["2 hours"] = 777.7
    path.write_text(json.dumps(speed))
    assert tables.main([]) == 0
    separation, scale = ((copy / "docs" / name).read_text() for name in ("separation.md", "scale.md"))
    assert "\n| `separate_RNN.py` | 9.9 | 6.50 | 12.0 |\n" in separation
    assert "\n| song of 2 hours | 778 |\n" in separation
    assert "\n| recurrent | 180 (2.00) | 150 (1.67) |\n" in scale  # 15 songs an hour, 0.04 USD for 3600 s


def test_differences_are_those_of_the_songs_whichever_comes_first():
    folder, trained, both = "both_ways/musdb", "trained", "untrained bidirectional"
    tables.result.cache_clear()
    one, other = tables.difference(folder, trained, both), tables.difference(folder, both, trained)
    gap = tables.sdr(folder, trained)["mean"] - tables.sdr(folder, both)["mean"]
    assert float(one.split()[0]) == pytest.approx(gap, abs=0.006)
    assert float(other.split()[0]) == -float(one.split()[0])
    low, high = one[one.index("(") + 1 : -1].split(" … ")
    assert other.endswith(f"({-float(high):.2f} … {-float(low):.2f})")


@pytest.mark.parametrize(
    ("page", "row", "heading"),
    [
        ("pretrained/README.md", "| 5 excerpts of DSD100 |", "## What they are good at"),
        ("docs/results.md", "| recurrent, 3 keys |", "## Real songs: MUSDB18"),  # tables below it have such a row, too
    ],
)
def test_a_page_without_a_row_is_an_error(copy, capsys, page, row, heading):
    text = (copy / page).read_text().replace(row, "| another |", 1)
    (copy / page).write_text(text)
    assert f"{page}: expected a row '{row[2:-2]}' below '{heading}', found none" in fails(capsys, tables.main)
    assert (copy / page).read_text() == text


def test_results_without_a_system_are_an_error(copy, capsys):
    path = copy / "results" / "musdb" / "evaluation.json"
    report = json.loads(path.read_text())
    del report["scores"]["vocals"]["spleeter"]
    path.write_text(json.dumps(report))
    text = "results/musdb/evaluation.json: expected scores of 'spleeter', found none"
    assert text in fails(capsys, tables.main, "--check")
