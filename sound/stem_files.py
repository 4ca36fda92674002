"""MUSDB18's .stem.mp4 files: five sound tracks (mixture, drums, bass, other, vocals), decoded by the ffmpeg program."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np

from process.errors import UserError
from sound.ffmpeg import FFMPEG_INPUT, open_with_ffmpeg

SUFFIX = ".stem.mp4"
TRACKS = ("mixture", "drums", "bass", "other", "vocals")
# AAC frames overlap, so the first one after a jump is decoded wrongly. A frame has 1024 samples, 2048 with HE-AAC.
LEAD = 4096


def stem_file_header(path: Path) -> tuple[int, int, int]:
    """Sample rate in Hz, samples and channels of a .stem.mp4 file's tracks.

    Raises UserError if ffprobe, a part of ffmpeg, is missing or cannot read it, or if tracks are missing or differ.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    program = shutil.which("ffprobe")
    if program is None:
        raise UserError(f"{path}: expected the programs ffmpeg and ffprobe to be installed, found none")
    fields = "stream=sample_rate,channels,duration_ts,time_base"
    command = [program, "-v", "error", *FFMPEG_INPUT, "-select_streams", "a", "-show_entries", fields]
    run = subprocess.run([*command, "-of", "json", f"file:{path}"], capture_output=True, text=True, errors="replace")
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["unknown reason"])[-1]
        raise UserError(f"{path}: cannot be read by ffprobe: {reason}")
    tracks = json.loads(run.stdout).get("streams", [])
    if len(tracks) < len(TRACKS):
        raise UserError(f"{path}: expected the {len(TRACKS)} sound tracks {', '.join(TRACKS)}, found {len(tracks)}")
    try:
        headers = [_header(track) for track in tracks[: len(TRACKS)]]
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{path}: expected MP4, which tells how long each sound track is, found none told") from error
    for name, header in zip(TRACKS, headers, strict=True):
        for found, expected, unit in zip(header, headers[0], ("Hz", "samples", "channels"), strict=True):
            if found != expected:
                raise UserError(f"{path}: expected {name} of {expected} {unit} like {TRACKS[0]}, found {found}")
    return headers[0]


def _header(track: dict) -> tuple[int, int, int]:
    rate = int(track["sample_rate"])
    numerator, denominator = (int(number) for number in track["time_base"].split("/"))
    return rate, round(int(track["duration_ts"]) * rate * numerator / denominator), int(track["channels"])


def read_stem_file(path: Path, start: int, samples: int, rate: int, channels: int) -> np.ndarray:
    """Mixture and vocals from sample `start` on, mixed down to mono: (2, samples), as of the whole file."""
    first = max(0, start - LEAD)
    tracks = [TRACKS.index(name) for name in ("mixture", "vocals")]
    merged = "".join(f"[0:a:{track}]" for track in tracks) + f"amerge=inputs={len(tracks)}"
    seek = ["-ss", f"{first / rate:.6f}"]  # finer than a sample
    end = start - first + samples
    pieces, wanted = [], end
    with open_with_ffmpeg(path, "it is MP4", seek, ["-filter_complex", merged]) as sound:
        for block in sound.blocks:  # (channels of all tracks, samples)
            pieces.append(block.reshape(len(tracks), channels, -1).mean(axis=1))
            wanted -= block.shape[1]
            if wanted <= 0:
                break
    if wanted > 0:
        raise UserError(f"{path}: cut off: expected {samples} samples from {start} on, found {samples - wanted}")
    return np.concatenate(pieces, axis=1)[:, start - first :][:, :samples]
