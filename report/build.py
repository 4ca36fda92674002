"""Build report/report.pdf from the text in this folder and from results/, and nothing else.

    pip install typst pypdf           # or requirements-dev.txt
    python report/build.py            # writes report.pdf and sources.sha256
    python report/build.py --check    # checks that they are up to date; needs no typst

The report is typeset in a folder that holds only what INPUTS names, so a figure that is not in results/ stops the
build, and sources.sha256 cannot omit a file. Markup or a path that shows in the PDF stops it, too. Without network,
system fonts and the clock, the same sources and the same version of typst give the same bytes: the date in the title is
that of the newest commit whose code wrote a result.
"""

import datetime
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

from process.checksums import checksum  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command, whole_file  # noqa: E402

AUTHOR = "the project"
INPUTS = (
    "report/*.typ",
    "report/text/*.typ",
    "report/dates.json",
    "report/published.json",
    "report/references.bib",
    "results/*.json",
    "results/ablation.csv",
    "results/*/evaluation.json",
    "results/*/evaluation.csv",
    "results/*/training_*_loss.csv",
    "results/*/training_*_batches.csv",
    "results/tuning/musdb.json",
    "results/weighting/*/evaluation.json",
    "results/discussion/*/*.json",
    "results/discussion/*/*.png",
)
PDF, DIGESTS, DATES = "report/report.pdf", "report/sources.sha256", "report/dates.json"
EVALUATION = re.compile("results/([^/]+)/evaluation.json")
COMMIT = re.compile(r'"commit": "([0-9a-f]{7,40})')
MARKUP = re.compile(  # typst's code, references and spaces, printed as they were written; the path of a file
    r"#\S*|@[a-z]\S*|\S*~\S*|\w[\w/*-]*/[\w*-]+\.[a-z]+|\b(?:docs|report|results)/\S*"
)


def sources(root: Path) -> list[str]:
    """The files that the report is made from, as paths below `root`."""
    found = {path.relative_to(root).as_posix() for pattern in INPUTS for path in root.glob(pattern) if path.is_file()}
    return sorted(found)


def digests(root: Path) -> dict[str, str]:
    """Path -> SHA-256 of the report and of all its sources."""
    names = [*sources(root), *([PDF] if (root / PDF).is_file() else [])]
    return {name: checksum(root / name) for name in names}


def changes(root: Path) -> list[str]:
    """What has changed since the report was built: one line per file, none if it is up to date."""
    if not (root / DIGESTS).is_file():
        return [f"{DIGESTS}: missing"]
    lines = (root / DIGESTS).read_text().splitlines()
    recorded = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    now = digests(root)
    kinds = {(True, True): "changed", (True, False): "new", (False, True): "gone"}
    return [
        f"{name}: {kinds[name in now, name in recorded]}"
        for name in sorted({*now, *recorded, PDF})
        if now.get(name) != recorded.get(name) or name not in now
    ]


def dates(root: Path) -> dict[str, str]:
    """Commit -> date (ISO 8601) of every commit whose code wrote a result: as recorded in DATES, else from git.

    Raises UserError if git does not know a commit.
    """
    results = [(root / name).read_text("utf-8") for name in sources(root) if re.match(r"results/.*\.json", name)]
    recorded = json.loads((root / DATES).read_text()) if (root / DATES).is_file() else {}
    found = {}
    git = ["git", "-C", str(Path(__file__).parent), "show", "--no-patch", "--format=%cs"]
    for commit in sorted({commit for text in results for commit in COMMIT.findall(text)}):
        if commit in recorded:
            found[commit] = recorded[commit]
            continue
        try:
            found[commit] = subprocess.check_output([*git, commit], text=True, stderr=subprocess.PIPE).strip()
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"{DATES}: expected the date of commit {commit}, which git does not know") from error
    return found


def build(root: Path, author: str = AUTHOR) -> bytes:
    """Typeset the report. Raises UserError with the message and place of typst's error."""
    try:
        import pypdf  # here, as --check needs neither
        import typst
    except ImportError as error:
        message = f"{error.name}: expected to be installed (pip install -r requirements-dev.txt), not found"
        raise UserError(message) from error
    names = sources(root)
    date = datetime.date.fromisoformat(max(dates(root).values()))
    known = {
        "author": author,
        "date": f"{date.day} {date:%B %Y}",
        "evaluations": " ".join(found[1] for name in names if (found := EVALUATION.fullmatch(name))),
        "training": " ".join(name for name in names if "/training_" in name and name.endswith(".csv")),
    }  # typst cannot list files
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        try:
            main = str(Path(folder) / "report" / "report.typ")
            pdf = typst.compile(main, root=folder, ignore_system_fonts=True, sys_inputs=known)
        except typst.TypstError as error:
            place = re.search(r"report/\S+\.typ:\d+", str(error.diagnostic))
            message = error.message.replace(f"{folder}/", "")
            raise UserError(f"{place[0] if place else 'report'}: {message}") from error
    for number, page in enumerate(pypdf.PdfReader(io.BytesIO(pdf)).pages, start=1):
        if found := MARKUP.search(page.extract_text()):
            raise UserError(f"{PDF}, page {number}: expected text, found markup of its source: {found[0]}")
    return pdf


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("--author", default=AUTHOR, help="in the title (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="check that the report is up to date, build nothing")
    options = parser.parse_args(argv)
    if not options.check:
        pdf, known = build(ROOT, options.author), dates(ROOT)
        with whole_file(ROOT / DATES) as temporary:
            temporary.write_text(json.dumps(known, indent=1) + "\n")
        with whole_file(ROOT / PDF) as temporary:
            temporary.write_bytes(pdf)
        lines = [f"{digest}  {name}\n" for name, digest in digests(ROOT).items()]
        with whole_file(ROOT / DIGESTS) as temporary:
            temporary.write_text("".join(lines))
        print(f"{PDF}: {len(pdf) / 1e6:.2f} MB from {len(lines) - 1} files")
    elif found := changes(ROOT):
        raise UserError(f"report: expected an up-to-date report, found {', '.join(found)}; run python report/build.py")


if __name__ == "__main__":
    sys.exit(main())
