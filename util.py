"""Sound files, STFT and inverse STFT, checkpoints, seeds and devices: what every other file stands on.

Coming from MATLAB, the first four functions are the ones you know:

    waveform, rate = wavread("song.wav")                # (channels, samples), float32 in [-1, 1]
    spectrum = stft(torch.from_numpy(waveform), audio)  # (channels, frames, bins), complex
    waveform = istft(spectrum, audio, samples)          # (channels, samples)
    wavwrite("copy.wav", waveform.numpy(), rate)
"""

import contextlib
import dataclasses
import functools
import pickle
import platform
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from errors import UserError, whole_file

# ---------------------------------------------------------------------------------------------- sound files

READ_BLOCK = 1 << 18  # samples read or written at once
UNKNOWN_LENGTH = 1 << 62  # libsndfile reports about 2**63 frames where a header gives no length


@contextlib.contextmanager
def _open_sound(path: str | Path) -> Iterator[soundfile.SoundFile]:
    """Open a sound file for reading, with every failure as a UserError that names it."""
    path = Path(path)
    if path.suffix.lower() == ".raw":
        raise UserError(f"{path}: expected a sound file with a header, found a name ending in .raw")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: expected a sound file, found a folder")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: expected a sound file, found an empty file")
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames == 0:
                raise UserError(f"{path}: expected sound, found a file with no samples")
            if file.frames >= UNKNOWN_LENGTH:
                raise UserError(f"{path}: expected a header that tells the length, found one written for a stream")
            cut_off = _cut_off(file, path)
            if cut_off:
                raise UserError(f"{path}: cut off: {cut_off}")
            yield file
    except (soundfile.LibsndfileError, OSError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise UserError(f"{path}: cannot be read as sound: {reason.rstrip('.')}") from error


@dataclasses.dataclass(frozen=True)
class SoundInfo:
    """What a sound file's header says: rate in Hz, samples per channel, libsndfile's format and sample type.

    For MP3 files without a Xing or Info tag the number of samples is libsndfile's estimate.
    """

    rate: int
    channels: int
    samples: int
    format: str
    subtype: str


def sound_info(path: str | Path) -> SoundInfo:
    """Read a sound file's header. Raises UserError for files that are missing, no sound, empty or cut off."""
    with _open_sound(path) as file:
        return SoundInfo(file.samplerate, file.channels, file.frames, file.format, file.subtype)


def _cut_off(file: soundfile.SoundFile, path: Path) -> str | None:
    """How a WAV or OGG file shows that its end is missing, which libsndfile passes over; None if it is whole.

    WAV: libsndfile's log tells, 'data : 88200 (should be 44100)'. Lengths near 2**32 are what programs write into a
    pipe, where the length is not known: no error. OGG: the last page lacks the mark of the last page. A FLAC file
    gives less than its header says, which `wavread` sees; the end of an MP3 file cannot be told from a cut.
    """
    for line in file.extra_info.splitlines():
        name, _, sizes = line.partition(":")
        if name.strip() == "data" and "should be" in sizes:
            numbers = [int(word) for word in sizes.replace("(", " ").replace(")", " ").split() if word.isdigit()]
            if len(numbers) == 2 and numbers[1] < numbers[0] < 0x7FFF0000:
                return f"expected {numbers[0]} bytes of sound, found {numbers[1]}"
    if file.format == "OGG":
        with path.open("rb") as data:
            data.seek(max(0, path.stat().st_size - (1 << 17)))  # more than the longest page
            end = data.read()
        page = end[end.rfind(b"OggS") :]  # 27 bytes: mark, version, flags, ..., number of segments; their sizes
        whole = len(page) > 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
        if not (page.startswith(b"OggS") and whole and page[5] & 4):
            return "expected the last page of an OGG stream, found none"
    return None


def wavread(path: str | Path, start: int = 0, samples: int | None = None) -> tuple[np.ndarray, int]:
    """Read a sound file (WAV, FLAC, OGG, MP3 and whatever else libsndfile knows), or a piece of it by seeking.

    start: first sample; samples: how many (default: to the end).
    Returns waveform (channels, samples), float32 in [-1, 1], and the rate in Hz.
    Raises UserError if the file is missing, no sound, empty or cut off, or holds NaN or infinite samples.
    """
    blocks = []
    with _open_sound(path) as file:
        file.seek(start)
        expected = file.frames - start if samples is None else samples
        wanted = expected
        while wanted > 0:
            block = file.read(min(wanted, READ_BLOCK), "float32", always_2d=True)  # (samples, channels)
            if len(block) == 0:
                break
            blocks.append(block)
            wanted -= len(block)
    found = expected - wanted
    whole_mp3 = samples is None and file.format == "MP3"  # its length may be an estimate
    if found == 0 or (wanted > 0 and not whole_mp3):
        raise UserError(f"{path}: cut off: expected {expected} samples from {start} on, found {found}")
    waveform = np.concatenate(blocks)
    if not np.isfinite(waveform).all():
        raise UserError(f"{path}: expected finite samples, found NaN or infinity")
    return np.ascontiguousarray(waveform.T), file.samplerate


def output_format(path: str | Path) -> str:
    """libsndfile's name of the format that a file to be written has by its extension.

    Raises UserError for unknown extensions and folders that do not exist: ask before the work, not after it.
    """
    path = Path(path)
    file_format = path.suffix[1:].upper()
    if file_format not in soundfile.available_formats() or file_format == "RAW":
        raise UserError(f"{path}: expected a name ending in .wav, .flac, .ogg or .mp3, found '{path.suffix}'")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder '{path.parent}'")
    return file_format


def wavwrite(path: str | Path, waveform: np.ndarray, rate: int, subtype: str | None = None) -> None:
    """Write waveform (samples,) or (channels, samples), float in [-1, 1], in the format of the path's extension.

    subtype: libsndfile's name of the sample type, e.g. PCM_16, PCM_24, FLOAT (default: the format's usual one).
    Raises UserError for unknown extensions, impossible combinations, NaN or infinite samples and write errors; then
    no file is left.
    """
    file_format = output_format(path)
    if subtype is not None and not soundfile.check_format(file_format, subtype):
        raise UserError(f"{path}: {file_format} files cannot hold {subtype} samples")
    if not np.isfinite(waveform).all():
        raise UserError(f"{path}: expected finite samples to write, found NaN or infinity")
    frames = np.atleast_2d(waveform).T  # (samples, channels)
    with whole_file(path) as temporary:
        try:
            with soundfile.SoundFile(temporary, "w", rate, frames.shape[1], subtype, format=file_format) as file:
                for start in range(0, len(frames), READ_BLOCK):  # libvorbis overflows its stack on long blocks
                    file.write(frames[start : start + READ_BLOCK])
        except soundfile.LibsndfileError as error:
            raise UserError(
                f"{path}: cannot be written ({rate} Hz, {frames.shape[1]} channels): {error.error_string}"
            ) from error


def resample(waveform: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the rate of waveform (..., samples) with soxr, float32; round(samples * to_rate / from_rate) samples."""
    if from_rate == to_rate:
        return waveform
    flat = waveform.reshape(-1, waveform.shape[-1])
    resampled = np.stack([soxr.resample(np.ascontiguousarray(channel), from_rate, to_rate) for channel in flat])
    return resampled.reshape(*waveform.shape[:-1], -1).astype(np.float32, copy=False)


# ---------------------------------------------------------------------------------------------- STFT

WINDOWS = {"hamming": torch.hamming_window, "hann": torch.hann_window}


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """How sound becomes frames: rate in Hz, block (window length) and hop in samples, window's name."""

    sample_rate: int = 32000
    block: int = 4096
    hop: int = 2048
    window: str = "hamming"

    def __post_init__(self):
        if not (self.sample_rate > 0 and 0 < self.hop <= self.block // 2 and self.block % 2 == 0):
            raise UserError(
                f"expected rate > 0, an even block and 0 < hop <= block / 2, found rate {self.sample_rate}, "
                f"block {self.block}, hop {self.hop}"
            )
        if self.window not in WINDOWS:
            raise UserError(f"expected a window of {', '.join(WINDOWS)}, found '{self.window}'")

    @property
    def bins(self) -> int:
        return self.block // 2 + 1

    def frames(self, samples: int) -> int:
        """Number of STFT frames of a waveform with that many samples; frame f is centred at sample f * hop."""
        return -(-samples // self.hop) + 1

    def __str__(self) -> str:
        return f"{self.sample_rate} Hz, block {self.block}, hop {self.hop}, {self.window} window"


@functools.lru_cache(maxsize=256)  # training at random speeds uses some fifty blocks
def _window(audio: AudioConfig, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The analysis window, of sum 1: scipy's 'spectrum' scaling. Made in float64, which saves a digit."""
    window = WINDOWS[audio.window](audio.block, periodic=True, dtype=torch.float64)
    return (window / window.sum()).to(device, dtype)


def stft(waveform: torch.Tensor, audio: AudioConfig, pad: bool = True) -> torch.Tensor:
    """Short-time Fourier transform, equal to scipy.signal.stft with its default scaling ('spectrum') and padding.

    waveform: (..., samples), at least 1 sample. Returns complex (..., frames, bins); a sine of amplitude 1 has
    magnitude 0.5. pad=False makes only frames that lie wholly inside the waveform, the first one starting at
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
    *batch, frames, bins = spectrum.shape
    window = _window(audio, spectrum.real.dtype, spectrum.device)
    flat = spectrum.reshape(-1, frames, bins).transpose(-1, -2)  # (batch, bins, frames)
    waveform = torch.istft(flat, audio.block, audio.hop, window=window, center=True, length=samples)
    return waveform.reshape(*batch, samples)


# ---------------------------------------------------------------------------------------------- checkpoints

CHECKPOINT_FORMAT = 1


def save_checkpoint(path: str | Path, network: torch.nn.Module, audio: AudioConfig, **facts) -> None:
    """Write a network with its configuration and `facts` (plain values and tensors only), whole or not at all."""
    checkpoint = {
        "format": CHECKPOINT_FORMAT,
        "name": network.name,
        "config": dataclasses.asdict(network.config),
        "audio": dataclasses.asdict(audio),
        "weights": {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()},
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        **facts,
    }
    with whole_file(path) as temporary:
        try:
            torch.save(checkpoint, temporary)
        except RuntimeError as error:  # torch's zip writer turns a full disk into a RuntimeError
            raise OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: str | Path, name: str | None = None) -> dict:
    """Read a checkpoint (of the network called `name`, if given) without running any code that the file may hold.

    Raises UserError if it is missing, no checkpoint, cut off, of another network or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's doubts about a file that it then refuses
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: expected a checkpoint of plain values, found other data or code (not run)") from error
    except Exception as error:  # a broken zip file raises whatever the damaged bytes lead to
        raise UserError(f"{path}: expected a checkpoint, found a damaged or different file") from error
    needed = {"format", "name", "config", "audio", "weights"}
    if not (isinstance(checkpoint, dict) and needed <= checkpoint.keys() and isinstance(checkpoint["format"], int)):
        raise UserError(f"{path}: expected a checkpoint of this program, found another kind of file")
    if checkpoint["format"] > CHECKPOINT_FORMAT:
        raise UserError(
            f"{path}: expected checkpoint format {CHECKPOINT_FORMAT}, found the newer {checkpoint['format']}"
        )
    if name is not None and checkpoint["name"] != name:
        raise UserError(f"{path}: expected a checkpoint of the {name} network, found one of {checkpoint['name']}")
    return checkpoint


def load_network(path: str | Path, network_class: type) -> tuple[torch.nn.Module, AudioConfig, dict]:
    """Rebuild a network from its checkpoint alone. Returns (network in eval mode, its AudioConfig, checkpoint)."""
    checkpoint = load_checkpoint(path, network_class.name)
    try:
        network = network_class(network_class.Config(**checkpoint["config"]))
        network.load_state_dict(checkpoint["weights"])
        audio = AudioConfig(**checkpoint["audio"])
        if audio.bins != network.config.bins:
            raise ValueError(f"{audio.bins} bins of sound, {network.config.bins} of the network")
    except (TypeError, ValueError, RuntimeError, UserError) as error:
        raise UserError(f"{path}: its parts do not fit together: {error}".splitlines()[0]) from error
    return network.eval(), audio, checkpoint


# ---------------------------------------------------------------------------------------------- seed and device


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch. The data does not depend on it: each excerpt has a generator of its own."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def choose_device(name: str) -> torch.device:
    """The device called `name` (cpu, cuda, cuda:1, mps), or for 'auto' the best one. Raises UserError if absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available here ({str(error).splitlines()[0]})") from error
    return device
