"""Files made to do harm: code in checkpoints, layers without end, names that climb, playlists that open other files."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from helpers import RATE, ROOT, fails, make_song, needs_ffmpeg, write_song

import Data
import prepare_dataset
import separate_feedforward
import separate_RNN
from Model import FeedforwardNetwork
from scoring.listening_page import write_page
from scoring.scores import COLUMNS
from sound.ffmpeg import FFMPEG_FORMATS, open_with_ffmpeg
from sound.stem_files import stem_file_header
from util import load_network, wavread, wavwrite


@pytest.fixture
def song(tmp_path):
    wavwrite(tmp_path / "song.wav", make_song("song", 0.3)[0], RATE)
    return tmp_path / "song.wav"


# ---------------------------------------------------------------------------------------------- checkpoints

PEAK = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import util, Model
for path in sys.argv[2:]:
    try:
        util.load_network(path, Model.FeedforwardNetwork)
        print()
    except util.UserError as error:
        print(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peaks_of_loading(*paths: Path) -> tuple[list[str], list[int]]:
    """What loading each checkpoint says in a new process, and that process's peak memory so far, MB."""
    line = [sys.executable, "-c", PEAK, str(ROOT), *map(str, paths)]
    lines = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()
    return lines[::2], [int(peak) for peak in lines[1::2]]


def compress(source: Path, target: Path, zeros: int) -> None:
    """A checkpoint repacked, with weights of so many zeros in place of one of its tensors."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as after:
        for entry in before.infolist():
            data = before.read(entry)
            after.writestr(entry.filename, bytes(zeros) if entry.filename.endswith("data/0") else data)


def test_enormous_layers_are_refused_before_memory_is_taken(trained, tmp_path):
    whole = trained / "savedModel_feedforward_best.pt"
    good = torch.load(whole, weights_only=True)
    config, size = good["config"], 2 * 10**4  # its weights alone would take 3 GB
    repeated = {
        **good["weights"],
        "encoder.0.weight": torch.zeros(1).expand(size, config["bins"]),
        "encoder.0.bias": torch.zeros(1).expand(size),
        "encoder.3.weight": torch.zeros(1).expand(config["code"], size),
        "decoder.0.weight": torch.zeros(1).expand(size, config["code"]),
        "decoder.0.bias": torch.zeros(1).expand(size),
        "decoder.3.weight": torch.zeros(1).expand(config["bins"], size),
    }
    torch.save({**good, "config": {**config, "hidden": 2 * 10**5, "code": 2 * 10**5}}, tmp_path / "wide.pt")
    torch.save({**good, "config": {**config, "hidden": size}, "weights": repeated}, tmp_path / "repeated.pt")
    compress(whole, tmp_path / "compressed.pt", 5 * 10**8)
    messages = {
        "wide.pt": "its parts do not fit together: expected",
        "repeated.pt": "numbers of encoder.0.weight, found fewer, repeated",
        "compressed.pt": "bytes of contents",
    }
    (nothing, *said), (usual, *peaks) = peaks_of_loading(whole, *(tmp_path / name for name in messages))
    assert nothing == "" and peaks[-1] < usual + 100
    assert all(message in line for line, message in zip(said, messages.values(), strict=True))


def test_layers_without_end_are_refused_at_the_first_too_many(trained):
    made = []

    class Deep(FeedforwardNetwork):
        def __init__(self, config):
            super().__init__(config)
            for number in range(10**9):  # as a configuration might ask for
                made.append(number)
                self.add_module(str(number), torch.nn.Linear(1, 1))

    with pytest.raises(Exception, match=r"its parts do not fit together: .*found weights for 10 parameters"):
        load_network(trained / "savedModel_feedforward_best.pt", Deep)
    assert len(made) <= 10


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: {"name": torch.zeros(2)},
        lambda good: {"config": [1, 2]},
        lambda good: {"config": {**good["config"], "hidden": "1000"}},
        lambda good: {"config": {**good["config"], "hidden": -1}},
        lambda good: {"config": {**good["config"], "hidden": 10**30}},
        lambda good: {"config": {**good["config"], "dropout": float("nan")}},
        lambda good: {"config": {**good["config"], "surprise": 1}},
        lambda good: {"weights": None},
        lambda good: {"weights": {**good["weights"], "decoder.0.bias": "none"}},
        lambda good: {"weights": {**good["weights"], "decoder.0.bias": good["weights"]["decoder.0.bias"].double()}},
        lambda good: {"audio": {**good["audio"], "sample_rate": 8000.5}},
        lambda good: {"audio": {**good["audio"], "sample_rate": 10**12}},
        lambda good: {"audio": {**good["audio"], "window": "__import__"}},
    ],
)
def test_values_of_another_kind(trained, tmp_path, song, capsys, spoil):
    good = torch.load(trained / "savedModel_feedforward_best.pt", weights_only=True)
    torch.save({**good, **spoil(good)}, tmp_path / "bad.pt")
    line = fails(capsys, separate_feedforward.main, song, tmp_path / "out.wav", "--checkpoint", tmp_path / "bad.pt")
    assert "bad.pt: " in line and not (tmp_path / "out.wav").exists()


# ---------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["...wav", "..wav", "con.wav", "NUL.x.wav", "a\nb.wav", "-o.wav", "\udcff.wav"])
def test_names_that_lead_elsewhere(trained, tmp_path, song, monkeypatch, name):
    """Everything is written below the output folder, under names that are no device's."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(song, tmp_path / "in" / name)
    shutil.copy(song, tmp_path / "in" / "deep" / name)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    argv = ["--checkpoint", str(trained / "savedModel_feedforward_best.pt"), "--quiet"]
    for number, pattern in enumerate(("{name}/{stem}.wav", "{name}.wav", "{name}/../{stem}.wav")):
        separate_feedforward.main([*argv, "--output", f"out/{number}/{pattern}", "--", f"in/{name}"])
        separate_feedforward.main([*argv, "--output", f"out/{number}/{pattern}", "in/deep", "in/" + name])
    new = set(tmp_path.rglob("*")) - before
    assert any(path.is_file() for path in new)
    for path in new:
        assert path.is_relative_to(tmp_path / "out")
        assert path.name.split(".")[0].lower() not in ("con", "nul")


def test_a_line_break_in_a_name_makes_no_second_line(trained, tmp_path, capsys):
    checkpoint = trained / "savedModel_feedforward_best.pt"
    line = fails(
        capsys, separate_feedforward.main, tmp_path / "a\nb\x1b[2J.wav", tmp_path / "o.wav", "--checkpoint", checkpoint
    )
    assert "a\\nb\\x1b[2J.wav: no such file" in line


def test_names_of_songs_that_are_no_text(tmp_path, capsys):
    for name in ("bytes", "a\nb", "plain"):
        write_song(tmp_path / "data", "Train", name, 0.3)
    for folder in ("Mixtures", "Sources"):
        (tmp_path / "data" / folder / "Train" / "bytes").rename(tmp_path / "data" / folder / "Train" / "\udcff")
    run = [sys.executable, str(ROOT / "Data.py"), str(tmp_path / "data")]
    assert subprocess.run(run, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8"}).returncode == 0
    assert prepare_dataset.main([str(tmp_path / "data"), str(tmp_path / "new")]) == 0
    assert {path.name for path in (tmp_path / "new/Mixtures").glob("*/*")} == {"\\udcff", "a\\nb", "plain"}


def test_a_listening_page_takes_names_for_text(tmp_path):
    name = "<!--<script></script><img src=x onerror=alert(1)>"
    columns = dict.fromkeys(COLUMNS, 1.0)
    row = {"song": name, "source": "vocals", "system": "x", "voice to accompaniment": 0.0, **columns}
    page = write_page(tmp_path, name, "", [row], ["x"], list(COLUMNS)).read_text()
    assert "<img" not in page and "<!--<" not in page
    data = page.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data)["songs"][0]["name"] == name


@pytest.mark.parametrize(
    "spoil",
    [
        lambda manifest: [],
        lambda manifest: {**manifest, "settings": None},
        lambda manifest: {**manifest, "songs": {"Train/song": 1}},
        lambda manifest: {**manifest, "songs": {"Train/song": {"levels": {"samples": "x"}, "gain_dB": 0}}},
        lambda manifest: {**manifest, "songs": {"Train/song": {"levels": {}, "gain_dB": None}}},
    ],
)
def test_a_manifest_with_something_else_in_it(tmp_path, capsys, spoil):
    write_song(tmp_path / "data", "Train", "song", 0.3)
    argv = [str(tmp_path / "data"), str(tmp_path / "new")]
    assert prepare_dataset.main(argv) == 0
    path = tmp_path / "new" / "dataset.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    assert "dataset.json: expected what an earlier run wrote" in fails(capsys, prepare_dataset.main, *argv)


def test_pipes_links_and_devices_in_a_dataset_are_not_waited_for(tmp_path, capsys):
    write_song(tmp_path / "data", "Train", "song", 0.3)
    for split, make in {
        "Valid": lambda path: os.mkfifo(path),
        "Test": lambda path: path.symlink_to("/dev/zero"),
    }.items():
        folder = tmp_path / "data" / "Mixtures" / split / "song"
        folder.mkdir(parents=True)
        make(folder / "mixture.wav")
    (tmp_path / "data" / "Mixtures" / "Train" / "round").symlink_to("round")
    assert "2 of 3 songs cannot be used" in fails(capsys, Data.main, tmp_path / "data")


# ---------------------------------------------------------------------------------------------- ffmpeg

PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile '{canary}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{canary}\n#EXT-X-ENDLIST\n",
    "hls over http": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
    'mimeType="audio/wav"><Representation id="0" bandwidth="1"><BaseURL>{canary}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    "lavfi": "amovie={canary}",
}


@needs_ffmpeg
@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".m3u8", ".mpd", ".sdp"])
def test_playlists_open_nothing_else(trained, tmp_path, capsys, kind, suffix):
    canary = tmp_path / "canary.wav"
    wavwrite(canary, make_song("canary", 1.0)[0], RATE)
    os.utime(canary, (10**9, 10**9))
    disguised = tmp_path / f"song{suffix}"
    disguised.write_text(PLAYLISTS[kind].format(canary=canary.name))
    argv = [disguised, tmp_path / "voice.wav", "--checkpoint", trained / "savedModel_RNN_best.pt"]
    line = fails(capsys, separate_RNN.main, *argv)
    assert "cannot be read as sound (ffmpeg tried, too)" in line
    assert not (tmp_path / "voice.wav").exists()
    with pytest.raises(Exception, match="cannot be read by ffprobe"):
        stem_file_header(disguised)


@needs_ffmpeg
def test_a_playlist_would_open_the_canary_if_it_were_let(tmp_path):
    """So that the test above can fail: ffmpeg, asked without the list of formats, reads the other file."""
    wavwrite(tmp_path / "canary.wav", make_song("canary", 1.0)[0], RATE)
    (tmp_path / "song.m4a").write_text(PLAYLISTS["concat"].format(canary="canary.wav"))
    line = ["ffmpeg", "-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{tmp_path / 'song.m4a'}"]
    subprocess.run([*line, tmp_path / "opened.wav"], check=True, stdin=subprocess.DEVNULL)
    assert (tmp_path / "opened.wav").stat().st_size > 8000


@needs_ffmpeg
def test_names_that_are_addresses_or_patterns_to_ffmpeg(tmp_path, monkeypatch):
    """A name is a file's, whatever it looks like: 'concat:a|b', 'pipe:0' or a pattern for pictures."""
    monkeypatch.chdir(tmp_path)
    wavwrite("canary.wav", make_song("canary", 1.0)[0], RATE)
    for name in ("concat:canary.wav|canary.wav", "pipe:0", "song%03d.m4a", "subfile,,start,0,end,0,,:canary.wav"):
        Path(name).write_bytes(b"no sound")
        with pytest.raises(Exception, match="ffmpeg tried, too"), open_with_ffmpeg(Path(name), "test"):
            pass
        shutil.copy("canary.wav", name)
        with open_with_ffmpeg(Path(name), "test") as sound:
            assert sum(block.shape[1] for block in sound.blocks) == wavread("canary.wav")[0].shape[1]


@needs_ffmpeg
def test_formats_for_ffmpeg_are_known_to_it_and_open_no_others():
    shown = subprocess.run(["ffmpeg", "-v", "error", "-demuxers"], capture_output=True, text=True, check=True).stdout
    known = {name for line in shown.splitlines() for name in line.split()[1:2] for name in name.split(",")}
    wanted = set(FFMPEG_FORMATS.split(","))
    assert wanted <= known
    assert not wanted & {"concat", "hls", "dash", "imf", "sdp", "rtsp", "lavfi", "image2", "webm_dash_manifest"}
