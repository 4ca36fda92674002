"""Several processes that train one network together, each on its share of every batch.

    torchrun --nproc-per-node 2 train_feedforward.py DATASET

torchrun starts the processes and tells each its rank. All hold the same weights, since all take the same steps: with
the mean gradient over the frames of the whole batch, whoever has computed them. So N ranks learn what one learns, but
for rounding. Rank 0 writes and tells. Without torchrun there is one rank, and all of this does nothing.
"""

import contextlib
import io
import os
from collections.abc import Iterator

import torch
from torch import distributed

from process.errors import UserError


def ranks() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    return distributed.get_rank() if ranks() > 1 else 0


def leads() -> bool:
    """Whether this process is the one that writes and tells."""
    return rank() == 0


def hidden() -> bool | None:
    """tqdm's `disable`: bars are shown by rank 0 and on a terminal only."""
    return None if leads() else True


def share() -> slice:
    """What of a batch is for this process."""
    return slice(rank(), None, ranks())


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within, the processes that torchrun has started work together; all but rank 0 print nothing."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # from now on, that is what "cuda" means
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
        what = "another process of this training has ended, or cannot be reached"
        raise UserError(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}: {what}") from error


def same_everywhere(network: torch.nn.Module) -> None:
    """Give every rank the weights and statistics of rank 0."""
    if ranks() > 1:
        with _others_needed():
            for tensor in network.state_dict().values():
                distributed.broadcast(tensor, 0)


def seed_epoch(seed: int, epoch: int) -> None:
    """Let each rank draw its own dropout, the same in a run that is resumed; one rank alone keeps its random state."""
    if ranks() > 1:
        torch.manual_seed((seed * 1_000_003 + epoch) * ranks() + rank() & (1 << 63) - 1)


def average_gradients(network: torch.nn.Module, frames: int) -> None:
    """Replace gradients, means over a rank's `frames` (perhaps none), by those over the frames of all ranks."""
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
    """The sum over all ranks of each value."""
    if ranks() == 1:
        return list(values)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    together = torch.tensor(values, dtype=torch.float64, device=device)
    with _others_needed():
        distributed.all_reduce(together)
    return together.tolist()
