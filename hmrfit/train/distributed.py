"""Data-parallel training by several processes that `torchrun` started; in a single process nothing here does anything.

Each process makes its own people, from its own seed; gradients are averaged over all of them, so every process holds
the same weights. The first (rank 0) writes the files.
"""

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Value = TypeVar("Value")


def initialize(backend: str) -> None:
    """Joins the process group that `torchrun` started, if it did. backend: "gloo" (CPU) or "nccl" (GPUs)."""
    if distributed.is_available() and distributed.is_torchelastic_launched() and not distributed.is_initialized():
        distributed.init_process_group(backend)


def shut_down() -> None:
    """Leaves the process group that `initialize` joined."""
    if is_distributed():
        distributed.destroy_process_group()


def is_distributed() -> bool:
    """Is this one of several processes?"""
    return distributed.is_available() and distributed.is_initialized()


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if is_distributed() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if is_distributed() else 0


def local_rank() -> int:
    """The number of this process on its machine: that of its GPU."""
    return distributed.get_node_local_rank() if is_distributed() else 0


def data_parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` with its gradients averaged over the processes; it shares its weights with the one given."""
    if not is_distributed():
        return network
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """For networks that are used several times before one backward pass, which `data_parallel` does not serve."""
    if not is_distributed():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / world_size()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def gather(value: Value) -> list[Value]:
    """The processes' values, in the order of their ranks; every process has to call it."""
    if not is_distributed():
        return [value]
    values = [value] * world_size()
    distributed.all_gather_object(values, value)
    return values


def equal_on_all_ranks(tensors: Iterable[Tensor]) -> bool:
    """Do all processes hold the same bits? Every process has to call it."""
    mine = [t.detach().cpu() for t in tensors]
    return all(torch.equal(a, b) for other in gather(mine) for a, b in zip(mine, other, strict=True))
