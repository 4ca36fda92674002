"""Other machines than the developer's: spawned processes, odd paths, no network, no right to write beside the code."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from helpers import AUDIO_OPTIONS, QUICK, ROOT, write_dataset

from package_submission import ROOMS
from util import load_checkpoint

# Python runs this at the start of every process that finds it on its path: of those with the driver below.
NO_NETWORK = """
import sys
def hook(event, arguments):
    between_processes = event == "socket.connect" and isinstance(arguments[1], (str, bytes))  # a file's name
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request") and not between_processes:
        raise RuntimeError(f"wanted the network: {event} {arguments}")
sys.addaudithook(hook)
"""
DRIVER = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
import Data, evaluate, prepare_dataset, separate_RNN, train_feedforward, train_RNN

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    data, quick, audio = sys.argv[2], sys.argv[3].split(), sys.argv[4].split()
    assert Data.main([data]) == 0
    assert prepare_dataset.main([data, "prepared ü", "--rate", "8000"]) == 0
    assert train_feedforward.main([data, *quick, *audio, "--workers", "1"]) == 0
    assert train_RNN.main([data, *quick]) == 0
    assert separate_RNN.main(["prepared ü/Mixtures/Test/ember", "--output", "stems é/{name} 歌.flac"]) == 0
    assert evaluate.main(["prepared ü", "--workers", "1", "--page", "page ü"]) == 0
"""


def test_everything_in_odd_paths_spawned_and_without_a_network(trained, tmp_path):
    """The whole way, in processes that are spawned, as on Windows and macOS; the same weights as without any."""
    project, work, hook = (tmp_path / name for name in ("ein Projekt ü 歌", "meine Lieder é", "hook"))
    project.mkdir(), work.mkdir(), hook.mkdir()
    for path in ROOT.glob("*.py"):
        shutil.copy(path, project)
    for folder in (*ROOMS, "pretrained"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (project, *project.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    data = write_dataset(work / "data é")
    (hook / "sitecustomize.py").write_text(NO_NETWORK)
    (work / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(hook), "HOME": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    line = [sys.executable, "driver.py", str(project), str(data), " ".join(QUICK), " ".join(AUDIO_OPTIONS)]
    run = subprocess.run(line, cwd=work, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and "wanted the network" not in run.stderr, run.stderr
    assert before == {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    assert (work / "stems é" / "mixture 歌.flac").exists()

    for name in ("savedModel_feedforward_best.pt", "savedModel_RNN_best.pt"):
        spawned, usual = (load_checkpoint(folder / name)["weights"] for folder in (work, trained))
        assert all(spawned[key].equal(usual[key]) for key in usual)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs file systems of its own, as Linux has")
def test_beside_code_that_nobody_may_write(tmp_path):
    """The project's folder mounted read-only, for whoever may write everywhere else: nothing is missed there."""
    data, out = write_dataset(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    script = """
        set -e
        mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
        ! touch "$1/Data.py" 2> touched
        python="$2" project="$1" data="$3"
        shift 3
        "$python" "$project/train_feedforward.py" "$data" "$@"
        "$python" "$project/separate_feedforward.py" "$data/Mixtures/Test/ember" --output stems
    """
    given = [ROOT, sys.executable, data, *QUICK, *AUDIO_OPTIONS]
    line = ["unshare", "--map-root-user", "--mount", "bash", "-c", script, "bash", *map(str, given)]
    run = subprocess.run(line, cwd=out, capture_output=True, text=True)
    if "unshare" in run.stderr:
        pytest.skip("may not mount")
    assert run.returncode == 0, run.stderr
    assert "Read-only file system" in (out / "touched").read_text()
    names = {path.name for path in out.iterdir()}
    assert {"savedModel_feedforward_best.pt", "stems"} <= names


def test_a_network_that_is_wanted_is_noticed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK)
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "wanted the network" in run.stderr


# ---------------------------------------------------------------------------------------------- dependencies

# The first releases without vulnerabilities known on 2026-11-24, of what requirements.txt names and what that brings.
# CI has no network for an up-to-date list: `pip-audit -r requirements.txt` has, and what it finds belongs here.
SAFE = {
    "torch": "2.10",  # CVE-2026-24747: torch.load(weights_only=True)
    "tqdm": "4.66.3",  # CVE-2024-34062
    "soundfile": "0.13",  # CVE-2022-33065: libsndfile before 1.2.2
    "filelock": "3.20.3",  # CVE-2025-68146, CVE-2026-22701: a link in the place of the lock
    "pillow": "12.1.1",  # CVE-2026-25990; torchvision and matplotlib bring it
    "fonttools": "4.60.2",  # CVE-2025-66034; matplotlib brings it
    "jinja2": "3.1.6",  # CVE-2025-27516; torch brings it
}


def numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release.split("+")[0])[:3])


def requirements() -> dict[str, str]:
    """The least version of each package in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    matches = (re.match(r"([\w-]+)>=([\d.]+)", line) for line in lines if line and line[0] != "#")
    return {match[1]: match[2] for match in matches if match}


@pytest.mark.parametrize("name", SAFE)
def test_no_version_with_a_known_vulnerability_is_allowed_or_installed(name):
    allowed = requirements()
    if name in allowed:
        assert numbers(allowed[name]) >= numbers(SAFE[name])
    try:
        assert numbers(version(name)) >= numbers(SAFE[name])
    except PackageNotFoundError:
        assert name not in allowed


@pytest.mark.parametrize("name", requirements())
def test_installed_versions_are_those_that_are_required(name):
    assert numbers(version(name)) >= numbers(requirements()[name])
