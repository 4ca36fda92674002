"""The teacher, and the songs that it labels."""

import csv
import os

import label_songs
import numpy as np
import pytest
import separate_spleeter
import teacher
import torch
from helpers import fails, interrupted, make_song

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import both_ways
from process import locking
from process.errors import UserError
from scoring.estimates import find_estimates
from separation.separate import separate
from songs.dataset import find_songs
from sound.resampling import resample
from util import AudioConfig, save_checkpoint, wavread, wavwrite

RATE = 44100


@pytest.fixture
def small(monkeypatch):
    """A smaller U-Net, of as many layers."""
    monkeypatch.setattr(teacher, "CHANNELS", (1, 2, 2, 2, 2, 3))


def write_weights(path, drop: str = "") -> list[teacher.UNet]:
    """Random weights as TensorFlow names them, of both networks, which are given."""
    torch.manual_seed(0)
    arrays, networks = {}, []
    for source in range(2):
        network = teacher.UNet()
        networks.append(network)
        counts: dict[str, int] = {}
        order = [*network.down, network.mask, *network.up, *network.down_norms, *network.up_norms]
        for layer in order:
            kind = {"Conv2d": "conv2d", "ConvTranspose2d": "conv2d_transpose"}.get(type(layer).__name__)
            kind = kind or "batch_normalization"
            number = counts.setdefault(kind, source * sum(type(other) is type(layer) for other in order))
            counts[kind] += 1
            for part, tensor in teacher.parts_of(layer):
                tensor.data.copy_(0.5 * torch.rand_like(tensor) + 0.1)
                array = tensor.detach().numpy()
                name = f"{kind}_{number}/{part}" if number else f"{kind}/{part}"
                arrays[name] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    np.savez(path, **{name: array for name, array in arrays.items() if name != drop})
    return networks


def test_weights_find_their_layers(tmp_path, small):
    networks = write_weights(tmp_path / "w.npz")
    loaded = teacher.Spleeter(tmp_path / "w.npz", torch.device("cpu")).networks
    for mine, theirs in zip(networks, loaded, strict=True):
        weights = theirs.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in mine.state_dict().items())


def test_sizes_are_spleeters():
    """9.8 M weights a source (Hennequin et al. 2020)."""
    network = teacher.UNet()
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(9.8e6, rel=0.01)
    assert [layer.out_channels for layer in network.up] == [256, 128, 64, 32, 16, 1]


def test_masks_share_the_mixture_and_end_at_11_kHz(tmp_path, small):
    write_weights(tmp_path / "w.npz")
    spleeter = teacher.Spleeter(tmp_path / "w.npz", torch.device("cpu"))
    sound = 0.1 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(0))
    voice = spleeter.separate(sound)
    spleeter.networks.reverse()
    rest = spleeter.separate(sound)
    assert voice.shape == sound.shape
    below = slice(None, 10900)  # Hz: the spectrum of a second
    whole, total = (torch.fft.rfft(part).abs() for part in (voice + rest, sound))
    inner = slice(4096, -4096)
    assert (torch.fft.rfft((voice + rest)[:, inner]) - torch.fft.rfft(sound[:, inner])).abs()[
        :, :8000
    ].mean() < 0.02 * total.mean()
    assert (
        whole[:, 11200:].mean() < 1e-2 * total[:, 11200:].mean()
        and whole[:, below].mean() > 0.9 * total[:, below].mean()
    )


def test_what_is_no_weights_is_refused(tmp_path, small, capsys):
    write_weights(tmp_path / "w.npz", drop="conv2d_3/bias")
    wavwrite(tmp_path / "song.wav", np.zeros(100), RATE)
    (tmp_path / "text.npz").write_text("no weights")
    for name in ("w.npz", "text.npz", "absent.npz"):
        arguments = [str(tmp_path / name), str(tmp_path), str(tmp_path / "out")]
        error = fails(capsys, label_songs.main, *arguments)
        assert name in error and "expected Spleeter's weights" in error


def test_damaged_weights_are_refused(tmp_path, small, capsys):
    write_weights(tmp_path / "cut.npz")
    os.truncate(tmp_path / "cut.npz", (tmp_path / "cut.npz").stat().st_size // 2)
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "array.npy", np.zeros(3))
    wavwrite(tmp_path / "song.wav", np.zeros(100), RATE)
    for name in ("cut.npz", "empty.npz", "array.npy"):
        error = fails(capsys, label_songs.main, tmp_path / name, tmp_path, tmp_path / "out")
        assert name in error and "expected Spleeter's weights" in error


class Pretender:
    """A teacher that takes what is below 2 kHz for the voice; from 1 kHz on, less than half of it."""

    def __init__(self, *_):
        pass

    def separate(self, mixture: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(mixture)
        first, last = (round(frequency * mixture.shape[1] / RATE) for frequency in (1000, 2000))
        spectrum[:, first:last] *= 0.4
        spectrum[:, last:] = 0
        return torch.fft.irfft(spectrum, mixture.shape[1])


class Generous(Pretender):
    """A teacher that takes all for the voice, up to where Spleeter's ends."""

    def separate(self, mixture: torch.Tensor) -> torch.Tensor:
        return label_songs.below(teacher.EDGE, mixture)


def test_songs_are_labelled_once_and_by_how_sure_the_teacher_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(label_songs, "Spleeter", Pretender)
    time = np.arange(9 * RATE) / RATE
    high, low = 0.2 * np.sin(2 * np.pi * 5000 * time), 0.6 * np.sin(2 * np.pi * 400 * time) * (time < 6)
    folder = tmp_path / "songs" / "album"
    folder.mkdir(parents=True)
    wavwrite(folder / "sung.wav", np.stack([high + low, high]), RATE)
    wavwrite(folder / "played.flac", high, RATE)
    arguments = ["weights", str(tmp_path / "songs"), str(tmp_path / "data"), "--device", "cpu"]
    with monkeypatch.context() as patch:  # stopped in the first song
        patch.setattr(label_songs, "label", interrupted(label_songs.label, 1))
        assert label_songs.main(arguments) == 130
    assert label_songs.main(arguments) == 0
    with (tmp_path / "data" / "taught.csv").open() as file:
        rows = {row["song"]: row for row in csv.DictReader(file)}
    assert {name: row["verdict"] for name, row in rows.items()} == {"album sung": "sung", "album played": "unsung"}
    assert float(rows["album sung"]["agreement_db"]) > 30
    expected = 10 * np.log10(0.6**2 * 2 / 3 / (0.6**2 * 2 / 3 + 2 * 0.2**2))
    assert float(rows["album sung"]["voice_db"]) == pytest.approx(expected, abs=0.1)
    [song] = find_songs(tmp_path / "data" / "taught")["Test"]
    assert (song.name, song.rate, song.channels) == ("album sung", 22050, 2)
    _, vocals = song.read()
    at = np.arange(len(vocals)) / 22050
    truth = 0.5 * 0.6 * np.sin(2 * np.pi * 400 * at) * (at < 6)
    assert 10 * np.log10(np.sum(truth**2) / np.sum((vocals - truth) ** 2)) > 15
    played, rate = wavread(tmp_path / "data" / "accompaniments" / "taught" / "album played.ogg")
    assert rate == 22050 and np.abs(played).max() == pytest.approx(0.2, rel=0.1)
    capsys.readouterr()
    assert label_songs.main(arguments) == 0  # nothing is left to do
    assert capsys.readouterr().out == ""


def test_two_runs_do_not_label_the_same_songs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(label_songs, "Spleeter", Pretender)
    monkeypatch.setattr(locking, "WAIT", 0.05)
    wavwrite(tmp_path / "song.wav", make_song("song", 1.0, RATE)[0], RATE)
    arguments = ["weights", tmp_path, tmp_path / "data", "--device", "cpu"]
    with locking.only_writer(tmp_path / "data"):
        assert "found it in use by" in fails(capsys, label_songs.main, *arguments)
    assert not (tmp_path / "data").exists()


def test_a_song_that_cannot_be_read_spoils_no_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(label_songs, "Spleeter", Pretender)
    (tmp_path / "songs").mkdir()
    for name in ("a cut one", "whole"):
        wavwrite(tmp_path / "songs" / f"{name}.wav", make_song("song", 1.0, RATE)[0], RATE)
    os.truncate(tmp_path / "songs" / "a cut one.wav", 9999)
    assert label_songs.main(["weights", str(tmp_path / "songs"), str(tmp_path / "data"), "--device", "cpu"]) == 1
    told = capsys.readouterr()
    assert "whole: 0.02 min" in told.out and "a cut one.wav: cut off" in told.err
    assert f"error: {tmp_path / 'songs'}: 1 songs could not be read" in told.err


def test_a_network_and_the_teacher_label_together(tmp_path, monkeypatch):
    """The voice is a mean of both."""
    monkeypatch.setattr(label_songs, "Spleeter", Pretender)
    monkeypatch.setattr(label_songs, "AGREEMENT", 0.0)
    network = FeedforwardNetwork(FeedforwardConfig(bins=513, hidden=8, code=4, power=3.0))
    save_checkpoint(tmp_path / "network.pt", network, AudioConfig(RATE, 1024, 256), name=network.name)
    mixture = np.stack([make_song("song", 6.0, RATE)[0]] * 2)
    (tmp_path / "songs").mkdir()
    wavwrite(tmp_path / "songs" / "song.wav", mixture, RATE, "FLOAT")
    voices = []
    for more in ([], ["--network", str(tmp_path / "network.pt")]):
        data = tmp_path / f"data{len(more)}"
        assert label_songs.main(["weights", str(tmp_path / "songs"), str(data), "--device", "cpu", *more]) == 0
        [song] = find_songs(data / "taught")["Test"]
        _, vocals = song.read()
        voices.append(vocals)
    network.config = FeedforwardConfig(power=1.0)  # its mask as it is
    alone = separate(both_ways(network), mixture, RATE, AudioConfig(RATE, 1024, 256))
    expected = 0.6 * voices[0] + 0.4 * resample(alone, RATE, 22050)[0]
    assert np.square(voices[1] - expected).sum() < 0.005 * np.square(expected).sum()
    assert np.square(voices[1] - voices[0]).sum() > 0.05 * np.square(expected).sum()


def test_songs_of_which_the_teacher_is_not_sure_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(label_songs, "Spleeter", Pretender)
    time = np.arange(9 * RATE) / RATE
    sound = 0.5 * np.sin(2 * np.pi * 900 * time)  # 1080 Hz when it is played faster
    (tmp_path / "songs").mkdir()
    wavwrite(tmp_path / "songs" / "doubtful.wav", np.stack([sound, sound]), RATE)
    assert label_songs.main(["weights", str(tmp_path / "songs"), str(tmp_path / "data"), "--device", "cpu"]) == 0
    assert "unsure" in (tmp_path / "data" / "taught.csv").read_text()
    assert not (tmp_path / "data" / "taught").exists()


@pytest.mark.parametrize("samples", [1, 2, RATE, 3 * RATE])
def test_a_short_song_goes_through_both_passes(samples):
    sound = 0.1 * np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    row, voice = label_songs.label(Generous(), sound, "short")
    assert voice.shape == sound.shape and np.isfinite(voice).all()
    assert samples < RATE or (row.verdict == "sung" and row.agreement_db > 15)


def test_both_passes_have_the_song_at_its_pitch_and_time():
    """Above what the faster one can hear, the first has the say."""
    sound = 0.1 * np.random.default_rng(0).standard_normal((2, 8 * RATE)).astype(np.float32)
    row, voice = label_songs.label(Generous(), sound, "noise")
    heard = label_songs.below(teacher.EDGE, torch.from_numpy(sound)).numpy()
    inner = slice(4 * RATE, 7 * RATE)
    error = np.abs(np.fft.rfft(voice[:, inner] - heard[:, inner]))[:, : 3 * 10900]
    assert row.verdict == "sung" and row.agreement_db > 20
    assert np.square(error).sum() < 1e-2 * np.square(np.abs(np.fft.rfft(heard[:, inner]))).sum()


# ---------------------------------------------------------------------------------------------- judged as a peer


@pytest.mark.parametrize("mono", [False, True])
def test_spleeter_separates_a_datasets_songs_in_their_channels(tmp_path, monkeypatch, capsys, mono):
    monkeypatch.setattr(separate_spleeter, "Spleeter", Pretender)
    vocals, drums = (
        0.1 * np.random.default_rng(seed).standard_normal((2, 32001)).astype(np.float32) for seed in (0, 1)
    )
    for name, sound in (("vocals", vocals), ("drums", drums[:1])):
        (tmp_path / "songs" / "Ann - One").mkdir(parents=True, exist_ok=True)
        wavwrite(tmp_path / "songs" / "Ann - One" / f"{name}.wav", sound, 32000, "FLOAT")
    arguments = ["weights.npz", str(tmp_path / "songs"), str(tmp_path / "out"), *(["--mono"] if mono else [])]
    assert separate_spleeter.main(arguments) == 0
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'out' / 'Ann - One.wav'}\n")
    [song] = find_songs(tmp_path / "songs")["Test"]
    [(name, (path, _))] = find_estimates(tmp_path / "out", [song]).items()
    voice, rate = wavread(path)
    mixture = vocals + drums[:1]
    mixture = mixture.mean(axis=0, keepdims=True) if mono else mixture
    assert name == "Ann - One" and voice.shape == mixture.shape and rate == 32000
    kept, there = (np.abs(np.fft.rfft(sound)) for sound in (voice, mixture))  # bins of about 1 Hz
    assert kept[:, 100:900] == pytest.approx(there[:, 100:900], rel=0.1)
    assert kept[:, 3000:].max() < 0.01 * there.max()


def test_spleeter_replaces_no_song(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(separate_spleeter, "Spleeter", Pretender)
    clip = tmp_path / "MIR-1K" / "Wavfile" / "bug_1_01.wav"
    clip.parent.mkdir(parents=True)
    wavwrite(clip, np.stack([make_song("a", 1.0)[1], make_song("b", 1.0)[1]]), 16000)
    before = clip.read_bytes()
    assert separate_spleeter.main(["weights.npz", str(tmp_path / "MIR-1K"), str(clip.parent)]) == 1
    assert f"{clip}: expected a folder of its own" in capsys.readouterr().err and clip.read_bytes() == before


def test_spleeter_goes_on_after_a_song_that_it_cannot_separate(dataset, tmp_path, monkeypatch, capsys):
    class Particular(Pretender):
        def separate(self, mixture):
            if not separated:
                separated.append(mixture)
                raise UserError("too loud")
            return super().separate(mixture)

    separated: list[torch.Tensor] = []
    monkeypatch.setattr(separate_spleeter, "Spleeter", Particular)
    count = len(find_songs(dataset)["Test"])
    assert count > 1 and separate_spleeter.main(["weights.npz", str(dataset), str(tmp_path / "out")]) == 1
    last = f"error: {dataset}: 1 of {count} songs could not be separated"
    assert capsys.readouterr().err.splitlines() == ["error: too loud", last]
    assert len(list((tmp_path / "out").iterdir())) == count - 1


def test_spleeter_has_nothing_to_separate_in_an_empty_split(dataset, tmp_path, capsys):
    arguments = ["weights.npz", dataset, tmp_path / "out", "--include-test", "--split", "Test"]
    assert "expected songs in Test, found none" in fails(capsys, separate_spleeter.main, *arguments)
