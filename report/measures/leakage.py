"""Where and why an estimated voice is wrong: what a mask lets through of each source, by frame and by band.

A mask is linear in the mixture: applied to each source alone, it gives parts whose sum is the estimate. So the error of
an estimated voice splits into two parts that can be measured apart: lost voice and leaked accompaniment.
"""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import median_filter

from networks.hearing import Hearing
from songs.song import Song
from sound.resampling import resample
from util import AudioConfig, istft, stft

FRAME, STEP = 0.064, 0.016  # seconds: length and distance of the frames of this analysis, whatever the network's block
BANDS = (0, 250, 500, 1000, 2000, 4000, 8000)  # Hz
REST = -25.0  # dB relative to its loud frames (95th percentile): below this, the voice rests
PITCHES = (80.0, 800.0)  # Hz, of singing
VOICED = 0.6  # above this autocorrelation, a frame has a pitch
LEVELS = (-np.inf, -10, -5, 0, 5, 10, np.inf)  # dB, voice to accompaniment in a frame
DRAWS = 2000  # bootstrap samples
PARTS = ("voice", "error", "lost", "leak", "accompaniment", "estimate")  # whose energies are measured

Mask = Callable[[torch.Tensor], torch.Tensor]  # spectra (sources, frames, bins) -> (frames, bins), nonnegative


def read_sources(song: Song, rate: int) -> np.ndarray:
    """Voice and accompaniment at `rate`, (2, samples), float32, scaled so that the voice's RMS is 0.1."""
    mixture, vocals = resample(song.read(), song.rate, rate)
    level = np.sqrt(np.mean(np.square(vocals, dtype=np.float64)))
    return (np.stack([vocals, mixture - vocals]) * (0.1 / max(level, 1e-6))).astype(np.float32)


# ---------------------------------------------------------------------------------------------- masks


def mask_of(network: torch.nn.Module, audio: AudioConfig) -> Mask:
    """A network's mask of a whole song, as in separation."""

    def mask(spectra: torch.Tensor) -> torch.Tensor:
        mixture = spectra.sum(0)[None]  # (1, frames, bins)
        return Hearing(network, audio).put_back(network(mixture.abs())[0])[0]

    return mask


def ideal_ratio_mask(spectra: torch.Tensor) -> torch.Tensor:
    magnitudes = spectra.abs()
    return magnitudes[0] / (magnitudes.sum(0) + 1e-12)


def ideal_binary_mask(spectra: torch.Tensor) -> torch.Tensor:
    return (spectra[0].abs() > spectra[1:].sum(0).abs()).to(spectra.real.dtype)


def true_magnitude(spectra: torch.Tensor) -> torch.Tensor:
    """The voice's magnitude with the mixture's phase: the only error left is the phase."""
    return spectra[0].abs() / spectra.sum(0).abs().clamp(min=1e-12)


def best_mask(spectra: torch.Tensor) -> torch.Tensor:
    """The mask between 0 and 1 of least squared error: the voice's projection on the mixture's phase."""
    mixture = spectra.sum(0)
    return ((spectra[0] * mixture.conj()).real / mixture.abs().square().clamp(min=1e-24)).clamp(0, 1)


IDEAL = {
    "ideal ratio mask": ideal_ratio_mask,
    "ideal binary mask": ideal_binary_mask,
    "true magnitude, mixture's phase": true_magnitude,
    "best mask between 0 and 1": best_mask,
}


@torch.inference_mode()
def let_through(mask: Mask, sources: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Apply the mask to each of the sources (sources, samples), voice first. Returns the same shape, whose sum is the
    estimate of the voice."""
    spectra = stft(torch.from_numpy(sources), audio)
    return istft(spectra * mask(spectra), audio, sources.shape[1]).numpy()


@torch.inference_mode()
def with_true_phase(mask: Mask, sources: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """The estimate's magnitude with the true voice's phase, (samples,)."""
    spectra = stft(torch.from_numpy(sources), audio)
    magnitude = mask(spectra) * spectra.sum(0).abs()
    return istft(torch.polar(magnitude, spectra[0].angle()), audio, sources.shape[1]).numpy()


def decibels(numerator: float, denominator: float) -> float:
    return float(10 * np.log10(max(numerator, 1e-20) / max(denominator, 1e-20)))


def energy(signal: np.ndarray) -> float:
    return float(np.sum(np.square(signal, dtype=np.float64)))


def sdr(voice: np.ndarray, estimate: np.ndarray) -> float:
    """Plain signal-to-noise ratio in dB (SDR of BSS_EVAL v3 `images`)."""
    return decibels(energy(voice), energy(estimate - voice))


# ---------------------------------------------------------------------------------------------- frames and bands


def power(signal: np.ndarray, rate: int) -> np.ndarray:
    """Power spectrum of signal (..., samples): (..., frames, bins). Frame f is centred at sample f * hop."""
    block, hop = 2 * round(FRAME * rate / 2), round(STEP * rate)
    audio = AudioConfig(rate, block, hop, "hann")
    return stft(torch.from_numpy(np.ascontiguousarray(signal)), audio).abs().square().double().numpy()


def periodicity(signal: np.ndarray, rate: int) -> np.ndarray:
    """The highest autocorrelation of each frame of `power` at the lag of a sung pitch; 1 for a periodic frame.

    Divided by the window's autocorrelation (Boersma 1993, eq. 9). Returns (frames,).
    """
    block, hop = 2 * round(FRAME * rate / 2), round(STEP * rate)
    frames = 1 + -(-len(signal) // hop)
    padded = np.pad(signal.astype(np.float64), (block // 2, frames * hop + block))
    window = np.hanning(block)
    cut = np.stack([padded[frame * hop : frame * hop + block] * window for frame in range(frames)])
    lags = slice(int(rate / PITCHES[1]), int(rate / PITCHES[0]) + 1)

    def autocorrelation(blocks: np.ndarray) -> np.ndarray:
        found = np.fft.irfft(np.abs(np.fft.rfft(blocks, 2 * block)) ** 2)
        return found[..., lags] / np.maximum(found[..., :1], 1e-12)

    return (autocorrelation(cut) / autocorrelation(window)).max(axis=-1)


def voice_activity(voice: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Which frames of the true voice are voiced (with a pitch), unvoiced (breath, consonants) or rest: (frames,)."""
    levels = 10 * np.log10(power(voice, rate).sum(axis=-1) + 1e-12)
    rest = levels < np.percentile(levels, 95) + REST
    voiced = ~rest & (periodicity(voice, rate) > VOICED)
    return {"voiced": voiced, "unvoiced": ~rest & ~voiced, "rest": rest}


def parts_of(voice: np.ndarray, accompaniment: np.ndarray, through: np.ndarray) -> np.ndarray:
    """PARTS as signals (6, samples), from the true sources and what a mask let through of both."""
    estimate = through.sum(axis=0)
    return np.stack([voice, estimate - voice, through[0] - voice, through[1], accompaniment, estimate])


@dataclasses.dataclass
class Groups:
    """Energies of PARTS by group of frames or by band: {group: one (6,) per song}."""

    energies: dict[str, list] = dataclasses.field(default_factory=dict)

    def add(self, sources: np.ndarray, through: np.ndarray, rate: int) -> None:
        """Add a song: its voice and accompaniment, and what a mask let through of them, both (2, samples)."""
        voice, accompaniment = sources
        spectra = power(parts_of(voice, accompaniment, through), rate)  # (6, frames, bins)
        frames = voice_activity(voice, rate)
        by_frame, sings = spectra.sum(axis=-1), ~frames["rest"]
        pitched = periodicity(accompaniment, rate) > VOICED
        frames["rest, accompaniment with a pitch"] = ~sings & pitched
        frames["rest, accompaniment without"] = ~sings & ~pitched
        levels = 10 * np.log10((by_frame[0] + 1e-12) / (by_frame[4] + 1e-12))
        for low, high in itertools.pairwise(LEVELS):
            frames[f"ratio {low:g} to {high:g} dB"] = sings & (levels >= low) & (levels < high)
        frames["all frames"], frames["singing"] = np.ones_like(sings), sings
        found = {name: by_frame[:, chosen].sum(axis=1) for name, chosen in frames.items()}
        bins = np.linspace(0, rate / 2, spectra.shape[-1])
        for low, high in itertools.pairwise(BANDS):
            found[f"{low} to {high} Hz"] = spectra[..., (bins >= low) & (bins < high)].sum(axis=(1, 2))
        for name, own in found.items():
            self.energies.setdefault(name, []).append(own)
            self.energies.setdefault(f"frames of {name}", []).append(frames[name].sum() if name in frames else 0)

    def summary(self, other: "Groups | None" = None) -> dict[str, dict]:
        """Figures of each group, pooled over the songs. With `other`, also by how much this SDR is higher."""
        names = [name for name in self.energies if not name.startswith("frames of ")]
        frames = {name: sum(self.energies[f"frames of {name}"]) for name in names}
        voice = sum(own[0] for own in self.energies["all frames"])
        found = {}
        for name in names:
            table = np.array(self.energies[name])  # (songs, 6)
            signal, error, lost, leak, accompaniment, estimate = table.sum(axis=0)
            draws = np.random.default_rng(0).integers(0, len(table), (DRAWS, len(table)))
            found[name] = {
                "share of the frames": frames[name] / frames["all frames"],
                "share of the voice's energy": signal / voice,
                "mixture": decibels(signal, accompaniment),
                "SDR": decibels(signal, error),
                "interval of SDR": _interval(_ratios(table, draws)),
                "voice to lost voice": decibels(signal, lost),
                "voice to leak": decibels(signal, leak),
                "leak to accompaniment": decibels(leak, accompaniment),
                "estimate to accompaniment": decibels(estimate, accompaniment),
            }
            if other:
                theirs = np.array(other.energies[name])
                found[name]["SDR more"] = decibels(signal, error) - decibels(*theirs.sum(axis=0)[:2])
                found[name]["interval of SDR more"] = _interval(_ratios(table, draws) - _ratios(theirs, draws))
        return found


def _ratios(table: np.ndarray, draws: np.ndarray) -> np.ndarray:
    signal, error = table[draws].sum(axis=1)[:, :2].T
    return 10 * np.log10(np.maximum(signal, 1e-20) / np.maximum(error, 1e-20))


def _interval(values: np.ndarray) -> list[float]:
    return np.percentile(values, [2.5, 97.5]).tolist()


# ---------------------------------------------------------------------------------------------- kinds of sound


def drums_apart(sound: np.ndarray, rate: int) -> np.ndarray:
    """Split a sound (samples,) into tones, smooth in time, and drums, smooth in frequency: (2, samples).

    Median filters over 0.3 s and over 500 Hz of the spectrogram make two soft masks whose sum is 1 (Fitzgerald 2010).
    """
    audio = AudioConfig(rate, 2 * round(FRAME * rate / 2), round(STEP * rate), "hann")
    spectrum = stft(torch.from_numpy(sound), audio)
    magnitude = spectrum.abs().numpy()
    steady = median_filter(magnitude, (round(0.3 / STEP) | 1, 1)) ** 2
    struck = median_filter(magnitude, (1, round(500 * FRAME) | 1)) ** 2
    share = torch.from_numpy(struck / (steady + struck + 1e-20))
    drums = istft(spectrum * share, audio, len(sound)).numpy()
    return np.stack([sound - drums, drums])


def reverberation(voice: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """The tail that a room with this reverberation time adds to a voice (samples,), as loud as the voice itself.

    Its impulse response is noise, always the same, that begins at 5 ms and decays by 60 dB in `seconds` (Polack's model
    of late reverberation).
    """
    time = np.arange(round(1.5 * seconds * rate)) / rate
    response = np.random.default_rng(0).standard_normal(len(time)) * 10 ** (-3 * time / seconds) * (time > 0.005)
    length = len(voice) + len(response) - 1
    tail = np.fft.irfft(np.fft.rfft(voice, length) * np.fft.rfft(response, length), length)[: len(voice)]
    return (tail * np.sqrt(energy(voice) / max(energy(tail), 1e-20))).astype(np.float32)


def plain(value):
    """For JSON: figures of 5 digits, no numpy types."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float | np.floating) else value
