"""BSS_EVAL: how close estimated sources come to the true ones, in dB.

E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind audio source separation", 2006, splits an
estimate into target + interference + artifacts. The target is what a filter on the true source (the reference) explains
of the estimate, the interference what filters on all references explain beyond that, and the artifacts are the rest:

    SDR = target / (interference + artifacts)
    SIR = target / interference
    SAR = (target + interference) / artifacts

    v3 `sources`   filters of 512 taps: gain and equalisation are not errors            bss_eval_sources
    v3 `images`    the same, but what the filter changes is an error, measured by ISR   bss_eval_images
    v2.1           filters of 1 tap, a gain; its SDR is also known as SI-SDR            bss_eval_gain
    v4             `images` in frames of 1 s, with the filters of the whole song        bss_eval_framewise

All parts are projections, so their energies follow from correlations of up to 512 lags (`correlate`). These are summed
block by block: memory does not grow with the song. mir_eval computes the projected signals instead, and does not
condition its equations: for band-limited references it can be many dB off (its issue 381).

Signals are mono: references (sources, samples), estimates (..., sources, samples), any float type; the arithmetic is
float64. Estimate j is compared with reference j; nothing is permuted. Scores have the shape (..., sources) and are

- nan where there is nothing to score: the reference or the estimate is silent, or has a sample that is not finite. SIR
  and SAR are also nan if only one reference sounds (SIR would be infinite and SAR would equal SDR), and SIR if two
  references are equal up to a gain;
- inf or -inf beyond 100 dB, as far as float64 can tell an energy from zero.

Shapes that do not fit raise ValueError.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.linalg

TAPS = 512
FFT_SIZE = 1 << 14
MOST_SOURCES = 100  # with more, sources and samples are probably swapped
LOAD = 1e-12  # added to the equations' diagonal of ones: band-limited references have eigenvalues near rounding error
RESOLUTION = 1e-10  # smallest ratio of energies, -100 dB


class Sources(NamedTuple):
    """Scores in dB, each (..., sources)."""

    sdr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray


class Images(NamedTuple):
    """Scores in dB, each (..., sources), or (..., sources, frames)."""

    sdr: np.ndarray
    isr: np.ndarray
    sir: np.ndarray
    sar: np.ndarray


def bss_eval_sources(references: np.ndarray, estimates: np.ndarray, taps: int = TAPS) -> Sources:
    """BSS_EVAL v3 `sources`: SDR, SIR and SAR, each (..., sources)."""
    return correlate(references, estimates, taps).sources(taps)


def voice_sdr(mixture: np.ndarray, vocals: np.ndarray, voice: np.ndarray) -> float:
    """SDR v3 `sources` in dB of an estimated voice, beside the rest of the mixture; all (samples,). Of silence, nan."""
    references, estimates = np.stack([vocals, mixture - vocals]), np.stack([voice, mixture - voice])
    return float(bss_eval_sources(references, estimates).sdr[0])


def bss_eval_images(references: np.ndarray, estimates: np.ndarray, taps: int = TAPS) -> Images:
    """BSS_EVAL v3 `images`: SDR (here the plain signal-to-noise ratio), ISR, SIR and SAR, each (..., sources)."""
    return correlate(references, estimates, taps).images(taps)


def bss_eval_gain(references: np.ndarray, estimates: np.ndarray) -> Sources:
    """BSS_EVAL v2.1 with a gain as the only allowed distortion (bss_decomp_gain): SDR, SIR and SAR, (..., sources).

    This SDR is also the scale-invariant one (Le Roux et al., "SDR - half-baked or well done?", 2019, eq. 3).
    """
    return bss_eval_sources(references, estimates, taps=1)


def bss_eval_framewise(references: np.ndarray, estimates: np.ndarray, frame: int, taps: int = TAPS) -> Images:
    """BSS_EVAL v4 (Stöter, Liutkus and Ito, "The 2018 Signal Separation Evaluation Campaign"), as in museval.

    `images` scores of consecutive frames of `frame` samples, with the filters of the whole song. An incomplete last
    frame is not scored. Returns SDR, ISR, SIR and SAR, each (..., sources, frames); nan for all sources in frames where
    a reference or an estimate is silent.
    """
    references, estimates = _signals(references, estimates)
    correlations = correlate(references, estimates, taps)
    sources, samples = references.shape
    frames = samples // frame
    scores = Images(*np.full((4, *correlations.energies.shape, frames), np.nan))
    if len(correlations.sounding) == sources:
        size = scipy.fft.next_fast_len(frame + taps - 1, real=True)
        own, every = (scipy.fft.rfft(filters, size) for filters in correlations.all_filters())  # (B, J, [J,] bins)
        for index in range(frames):
            piece = np.s_[..., index * frame : (index + 1) * frame]
            reference, estimate = np.zeros((sources, size)), np.zeros((*correlations.energies.shape, size))
            reference[:, :frame] = references[piece]
            estimate[..., :frame] = estimates[piece].reshape(-1, sources, frame)
            spectrum = scipy.fft.rfft(reference)
            target = scipy.fft.irfft(own * spectrum, size)  # the true source as the estimate contains it: (B, J, size)
            explained = scipy.fft.irfft(np.einsum("bjif,if->bjf", every, spectrum), size)
            found = (
                _decibels(_energy(reference), _energy(estimate - reference)),
                _decibels(_energy(reference), _energy(target - reference)),
                _decibels(_energy(target), _energy(explained - target)),
                _decibels(_energy(explained), _energy(estimate - explained)),
            )
            audible = _energy(reference).all() & (_energy(estimate) > 0).all(axis=1)  # (B,)
            for score, values in zip(scores, found, strict=True):
                score[audible, :, index] = values[audible]
    return Images(*(score.reshape(*correlations.shape, frames) for score in scores))


# ---------------------------------------------------------------------------------------------- correlations


@dataclasses.dataclass(frozen=True)
class Correlations:
    """All that the scores need from J references and B times J estimates, at lags of 0 to `taps` - 1 samples.

    references: (J, J, taps), [i, j, k] = sum over n of r_i(n - k) r_j(n).
    estimates: (J, B, J, taps), [i, b, j, k] = sum over n of r_i(n - k) e_bj(n).
    energies: (B, J), sum over n of e_bj(n)^2.
    shape: the scores' shape, (..., J).
    """

    references: np.ndarray
    estimates: np.ndarray
    energies: np.ndarray
    shape: tuple[int, ...]

    @property
    def reference_energies(self) -> np.ndarray:
        return self.references[:, :, 0].diagonal()  # (J,)

    @property
    def sounding(self) -> list[int]:
        """The references that count: those that are not silent and whose samples are all finite."""
        return [j for j, energy in enumerate(self.reference_energies) if energy > 0]  # False for nan

    def filters(self, sources: list[int], estimates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The filters with which the sum of `sources` comes closest to each of E estimates, in the least-squares sense.

        estimates: (J, E, taps), correlations with all references. Returns filters (E, len(sources), taps) and the
        energies (E,) of the filtered sums, which are the projections of the estimates.
        """
        taps = estimates.shape[-1]
        norms = np.repeat(np.sqrt(self.reference_energies[sources]), taps)
        blocks = [
            [scipy.linalg.toeplitz(self.references[i, j, :taps], self.references[j, i, :taps]) for j in sources]
            for i in sources
        ]
        gram = np.block(blocks) / np.outer(norms, norms)  # of delayed references of unit energy
        right = estimates[sources].swapaxes(1, 2).reshape(len(norms), -1) / norms[:, None]  # (sources * taps, E)
        try:
            factor = scipy.linalg.cho_factor(gram + LOAD * np.eye(len(gram)))
            solution = scipy.linalg.cho_solve(factor, right, check_finite=False)  # nan stays in its own column
        except scipy.linalg.LinAlgError:  # with very many sources, rounding errors exceed the load
            solution = scipy.linalg.lstsq(gram, right, cond=LOAD)[0]
        # The second term cancels the effect of the load to first order.
        energies = np.sum(solution * right, axis=0) + LOAD * np.sum(solution**2, axis=0)
        filters = (solution / norms[:, None]).T.reshape(-1, len(sources), taps)
        return filters, energies

    def projections(self, taps: int) -> tuple[np.ndarray, np.ndarray]:
        """Energies (B, J) of each estimate's projections on its own reference and on all; nan where undefined."""
        own, every = np.full((2, *self.energies.shape), np.nan)
        estimates = self.estimates[..., :taps]
        for j in self.sounding:
            own[:, j] = self.filters([j], estimates[:, :, j])[1]
        if len(self.sounding) > 1:
            every[:] = self.filters(self.sounding, estimates.reshape(len(estimates), -1, taps))[1].reshape(every.shape)
        return own, every

    def all_filters(self) -> tuple[np.ndarray, np.ndarray]:
        """Each estimate's filters on its own reference (B, J, taps) and on all references (B, J, J, taps)."""
        sources = list(range(len(self.references)))
        batch, taps = len(self.energies), self.estimates.shape[-1]
        own = np.stack([self.filters([j], self.estimates[:, :, j])[0][:, 0] for j in sources], axis=1)
        every, _ = self.filters(sources, self.estimates.reshape(len(sources), -1, taps))
        return own, every.reshape(batch, len(sources), len(sources), taps)

    def sources(self, taps: int = TAPS) -> Sources:
        """The scores of `bss_eval_sources`, with filters of at most the taps correlated."""
        own, every = self.projections(taps)
        sdr = _decibels(own, self.energies - own)
        sir = _decibels(own, every - own) + self._same()
        sar = _decibels(every, self.energies - every)
        return Sources(*map(self._scores, (sdr, sir, sar)))

    def images(self, taps: int = TAPS) -> Images:
        """The scores of `bss_eval_images`, with filters of at most the taps correlated."""
        own, every = self.projections(taps)
        references = np.broadcast_to(self.reference_energies, self.energies.shape)  # (B, J)
        common = self.estimates[..., 0].diagonal(axis1=0, axis2=2)  # (B, J), inner products of reference and estimate
        sdr = _decibels(references, self.energies - 2 * common + references)
        isr = _decibels(references, own - 2 * common + references)
        sir = _decibels(own, every - own) + self._same()
        sar = _decibels(every, self.energies - every)
        return Images(*map(self._scores, (sdr, isr, sir, sar)))

    def _same(self) -> np.ndarray:
        """nan for references that equal another one up to a gain, else 0: (J,)."""
        norms = np.sqrt(np.maximum(self.reference_energies, np.finfo(float).tiny))
        cosines = np.abs(self.references[:, :, 0]) / np.outer(norms, norms)
        np.fill_diagonal(cosines, 0)
        return np.where(cosines.max(axis=1) > 1 - RESOLUTION, np.nan, 0)

    def _scores(self, decibels: np.ndarray) -> np.ndarray:
        """Scores (B, J) as (..., J), nan where there is nothing to score."""
        silent = ~((self.energies > 0) & (self.energies < np.inf))
        silent |= ~np.isin(np.arange(self.energies.shape[1]), self.sounding)
        return np.where(silent, np.nan, decibels).reshape(self.shape)


def correlate(references: np.ndarray, estimates: np.ndarray, taps: int = TAPS) -> Correlations:
    """Correlations of references (J, samples) and estimates (..., J, samples), for all scores in one pass."""
    references, estimates = _signals(references, estimates)
    sources, samples = references.shape
    *batch, _, _ = estimates.shape
    estimates = estimates.reshape(-1, samples)
    size = min(FFT_SIZE, scipy.fft.next_fast_len(samples + taps - 1, real=True))
    step = max(size, 2 * taps) - taps + 1
    size = step + taps - 1
    energies = np.zeros(len(estimates))
    spectra = np.zeros((sources, sources + len(estimates), size // 2 + 1), complex)
    for start in range(0, samples, step):
        # `early` reaches back as far as the longest lag; `block` is zero there, so nothing wraps around.
        first, end = max(0, start - taps + 1), min(samples, start + step)
        early = np.zeros((sources, size))
        early[:, first - start + taps - 1 : end - start + taps - 1] = references[:, first:end]
        block = np.zeros((sources + len(estimates), size))
        block[:sources, taps - 1 : end - start + taps - 1] = references[:, start:end]
        block[sources:, taps - 1 : end - start + taps - 1] = estimates[:, start:end]
        energies += _energy(block[sources:])
        early, block = scipy.fft.rfft(early).conj(), scipy.fft.rfft(block)
        with np.errstate(invalid="ignore"):  # from samples that are not finite; they become nan
            for source in range(sources):
                spectra[source] += early[source] * block
    lags = scipy.fft.irfft(spectra, size)[..., :taps]
    return Correlations(
        lags[:, :sources],
        lags[:, sources:].reshape(sources, -1, sources, taps),
        energies.reshape(-1, sources),
        (*batch, sources),
    )


def _signals(references: np.ndarray, estimates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    references, estimates = np.asarray(references), np.asarray(estimates)
    if references.ndim != 2 or estimates.shape[-2:] != references.shape:
        raise ValueError(
            "expected references (sources, samples) and estimates (..., sources, samples) of the same sources and "
            f"samples, found {references.shape} and {estimates.shape}"
        )
    if len(references) > MOST_SOURCES or 0 in references.shape:
        raise ValueError(f"expected (sources, samples) of 1 to {MOST_SOURCES} sources, found {references.shape}")
    return references, estimates


def _energy(signals: np.ndarray) -> np.ndarray:
    return np.einsum("...n,...n->...", signals, signals)


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(noise <= RESOLUTION * signal, np.inf, np.maximum(signal, 0) / noise)
        return 10 * np.log10(np.where(ratio < RESOLUTION, 0, ratio))
