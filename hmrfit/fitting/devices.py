"""The fit on another device: everything a fitter holds, moved; its networks asked where they are.

    numbers in (CPU) -> a copy of the fitter on the device: starts, stages, modes, acceptance -> numbers out (CPU)

The networks stay: a batch of people costs them a few milliseconds, and their layers are laid out for the CPU.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


def moved(value: Any, device: torch.device, known: dict[int, Any] | None = None) -> Any:
    """A copy whose tensors are on the device: of tensors, modules, tables, and objects of this library, their parts
    too; whatever else comes back as it is. What was one object stays one."""
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    other: Any
    if isinstance(value, Tensor):
        other = value.to(device)
    elif getattr(value, "stays_on_cpu", False):
        other = OnCpu(value, device)
    elif isinstance(value, nn.Module):
        other = deepcopy(value).to(device)
    elif isinstance(value, dict):
        other = {key: moved(part, device, known) for key, part in value.items()}
    elif type(value) in (list, tuple):
        other = type(value)(moved(part, device, known) for part in value)
    elif type(value).__module__.partition(".")[0] == "hmrfit" and hasattr(value, "__dict__"):
        other = known[id(value)] = object.__new__(type(value))
        other.__dict__.update({name: moved(part, device, known) for name, part in vars(value).items()})
    else:
        other = value
    known[id(value)] = other
    return other


class OnCpu:
    """A network that stays on the CPU: what it is given comes there, what it says goes to the device."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network, self._device = network, device

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._network, name)
        return lambda *given: moved(method(*moved(given, torch.device("cpu"))), self._device)
