"""Devices other than the CPU: what needs none, by tensors that have a device but no contents, and by patching."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import AUDIO_OPTIONS, QUICK, fails
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import evaluate
import separate_RNN
import train_RNN
from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import RecurrentNetwork, RNNConfig, both_ways
from networks.encoders import ENCODERS
from networks.hearing import Hearing
from networks.layers import LSTM
from process.devices import choose_device, device_errors, send
from process.errors import UserError
from scoring import systems
from separation import command as separation_command
from separation.separator import Each, Separator
from training import command as training_command
from training import loop
from training.bank import Bank, Parts, Track
from training.desk import Group
from training.loss import kl_divergence, mean_over_frames
from training.mixes import Mixes
from training.options import parse_options
from training.parallel import PROCESSES, THREADS, workers_for
from util import AudioConfig

AUDIO = AudioConfig(8000, 256, 128)
CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


def remember(lstm: LSTM, values: torch.Tensor, state: tuple | None = None):
    """In place of cuDNN: values of the shapes of an LSTM's."""
    last = values[-1:, :, :1].expand(-1, -1, lstm.hidden_size)
    last = last if state is None else last + sum(state)
    width = lstm.hidden_size * (1 + lstm.bidirectional)
    return values[..., :1].expand(-1, -1, width) + last[..., :1], (last, last)


@pytest.fixture
def on_cuda(monkeypatch):
    """In this test, tensors on CUDA can be made and computed with, but for their values; one on the CPU among them, or
    the other way round, is an error, as on a GPU."""
    monkeypatch.setattr(LSTM, "forward", remember)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: np.zeros(tuple(tensor.shape), np.float32))
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        yield


def network_on_cuda(encoder: str) -> RecurrentNetwork:
    with CUDA:
        return RecurrentNetwork(RNNConfig(AUDIO.bins, encoder=encoder, bands=8, memory=16)).eval()


def test_a_tensor_on_the_wrong_device_would_be_noticed(on_cuda):
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device="cuda") * torch.ones(3)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_step_of_training_stays_on_its_device(on_cuda, encoder):
    network, song = network_on_cuda(encoder).train(), torch.rand(2, 5, AUDIO.bins, device="cuda")
    _, state = network(song)
    mask, _ = network(song, loop.carry_state(state, torch.tensor([True, False])))
    loss = mean_over_frames(kl_divergence(song, mask * song), torch.tensor([5, 3]))
    assert mask.device.type == loss.device.type == "cuda"
    network.compression.measure(song[0])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("prepare", [lambda network: network, both_ways], ids=["causal", "both ways"])
def test_separation_stays_on_its_device(on_cuda, encoder, prepare):
    separator = Separator(prepare(network_on_cuda(encoder)), AUDIO, 16000, 2)
    voices = [
        separator.push(np.zeros((2, samples), np.float32), last)[1] for samples, last in ((9000, False), (0, True))
    ]
    assert sum(voice.shape[1] for voice in voices) == 9000


def test_what_a_network_hears_stays_on_its_device(on_cuda):
    hearing = Hearing(network_on_cuda("bands"), AUDIO, keys=3)
    magnitude = torch.rand(1, 5, AUDIO.bins, device="cuda")
    heard = hearing.hear(torch.rand(2, hearing.longest + 4 * AUDIO.hop, device="cuda"), magnitude)
    assert heard.shape == (3, 5, AUDIO.bins) and heard.device.type == "cuda"
    assert hearing.put_back(heard).device.type == "cuda"


def test_mixing_stays_on_its_device(on_cuda):
    tracks = iter(Track(number * 40000, 20000, 2, 16000, 1e-4, 0.1, 4000.0) for number in range(8))
    songs = [Parts(name, next(tracks), {stem: next(tracks) for stem in ("drums", "bass", "other")}) for name in "ab"]
    bank = Bank(torch.zeros(8 * 40000, dtype=torch.int16), songs, "")
    options = parse_options(RecurrentNetwork, "", ["songs", *QUICK, "--batch-size", "8"], FeedforwardNetwork)
    options.remix, options.effects, options.speed = 0.8, 0.9, [0.7, 1.4]  # so that everything is drawn
    for batch in (
        (mixes := Mixes(bank, [Group("songs", 1.0, songs)], [], AUDIO, options, CUDA)).batch(0),
        mixes.batch(1),
    ):
        assert batch["mixture"].device.type == batch["vocals"].device.type == "cuda"
        assert batch["lengths"].device.type == "cpu"


# ---------------------------------------------------------------------------------------------- by patching


@pytest.fixture
def pretended(monkeypatch):
    """In this test, GPUs seem to be there, but nothing is computed on them. What CUDA is told is forgotten after it."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    monkeypatch.setattr(torch, "zeros", lambda _, device: SimpleNamespace(device=torch.device(device, 0)))
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)  # monkeypatch does not know of it


def test_cuda_is_told_to_repeat_itself_and_to_compute_in_32_bits(pretended):
    assert choose_device("cuda") == torch.device("cuda:0")
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_other_devices_are_told_nothing(pretended, name):
    assert choose_device(name).type == name
    assert not torch.are_deterministic_algorithms_enabled() and "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_on_the_cpu_nothing_is_copied_and_on_cuda_nothing_is_waited_for(monkeypatch):
    tensor = torch.ones(3)
    assert send(tensor, CPU) is tensor
    sent = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: sent.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *where, **how: sent.append((*where, how)) or tensor)
    send(tensor, CUDA)
    assert sent == ["pinned", (CUDA, {"non_blocking": True})]


def test_workers_prepare_batches_for_a_gpu_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("training.parallel.cores", lambda: 6)
    options = parse_options(RecurrentNetwork, "", ["songs"], FeedforwardNetwork)
    assert [workers_for(options, device) for device in (CPU, CUDA, MPS)] == [0, 5, 5]
    monkeypatch.setattr("training.parallel.cores", lambda: 64)
    assert workers_for(options, CUDA) == PROCESSES
    options.mix = [("songs", 1.0)]
    assert [workers_for(options, device) for device in (CPU, CUDA, MPS)] == [0, THREADS, 0]
    options.workers = 2
    assert [workers_for(options, device) for device in (CPU, CUDA)] == [2, 2]


FAILURES = [  # as torch says them, with what is to be told of them
    NotImplementedError("The operator 'aten::x' is not currently implemented for the MPS device.\nAs a fix, set ..."),
    TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."),
    torch.OutOfMemoryError("MPS backend out of memory (MPS allocated: 9 GB)."),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
@pytest.mark.parametrize("script", [train_RNN, separate_RNN])
def test_what_apples_gpu_cannot_do_ends_in_one_line(script, failure, trained, dataset, tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise failure

    room = training_command if script is train_RNN else separation_command
    monkeypatch.setattr(room, "choose_device", torch.device)
    monkeypatch.setattr(torch.nn.Module, "to", fail)
    monkeypatch.chdir(trained)
    if script is train_RNN:
        argv = [dataset, *QUICK, *AUDIO_OPTIONS, "--init", "scratch", "--output", tmp_path]
    else:
        argv = [dataset / "Mixtures" / "Test" / "ember" / "mixture.wav", tmp_path / "voice.wav"]
    line = fails(capsys, script.main, *argv, "--device", "mps")
    assert line == f"error: --device mps: {str(failure).splitlines()[0]} (--device cpu always works)"
    assert not list(tmp_path.glob("*.wav")) and not list(tmp_path.glob("*.pt"))


def test_what_apples_gpu_cannot_do_is_the_reason_for_a_song_without_scores(monkeypatch):
    def fail(*_):
        raise FAILURES[0]

    monkeypatch.setattr(systems, "load_once", fail)
    recording = systems.Recording(SimpleNamespace(rate=8000), *np.zeros((2, 100), np.float32))
    with pytest.raises(UserError, match=r"--device mps: The operator 'aten::x' is not currently implemented"):
        systems.Network("RNN", Path("x.pt"), device="mps").estimate(recording)


def test_other_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match="a defect"), device_errors(CUDA):
        raise RuntimeError("a defect")
    with pytest.raises(TypeError), device_errors(CPU):
        raise TypeError
    with pytest.raises(UserError, match=r"--device cuda: CUDA out of memory\. Tried"), device_errors(CUDA):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee ...")


def test_evaluation_runs_its_networks_on_the_device_that_was_asked_for(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(evaluate, "choose_device", torch.device)
    monkeypatch.setattr(
        evaluate, "load_once", lambda _: (SimpleNamespace(remembers=True, foresees=False), AUDIO, {"name": "RNN"})
    )
    monkeypatch.setattr(systems, "load_once", lambda *_: (None, AUDIO, {}))
    for device in ("cpu", "cuda"):
        options = evaluate.parse_options(["songs", "--device", device, "--bidirectional", "--tta", "3"])
        networks = [system for system in evaluate.make_systems(options, []) if isinstance(system, systems.Network)]
        assert len(networks) == 8 and {network.device for network in networks} == {device}


@pytest.mark.parametrize(("foresees", "expected"), [(False, [1, 1, 0]), (True, [2, 2, 0])])
def test_apples_gpu_is_used_by_one_thread(foresees, expected):
    network = FeedforwardNetwork(FeedforwardConfig(bins=129, hidden=8, code=4))
    network.foresees = foresees
    separator = Separator(network, AUDIO, 8000, 1)
    found = []
    for separator.device in (CPU, CUDA, MPS):
        found += [step.threads for step in separator.steps if isinstance(step, Each)]
    assert found == expected
