"""The files of a training run: checkpoints, curves, a picture."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from Data import DSD100Dataset, MakeMagnitudeSpectrum
from pictures.plots import plot_losses, plot_spectrograms
from process.errors import whole_file
from songs.song import Song
from training.loss import LossCurve
from util import AudioConfig, save_checkpoint

# In the best and the last checkpoint
FACTS = ("epoch", "best_valid_loss", "history", "trained_on", "songs", "plain", "command")
STATE = ("weights_of_last_step", "optimizer", "rng_state", "cuda_rng_states")  # only in the last, to resume from


@dataclasses.dataclass(frozen=True)
class Run:
    """The files of a training run, all in one folder."""

    folder: Path
    name: str

    def path(self, ending: str) -> Path:
        return self.folder / f"savedModel_{self.name}_{ending}"

    @property
    def best(self) -> Path:
        return self.path("best.pt")

    @property
    def last(self) -> Path:
        return self.path("last.pt")

    def write_results(
        self,
        facts: dict,
        curve: LossCurve,
        network: torch.nn.Module,
        audio: AudioConfig,
        song: Song,
        device: torch.device,
    ) -> None:
        """Write what follows from the last checkpoint: the curves and, after the best epoch so far, the best checkpoint
        and a picture.

        The last checkpoint is written before, so that a run that is killed in between writes these when resumed.
        """
        history = facts["history"]
        if min(history, key=lambda row: row["valid_loss"])["epoch"] == len(history):
            save_checkpoint(self.best, network, audio, **{name: facts[name] for name in FACTS if name in facts})
            self.draw_song(network, song, audio, device)
        self.write_curves(history, curve)

    def remove_parts(self) -> None:
        """Remove the half-written files of a run that was killed."""
        for name in (self.path("*").name, "bank.*"):
            for path in self.folder.glob(f".{name}.part.*"):
                path.unlink()

    def write_curves(self, history: list[dict], curve: LossCurve) -> None:
        """Write the epochs' losses so far, the smoothed loss over batches, and a picture of both."""
        if history:
            names = list(history[-1])  # rows of earlier versions lack some
            self._write_table("loss.csv", [names, *([row.get(name, "") for name in names] for row in history)])
        points = [(batch, f"{epochs:.6g}", f"{loss:.6g}") for batch, epochs, loss in curve.points]
        self._write_table("batches.csv", [("batch", "epochs", "smoothed_loss"), *points])
        plot_losses(self.path("loss.png"), history, f"{self.name}: {len(history)} epochs", curve.points)

    def _write_table(self, ending: str, rows: Sequence[Sequence]) -> None:
        with whole_file(self.path(ending)) as temporary, temporary.open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    def draw_song(self, network: torch.nn.Module, song: Song, audio: AudioConfig, device: torch.device) -> None:
        """Draw the first 30 seconds of a song: mixture, voice and the network's estimate."""
        sample = DSD100Dataset([song], audio, MakeMagnitudeSpectrum(), excerpt_seconds=30)[0, 0]
        network.eval()
        with torch.no_grad():
            mask, _ = network(sample["mixture"][None].to(device))
        estimate = mask[0].cpu() * sample["mixture"]
        pictures = {"mixture": sample["mixture"], "voice": sample["vocals"], "estimated voice": estimate}
        pictures = {name: magnitude.numpy() for name, magnitude in pictures.items()}
        plot_spectrograms(self.path("spectrograms.png"), pictures, audio, f"{self.name}: {song.name}")
