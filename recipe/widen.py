"""Make of a network for 16 kHz one for 32 kHz, to go on training from: up to 8 kHz it begins with what it knows.

    python recipe/widen.py narrow/savedModel_feedforward_best.pt start/feedforward.pt
    python recipe/widen.py narrow/savedModel_RNN_best.pt start/RNN.pt

The window doubles with the rate, so a bin is as wide as before. The encoder must be "bands" with 24 of them: they keep
their places, but for some bins at their edges. What lies above 8 kHz begins at random, and is not heard below at first.
"""

import dataclasses
import itertools
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import torch  # noqa: E402

from networks.bands import BandJoin, BandSplit, band_edges  # noqa: E402
from networks.compression import Compression  # noqa: E402
from process.commandline import parser_from  # noqa: E402
from process.devices import set_seed  # noqa: E402
from process.errors import UserError, command  # noqa: E402
from scoring.systems import load_any_network  # noqa: E402
from util import AudioConfig, save_checkpoint  # noqa: E402

OLD_BANDS, BANDS = 24, 30  # of 8 and of 16 kHz: the edges of the first 24 differ by 2 % at most
TOP = 20  # bins below 8 kHz whose statistics those above begin with


def widen(first: Any) -> Any:
    """A network for twice the sample rate with the weights of `first`."""
    old = first.config
    bins = 2 * (old.bins - 1) + 1
    corner = old.corner * old.bins / bins  # at the same frequency
    new = dataclasses.replace(old, bins=bins, bands=BANDS, corner=corner, adapts=False)
    network = type(first)(new)
    weights = network.state_dict()
    with torch.no_grad():
        for name, value in first.state_dict().items():
            own = weights[name]
            if own.shape == value.shape:
                own.copy_(value)
            elif ".across." in name:  # layers over all bands: (units,) or (units, units)
                if own.ndim == 2 and own.shape[1] > value.shape[1]:
                    own.zero_()
                own[tuple(map(slice, value.shape))] = value
        copy_statistics(first.compression, network.compression)
        copy_split(first.encoder[0], network.encoder[0])
        old_edges, new_edges = (band_edges(each.bins, each.bands, each.corner) for each in (old, new))
        copy_join(first.decoder[0], network.decoder[0], old_edges, new_edges)
    return network


def copy_statistics(old: Compression, new: Compression) -> None:
    for before, after in ((old.mean, new.mean), (old.deviation, new.deviation)):
        after.fill_(before[-TOP:].mean())
        after[: len(before)] = before
    new.mean += (
        math.log(2) / 2
    )  # a frame's level is a mean over twice as many bins, the upper half of them nearly empty


def copy_split(old: BandSplit, new: BandSplit) -> None:
    """Each input weight stays with its bin."""
    bands: Any = zip(old.bands, new.bands, old.ranges, new.ranges, strict=False)
    for before, after, (first, last), (low, high) in bands:
        left, right = max(first, low), min(last, high)  # bins of both
        after.weight.zero_()[:, left - low : right - low] = before.weight[:, left - first : right - first]
        after.bias.copy_(before.bias)


def copy_join(old: BandJoin, new: BandJoin, old_edges: list[int], new_edges: list[int]) -> None:
    """Each output weight stays with its bin; a bin that was another band's begins like its neighbour in this one."""
    edges = itertools.pairwise(old_edges), itertools.pairwise(new_edges)
    bands: Any = zip(old.bands, new.bands, *edges, strict=False)
    for before, after, (first, last), (low, high) in bands:
        source = torch.arange(low, high).clamp(first, last - 1) - first
        after[-1].weight.copy_(before[-1].weight[source])
        after[-1].bias.copy_(before[-1].bias[source])


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    parser.add_argument("old", type=Path, metavar="OLD.pt", help="checkpoint of the network for 16 kHz")
    parser.add_argument("new", type=Path, metavar="NEW.pt", help="checkpoint to write")
    options = parser.parse_args(argv)
    set_seed(0)
    first: Any
    first, audio, checkpoint = load_any_network(options.old)
    found = first.config.encoder, first.config.bands
    if found != ("bands", OLD_BANDS):
        raise UserError(f"{options.old}: expected the encoder bands with {OLD_BANDS} of them, found {found}")
    wide = AudioConfig(2 * audio.sample_rate, 2 * audio.block, 2 * audio.hop, audio.window)
    facts = {"epoch": 0, "best_valid_loss": math.inf, "history": []}
    before = {name: checkpoint.get(name, "unknown") for name in ("trained_on", "command")}
    save_checkpoint(options.new, widen(first), wide, **facts, **before)


if __name__ == "__main__":
    sys.exit(main())
