"""Sound files, read block by block with libsndfile, which must be whole."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from process.errors import UserError
from sound.libsndfile import open_part, open_to_read, silence
from sound.parts import Part, Slice, find_parts
from sound.samples import BLOCK, VORBIS_ORDER, Sound, SoundInfo, check_finite, check_rate
from sound.wholeness import UNKNOWN_LENGTH, CutOff, check_whole, up_to_cut

SOUGHT_IN_ALL = ("FLAC", "OGG", "MP3")  # formats whose decoders seek in all of a file, beyond the first of joined ones
SECONDS = 10  # read at once at most: at a low sample rate, a block would become many more at the network's


class UnknownFormat(UserError):
    """libsndfile cannot read the file, or not to its end; `reason` tells why.

    samples: how many per channel it should have, if libsndfile knows.
    """

    def __init__(self, path: Path, reason: str, samples: int | None = None):
        super().__init__(f"{path}: cannot be read as sound: {reason}")
        self.reason, self.samples = reason, samples


@contextlib.contextmanager
def open_sound(path: str | Path, start: int = 0, samples: int | None = None, partial: bool = False) -> Iterator[Sound]:
    """Open a sound file, or a piece of it by seeking.

    start: first sample; samples: how many (default: all to the end); partial: CutOff is raised only behind the last
    block, not here. Raises UserError if the file is missing, empty or not allowed to be read, CutOff if it is cut off,
    UnknownFormat if libsndfile does not know its format.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            sound = _open(path, start, samples, partial, stack)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        yield sound


def _open(path: Path, start: int, samples: int | None, partial: bool, stack: contextlib.ExitStack) -> Sound:
    _check_there(path)
    parts: tuple[Part, ...] = ()
    try:
        file = stack.enter_context(open_to_read(path))
    except soundfile.LibsndfileError as error:
        parts = find_parts(path, "WAV", 0)  # joined WAV and AIFF files are nothing that libsndfile knows
        if not parts:
            if not partial:
                check_whole(path)  # or ffmpeg would take half a file for a whole one
            raise UnknownFormat(path, error.error_string.rstrip(".")) from error
        file = _open_parts(path, parts, stack)[0]
    check_rate(file.samplerate, path)
    if file.frames == 0:
        if partial:
            raise UnknownFormat(path, "expected sound, found no samples")  # ffmpeg may find some before the cut
        check_whole(path, file.extra_info)
        raise UserError(f"{path}: expected sound, found a file with no samples")
    if file.frames >= UNKNOWN_LENGTH:
        raise UnknownFormat(path, "expected a length in the header, found a header written for a stream")
    beyond = samples is None or start + samples > file.frames
    if not parts and (beyond or file.format in SOUGHT_IN_ALL):
        parts = find_parts(path, file.format, file.frames)
    files = _open_parts(path, parts, stack) if parts else [file]
    file = files[0]  # a header in front may tell of other sound than the frames behind it
    check_rate(file.samplerate, path)
    log = "\n".join(one.extra_info for one in files)
    if not partial:
        check_whole(path, log)
    length = sum(one.frames for one in files)
    info = SoundInfo(file.samplerate, file.channels, length, file.format, file.subtype)
    blocks = _read(files, path, info.dtype, start, samples)
    return Sound(info, up_to_cut(blocks, path, log) if partial else blocks)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a named pipe" if path.is_fifo() else "a device"
        raise UserError(f"{path}: expected a sound file, found {kind}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: expected a sound file, found an empty file")


def _open_parts(path: Path, parts: Sequence[Part], stack: contextlib.ExitStack) -> list[soundfile.SoundFile]:
    """Open what stands one behind the other in a file: files of one sample rate and number of channels."""
    shared = stack.enter_context(path.open("rb"))
    try:
        files = [stack.enter_context(open_part(Slice(shared, part))) for part in parts]
    except soundfile.LibsndfileError as error:
        raise UnknownFormat(path, f"{len(parts)} joined files: {error.error_string.rstrip('.')}") from error
    for file in files:
        for found, expected, unit in (
            (file.samplerate, files[0].samplerate, "Hz"),
            (file.channels, files[0].channels, "channels"),
        ):
            if found != expected:
                raise UserError(f"{path}: {len(files)} joined files: expected {expected} {unit} in all, found {found}")
    return files


def sound_info(path: str | Path) -> SoundInfo:
    """Read a sound file's header. Raises UserError if the file is missing, not sound, empty or cut off."""
    with open_sound(path) as sound:
        return sound.info


def _read(
    files: Sequence[soundfile.SoundFile], path: Path, dtype: str, start: int, samples: int | None
) -> Iterator[np.ndarray]:
    """The blocks of one file, or of several as if they were one."""
    *others, last = files
    for file in others:
        if start < file.frames and samples != 0:
            here = file.frames - start if samples is None else min(samples, file.frames - start)
            yield from _read_one(file, path, dtype, start, None if start + here == file.frames else here)
            samples = None if samples is None else samples - here
        start = max(0, start - file.frames)
    if samples != 0:
        yield from _read_one(last, path, dtype, start, samples)


def _read_one(
    file: soundfile.SoundFile, path: Path, dtype: str, start: int, samples: int | None
) -> Iterator[np.ndarray]:
    expected = file.frames - start if samples is None else samples
    wanted, order = expected, VORBIS_ORDER.get(file.channels) if file.subtype in ("VORBIS", "OPUS") else None
    size = max(1, min(BLOCK // file.channels, SECONDS * file.samplerate))  # samples; the same memory for every file
    while wanted > 0 and start <= file.frames:
        try:
            with silence if file.format == "MP3" else contextlib.nullcontext():
                if wanted == expected and start > 0:  # not for every piece: some sample types cannot seek
                    file.seek(start)
                block = file.read(min(wanted, size), dtype, always_2d=True)  # (samples, channels)
        except soundfile.LibsndfileError as error:
            raise UnknownFormat(path, error.error_string.rstrip("."), file.frames) from error
        if len(block) == 0:
            break
        if order is not None:
            block = block[:, order]
        check_finite(block, path)
        wanted -= len(block)
        yield block.T
    whole_mp3 = samples is None and file.format == "MP3"  # whose length may be an estimate
    if wanted == expected or (wanted > 0 and not whole_mp3):
        raise CutOff(f"{path}: cut off: expected {expected} samples from {start} on, found {expected - wanted}")
