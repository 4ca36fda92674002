"""The script that fills the table of what each setting is worth."""

import subprocess

import pytest
from helpers import fails

from report.measures import ablation


def test_what_cannot_be_tried_ends_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 3))
    judge = ["no remix", "--judge", "SONGS", "--table", str(tmp_path / "table.csv"), "--"]
    with pytest.raises(SystemExit) as ended:
        ablation.main([*judge, "train_RNN.py", "SONGS", "--output"])
    assert ended.value.code == 2 and "expected --output FOLDER" in capsys.readouterr().err
    line = fails(capsys, ablation.main, *judge, "train_RNN.py", "my songs", "--output", tmp_path)
    assert f"train_RNN.py 'my songs' --output {tmp_path}: expected it to succeed, found exit status 3" in line


def test_a_new_column_is_empty_in_earlier_rows(tmp_path):
    path = tmp_path / "results" / "table.csv"
    ablation.add_row(path, {"name": "ä"})
    ablation.add_row(path, {"name": "b", "seed": 1})
    assert path.read_text(encoding="utf-8").splitlines() == ["name,seed", "ä,", "b,1"]
