"""A device that is none: tensors that claim to be on it, and refuse operations with tensors of the CPU.

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
"""What the tensors claim to be on: a device that every torch has and whose tensors hold no numbers."""

aten = torch.ops.aten
INDICES_FROM_ANYWHERE = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
COPIES = (aten.copy_.default, aten._to_copy.default)


class FakeTensor(Tensor):
    """A tensor on the device; `numbers` has its values."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, real: Tensor) -> "FakeTensor":
        kind = {"dtype": real.dtype, "device": DEVICE, "storage_offset": real.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, real.size(), real.stride(), **kind)

    def __init__(self, real: Tensor) -> None:
        self.numbers = real

    def __repr__(self) -> str:
        return f"FakeTensor({self.numbers})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f"{func} met a tensor of the device outside of `fake_device()`.")


class _Making(TorchFunctionMode):
    """What torch makes of Python numbers by itself, `torch.tensor(values, device=DEVICE)` and the lists in
    `x[:, [1, 2]]`: made on the CPU, then sent."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.tolist and isinstance(args[0], FakeTensor):
            return args[0].numbers.tolist()
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], FakeTensor):
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
def fake_device() -> Iterator[None]:
    """With it, `tensor.to(DEVICE)` and `torch.zeros(..., device=DEVICE)` are on the device."""
    with torch.no_grad(), _Making(), _Mixing():
        yield


class _Mixing(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        flat = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Tensor)]
        fake = [x for x in flat if isinstance(x, FakeTensor)]
        target = kwargs.get("device")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        self._refuse_two_devices(func, args, flat, fake)
        unwrap = lambda x: x.numbers if isinstance(x, FakeTensor) else x  # noqa: E731
        result = func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
        on_device = bool(fake) if target is None else torch.device(target).type == DEVICE.type
        if func is aten.copy_.default:
            return args[0]
        own = {id(x.numbers): x for x in fake}
        place = lambda x: own.get(id(x), FakeTensor(x)) if isinstance(x, Tensor) else x  # noqa: E731
        return tree_map(place, result) if on_device else result

    @staticmethod
    def _refuse_two_devices(func, args, flat: list[Tensor], fake: list[Tensor]) -> None:
        if any(x.device.type == DEVICE.type and not isinstance(x, FakeTensor) for x in flat):
            raise RuntimeError(f"{func}: a tensor of the device that was never sent to it.")
        cpu = [x for x in flat if not isinstance(x, FakeTensor) and x.ndim > 0]
        if func in INDICES_FROM_ANYWHERE:
            others = [args[0], *(x for x in args[2:3] if isinstance(x, Tensor) and x.ndim > 0)]
            mixed = len({isinstance(x, FakeTensor) for x in others}) > 1
            mixed = mixed or (not isinstance(args[0], FakeTensor) and bool(fake))
        else:
            mixed = bool(cpu and fake) and func not in COPIES
        if mixed:
            raise RuntimeError(f"{func}: tensors on two devices, {[tuple(x.shape) for x in cpu]} on the CPU.")
