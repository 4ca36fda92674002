"""Several processes train one network together, each on its share of every batch.

    torchrun --nproc-per-node 2 train_feedforward.py DATASET

torchrun starts the processes and gives each its rank. All take the same steps, with the mean gradient over all frames
of the batch, and so hold the same weights: N ranks learn what one learns, up to rounding. Rank 0 writes files and
messages. Without torchrun there is one rank, and all of this does nothing.
"""

import argparse
import contextlib
import io
import os
from collections.abc import Iterator

import torch
from torch import distributed

from process.cores import cores
from process.errors import UserError

PROCESSES, THREADS = 8, 4  # at most, that prepare batches for a GPU by default; threads mix on the GPU itself


def workers_for(options: argparse.Namespace, device: torch.device) -> int:
    """How many processes, or threads with --mix, prepare batches for a network on this device."""
    if options.workers is not None:
        return options.workers
    if device.type == "cpu" or (device.type == "mps" and options.mix):
        return 0  # the cores are the network's; for Apple's GPUs, see Separator.steps
    return THREADS if options.mix else max(1, min(PROCESSES, cores() - 1))


def ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    return distributed.get_rank() if ranks() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes files and messages."""
    return rank() == 0


def hidden() -> bool | None:
    """tqdm's `disable`: progress bars appear on rank 0 only, and only on a terminal."""
    return None if leads() else True


def share() -> slice:
    """The part of a batch that is this process's."""
    return slice(rank(), None, ranks())


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Connect the processes that torchrun has started. Within, all but rank 0 print nothing."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # from here on, "cuda" means this one
    with _others_needed():
        distributed.init_process_group()  # gloo for tensors on the CPU, nccl for those on a GPU
    try:
        with contextlib.nullcontext() if leads() else contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        distributed.destroy_process_group()


@contextlib.contextmanager
def _others_needed() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, distributed.DistError) as error:
        what = "another process of this run has ended or cannot be reached"
        raise UserError(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: {what}") from error


@contextlib.contextmanager
def leader_first() -> Iterator[None]:
    """Within, rank 0 goes first and the others follow when it is done: they find what it has left."""
    if not leads():
        with _others_needed():
            distributed.barrier()
    yield
    if ranks() > 1 and leads():
        with _others_needed():
            distributed.barrier()


def same_everywhere(network: torch.nn.Module) -> None:
    """Give every rank the weights and statistics of rank 0."""
    if ranks() > 1:
        with _others_needed():
            for tensor in network.state_dict().values():
                distributed.broadcast(tensor, 0)


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed each rank's own dropout, so that a resumed run draws the same. A single rank keeps its random state."""
    if ranks() > 1:
        torch.manual_seed((seed * 1_000_003 + epoch) * ranks() + rank() & (1 << 63) - 1)


def average_gradients(network: torch.nn.Module, frames: int) -> None:
    """Replace a rank's gradients, means over its `frames` (possibly 0), by the means over the frames of all ranks."""
    if ranks() == 1:
        return
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_ones(1)]) * frames
    with _others_needed():
        distributed.all_reduce(flat)
    means = (flat[:-1] / flat[-1]).split([parameter.numel() for parameter in parameters])
    for parameter, mean in zip(parameters, means, strict=True):
        parameter.grad = mean.view_as(parameter)


def sums(*values: float) -> list[float]:
    """Sum each value over all ranks."""
    if ranks() == 1:
        return list(values)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    together = torch.tensor(values, dtype=torch.float64, device=device)
    with _others_needed():
        distributed.all_reduce(together)
    return together.tolist()
