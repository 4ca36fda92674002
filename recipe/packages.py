"""What the scripts of this folder share: fetching packages, finding their sounds, setting their level."""

import contextlib
import dataclasses
import importlib
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from process.commandline import parser_from
from process.errors import UserError, make_folder, printable
from sound.names import SOUND_SUFFIXES
from util import wavwrite

LEVEL = 0.1  # root mean square relative to full scale: -20 dB
PEAK = 0.95  # of full scale at most


@dataclasses.dataclass(frozen=True)
class Source:
    """A Debian package with sounds.

    licence: of the sounds, from debian/copyright or a text beside them; what: the sounds or the game are; pattern: of
    the paths of the sounds to use, below the package's root; archive: the zip file that contains them, if any.
    """

    package: str
    licence: str
    what: str
    pattern: str
    archive: str | None = None


def run(*command: str | Path, folder: Path) -> None:
    """Run a program in a folder. Raises UserError, with its last line of output, if it fails or does not exist."""
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: no such program; it is needed to fetch packages") from error
    if ran.returncode:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
        raise UserError(f"{' '.join(map(str, command))}: {printable(said[-1]) if said else 'failed'}")


def fetch(source: Source, folder: Path) -> Path:
    """Download a package and unpack it, and its archive, into an empty folder. Returns the root of the sounds."""
    run("apt-get", "download", source.package, folder=folder)
    root = folder / "unpacked"
    for package in folder.glob("*.deb"):
        run("dpkg", "-x", package, root, folder=folder)
        package.unlink()
    if not source.archive:
        return root
    path = next(root.rglob(source.archive), None)
    if path is None:
        raise UserError(f"{source.package}: expected {source.archive} in the package, found none")
    inside = folder / "archive"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(inside, [name for name in archive.namelist() if re.search(source.pattern, name)])
    return inside


def find(source: Source, root: Path) -> list[tuple[Path, re.Match]]:
    """The sound files to use, sorted, with the pattern's match. Raises UserError if there are none."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
    matches = [(path, re.search(source.pattern, path.relative_to(root).as_posix())) for path in paths]
    found = [(path, match) for path, match in matches if match and not path.is_symlink()]
    if not found:
        raise UserError(f"{source.package}: expected sound files like '{source.pattern}' in the package, found none")
    return found


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (folder, scratch), two empty folders beside `path`. If the block succeeds, `folder` is renamed to it."""
    parent = make_folder(path.parent).resolve()  # programs run in other folders
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=parent) as temporary:
        made, scratch = Path(temporary) / "made", Path(temporary) / "scratch"
        made.mkdir()
        scratch.mkdir()
        yield made, scratch
        made.rename(path)


def library(name: str):
    """Import a library that only this folder needs. Raises UserError if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name}: {error}; pip install -r recipe/requirements.txt") from error


def fetch_all(
    argv: list[str] | None,
    documentation: str,
    sources: Sequence[Source],
    make: Callable[[list[tuple[Path, re.Match]], Path], str],
) -> None:
    """The main of a fetch script with this docstring: make a folder of the sounds of each package.

    make: takes what `find` returns and the folder to write into, and returns what it wrote, in words.
    """
    names = [source.package for source in sources]
    parser = parser_from(documentation)
    parser.add_argument("output", type=Path, metavar="FOLDER", help="folder to write, with a folder for each package")
    text = f"packages to fetch (default: all): {', '.join(names)}"
    parser.add_argument("--only", nargs="+", action="extend", choices=names, metavar="PACKAGE", help=text)
    options = parser.parse_args(argv)
    for source in sources:
        target = options.output / source.package
        if options.only and source.package not in options.only:
            continue
        if target.exists():
            print(f"{target}: exists already", flush=True)
            continue
        with new_folder(target) as (folder, scratch):
            made = make(find(source, fetch(source, scratch)), folder)
        print(f"{target}: {made} ({source.licence})", flush=True)


def at_level(waveform: np.ndarray) -> np.ndarray:
    """Waveform (samples,) at -20 dB, or lower if its peak would come near full scale. Silence stays silent."""
    loudness, peak = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))), np.abs(waveform).max()
    return waveform * np.float32(min(LEVEL / loudness, PEAK / peak)) if peak > 0 else waveform


def write_flac(path: Path, waveform: np.ndarray, rate: int) -> None:
    """Write waveform (samples,) as FLAC with 16 bits, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavwrite(path, waveform, rate, "PCM_16")
