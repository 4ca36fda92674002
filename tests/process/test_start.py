"""The first moments of a script: streams that are closed, and Ctrl-C while it still imports."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from process.start import NEW_OBJECTS, is_script

import pytest
from helpers import RATE, ROOT, make_song

from process.errors import UserError, whole_file
from separation import stems
from util import wavread, wavwrite

SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in (".", "recipe", "report", "report/measures")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text() and path.name != "export_spleeter.py"  # which runs without this project
)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(tmp_path, closed):
    wavwrite(tmp_path / "song.wav", make_song("song", 0.5)[0], RATE)
    line = f'"{sys.executable}" "{ROOT}/separate_feedforward.py" song.wav -o stems --stems both {closed}'
    done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "") and "Traceback" not in done.stderr
    assert ("1 song" in done.stderr or "song.wav -> " in done.stderr) == ("2>&-" not in closed)
    voice, accompaniment = (wavread(tmp_path / f"stems/song_{stem}.wav")[0] for stem in ("vocals", "accompaniment"))
    assert abs(voice + accompaniment - wavread(tmp_path / "song.wav")[0]).max() == 0


def test_what_is_printed_on_a_closed_stream_lands_in_no_file(tmp_path):
    code = "import process.start, sys; file = open('kept', 'w'); print('out'); print('err', file=sys.stderr)"
    line = f'"{sys.executable}" -c "{code}" <&- >&- 2>&-'
    done = subprocess.run(line, shell=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and (tmp_path / "kept").read_bytes() == b""


@pytest.mark.parametrize("name", ["standard input", "standard output"])
def test_sound_cannot_go_through_a_closed_stream(monkeypatch, tmp_path, name):
    monkeypatch.setattr(stems, "CLOSED", {name})
    with Path(os.devnull).open("rb") as nowhere, pytest.raises(UserError) as error:
        stems._check_piped(nowhere, name)
    assert str(error.value) == f"{name}: expected a pipe or a file, found it closed"


# As `python SCRIPT` does, but with a folder before all others.
AS_SCRIPT = """
import sys
from pathlib import Path
_, __file__, first = sys.argv
sys.path[:0] = [first, str(Path(__file__).parent)]
exec(compile(Path(__file__).read_text(), __file__, "exec"))
"""


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_every_script_starts_with_it(path):
    """Before it imports anything else that is not Python's own."""
    imports = [
        node for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    others = [name for name in names if name.split(".")[0] not in sys.stdlib_module_names]
    assert others[0] == "process.start"


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        (ROOT / "evaluate.py", True),
        (ROOT / "recipe/label_songs.py", True),
        (ROOT / "report/measures/brightness.py", True),
        (ROOT / ".venv/lib/pytest/__main__.py", False),
        (ROOT / "tests/conftest.py", False),
        (ROOT.parent / "evaluate.py", False),
        (None, False),
    ],
)
def test_other_programs_that_import_it_keep_their_ctrl_c(path, ours):
    assert is_script(path and str(path)) == ours


DRAWN = (
    "separate_RNN",
    "train_RNN",
    "evaluate",
    "prepare_dataset",
    "Data",
    "package_submission",
    "recipe/choose_power",
)


@pytest.mark.parametrize("name", DRAWN)
def test_ctrl_c_during_the_imports_ends_quietly(tmp_path, name):
    """A torch whose import waits until it is interrupted."""
    (tmp_path / "torch.py").write_text("import time\nopen('importing', 'w')\ntime.sleep(60)\n")
    command = [sys.executable, "-c", AS_SCRIPT, str(ROOT / f"{name}.py"), str(tmp_path)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "importing").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")


def test_scripts_look_for_garbage_less_often(tmp_path):
    """Not other programs that import a part of the project."""
    (tmp_path / "torch.py").write_text("import gc\nraise SystemExit(str(gc.get_threshold()[0]))\n")
    script = [sys.executable, "-c", AS_SCRIPT, str(ROOT / "separate_RNN.py"), str(tmp_path)]
    other = [sys.executable, "-c", "import process.start, torch"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    said = [
        int(subprocess.run(command, env=environment, capture_output=True, text=True).stderr)
        for command in (script, other)
    ]
    assert said[0] == NEW_OBJECTS > said[1]


@pytest.mark.parametrize("name", ["x" * 238 + ".wav", "ü" * 119 + ".wav", "歌" * 80 + ".wav", "x" * 251 + ".wav"])
def test_long_names(tmp_path, name):
    """The temporary name is no longer than the file's, and the stems of a song have different ones."""
    other = name[:-5] + "y.wav"
    with whole_file(tmp_path / name) as one, whole_file(tmp_path / other) as two:
        assert one != two and one.suffix == ".wav"
        one.write_text("one")
        two.write_text("two")
    assert [(tmp_path / path).read_text() for path in (name, other)] == ["one", "two"]
    assert len(list(tmp_path.iterdir())) == 2


def test_two_processes_of_one_number_write_different_files(tmp_path):
    """In containers that share a folder."""
    with whole_file(tmp_path / "x.wav") as one, whole_file(tmp_path / "x.wav") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert [path.name for path in tmp_path.iterdir()] == ["x.wav"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_no_file_takes_the_place_of_a_pipe_or_a_device(tmp_path):
    """As a link to /dev/null would let it, for whoever may write there."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.json").symlink_to("pipe")
    with (
        pytest.raises(UserError, match="expected a file, found a device or a pipe"),
        whole_file(tmp_path / "link.json"),
    ):
        pass
    assert (tmp_path / "pipe").is_fifo() and sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe"]


@pytest.mark.parametrize("script", ["separate_RNN.py", "train_feedforward.py", "Data.py", "recipe/choose_power.py"])
def test_a_python_without_the_packages_ends_in_one_line(script):
    """As if the environment had not been activated: -S leaves its packages out."""
    done = subprocess.run([sys.executable, "-S", ROOT / script, "--help"], capture_output=True, text=True)
    [line] = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ")
    assert f" is not installed for {sys.executable}: activate the environment" in line


def test_a_module_of_the_project_that_is_missing_is_shown_as_ever(tmp_path):
    """As in a zip that lacks a file."""
    (tmp_path / "process").mkdir()
    for name in ("process/__init__.py", "process/start.py", "separate_RNN.py", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    done = subprocess.run([sys.executable, tmp_path / "separate_RNN.py"], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr and "No module named 'Model_RNN'" in done.stderr
