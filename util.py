"""Sound files, STFT and inverse STFT, and checkpoints: what every other file builds on.

The first four functions are the ones known from MATLAB:

    waveform, rate = wavread("song.wav")                # (channels, samples), float32 in [-1, 1]
    spectrum = stft(torch.from_numpy(waveform), audio)  # (channels, frames, bins), complex
    waveform = istft(spectrum, audio, samples)          # (channels, samples)
    wavwrite("copy.wav", waveform.numpy(), rate)
"""

import contextlib
import dataclasses
import functools
import io
import pickle
import platform
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from process.errors import UserError, whole_file
from sound.files import open_sound
from sound.samples import check_rate
from sound.writing import create_sound

# ---------------------------------------------------------------------------------------------- sound files


def wavread(path: str | Path, start: int = 0, samples: int | None = None) -> tuple[np.ndarray, int]:
    """Read a sound file (WAV, FLAC, OGG, MP3 or any other format of libsndfile), or a piece of it by seeking.

    start: first sample; samples: how many (default: all to the end).
    Returns waveform (channels, samples), float32 in [-1, 1], and the sample rate in Hz.
    Raises UserError if the file is missing, not sound, empty or cut off, or holds NaN or infinite samples.
    """
    with open_sound(path, start, samples) as sound:
        nothing = np.empty((0, sound.info.channels), np.float32)  # what is read if no samples are asked for
        waveform = np.concatenate([nothing, *(block.T for block in sound.blocks)])  # (samples, channels)
    return np.ascontiguousarray(waveform.T, np.float32), sound.info.rate


def wavwrite(path: str | Path, waveform: np.ndarray, rate: int, subtype: str | None = None) -> None:
    """Write waveform (samples,) or (channels, samples), float in [-1, 1], in the format of the path's extension.

    subtype: libsndfile's name of the sample type, e.g. PCM_16, PCM_24, FLOAT (default: the format's default).
    Raises UserError for unknown extensions, impossible combinations, NaN or infinite samples and write errors, and then
    leaves no file.
    """
    waveform = np.atleast_2d(waveform)
    with create_sound(path, rate, len(waveform), subtype, samples=waveform.shape[1]) as file:
        file.write(waveform)


# ---------------------------------------------------------------------------------------------- STFT

WINDOWS = {"hamming": torch.hamming_window, "hann": torch.hann_window}


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """How sound becomes frames: sample rate in Hz, block (window length) and hop in samples, name of the window."""

    sample_rate: int = 32000
    block: int = 4096
    hop: int = 2048
    window: str = "hamming"

    def __post_init__(self):
        numbers = (self.sample_rate, self.block, self.hop)
        whole = all(type(number) is int for number in numbers)
        if not (whole and self.sample_rate > 0 and 0 < self.hop <= self.block // 2 and self.block % 2 == 0):
            raise UserError(
                f"expected a sample rate > 0, an even block and 0 < hop <= block / 2, found rate {self.sample_rate}, "
                f"block {self.block}, hop {self.hop}"
            )
        check_rate(self.sample_rate, "the network")
        if self.window not in WINDOWS:
            raise UserError(f"expected a window ({' or '.join(WINDOWS)}), found '{self.window}'")

    @property
    def bins(self) -> int:
        return self.block // 2 + 1

    @property
    def bin_width(self) -> float:
        """Distance between neighbouring bins in Hz."""
        return self.sample_rate / self.block

    def frames(self, samples: int) -> int:
        """Number of STFT frames of a waveform with this number of samples; frame f is centred at sample f * hop."""
        return -(-samples // self.hop) + 1

    def __str__(self) -> str:
        return f"{self.sample_rate} Hz, block {self.block}, hop {self.hop}, {self.window} window"


@functools.lru_cache(maxsize=256)  # training at random speeds uses about fifty blocks
def _window(audio: AudioConfig, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The analysis window with sum 1, scipy's 'spectrum' scaling. Computed in float64, which saves a digit."""
    window = WINDOWS[audio.window](audio.block, periodic=True, dtype=torch.float64)
    return (window / window.sum()).to(device, dtype)


def stft(waveform: torch.Tensor, audio: AudioConfig, pad: bool = True) -> torch.Tensor:
    """Short-time Fourier transform, equal to scipy.signal.stft with its default scaling ('spectrum') and padding.

    waveform: (..., samples), at least 1 sample. Returns complex (..., frames, bins); a sine of amplitude 1 has
    magnitude 0.5. pad=False returns only the frames that lie wholly inside the waveform, of which the first starts at
    sample 0: for an excerpt that was cut with its context.
    """
    *batch, samples = waveform.shape
    flat = waveform.reshape(-1, samples)
    if pad:  # the last frame is centred on or after the last sample
        flat = torch.nn.functional.pad(flat, (0, -samples % audio.hop))
    window = _window(audio, waveform.dtype, waveform.device)
    spectrum = torch.stft(
        flat, audio.block, audio.hop, window=window, center=pad, pad_mode="constant", return_complex=True
    )  # (batch, bins, frames)
    return spectrum.transpose(-1, -2).reshape(*batch, -1, audio.bins)


def istft(spectrum: torch.Tensor, audio: AudioConfig, samples: int) -> torch.Tensor:
    """Inverse of `stft` by weighted overlap-add (Griffin and Lim 1984, eq. 6), equal to scipy.signal.istft.

    spectrum: complex (..., frames, bins). Returns (..., samples).
    """
    waveform, weight = overlap_add(spectrum, audio)
    start = audio.block // 2  # sample 0 is the centre of the first frame
    end = start + samples
    return waveform[..., start:end] / weight[start:end]


def overlap_add(spectrum: torch.Tensor, audio: AudioConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the windowed inverse transforms of spectrum (..., frames, bins), and sum of their squared windows.

    Both run from the start of the first frame to the end of the last: (..., samples) and (samples,), with samples =
    (frames - 1) * hop + block. Their quotient is the inverse STFT wherever no frame is missing.
    """
    window = _window(audio, spectrum.real.dtype, spectrum.device)
    frames = torch.fft.irfft(spectrum, audio.block)  # (..., frames, block)
    frames *= window
    return _overlap(frames, audio.hop), overlap_windows(window.new_ones(frames.shape[-2]), audio)


def overlap_windows(gain: torch.Tensor, audio: AudioConfig) -> torch.Tensor:
    """Sum of the frames' squared windows, each times its gain (..., frames). Shape as of `overlap_add`."""
    window = _window(audio, gain.dtype, gain.device)
    return _overlap(gain[..., None] * window.square(), audio.hop)


def _overlap(frames: torch.Tensor, hop: int) -> torch.Tensor:
    """Add frames (..., frames, block) that start every `hop` samples. Returns (..., (frames - 1) * hop + block)."""
    *batch, count, block = frames.shape
    hops = -(-block // hop)  # per frame; each step adds the same part of all frames at once
    total = frames.new_zeros(*batch, count + hops - 1, hop)
    for index in range(hops):
        part = frames[..., index * hop : (index + 1) * hop]  # (..., frames, up to hop)
        total[..., index : index + count, : part.shape[-1]] += part
    return total.flatten(-2)[..., : (count - 1) * hop + block]


# ---------------------------------------------------------------------------------------------- checkpoints

CHECKPOINT_FORMAT = 2
RETIRED = ("adapts", "bin_width", "pitches")  # fields of a network's config that only format 1 has


def checkpoint_of(network: torch.nn.Module, audio: AudioConfig, **facts) -> dict:
    """A network with its configuration and `facts` (plain values and tensors only)."""
    config: Any = network.config
    return {
        "format": CHECKPOINT_FORMAT,
        "name": network.name,
        "config": dataclasses.asdict(config),
        "audio": dataclasses.asdict(audio),
        "weights": {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        **facts,
    }


def save_checkpoint(path: str | Path, network: torch.nn.Module, audio: AudioConfig, **facts) -> None:
    """Write a checkpoint, atomically."""
    data = io.BytesIO()  # torch itself does not say why a file cannot be written
    torch.save(checkpoint_of(network, audio, **facts), data)
    with whole_file(path) as temporary:
        temporary.write_bytes(data.getvalue())  # a copy: with a view, Python 3.12.1 crashes after an error


def load_checkpoint(path: str | Path, *names: str) -> dict:
    """Read a checkpoint (of a network called one of `names`, if given) without running any code that it may contain.

    One of format 1 gets `in_tune`: whether its network learnt from songs brought in tune, which is no longer done.
    Raises UserError if it is missing, not a checkpoint, damaged, of another network or in a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about files that it then refuses
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: expected a checkpoint of plain values, found other data or code (not run)") from error
    except Exception as error:  # damaged bytes may raise anything
        raise UserError(f"{path}: expected a checkpoint, found a damaged or different file") from error
    needed = {"format", "name", "config", "audio", "weights"}
    if not (
        isinstance(checkpoint, dict)
        and needed <= checkpoint.keys()
        and isinstance(checkpoint["format"], int)
        and isinstance(checkpoint["name"], str)
        and isinstance(checkpoint["config"], dict)
        and _are_songs(checkpoint.get("songs", []))
    ):
        raise UserError(f"{path}: expected a checkpoint of this program, found another kind of file")
    if checkpoint["format"] > CHECKPOINT_FORMAT:
        raise UserError(
            f"{path}: expected checkpoint format {CHECKPOINT_FORMAT}, found the newer {checkpoint['format']}"
        )
    if names and checkpoint["name"] not in names:
        expected, found = " or ".join(names), checkpoint["name"]
        raise UserError(f"{path}: expected a checkpoint of the {expected} network, found one of the {found} network")
    if checkpoint["format"] == 1:
        config = checkpoint["config"]
        checkpoint["in_tune"] = config.get("adapts", True)
        checkpoint["config"] = {name: value for name, value in config.items() if name not in RETIRED}
    return checkpoint


def _are_songs(songs: Any) -> bool:
    """Whether these are names and seconds of songs, as training keeps them."""
    pairs = isinstance(songs, list) and all(isinstance(song, tuple) for song in songs)
    return pairs and all([*map(type, song)] == [str, float] for song in songs)


def _check_archive(path: Path) -> None:
    """Raise UserError unless a file is a zip archive, as torch.save writes, with contents no larger than itself.

    So nothing in it can take more memory than it has bytes, neither by compression nor in torch's older formats.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        with path.open("rb") as file:
            kind = "a damaged or different file" if file.read(2) == b"PK" else "other data or code (not run)"
        raise UserError(f"{path}: expected a checkpoint of plain values, found {kind}") from error
    if size > path.stat().st_size:
        raise UserError(f"{path}: expected a checkpoint, found a file that claims to hold {size} bytes of contents")


@contextlib.contextmanager
def _no_more_than(weights: dict[str, torch.Tensor]) -> Iterator[None]:
    """Inside, networks are made without memory; one with more parameters than `weights` raises ValueError."""
    parameters = 0

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter | None) -> None:
        nonlocal parameters
        parameters += parameter is not None
        if parameters > len(weights):
            raise ValueError(f"expected weights for every parameter, found weights for {len(weights)} parameters")

    hook = torch.nn.modules.module.register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def _check_weights(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Raise ValueError if `weights` lack any number of a network that was made without memory."""
    for name, expected in network.state_dict().items():
        found = weights.get(name)
        if not isinstance(found, torch.Tensor) or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            what = f"{tuple(found.shape)} of {found.dtype}" if isinstance(found, torch.Tensor) else "none"
            raise ValueError(f"expected {name} of shape {tuple(expected.shape)}, found {what}")
        if found.untyped_storage().nbytes() < found.numel() * found.element_size():
            raise ValueError(f"expected {found.numel()} numbers of {name}, found fewer, repeated")


def load_network(path: str | Path, *kinds: type[Any]) -> tuple[Any, AudioConfig, dict]:
    """Rebuild a network of one of these classes from its checkpoint alone.

    Returns (network in eval mode, its AudioConfig, checkpoint).
    Raises UserError, before any memory is allocated, if configuration and weights do not fit together.
    """
    known = {kind.name: kind for kind in kinds}
    checkpoint = load_checkpoint(path, *known)
    try:
        network, audio = rebuild(known[checkpoint["name"]], checkpoint)
    except Exception as error:  # values of the wrong type may raise anything
        raise UserError(f"{path}: its parts do not fit together: {error}".splitlines()[0]) from error
    return network, audio, checkpoint


def rebuild(network_class: type[Any], checkpoint: dict) -> tuple[Any, AudioConfig]:
    """The network in a checkpoint, in eval mode, with the checkpoint's own tensors, and its AudioConfig.

    Raises anything if configuration and weights do not fit together.
    """
    config = network_class.Config(**checkpoint["config"])
    with _no_more_than(checkpoint["weights"]):
        network = network_class(config)
    _check_weights(network, checkpoint["weights"])
    network.load_state_dict(checkpoint["weights"], assign=True)
    audio = AudioConfig(**checkpoint["audio"])
    if audio.bins != network.config.bins:
        raise ValueError(f"{audio.bins} bins in the audio configuration, {network.config.bins} in the network's")
    with torch.inference_mode():  # some values, such as a dropout of NaN, fail only here
        network.eval()(torch.zeros(1, 1, audio.bins))
    return network, audio
