"""From songs to stems: they add up, nothing clips in silence, names, folders, progress, and what failures leave."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import RATE, ROOT, Forked, make_song, wait_for

import separate_feedforward
import separate_RNN
from Model_RNN import RecurrentNetwork, both_ways
from process.ahead import made_ahead
from process.errors import UserError
from separation import command, stems
from separation.separate import separate
from separation.separator import Separator
from sound import files, writing
from sound.files import sound_info
from sound.tags import WRITTEN_HERE, Tags
from sound.writing import create_sound
from util import load_network, save_checkpoint, wavread, wavwrite


def loud_song(seconds: float = 1.5, rate: int = RATE, peak: float = 0.9) -> np.ndarray:
    """Two channels that the networks do not take apart cleanly."""
    song = np.stack([make_song(name, seconds, rate)[0] for name in ("left", "right")])
    return (peak * song / np.abs(song).max()).astype(np.float32)


def both(song: str, extension: str = "wav") -> tuple[np.ndarray, np.ndarray, str]:
    """Both stems, float64, and their sample type."""
    paths = [f"stems/{song}_{stem}.{extension}" for stem in ("vocals", "accompaniment")]
    voice, accompaniment = (soundfile.read(path, always_2d=True)[0].T for path in paths)
    assert sound_info(paths[0]) == sound_info(paths[1])
    return voice, accompaniment, sound_info(paths[0]).subtype


# ---------------------------------------------------------------------------------------------- what is separated


@pytest.mark.parametrize("sizes", [[], [3], [10], [3, 3, 3], [4, 5, 1, 12, 2]], ids=str)
@pytest.mark.parametrize("samples", [1, 8, 100])
def test_blocks_are_gathered_and_cut_to_one_size(sizes, samples):
    sound = np.arange(2 * sum(sizes), dtype=np.float32).reshape(2, -1)
    blocks = np.split(sound, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    pieces = list(stems.gathered(iter(blocks), samples))
    assert np.array_equal(np.concatenate([sound[:, :0], *pieces], axis=1), sound)
    assert all(piece.shape[1] == samples for piece in pieces[:-1])
    assert all(0 < piece.shape[1] <= samples for piece in pieces)


def test_a_file_is_separated_in_large_pieces(trained, tmp_path, monkeypatch):
    arrived = []
    monkeypatch.setattr(files, "BLOCK", 2000)
    monkeypatch.setattr(stems, "PIECE", 8000)
    analyse = Separator.analyse

    def note(self, blocks):
        blocks = list(blocks)
        arrived.extend((block.shape[1], last) for block, last in blocks)
        return analyse(self, blocks)

    monkeypatch.setattr(Separator, "analyse", note)
    wavwrite(tmp_path / "song.wav", loud_song(1.5), RATE)
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    stems.separate_song(network, audio, stems.Job(str(tmp_path / "song.wav"), {"vocals": str(tmp_path / "voice.wav")}))
    assert arrived == [(4000, False)] * 3 + [(0, True)]


def test_the_network_has_a_thread_of_its_own_beside_the_rest(trained, tmp_path, monkeypatch):
    threads: dict[str, set[int]] = {name: set() for name in ("_look", "find_masks", "_piece")}

    def note(name: str, step: Callable) -> Callable:
        def noted(self, item, *more):
            threads[name].add(threading.get_ident())
            return step(self, item, *more)

        return noted

    for name in threads:
        monkeypatch.setattr(Separator, name, note(name, getattr(Separator, name)))
    wavwrite(tmp_path / "song.wav", loud_song(1.5), RATE)
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    stems.separate_song(network, audio, stems.Job(str(tmp_path / "song.wav"), {"vocals": str(tmp_path / "voice.wav")}))
    here = threading.get_ident()
    assert threads["_look"] == threads["_piece"] == {here}  # with reading and writing
    assert len(threads["find_masks"]) == 1 and here not in threads["find_masks"]


def test_two_items_are_made_at_a_time_and_come_out_in_order():
    both = threading.Barrier(2, timeout=30)

    def make(item: int) -> int:
        both.wait()  # for the other thread
        return 10 * item

    assert list(made_ahead(make, iter(range(6)), threads=2)) == [0, 10, 20, 30, 40, 50]


def test_what_fails_in_the_networks_thread_ends_the_separation(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 800)
    monkeypatch.setattr(stems, "PIECE", 1600)
    calls = []

    def fail(self, heard):
        calls.append(heard)
        if len(calls) == 3:
            raise UserError("the network fails")
        return find_masks(self, heard)

    find_masks = Separator.find_masks
    monkeypatch.setattr(Separator, "find_masks", fail)
    wavwrite(tmp_path / "song.wav", loud_song(3), RATE)
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    with pytest.raises(UserError, match="the network fails"):
        stems.separate_song(
            network, audio, stems.Job(str(tmp_path / "song.wav"), {"vocals": str(tmp_path / "voice.wav")})
        )
    assert len(calls) <= 4 and [path.name for path in tmp_path.iterdir()] == ["song.wav"]


# ---------------------------------------------------------------------------------------------- what is written


SUBTYPES = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
KINDS = [(name, kind) for name in ("wav", "flac") for kind in SUBTYPES if soundfile.check_format(name.upper(), kind)]


@pytest.mark.parametrize(("extension", "subtype"), KINDS)
@pytest.mark.parametrize("rate", [RATE, 22050])
def test_stems_add_up_to_the_song(run, extension, subtype, rate):
    with create_sound(f"song.{extension}", rate, 2, subtype) as file:
        file.write(loud_song(rate=rate).astype(np.float64) * 0.7)
    run(f"song.{extension}", "--output", "stems", "--stems", "both", "--format", extension)
    voice, accompaniment, written = both("song", extension)
    mixture, _ = soundfile.read(f"song.{extension}", always_2d=True)
    assert written == subtype
    assert 0.01 < np.abs(voice).max() < 0.9 and np.abs(accompaniment).max() > 0.01
    error = np.abs(voice + accompaniment - mixture.T).max()
    assert error <= {"FLOAT": 1e-6, "DOUBLE": 1e-12}.get(subtype, 0)  # integers: bit for bit


def test_what_lies_above_the_networks_band_stays_in_the_accompaniment_where_nobody_sings(run):
    rate = 48000
    tone = 0.2 * np.sin(2 * np.pi * 9000 * np.arange(rate) / rate)  # the network ends at 4 kHz
    tone *= np.hanning(rate)  # or its abrupt ends would be in the voice
    wavwrite("song.wav", tone, rate)
    run("song.wav", "-o", "stems", "--stems", "both")
    voice, accompaniment, _ = both("song")
    assert np.abs(voice).max() < 1e-3 and np.abs(accompaniment[0] - tone).max() < 1e-3


def test_which_checkpoint_both_directions_take(trained, tmp_path, monkeypatch, capsys):
    """In a folder, that of a network trained for it comes before the recurrent one, and the current folder before the
    pretrained ones. A checkpoint that is named is taken, with or without --bidirectional."""
    monkeypatch.chdir(tmp_path)
    wavwrite("song.wav", loud_song() * 0.5, RATE)

    def headline(*more: str) -> str:
        assert separate_RNN.main(["song.wav", "-o", "stems", *more]) == 0
        return capsys.readouterr().err.splitlines()[0]

    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    shutil.copy(trained / "savedModel_RNN_best.pt", tmp_path)
    assert "bidirectional network (savedModel_RNN_best.pt)" in headline("--bidirectional")
    save_checkpoint("savedModel_RNN_bidirectional_best.pt", both_ways(network), audio)
    assert "bidirectional network (savedModel_RNN_bidirectional_best.pt)" in headline("--bidirectional")
    assert "recurrent network (savedModel_RNN_best.pt)" in headline()
    shutil.copy("savedModel_RNN_bidirectional_best.pt", "x.pt")
    assert "bidirectional network (x.pt)" in headline("--checkpoint", "x.pt")
    for name in ("RNN", "RNN_bidirectional"):
        Path(f"savedModel_{name}_best.pt").unlink()
    assert "bidirectional network (pretrained)" in headline("--bidirectional")
    assert (
        separate_RNN.main(["song.wav", "y.wav", "--checkpoint", str(trained / "savedModel_feedforward_best.pt")]) == 1
    )
    assert "of the RNN_bidirectional or RNN network, found one of the feedforward network" in capsys.readouterr().err


@pytest.mark.parametrize("rate", [RATE, 22050])
def test_in_both_directions_and_in_several_keys_on_request(run, trained, rate, capsys):
    wavwrite("song.wav", loud_song(rate=rate) * 0.5, rate)
    run("song.wav", "-o", "forwards")
    run("song.wav", "-o", "stems", "--stems", "both", "--bidirectional")
    voice, accompaniment, _ = both("song")
    assert np.array_equal(voice + accompaniment, soundfile.read("song.wav")[0].T)
    network, audio, _ = load_network(trained / "savedModel_RNN_best.pt", RecurrentNetwork)
    network = both_ways(network)
    expected = separate(network, wavread("song.wav")[0], rate, audio)
    assert np.abs(voice - expected).max() < 2**-15
    assert np.abs(voice - soundfile.read("forwards/song_vocals.wav")[0].T).max() > 2**-10
    run("song.wav", "-o", "keys", "--tta", "3", "--bidirectional")
    in_keys = separate(network, wavread("song.wav")[0], rate, audio, keys=3)
    assert np.abs(soundfile.read("keys/song_vocals.wav")[0].T - in_keys).max() < 2**-15
    assert np.abs(in_keys - expected).max() > 2**-10
    with pytest.raises(SystemExit):
        separate_feedforward.main(["song.wav", "voice.wav", "--bidirectional"])
    assert "unrecognized arguments: --bidirectional" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        separate_feedforward.main(["song.wav", "voice.wav", "--tta", "2"])
    assert "argument --tta: invalid choice: 2" in capsys.readouterr().err


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_stems_that_would_clip_get_one_gain_which_is_told(run, subtype):
    song = np.sign(loud_song()) * 0.999  # rectangular: without some of its partials it is higher
    wavwrite("song.wav", song, RATE, subtype)
    said = run("song.wav", "-o", "stems", "--stems", "both")
    line = next(line for line in said.splitlines() if "would have clipped" in line)
    gain = 10 ** (float(line.split("all stems ")[1].split(" dB")[0]) / 20)
    voice, accompaniment, written = both("song")
    assert written == subtype and gain < 0.95
    peak = max(np.abs(voice).max(), np.abs(accompaniment).max())
    assert 0.99 < peak < 1 - 2.0 ** -(15 if subtype == "PCM_16" else 23)
    mixture, _ = soundfile.read("song.wav", always_2d=True)
    assert np.abs(voice + accompaniment - gain * mixture.T).max() < 2e-3  # the dB are printed with two digits
    ratio = (voice + accompaniment) / mixture.T
    assert np.ptp(ratio) < 1e-3  # one gain everywhere

    said = run("song.wav", "-o", "stems", "--stems", "both", "--float")
    assert "clipped" not in said
    voice, accompaniment, written = both("song")
    assert written == "FLOAT" and max(voice.max(), accompaniment.max()) > 1.05
    assert np.abs(voice + accompaniment - mixture.T).max() < 1e-6


def test_full_scale_does_not_count_as_clipped(tmp_path):
    for subtype, bits in (("PCM_16", 16), ("PCM_24", 24)):
        ends = np.array([[-1, 1 - 2.0 ** (1 - bits)]], np.float32)
        for factor, clipped in ((1, False), (1.001, True)):
            with create_sound(tmp_path / "song.wav", RATE, 1, subtype) as file:
                file.write(factor * ends)
            assert (file.peak > 1) == clipped
            assert np.array_equal(wavread(tmp_path / "song.wav")[0], ends)


def test_accompaniment_alone_is_the_same_as_beside_the_voice(run):
    wavwrite("song.wav", loud_song(), RATE)
    run("song.wav", "-o", "stems", "--stems", "both")
    run("song.wav", "accompaniment.wav", "--stems", "accompaniment")
    run("song.wav", "voice.wav")
    voice, accompaniment, _ = both("song")
    assert np.array_equal(wavread("accompaniment.wav")[0], accompaniment)
    assert np.array_equal(wavread("voice.wav")[0], voice)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_format_and_metadata(run, extension):
    tags = Tags({"title": ["Für Elise"], "artist": ["L. v. B."]})
    with create_sound("song.flac", 32000, 1, "PCM_24", tags) as file:
        file.write(make_song("song", 1.0, 32000)[0][None])
    run("song.flac", "-o", "stems", "--format", extension)
    with soundfile.SoundFile(f"stems/song_vocals.{extension}") as file:
        assert file.format == {"mp3": "MP3"}.get(extension, extension.upper())
        assert file.subtype == ("PCM_24" if extension in ("wav", "flac") else soundfile.default_subtype(file.format))
        written = {"title": "Für Elise (vocals)", "artist": "L. v. B.", "comment": WRITTEN_HERE}
        assert written.items() <= file.copy_metadata().items()


def test_wav_files_beyond_4_gigabytes_are_rf64(tmp_path):
    for samples, file_format in ((1000, "WAV"), (1 << 30, "RF64")):
        with create_sound(tmp_path / "long.wav", 44100, 2, "PCM_16", samples=samples) as file:
            file.write(np.full((2, 1000), 0.25, np.float32))
        assert sound_info(tmp_path / "long.wav").format == file_format
        assert np.array_equal(wavread(tmp_path / "long.wav")[0], np.full((2, 1000), 0.25, np.float32))


# ---------------------------------------------------------------------------------------------- names


def test_folders_and_several_songs(run, tmp_path):
    for name in ("a.wav", "album/b é.flac", "album/deep/-c.wav", "album/.hidden.wav", "album/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("txt"):
            Path(name).write_text("no sound")
        else:
            wavwrite(name, make_song(name, 0.3)[0], RATE)
    said = run("a.wav", "album", "-o", "out put")
    expected = ["out put/a_vocals.wav", "out put/b é_vocals.wav", "out put/deep/-c_vocals.wav"]
    assert sorted(str(path) for path in Path("out put").rglob("*.wav")) == expected
    for path in expected:
        assert path in said
    run("album", "-o", "album", "--stems", "both")  # into the same folder, twice: stems are not separated again
    run("album", "-o", "album", "--stems", "both")
    assert len(list(Path("album").rglob("*_vocals*"))) == 2 and not list(Path("album").rglob("*_vocals_*"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["song.wav", "voice.flac"], ["voice.flac"]),
        (["song.wav", "-o", "voice.flac"], ["voice.flac"]),
        (["song.wav", "-o", "voice.aiff"], ["voice.aiff"]),
        (["song.wav", "there"], ["there/song_vocals.wav"]),
        (["song.wav", "-o", "new/folder"], ["new/folder/song_vocals.wav"]),
        (["song.wav", "-o", "x/{stem} of {name}.ogg"], ["x/vocals of song.ogg"]),
        (["song.wav", "-o", "x/{stem} of {name}", "--format", "flac"], ["x/vocals of song.flac"]),
        (["song.wav", "{stem}.wav", "--stems", "both"], ["vocals.wav", "accompaniment.wav"]),
        (["song.wav", "voice", "--format", "flac"], ["voice.flac"]),
    ],
)
def test_names_of_outputs(run, words, expected):
    wavwrite("song.wav", make_song("song", 0.3)[0], RATE)
    Path("there").mkdir()
    run(*words)
    written = {str(path) for path in Path().rglob("*.*") if path.is_file()} - {"song.wav"}
    assert written == set(expected)


def test_names_that_begin_with_a_dash_and_are_no_text(run):
    name = os.fsdecode(b"-\xff song.wav")
    wavwrite(name, make_song("song", 0.3)[0], RATE)
    assert separate_RNN.main(["--quiet", "-o", "stems", "--", name]) == 0
    assert wavread(f"stems/{Path(name).stem}_vocals.wav")[0].shape == wavread(name)[0].shape


@pytest.mark.parametrize(
    "words",
    [
        ["-"],
        ["song.wav", "song2.wav", "voice.wav"],
        ["song.wav", "voice.wav", "--stems", "both"],
        ["song.wav", "voice.wav", "--format", "flac"],
        ["song.wav", "song2.wav", "-o", "voice.wav"],
        ["song.wav", "-", "--stems", "both"],
        ["song.wav", "-", "--format", "flac"],
        ["song.wav", "voice.wav", "--raw", "44100", "2", "s16le"],
        ["-", "voice.wav", "--raw", "44100", "two", "s16le"],
        ["-", "voice.wav", "--raw", "44100", "2", "pcm"],
        ["song.wav", "voice.wav", "--stems", "drums"],
    ],
)
def test_wrong_command_lines(run, words, capsys):
    for name in ("song.wav", "song2.wav"):
        wavwrite(name, make_song(name, 0.3)[0], RATE)
    with pytest.raises(SystemExit) as ended:
        separate_RNN.main(words)
    assert ended.value.code == 2 and "usage: " in capsys.readouterr().err
    assert len(list(Path().iterdir())) == 2


def test_no_song_is_replaced(run):
    for name in ("a.wav", "b.wav", "x/a.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        wavwrite(name, make_song(name, 0.3)[0], RATE)
    before = Path("b.wav").read_bytes()
    said = run("a.wav", "b.wav", "-o", "./{name}.wav", status=1)
    assert "error: ./a.wav: expected an output other than the input, found the same file" in said
    said = run("a.wav", "x/a.wav", "-o", "out", status=1)
    assert "out/a_vocals.wav: expected one song per file, found 'a.wav' and 'x/a.wav'" in said
    os.link("b.wav", "linked.wav")
    assert "linked.wav: expected an output other than the input" in run("b.wav", "linked.wav", status=1)
    assert Path("b.wav").read_bytes() == before and not Path("out").exists()
    Path("x/a.wav").unlink()
    assert "x: expected a folder with sound files, found none in it" in run("x", "o", status=1)


# ---------------------------------------------------------------------------------------------- what is told


def test_summary_quiet_and_progress(run, monkeypatch):
    wavwrite("song.wav", make_song("song", 1.0)[0], RATE)
    said = run("song.wav", "voice.wav")
    assert "song.wav -> voice.wav: 1.0 s of sound in " in said and "x real time" in said
    assert "\r" not in said  # no bar where nobody sees it
    assert run("song.wav", "voice.wav", "--quiet") == ""
    told = []
    monkeypatch.setattr(files, "BLOCK", 1000)
    network, audio, _ = command.load_network(
        ROOT / "pretrained" / "savedModel_feedforward_best.pt", separate_feedforward.FeedforwardNetwork
    )
    job = stems.Job("song.wav", {"vocals": "voice.wav"})
    seconds, gain, peak = stems.separate_song(network, audio, job, lambda done, total: told.append((done, total)))
    assert (seconds, gain) == (1.0, 1.0) and 0 < peak < 1
    assert [done for done, _ in told] == sorted(done for done, _ in told) and len(told) > 1
    assert told[-1] == (1.0, 1.0)


# ---------------------------------------------------------------------------------------------- failures


def test_goes_on_after_a_bad_song_and_lists_the_failures(run):
    wavwrite("good.wav", make_song("good", 0.3)[0], RATE)
    Path("bad.wav").write_text("no sound at all")
    said = run("bad.wav", "missing.wav", "good.wav", "-o", "out", status=1)
    assert "error: bad.wav: cannot be read as sound" in said and "error: missing.wav: no such file" in said
    assert said.splitlines()[-1] == "error: 2 of 3 songs were not separated: bad.wav, missing.wav"
    assert [path.name for path in Path("out").iterdir()] == ["good_vocals.wav"]


def test_a_song_that_ends_early_leaves_neither_stem(run):
    wavwrite("song.flac", loud_song(5.0), RATE)
    whole = Path("song.flac").read_bytes()
    Path("song.flac").write_bytes(whole[: len(whole) * 2 // 3])
    run("song.flac", "-o", "out", "--stems", "both", status=1)
    assert list(Path("out").iterdir()) == []


def script(main: Callable[[list[str]], int], *argv) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / f"{main.__module__}.py"), *map(str, argv)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_leaves_no_file(tmp_path):
    wavwrite(tmp_path / "song.wav", loud_song(20.0), RATE)

    def small_files(argv: list[str]) -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        return separate_feedforward.main(argv)

    process = Forked(small_files, tmp_path / "song.wav", "-o", tmp_path / "out", "--stems", "both")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: ") and "cannot be written" in said and "Traceback" not in said
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("stem", ["vocals", "accompaniment"])
def test_a_stem_that_cannot_be_completed_leaves_the_other_as_it_was(run, monkeypatch, stem):
    for name in ("one", "other"):
        wavwrite(f"{name}.wav", make_song(name, 0.3)[0], RATE)
    run("one.wav", "-o", "{stem}.wav", "--stems", "both")
    before = {path: path.read_bytes() for path in Path().iterdir()}

    def fail(temporary: Path, path: str, samples: int) -> None:
        if path == f"{stem}.wav":
            raise UserError(f"{path}: cannot be written")

    monkeypatch.setattr(writing, "_check_end", fail)
    run("other.wav", "-o", "{stem}.wav", "--stems", "both", status=1)
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize(("begin", "number"), [(script, signal.SIGINT), (Forked, signal.SIGKILL)])
def test_interrupted_or_killed_nothing_looks_finished(tmp_path, begin, number):
    wavwrite(tmp_path / "song.wav", np.tile(loud_song(20.0), 30), RATE)
    (tmp_path / "out").mkdir()
    process = begin(separate_feedforward.main, tmp_path / "song.wav", "-o", tmp_path / "out", "--stems", "both")
    wait_for(lambda: list((tmp_path / "out").iterdir()), 300)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert "Traceback" not in said
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert all(name.startswith(".") and ".part" in name for name in left)
    assert number == signal.SIGKILL or not left


def test_memory_does_not_grow_with_the_song(trained, tmp_path):
    """Peak memory over 10 minutes within 10 MB of that over one; benchmarks/speed/separation.py measures two hours."""
    code = """
import os, sys, separate_feedforward
for song, voice in (sys.argv[1:3], sys.argv[3:5]):
    if process := os.fork():  # each song in a process that has separated none before
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        continue
    assert separate_feedforward.main([song, voice, *sys.argv[5:]]) == 0
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
    sys.exit()
"""
    minutes, paths = (1, 10), []
    for each in minutes:
        paths += [tmp_path / f"{each}.wav", tmp_path / f"voice {each}.wav"]
        wavwrite(paths[-2], np.tile(loud_song(20.0, peak=0.3), 3 * each), RATE)
    options = ["--quiet", "--checkpoint", trained / "savedModel_feedforward_best.pt"]
    command = [sys.executable, "-c", code, *map(str, [*paths, *options])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [sound_info(path).samples for path in paths[1::2]] == [60 * each * RATE for each in minutes]
    first, last = (int(line) / 1024 for line in done.stdout.split())
    assert last - first < 10
