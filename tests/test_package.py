"""The zip that is handed in: what is in it, what is not, and that it runs from where it is unpacked."""

import json
import os
import shutil
import unicodedata
import zipfile
from pathlib import Path

import pytest
from helpers import RATE, ROOT, fails, make_song

import package_submission
from process.checksums import checksum
from util import wavwrite


@pytest.fixture
def submission(trained, tmp_path, monkeypatch):
    """A copy of the code, in which the current folder is, with networks trained there, an evaluation and some data."""
    copy = tmp_path / "copy"
    left_out = (".*", "__pycache__", "demo", "*.pt", "benchmarks", "tests", "report", "results", "evaluation", "*.pdf")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
    for path in (*trained.glob("*_best.pt"), *trained.glob("*_loss.*"), *trained.glob("*_last.pt")):
        shutil.copy(path, copy)
    for name in ("evaluation/evaluation.md", "evaluation/sdr_boxes.png", "tests/test_one.py", "benchmarks/one.py"):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("")
    for folder in ("results", "evaluation"):
        (copy / folder).mkdir(exist_ok=True)
        (copy / folder / "voice.flac").write_bytes(b"sound")
    (copy / "results" / "one.json").write_text("{}")
    (copy / "mine.pdf").write_bytes(b"%PDF-1.4 my report")
    wavwrite(copy / "song.wav", make_song("song", 0.5)[0], RATE)
    monkeypatch.chdir(copy)
    monkeypatch.setattr(package_submission, "ROOT", copy)
    return copy


def add_projects_report(folder: Path) -> None:
    (folder / "report").mkdir()
    (folder / "report" / "report.pdf").write_bytes(b"%PDF-1.4 the project's")


def use_pretrained(folder: Path, monkeypatch) -> None:
    """The networks in the current folder are those that came with the project."""
    for path in folder.glob("*_best.pt"):
        shutil.copy(path, folder / "pretrained")
    monkeypatch.setattr(package_submission, "PRETRAINED", folder / "pretrained")


def packed(name: str) -> set[str]:
    with zipfile.ZipFile(f"{name}.zip") as archive:
        names = archive.namelist()
    assert all(inside.startswith(f"{name}/") for inside in names) and len(set(names)) == len(names)
    return {inside.removeprefix(f"{name}/") for inside in names}


def test_zip_runs_from_where_it_is_unpacked(submission, capsys):
    add_projects_report(submission)
    assert package_submission.main(["Zhiyao", "King Duan", "--report", "mine.pdf"]) == 0
    said = capsys.readouterr().out
    assert "both scripts work from it" in said and "report: report.pdf\n" in said
    inside = packed("Zhiyao_King_Duan_HW5")
    assert {path.name for path in submission.glob("*.py")} < inside
    modules = {path for room in submission.glob("*/__init__.py") for path in room.parent.glob("*.py")}
    assert modules and {path.relative_to(submission).as_posix() for path in modules} < inside
    assert {"scoring/listening_page.html", "README.md", "requirements.txt", "docs/results.md"} < inside
    assert {"evaluation/evaluation.md", "evaluation/sdr_boxes.png"} < inside
    for name in ("feedforward", "RNN"):
        own = {file for file in inside if Path(file).name.startswith(f"savedModel_{name}")}
        assert own == {f"savedModel_{name}_{ending}" for ending in ("best.pt", "loss.csv", "loss.png")}
    assert not [name for name in inside if name.endswith((".wav", ".flac", ".mp3", ".zip")) or "__pycache__" in name]
    kept_out = ("results/", "benchmarks/", "recipe/", "tests/", "report/", "pretrained/")
    assert not [name for name in inside if name.startswith(kept_out)]
    with zipfile.ZipFile("Zhiyao_King_Duan_HW5.zip") as archive:
        assert archive.read("Zhiyao_King_Duan_HW5/report.pdf") == b"%PDF-1.4 my report"


def test_sound_of_any_kind_is_left_out(submission):
    names = {"songs/tape.m4a", "results/voice.opus", "results/song.stem.MP4"}
    for name in names:
        (submission / name).write_bytes(b"sound")
    assert not names & package_submission.collect(submission, everything=True).keys()


def test_files_older_than_zip_files_are_packed(submission, monkeypatch):
    monkeypatch.setattr(package_submission, "check_runs", lambda *_: None)
    os.utime("mine.pdf", (0, 0))
    assert package_submission.main(["Zhiyao", "Duan", "--report", "mine.pdf"]) == 0
    assert "report.pdf" in packed("Zhiyao_Duan_HW5")


def test_a_file_whose_name_is_no_text_is_packed(submission, monkeypatch):
    monkeypatch.setattr(package_submission, "check_runs", lambda *_: None)
    (submission / os.fsdecode(b"caf\xe9.txt")).write_text("notes")
    assert package_submission.main(["Ada", "Lovelace", "--report", "mine.pdf"]) == 0
    assert "caf\\udce9.txt" in packed("Ada_Lovelace_HW5")


def test_everything_is_packed_on_request(submission, monkeypatch):
    add_projects_report(submission)
    monkeypatch.setattr(package_submission, "check_runs", lambda *_: None)
    assert package_submission.main(["Ada", "Lovelace", "--report", "mine.pdf", "--everything"]) == 0
    inside = packed("Ada_Lovelace_HW5")
    assert {"results/one.json", "benchmarks/one.py", "recipe/README.md", "tests/test_one.py", "test.sh"} < inside
    assert {"report.pdf", "report/report.pdf", "pretrained/README.md"} < inside and "results/voice.flac" not in inside


def test_an_evaluation_of_other_networks_is_told(submission, monkeypatch, capsys):
    monkeypatch.setattr(package_submission, "check_runs", lambda *_: None)
    sums = {name: checksum(submission / f"savedModel_{name}_best.pt") for name in ("feedforward", "RNN")}
    for judged, others in (
        ({}, "savedModel_feedforward_best.pt, savedModel_RNN_best.pt"),
        ({"RNN": sums["RNN"], "old": "0"}, "savedModel_feedforward_best.pt"),
        (sums, None),
    ):
        Path("evaluation/evaluation.json").write_text(json.dumps({"checkpoints": judged} if judged else {}))
        assert package_submission.main(["Ada", "Lovelace", "--report", "mine.pdf"]) == 0
        told = f"evaluation: expected the scores of the networks to hand in, found none of {others}: python evaluate.py"
        said = capsys.readouterr().err
        assert told in said if others else not said


def test_the_projects_report_goes_with_the_projects_networks_only(submission, monkeypatch, capsys):
    add_projects_report(submission)
    monkeypatch.setattr(package_submission, "check_runs", lambda *_: None)
    line = fails(capsys, package_submission.main, "Ada", "Lovelace")
    assert line == (
        "error: savedModel_feedforward_best.pt and savedModel_RNN_best.pt: expected your report about them "
        "(--report FILE.pdf); report/report.pdf is about those in pretrained/"
    )
    use_pretrained(submission, monkeypatch)
    shutil.rmtree("evaluation")
    assert package_submission.main(["Ada", "Lovelace"]) == 0
    inside = packed("Ada_Lovelace_HW5")
    assert {"report/report.pdf", "pretrained/savedModel_RNN_best.pt"} < inside and "report.pdf" not in inside
    assert "evaluation: none: python evaluate.py DATASET writes it" in capsys.readouterr().out
    Path("pretrained/savedModel_RNN_best.pt").write_bytes(b"another")  # so the other network is one's own
    line = fails(capsys, package_submission.main, "Ada", "Lovelace")
    assert line.startswith("error: savedModel_RNN_best.pt: expected your report about them")


def test_what_is_missing_is_named(submission, capsys):
    main, report = package_submission.main, ["--report", "mine.pdf"]
    Path("text.pdf").write_text("text")
    for file, expected in (
        ("none.pdf", "none.pdf: expected the report as a PDF file, found none"),
        ("text.pdf", "text.pdf: expected a PDF file, found another kind of file"),
    ):
        assert fails(capsys, main, "Ada", "Lovelace", "--report", file) == f"error: {expected}"
    (submission / "sound" / "files.py").unlink()
    line = fails(capsys, main, "Ada", "Lovelace", *report)
    assert "separate_feedforward.py: expected it to run from the unpacked zip, found: ModuleNotFoundError" in line
    Path("savedModel_RNN_best.pt").write_bytes(b"no network")
    assert "savedModel_RNN_best.pt: expected a checkpoint" in fails(capsys, main, "Ada", "Lovelace", *report)
    Path("savedModel_feedforward_best.pt").write_bytes(b"no network")
    assert "savedModel_feedforward_best.pt: expected a checkpoint" in fails(capsys, main, "Ada", "Lovelace", *report)
    assert not list(submission.glob("*.zip")) and not list(submission.glob(".*"))


def test_code_that_is_not_in_the_zip_is_missed_even_if_an_editor_finds_it(submission, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["elsewhere", str(submission)]))
    (submission / "mine").mkdir()
    (submission / "mine" / "layers.py").write_text("")
    script = submission / "separate_feedforward.py"
    script.write_text(f"import mine.layers\n{script.read_text()}")
    line = fails(capsys, package_submission.main, "Ada", "Lovelace", "--report", "mine.pdf")
    assert "separate_feedforward.py: expected it to run from the unpacked zip, found: ModuleNotFoundError" in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("O'Brien", "OBrien"),
        ("O\u2019Brien", "OBrien"),
        ("Jean\u2010Luc", "Jean-Luc"),
        ("D'Angelo-Smith Jr.", "DAngelo-Smith_Jr"),
        ("Juana Inés", "Juana_Inés"),
        (unicodedata.normalize("NFD", "Nguyễn"), "Nguyễn"),
        ("प्रिया", "प्रिया"),
        ("李", "李"),
        ("'", ""),
        ("-", ""),
        ("..", ""),
        ("a/b", ""),
        ("a\\b", ""),
        ("Ada2", ""),
        ("a:b", ""),
        ("a\n/", ""),
    ],
)
def test_names_of_people_in_the_name_of_a_file(name, expected):
    assert package_submission.in_file_name(name) == expected


@pytest.mark.parametrize("names", [["Ada"], ["../Ada", "Lovelace"], ["Ada", ""], ["Ada", "'"]])
def test_names(names, capsys):
    with pytest.raises(SystemExit) as stop:
        package_submission.main(names)
    assert stop.value.code == 2
