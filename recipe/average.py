"""Average networks that were trained from the same start: the mean of their weights, as one checkpoint.

    python recipe/average.py one.pt other.pt --output mean.pt

The mean often does better on sounds unlike those of training than any of them (Wortsman et al. 2022, "model soups").
It keeps what the first checkpoint tells of its training, and adds what the others' last runs were trained on.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from process.errors import UserError, command  # noqa: E402
from scoring.systems import load_any_network  # noqa: E402
from training.loop import FACTS  # noqa: E402
from util import save_checkpoint  # noqa: E402


def average(paths: list[Path], output: Path) -> None:
    """Write the mean of these checkpoints' weights. Raises UserError where they are of different networks."""
    (network, audio, facts), *others = map(load_any_network, paths)
    for path, (other, other_audio, _) in zip(paths[1:], others, strict=True):
        if (other.name, other.config, other_audio) != (network.name, network.config, audio):
            raise UserError(f"{path}: expected the same network as {paths[0]}, found another kind, sizes or rates")
    with torch.no_grad():
        for parameters in zip(network.parameters(), *(other.parameters() for other, _, _ in others), strict=True):
            parameters[0].copy_(torch.stack(parameters).mean(0))
    kept = {name: facts[name] for name in FACTS if name in facts}
    for what in dict.fromkeys(other["trained_on"].split(";")[0] for _, _, other in others):  # each once
        kept["trained_on"] += "; mean with others of " + what
    save_checkpoint(output, network, audio, **kept)


@command
def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    average(options.checkpoints, options.output)


if __name__ == "__main__":
    sys.exit(main())
