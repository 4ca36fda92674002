r"""Train a network, evaluate it, and add a row to the table that shows what each setting is worth.

    python report/measures/ablation.py "no equaliser" --judge "MIR-1K --hold-out abjones --split Valid" \
      --judge SONGS -- train_feedforward.py MIR-1K --include-test --hold-out bug ariel --equalizer 0 --output no_eq
    python report/measures/ablation.py "without remix" --judge SONGS -- train_RNN.py SONGS --remix 0 --output no_remix

After `--` comes any training command with --output. evaluate.py scores its best checkpoint with the arguments of each
--judge. A column of the table is the score on a dataset: GNSDR v2.1 for MIR-1K, else the mean SDR v3.
"""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command, make_folder, whole_file  # noqa: E402
from training.files import Run  # noqa: E402
from util import load_checkpoint  # noqa: E402


def run(script: str, *arguments: str) -> None:
    """Run a script, which tells why it fails. Raises UserError if it does."""
    status = subprocess.run([sys.executable, str(ROOT / script), *arguments], stdout=sys.stderr).returncode
    if status:
        raise UserError(f"{shlex.join([script, *arguments])}: expected it to succeed, found exit status {status}")


def score(arguments: list[str], checkpoint: Path) -> tuple[str, float]:
    """Evaluate a checkpoint with evaluate.py. Returns the name of the score and its value in dB."""
    output = checkpoint.parent / f"evaluation_{Path(arguments[0]).name}"
    run("evaluate.py", *arguments, "--checkpoint", f"network={checkpoint}", "--output", str(output))
    report = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    data = Path(arguments[0]).name
    if "MIR-1K" in report:
        return f"{data}: GNSDR v2.1", report["MIR-1K"]["network"]["GNSDR v2.1"]
    return f"{data}: mean SDR v3", report["scores"]["vocals"]["network"]["SDR v3 sources"]["mean"]


def add_row(path: Path, row: dict) -> None:
    """Add a row to a CSV file. A new column is empty in earlier rows."""
    rows = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    rows.append(row)
    make_folder(path.parent)
    columns = list(dict.fromkeys(column for own in rows for column in own))
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("name", help="name of the row: the setting that is tried")
    judge = "evaluate with these arguments of evaluate.py; may be given several times"
    parser.add_argument("--judge", action="append", required=True, metavar="ARGUMENTS", help=judge)
    table = "add the row to this CSV file (default: %(default)s)"
    parser.add_argument("--table", type=Path, default=Path("results/ablation.csv"), metavar="FILE", help=table)
    parser.add_argument("command", nargs="+", help="training script and its arguments, after --")
    options = parser.parse_args(argv)
    script, *arguments = options.command
    if "--output" not in arguments[:-1]:
        parser.error("expected --output FOLDER among the training script's arguments")
    folder = Path(arguments[arguments.index("--output") + 1])

    run(script, *arguments)
    trained = Run(
        folder, Path(script).stem.removeprefix("train_") + "_bidirectional" * ("--bidirectional" in arguments)
    )
    best, last = trained.best, load_checkpoint(trained.last)
    history = last["history"]
    row = {
        "data": last["trained_on"].split(",")[0],
        "name": options.name,
        "network": last["name"],
        "command": shlex.join(options.command),
        "seed": last["options"]["seed"],
        "epochs": len(history),
        "minutes": round(sum(epoch["seconds"] for epoch in history) / 60, 1),
        "validation loss": round(last["best_valid_loss"], 5),
    }
    for text in options.judge:
        figure, value = score(shlex.split(text), best)
        row[figure] = round(value, 2)
    add_row(options.table, row)
    print(", ".join(f"{name}: {value}" for name, value in row.items() if name != "command"))


if __name__ == "__main__":
    sys.exit(main())
