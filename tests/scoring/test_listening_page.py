"""The listening page: what is in its files, and that it loads, sorts, plays and switches in sync in a real browser."""

import base64
import io
import json
import shutil
import time

import numpy as np
import pytest
import soundfile

from scoring.listening_page import excerpt, song_id, write_page, write_song

RATE = 16000
SYSTEMS = ["mixture", "first", "second </script>"]
SDR = {"b song": [0.5, 7.0, -1.0], "a <i>song</i>": [1.5, float("inf"), 2.0], "c song": [-3.0, float("nan"), 10.0]}
CLICK = 0.7  # seconds


def write_example(folder):
    """A page of three songs of 3 s. Every track has a click at the same time, by which to see how they are aligned."""
    rows = []
    for name, own in SDR.items():
        rng = np.random.default_rng(0)
        voice, accompaniment, error = 0.01 * rng.standard_normal((3, 3 * RATE)).astype(np.float32)
        for sound in (voice, accompaniment):
            sound[round(CLICK * RATE)] = 0.9
        mixture = voice + accompaniment
        estimates = {
            "mixture": np.stack([mixture, mixture]),
            "first": np.stack([voice + error, accompaniment - error]),
            "second </script>": np.stack([0.5 * voice, np.zeros_like(voice)]),
        }
        write_song(folder, name, RATE, mixture, np.stack([voice, accompaniment]), estimates)
        for system, sdr in zip(SYSTEMS, own, strict=True):
            for source in ("vocals", "accompaniment"):
                score = sdr if source == "vocals" else 20.0
                row = {"song": name, "source": source, "system": system, "SDR": score, "SIR": 2 * score}
                rows.append({**row, "voice to accompaniment": 0.0})
    return write_page(folder, "three songs", "an example.", rows, SYSTEMS, ["SDR", "SIR"])


def test_excerpt_is_where_the_voice_is_loudest():
    voice = 0.001 * np.ones(60 * 100, np.float32)
    voice[3000:4000] = 1
    piece = excerpt(voice, 100, 20)
    assert piece.stop - piece.start == 2000 and piece.start <= 3000 and piece.stop >= 4000
    assert excerpt(voice, 100, 90) == slice(0, 6000)
    voice[5500:] = 2
    assert excerpt(voice, 100, 20).stop == 6000


def test_sound_files(tmp_path):
    write_example(tmp_path)
    text = (tmp_path / "songs" / f"{song_id('b song')}.js").read_text()
    assert text.startswith(f'receive("{song_id("b song")}", ')
    sound = json.loads(text[text.index("{") : text.rindex(")")])
    names = ["mixture", "true voice", "true accompaniment", "first: voice", "first: accompaniment"]
    # The mixture as an estimate is left out, and so is silence.
    assert [track["name"] for track in sound["tracks"]] == [*names, "second </script>: voice"]
    levels = []
    for track in sound["tracks"]:
        waveform, rate = soundfile.read(io.BytesIO(base64.b64decode(track["mp3"])))
        assert rate == sound["rate"] == RATE and abs(len(waveform) - 3 * RATE) < 0.2 * RATE
        levels.append(np.abs(waveform).max())
    assert levels[5] == pytest.approx(0.5 * levels[1], rel=0.1)  # one gain for all
    assert len(text) < 400_000


@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_mp3_keeps_what_is_heard(tmp_path, rate):
    """Also above 16 kHz, where MP3 of the usual quality ends."""
    voice = np.random.default_rng(0).uniform(-0.1, 0.1, (2, rate)).astype(np.float32)
    write_song(tmp_path, "song", rate, voice.sum(axis=0), voice, {})
    text = (tmp_path / "songs" / f"{song_id('song')}.js").read_text()
    track = json.loads(text[text.index("{") : text.rindex(")")])["tracks"][1]
    decoded, _ = soundfile.read(io.BytesIO(base64.b64decode(track["mp3"])))
    power = np.abs(np.fft.rfft(decoded)) ** 2
    frequencies = np.fft.rfftfreq(len(decoded), 1 / rate)
    low, high = (
        power[(frequencies > start) & (frequencies < start + 500)].mean() for start in (4000, 0.97 * rate / 2 - 500)
    )
    assert 10 * np.log10(high / low) > -3


@pytest.mark.parametrize(("rate", "expected"), [(8000, 8000), (20000, 22050), (96000, 48000)])
def test_rates_that_mp3_has(tmp_path, rate, expected):
    voice = np.random.default_rng(0).uniform(-0.1, 0.1, (2, rate)).astype(np.float32)
    write_song(tmp_path, "song", rate, voice.sum(axis=0), voice, {})
    text = (tmp_path / "songs" / f"{song_id('song')}.js").read_text()
    sound = json.loads(text[text.index("{") : text.rindex(")")])
    assert sound["rate"] == min(rate, expected)  # of the sound, for the spectrogram
    assert soundfile.info(io.BytesIO(base64.b64decode(sound["tracks"][0]["mp3"]))).samplerate == expected


# ---------------------------------------------------------------------------------------------- in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
OPTIONS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
OPTIONS += ["disable-component-update", "disable-sync", "window-size=1200,900"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """The example page in headless Chromium, opened from disk."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium with its driver here")
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    folder = tmp_path_factory.mktemp("a page")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in (*OPTIONS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{option}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=service.Service(DRIVER))
    driver.get(write_example(folder).as_uri())
    yield driver
    driver.quit()


def songs_shown(browser) -> list[str]:
    return [row.text.split("\n")[0] for row in browser.find_elements("css selector", "#songs td:first-child")]


def wait_for(browser, script: str, seconds: float = 20):
    """Wait until a JavaScript expression is true. Returns its value."""
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(f"return {script}")):
        assert time.monotonic() < end, f"{script} is still {value}"
        time.sleep(0.02)
    return value


def press(browser, key: str) -> None:
    browser.switch_to.active_element.send_keys(key)


def cells_of(browser, row: str) -> list[str]:
    return [cell.text for cell in browser.find_elements("css selector", f"{row} td")]


def test_the_first_song_is_ready_to_play(browser):
    wait_for(browser, "player.tracks.length === 6")
    assert browser.find_element("id", "name").text == "a <i>song</i>"
    assert browser.find_element("id", "play").is_enabled() and browser.find_element("id", "heard").text == "mixture"
    assert browser.get_log("browser") == []


def test_a_table_of_systems_by_voice_and_accompaniment(browser):
    wait_for(browser, "player.tracks.length === 6")
    rows = [row.text.split() for row in browser.find_elements("css selector", "#tracks tbody tr")]
    headings = [cell.text for cell in browser.find_elements("css selector", "#tracks thead th")]
    assert headings == ["SDR, dB", "voice", "accompaniment"]
    # The mixture as an estimate is no track, and neither is silence.
    assert rows == [
        ["mixture", "listen"],
        ["truth", "listen", "listen"],
        ["first", "∞", "20.00"],
        ["second", "</script>", "2.00"],
    ]
    browser.find_elements("css selector", "#tracks td button")[3].click()
    assert browser.find_element("id", "heard").text == "first: voice"
    pressed = browser.find_elements("css selector", "#tracks button[aria-pressed=true]")
    assert [button.accessible_name for button in pressed] == ["first: voice"]


def test_axes_are_in_kilohertz_and_seconds(browser):
    wait_for(browser, "player.tracks.length === 6")
    frequencies = [label.text for label in browser.find_elements("css selector", "#frequencies span")]
    assert frequencies == ["0.1 kHz", "0.2 kHz", "0.5 kHz", "1 kHz", "2 kHz", "5 kHz"]
    seconds = [label.text for label in browser.find_elements("css selector", "#seconds span")]
    assert seconds[:4] == ["0 s", "1 s", "2 s", "3 s"]
    places = browser.execute_script(
        "return [...document.querySelectorAll('#frequencies span')].map(s => parseFloat(s.style.bottom))"
    )
    assert np.diff(places)[0] == pytest.approx(np.diff(places)[3], rel=1e-3)  # an octave is an octave


def test_loads_without_errors_and_sorts(browser):
    assert browser.title == "three songs"
    assert cells_of(browser, "#means") == ["mean of 2 songs", "", "1.00", "∞", "0.50"]  # not of the one without a score
    assert songs_shown(browser) == ["a <i>song</i>", "b song", "c song"]
    headings = [cell.text for cell in browser.find_elements("css selector", "#heading th")]
    assert headings[0].startswith("song") and headings[1:] == ["voice to accompaniment in dB", *SYSTEMS]
    for heading, expected in ((4, ["c song", "a <i>song</i>", "b song"]), (3, ["a <i>song</i>", "b song", "c song"])):
        browser.find_elements("css selector", "#heading button")[heading].click()  # the best first; nan is last
        assert songs_shown(browser) == expected
        assert browser.find_elements("css selector", "#heading th")[heading].get_attribute("aria-sort") == "descending"
    browser.find_elements("css selector", "#heading button")[3].click()
    assert songs_shown(browser) == ["c song", "b song", "a <i>song</i>"]
    first = "#songs tr:first-child"
    assert cells_of(browser, first) == ["c song", "0.00", "-3.00", "\u2013", "10.00"]
    browser.execute_script("const s = document.getElementById('column'); s.value = 1; s.onchange()")
    assert cells_of(browser, first) == ["c song", "0.00", "-6.00", "\u2013", "20.00"]
    assert browser.get_log("browser") == []


def test_plays_and_switches_in_sync(browser):
    browser.find_element("xpath", "//td/button[text()='b song']").click()
    wait_for(browser, "player.tracks.length === 6")
    # Where the click is in each decoded track: at the same sample, give or take what MP3 does to a click.
    clicks = browser.execute_script(
        "return player.tracks.map(t => { const x = t.sound.getChannelData(0).map(Math.abs);"
        " return x.indexOf(x.reduce((a, b) => Math.max(a, b))) / t.sound.sampleRate; })"
    )
    assert max(clicks) - min(clicks) < 0.001 and min(clicks) == pytest.approx(CLICK, abs=0.1)

    browser.find_element("id", "play").click()
    wait_for(browser, "player.playing() && player.position() > 0.2")
    before = browser.execute_script("return [player.begun, player.offset, player.nodes.length]")
    moved, passed = browser.execute_script(
        "const start = performance.now(), position = player.position(); hear(3);"
        " return [player.position() - position, (performance.now() - start) / 1000]"
    )
    assert moved == pytest.approx(passed, abs=0.1)  # the position goes on as if nothing had happened
    wait_for(browser, "player.nodes[3].gain.value > 0.99 && player.nodes[0].gain.value < 0.01", 5)
    # All tracks still run from the instant where they began together: nothing was started anew.
    assert browser.execute_script("return [player.begun, player.offset, player.nodes.length]") == before
    assert sum(browser.execute_script("return player.nodes.map(node => Math.round(node.gain.value))")) == 1
    head = wait_for(browser, "parseFloat(document.getElementById('head').style.left)")
    wait_for(browser, f"parseFloat(document.getElementById('head').style.left) !== {head}", 5)  # follows
    wait_for(browser, "!player.playing() && player.position() === 0")  # at the end it stops
    assert browser.get_log("browser") == []


def test_keys(browser):
    wait_for(browser, "player.tracks.length === 6")
    browser.execute_script("hear(1)")
    press(browser, "v")
    assert browser.execute_script("return player.tracks[player.current].name") == "true accompaniment"
    press(browser, "\ue015")  # arrow down: the next system's accompaniment
    assert browser.execute_script("return player.current") == 4
    press(browser, "\ue013")  # arrow up
    assert browser.execute_script("return player.current") == 2
    press(browser, "\ue014")  # arrow right
    assert browser.execute_script("return player.position()") == 1
    press(browser, " ")
    wait_for(browser, "player.playing()")
    press(browser, " ")
    wait_for(browser, "!player.playing()")
    name = browser.execute_script("return player.song.name")
    press(browser, "n")
    wait_for(browser, "player.tracks.length === 6")
    assert browser.execute_script("return player.song.name") != name
    assert browser.get_log("browser") == []


def test_spectrogram_shows_the_click(browser):
    wait_for(browser, "player.tracks.length === 6")
    brightness = browser.execute_script(
        "drawSpectrogram(player.tracks[1]); const c = document.getElementById('spectrogram');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return Array.from({length: c.width}, (_, x) => { let s = 0;"
        " for (let y = 0; y < c.height; y++) s += d[4 * (y * c.width + x) + 1]; return s; })"
    )
    duration = browser.execute_script("return player.duration")
    assert np.argmax(brightness) / len(brightness) * duration == pytest.approx(CLICK, abs=0.15)


def test_light_and_dark(browser):
    colours = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        colours.append([int(text.split("(")[1].split(",")[0]) for text in browser.execute_script(script)])
    (light_back, light_text), (dark_back, dark_text) = colours
    assert light_back > 200 > 60 > light_text and dark_back < 60 < 200 < dark_text
