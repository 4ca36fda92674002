"""Average the weights of networks that were trained from the same start, into one checkpoint.

    python recipe/average.py one.pt other.pt --output mean.pt
    python recipe/average.py run1/savedModel_RNN_best.pt run2/savedModel_RNN_best.pt --output savedModel_RNN_best.pt

On sounds unlike those of training, the mean is often better than any of them (Wortsman et al. 2022, "model soups"). It
keeps the first checkpoint's record of its training, and adds what the others were last trained on.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import torch  # noqa: E402

from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command  # noqa: E402
from scoring.systems import load_any_network  # noqa: E402
from training.files import FACTS  # noqa: E402
from util import save_checkpoint  # noqa: E402


def average(paths: list[Path], output: Path) -> None:
    """Write the mean of these checkpoints' weights. Raises UserError if their networks differ."""
    (network, audio, facts), *others = map(load_any_network, paths)
    for path, (other, other_audio, _) in zip(paths[1:], others, strict=True):
        if (other.name, other.config, other_audio) != (network.name, network.config, audio):
            raise UserError(f"{path}: expected the same network as {paths[0]}, found another kind, size or sample rate")
    with torch.no_grad():
        for parameters in zip(network.parameters(), *(other.parameters() for other, _, _ in others), strict=True):
            parameters[0].copy_(torch.stack(parameters).mean(0))
    kept = {name: facts[name] for name in FACTS if name in facts}
    for what in dict.fromkeys(other["trained_on"].split(";")[0] for _, _, other in others):  # each once
        kept["trained_on"] += "; mean with others of " + what
    save_checkpoint(output, network, audio, **kept)


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT", help="networks to average")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="checkpoint to write (required)")
    options = parser.parse_args(argv)
    average(options.checkpoints, options.output)


if __name__ == "__main__":
    sys.exit(main())
