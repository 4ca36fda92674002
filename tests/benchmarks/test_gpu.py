"""What benchmarks/speed/gpu.sh finds out about a GPU: here, on the CPU in its place; where there is one, on that."""

import ctypes
import json
import os
import subprocess
import sys

import pytest
from helpers import AUDIO_OPTIONS, ROOT, fails

from benchmarks.speed import gpu, training
from benchmarks.speed.on_device import working


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory):
    """What gpu.sh writes, in short, in a process that sees the GPU, which conftest.py hides from this one."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no NVIDIA GPU here: its driver, libcuda.so.1, is not installed")
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment["PYTHON"] = sys.executable
    code = "import torch; print(torch.cuda.is_available())"
    sees = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
    if sees.strip() != "True":
        pytest.skip("torch sees no NVIDIA GPU here")
    folder = tmp_path_factory.mktemp("gpu")
    short = ["--seconds", "80", "--batches", "1", "--rounds", "1"]
    subprocess.run(["bash", ROOT / "benchmarks" / "speed" / "gpu.sh", folder, *short], env=environment)
    return json.loads((folder / "gpu.json").read_text())


@pytest.mark.cuda
@pytest.mark.parametrize("what", [*gpu.SEPARATIONS, "RNN, through a pipe"])
def test_separation_on_cuda_agrees_with_the_cpu(on_gpu, what):
    found = on_gpu["separation"][what]
    assert found["largest difference"] < 1e-3 < found["peak"]


@pytest.mark.cuda
@pytest.mark.parametrize("run", ["again", "resumed"])
@pytest.mark.parametrize("what", ["feedforward, excerpts by processes", "RNN, --mix"])
def test_training_on_cuda_repeats_itself_and_resumes_to_the_bit(on_gpu, what, run):
    assert on_gpu["repetition"][f"{what}, {run}"]["same weights"], on_gpu["repetition"]


@pytest.mark.cuda
def test_evaluation_on_cuda_gives_the_scores_of_the_cpu(on_gpu):
    assert on_gpu["evaluation"]["scores"] >= 6 and on_gpu["evaluation"]["largest difference, dB"] < 0.01


@pytest.mark.cuda
@pytest.mark.parametrize("name", gpu.TRAININGS)
def test_training_on_cuda_is_faster_than_on_two_cores(on_gpu, name):
    found = on_gpu[f"training: {name}"]
    assert 0 <= found["cuda, float32"]["share of time the GPU waits"] < 1
    assert found["cuda, float32, to 2 threads, float32"] > 1


# ---------------------------------------------------------------------------------------------- on the CPU


def test_training_on_the_cpu_repeats_itself_and_a_step_that_fails_says_so(dataset, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(gpu, "BANDS", " ".join(["--encoder", "bands", "--bands", "8", *AUDIO_OPTIONS]))
    monkeypatch.setattr(gpu, "SHORT", "--steps 2 --excerpt 0.5 --batch-size 2 --hidden-size 16")
    monkeypatch.setitem(gpu.STEPS, "evaluation", fail)
    output = tmp_path / "gpu.json"
    argv = [dataset, "--output", output, "--device", "cpu", "--limit", "3600"]
    argv += ["--only", "repetition", "evaluation"]
    assert "gpu.json: not measured: evaluation" in fails(capsys, gpu.main, *argv)
    found = json.loads(output.read_text())
    assert found["evaluation"]["failed"] == "no such kernel"
    assert "separation" not in found
    for run in ("feedforward, excerpts by processes", "RNN, --mix"):
        for again in ("again", "resumed"):
            own = found["repetition"][f"{run}, {again}"]
            assert own["same weights"] and own["largest difference of a weight"] == 0
            assert len(set(own["validation losses"])) == 1


def test_no_step_begins_when_time_is_over(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(gpu.STEPS, "separation", pytest.fail)
    argv = [dataset, "--output", tmp_path / "gpu.json", "--device", "cpu", "--limit", "1", "--only", "separation"]
    assert "not measured: separation" in fails(capsys, gpu.main, *argv)
    assert json.loads((tmp_path / "gpu.json").read_text())["separation"]["failed"] == "left out: 1 s were over"


def test_speed_beside_the_cpu(dataset, tmp_path, monkeypatch):
    """Of a device, which is the CPU once more, with its loader of mixes."""
    monkeypatch.setattr(training, "SIZE", 128)  # a CPU without 16-bit products takes minutes for the real one
    output = tmp_path / "speed.json"
    argv = [dataset, "--network", "RNN", "--threads", "1", "--learn", "0", "--rounds", "1", "--batches", "1"]
    argv += ["--device", "cpu", "--output", output, "--", "--mix", f"{dataset}=1", "--excerpt", "0.5"]
    argv += ["--sample-rate", "8000", "--block", "256", "--hop", "128", "--batch-size", "2"]
    assert training.main(list(map(str, argv))) == 0
    found = json.loads(output.read_text())["RNN"]
    own = found["cpu, float32"]
    assert own["share of time the GPU waits"] is None
    assert min(value for key, value in own.items() if key.endswith("frames per second")) > 0
    ratio = own["frames per second"] / found["1 threads, float32"]["frames per second"]
    assert found["cpu, float32, to 1 threads, float32"] == pytest.approx(ratio, abs=0.01)


def test_what_a_gpu_does_at_once_counts_once():
    spans = [(0, 10, "kernel"), (2, 3, "gpu_memcpy"), (8, 4, "kernel"), (20, 5, "gpu_memset"), (0, 99, "cpu_op")]
    events = [{"ts": first, "dur": length, "cat": kind} for first, length, kind in spans]
    assert working([*events, {"ts": 3, "name": "no work"}]) == pytest.approx(17e-6)
    assert working([]) == 0
