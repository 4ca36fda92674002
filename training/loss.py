"""The loss of both networks, its mean over frames, and its running mean for the eye."""

import torch

EPSILON = 1e-8  # inside the logarithms: far below any magnitude that can be heard (-160 dB)
SMOOTHING = 0.99  # eta of the running mean


def kl_divergence(target: torch.Tensor, estimate: torch.Tensor, reverse: bool = False) -> torch.Tensor:
    """Generalised Kullback-Leibler divergence of each frame (Lee and Seung 2001, eq. 3; the course's loss).

    D(x || y) = sum over bins of x (log(x + eps) - log(y + eps)) - x + y, with x the target and y the estimate,
    nonnegative linear magnitudes (..., bins). reverse: D(y || x) instead. Returns (...), 0 where they are equal.
    """
    x, y = (estimate, target) if reverse else (target, estimate)
    return (x * (torch.log(x + EPSILON) - torch.log(y + EPSILON)) - x + y).sum(dim=-1)


def mean_over_frames(losses: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean of losses (batch, frames) over the real frames, the first lengths[b] of each row.

    Over frames and not over songs, so that a short song's frames weigh as much as a long one's. Padding is cut off
    before the mean, so nothing in it, not even NaN, reaches loss or gradient.
    """
    real = torch.arange(losses.shape[1], device=losses.device) < lengths.to(losses.device)[:, None]  # (batch, frames)
    return losses[real].mean()


class SmoothedLoss:
    """Exponentially weighted mean of the losses so far, without the bias towards 0 of its first values.

    m = eta m + (1 - eta) loss, shown divided by 1 - eta^n (Kingma and Ba 2015, section 3).
    """

    def __init__(self, eta: float = SMOOTHING):
        self.eta, self.mean, self.weight = eta, 0.0, 0.0

    def update(self, loss: float) -> float:
        self.mean = self.eta * self.mean + (1 - self.eta) * loss
        self.weight = self.eta * self.weight + (1 - self.eta)
        return self.mean / self.weight
