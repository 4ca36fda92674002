"""Which song goes where: the songs that a command line names, and the files of their stems."""

import argparse
import dataclasses
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from process.errors import UserError, safe_name
from separation.stems import ACCOMPANIMENT, PIPE, VOCALS, Job, is_pipe, mode
from songs.names import plain
from sound.encoding import LOSSY
from sound.names import SUFFIXES
from sound.streams import RAW_TYPES, RawFormat
from sound.tag_reading import written_here

STEMS = {VOCALS: (VOCALS,), ACCOMPANIMENT: (ACCOMPANIMENT,), "both": (VOCALS, ACCOMPANIMENT)}
FORMATS = ("wav", "flac", "ogg", "mp3", "m4a", "opus")  # the last two with ffmpeg
BITRATES = range(8, 513)  # kb/s
NAMES = "{name}_{stem}"  # of files in an output folder
WAYS_OUT = "--overwrite replaces it, --output writes elsewhere"  # where a file exists
PLACES = ("{name}", "{folder}", "{stem}")  # of a pattern


@dataclasses.dataclass
class Plan:
    """What a command line asks for: the songs to separate, in order, what is left out, and why some cannot be.

    make_folders: whether the stems' folders are made; refused: song -> the reason in one line.
    """

    jobs: list[Job]
    make_folders: bool
    left_out: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)


def make_plan(options: argparse.Namespace) -> Plan:
    """Raises ValueError if the command line makes no sense, UserError if there is no song."""
    inputs, output, stems, beside = inputs_and_output(options)
    raw = raw_format(options.raw)
    if raw and not any(map(is_pipe, inputs)):
        raise ValueError("--raw describes what a pipe carries: expected - or a named pipe as INPUT")
    if options.track is not None and options.track < 1:
        raise ValueError(f"--track {options.track}: expected 1 for the first sound track, 2 for the second and so on")
    if options.track is not None and any(map(is_pipe, inputs)):
        raise ValueError("--track chooses a sound track of a file, found a pipe as INPUT")
    if is_pipe(output) and options.format:
        raise ValueError(f"--format {options.format}: a pipe carries WAV, or raw PCM with --raw")
    folders = beside or is_folder(inputs[0]) or output.endswith(os.sep)
    a_file = options.output is None and not folders  # INPUT OUTPUT makes no folder
    pattern = output if is_pipe(output) else output_pattern(output, options.format, a_file)
    if options.bitrate is not None and options.bitrate not in BITRATES:
        raise ValueError(f"--bitrate: expected {BITRATES[0]} to {BITRATES[-1]} kb/s, found {options.bitrate}")
    if options.bitrate and Path(pattern).suffix.lower() not in LOSSY:
        raise ValueError(f"--bitrate: expected an output in {', '.join(LOSSY)}, found '{pattern}'")
    two_files = options.output is None and pattern == output  # which a shell's pattern may have named
    pattern = with_names_of_folders(pattern)
    left_out: list[str] = []
    songs, empty = [], []
    for path in inputs:
        try:
            songs += find_songs(path, left_out)
        except UserError as error:  # a folder without songs
            empty.append(error)
    if not songs:
        raise empty[0]
    left_out += map(str, empty)
    named = "{name}" in pattern or "{folder}" in pattern
    if (len(songs) > 1 and not named) or (len(stems) > 1 and "{stem}" not in pattern):
        places = "{name} (or {folder}) and {stem}"
        raise ValueError(f"--output {output}: expected a folder, or {places} to tell songs and stems apart")
    jobs = [
        Job(
            source,
            {stem: fill(pattern, source, name, stem) for stem in stems},
            raw,
            options.float,
            options.keys,
            options.bitrate,
            options.partial,
            options.track,
        )
        for source, name in songs
    ]
    jobs = list({(identity(job.source), *job.targets.values()): job for job in jobs}.values())  # each song once
    return Plan(jobs, not a_file, left_out, refusals(jobs, options, two_files))


def inputs_and_output(options: argparse.Namespace) -> tuple[list[str], str, tuple[str, ...], bool]:
    """The songs and folders, the output, the stems, and whether stems go beside the songs: if INPUT is all there is."""
    inputs, output = options.paths, options.output
    if output is not None or len(inputs) == 2:
        *inputs, output = inputs if output is None else [*inputs, output]
        return inputs, output, STEMS[options.stems or VOCALS], False
    if len(inputs) > 2 or inputs == [PIPE]:
        raise ValueError("expected INPUT, INPUT OUTPUT, or any number of inputs and --output")
    [path] = inputs
    folder = path if is_folder(path) else str(Path(path).parent)
    return inputs, folder, STEMS[options.stems or "both"], True


def raw_format(words: list[str] | None) -> RawFormat | None:
    if words is None:
        return None
    rate, channels, kind = words
    if not (rate.isdigit() and channels.isdigit() and int(rate) and int(channels) and kind in RAW_TYPES):
        raise ValueError(
            f"--raw {' '.join(words)}: expected sample rate in Hz, number of channels, type ({', '.join(RAW_TYPES)})"
        )
    return RawFormat(int(rate), int(channels), RAW_TYPES[kind])


def output_pattern(output: str, file_format: str | None, a_file: bool) -> str:
    """The pattern of the stems' names that an output stands for: a folder, a file, or a pattern with any of PLACES.

    a_file: whether a name that says neither is a file's, not a folder's.
    """
    suffix = Path(output).suffix.lower()
    folder = is_folder(output) or output.endswith(os.sep)
    if folder or not (a_file or suffix in SUFFIXES or any(place in output for place in PLACES)):
        return str(Path(output) / f"{NAMES}.{file_format or FORMATS[0]}")
    if suffix not in SUFFIXES and (file_format or not a_file):
        return f"{output}.{file_format or FORMATS[0]}"
    if file_format and suffix[1:] != file_format:
        raise ValueError(f"--format {file_format}: expected an output of that format, found '{output}'")
    return output


def with_names_of_folders(pattern: str) -> str:
    """The pattern, such that braces in the names of folders that exist stand for themselves."""
    folder = next((place for place in Path(pattern).parents if is_folder(place)), Path())
    if "{" not in str(folder):
        return pattern
    return str(Path(str(folder).replace("{", "{{}"), Path(pattern).relative_to(folder)))


def fill(pattern: str, source: str, name: str, stem: str) -> str:
    """The name of a stem's file: {folder} is the folder that the song is in.

    The song's name may have folders in it, but never leads out of the pattern's.
    """
    texts = {
        "stem": stem,
        "folder": safe_name(Path(source).absolute().parent.name),
        "name": "/".join(map(safe_name, Path(name).parts or ("",))),
        "{": "{",  # of a folder that exists
    }
    return re.sub(r"{(stem|folder|name|{)}", lambda place: texts[place[1]], pattern)  # at once: a name may have braces


# ---------------------------------------------------------------------------------------------- songs in folders


def find_songs(path: str, left_out: list[str]) -> list[tuple[str, str]]:
    """(file, name) of a song, or of all songs in a folder and below it.

    Stems from an earlier run, and folders that cannot be read, are left out and added to `left_out`.
    """
    if path == PIPE or not is_folder(path):
        return [(path, "stdin" if path == PIPE else Path(path).stem)]
    files = sorted(file for file in files_below(Path(path), left_out) if file.suffix.lower() in SUFFIXES)
    pipes = {file for file in files if mode(file) and not is_file(file)}  # or devices: to open one may take forever
    left_out += [f"{file}: expected a sound file, found a named pipe or a device" for file in sorted(pipes)]
    files = [file for file in files if file not in pipes]
    stems = {file for file in files if written_here(file)}
    if stems:
        left_out.append(f"{path}: {len(stems)} {'stem' if len(stems) == 1 else 'stems'} of an earlier run")
    songs = [(str(file), str(file.relative_to(path).with_suffix(""))) for file in files if file not in stems]
    if not songs:
        what = "only stems of an earlier run" if stems else "none"
        raise UserError(f"{path}: expected a folder with sound files, found {what} in it")
    return songs


def files_below(root: Path, left_out: list[str]) -> Iterator[Path]:
    """All files in a folder and below it, but for hidden ones. Links are followed, each folder is entered once."""
    entered: set[str] = set()
    folders, links = [root], list[Path]()  # links come last: a folder is better named by its own path
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        if (real := os.path.realpath(folder)) in entered:
            continue
        entered.add(real)
        try:
            paths = sorted(folder.iterdir())
        except OSError as error:
            left_out.append(f"{folder}: {error.strerror}")
            continue
        for path in paths:
            if path.name.startswith("."):
                continue
            if is_folder(path):
                (links if path.is_symlink() else folders).append(path)
            else:
                yield path


# ---------------------------------------------------------------------------------------------- what is not replaced


def refusals(jobs: Iterable[Job], options: argparse.Namespace, two_files: bool) -> dict[str, str]:
    """Song -> why it is not separated: a stem would replace a song, another song's stem, or a file of the user's.

    two_files: whether the command line names an input and its output and no more.
    """
    targets = [(job, target, identity(target)) for job in jobs for target in job.targets.values() if target != PIPE]
    songs = {identity(job.source) for job in jobs if job.source != PIPE}
    wanted: dict[tuple | str, list[str]] = {}  # file -> songs whose stem it would be
    for job, _, file in targets:
        wanted.setdefault(file, []).append(job.source)
    refused: dict[str, str] = {}
    for job, target, file in targets:
        allowed = options.overwrite or (options.skip_existing and is_done(job))  # then it stays as it is
        if file in songs:
            reason = "expected an output other than the input, found the same file"
        elif len(wanted[file]) > 1:
            first, second, *_ = wanted[file]
            reason = f"expected one song per file, found '{first}' and '{second}'"
        elif allowed or not (is_file(target) and is_there(job.source)):
            continue
        elif not written_here(target):
            reason = f"exists, and no earlier run wrote it: {WAYS_OUT}"
        elif two_files and is_file(job.source) and written_here(job.source):
            reason = f"exists, and is a stem of an earlier run, as is the input: {WAYS_OUT}"
        else:
            continue
        refused.setdefault(job.source, f"{target}: {reason}")
    return refused


def is_done(job: Job) -> bool:
    """Whether all stems of a song exist. They get their names only when they are whole."""
    return all(target != PIPE and is_file(target) for target in job.targets.values())


def identity(path: str) -> tuple[int, int] | str:
    """The same for all names of a file: links, and names that differ in case where that makes no difference."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        real = Path(os.path.realpath(path))
        return plain(str(real)) if ignores_case(real.parent) else str(real)
    return status.st_dev, status.st_ino


def ignores_case(folder: Path) -> bool:
    """Whether names that differ only in case, and in how Unicode composes a letter, mean one file in a folder."""
    for place in (folder, *folder.parents):  # of which the first may not exist yet
        other = place.with_name(place.name.swapcase()) if place.name else place
        if other != place and mode(place):
            return mode(other) != 0 and other.samefile(place)
    return False


def is_there(source: str) -> bool:
    return source == PIPE or isinstance(identity(source), tuple)


def is_file(path: str | Path) -> bool:
    return stat.S_ISREG(mode(path))


def is_folder(path: str | Path) -> bool:
    return stat.S_ISDIR(mode(path))
