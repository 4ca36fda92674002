"""The loss against plain numpy, at zero and at large values; its mean over frames; the smoothed loss."""

import copy

import numpy as np
import pytest
import torch

from process.errors import UserError
from training.loss import EPSILON, LossCurve, SmoothedLoss, Tally, kl_divergence, mean_over_frames, weighted


def plain_sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    total = np.zeros(x.shape[:-1])
    for place in np.ndindex(x.shape):
        a, b = x[place], y[place]
        total[place[:-1]] += a * (np.log(a + EPSILON) - np.log(b + EPSILON)) - a + b
    return total


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_equals_the_plain_sum_in_float32(scale):
    x, y = scale * np.random.default_rng(0).uniform(0, 1, (2, 2, 3, 50))
    losses = kl_divergence(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
    assert losses.shape == (2, 3)
    assert losses.numpy() == pytest.approx(plain_sum(x, y), rel=1e-4, abs=1e-10)
    swapped = kl_divergence(torch.tensor(x), torch.tensor(y), reverse=True)
    assert swapped.numpy() == pytest.approx(plain_sum(y, x), rel=1e-6, abs=1e-12)


def test_zero_where_equal_and_finite_at_zero():
    x = torch.tensor([0.0, 1e-9, 0.1, 1.0, 1e8])
    zeros = torch.zeros(5)
    assert kl_divergence(x, x) == 0
    assert kl_divergence(zeros, zeros) == 0
    assert kl_divergence(zeros, x) == pytest.approx(x.sum().item())  # no voice: all of the estimate counts
    estimate = zeros.clone().requires_grad_()
    loss = kl_divergence(x, estimate)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(estimate.grad).all()
    assert loss > 0


def spectra(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)) + 0.1


def test_weighting_both_weights_the_divergence_and_keeps_the_sum_of_each_excerpt():
    mixture, mask = spectra(2, 4, 50) * torch.tensor([0.01, 100.0])[:, None, None], torch.rand(2, 4, 50)
    vocals = 0.3 * mixture
    heard, voice = weighted(mixture, vocals, torch.tensor([4, 4]), 1.0)
    assert heard.sum((1, 2)).tolist() == pytest.approx(mixture.sum((1, 2)).tolist(), rel=1e-5)
    weights = mixture * (mixture.sum((1, 2)) / mixture.square().sum((1, 2)))[:, None, None]
    exact = (weights * (vocals * torch.log(vocals / (mask * mixture)) - vocals + mask * mixture)).sum(-1)
    assert kl_divergence(voice, mask * heard).numpy() == pytest.approx(exact.numpy(), rel=1e-3)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("level", [1e-6, 1.0, 1e3])
def test_soft_excerpts_keep_their_sum_too(power, level):
    mixture = level * spectra(2, 4, 50)
    heard, _ = weighted(mixture, mixture, torch.tensor([4, 4]), power)
    assert heard.sum((1, 2)).tolist() == pytest.approx(mixture.sum((1, 2)).tolist(), rel=1e-4)


def test_weighted_by_the_mixture_an_error_of_the_mask_counts_by_energy():
    mixture, true = spectra(1, 1, 50), torch.full((50,), 0.5)
    heard, voice = weighted(mixture, true * mixture, torch.tensor([1]), 1.0)
    losses = torch.stack([kl_divergence(voice, (true + error) * heard) for error in 0.01 * torch.eye(50)]).flatten()
    assert (losses / mixture.flatten().square()).std() < 0.01 * (losses / mixture.flatten().square()).mean()


def test_padding_weighs_nothing_and_a_power_of_0_changes_nothing():
    mixture, vocals = spectra(2, 5, 20), 0.5 * spectra(2, 5, 20)
    mixture[1, 2:] = torch.nan
    heard, voice = weighted(mixture, vocals, torch.tensor([5, 2]), 1.0)
    short_heard, short_voice = weighted(mixture[1:, :2], vocals[1:, :2], torch.tensor([2]), 1.0)
    assert torch.allclose(heard[1:, :2], short_heard) and torch.allclose(voice[1:, :2], short_voice)
    silence = weighted(torch.zeros(1, 3, 20), torch.zeros(1, 3, 20), torch.tensor([3]), 1.0)
    assert all(torch.equal(part, torch.zeros(1, 3, 20)) for part in silence)
    assert weighted(mixture, vocals, torch.tensor([5, 2]), 0.0) == (mixture, vocals)


def test_padding_reaches_neither_loss_nor_gradient():
    losses = torch.tensor([[1.0, 2.0, 6.0], [5.0, torch.nan, torch.inf]], requires_grad=True)
    mean = mean_over_frames(losses, torch.tensor([3, 1]))
    assert mean.item() == pytest.approx(14 / 4)  # over frames, not over songs
    mean.backward()
    assert torch.equal(losses.grad, torch.tensor([[0.25, 0.25, 0.25], [0.25, 0.0, 0.0]]))


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_is_to_the_bit_that_of_the_real_frames_alone(seed):
    losses = torch.rand(9, 700, generator=torch.Generator().manual_seed(seed)).exp().requires_grad_()
    lengths = torch.tensor([700, 3, 650, 700, 1, 699, 511, 512, 64])
    mean = mean_over_frames(losses, lengths)
    mean.backward()
    gradient, losses.grad = losses.grad, None
    expected = losses[torch.arange(700) < lengths[:, None]].mean()
    expected.backward()
    assert torch.equal(mean, expected) and torch.equal(gradient, losses.grad)


# ---------------------------------------------------------------------------------------------- over an epoch

LOSSES = torch.rand(7, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("every", [1, 3, 100])
def test_an_epochs_mean_is_the_same_whenever_its_losses_are_read(every):
    told = []
    tally = Tally("", lambda loss, number: told.append((number, loss)) or loss / 2)
    for number, loss in enumerate(LOSSES, 1):
        tally.add(loss, number, ["song"])
        if number % every == 0:
            tally.read()
    tally.read()
    expected, frames = 0.0, 0
    for number, loss in enumerate(LOSSES.tolist(), 1):  # as Python adds them up, one after the other
        expected, frames = expected + loss * number, frames + number
    assert tally.mean == expected / frames
    assert told == [(number, loss * number / number) for number, loss in enumerate(LOSSES.tolist(), 1)]
    assert tally.shown == told[-1][1] / 2


def test_a_loss_that_is_not_finite_is_told_with_its_batch_however_late_it_is_read():
    tally = Tally("epoch 2/9")
    for number in range(1, 5):
        tally.add(torch.tensor(torch.nan if number == 3 else 1.0), 8, [f"song {number}", "other"])
        if number == 1:
            tally.read()
    with pytest.raises(UserError, match=r"^epoch 2/9, batch 3: .*finite loss, found nan \(songs: other, song 3\)$"):
        tally.read()


def test_smoothed_loss_is_free_of_startup_bias():
    smoothed = SmoothedLoss(0.99)
    assert smoothed.update(5.0) == pytest.approx(5.0)
    assert smoothed.update(5.0) == pytest.approx(5.0)
    expected = (0.99**2 * 5 + 0.99 * 5 + 8) / (0.99**2 + 0.99 + 1)
    assert smoothed.update(8.0) == pytest.approx(expected)


def test_the_curve_of_a_long_run_stays_short_and_even(monkeypatch):
    monkeypatch.setattr("training.loss.MOST_POINTS", 50)
    losses = np.random.default_rng(0).uniform(1, 2, 1000)
    smoothed, curve = SmoothedLoss(), LossCurve()
    expected, kept = [smoothed.update(loss) for loss in losses], {}
    for number, loss in enumerate(losses, 1):
        assert curve.add(loss, number / 100) == expected[number - 1]
        assert len(curve.points) <= 50
        if number == 300:
            kept = copy.deepcopy(vars(curve))
    assert curve.every == 32 and [batch for batch, *_ in curve.points] == list(range(32, 1001, 32))
    assert all(loss == expected[batch - 1] and epochs == batch / 100 for batch, epochs, loss in curve.points)
    resumed = LossCurve(**kept)
    for number, loss in enumerate(losses[300:], 301):
        resumed.add(loss, number / 100)
    assert resumed == curve
