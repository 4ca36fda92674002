"""Sound files, resampling, STFT, checkpoints' round trip."""

import itertools

import numpy as np
import pytest
import scipy.signal
import torch

import separate_feedforward
from Model import FeedforwardConfig, FeedforwardNetwork
from process.devices import choose_device
from process.errors import UserError, whole_file
from separation.separate import describe
from sound.files import sound_info
from sound.resampling import resample
from util import AudioConfig, istft, load_network, save_checkpoint, stft, wavread, wavwrite

COURSE = AudioConfig()
CONFIGS = [COURSE, AudioConfig(16000, 2048, 512), AudioConfig(8000, 256, 100, "hann")]


@pytest.mark.parametrize("audio", CONFIGS, ids=str)
@pytest.mark.parametrize("samples", [8192, 20001, 40960])
def test_stft_equals_scipy(audio, samples):
    waveform = np.random.default_rng(0).standard_normal((2, samples))
    _, _, expected = scipy.signal.stft(
        waveform, audio.sample_rate, audio.window, nperseg=audio.block, noverlap=audio.block - audio.hop
    )
    spectrum = stft(torch.from_numpy(waveform.astype(np.float32)), audio)
    assert spectrum.shape == (2, audio.frames(samples), audio.bins)
    expected = expected.transpose(0, 2, 1)
    assert np.abs(spectrum.numpy() - expected).max() < 1e-5 * np.abs(expected).max()

    _, back = scipy.signal.istft(
        expected, audio.sample_rate, audio.window, audio.block, audio.block - audio.hop, time_axis=1, freq_axis=2
    )
    ours = istft(torch.from_numpy(expected), audio, samples).numpy()
    assert np.abs(ours - back[:, :samples]).max() < 1e-5 * np.abs(back).max()


@pytest.mark.parametrize("audio", CONFIGS, ids=str)
@pytest.mark.parametrize("samples", [1, 2, 99, 2047, 2048, 2049, 4096, 10000])
def test_perfect_reconstruction_at_any_length(audio, samples):
    waveform = torch.from_numpy(np.random.default_rng(samples).uniform(-1, 1, (3, samples)).astype(np.float32))
    back = istft(stft(waveform, audio), audio, samples)
    assert back.shape == waveform.shape
    assert (back - waveform).abs().max() < 1e-5


def test_sine_of_amplitude_one_has_magnitude_one_half():
    time = torch.arange(32000, dtype=torch.float64) / 32000
    sine = torch.sin(2 * torch.pi * 100 * 32000 / 4096 * time)
    assert stft(sine, COURSE).abs()[4, 100] == pytest.approx(0.5, abs=1e-6)


def test_unpadded_frames_are_those_of_the_whole_song():
    waveform = torch.randn(2, 30000)
    whole = stft(waveform, COURSE)
    piece = stft(waveform[:, 2 * 2048 - 2048 : 7 * 2048 + 2048], COURSE, pad=False)
    assert torch.allclose(piece, whole[:, 2:8], atol=1e-6)


@pytest.mark.parametrize(
    ("file_format", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1 / 127),
        ("wav", "PCM_16", 1 / 32767),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-7),
        ("wav", "FLOAT", 0),
        ("flac", "PCM_16", 1 / 32767),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 0.1),
        ("mp3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_write_and_read(tmp_path, file_format, subtype, tolerance):
    time = np.arange(30000) / 44100
    waveform = np.stack([0.5 * np.sin(2 * np.pi * f * time) for f in (440, 1000)]).astype(np.float32)
    path = tmp_path / f"ein Stück.{file_format}"
    wavwrite(path, waveform, 44100, subtype)
    back, rate = wavread(path)
    info = sound_info(path)
    assert (rate, info.subtype, back.dtype, len(back)) == (44100, subtype, np.float32, 2)
    if tolerance < 0.1:
        assert back.shape == waveform.shape
    middle = slice(5000, 25000)
    assert np.abs(back[:, middle] - waveform[:, middle]).max() <= tolerance
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


def test_read_a_piece(tmp_path):
    waveform = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    wavwrite(tmp_path / "noise.wav", waveform, 8000, "FLOAT")
    piece, _ = wavread(tmp_path / "noise.wav", 300, 50)
    assert np.array_equal(piece, waveform[None, 300:350])
    with pytest.raises(UserError, match=r"noise\.wav: cut off: expected 200 samples from 900 on, found 100"):
        wavread(tmp_path / "noise.wav", 900, 200)


def test_wavread_of_no_samples_is_an_empty_waveform(tmp_path):
    wavwrite(tmp_path / "noise.wav", np.zeros((2, 1000), np.float32), 8000)
    waveform, rate = wavread(tmp_path / "noise.wav", 300, 0)
    assert waveform.shape == (2, 0) and waveform.dtype == np.float32 and rate == 8000


def test_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "target.wav").write_bytes(b"old")
    (tmp_path / "link.wav").symlink_to(tmp_path / "target.wav")
    wavwrite(tmp_path / "link.wav", np.zeros(10), 8000)
    assert (tmp_path / "link.wav").is_symlink() and sound_info(tmp_path / "target.wav").samples == 10


@pytest.mark.parametrize(("from_rate", "to_rate"), list(itertools.permutations((16000, 32000, 44100), 2)))
def test_resample_keeps_a_sine(from_rate, to_rate):
    def sine(rate):
        return np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)

    resampled = resample(sine(from_rate).astype(np.float32)[None], from_rate, to_rate)
    assert resampled.shape == (1, to_rate) and resampled.dtype == np.float32
    inner = slice(to_rate // 10, -to_rate // 10)
    assert np.abs(resampled[0, inner] - sine(to_rate)[inner]).max() < 1e-4


def test_whole_file_leaves_nothing_after_an_error(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["result.txt"]
    assert path.read_text() == "old"


def test_device_that_is_not_there_is_an_error():
    with pytest.raises(UserError, match="--device cuda:99: not available"):
        choose_device("cuda:99")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sample_rate": 0}, "rate 0"),
        ({"block": 4095}, "block 4095"),
        ({"hop": 3000}, "hop 3000"),
        ({"window": "boxcar"}, "found 'boxcar'"),
    ],
)
def test_impossible_audio_configuration(settings, message):
    with pytest.raises(UserError, match=message):
        AudioConfig(**settings)


@pytest.mark.parametrize(("fields", "in_tune"), [({"adapts": False}, False), ({"adapts": True}, True), ({}, True)])
def test_a_checkpoint_of_format_1_loads_without_the_fields_that_are_gone(tmp_path, capsys, fields, in_tune):
    network = FeedforwardNetwork(FeedforwardConfig(bins=129, encoder="bands", bands=5, power=1.4))
    save_checkpoint(tmp_path / "network.pt", network, AudioConfig(8000, 256, 128))
    checkpoint = torch.load(tmp_path / "network.pt", weights_only=True)
    config = checkpoint["config"] | fields | {"bin_width": 31.25, "pitches": 160}
    torch.save({**checkpoint, "format": 1, "config": config}, tmp_path / "earlier.pt")
    earlier, _, facts = load_network(tmp_path / "earlier.pt", FeedforwardNetwork)
    assert earlier.config == network.config and facts["in_tune"] == in_tune
    wavwrite(tmp_path / "song.wav", np.zeros((1, 800), np.float32), 8000)
    song, voice, path = (str(tmp_path / name) for name in ("song.wav", "voice.wav", "earlier.pt"))
    assert not separate_feedforward.main([song, voice, "--checkpoint", path])
    assert ("train it anew" in capsys.readouterr().err) == in_tune
    assert ("no longer done" in describe(tmp_path / "earlier.pt", facts)) == in_tune
