"""The zip that is handed in: what is in it, what is not, and that it runs from where it is unpacked."""

import shutil
import unicodedata
import zipfile
from pathlib import Path

import pytest
from helpers import RATE, ROOT, fails, make_song

import package_submission
from util import wavwrite


@pytest.fixture
def submission(trained, tmp_path, monkeypatch):
    """A copy of the code, in which the current folder is, with networks trained there, some data and no report."""
    copy = tmp_path / "copy"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "pretrained", "demo", "*.pt", "report")
    )
    for path in trained.glob("*_best.pt"):
        shutil.copy(path, copy)
    wavwrite(copy / "song.wav", make_song("song", 0.5)[0], RATE)
    (copy / "results" / "voice.flac").write_bytes(b"sound")
    monkeypatch.chdir(copy)
    monkeypatch.setattr(package_submission, "ROOT", copy)
    return copy


def add_report(folder: Path) -> None:
    (folder / "report").mkdir()
    (folder / "report" / "report.pdf").write_bytes(b"%PDF-1.4 a stand-in")


def test_zip_runs_from_where_it_is_unpacked(submission, tmp_path, capsys):
    add_report(submission)
    assert package_submission.main(["Ada", "King Lovelace"]) == 0
    assert "both scripts work from it" in capsys.readouterr().out
    with zipfile.ZipFile("ada_king_lovelace_HW5.zip") as packed:
        names = set(packed.namelist())
        packed.extractall(tmp_path / "elsewhere")
    folder = tmp_path / "elsewhere" / "ada_king_lovelace_HW5"
    inside = {name.removeprefix(f"{folder.name}/") for name in names}
    assert {path.name for path in submission.glob("*.py")} < inside
    modules = {path for room in submission.glob("*/__init__.py") for path in room.parent.glob("*.py")}
    assert modules and {path.relative_to(submission).as_posix() for path in modules} < inside
    assert {"scoring/listening_page.html", "benchmarks/speed/separation.py"} < inside
    assert {"README.md", "requirements.txt", "report/report.pdf", "tests/test_package.py"} < inside
    assert {"docs/results.md", "recipe/README.md", "benchmarks/README.md"} < inside
    assert {name for name in inside if name.endswith(".pt")} == {
        "pretrained/savedModel_feedforward_best.pt",
        "pretrained/savedModel_RNN_best.pt",
    }
    assert not [name for name in inside if name.endswith((".wav", ".flac", ".mp3", ".zip")) or "__pycache__" in name]


def test_what_is_missing_is_named(submission, capsys):
    main = package_submission.main
    line = fails(capsys, main, "Ada", "Lovelace")
    assert line == f"error: {submission / 'report'}: expected the report as a PDF file in this folder, found none"
    add_report(submission)
    (submission / "sound" / "files.py").unlink()
    line = fails(capsys, main, "Ada", "Lovelace")
    assert "separate_feedforward.py: expected it to run from the unpacked zip, found: ModuleNotFoundError" in line
    Path("savedModel_RNN_best.pt").write_bytes(b"no network")
    assert "savedModel_RNN_best.pt: expected a checkpoint" in fails(capsys, main, "Ada", "Lovelace")
    Path("savedModel_feedforward_best.pt").write_bytes(b"no network")
    assert "savedModel_feedforward_best.pt: expected a checkpoint" in fails(capsys, main, "Ada", "Lovelace")
    assert not list(submission.glob("*.zip")) and not list(submission.glob(".*"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("O'Brien", "obrien"),
        ("O\u2019Brien", "obrien"),
        ("Jean\u2010Luc", "jean-luc"),
        ("D'Angelo-Smith Jr.", "dangelo-smith_jr"),
        ("Juana Inés", "juana_inés"),
        (unicodedata.normalize("NFD", "Nguyễn"), "nguyễn"),
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
