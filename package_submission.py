"""Pack the homework to hand it in: code, trained networks and report, without data.

    python package_submission.py Ada Lovelace
    python package_submission.py "Juana Inés" "de la Cruz"
    python package_submission.py Conan "O'Brien"

Writes ada_lovelace_HW5.zip into the current folder. The networks are those that the separation scripts use, packed into
pretrained/; the report is the PDF in report/. The zip is then unpacked into a temporary folder, where both separation
scripts must separate a sound; if they fail, no zip is left.
"""

import re
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import process.start  # noqa: F401  (first, while nothing has been imported)

import numpy as np

from Model import FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from process.commandline import parser_from
from process.errors import UserError, command, whole_file
from separation.separate import find_checkpoint
from sound.files import sound_info
from sound.names import SOUND_SUFFIXES
from util import load_network, wavwrite

ROOT = Path(__file__).parent
ROOMS = ("process", "sound", "songs", "networks", "training", "separation", "scoring", "pictures")
CODE = (
    "*.py",
    "*.sh",
    "*.txt",
    "*.toml",
    "README.md",
    "LICENSE",
    *(f"{room}/*" for room in ROOMS),
    "tests/**/*.py",
    "benchmarks/**/*",
    "recipe/*",
    "pretrained/*.md",
    "docs/*",
    "results/**/*",
    "report/**/*",
)
NETWORKS = (FeedforwardNetwork, RecurrentNetwork)
SCRIPTS = ("separate_feedforward.py", "separate_RNN.py")


def in_file_name(name: str) -> str:
    """A person's name in a file's: "Mary Ann" is mary_ann, "O'Brien" obrien; '' if it has anything but letters."""
    plain = re.sub(r"['\u2018\u2019`\u00b4.]", "", unicodedata.normalize("NFC", name).lower())  # without apostrophes
    words = plain.replace("\u2010", "-").split()
    letters = "".join(words).replace("-", "")  # with accents and vowel signs
    return "_".join(words) if letters and all(unicodedata.category(letter)[0] in "LM" for letter in letters) else ""


def collect(root: Path, networks: dict[str, Path]) -> dict[str, Path]:
    """The files of the zip: name in it -> file. Raises UserError if the report or a script is missing."""
    if not list(root.glob("report/*.pdf")):
        raise UserError(f"{root / 'report'}: expected the report as a PDF file in this folder, found none")
    files = {path.relative_to(root).as_posix(): path for pattern in CODE for path in sorted(root.glob(pattern))}
    files = {
        name: path
        for name, path in files.items()
        if path.is_file()
        and path.suffix.lower() not in (*SOUND_SUFFIXES, ".mp4", ".pt", ".zip")
        and not any(part.startswith(".") or part == "__pycache__" for part in Path(name).parts)
    }
    for script in SCRIPTS:
        if script not in files:
            raise UserError(f"{root / script}: no such file")
    return files | networks


def check_runs(archive: Path, folder: str) -> None:
    """Unpack the zip and separate a sound with both of its scripts. Raises UserError if that fails."""
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(temporary)
        unpacked = Path(temporary) / folder
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 44100))
        wavwrite(unpacked / "song.wav", noise, 44100)
        for script in SCRIPTS:
            arguments = [sys.executable, script, "song.wav", f"{script}.wav"]
            run = subprocess.run(arguments, cwd=unpacked, capture_output=True, text=True, errors="replace")
            if run.returncode:
                reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise UserError(f"{script}: expected it to run from the unpacked zip, found: {reason}")
            if sound_info(unpacked / f"{script}.wav").samples != noise.shape[1]:
                raise UserError(f"{script}: expected a voice as long as the song from the unpacked zip, found another")


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("firstname", metavar="FIRSTNAME", help="your first name: letters, spaces, - ' and .")
    parser.add_argument("lastname", metavar="LASTNAME", help="your last name, likewise")
    options = parser.parse_args(argv)
    names = [in_file_name(name) for name in (options.firstname, options.lastname)]
    if not all(names):
        parser.error(f"expected names of letters, found '{options.firstname}' '{options.lastname}'")
    folder = "_".join([*names, "HW5"])

    networks = {}
    for network_class in NETWORKS:
        path = find_checkpoint(network_class.name)
        load_network(path, network_class)  # refuse a damaged one before packing it
        networks[f"pretrained/savedModel_{network_class.name}_best.pt"] = path
    files = collect(ROOT, networks)
    archive = Path(f"{folder}.zip")
    with whole_file(archive) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, path in files.items():
                packed.write(path, f"{folder}/{name}")
        check_runs(temporary, folder)
    for name, path in networks.items():
        print(f"{name}: {path}")
    reports = ", ".join(name for name in files if name.startswith("report/") and name.endswith(".pdf"))
    print(f"report: {reports}")
    print(f"{archive}: {len(files)} files, {archive.stat().st_size / 1e6:.1f} MB; both scripts work from it")


if __name__ == "__main__":
    sys.exit(main())
