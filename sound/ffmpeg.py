"""Sound that libsndfile cannot read, decoded by the ffmpeg program and streamed, without a temporary file."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from process.errors import UserError
from sound.samples import Sound
from sound.streams import arrived, read_stream
from sound.tags import Tags, texts_of
from sound.wholeness import CutOff

# What ffmpeg may read: containers and streams of sound. Playlists, manifests and scripts (concat, hls, dash, imf, sdp,
# ...) are left out, since they open other files.
FFMPEG_FORMATS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,matroska,mlp,mov,mp3,mpc"
FFMPEG_FORMATS += ",mpc8,mpeg,mpegts,ogg,qcp,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
FFMPEG_INPUT = ("-protocol_whitelist", "file", "-format_whitelist", FFMPEG_FORMATS)

LATE = 0.1  # seconds: as long as a gap in a video's sound must be for ffmpeg to fill it; codecs begin some ms early
WIDTHS = ((8, "PCM_U8"), (16, "PCM_16"), (24, "PCM_24"), (32, "PCM_32"))  # bits at most, and what holds them


def ffmpeg_is_there() -> bool:
    return shutil.which("ffmpeg") is not None


@contextlib.contextmanager
def open_with_ffmpeg(
    path: Path,
    reason: str,
    seek: Sequence[str] = (),
    tracks: Sequence[str] = ("-map", "0:a:0"),
    subtype: str = "unknown",
    samples: int | None = None,
    partial: bool = False,
) -> Iterator[Sound]:
    """Decode, on demand, the first sound track of a file that libsndfile cannot read for this `reason`.

    seek, tracks: ffmpeg's options for where to begin and which tracks to decode instead; subtype: the sample type, if
    `probe` knows it; samples: how many must come, if the header tells; partial: go on behind damage, and raise CutOff
    at the end.
    Raises UserError if ffmpeg is not installed or cannot read the file, either; CutOff if it can only at first.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(
            f"{path}: cannot be read as sound: {reason}; files other than WAV, FLAC, OGG, MP3 and AIFF need the "
            "program ffmpeg, which is not installed"
        )
    codec = "pcm_s32le" if subtype == "PCM_32" else "pcm_f32le"  # which holds 24 bits exactly
    arguments = [program, "-v", "error", "-nostdin", *([] if partial else ["-xerror"]), *FFMPEG_INPUT]
    arguments += [*seek, "-i", f"file:{path}", *tracks, "-c:a", codec, "-f", "wav", "pipe:1"]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process,
    ):

        def failure() -> str:
            messages.seek(0)
            return _failure(path, messages.read())

        def blocks() -> Iterator[np.ndarray]:
            found = 0
            for block in sound.blocks:
                found += block.shape[1]
                yield block
            if process.wait() or (partial and messages.seek(0, os.SEEK_END)):
                raise CutOff(failure())
            if found < (samples or 0):
                raise CutOff(f"{path}: cut off: expected {samples} samples, found {found}: {reason}")

        assert process.stdout is not None  # it is a pipe
        try:
            try:
                sound = read_stream(process.stdout, str(path))
            except UserError as error:
                if arrived(process.stdout, 1):  # refused here, while ffmpeg still decodes: do not wait for it
                    raise
                process.wait()
                raise UserError(failure()) from error
            info = dataclasses.replace(sound.info, format="ffmpeg", subtype=subtype)
            yield Sound(info, blocks(), sound.tags)
        finally:
            process.kill()  # if it still runs: nobody wants the rest


def _failure(path: Path, messages: bytes) -> str:
    lines = messages.decode(errors="replace").strip().splitlines() or ["nothing to decode"]
    return f"{path}: cannot be read as sound (ffmpeg tried, too): {lines[-1]}"


@dataclasses.dataclass
class Probed:
    """What ffprobe tells of a sound track: its tags, and libsndfile's name of its sample type; what each sound track
    of the file is called, by number, language and title; and ffmpeg's options to keep this one in step with pictures.

    The type is 'unknown' where it says nothing about the one to write: of lossy codecs, and without ffprobe.
    """

    tags: Tags = dataclasses.field(default_factory=Tags)
    subtype: str = "unknown"
    tracks: list[str] = dataclasses.field(default_factory=list)
    in_step: tuple[str, ...] = ()


def probe(path: Path, track: int = 1) -> Probed:
    """What ffprobe, a part of ffmpeg, tells of a file's sound track, counted from 1. Nothing if it is not installed.

    Raises UserError if it cannot read the file, or if this has fewer tracks.
    """
    program = shutil.which("ffprobe")
    if program is None:
        return Probed()
    command = [program, "-v", "error", *FFMPEG_INPUT, "-of", "json", "-show_entries"]
    fields = "format_tags:stream_tags:format=start_time:stream=codec_type,start_time,codec_name,sample_fmt"
    fields += ",bits_per_raw_sample:stream_disposition=attached_pic"
    run = subprocess.run([*command, fields, f"file:{path}"], capture_output=True)
    if run.returncode > 0:  # then ffmpeg cannot, either
        raise UserError(_failure(path, run.stderr))
    try:
        found = json.loads(run.stdout)
    except ValueError:
        return Probed()
    all_streams = found.get("streams", [])
    streams = [stream for stream in all_streams if stream.get("codec_type") == "audio"]
    tracks = [" ".join(_track(number, stream.get("tags", {}))) for number, stream in enumerate(streams, 1)]
    if track > len(streams) > 0:
        raise UserError(f"{path}: expected sound track {track}, found {listed(tracks)}")
    stream = streams[track - 1] if streams else {}
    holders = [found.get("format", {}), stream]
    tags = Tags(texts_of((name, [value]) for one in holders for name, value in one.get("tags", {}).items()))
    return Probed(tags, _subtype(stream), tracks, _in_step(found.get("format", {}), stream, all_streams))


def _in_step(file: dict, stream: dict, all_streams: list[dict]) -> tuple[str, ...]:
    """Options by which silence stands for what is missing of a video's sound: gaps, and its beginning if it is late."""
    kinds = [(one.get("codec_type"), one.get("disposition", {}).get("attached_pic")) for one in all_streams]
    if ("video", 0) not in kinds:  # at most a cover
        return ()
    late = float(stream.get("start_time", 0)) - float(file.get("start_time", 0)) > LATE
    return "-af", "aresample=async=1" + (":first_pts=0" if late else "")


def _track(number: int, tags: dict[str, str]) -> Iterator[str]:
    yield str(number)
    for name in ("language", "title"):
        if tags.get(name, "und") != "und":  # undetermined
            yield tags[name]


def listed(tracks: Sequence[str]) -> str:
    count = len(tracks)
    return f"{count} sound tracks ({', '.join(tracks)})" if count > 1 else f"{count} sound track"


def _subtype(stream: dict[str, str]) -> str:
    codec, kind = stream.get("codec_name", ""), stream.get("sample_fmt", "")
    bits = int(stream.get("bits_per_raw_sample", 0))
    if codec.startswith(("pcm_f", "wavpack")) and kind.startswith(("flt", "dbl")):
        return "FLOAT"
    return next((name for most, name in WIDTHS if 0 < bits <= most), "unknown")
