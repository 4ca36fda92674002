"""From file to file: length, rate, channels and sample type are kept; the checkpoint is found and named."""

import shutil

import numpy as np
import pytest
import torch
from helpers import RATE, make_song

import separate_feedforward
import separate_RNN
from Model_RNN import RecurrentNetwork
from process.errors import UserError
from separation import separator
from separation.separate import find_checkpoint, separate
from sound.files import sound_info
from util import AudioConfig, load_network, wavread, wavwrite

SCRIPTS = {"feedforward": separate_feedforward, "RNN": separate_RNN}
AUDIO = AudioConfig(RATE, 256, 128)


class Constant(torch.nn.Module):
    """A network that lets everything through, or half of it."""

    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, magnitude, state=None):
        return torch.full_like(magnitude, self.value), state


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_same_rate_channels_length_and_sample_type(trained, tmp_path, name, channels, rate):
    mixture, _ = make_song("song", 0.7, rate)
    source, target = tmp_path / "mein Lied.wav", tmp_path / "the voice.wav"
    wavwrite(source, np.tile(mixture[:-5], (channels, 1)), rate, "PCM_24")
    checkpoint = trained / f"savedModel_{name}_best.pt"
    assert SCRIPTS[name].main([str(source), str(target), "--checkpoint", str(checkpoint), "--device", "cpu"]) == 0
    assert sound_info(target) == sound_info(source)
    voice, _ = wavread(target)
    assert 1e-4 < np.abs(voice).max() < 1
    assert np.abs(voice - voice[0]).max() < 1e-6  # equal channels in, equal channels out


@pytest.mark.parametrize("extension", ["flac", "ogg", "mp3"])
def test_other_formats(trained, tmp_path, extension):
    mixture, _ = make_song("song", 1.0, 32000)
    wavwrite(tmp_path / f"song.{extension}", mixture, 32000)
    argv = [str(tmp_path / f"song.{extension}"), str(tmp_path / "voice.wav")]
    assert separate_RNN.main([*argv, "--checkpoint", str(trained / "savedModel_RNN_best.pt")]) == 0
    read, _ = wavread(tmp_path / f"song.{extension}")
    assert wavread(tmp_path / "voice.wav")[0].shape == read.shape


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 44100])
@pytest.mark.parametrize("samples", [1, 2, 5, 127, 128, 1000])
def test_a_mask_of_ones_gives_the_mixture_back(down_to_0_hz, rate, samples):
    time = np.arange(samples) / rate
    waveform = (0.5 * np.sin(2 * np.pi * 100 * time + 1)).astype(np.float32)[None]
    voice = separate(Constant(1.0), waveform, rate, AUDIO)
    assert voice.shape == waveform.shape and np.isfinite(voice).all()
    if rate <= RATE or samples > 100:  # else there may be no sample at the network's rate
        assert np.abs(voice - waveform).max() < 1e-5
    if rate == RATE:
        assert np.abs(separate(Constant(0.5), waveform, rate, AUDIO) - waveform / 2).max() < 1e-5


def test_a_silent_channel_stays_silent_and_the_input_is_not_changed(down_to_0_hz):
    waveform = np.random.default_rng(0).uniform(-1, 1, (2, 3000)).astype(np.float32)
    waveform[1] = 0
    before = waveform.copy()
    voice = separate(Constant(1.0), waveform, RATE, AUDIO)
    assert np.array_equal(waveform, before)
    assert np.abs(voice[1]).max() == 0 and np.abs(voice[0]).max() > 0.5


def test_long_songs_go_through_in_pieces_with_the_state_carried(trained, monkeypatch):
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    mixture, _ = make_song("song", 2.0)
    whole = separate(network, mixture[None], RATE, audio)
    monkeypatch.setattr(separator, "FRAMES", 7)
    assert np.abs(separate(network, mixture[None], RATE, audio) - whole).max() < 1e-6


def test_same_input_same_bytes(trained, tmp_path):
    mixture, _ = make_song("song", 1.0)
    wavwrite(tmp_path / "song.wav", mixture, RATE)
    for name in ("one.wav", "two.wav"):
        argv = [str(tmp_path / "song.wav"), str(tmp_path / name)]
        assert separate_RNN.main([*argv, "--checkpoint", str(trained / "savedModel_RNN_best.pt")]) == 0
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()


def test_default_checkpoint_is_that_of_the_current_folder_else_the_one_shipped(trained, tmp_path, monkeypatch, capsys):
    mixture, _ = make_song("song", 0.5)
    wavwrite(tmp_path / "song.wav", mixture, RATE)
    monkeypatch.chdir(tmp_path)
    assert separate_feedforward.main(["song.wav", "shipped.wav", "--verbose"]) == 0
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "single-frame network (pretrained), 32 kHz, cpu"
    # wherever the project lies
    assert said.splitlines()[1].startswith("pretrained/savedModel_feedforward_best.pt: feedforward network, trained on")
    assert "32000 Hz" in said

    shutil.copy(trained / "savedModel_feedforward_best.pt", tmp_path)
    assert separate_feedforward.main(["song.wav", "own.wav", "--verbose"]) == 0
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "single-frame network (savedModel_feedforward_best.pt), 8 kHz, cpu"
    assert "pretrained" not in said and "trained on tiny songs: 3 songs" in said
    assert (tmp_path / "own.wav").read_bytes() != (tmp_path / "shipped.wav").read_bytes()


def test_the_first_line_is_short(tmp_path, monkeypatch, capsys):
    wavwrite(tmp_path / "song.wav", make_song("song", 0.5)[0], RATE)
    monkeypatch.chdir(tmp_path)
    assert separate_RNN.main(["song.wav", "voice.wav", "--device", "cpu"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == "recurrent network (pretrained), 32 kHz, cpu" and second.startswith("song.wav -> voice.wav: ")


def test_no_checkpoint_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"savedModel_other_best\.pt: expected in the current folder or in"):
        find_checkpoint("other")
