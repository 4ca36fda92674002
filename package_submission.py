"""Pack the homework to hand it in: code, trained networks, loss curves, evaluation and report, without data.

    python package_submission.py Zhiyao Duan --report my_report.pdf
    python package_submission.py "Juana Inés" "de la Cruz" --report report.pdf
    python package_submission.py Conan "O'Brien" --report report.pdf --everything

Writes Zhiyao_Duan_HW5.zip into the current folder. The networks are those that the separation scripts use, with the
loss curves beside them; evaluation/ is the one in the current folder, if there is one, with a warning if it is not of
all these networks. The zip is then unpacked into a temporary folder, where both separation scripts must separate a
sound; if they fail, no zip is left.
"""

import json
import os
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
from Model_RNN import BidirectionalNetwork, RecurrentNetwork
from process.checksums import checksum
from process.commandline import parser_from
from process.errors import UserError, command, printable, whole_file
from separation.separate import PRETRAINED, find_checkpoint
from sound.files import sound_info
from sound.names import SUFFIXES
from util import load_network, wavwrite

ROOT = Path(__file__).parent
ROOMS = ("process", "sound", "songs", "networks", "training", "separation", "scoring", "pictures")
CODE = ("*.py", "demo.sh", "*.txt", "*.toml", "README.md", "LICENSE", "docs/*", *(f"{room}/*" for room in ROOMS))
EVERYTHING = ("*.sh", "tests/**/*.py", "benchmarks/**/*", "recipe/*", "pretrained/*.md", "results/**/*", "report/**/*")
REPORT = "report/report.pdf"  # the project's, about its pretrained networks
CURVES = ("loss.csv", "batches.csv", "loss.png", "spectrograms.png")  # what training writes beside a network
EVALUATION = (".md", ".csv", ".json", ".png")  # kinds of files that evaluate.py writes
SCRIPTS = ("separate_feedforward.py", "separate_RNN.py")


def in_file_name(name: str) -> str:
    """A person's name in a file's: "Mary Ann" is Mary_Ann, "O'Brien" OBrien; '' if it has anything but letters."""
    plain = re.sub(r"['\u2018\u2019`\u00b4.]", "", unicodedata.normalize("NFC", name))  # without apostrophes
    words = plain.replace("\u2010", "-").split()
    letters = "".join(words).replace("-", "")  # with accents and vowel signs
    return "_".join(words) if letters and all(unicodedata.category(letter)[0] in "LM" for letter in letters) else ""


def collect(root: Path, everything: bool) -> dict[str, Path]:
    """The code: name in the zip -> file. Raises UserError if a script is missing."""
    patterns = (*CODE, *(EVERYTHING if everything else ()))
    files = {path.relative_to(root).as_posix(): path for pattern in patterns for path in sorted(root.glob(pattern))}
    files = {
        name: path
        for name, path in files.items()
        if path.is_file()
        and path.suffix.lower() not in (*SUFFIXES, ".pt", ".zip")
        and not any(part.startswith(".") or part == "__pycache__" for part in Path(name).parts)
    }
    for script in SCRIPTS:
        if script not in files:
            raise UserError(f"{root / script}: no such file")
    return files


def collect_networks() -> tuple[dict[str, Path], dict[str, Path]]:
    """The networks that the separation scripts use, those trained here and those that came with the project, each with
    what training wrote beside it, as files to pack."""
    own: dict[str, Path] = {}
    pretrained: dict[str, Path] = {}
    for kinds in ((FeedforwardNetwork,), (RecurrentNetwork,), (BidirectionalNetwork, RecurrentNetwork)):
        path = find_checkpoint(*(kind.name for kind in kinds))
        load_network(path, *kinds)  # refuse a damaged one before packing it
        original = PRETRAINED / path.name
        if original.is_file() and path.read_bytes() == original.read_bytes():
            pretrained[f"pretrained/{path.name}"] = path
        else:
            beside = [path.with_name(path.name.removesuffix("best.pt") + ending) for ending in CURVES]
            own |= {file.name: file for file in (path, *beside) if file.is_file()}
    return own, pretrained


def find_report(root: Path, given: Path | None, own: dict[str, Path]) -> dict[str, Path]:
    """The report to pack. Raises UserError if it is missing, no PDF file, or about other networks."""
    path = given or root / REPORT
    networks = [str(file) for name, file in own.items() if name.endswith(".pt")]
    if not given and networks:
        about = f"{REPORT} is about those in {PRETRAINED.name}/"
        raise UserError(f"{' and '.join(networks)}: expected your report about them (--report FILE.pdf); {about}")
    if not path.is_file():
        raise UserError(f"{path}: expected the report as a PDF file, found none")
    with path.open("rb") as file:
        if not file.read(5) == b"%PDF-":
            raise UserError(f"{path}: expected a PDF file, found another kind of file")
    return {"report.pdf" if given else REPORT: path}


def find_evaluation(folder: Path, networks: dict[str, Path]) -> dict[str, Path]:
    """What evaluate.py has written. Warns if it has not judged all of these networks, as they are now."""
    files = {f"evaluation/{path.name}": path for path in sorted(folder.glob("*.*")) if path.suffix in EVALUATION}
    try:
        judged = set(json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["checkpoints"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        judged = set()  # none, or that of an earlier version
    others = [name for name, path in networks.items() if path.suffix == ".pt" and checksum(path) not in judged]
    if files and others:
        print(
            f"warning: {folder}: expected the scores of the networks to hand in, found none of {', '.join(others)}: "
            "python evaluate.py DATASET writes them, with --bidirectional those of a bidirectional network, too",
            file=sys.stderr,
        )
    return files


def environment() -> dict[str, str]:
    """This process's, but nothing is imported from the folder that was packed, which editors put into PYTHONPATH."""
    places = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    elsewhere = [place for place in places if Path(place).resolve() != ROOT.resolve()]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(elsewhere)}


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
            run = subprocess.run(
                arguments, cwd=unpacked, env=environment(), capture_output=True, text=True, errors="replace"
            )
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
    report = f"your report (default: {REPORT}, for the pretrained networks only)"
    parser.add_argument("--report", type=Path, metavar="FILE.pdf", help=report)
    everything = "pack tests, benchmarks, recipe, results and the project's report with its sources, too"
    parser.add_argument("--everything", action="store_true", help=everything)
    options = parser.parse_args(argv)
    names = [in_file_name(name) for name in (options.firstname, options.lastname)]
    if not all(names):
        parser.error(f"expected names of letters, found '{options.firstname}' '{options.lastname}'")
    folder = "_".join([*names, "HW5"])

    own, pretrained = collect_networks()
    parts = {
        "networks": own | pretrained,
        "report": find_report(ROOT, options.report, own),
        "evaluation": find_evaluation(Path("evaluation"), own | pretrained),
    }
    files = collect(ROOT, options.everything)
    for part in parts.values():
        files |= part
    archive = Path(f"{folder}.zip")
    with whole_file(archive) as temporary:
        # Files need not have a time that zip files know: copies made by some programs are of 1970.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as packed:
            for name, path in files.items():
                packed.write(path, f"{folder}/{printable(name)}")  # names in zip files are valid text
        check_runs(temporary, folder)
    for what, part in parts.items():
        print(f"{what}: {', '.join(part) or 'none: python evaluate.py DATASET writes it'}")
    print(f"{archive}: {len(files)} files, {archive.stat().st_size / 1e6:.1f} MB; both scripts work from it")


if __name__ == "__main__":
    sys.exit(main())
