"""The loss of both networks, its mean over frames, and the smoothed loss to watch."""

import torch

EPSILON = 1e-8  # inside the logarithms: -160 dB, far below any audible magnitude
SMOOTHING = 0.99  # eta of the running mean


def kl_divergence(target: torch.Tensor, estimate: torch.Tensor, reverse: bool = False) -> torch.Tensor:
    """Generalised Kullback-Leibler divergence of each frame (Lee and Seung 2001, eq. 3; the course's loss).

    D(x || y) = sum over bins of x (log(x + eps) - log(y + eps)) - x + y, where x is the target and y the estimate,
    both nonnegative linear magnitudes (..., bins). reverse: D(y || x) instead. Returns (...); 0 where they are equal.
    """
    x, y = (estimate, target) if reverse else (target, estimate)
    return (x * (torch.log(x + EPSILON) - torch.log(y + EPSILON)) - x + y).sum(dim=-1)


def mean_over_frames(losses: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Mean of losses (batch, frames) over the real frames: the first lengths[b] of row b.

    The mean is over frames, not songs, so that every frame counts the same. Padding is cut off before the mean, so
    nothing in it, not even NaN, reaches the loss or the gradient.
    """
    real = torch.arange(losses.shape[1], device=losses.device) < lengths.to(losses.device)[:, None]  # (batch, frames)
    return losses[real].mean()


class SmoothedLoss:
    """Exponentially weighted mean of the losses so far, corrected for its initial bias towards 0.

    After n losses, m / (1 - eta^n) with m = eta m + (1 - eta) loss (Kingma and Ba 2015, section 3).
    """

    def __init__(self, eta: float = SMOOTHING):
        self.eta, self.mean, self.weight = eta, 0.0, 0.0

    def update(self, loss: float) -> float:
        """Add a loss. Returns the mean including it."""
        self.mean = self.eta * self.mean + (1 - self.eta) * loss
        self.weight = self.eta * self.weight + (1 - self.eta)
        return self.mean / self.weight
