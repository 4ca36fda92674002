"""Which song goes where: what folders hold, what is replaced and what is not, what stops one song and no other."""

import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import RATE, make_song, needs_ffmpeg

import separate_RNN
from Model_RNN import RecurrentNetwork
from separation import command, naming
from sound.tag_reading import written_here
from util import wavread, wavwrite

FORMATS = ("wav", "flac", "ogg", "mp3")


def write_songs(*names: str | Path) -> None:
    for name in map(Path, names):
        name.parent.mkdir(parents=True, exist_ok=True)
        wavwrite(name, make_song(name.stem, 0.3)[0], RATE)


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# ---------------------------------------------------------------------------------------------- what is replaced


@pytest.mark.parametrize("extension", FORMATS)
def test_two_songs_by_a_shell_pattern_stay_what_they_are(run, extension):
    songs = [f"a.{extension}", f"b.{extension}"]
    write_songs(*songs)
    before = [Path(song).read_bytes() for song in songs]
    said = run(*songs, status=1)
    assert f"error: b.{extension}: exists, and no earlier run wrote it: --overwrite replaces it" in said
    assert [Path(song).read_bytes() for song in songs] == before and files(".") == songs
    run(*songs, "--overwrite")
    assert Path(songs[0]).read_bytes() == before[0] and Path(songs[1]).read_bytes() != before[1]


def test_two_stems_by_a_shell_pattern_stay_what_they_are(run):
    write_songs("song.wav")
    run("song.wav", "--format", "flac")
    names = [f"song_{stem}.flac" for stem in ("accompaniment", "vocals")]
    before = [Path(name).read_bytes() for name in names]
    said = run(*names, status=1)
    reason = (
        "exists, and is a stem of an earlier run, as is the input: --overwrite replaces it, --output writes elsewhere\n"
    )
    assert said.endswith(f"error: song_vocals.flac: {reason}")
    assert [Path(name).read_bytes() for name in names] == before
    run(*names, "--overwrite")
    assert Path(names[0]).read_bytes() == before[0] and Path(names[1]).read_bytes() != before[1]
    for _ in range(2):
        run(names[0], "-o", "again.flac")


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("stems", ["vocals", "accompaniment"])
def test_stems_of_an_earlier_run_are_replaced(run, extension, stems):
    write_songs("song.wav", "other.wav")
    run("song.wav", f"stem.{extension}", "--stems", stems)
    assert written_here(f"stem.{extension}") and not written_here("song.wav")
    first = Path(f"stem.{extension}").read_bytes()
    run("other.wav", f"stem.{extension}", "--stems", stems)
    assert Path(f"stem.{extension}").read_bytes() != first


@pytest.mark.parametrize("kind", ["a note", "a recording", "a link to one"])
def test_a_file_of_the_users_stops_its_song_only(run, kind):
    write_songs("songs/a.wav", "songs/b.wav", "mine/recording.wav")
    Path("out").mkdir()
    if kind == "a note":
        Path("out/a_vocals.wav").write_text("note")
    elif kind == "a recording":
        shutil.copy("mine/recording.wav", "out/a_vocals.wav")
    else:
        Path("out/a_vocals.wav").symlink_to(Path("mine/recording.wav").resolve())
    before = Path("out/a_vocals.wav").read_bytes()
    said = run("songs", "-o", "out", "--stems", "both", status=1)
    assert "error: out/a_vocals.wav: exists, and no earlier run wrote it" in said
    assert said.splitlines()[-1] == "error: 1 of 2 songs were not separated: songs/a.wav"
    assert files("out") == ["a_vocals.wav", "b_accompaniment.wav", "b_vocals.wav"]
    assert Path("out/a_vocals.wav").read_bytes() == before
    run("songs", "-o", "out", "--overwrite")
    assert Path("out/a_vocals.wav").read_bytes() != before


def test_overwrite_replaces_no_song(run):
    write_songs("a.wav", "b.wav")
    os.link("b.wav", "linked.wav")
    for words in (["a.wav", "b.wav", "-o", "{name}.wav"], ["b.wav", "./b.wav"], ["b.wav", "linked.wav"]):
        assert "expected an output other than the input" in run(*words, "--overwrite", status=1)


# ---------------------------------------------------------------------------------------------- folders


def test_a_folder_without_songs_stops_no_other_song(run):
    write_songs("a.wav", "album/b.wav")
    Path("covers").mkdir()
    Path("covers/front.jpg").write_bytes(b"picture")
    said = run("a.wav", "covers", "album", "-o", "out")
    assert "left out: covers: expected a folder with sound files, found none in it" in said
    assert files("out") == ["a_vocals.wav", "b_vocals.wav"]
    said = run("a.wav", "out", "-o", "again")
    assert "left out: out: expected a folder with sound files, found only stems of an earlier run in it" in said
    assert "error: covers: expected a folder with sound files" in run("covers", "covers", "-o", "out", status=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_in_a_folder_is_left_out(run):
    write_songs("songs/a.wav")
    os.mkfifo("songs/live.wav")
    said = run("songs", "-o", "out")
    assert "left out: songs/live.wav: expected a sound file, found a named pipe or a device" in said
    assert files("out") == ["a_vocals.wav"]


@pytest.mark.parametrize("inputs", [["songs"], ["songs/locked/b.wav", "songs/a.wav"]])
def test_a_folder_that_must_not_be_entered_stops_no_other_song(run, monkeypatch, inputs):
    """As with the mode 644, which is no hindrance to root."""
    write_songs("songs/a.wav", "songs/locked/b.wav")
    status = Path.stat

    def refuse(path: Path, **options) -> os.stat_result:
        if path.parent.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return status(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    said = run(*inputs, "-o", "out", status=1)
    assert "error: songs/locked/b.wav: cannot be read: Permission denied" in said
    assert files("out") == ["a_vocals.wav"]


def test_a_name_that_is_too_long_is_told_with_its_place(run):
    write_songs(f"{'n' * 240}.wav", "b.wav")
    said = run(f"{'n' * 240}.wav", "b.wav", "-o", "out/{name}_is_the_voice_of_this_song.wav", status=1)
    [line] = [line for line in said.splitlines() if "File name too long" in line]
    assert (
        "Errno" not in line
        and line.endswith(": File name too long")
        and files("out") == ["b_is_the_voice_of_this_song.wav"]
    )


def test_a_collision_stops_no_other_song(run):
    write_songs("songs/x.wav", "songs/x.flac", "songs/y.wav", "songs/deep/x.wav")
    said = run("songs", "-o", "out", status=1)
    assert "out/x_vocals.wav: expected one song per file, found 'songs/x.flac' and 'songs/x.wav'" in said
    assert files("out") == ["deep/x_vocals.wav", "y_vocals.wav"]
    assert said.splitlines()[-1] == "error: 2 of 4 songs were not separated: songs/x.flac, songs/x.wav"


@pytest.mark.parametrize(("one", "other"), [("Song.wav", "song.wav"), ("J\u00f3ga.wav", "Jo\u0301ga.wav")])
@pytest.mark.parametrize("ignored", [True, False])
def test_songs_whose_names_differ_only_in_case(run, monkeypatch, one, other, ignored):
    """Where the disk tells them apart, they have their own stems; elsewhere, neither replaces the other's."""
    write_songs(f"songs/{one}", f"songs/{other}", "songs/x.wav")
    monkeypatch.setattr(naming, "ignores_case", lambda folder: ignored)
    said = run("songs", "-o", "out", status=int(ignored))
    assert len(files("out")) == (1 if ignored else 3)
    assert ("expected one song per file, found " in said) == ignored


def test_whether_a_disk_ignores_case(tmp_path):
    folder = tmp_path / "Folder"
    folder.mkdir()
    assert not naming.ignores_case(folder / "new" / "deep")
    (tmp_path / "fOLDER").symlink_to(folder)  # as such a disk would answer
    assert naming.ignores_case(folder / "new" / "deep") and naming.ignores_case(folder)


SEEN = ["aifc", "au", "caf", "w64", "oga", "AIFF", "Wav", "mp2", "m4b", "opus", "wv", "m4a", "mkv", "tta", "ac3", "wma"]


@needs_ffmpeg
def test_whatever_works_alone_is_seen_in_folders(run, tmp_path):
    """By name only: what is in them is the same for all."""
    Path("songs").mkdir()
    write_songs("song.wav")
    for suffix in SEEN:
        shutil.copy("song.wav", f"songs/{suffix}.{suffix}")
    for name in ("cover.jpg", "notes.txt", "list.m3u", "song.mid", "noise.raw", ".hidden.wav"):
        shutil.copy("song.wav", f"songs/{name}")
    found = naming.find_songs("songs", [])
    assert sorted(name for _, name in found) == sorted(SEEN)


def test_linked_albums_are_entered_once_and_without_circles(run):
    write_songs("elsewhere/album/a.wav", "songs/b.wav", "songs/own/c.wav", "elsewhere/single.wav")
    Path("songs/linked").symlink_to(Path("elsewhere/album").resolve())
    Path("songs/again").symlink_to(Path("songs/own").resolve())
    Path("songs/own/circle").symlink_to(Path("songs").resolve())
    Path("elsewhere/album/circle").symlink_to(Path("elsewhere/album").resolve())
    Path("songs/single.wav").symlink_to(Path("elsewhere/single.wav").resolve())
    run("songs", "-o", "out")
    expected = ["b_vocals.wav", "linked/a_vocals.wav", "own/c_vocals.wav", "single_vocals.wav"]
    assert files("out") == expected


def test_a_link_that_leads_nowhere_is_told(run):
    write_songs("songs/a.wav")
    Path("songs/gone.mp3").symlink_to("nowhere.mp3")
    said = run("songs", "-o", "out", status=1)
    assert "error: songs/gone.mp3: no such file" in said and files("out") == ["a_vocals.wav"]


@pytest.mark.parametrize("extension", FORMATS)
def test_stems_are_not_separated_again_whatever_they_are_called(run, extension):
    write_songs("songs/a.wav")
    run("songs", "-o", "songs/stems", "--stems", "both", "--format", extension)
    run("songs/a.wav", f"songs/karaoke.{extension}", "--stems", "accompaniment")
    said = run("songs", "-o", "out")
    assert files("out") == ["a_vocals.wav"] and "left out: songs: 3 stems of an earlier run" in said
    said = run("songs/stems", "-o", "out", status=1)
    assert "songs/stems: expected a folder with sound files, found only stems of an earlier run in it" in said
    run(f"songs/karaoke.{extension}", "-o", "again")  # asked for by its name
    assert files("again") == ["karaoke_vocals.wav"]


def test_a_song_called_like_a_stem_is_a_song(run):
    write_songs("songs/a.wav", "songs/b_vocals.wav")
    run("songs", "-o", "songs")
    assert files("songs") == ["a.wav", "a_vocals.wav", "b_vocals.wav", "b_vocals_vocals.wav"]


# ---------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("output", ["new_folder", "new/folder", "vol. 2"])
def test_folder_to_new_folder(run, output):
    write_songs("songs/a.wav", "songs/deep/b.wav")
    run("songs", output)
    assert files(output) == ["a_vocals.wav", "deep/b_vocals.wav"]


def test_a_slash_at_its_end_makes_it_a_folder(run):
    write_songs("song.wav")
    run("song.wav", "new/")
    assert files("new") == ["song_vocals.wav"]


@pytest.mark.parametrize("name", ["out.wma", "out.mkv", "out.OGA", "out.aac"])
def test_a_name_of_a_sound_file_makes_no_folder(run, name):
    write_songs("song.wav")
    run("song.wav", "-o", name, status=1)
    assert files(".") == ["song.wav"]


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_long_names(run, letter):
    name = letter * (234 // len(letter.encode()))  # 238 bytes with .wav
    write_songs(f"{name}.wav")
    run(f"{name}.wav", "-o", "out", "--stems", "both")
    assert files("out") == [f"{name}_accompaniment.wav", f"{name}_vocals.wav"]


@pytest.mark.parametrize("name", ["song.wav", "a b/söng.flac", "./{x}.ogg"])
def test_a_song_alone_gets_both_stems_beside_it(run, name):
    write_songs(name)
    run(name)
    path = Path(name)
    expected = [f"{path.stem}_accompaniment.wav", path.name, f"{path.stem}_vocals.wav"]
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(expected)
    run(name)  # twice
    run(name, "--stems", "vocals", "--format", "flac")
    assert path.with_name(f"{path.stem}_vocals.flac").exists()
    assert not path.with_name(f"{path.stem}_accompaniment.flac").exists()


def test_a_folder_alone_gets_stems_beside_its_songs(run):
    write_songs("songs/a.wav", "songs/deep/b.wav")
    run("songs")
    stems = [f"{song}_{stem}.wav" for song in ("a", "deep/b") for stem in ("accompaniment", "vocals")]
    assert files("songs") == sorted(["a.wav", "deep/b.wav", *stems])


@pytest.mark.parametrize(
    "line",
    ["song.wav --quiet x.wav", "--quiet song.wav x.wav", "song.wav x.wav --quiet", "--quiet -- song.wav x.wav"],
)
def test_options_may_stand_anywhere(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    options, plan = command.parse_options(RecurrentNetwork, str(separate_RNN.__doc__), line.split())
    assert options.quiet and [(job.source, job.targets) for job in plan.jobs] == [("song.wav", {"vocals": "x.wav"})]


@pytest.mark.parametrize("words", [[], ["-o", "{name} live"], ["-o", "{name} live/{stem} of {name}.wav"]])
def test_braces_in_the_name_of_a_folder_that_exists_stand_for_themselves(run, words):
    write_songs("{name} live/a.wav")
    run("{name} live/a.wav", *words)
    assert all(path.startswith("{name} live/") for path in files(".")) and len(files(".")) == (2 if words else 3)
    run("{name} live/a.wav", "-o", "{folder}/", "--overwrite")
    assert "{name} live/a_vocals.wav" in files(".")


# ---------------------------------------------------------------------------------------------- many songs


def test_many_songs_are_counted_and_summed_up(run, monkeypatch):
    write_songs("songs/a.wav", "songs/b.wav", "songs/c.wav")
    Path("songs/b.wav").write_text("no sound")
    said = run("songs", "-o", "out", status=1).splitlines()
    assert said[1].startswith("song 1 of 3: songs/a.wav -> out/a_vocals.wav: ") and said[1].endswith(" left")
    assert said[3].startswith("song 3 of 3: songs/c.wav -> out/c_vocals.wav: ") and "left" not in said[3]
    assert said[4].startswith("2 of 3 songs separated in ") and said[4].endswith(", 1 failed")
    assert said[5] == "error: 1 of 3 songs were not separated: songs/b.wav"


@pytest.mark.skipif(os.name == "nt", reason="no line breaks in names there")
def test_what_is_told_of_a_song_takes_one_line_whatever_it_is_called(run):
    soundfile.write("a\nb.wav", np.sign(make_song("song", 0.3)[0].T), RATE, "PCM_16")
    said = run("a\nb.wav", "-o", "out", "--stems", "both")
    assert [line.partition(":")[0] for line in said.splitlines()[1:]] == [
        "a\\nb.wav",
        "a\\nb.wav -> out/a\\nb_vocals.wav, out/a\\nb_accompaniment.wav",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (1e5, "28 h")]
)
def test_duration(seconds, text):
    assert command.duration(seconds) == text


def test_what_exists_is_skipped_on_request(run):
    write_songs("songs/a.wav", "songs/b.wav", "songs/c.wav")
    run("songs/a.wav", "-o", "out", "--stems", "both")
    Path("out/b_vocals.wav").write_text("of another program")
    Path("out/b_accompaniment.wav").write_text("of another program")
    run("songs/c.wav", "-o", "out")
    times = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    time.sleep(0.05)
    said = run("songs", "-o", "out", "--stems", "both", "--skip-existing")
    assert said.splitlines()[-1].startswith("1 of 3 songs separated in ") and ", 2 skipped, 0 failed" in said
    assert Path("out/c_accompaniment.wav").exists()  # one stem of two was not enough
    kept = [path for path, before in times.items() if path.stat().st_mtime_ns == before]
    assert {path.name[0] for path in kept} == {"a", "b"} and len(kept) == 4
    said = run("songs", "-o", "out", "--stems", "both", "--skip-existing")
    assert "0 of 3 songs separated in 0 s, 3 skipped, 0 failed" in said


def test_a_stem_of_another_song_is_no_reason_to_skip_one(run):
    write_songs("songs/x.wav")
    run("songs", "-o", "out")
    write_songs("songs/x.flac", "songs/y.wav")
    said = run("songs", "-o", "out", "--skip-existing", status=1)
    assert "out/x_vocals.wav: expected one song per file, found 'songs/x.flac' and 'songs/x.wav'" in said
    assert "1 of 3 songs separated in " in said and "skipped" not in said and ", 2 failed" in said


def test_a_song_named_twice_is_separated_once(run):
    write_songs("songs/a.wav", "songs/b.wav")
    said = run("songs", "./songs/a.wav", "songs/a.wav", "-o", "out")
    assert files("out") == ["a_vocals.wav", "b_vocals.wav"] and "2 of 2 songs separated in " in said


def test_skipping_and_overwriting_exclude_each_other(run, capsys):
    write_songs("song.wav")
    with pytest.raises(SystemExit) as ended:
        separate_RNN.main(["song.wav", "voice.wav", "--overwrite", "--skip-existing"])
    assert ended.value.code == 2 and "not allowed with" in capsys.readouterr().err


def test_the_sound_is_the_songs(run):
    """Whatever the command line, the same stem."""
    write_songs("songs/a.wav")
    run("songs/a.wav")
    run("songs/a.wav", "voice.wav")
    run("songs", "new")
    voices = [wavread(name)[0] for name in ("songs/a_vocals.wav", "voice.wav", "new/a_vocals.wav")]
    assert (voices[0] == voices[1]).all() and (voices[0] == voices[2]).all()
    assert soundfile.info("voice.wav").frames == soundfile.info("songs/a.wav").frames
