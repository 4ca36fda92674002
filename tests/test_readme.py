"""README and docs: short, with figures from results/, names and paths that exist, and Python that runs."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from util import wavread, wavwrite

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(path for path in ROOT.glob("*/*.md") if not path.parent.name.startswith("."))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_readme_stays_short():
    assert len(README.encode()) <= 12 * 1024


def test_the_sentence_on_both_directions_has_the_scores_of_the_evaluations():
    both, five = (
        json.loads((ROOT / "results" / folder / "evaluation.json").read_text())["scores"]["vocals"][system][
            "SDR v3 sources"
        ]["mean"]
        for folder, system in (("musdb", "RNN bidirectional"), ("five_keys/musdb", "both 5 keys"))
    )
    sentence = rf"--bidirectional`\s+alone\s+reaches\s+{both:.2f}\s+dB,\s+with\s+`--tta\s+5`\s+{five:.2f}\s+dB"
    assert re.search(sentence, README), f"README.md: expected {both:.2f} dB in both directions, {five:.2f} in 5 keys"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("https://"):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pages
def test_scripts_in_commands_exist(page):
    text = page.read_text(encoding="utf-8")
    for script in re.findall(r"(?:python3?|nproc-per-node 2) ((?:\w+/)*\w+\.py)\b", text):
        assert (ROOT / script).is_file(), script


def test_names_of_the_starter_code_are_found_here():
    start = README.index("| there | here |")
    rows = README[start : README.index("\n\n", start)].splitlines()[2:]
    assert len(rows) == 12
    found = 0
    for row in rows:
        for name in re.findall(
            r"`((?:util|Model|Model_RNN|separation|training|songs|pictures)\.[\w.]+)`", row.split("|")[2]
        ):
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name
            found += 1
    assert found >= 9


def test_python_in_readme_separates_a_waveform(tmp_path, monkeypatch):
    start = README.index("    from Model_RNN import")
    code = re.sub(r"(?m)^    ", "", README[start : README.index("\n\n", start)])
    assert len(code.splitlines()) == 6
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained", target_is_directory=True)
    mixture = 0.1 * np.random.default_rng(0).standard_normal((2, 22050)).astype(np.float32)
    wavwrite(tmp_path / "song.wav", mixture, 44100)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    voice, rate = wavread(tmp_path / "voice.wav")
    assert (voice.shape, rate) == (mixture.shape, 44100) and 0 < np.abs(voice).max() < np.abs(mixture).max()
