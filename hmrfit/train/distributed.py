"""Several processes that train one network, started by `torchrun`; alone, everything here does nothing.

Each makes its own people, from its own seed; gradients are averaged over all of them, so weights stay the same
everywhere. The first process (rank 0) writes the files.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


def join(backend: str) -> None:
    """Meet the other processes that `torchrun` started, if it did. backend: "gloo" (CPU) or "nccl" (GPUs)."""
    if distributed.is_available() and distributed.is_torchelastic_launched() and not distributed.is_initialized():
        distributed.init_process_group(backend)


def leave() -> None:
    """The end of what `join` began."""
    if together():
        distributed.destroy_process_group()


def together() -> bool:
    """Has this process others beside it?"""
    return distributed.is_available() and distributed.is_initialized()


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if together() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if together() else 0


def local_rank() -> int:
    """Which it is on this machine: the number of its GPU."""
    return distributed.get_node_local_rank() if together() else 0


def shared(network: nn.Module, device: torch.device) -> nn.Module:
    """`network` such that its gradients are averaged over the processes; the same weights, whichever is asked."""
    if not together():
        return network
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """For networks that are used several times before one backward pass, which `shared` does not serve."""
    if not together():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / world()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def from_everyone(value: Any) -> list[Any]:
    """The processes' values, in the order of their ranks; all of them have to ask."""
    if not together():
        return [value]
    values: list[Any] = [None] * world()
    distributed.all_gather_object(values, value)
    return values


def same_everywhere(tensors: Iterable[Tensor]) -> bool:
    """Do all processes hold the same bits? All of them have to ask."""
    mine = [t.detach().cpu() for t in tensors]
    return all(torch.equal(a, b) for other in from_everyone(mine) for a, b in zip(mine, other, strict=True))
