"""The fit on another device: everything a fitter holds, its networks too, moved.

    numbers in (CPU) -> a copy of the fitter on the device: starts, stages, modes, acceptance -> numbers out (CPU)

What is given and what comes out stays on the processor.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from hmrfit.network.inference import unpacked


def moved(value: Any, device: torch.device, known: dict[int, Any] | None = None) -> Any:
    """A copy whose tensors are on the device: of tensors, networks, tables, objects of this library and their parts;
    whatever else comes back as it is. What was one object stays one, and where a part says its device, it is this."""
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    other: Any
    if isinstance(value, Tensor):
        other = value.to(device)
    elif isinstance(value, torch.device):
        other = device
    elif isinstance(value, nn.Module):
        other = (deepcopy(value) if device.type == "cpu" else unpacked(value)).to(device)
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
