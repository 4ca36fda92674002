"""Run the tests with other versions of Python and of the packages: how many pass?

    python benchmarks/faults/machines.py old/bin/python new/bin/python --output results/faults/machines.json
    python benchmarks/faults/machines.py new/bin/python --only loss

Each interpreter, such as that of an environment with the lowest versions in requirements.txt, runs all tests. The exit
status is 1 if one fails.
"""

import collections
import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from benchmarks.faults.forked import write_report  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command  # noqa: E402

VERSIONS = """
import importlib.metadata, json, platform, sys
versions = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"Python": platform.python_version(), **versions}))
"""


def run_tests(python: str, options: list[str]) -> dict:
    """The versions of an interpreter and its packages, and the outcomes of its tests by file."""
    packages = re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    asked = subprocess.run([python, "-c", VERSIONS, *packages], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tests.xml"
        line = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", str(file), *options]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
        if not file.exists():
            raise UserError(f"{python}: {done.stdout}{done.stderr}")
        cases = list(xml.parse(file).getroot().iter("testcase"))
    files: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    failed, reasons = [], collections.Counter[str | None]()
    for case in cases:
        kinds = {part.tag for part in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        files[case.get("classname", "").rpartition(".")[2]][kind] += 1
        if kind == "failed":
            failed.append(f"{case.get('classname')}::{case.get('name')}")
        reasons.update(part.get("message") for part in case.iter("skipped"))
    total: collections.Counter[str] = sum(files.values(), collections.Counter())
    return {
        "versions": json.loads(asked.stdout),
        **{kind: total[kind] for kind in ("passed", "failed", "skipped")},
        "what failed": failed,
        "why skipped": dict(reasons),
        "by file": {name: dict(counts) for name, counts in sorted(files.items())},
    }


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument(
        "python", nargs="+", metavar="PYTHON", help="interpreters of environments with pytest and the requirements"
    )
    parser.add_argument("--only", metavar="NAMES", help="run only the tests that match, as with pytest -k")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the counts into this JSON file")
    options = parser.parse_args(argv)
    runs = []
    for python in options.python:
        runs.append(run_tests(python, ["-k", options.only] if options.only else []))
        text = write_report("the tests on other machines", {"runs": runs}, options.output, argv)
    print(text)
    failed = sum(run["failed"] for run in runs)
    if failed:
        raise UserError(f"{failed} tests failed, see above")


if __name__ == "__main__":
    sys.exit(main())
