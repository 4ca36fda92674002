"""The device that networks run on, and how runs on it repeat themselves."""

import contextlib
import os
from collections.abc import Iterator

import torch

from process.errors import UserError, lack_of_memory


def choose_device(name: str) -> torch.device:
    """The device called `name` (cpu, cuda, cuda:1, mps), or, for 'auto', the fastest. Raises UserError if missing.

    If it is CUDA's, this process computes there what the CPU would: see `_be_exact`.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(name).type
        if kind == "meta":
            raise RuntimeError("its tensors hold no numbers")
        if kind == "cuda":
            _be_exact()
        return torch.zeros(1, device=name).device  # with its number: in another thread, "cuda" may be another one
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: not available here ({str(error).splitlines()[0]})") from error


def _be_exact() -> None:
    """On CUDA, give the same bits in every run, and compute in 32 bits what has 32 bits.

    torch warns of an operation that cannot be repeated to the bit; the networks have none that is known.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS, and cuDNN's LSTM, read it when they start
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # or memory is written twice
    torch.backends.cudnn.allow_tf32 = False  # else the LSTM rounds what it multiplies to 11 bits


@contextlib.contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Raise UserError where memory is lacking, on any device, and on Apple's GPUs (mps) for all that fails."""
    try:
        yield
    except (RuntimeError, TypeError, MemoryError) as error:
        if lack := lack_of_memory(error):
            raise UserError(lack) from error
        if device.type != "mps" and not isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(f"--device {device}: {str(error).splitlines()[0]} (--device cpu always works)") from error


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device. To CUDA it travels while the caller, and what CUDA is computing, go on."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
