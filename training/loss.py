"""The loss of all networks, its mean over frames and over an epoch, and the smoothed loss to watch."""

import dataclasses
import math
from collections.abc import Callable

import torch

from process.devices import send
from process.errors import UserError
from training.parallel import sums

EPSILON = 1e-8  # inside the logarithms: -160 dB, far below any audible magnitude
SMOOTHING = 0.99  # eta of the running mean
MOST_POINTS = 4000  # of the curve that is kept of it


def kl_divergence(target: torch.Tensor, estimate: torch.Tensor, reverse: bool = False) -> torch.Tensor:
    """Generalised Kullback-Leibler divergence of each frame (Lee and Seung 2001, eq. 3; the course's loss).

    D(x || y) = sum over bins of x (log(x + eps) - log(y + eps)) - x + y, where x is the target and y the estimate,
    both nonnegative linear magnitudes (..., bins). reverse: D(y || x) instead. Returns (...); 0 where they are equal.
    """
    x, y = (estimate, target) if reverse else (target, estimate)
    return (x * (torch.log(x + EPSILON) - torch.log(y + EPSILON)) - x + y).sum(dim=-1)


def real_frames(lengths: torch.Tensor, frames: int) -> torch.Tensor:
    """Which frames are no padding: (batch, frames), true for the first lengths[b] of row b."""
    return torch.arange(frames) < lengths[:, None]


def weighted(
    mixture: torch.Tensor, vocals: torch.Tensor, lengths: torch.Tensor, power: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixture and vocals (batch, frames, bins), each bin times the mixture's magnitude there to this power.

    D(wx || wy) = w D(x || y): to weight both is to weight the divergence. About y = x, D is (x - y)^2 / 2x, so with a
    power of 1 an error of the mask counts by the mixture's energy, as it does in SDR; with 0 nothing is changed.
    In each excerpt, the weighted mixture's sum over the real frames, the first lengths[b] of row b, is the mixture's.
    """
    if power == 0:
        return mixture, vocals
    real = send(real_frames(lengths, mixture.shape[1]), mixture.device)
    heard = mixture.where(real[..., None], 0)
    weights = (heard / heard.amax(dim=(1, 2), keepdim=True).clamp(min=EPSILON)) ** power
    total, weighted_total = (part.sum(dim=(1, 2), keepdim=True) for part in (heard, weights * heard))
    weights *= total / weighted_total.clamp(min=EPSILON)
    return weights * mixture, weights * vocals


def mean_over_frames(losses: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean of losses (batch, frames) over the real frames: the first lengths[b] of row b.

    The mean is over frames, not songs, so that every frame counts the same. Padding is cut off before the mean, so
    nothing in it, not even NaN, reaches the loss or the gradient.
    """
    real = real_frames(lengths, losses.shape[1])
    places = real.flatten().nonzero()[:, 0]  # found here: on a GPU, their number would have to be waited for
    return losses.flatten().index_select(0, send(places, losses.device)).mean()


@dataclasses.dataclass
class SmoothedLoss:
    """Exponentially weighted mean of the losses so far, corrected for its initial bias towards 0.

    After n losses, m / (1 - eta^n) with m = eta m + (1 - eta) loss (Kingma and Ba 2015, section 3).
    """

    eta: float = SMOOTHING
    mean: float = 0.0
    weight: float = 0.0

    def update(self, loss: float) -> float:
        """Add a loss. Returns the mean including it."""
        self.mean = self.eta * self.mean + (1 - self.eta) * loss
        self.weight = self.eta * self.weight + (1 - self.eta)
        return self.value

    @property
    def value(self) -> float:
        return self.mean / self.weight if self.weight else math.nan


@dataclasses.dataclass
class LossCurve(SmoothedLoss):
    """The smoothed loss after every batch of a run, or, once these are many, after every 2nd, 4th, 8th ... batch.

    It never has more than MOST_POINTS points: when it would, every other one is dropped, and from then on half as many
    are taken. 100,000 batches leave 3125 points, which make a file of 80 KB and are drawn at once. Which ones they are
    depends on the number of batches alone, so a run that was stopped and resumed has the points of one that was not.
    """

    batches: int = 0
    every: int = 1  # batches from point to point
    points: list[tuple[int, float, float]] = dataclasses.field(default_factory=list)  # (batch, epochs, smoothed loss)

    def add(self, loss: float, epochs: float) -> float:
        """Add a batch's loss. epochs: how many have passed since the run began. Returns the smoothed loss."""
        smoothed = self.update(loss)
        self.batches += 1
        if self.batches % self.every == 0:
            self.points.append((self.batches, epochs, smoothed))
        if len(self.points) > MOST_POINTS:
            self.every *= 2
            self.points = [point for point in self.points if point[0] % self.every == 0]
        return smoothed


class Tally:
    """The mean loss of an epoch, over all ranks. Losses stay where they were computed until they are read.

    title: of the epoch, for messages; note: is told each batch's loss, over all ranks, and its number, from 1, and
    returns the smoothed loss to show.
    """

    def __init__(self, title: str, note: Callable[[float, int], float] | None = None):
        self.title = title
        smoothed = SmoothedLoss()
        self.note = note or (lambda loss, _: smoothed.update(loss))
        self.unread: list[tuple[torch.Tensor, int, list[str]]] = []
        self.total, self.frames, self.batches = 0.0, 0.0, 0
        self.shown = math.nan  # the smoothed loss

    def add(self, loss: torch.Tensor, frames: int, names: list[str]) -> None:
        """The mean loss () over the next batch's frames, of which this rank may have none; names: of its songs."""
        self.unread.append((loss.detach(), frames, names))

    def read(self) -> None:
        """Read the losses that were added: a GPU must be waited for. Raises UserError if one is not finite."""
        if not self.unread:
            return
        losses, counts, names = zip(*self.unread, strict=True)
        self.unread = []
        values = torch.stack(losses).tolist()
        for number, (value, own) in enumerate(zip(values, names, strict=True), self.batches + 1):
            if not math.isfinite(value):
                songs = ", ".join(sorted(set(own)))
                raise UserError(f"{self.title}, batch {number}: expected a finite loss, found {value} (songs: {songs})")
        products = [value * count for value, count in zip(values, counts, strict=True)]
        together = sums(*products, *counts)
        for total, frames in zip(together[: len(counts)], together[len(counts) :], strict=True):
            self.total, self.frames, self.batches = self.total + total, self.frames + frames, self.batches + 1
            self.shown = self.note(total / frames, self.batches)

    @property
    def mean(self) -> float:
        return self.total / self.frames
