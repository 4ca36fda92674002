"""Bad input ends in one line on stderr that names the file, what was expected and what was found; exit status 1."""

import pickle
import shutil

import numpy as np
import pytest
import soundfile
import torch
from helpers import AUDIO_OPTIONS, QUICK, RATE, fails, make_song, write_dataset, write_song

import Data
import evaluate
import make_demo_dataset
import separate_feedforward
import separate_RNN
import separation.command
import train_feedforward
import train_RNN
from Model import FeedforwardConfig, FeedforwardNetwork
from scoring.estimates import find_estimates
from songs.dataset import find_songs
from util import wavwrite


@pytest.fixture
def song(tmp_path):
    mixture, _ = make_song("song", 0.5)
    wavwrite(tmp_path / "song.wav", mixture, RATE)
    return tmp_path / "song.wav"


# ---------------------------------------------------------------------------------------------- sound files


def write_bytes(path, data: bytes | bytearray):
    path.write_bytes(data)
    return path


def write_float(path, samples: np.ndarray) -> None:
    """Write samples that wavwrite refuses."""
    soundfile.write(path, samples, RATE, "FLOAT")


def broken_files(folder, song) -> dict:
    (folder / "a folder.wav").mkdir()
    whole = song.read_bytes()
    wavwrite(folder / "whole.flac", np.random.default_rng(0).uniform(-1, 1, 20000).astype(np.float32), RATE)
    wavwrite(folder / "whole.ogg", np.random.default_rng(0).uniform(-1, 1, 20000).astype(np.float32), RATE)
    write_float(folder / "nan.wav", np.array([0, np.nan, 0], np.float32))
    write_float(folder / "inf.wav", np.array([0, np.inf, 0], np.float32))
    wavwrite(folder / "none.wav", np.zeros(0, np.float32), RATE)
    return {
        "no such file": folder / "missing.wav",
        "expected a folder with sound files, found none": folder / "a folder.wav",
        "expected a sound file, found an empty file": write_bytes(folder / "empty.wav", b""),
        "cannot be read as sound": write_bytes(folder / "text.wav", b"this is no sound\n" * 99),
        "cut off: expected 8000 bytes of sound, found 4000": write_bytes(folder / "cut.wav", whole[:-4000]),
        "cut.flac: c": write_bytes(folder / "cut.flac", (folder / "whole.flac").read_bytes()[:-9000]),
        "cut.ogg: cut off: expected the last page of an OGG stream, found none": write_bytes(
            folder / "cut.ogg", (folder / "whole.ogg").read_bytes()[:-3000]
        ),
        "song.raw: cannot be read as sound": write_bytes(folder / "song.raw", whole[44:]),
        "expected sound, found a file with no samples": folder / "none.wav",
        "nan.wav: expected finite samples, found NaN or infinity": folder / "nan.wav",
        "inf.wav: expected finite samples, found NaN or infinity": folder / "inf.wav",
    }


def test_bad_sound_files(trained, tmp_path, song, capsys):
    checkpoint = trained / "savedModel_feedforward_best.pt"
    for message, path in broken_files(tmp_path, song).items():
        line = fails(capsys, separate_feedforward.main, path, tmp_path / "out.wav", "--checkpoint", checkpoint)
        assert message in line and path.name in line
        assert not (tmp_path / "out.wav").exists()
    assert not list(tmp_path.glob(".*part*"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("voice.xyz", "voice.xyz: expected a name ending in .wav, .flac, .ogg or .mp3, found '.xyz'"),
        ("voice", "voice: expected a name ending in .wav"),
        ("nowhere/voice.wav", "no such folder"),
        ("voice.raw", "voice.raw: expected a name ending in .wav"),
        ("song.wav", "song.wav: expected an output other than the input, found the same file"),
    ],
)
def test_bad_output(trained, tmp_path, song, capsys, target, message):
    before = song.read_bytes()
    checkpoint = trained / "savedModel_RNN_best.pt"
    line = fails(capsys, separate_RNN.main, song, tmp_path / target, "--checkpoint", checkpoint)
    assert message in line
    assert song.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["song.wav"]


def test_missing_input_with_an_output_that_exists(trained, tmp_path, song, capsys):
    argv = [tmp_path / "missing.wav", song, "--checkpoint", trained / "savedModel_RNN_best.pt"]
    assert "missing.wav: no such file" in fails(capsys, separate_RNN.main, *argv)


def test_network_that_gives_no_numbers(trained, tmp_path, song, capsys):
    checkpoint = torch.load(trained / "savedModel_RNN_best.pt", weights_only=True)
    checkpoint["weights"]["decoder.0.bias"][:] = torch.nan
    torch.save(checkpoint, tmp_path / "nan.pt")
    line = fails(capsys, separate_RNN.main, song, tmp_path / "voice.wav", "--checkpoint", tmp_path / "nan.pt")
    assert "voice.wav: expected finite samples to write, found NaN or infinity" in line
    assert not (tmp_path / "voice.wav").exists()


def test_folder_that_cannot_be_one(trained, dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        line = fails(capsys, train_feedforward.main, dataset, *QUICK, *AUDIO_OPTIONS, "--output", folder)
        assert f"{folder}: expected a folder to write into" in line
    checkpoints = ["--feedforward", trained / "savedModel_feedforward_best.pt"]
    checkpoints += ["--rnn", trained / "savedModel_RNN_best.pt"]
    line = fails(capsys, evaluate.main, dataset, *checkpoints, "--output", tmp_path / "file")
    assert f"{tmp_path / 'file'}: expected a folder to write into" in line


def test_errors_of_the_file_system_are_one_line_too(trained, tmp_path, capsys):
    argv = [tmp_path / ("x" * 300 + ".wav"), tmp_path / "voice.wav"]
    line = fails(capsys, separate_RNN.main, *argv, "--checkpoint", trained / "savedModel_RNN_best.pt")
    assert "File name too long" in line


def test_links_that_lead_nowhere_but_to_themselves(trained, dataset, song, tmp_path, capsys):
    link = tmp_path / "ember.wav"
    link.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(link)
    argv = [song, link, "--checkpoint", trained / "savedModel_RNN_best.pt"]
    assert f"{link}: cannot be written: expected a file, found a link to itself" in fails(
        capsys, separate_RNN.main, *argv
    )
    line = fails(capsys, evaluate.main, dataset, "--checkpoint", "--output", link)
    assert f"{link}: expected a folder to write into" in line
    assert find_estimates(tmp_path, find_songs(dataset)["Test"]) == {"ember": (link, None)}  # and then cannot be read


def test_rate_that_the_format_does_not_have(trained, tmp_path, capsys):
    mixture, _ = make_song("song", 0.5, 250000)
    wavwrite(tmp_path / "song.wav", mixture, 250000)
    argv = [tmp_path / "song.wav", tmp_path / "voice.ogg", "--checkpoint", trained / "savedModel_RNN_best.pt"]
    assert "voice.ogg: cannot be written (250000 Hz, 1 channels)" in fails(capsys, separate_RNN.main, *argv)
    assert [path.name for path in tmp_path.iterdir()] == ["song.wav"]


def test_sample_type_that_the_format_does_not_have(tmp_path):
    from process.errors import UserError

    with pytest.raises(UserError, match="FLAC files cannot hold FLOAT samples"):
        wavwrite(tmp_path / "song.flac", np.zeros(9), RATE, "FLOAT")


# ---------------------------------------------------------------------------------------------- checkpoints


class Evil:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def bad_checkpoints(folder, trained) -> dict:
    good = torch.load(trained / "savedModel_feedforward_best.pt", weights_only=True)

    def save(name, checkpoint):
        torch.save(checkpoint, folder / name)
        return folder / name

    whole = (trained / "savedModel_feedforward_best.pt").read_bytes()
    (folder / "plain.pt").write_bytes(pickle.dumps(Evil(folder / "harm")))
    wide_network = FeedforwardNetwork(FeedforwardConfig(bins=130))
    wide = {**good, "config": {**good["config"], "bins": 130}, "weights": wide_network.state_dict()}
    no_rate = {"sample_rate": 0}
    narrow = {**good, "config": {**good["config"], "hidden": 7}}
    old, config = {**good, "format": 1}, good["config"]
    return {
        "no such checkpoint": folder / "missing.pt",
        "expected a checkpoint of the feedforward network, found one of the RNN network": trained
        / "savedModel_RNN_best.pt",
        "expected checkpoint format 2, found the newer 99": save("newer.pt", {**good, "format": 99}),
        "cut.pt: expected a checkpoint of plain values, found a damaged or different file": write_bytes(
            folder / "cut.pt", whole[: len(whole) // 2]
        ),
        "expected a checkpoint of this program, found another kind": save("other.pt", {"weights": {}}),
        "found other data or code (not run)": save("evil.pt", {**good, "config": Evil(folder / "harm")}),
        "plain.pt: expected a checkpoint of plain values": folder / "plain.pt",
        "narrow.pt: its parts do not fit together": save("narrow.pt", narrow),
        "bins.pt: its parts do not fit together: 129 bins in the audio configuration, 130 in": save("bins.pt", wide),
        "rate.pt: its parts do not fit together: expected a sample rate > 0": save(
            "rate.pt", {**good, "audio": no_rate}
        ),
        "format.pt: expected a checkpoint of this program": save("format.pt", {**good, "format": "1"}),
        "config.pt: expected a checkpoint of this program": save("config.pt", {**good, "config": None}),
        "pitch.pt: its parts do not fit together: encoder 'harmonic', expected one of dense, bands, conv": save(
            "pitch.pt", {**old, "config": {**config, "adapts": False, "encoder": "harmonic", "pitches": 160}}
        ),
    }


def test_bad_checkpoints(trained, tmp_path, song, capsys):
    for message, path in bad_checkpoints(tmp_path, trained).items():
        line = fails(capsys, separate_feedforward.main, song, tmp_path / "out.wav", "--checkpoint", path)
        assert message in line and path.name in line
        assert not (tmp_path / "out.wav").exists()
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("songs", [None, 3, "ab", [3], [("a",)], [("a", "b")], [(1, 2.0)], [("a", 1.0, 2.0)]])
def test_songs_in_a_checkpoint_that_are_none(trained, dataset, tmp_path, capsys, songs):
    good = torch.load(trained / "savedModel_feedforward_best.pt", weights_only=True)
    torch.save({**good, "songs": songs}, tmp_path / "songs.pt")
    line = fails(capsys, evaluate.main, dataset, "--checkpoint", tmp_path / "songs.pt", "--output", tmp_path / "out")
    assert "songs.pt: expected a checkpoint of this program" in line


# ---------------------------------------------------------------------------------------------- datasets


def test_bad_dataset_folders(tmp_path, capsys):
    train = [*QUICK, *AUDIO_OPTIONS, "--output", tmp_path / "run"]
    assert "missing: no such dataset folder" in fails(capsys, train_feedforward.main, tmp_path / "missing", *train)
    (tmp_path / "empty").mkdir()
    assert "empty: expected a dataset" in fails(capsys, train_feedforward.main, tmp_path / "empty", *train)
    write_song(tmp_path / "halves", "Train", "song", 0.5)
    line = fails(capsys, evaluate.main, tmp_path / "halves", "--output", tmp_path / "run")
    assert "halves: expected songs in Test, found none" in line
    line = fails(capsys, train_feedforward.main, tmp_path / "halves", *train, "--hold-out", "nobody")
    assert "halves: expected a song or artist 'nobody' to hold out, found none" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda vocals: vocals.unlink(), "dune/vocals.wav: no such file"),
        (lambda vocals: wavwrite(vocals, np.zeros(16000), 16000), "expected 8000 Hz like mixture.wav, found 16000 Hz"),
        (lambda vocals: wavwrite(vocals, np.zeros(99), RATE), "expected 16000 samples like mixture.wav, found 99"),
        (lambda vocals: vocals.write_bytes(b""), "vocals.wav: expected a sound file, found an empty file"),
        (
            lambda vocals: write_float(vocals, np.full(16000, np.nan, np.float32)),
            "vocals.wav: expected finite samples, found NaN or infinity",
        ),
    ],
)
def test_bad_songs(tmp_path, capsys, spoil, message, workers):
    write_dataset(tmp_path / "data")
    spoil(tmp_path / "data" / "Sources" / "Valid" / "dune" / "vocals.wav")
    argv = [tmp_path / "data", *QUICK, *AUDIO_OPTIONS, "--output", tmp_path / "run", "--workers", workers]
    assert message in fails(capsys, train_feedforward.main, *argv)
    assert not list(tmp_path.glob("run/*"))


def test_bad_karaoke_clips(tmp_path, capsys):
    (tmp_path / "Wavfile").mkdir()
    clip = tmp_path / "Wavfile" / "amy_1_01.wav"
    wavwrite(clip, np.ones((1, 8000)) / 2, RATE)
    assert "expected 2 channels (accompaniment, voice), found 1" in fails(capsys, train_feedforward.main, tmp_path)
    wavwrite(clip, np.stack([np.zeros(8000), np.ones(8000) / 2]), RATE)
    shutil.copy(clip, clip.with_name("amy_9_01.wav"))
    argv = [tmp_path, *QUICK, *AUDIO_OPTIONS, "--output", tmp_path / "run"]
    line = fails(capsys, train_feedforward.main, *argv)
    assert "expected accompaniment left and voice right, found a silent channel" in line


# ---------------------------------------------------------------------------------------------- training


def test_a_run_is_never_overwritten_by_accident(trained, dataset, capsys):
    before = {path: path.read_bytes() for path in trained.iterdir()}
    argv = [dataset, "--output", trained, *QUICK]
    for main, more in ((train_feedforward.main, AUDIO_OPTIONS), (train_RNN.main, [])):
        assert "a run is already there; expected --resume, --overwrite" in fails(capsys, main, *argv, *more)
    assert before == {path: path.read_bytes() for path in trained.iterdir()}


def test_resume_knows_its_songs_by_their_names_and_lengths_wherever_they_lie(tmp_path, capsys, monkeypatch):
    """Another spelling of the folder is no other dataset; other songs under the same name are."""
    monkeypatch.chdir(tmp_path)
    data = write_dataset(tmp_path / "data")
    (tmp_path / "voices").mkdir()
    wavwrite(tmp_path / "voices" / "ada.wav", make_song("ada", 0.5)[1], RATE)
    shared = [*QUICK, *AUDIO_OPTIONS, "--output", "out", "--voices"]
    assert train_feedforward.main(["data", *shared, "voices"]) == 0
    data.rename(tmp_path / "moved")
    (tmp_path / "linked").symlink_to("moved")
    for number, folder in enumerate(("./moved/", str(tmp_path / "moved"), "linked"), 3):
        again = [folder, *shared, "./voices/", "--resume", "--epochs", str(number)]
        assert train_feedforward.main(again) == 0
    main, more = train_feedforward.main, ["--resume", "--epochs", "9"]

    def told(what, *argv) -> bool:
        line = fails(capsys, main, *argv, *more)
        return (
            f"savedModel_feedforward_last.pt: expected the {what} that the run was started with, found others" in line
        )

    for part in ("Mixtures", "Sources"):
        (tmp_path / "moved" / part / "Valid" / "dune").rename(tmp_path / "moved" / part / "Valid" / "other")
    assert told("validation songs", "moved", *shared, "voices")
    for part in ("Mixtures", "Sources"):
        (tmp_path / "moved" / part / "Valid" / "other").rename(tmp_path / "moved" / part / "Valid" / "dune")
    wavwrite(tmp_path / "voices" / "ada.wav", make_song("ada", 0.6)[1], RATE)
    assert told("training songs", "moved", *shared, "voices")
    wavwrite(tmp_path / "voices" / "ada.wav", make_song("ada", 0.5)[1], RATE)
    wavwrite(tmp_path / "voices" / "bob.wav", make_song("bob", 0.5)[1], RATE)
    assert told("training songs", "moved", *shared[:-1])  # the run's own voices, untyped
    (tmp_path / "voices" / "bob.wav").unlink()
    assert told("music", "moved", *shared, "voices", "--accompaniments", "voices")


def test_songs_that_are_all_silent(trained, tmp_path, capsys):
    mixture, vocals = make_song("song", 0.5)
    (tmp_path / "song").mkdir()
    wavwrite(tmp_path / "song" / "mixture.wav", mixture, RATE)
    wavwrite(tmp_path / "song" / "vocals.wav", 0 * vocals, RATE)
    checkpoints = ["--feedforward", trained / "savedModel_feedforward_best.pt"]
    checkpoints += ["--rnn", trained / "savedModel_RNN_best.pt"]
    line = fails(capsys, evaluate.main, tmp_path, *checkpoints, "--output", tmp_path / "out", "--workers", "1")
    assert "expected a song that every system has a score for, found none: silent reference" in line


def test_recurrent_network_needs_a_first_one_that_fits(trained, dataset, tmp_path, capsys):
    line = fails(capsys, train_RNN.main, dataset, *QUICK, "--output", tmp_path)
    assert "savedModel_feedforward_best.pt: expected a checkpoint to start from, found none" in line
    first = trained / "savedModel_feedforward_best.pt"
    line = fails(capsys, train_RNN.main, dataset, *QUICK, "--output", tmp_path, "--init", first, "--block", "512")
    assert "savedModel_feedforward_best.pt: expected block 512, found 256" in line
    line = fails(capsys, train_RNN.main, dataset, *QUICK, "--output", tmp_path, "--init", first, "--encoder", "conv")
    assert "expected encoder conv, found dense" in line


def test_folders_of_voices_and_accompaniments_without_sound(dataset, tmp_path, capsys):
    argv = [dataset, *QUICK, *AUDIO_OPTIONS, "--output", tmp_path / "run"]
    (tmp_path / "empty").mkdir()
    for option in ("--voices", "--accompaniments"):
        assert "nowhere: no such folder" in fails(capsys, train_feedforward.main, *argv, option, tmp_path / "nowhere")
        line = fails(capsys, train_feedforward.main, *argv, option, tmp_path / "empty")
        assert "empty: expected sound files (.wav" in line and line.endswith("found none")


@pytest.mark.parametrize("script", [train_feedforward, train_RNN])
def test_non_finite_loss_stops_and_leaves_the_last_good_checkpoint(dataset, tmp_path, capsys, monkeypatch, script):
    from training import loop

    calls = []

    def spoiled(target, estimate, reverse=False):
        calls.append(1)
        loss = original(target, estimate, reverse)
        return loss * float("nan") if len(calls) == 11 else loss

    original = loop.kl_divergence
    monkeypatch.setattr(loop, "kl_divergence", spoiled)
    argv = [dataset, *QUICK, *AUDIO_OPTIONS, "--output", tmp_path, "--epochs", "9"]
    line = fails(capsys, script.main, *argv, *(["--init", "scratch"] if script is train_RNN else []))
    assert "epoch 2/9, batch" in line and "expected a finite loss, found nan (songs: " in line and "coral" in line
    (last,) = tmp_path.glob("*_last.pt")
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint["epoch"] == 1 and all(torch.isfinite(value).all() for value in checkpoint["weights"].values())


def test_device_that_is_not_there(dataset, song, trained, tmp_path, capsys):
    line = fails(capsys, train_feedforward.main, dataset, *QUICK, "--output", tmp_path / "run", "--device", "cuda:99")
    assert "--device cuda:99: not available here" in line
    argv = [song, tmp_path / "out.wav", "--checkpoint", trained / "savedModel_feedforward_best.pt"]
    for name in ("cuda:99", "meta"):  # the second one is torch's, but holds no numbers
        assert f"--device {name}: not available here" in fails(
            capsys, separate_feedforward.main, *argv, "--device", name
        )


@pytest.mark.parametrize(
    "options",
    [
        ["--resume", "--overwrite"],
        ["--epochs", "0"],
        ["--batch-size", "-1"],
        ["--remix", "2"],
        ["--dropout", "1.5"],
        ["--speed", "2", "1"],
        ["--gain", "3", "-3"],
        ["--gain", "nan", "0"],
        ["--effects", "1.5"],
        ["--transpose", "13"],
        ["--transpose", "0.5"],
        ["--equalizer", "-1"],
        ["--equalizer", "2", "nan"],
        ["--equalizer", "2", "2", "2"],
        ["--speed", "nan", "1"],
        ["--patience", "0"],
        ["--threads", "0"],
        ["--excerpt", "nan"],
        ["--learning-rate", "inf"],
        ["--weight-decay", "-1"],
        ["--workers", "-1"],
        ["--seed", "-1"],
        ["--sample-rate", "0"],
        ["--block", "0"],
        ["--hop", "0"],
        ["--no-such-option"],
    ],
)
def test_wrong_command_lines_exit_with_2(dataset, options, capsys):
    with pytest.raises(SystemExit) as stop:
        train_feedforward.main([str(dataset), *options])
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--songs", "2"], ["--seconds", "nan"], ["--seed", "-1"]])
def test_wrong_command_lines_of_the_demo_dataset(tmp_path, options):
    with pytest.raises(SystemExit) as stop:
        make_demo_dataset.main([str(tmp_path / "songs"), *options])
    assert stop.value.code == 2 and not list(tmp_path.iterdir())


def test_ctrl_c_exits_with_130(dataset, tmp_path, monkeypatch, capsys):
    from training import loop

    def interrupt(*arguments, **rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "run_epoch", interrupt)
    argv = [str(dataset), *QUICK, *AUDIO_OPTIONS, "--output", str(tmp_path)]
    assert train_feedforward.main(argv) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_demo_dataset_never_goes_into_a_folder_that_is_not_empty(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    line = fails(capsys, make_demo_dataset.main, tmp_path)
    assert f"{tmp_path}: expected a new or empty folder, found 'mine.txt' in it" in line
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_demo_dataset_takes_the_place_of_one_that_was_killed(tmp_path):
    (tmp_path / ".part" / "Mixtures" / "Train" / "singer01_male").mkdir(parents=True)
    assert make_demo_dataset.main([str(tmp_path), "--songs", "3", "--seconds", "5"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Mixtures", "Sources"]


HUGE = 10**15  # samples


@pytest.mark.parametrize("allocate", [np.empty, torch.empty])
def test_lack_of_memory_ends_in_one_line(dataset, trained, tmp_path, capsys, monkeypatch, allocate):
    """Where songs are shown, and where one of several is separated, which spoils no other."""
    monkeypatch.setattr(Data, "inspect", lambda *_: allocate(HUGE))
    line = fails(capsys, Data.main, dataset)
    assert "not enough memory: " in line and "llocate" in line

    def separate_song(network, audio, job, *_):
        allocate(HUGE if "ember" in job.source else 1)
        return 1.0, 1.0, 1.0

    monkeypatch.setattr(separation.command, "separate_song", separate_song)
    argv = [dataset / "Mixtures" / "Test", "--output", tmp_path, "--quiet"]
    argv += ["--checkpoint", trained / "savedModel_RNN_best.pt"]
    assert separate_RNN.main([str(argument) for argument in argv]) == 1
    first, last = capsys.readouterr().err.strip().splitlines()
    assert "not enough memory: " in first and "1 of 2 songs were not separated" in last
