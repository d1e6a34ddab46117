"""Another device without having one: tensors that say they are elsewhere, and refuse company from here.

Numbers stay on the CPU; what is checked is what a GPU would refuse: an operation whose tensors are on two devices, but
for those that torch allows to mix (numbers without axes, CPU indices in `x[index]`, copies).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
"""What the tensors say of themselves: a device that every torch has and whose tensors hold no numbers."""

aten = torch.ops.aten
INDICES_FROM_ANYWHERE = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
COPIES = (aten.copy_.default, aten._to_copy.default)


class Away(Tensor):
    """A tensor elsewhere; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> "Away":
        kind = {"dtype": real.dtype, "device": DEVICE, "storage_offset": real.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, real.size(), real.stride(), **kind)

    def __init__(self, real: Tensor) -> None:
        self.held = real

    def __repr__(self) -> str:
        return f"Away({self.held})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} met a tensor of another device outside of `elsewhere()`.")


class _Making(TorchFunctionMode):
    """What torch makes of Python numbers without asking anybody, `torch.tensor(values, device=DEVICE)` and the lists in
    `x[:, [1, 2]]`: made here, then sent."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], Away):
            return args[0].held.tolist()
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Away):
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(torch.tensor(x) if isinstance(x, list) else x for x in parts), *args[2:])
        if func is Tensor.new_tensor:
            kwargs.setdefault("device", args[0].device)
            kwargs.setdefault("dtype", args[0].dtype)
            func, args = torch.tensor, args[1:]
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[None]:
    """With it, `tensor.to(DEVICE)` and `torch.zeros(..., device=DEVICE)` are elsewhere."""
    with torch.no_grad(), _Making(), _Mixing():
        yield


class _Mixing(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        flat = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        away = [x for x in flat if isinstance(x, Away)]
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        self._refuse_company(func, args, flat, away)
        unwrap = lambda x: x.held if isinstance(x, Away) else x  # noqa: E731
        result = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
        there = bool(away) if target is None else torch.device(target).type == DEVICE.type
        if func is aten.copy_.default:
            return args[0]
        own = {id(x.held): x for x in away}
        place = lambda x: own.get(id(x), Away(x)) if isinstance(x, Tensor) else x  # noqa: E731
        return tree_map(place, result) if there else result

    @staticmethod
    def _refuse_company(func, args, flat: list[Tensor], away: list[Tensor]) -> None:
        if any(x.device.type == DEVICE.type and not isinstance(x, Away) for x in flat):
            raise RuntimeError(f"{func}: a tensor came from elsewhere that was not seen going there.")
        here = [x for x in flat if not isinstance(x, Away) and x.ndim > 0]
        if func in INDICES_FROM_ANYWHERE:
            others = [args[0], *(x for x in args[2:3] if isinstance(x, Tensor) and x.ndim > 0)]
            mixed = len({isinstance(x, Away) for x in others}) > 1
            mixed = mixed or (not isinstance(args[0], Away) and bool(away))
        else:
            mixed = bool(here and away) and func not in COPIES
        if mixed:
            raise RuntimeError(f"{func}: tensors on two devices, {[tuple(x.shape) for x in here]} here.")
