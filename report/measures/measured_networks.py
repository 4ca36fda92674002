"""The networks that the report's discussion is about: their masks, and facts about them for its drawings."""

import argparse
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch

from Model import FeedforwardConfig, FeedforwardNetwork
from Model_RNN import RecurrentNetwork
from networks.bands import BandJoin, BandSplit, band_edges
from networks.conv import ConvJoin, ConvSplit
from networks.mixing import Mixer
from process.checksums import checksum
from process.errors import UserError
from report.measures.leakage import Mask, mask_of
from separation.separate import find_checkpoint, place_of
from util import AudioConfig, load_network

NETWORKS = {kind.name: kind for kind in (FeedforwardNetwork, RecurrentNetwork)}
PARTS = (BandSplit, BandJoin, ConvSplit, ConvJoin, Mixer)  # each counts as one layer


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `load_networks`, and which songs to measure."""
    for name in NETWORKS:
        text = f"measure this {name} network (default: the best one in the current folder, else the pretrained one)"
        parser.add_argument(f"--{name.lower()}", type=Path, dest=name, metavar="CHECKPOINT", help=text)
    every = "use every Nth song only (default: all)"
    parser.add_argument("--every", type=positive, metavar="N", default=1, help=every)


def positive(text: str) -> int:
    """A number of the command line, of things to count by. Raises argparse's error for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found '{text}'")
    return int(text)


def load_networks(paths: dict[str, Path | None]) -> tuple[dict[str, Mask], AudioConfig, dict[str, dict]]:
    """{name: mask}, the audio configuration they share, and facts about the networks for the report's drawings."""
    masks, facts, audios = {}, {}, set()
    network: Any
    for name, path in paths.items():
        path = path or find_checkpoint(name)
        network, audio, checkpoint = load_network(path, NETWORKS[name])
        masks[name] = mask_of(network, audio)
        audios.add(audio)
        facts[name] = {
            "file": str(place_of(path)),
            "sha256": checksum(path),
            "trained on": checkpoint.get("trained_on", "unknown data"),
            "command": checkpoint.get("command", "unknown"),
            "audio": dataclasses.asdict(audio),
            "widths of bands in Hz": widths(network.config, audio),
            "config": dataclasses.asdict(network.config),
            "course's sizes": {
                "audio": dataclasses.asdict(AudioConfig()),
                "config": dataclasses.asdict(network.Config()),
            },
            "weights": weights_of(network),
            "weights of the course's layers for these bins": weights_of(type(network)(network.Config(bins=audio.bins))),
            "parts": layers_of(network),
        }
    if len(audios) > 1:
        raise UserError(
            f"expected networks of the same sample rate, block and hop, found {' and '.join(map(str, audios))}"
        )
    return masks, audios.pop(), facts


def widths(config: FeedforwardConfig, audio: AudioConfig) -> list[float]:
    """The width in Hz of each band, from the lowest to the highest. Empty if the network has no bands."""
    if config.encoder != "bands":
        return []
    edges = band_edges(config.bins, config.bands, config.corner)
    return [(b - a) * audio.bin_width for a, b in itertools.pairwise(edges)]


def weights_of(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def layers_of(network: Any) -> dict[str, list[dict]]:
    """The layers of each part in the order of the data flow: kind, shape of the output, number of weights.

    A module that splits, joins or mixes bands counts as one layer. A shape is [units] or [bands, features].
    """
    parts: dict[str, list[dict]] = {name: [] for name, _ in network.named_children()}

    def listen(part: str, module: torch.nn.Module) -> None:
        if not isinstance(module, PARTS) and not any(True for _ in module.parameters(recurse=False)):
            for inner in module.children():
                listen(part, inner)
            return

        def note(module: torch.nn.Module, inputs: tuple, output: torch.Tensor | tuple) -> None:
            output = output if isinstance(output, torch.Tensor) else output[0]  # an LSTM also returns its state
            shape = [size for size in output.shape if size > 1]  # one song, one frame
            parts[part].append({"kind": type(module).__name__, "shape": shape, "weights": weights_of(module)})

        handles.append(module.register_forward_hook(note))

    handles: list[torch.utils.hooks.RemovableHandle] = []
    for name, module in network.named_children():
        listen(name, module)
    network.train()  # otherwise some layers are computed together, without being called
    with torch.inference_mode():
        network(torch.ones(1, 1, network.config.bins))
    network.eval()
    for handle in handles:
        handle.remove()
    return parts
