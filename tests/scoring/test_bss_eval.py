"""The metric against closed forms, mir_eval and museval; ill-conditioned references, silence and oddities, memory."""

import tracemalloc
import warnings

import mir_eval
import numpy as np
import pytest
import scipy.signal

from scoring.bss_eval import (
    TAPS,
    bss_eval_framewise,
    bss_eval_gain,
    bss_eval_images,
    bss_eval_sources,
    correlate,
)

pytestmark = pytest.mark.filterwarnings("error")  # a warning of numpy's would be a case that nobody thought of


def orthogonal_signals(lags: int = 1) -> np.ndarray:
    """Voice, accompaniment and noise of energy 1, orthogonal to each other at up to `lags` - 1 samples of delay.

    Noise in stretches of time so far apart that delays never meet.
    """
    rng = np.random.default_rng(0)
    signals = np.zeros((3, 45000))
    for index, signal in enumerate(signals):
        signal[15000 * index : 15000 * (index + 1) - lags] = rng.standard_normal(15000 - lags)
    return signals / np.linalg.norm(signals, axis=1, keepdims=True)


def noisy_song(sources: int = 2, samples: int = 20000, bits: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """References of 16 bits and estimates with interference, a filter and noise, each (sources, samples)."""
    rng = np.random.default_rng(sources)
    envelope = np.abs(np.sin(np.arange(samples) / samples * np.arange(3, 3 + sources)[:, None]))
    references = np.round(0.1 * 2 ** (bits - 1) * envelope * rng.standard_normal((sources, samples))) / 2 ** (bits - 1)
    estimates = scipy.signal.lfilter([0.8, 0, 0.1], [1, -0.1], references)
    estimates += 0.15 * np.roll(references, 1, axis=0) + 0.01 * rng.standard_normal((sources, samples))
    return references, estimates


def mir_eval_scores(name: str, references: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mir_eval announces that the module will go
        return getattr(mir_eval.separation, name)(references, estimates, compute_permutation=False)[:-1]


# ---------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("decibels", [0, 20, 60, 90])
@pytest.mark.parametrize("taps", [1, TAPS])
def test_closed_form(decibels, taps):
    voice, accompaniment, noise = orthogonal_signals(2 * TAPS)
    filtered = np.convolve(voice, [0.7] if taps == 1 else [0.5, 0, 0, 0.4])[: len(voice)]
    filtered /= np.linalg.norm(filtered)
    gain = 10 ** (-decibels / 20)
    estimate = 0.3 * (filtered + gain * (0.8 * accompaniment + 0.6 * noise))
    sdr, sir, sar = bss_eval_sources(np.stack([voice, accompaniment]), np.stack([estimate, accompaniment]), taps)
    # With 512 taps, the filters explain by chance some of the noise: none here, the stretches being far apart.
    assert sdr[0] == pytest.approx(decibels, abs=1e-4)
    assert sir[0] == pytest.approx(decibels - 20 * np.log10(0.8), abs=1e-4)
    assert sar[0] == pytest.approx(10 * np.log10((1 + (0.8 * gain) ** 2) / (0.6 * gain) ** 2), abs=1e-4)


def test_images_count_the_filter_as_an_error():
    voice, accompaniment, noise = orthogonal_signals(2 * TAPS)
    late = np.roll(voice, 3)
    estimate = 0.9 * voice + 0.2 * late + 0.1 * accompaniment + 0.05 * noise
    sdr, isr, sir, sar = bss_eval_images(np.stack([voice, accompaniment]), np.stack([estimate, accompaniment]))
    spatial = np.sum((0.9 * voice + 0.2 * late - voice) ** 2)
    target = np.sum((0.9 * voice + 0.2 * late) ** 2)
    assert sdr[0] == pytest.approx(-10 * np.log10(spatial + 0.1**2 + 0.05**2), abs=1e-4)
    assert sdr[0] == pytest.approx(-10 * np.log10(np.sum((estimate - voice) ** 2)), abs=1e-4)
    assert isr[0] == pytest.approx(-10 * np.log10(spatial), abs=1e-4)
    assert sir[0] == pytest.approx(10 * np.log10(target / 0.1**2), abs=1e-4)
    assert sar[0] == pytest.approx(10 * np.log10((target + 0.1**2) / 0.05**2), abs=1e-4)


def test_gain_version_takes_correlated_sources_apart():
    voice, other, noise = orthogonal_signals()
    references = np.stack([voice, other + 0.5 * voice])
    sdr, sir, _ = bss_eval_gain(references, np.stack([voice + 0.1 * other + 0.05 * noise, other]))
    assert sdr[0] == pytest.approx(-10 * np.log10(0.1**2 + 0.05**2))
    assert sir[0] == pytest.approx(20)


def test_scale_invariant_sdr_by_its_own_formula():
    references, estimates = noisy_song()
    sdr = bss_eval_gain(references, estimates).sdr
    for reference, estimate, found in zip(references, estimates, sdr, strict=True):
        target = reference * (estimate @ reference) / (reference @ reference)
        assert found == pytest.approx(10 * np.log10(np.sum(target**2) / np.sum((estimate - target) ** 2)))
    assert bss_eval_gain(references, 0.01 * estimates).sdr == pytest.approx(sdr)


# ---------------------------------------------------------------------------------------------- second opinions


@pytest.mark.parametrize("sources", [1, 2, 3])
@pytest.mark.parametrize("name", ["bss_eval_sources", "bss_eval_images"])
def test_equals_mir_eval(sources, name):
    references, estimates = noisy_song(sources)
    expected = mir_eval_scores(name, references, estimates)
    found = {"bss_eval_sources": bss_eval_sources, "bss_eval_images": bss_eval_images}[name](references, estimates)
    if sources == 1:  # mir_eval: SIR infinite, SAR = SDR
        assert np.isnan(found.sir).all() and np.isnan(found.sar).all()
        expected, found = expected[:-2], found[:-2]
    np.testing.assert_allclose(np.stack(found), np.stack(expected), rtol=0, atol=1e-6)


def test_framewise_equals_museval(museval):
    references, estimates = noisy_song(samples=41000)
    references[0, 16000:25000] = 0  # a silent frame
    expected = museval.metrics.bss_eval(
        references[..., None], estimates[..., None], window=8000, hop=8000, compute_permutation=False
    )[:4]
    found = bss_eval_framewise(references, np.stack([0.5 * estimates, estimates]), 8000)
    assert found.sdr.shape == (2, 2, 5) and np.isnan(found.sdr[1, :, 2]).all()
    np.testing.assert_allclose(np.stack([score[1] for score in found]), np.stack(expected), rtol=0, atol=1e-4)


@pytest.mark.parametrize("cutoff", [11000, 4000, 1000])
def test_band_limited_references(cutoff):
    """References resampled or from AAC, stored as float32: mir_eval gives 5 dB at 1 kHz (its issue 381)."""
    rate = 32000
    spectrum = np.fft.rfft(np.random.default_rng(cutoff).standard_normal((2, 20 * rate)))
    spectrum[:, np.fft.rfftfreq(20 * rate, 1 / rate) > cutoff] = 0
    fade = np.minimum(1, np.minimum(np.arange(20 * rate), np.arange(20 * rate)[::-1]) / rate)
    references = np.fft.irfft(spectrum) * np.sin(0.5 * np.pi * fade) ** 4
    references = (0.1 * references / references.std(axis=1, keepdims=True)).astype(np.float32)
    estimates = references + np.float32(0.2) * references[::-1]
    for sdr in (
        *bss_eval_sources(references, estimates).sdr,
        *(bss_eval_sources(references[j : j + 1], estimates[j : j + 1]).sdr[0] for j in range(2)),
    ):
        assert sdr == pytest.approx(20 * np.log10(5), abs=0.05)


def test_blocks_do_not_show(monkeypatch):
    references, estimates = noisy_song()
    whole = correlate(references, estimates)
    monkeypatch.setattr("scoring.bss_eval.FFT_SIZE", 2048)
    pieces = correlate(references, estimates)
    for name in ("references", "estimates", "energies"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), rtol=0, atol=1e-11)


def test_memory_does_not_grow_with_the_song():
    peaks = []
    for samples in (1 << 19, 1 << 21):
        references = np.random.default_rng(0).standard_normal((2, samples), np.float32)
        tracemalloc.start()
        bss_eval_sources(references, references[::-1])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]


# ---------------------------------------------------------------------------------- what counts, and oddities


def test_filter_and_delay_are_forgiven_and_being_early_is_not():
    references, _ = noisy_song()
    assert bss_eval_sources(references, np.roll(references, 200, axis=1)).sdr.min() > 15  # it wraps around
    assert bss_eval_images(references, np.roll(references, 200, axis=1)).sdr.max() < 0
    assert bss_eval_sources(references, np.roll(references, -200, axis=1)).sdr.max() < -5


def test_estimates_are_not_permuted():
    references, _ = noisy_song()
    scores = bss_eval_sources(references, references[::-1])
    assert scores.sdr.max() < -5 and scores.sir.max() < -5


def test_many_estimates_at_once():
    references, estimates = noisy_song()
    batch = np.stack([estimates, 2 * estimates[::-1], references + 0.1])[:, None]
    scores = bss_eval_sources(references, batch)
    assert scores.sdr.shape == (3, 1, 2)
    for one, sdr in zip(batch[:, 0], scores.sdr[:, 0], strict=True):
        assert sdr == pytest.approx(bss_eval_sources(references, one).sdr)


def test_perfect_is_infinite():
    references, _ = noisy_song()
    for score in (*bss_eval_sources(references, 0.5 * references), *bss_eval_images(references, references)):
        assert (score == np.inf).all()


def test_silence_and_samples_that_are_not_finite_are_not_scored_and_spoil_nothing_else():
    references, estimates = noisy_song()
    expected = bss_eval_sources(references, estimates)
    for bad in (0.0, np.nan, np.inf):
        spoilt = estimates.copy()
        spoilt[0] = 0
        spoilt[0, 5] = bad
        scores = bss_eval_sources(references, np.stack([spoilt, estimates]))
        assert all(np.isnan(score[0, 0]) for score in scores)
        for score, good in zip(scores, expected, strict=True):
            assert score[1] == pytest.approx(good) and score[0, 1] == pytest.approx(good[1])
        spoilt = references.copy()
        spoilt[1] = 0
        spoilt[1, 5] = bad
        for scores in (bss_eval_sources(spoilt, estimates), bss_eval_gain(spoilt, estimates)):
            assert np.isfinite(scores.sdr[0]) and np.isnan(scores.sdr[1])
            assert np.isnan(scores.sir).all() and np.isnan(scores.sar).all()  # one reference is left
        assert np.isnan(bss_eval_images(spoilt, estimates).isr[1])
        assert np.isnan(bss_eval_framewise(spoilt, estimates, 8000)).all()


def test_silent_reference_among_three_leaves_the_other_two():
    references, estimates = noisy_song(3)
    silent = np.concatenate([references[:2], np.zeros_like(references[:1])])
    expected = bss_eval_sources(references[:2], estimates[:2])
    for score, two in zip(bss_eval_sources(silent, estimates), expected, strict=True):
        assert score[:2] == pytest.approx(two) and np.isnan(score[2])


def test_references_that_are_the_same_have_no_interference():
    references, estimates = noisy_song()
    scores = bss_eval_sources(np.stack([references[0], -2 * references[0]]), estimates)
    assert np.isnan(scores.sir).all() and np.isfinite(scores.sdr).all() and np.isfinite(scores.sar).all()


def test_exactly_singular_equations():
    references, estimates = np.zeros((2, 2, 9000))
    references[:, 40] = 0.5, 1  # two impulses: each delayed one is the other's multiple
    estimates[:] = references + 0.1 * np.roll(references, -100, axis=1)
    assert bss_eval_sources(references, estimates).sdr == pytest.approx([20, 20], abs=1e-4)


def test_songs_shorter_than_the_filter():
    references, estimates = noisy_song(samples=30)
    assert np.isfinite(bss_eval_sources(references, estimates).sdr).all()


@pytest.mark.parametrize(
    ("references", "estimates"),
    [
        ((100,), (100,)),
        ((2, 100), (2, 99)),
        ((2, 100), (1, 100)),
        ((2, 100), (100,)),
        ((1000, 2), (1000, 2)),
        ((2, 0), (2, 0)),
    ],
)
def test_wrong_shapes(references, estimates):
    with pytest.raises(ValueError, match="expected") as error:
        bss_eval_sources(np.ones(references), np.ones(estimates))
    assert str(references) in str(error.value)
