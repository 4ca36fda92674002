"""A page to compare systems by ear: a folder that opens from disk in any browser, without server or internet.

index.html holds the table of songs and scores, songs/<id>.js the excerpt of each song as MP3 inside JavaScript. A page
opened from disk may run the scripts of its folder, but not read its sound files into memory; and only sound in memory
can be played so that all tracks stay in sync to the sample.
"""

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import soundfile

from process.errors import UserError, make_folder, whole_file
from sound.encoding import RATES
from sound.resampling import resample
from sound.writing import mp3_quality

EXCERPT_SECONDS = 20.0  # where the voice is loudest
PARTS = {"vocals": "voice", "accompaniment": "accompaniment"}  # as the page calls them
TEMPLATE = Path(__file__).with_name("listening_page.html")


def song_id(name: str) -> str:
    """A song's file name: short, and valid in every file system and URL."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def excerpt(voice: np.ndarray, rate: int, seconds: float = EXCERPT_SECONDS) -> slice:
    """The `seconds` of the voice (samples,) with the most energy; all of a shorter song."""
    length = round(seconds * rate)
    if len(voice) <= length:
        return slice(0, len(voice))
    hop = max(1, rate // 4)
    energy = np.add.reduceat(np.square(voice, dtype=np.float64), np.arange(0, len(voice), hop))
    energies = np.convolve(energy, np.ones(max(1, length // hop)), "valid")
    start = min(int(np.argmax(energies)) * hop, len(voice) - length)
    return slice(start, start + length)


def write_song(
    folder: Path, name: str, rate: int, mixture: np.ndarray, references: np.ndarray, estimates: dict[str, np.ndarray]
) -> None:
    """Write the excerpt of a song into `folder`/songs.

    mixture (samples,); references (2, samples): voice and accompaniment; estimates {system: (2, samples)}, of which
    silent ones and copies of the mixture are left out. rate in Hz; MP3 has sample rates up to 48 kHz.
    """
    piece = excerpt(references[0], rate)
    tracks: list[dict] = [
        {"name": "mixture", "system": None, "source": None, "reference": False, "sound": mixture[piece]}
    ]
    for source, sound in zip(PARTS, references, strict=True):
        tracks.append(
            {
                "name": f"true {PARTS[source]}",
                "system": None,
                "source": source,
                "reference": True,
                "sound": sound[piece],
            }
        )
    for index, (system, sounds) in enumerate(estimates.items()):
        for source, sound in zip(PARTS, sounds, strict=True):
            if sound.any() and not np.array_equal(sound, mixture) and np.isfinite(sound).all():
                track = {"name": f"{system}: {PARTS[source]}", "system": index, "source": source, "reference": False}
                tracks.append({**track, "sound": sound[piece]})
    peak = max(np.abs(track["sound"]).max(initial=0) for track in tracks)
    mp3_rate = next((other for other in RATES[".mp3"] if other >= rate), RATES[".mp3"][-1])
    for track in tracks:  # one gain for all, so that levels can be compared
        track["mp3"] = _mp3(resample(track.pop("sound") / max(1.0, peak), rate, mp3_rate), mp3_rate)
    sound = json.dumps({"rate": min(rate, mp3_rate), "tracks": tracks})
    with whole_file(make_folder(folder / "songs") / f"{song_id(name)}.js") as temporary:
        temporary.write_text(f'receive("{song_id(name)}", {sound});\n')


def _mp3(waveform: np.ndarray, rate: int) -> str:
    """MP3 of a waveform (samples,) in base64."""
    file = io.BytesIO()
    try:
        soundfile.write(file, waveform, rate, format="MP3", **mp3_quality(rate, None))
    except (soundfile.LibsndfileError, ValueError) as error:
        raise UserError(f"listening page: expected libsndfile 1.1 or newer, which writes MP3, found {error}") from error
    return base64.b64encode(file.getvalue()).decode()


def write_page(
    folder: Path, title: str, protocol: str, rows: list[dict], systems: list[str], columns: list[str]
) -> Path:
    """Write `folder`/index.html from the rows of an evaluation. Returns its path."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    songs: dict[str, dict] = {}
    for row in rows:  # within a song and source, in the order of `systems`
        song = songs.setdefault(
            row["song"],
            {
                "name": row["song"],
                "id": song_id(row["song"]),
                "level": _plain(row["voice to accompaniment"]),
                "scores": {source: [] for source in sources},
            },
        )
        song["scores"][row["source"]].append([_plain(row[column]) for column in columns])
    data = {
        "title": title,
        "protocol": f"{protocol} Excerpts: the {EXCERPT_SECONDS:g} s of each song where the voice is loudest.",
        "systems": systems,
        "columns": columns,
        "sources": sources,
        "songs": list(songs.values()),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace(
        "<", "\\u003c"
    )  # so that no name is taken for a tag
    page = make_folder(folder) / "index.html"
    with whole_file(page) as temporary:
        template = TEMPLATE.read_text(encoding="utf-8")
        temporary.write_text(template.replace(">DATA<", f">{text}<"), encoding="utf-8")
    return page


def _plain(value: float) -> float | str | None:
    """JSON has neither nan nor infinity."""
    return None if np.isnan(value) else str(value) if np.isinf(value) else round(value, 3)
