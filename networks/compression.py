"""From linear magnitudes to what a network sees."""

import torch
from torch import nn


class Compression(nn.Module):
    """Compress magnitudes: level of 1 in each frame, logarithm, then zero mean and unit variance in each bin.

    Dividing each frame by its own level (RMS over bins) makes the mask independent of the recording's level.
    Magnitudes span five decades and fall by 60 dB from the lowest to the highest bins; a linear layer would hear
    nothing but the bass, hence the logarithm and the statistics of each bin. The statistics are buffers: `measure`
    sets them once from the training data, and they travel with the weights.
    """

    FLOOR = 1e-3  # 60 dB below the frame's level: anything below counts as silence
    SILENCE = 1e-8  # -160 dB: frames below this level are no longer normalised

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, bins: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("deviation", torch.ones(bins))

    def forward(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Linear magnitude (..., bins) -> the same shape, standardised"""
        return (self.log_spectrum(magnitude) - self.mean) / self.deviation

    def log_spectrum(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Natural logarithm of magnitude (..., bins) relative to its frame's level, above the floor."""
        level = magnitude.square().mean(dim=-1, keepdim=True).sqrt()
        return torch.log(magnitude / (level + self.SILENCE) + self.FLOOR)

    def measure(self, magnitude: torch.Tensor) -> None:
        """Set the statistics from example magnitudes (frames, bins)."""
        spectrum = self.log_spectrum(magnitude)
        self.mean.copy_(spectrum.mean(0))
        # The noise of a bin that hardly moves (above a song's bandwidth) must not be amplified.
        self.deviation.copy_(spectrum.std(0).clamp(min=0.1))
