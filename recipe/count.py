"""Count what folders of sound hold: speakers or pieces, and minutes of each package, from the headers alone.

    python recipe/count.py speech sung music --output results/recipe.json

A folder is laid out as the other scripts write it: <folder>/<package>/<speaker>/*.flac, or <folder>/<package>/*.flac.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from process.errors import UserError, command, whole_file  # noqa: E402
from sound.files import sound_info  # noqa: E402


def count(folder: Path) -> dict:
    """For each package, speakers (or pieces, where the files lie in its folder) and minutes; and their sums."""
    packages = {}
    for package in sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith(".")):
        files = sorted(package.rglob("*.flac"))
        infos = [sound_info(path) for path in files]
        packages[package.name] = {
            "number": len({path if path.parent == package else path.parent for path in files}),
            "minutes": round(sum(info.samples / info.rate for info in infos) / 60, 2),
        }
    if not packages:
        raise UserError(f"{folder}: expected <package>/*.flac or <package>/<speaker>/*.flac, found none")
    sums = {key: round(sum(each[key] for each in packages.values()), 2) for key in ("number", "minutes")}
    return {"packages": packages, "all": sums}


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count what folders of sound hold.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--output", type=Path, default=Path("recipe.json"), metavar="FILE", help="(%(default)s)")
    options = parser.parse_args(argv)
    counts = {folder.name: count(folder) for folder in options.folders}
    for name, found in counts.items():
        print(f"{name}: {found['all']['number']}, {found['all']['minutes']:.0f} minutes")
    with whole_file(options.output) as temporary:
        temporary.write_text(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
