"""Choose the power of a network's mask on songs that it was not trained on, and keep it in the checkpoint.

    python recipe/choose_power.py savedModel_RNN_best.pt MUSDB18
    python recipe/choose_power.py savedModel_RNN_best.pt MUSDB18 --or savedModel_RNN_last.pt

The songs are those to validate on. The power is the lowest with which the mean SDR of the voice (BSS_EVAL v3) is within
0.02 dB of the highest: this SDR hardly tells what a higher one takes from the voice, which the accompaniment then has.
Separation raises the network's mask to it. With another checkpoint of the run, its weights are taken if they do better:
the loss is lowest in one epoch, the SDR highest perhaps in another.
"""

import dataclasses
import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import process.start  # noqa: E402, F401  (first, while nothing has been imported)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from process.commandline import parser_from  # noqa: E402
from process.errors import UserError, command  # noqa: E402
from scoring.bss_eval import voice_sdr  # noqa: E402
from separation.separate import KINDS, separate  # noqa: E402
from songs.dataset import add_dataset_arguments, find_songs  # noqa: E402
from songs.song import Song  # noqa: E402
from training.files import FACTS  # noqa: E402
from util import AudioConfig, load_network, save_checkpoint  # noqa: E402

POWERS = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
NEAR = 0.02  # dB


def mean_sdr(network: torch.nn.Module, audio: AudioConfig, songs: list[Song]) -> float:
    scores = []
    for song in songs:
        mixture, vocals = song.read()
        [voice] = separate(network, mixture[None], song.rate, audio)
        scores.append(voice_sdr(mixture, vocals, voice))
    return math.nan if np.isnan(scores).all() else float(np.nanmean(scores))


@command
def main(argv: list[str] | None = None) -> None:
    parser = parser_from(__doc__ or "")
    parser.add_argument("checkpoint", type=Path, help="checkpoint to write the power into")
    add_dataset_arguments(parser)
    other = "take the weights of this checkpoint of the run if they do better"
    parser.add_argument("--or", dest="other", type=Path, metavar="CHECKPOINT", help=other)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)  # more wait for each other, with frames this small
    songs = find_songs(options.dataset, options.hold_out, options.include_test)["Valid"]
    if not songs:
        raise UserError(f"{options.dataset}: expected songs for validation, found none in Valid")
    paths = dict.fromkeys(filter(None, (options.checkpoint, options.other)))
    networks = {path: load_network(path, *KINDS) for path in paths}
    best = -math.inf
    for path, (network, audio, checkpoint) in networks.items():
        scores = []
        for power in POWERS:
            network.config = dataclasses.replace(network.config, power=power)
            scores.append(mean_sdr(network, audio, songs))
            print(f"{path.name}, power {power}: {scores[-1]:.3f} dB", flush=True)
        if max(scores) > best:
            best, chosen = max(scores), (network, audio, checkpoint)
            lowest = next(power for power, score in zip(POWERS, scores, strict=True) if score >= best - NEAR)
    if best == -math.inf:
        raise UserError(f"{options.dataset}: expected voices in Valid, found silence, there or in all estimates")
    network, audio, checkpoint = chosen
    network.config = dataclasses.replace(network.config, power=lowest)
    print(f"power {lowest}, weights of epoch {checkpoint.get('epoch', '?')}: {options.checkpoint}")
    facts = {name: checkpoint[name] for name in (*FACTS, "in_tune") if name in checkpoint}
    save_checkpoint(options.checkpoint, network, audio, **facts)


if __name__ == "__main__":
    sys.exit(main())
