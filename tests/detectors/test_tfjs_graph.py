"""Graphs of TensorFlow.js give what their formulas say; what is unknown or damaged is refused by name."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import hmrfit
from hmrfit.detectors.tfjs_graph import read_graph
from hmrfit.detectors.tfjs_operators import OPERATORS, UnknownOperator, convolution_weights
from hmrfit.io.budget import TooLarge


def slow_convolution(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """(H, W, C), (k, k, C, O), padding SAME, one output at a time."""
    (H, W, _), k = x.shape, w.shape[0]
    sizes = [-(-n // stride) for n in (H, W)]
    before = [max((m - 1) * stride + k - n, 0) // 2 for m, n in zip(sizes, (H, W), strict=True)]
    full = np.zeros((H + 2 * k, W + 2 * k, x.shape[2]))
    full[before[0] : before[0] + H, before[1] : before[1] + W] = x
    out = np.zeros((*sizes, w.shape[3]))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            out[i, j] = np.tensordot(full[i * stride : i * stride + k, j * stride : j * stride + k], w, 3)
    return out


@pytest.mark.parametrize(("size", "stride", "kernel"), [((6, 8), 2, 3), ((7, 6), 2, 3), ((6, 7), 1, 3), ((6, 6), 2, 5)])
def test_a_convolution_pads_as_tensorflow(
    size: tuple[int, int], stride: int, kernel: int, rng: np.random.Generator
) -> None:
    x, w = rng.normal(size=(*size, 2)), rng.normal(size=(kernel, kernel, 2, 3))
    attributes = {"strides": (stride,) * 2, "dilations": (1, 1), "padding": "SAME", "fused_ops": ("BiasAdd", "Relu6")}
    run = OPERATORS["_FusedConv2D"](attributes)
    weights = convolution_weights(torch.tensor(w).float(), False)
    found = run(torch.tensor(x)[None].float(), weights, torch.full((3,), 0.5))
    np.testing.assert_allclose(found[0], (slow_convolution(x, w, stride) + 0.5).clip(0, 6), atol=1e-5)


def attribute(**values: Any) -> dict[str, Any]:
    """As the format has them: {"s": base64}, {"list": {"i": ["1", ...]}}."""
    texts = {k: {"s": base64.b64encode(v.encode()).decode()} for k, v in values.items() if isinstance(v, str)}
    return texts | {k: {"list": {"i": [str(n) for n in v]}} for k, v in values.items() if isinstance(v, tuple)}


def write_graph(folder: Path, op: str = "Sigmoid") -> tuple[Path, Path]:
    """op(conv(x − offset)), then flattened."""
    sides = attribute(strides=(1, 1, 1, 1), dilations=(1, 1, 1, 1), padding="SAME")
    nodes = [
        {"name": "x", "op": "Placeholder"},
        {"name": "flat", "op": "Reshape", "input": ["head", "shape"]},
        {"name": "head", "op": op, "input": ["conv"]},
        {"name": "conv", "op": "Conv2D", "input": ["sub", "w"], "attr": sides},
        {"name": "sub", "op": "Sub", "input": ["x", "offset"]},
        *({"name": name, "op": "Const"} for name in ("w", "offset", "shape")),
    ]
    half = {"quantization": {"dtype": "float16"}}
    listed = [
        {"name": "w", "shape": [3, 3, 3, 2], "dtype": "float32", **half},
        {"name": "offset", "shape": [], "dtype": "float32"},
        {"name": "shape", "shape": [1], "dtype": "int32"},
    ]
    w = np.random.default_rng(0).normal(size=(3, 3, 3, 2)).astype("<f2")
    (folder / "g.bin").write_bytes(w.tobytes() + np.array(0.5, "<f4").tobytes() + np.array([-1], "<i4").tobytes())
    content = {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": listed}]}
    (folder / "g.json").write_text(json.dumps(content))
    return folder / "g.json", folder / "g.bin"


def test_a_graph_gives_what_torch_gives_for_each_picture_of_a_batch(tmp_path: Path) -> None:
    graph, x = read_graph(*write_graph(tmp_path)), torch.rand(3, 5, 4, 3)
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 3, 2)).astype("<f2").astype("f4"))
    expected = F.conv2d((x - 0.5).permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), padding=1).sigmoid().permute(0, 2, 3, 1)
    for found, one in zip(graph(x), expected, strict=True):
        torch.testing.assert_close(found, one.reshape(-1))


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownOperator, match="'head' is the operator 'ReadFile', which is not known"):
        read_graph(*write_graph(tmp_path, "ReadFile"))


def test_a_damaged_or_huge_file_is_refused_before_it_is_made(tmp_path: Path) -> None:
    model, weights = write_graph(tmp_path)
    with hmrfit.file_limits(gigabytes=1e-7), pytest.raises(TooLarge):
        read_graph(model, weights)
    content = json.loads(model.read_text())
    content["weightsManifest"][0]["weights"][0]["shape"] = [10**9, 10**9]
    model.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="its shapes need"):
        read_graph(model, weights)
    model.write_text("{}")
    with pytest.raises(ValueError, match="no graph model"):
        read_graph(model, weights)
