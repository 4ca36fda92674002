"""BSS_EVAL: how close an estimated source comes to the true one, in dB (Vincent, Gribonval and Févotte 2006).

The estimate is taken apart as target + interference + artifacts; SDR = target / (interference + artifacts),
SIR = target / interference, SAR = (target + interference) / artifacts. The versions differ in what counts as target:
the reference times a gain (v2.1), or through any filter of 512 taps (v3).
"""

import warnings

import mir_eval
import numpy as np


def bss_eval_gain(references: np.ndarray, estimate: np.ndarray) -> tuple[float, float, float]:
    """BSS_EVAL v2.1 with a gain as the only allowed distortion (bss_decomp_gain), for the first source.

    references: (sources, samples), the first one is estimated by `estimate` (samples,).
    Returns SDR, SIR, SAR in dB; NaN if a reference or the estimate is silent.
    """
    references, estimate = references.astype(np.float64), estimate.astype(np.float64)
    gram = references @ references.T
    if not gram.diagonal().all() or not estimate.any():
        return np.nan, np.nan, np.nan
    target = references[0] * (references[0] @ estimate) / gram[0, 0]
    all_sources = np.linalg.lstsq(gram, references @ estimate, rcond=None)[0] @ references
    interference, artifacts = all_sources - target, estimate - all_sources
    return (
        _decibels(target, interference + artifacts),
        _decibels(target, interference),
        _decibels(all_sources, artifacts),
    )


def bss_eval_sources(references: np.ndarray, estimate: np.ndarray) -> tuple[float, float, float]:
    """BSS_EVAL v3 'sources' (512-tap filters) by mir_eval, for the first source, without permutation.

    references: (sources, samples), the first one is estimated by `estimate` (samples,).
    Returns SDR, SIR, SAR in dB; with a single source SIR is infinite by definition. NaN if a reference or the estimate
    is silent.
    """
    if not references.any(axis=1).all() or not estimate.any():
        return np.nan, np.nan, np.nan
    estimates = np.concatenate([estimate[None], references[1:]])  # mir_eval wants one for each source; only ours counts
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # mir_eval announces that the module will go: see requirements.txt
        sdr, sir, sar, _ = mir_eval.separation.bss_eval_sources(references, estimates, compute_permutation=False)
    return float(sdr[0]), float(sir[0]), float(sar[0])


def _decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.sum(signal**2) / np.sum(noise**2)))
