"""Count the speakers or pieces, and the minutes, of each package in folders of sound.

    python recipe/count.py speech
    python recipe/count.py speech sung music --output results/recipe.json

The other scripts wrote the folders: <folder>/<package>/<speaker>/*.flac or <folder>/<package>/*.flac. Only headers are
read.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command, whole_file  # noqa: E402
from sound.files import sound_info  # noqa: E402


def count(folder: Path) -> dict:
    """Speakers (or pieces, if the files lie in its own folder) and minutes of each package, and their sums."""
    packages = {}
    for package in sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")):
        files = sorted(package.rglob("*.flac"))
        packages[package.name] = {
            "number": len({path if path.parent == package else path.parent for path in files}),
            "minutes": round(sum(sound_info(path).seconds for path in files) / 60, 2),
        }
    if not packages:
        raise UserError(f"{folder}: expected <package>/*.flac or <package>/<speaker>/*.flac, found none")
    sums = {key: round(sum(each[key] for each in packages.values()), 2) for key in ("number", "minutes")}
    return {"packages": packages, "all": sums}


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folder of packages of sound")
    text = "JSON file to write (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("recipe.json"), metavar="FILE", help=text)
    options = parser.parse_args(argv)
    counts = {folder.name: count(folder) for folder in options.folders}
    for name, found in counts.items():
        print(f"{name}: {found['all']['number']}, {found['all']['minutes']:.0f} minutes")
    with whole_file(options.output) as temporary:
        temporary.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
