"""The operators of TensorFlow.js graphs, on tensors: name -> (attributes) -> function of the operator's inputs.

    OPERATORS["_FusedConv2D"](attributes)(x, w, b)  =  relu6(w ∗ x + b)

Images stay (batch, height, width, channels), as TensorFlow has them; torch's convolutions see the same memory as
"channels last", without a copy. Padding "SAME" of n pixels with kernel k and stride s is

    total = max((⌈n/s⌉ − 1) s + k − n, 0),  before = ⌊total/2⌋,  after = total − before

An operator that is not in the table is unknown, and a graph with it is refused by name. Each reads only its inputs and
the attributes that it asks for; nothing in a file is run.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]
"""Of tensors; those with several outputs return a tuple."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"Relu": torch.relu_, "Relu6": lambda x: x.clamp_(0, 6)}
"""What may follow a convolution's bias, in place."""

TYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int32, "DT_BOOL": torch.bool, "DT_INT64": torch.int64}

SMALLEST = -80.0
"""The least exponent: below it lie numbers that processors calculate with thirty times more slowly, all of them 0."""

IMAGE_OPERATORS = frozenset(
    ("_FusedConv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative", "Conv2D", "MaxPool", "ResizeBilinear")
)
POINTWISE = frozenset(("Cast", "AddV2", "Add", "Sub", "Mul", "RealDiv", "Sigmoid", "Relu", "Relu6", "Identity"))
"""What treats every picture of a batch alike: IMAGE_OPERATORS, and these between pictures and constants."""


class UnknownOperator(ValueError):
    """A graph has an operator, or an operator an attribute, that is not known here."""


def _pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Pixels before and after, of "SAME"."""
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def _padded(x: Tensor, kernel: tuple[int, int], a: Attributes, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """(x padded where its sides differ, the padding that they share); x is (B, C, H, W)."""
    if a["padding"] == "VALID":
        return x, (0, 0)
    (sy, sx), (dy, dx) = a["strides"], a["dilations"]
    top, bottom = _pads(x.shape[2], kernel[0], sy, dy)
    left, right = _pads(x.shape[3], kernel[1], sx, dx)
    if top == bottom and left == right and not value:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _wider(weight: Tensor) -> Tensor:
    """A kernel of 3 × 3 as one of 4 × 4 whose first row and column are zero."""
    return F.pad(weight, (1, 0, 1, 0)).contiguous(memory_format=torch.channels_last)


def _convolution(a: Attributes, depthwise: bool) -> Operator:
    """Of a picture (B, H, W, C) with weights as `convolution_weights` lays them out.

    With stride 2 "SAME" pads an even side after the picture only, which torch can only do by copying the picture: the
    wider kernel with one pixel on both sides gives the same numbers.
    """
    extra = [ACTIVATIONS.get(name) for name in a["fused_ops"] if name != "BiasAdd"]
    if None in extra:
        raise UnknownOperator(f"a convolution is followed by {', '.join(a['fused_ops'])}")
    strides, dilations = list(a["strides"]), list(a["dilations"])
    wide: list[Tensor] = []
    widens = a["padding"] == "SAME" and strides == [2, 2] and dilations == [1, 1]

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        x, kernel, padding = x.permute(0, 3, 1, 2), (weight.shape[2], weight.shape[3]), (1, 1)
        if widens and kernel == (3, 3) and not (x.shape[2] | x.shape[3]) & 1:
            if not wide:
                wide.append(_wider(weight))
            weight = wide[0]
        else:
            x, padding = _padded(x, kernel, a)
        y = _convolved(x, weight, bias, padding, strides, dilations, x.shape[1] if depthwise else 1)
        for activation in extra:
            y = activation(y)  # type: ignore[misc]
        return y.permute(0, 2, 3, 1)

    return run


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[int, int],
    strides: Sequence[int],
    dilations: Sequence[int],
    groups: int,
) -> Tensor:
    """w ∗ x + b by oneDNN where it is there: for one picture on one thread torch's own choice is a slower way."""
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return torch.mkldnn_convolution(x, weight, bias, padding, strides, dilations, groups)
    return F.conv2d(x, weight, bias, strides, padding, dilations, groups)


def convolution_weights(weight: Tensor, depthwise: bool) -> Tensor:
    """TensorFlow's (kh, kw, in, out), of a depthwise one (kh, kw, in, multiplier), -> torch's, channels last."""
    if depthwise:
        kh, kw, channels, multiplier = weight.shape
        out = weight.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, kh, kw)
    else:
        out = weight.permute(3, 2, 0, 1)
    return out.contiguous(memory_format=torch.channels_last)


def _max_pool(a: Attributes) -> Operator:
    def run(x: Tensor) -> Tensor:
        padded, _ = _padded(x.permute(0, 3, 1, 2), a["ksize"], {**a, "dilations": (1, 1)}, -torch.inf)
        return F.max_pool2d(padded, a["ksize"], a["strides"]).permute(0, 2, 3, 1)

    return run


def _resize_bilinear(a: Attributes) -> Operator:
    if a.get("align_corners") or not a.get("half_pixel_centers"):
        raise UnknownOperator("ResizeBilinear is known with half_pixel_centers only")

    def run(x: Tensor, size: Tensor) -> Tensor:
        y = F.interpolate(x.permute(0, 3, 1, 2), size=size.tolist(), mode="bilinear", align_corners=False)
        return y.permute(0, 2, 3, 1)

    return run


def _strided_slice(a: Attributes) -> Operator:
    """As Python's slices; masks say by a bit for each axis what is left out."""
    if a.get("ellipsis_mask", 0):
        raise UnknownOperator("StridedSlice with an ellipsis")
    masks = [a.get(f"{name}_mask", 0) for name in ("new_axis", "shrink_axis", "begin", "end")]

    def run(x: Tensor, begin: Tensor, end: Tensor, strides: Tensor) -> Tensor:
        index: list[int | slice | None] = []
        for i, (low, high, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
            new, shrunk, from_first, to_last = (mask >> i & 1 for mask in masks)
            whole = slice(None if from_first else low, None if to_last else high, step)
            index.append(None if new else low if shrunk else whole)
        return x[tuple(index)]

    return run


def _gather_nd(x: Tensor, index: Tensor) -> Tensor:
    return x[tuple(index.long().unbind(-1))]


def _select(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Of rows where the condition has one number a row."""
    return torch.where(condition.reshape(condition.shape + (1,) * (x.ndim - condition.ndim)), x, y)


def _top_k(x: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The first of equal ones first, as TensorFlow has them; torch.topk leaves their order open."""
    values, places = torch.sort(x, dim=-1, descending=True, stable=True)
    return values[..., : int(k)], places[..., : int(k)].int()


def _reduce(operation: Callable[..., Tensor]) -> Callable[[Attributes], Operator]:
    return lambda a: lambda x, axes: operation(x, axes.reshape(-1).tolist(), bool(a.get("keep_dims", False)))


def _plain(function: Operator) -> Callable[[Attributes], Operator]:
    """An operator without attributes."""
    return lambda _: function


def _floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def _squeeze(a: Attributes) -> Operator:
    dims = tuple(a.get("squeeze_dims", ()))
    return lambda x: x.squeeze(dims) if dims else x.squeeze()


OPERATORS: dict[str, Callable[[Attributes], Operator]] = {
    "_FusedConv2D": partial(_convolution, depthwise=False),
    "Conv2D": partial(_convolution, depthwise=False),
    "FusedDepthwiseConv2dNative": partial(_convolution, depthwise=True),
    "DepthwiseConv2dNative": partial(_convolution, depthwise=True),
    "MaxPool": _max_pool,
    "ResizeBilinear": _resize_bilinear,
    "AddV2": _plain(torch.add),
    "Add": _plain(torch.add),
    "AddN": _plain(lambda *x: sum(x[1:], x[0])),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "RealDiv": _plain(torch.div),
    "FloorDiv": _plain(_floor_div),
    "Maximum": _plain(torch.maximum),
    "Minimum": _plain(torch.minimum),
    "SquaredDifference": _plain(lambda x, y: (x - y).square()),
    "Less": _plain(torch.lt),
    "Greater": _plain(torch.gt),
    "GreaterEqual": _plain(torch.ge),
    "Equal": _plain(torch.eq),
    "LogicalAnd": _plain(torch.logical_and),
    "Select": _plain(_select),
    "Abs": _plain(torch.abs),
    "Exp": _plain(lambda x: x.clamp_min(SMALLEST).exp()),
    "Sqrt": _plain(torch.sqrt),
    "Reciprocal": _plain(torch.reciprocal),
    "Sigmoid": _plain(torch.sigmoid),
    "Relu": _plain(torch.relu),
    "Relu6": _plain(lambda x: x.clamp(0, 6)),
    "Identity": _plain(lambda x: x),
    "Cast": lambda a: lambda x: x.to(TYPES[a["DstT"]]),
    "Shape": _plain(lambda x: torch.tensor(x.shape, dtype=torch.int32)),
    "Size": _plain(lambda x: torch.tensor(x.numel(), dtype=torch.int32)),
    "Reshape": _plain(lambda x, shape: x.reshape(shape.tolist())),
    "ExpandDims": _plain(lambda x, axis: x.unsqueeze(int(axis))),
    "Squeeze": _squeeze,
    "Pack": lambda a: lambda *x: torch.stack(x, a.get("axis", 0)),
    "Unpack": lambda a: lambda x: x.unbind(a.get("axis", 0)),
    "Split": lambda a: lambda axis, x: x.chunk(a["num_split"], int(axis)),
    "ConcatV2": _plain(lambda *x: torch.cat(x[:-1], int(x[-1]))),
    "StridedSlice": _strided_slice,
    "GatherNd": _plain(_gather_nd),
    "Tile": _plain(lambda x, counts: x.repeat(counts.tolist())),
    "Fill": _plain(lambda shape, value: value.expand(shape.tolist())),
    "Range": _plain(lambda start, stop, step: torch.arange(start, stop, step, dtype=start.dtype)),
    "Sum": _reduce(torch.sum),
    "Max": _reduce(torch.amax),
    "ArgMax": _plain(lambda x, axis: x.argmax(int(axis)).int()),
    "TopKV2": _plain(_top_k),
}
"""By TensorFlow's name."""
