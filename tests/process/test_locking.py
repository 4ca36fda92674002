"""Two programs that would write into one folder: the second is refused, naming the first; a killed one blocks none."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import AUDIO_OPTIONS, QUICK, ROOT, fails

import evaluate
import prepare_dataset
import train_feedforward
import train_RNN
from process.locking import LOCK, only_writer

HOLD = """
import os, sys, time
from process.locking import only_writer
sys.argv[0] = "somewhere/train_first.py"
with only_writer(sys.argv[1]):
    if os.fork() == 0:  # as one that reads songs, and lives on for a while when its parent is killed
        time.sleep(30)
        os._exit(0)
    print("held", flush=True)
    time.sleep(30)
"""


@pytest.fixture
def first(tmp_path):
    """A process that holds `tmp_path`/out."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "held\n"
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_the_second_is_refused_naming_the_first(first, dataset, trained, tmp_path, capsys):
    out = tmp_path / "out"
    expected = f"{out}: expected a folder to write into, found it in use by train_first.py, process {first.pid} on "
    train = [dataset, *QUICK, *AUDIO_OPTIONS, "--output", out]
    checkpoints = ["--checkpoint", *(f"{path}" for path in trained.glob("*_best.pt"))]
    assert expected in fails(capsys, train_feedforward.main, *train)
    assert expected in fails(capsys, train_RNN.main, *train, "--init", "scratch")
    assert expected in fails(capsys, evaluate.main, dataset, "--output", out, *checkpoints)
    page = ["--output", tmp_path / "other", "--page", out]
    assert expected in fails(capsys, evaluate.main, dataset, *page, *checkpoints)
    assert expected in fails(capsys, prepare_dataset.main, dataset, out)
    assert [path.name for path in out.iterdir()] == [LOCK] and not (tmp_path / "other").exists()


def test_one_that_was_killed_blocks_nobody(first, dataset, tmp_path):
    first.kill()
    first.wait()
    assert (tmp_path / "out" / LOCK).exists()
    assert train_feedforward.main([str(dataset), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / LOCK).exists()


def test_the_lock_is_for_one_at_a_time(tmp_path):
    """Many processes, each adding 1 to a number in a file: none is lost."""
    code = """
import sys, time
from pathlib import Path
from process.errors import UserError
from process.locking import only_writer
done = 0
while done < 20:
    try:
        with only_writer(sys.argv[1]) as folder:
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))
            done += 1
    except UserError:
        time.sleep(0.001)
"""
    (tmp_path / "number").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert (tmp_path / "number").read_text() == "80"


def test_a_folder_that_got_nothing_is_removed(tmp_path):
    with only_writer(tmp_path / "new"):
        assert (tmp_path / "new" / LOCK).exists()
    assert not (tmp_path / "new").exists()
    with only_writer(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("result")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]
    (tmp_path / "old").mkdir()
    with only_writer(tmp_path / "old"):
        time.sleep(0)
    assert (tmp_path / "old").is_dir()
