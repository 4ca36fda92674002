"""What the scripts of this folder share: packages fetched by name, the sounds in them, one level for all."""

import argparse
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

from process.errors import UserError, make_folder, printable
from sound.files import SOUND_SUFFIXES
from util import wavwrite

LEVEL = 0.1  # root mean square of full scale: -20 dB
PEAK = 0.95  # at most


@dataclasses.dataclass(frozen=True)
class Source:
    """A Debian package with sounds.

    licence: of the sounds, as debian/copyright or the text beside them names it; what: they are, or the game is about;
    pattern: found in the path, below the package's root, of those that are meant; archive: the zip file that they lie
    in, if they do.
    """

    package: str
    licence: str
    what: str
    pattern: str
    archive: str | None = None


def run(*command: str | Path, folder: Path) -> None:
    """Run a program in a folder. UserError, with the last line that it wrote, if there is none or it fails."""
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except FileNotFoundError as error:
        raise UserError(f"{command[0]}: no such program, and it is needed to fetch packages") from error
    if ran.returncode:
        said = [line for line in (ran.stderr or ran.stdout).splitlines() if line.strip()]
        raise UserError(f"{' '.join(map(str, command))}: {printable(said[-1]) if said else 'failed'}")


def fetch(source: Source, folder: Path) -> Path:
    """Download and unpack a package, and the archive in it, into an empty folder; returns the sounds' root."""
    run("apt-get", "download", source.package, folder=folder)
    root = folder / "unpacked"
    for package in folder.glob("*.deb"):
        run("dpkg", "-x", package, root, folder=folder)
        package.unlink()
    if not source.archive:
        return root
    path = next(root.rglob(source.archive), None)
    if path is None:
        raise UserError(f"{source.package}: expected {source.archive} in it, found none")
    inside = folder / "archive"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(inside, [name for name in archive.namelist() if re.search(source.pattern, name)])
    return inside


def find(source: Source, root: Path) -> list[tuple[Path, re.Match]]:
    """The package's sound files that are meant, sorted, and how the pattern matched; UserError if there are none."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES and path.is_file())
    matches = [(path, re.search(source.pattern, path.relative_to(root).as_posix())) for path in paths]
    found = [(path, match) for path, match in matches if match and not path.is_symlink()]
    if not found:
        raise UserError(f"{source.package}: expected sound files like '{source.pattern}' in it, found none")
    return found


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (folder, scratch): two empty folders beside `path`. If the block succeeds, the first takes its name."""
    parent = make_folder(path.parent).resolve()  # programs run elsewhere
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=parent) as temporary:
        made, scratch = Path(temporary) / "made", Path(temporary) / "scratch"
        made.mkdir()
        scratch.mkdir()
        yield made, scratch
        made.rename(path)


def library(name: str):
    """A library that only this folder needs, imported when it is used. UserError if it cannot be."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name}: {error}; pip install -r recipe/requirements.txt") from error


def fetch_all(
    argv: list[str] | None,
    description: str,
    sources: Sequence[Source],
    make: Callable[[list[tuple[Path, re.Match]], Path], str],
) -> None:
    """What a fetch script does: takes its command line, and makes a folder of each package's sounds.

    make: is given what `find` found and the folder to write into; returns what it has written, in words.
    """
    names = [source.package for source in sources]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("output", type=Path, metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PACKAGE", help="(all)")
    options = parser.parse_args(argv)
    for source in sources:
        target = options.output / source.package
        if source.package not in options.only:
            continue
        if target.exists():
            print(f"{target}: is there", flush=True)
            continue
        with new_folder(target) as (folder, scratch):
            made = make(find(source, fetch(source, scratch)), folder)
        print(f"{target}: {made} ({source.licence})", flush=True)


def at_level(waveform: np.ndarray) -> np.ndarray:
    """Waveform (samples,) at -20 dB, or softer where its peaks would come near full scale; silence as it is."""
    loudness, peak = np.sqrt(np.mean(np.square(waveform, dtype=np.float64))), np.abs(waveform).max()
    return waveform * np.float32(min(LEVEL / loudness, PEAK / peak)) if peak > 0 else waveform


def write_flac(path: Path, waveform: np.ndarray, rate: int) -> None:
    """Write waveform (samples,) as FLAC of 16 bits; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavwrite(path, waveform, rate, "PCM_16")
