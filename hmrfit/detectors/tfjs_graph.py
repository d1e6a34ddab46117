"""TensorFlow.js graph models (model.json beside a .bin of weights), read and executed in torch.

    nodes in the order of their inputs:  y = OPERATORS[op](attributes)(*inputs);  a tensor is freed after its last use

What only depends on constants is computed once. Exported graphs have a batch of one written into their reshapes, so
only the middle of a graph, from its first convolution to its heads, runs on a whole batch; what comes before and after
runs on one picture at a time.

The format: `modelTopology.node` lists {name, op, input, attr}; `weightsManifest` the names, shapes and types of the
constants in the order of the .bin's bytes, float32 ones often stored as float16. Shapes have to add up to the file's
size, and the tensors obey the byte budget, before any is made.
"""

import base64
import binascii
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmrfit.detectors.tfjs_operators import (
    IMAGE_OPERATORS,
    OPERATORS,
    POINTWISE,
    Attributes,
    Operator,
    UnknownOperator,
    convolution_weights,
)
from hmrfit.io.bounded import read_bytes, read_json
from hmrfit.io.budget import brief, check_bytes
from hmrfit.ops.how_many import how_many

STORED = {("float32", None): "<f4", ("float32", "float16"): "<f2", ("int32", None): "<i4"}
"""(type, the type that it is stored as) -> numpy's name."""

DEPTHWISE = ("FusedDepthwiseConv2dNative", "DepthwiseConv2dNative")
CONVOLUTIONS = (*DEPTHWISE, "_FusedConv2D", "Conv2D")


@dataclass
class Step:
    """One operator of the graph."""

    name: str
    run: Operator
    inputs: tuple[str, ...]
    stage: int  # 0: before the convolutions, 1: on the whole batch, 2: after them
    last: list[str] = field(default_factory=list)  # tensors that nothing after it needs


class TfjsGraph:
    """A graph model of one input and one output, ready to run."""

    def __init__(self, model: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        order = _ordered(nodes)
        (self.input,) = [name for name in order if nodes[name]["op"] == "Placeholder"]
        needed = {_producer(name) for name in order for name in nodes[name].get("input", ())}
        (self.output,) = [name for name in order if name not in needed and nodes[name]["op"] != "Const"]
        self.constants: dict[str, Any] = dict(weights)
        stages = {self.input: 0}
        steps = []
        for name in order:
            if nodes[name]["op"] not in ("Placeholder", "Const"):
                steps += self._steps_of(nodes[name], stages)
        self.stages = tuple([step for step in steps if step.stage == stage] for stage in range(3))
        self._free_early()

    def _steps_of(self, node: Mapping[str, Any], stages: dict[str, int]) -> list[Step]:
        """The node's step, or none where it is a constant, which is computed here. stages: of what has one so far."""
        name, op, inputs = node["name"], node["op"], tuple(node.get("input", ()))
        if op not in OPERATORS:
            raise UnknownOperator(f"'{brief(name)}' is the operator '{brief(op)}', which is not known here.")
        if op in CONVOLUTIONS:
            inputs = (inputs[0], self._weights(inputs[1], op in DEPTHWISE), *inputs[2:])
        run = OPERATORS[op](_attributes(node))
        before = [stages[_producer(one)] for one in inputs if _producer(one) not in self.constants]
        if not before:
            self.constants[name] = run(*(self._constant(one) for one in inputs))
            return []
        latest = max(before)
        together = op in IMAGE_OPERATORS or (op in POINTWISE and latest == 1)
        stages[name] = 1 if together and latest < 2 else 2 if latest else 0
        return [Step(name, run, inputs, stages[name])]

    def _weights(self, name: str, depthwise: bool) -> str:
        """The name of a convolution's weights in torch's layout."""
        laid_out = f"{name}/torch"
        self.constants[laid_out] = convolution_weights(self.constants[name], depthwise)
        return laid_out

    def _constant(self, name: str) -> Any:
        value = self.constants[_producer(name)]
        return value[_place(name)] if isinstance(value, tuple) else value

    def _free_early(self) -> None:
        """Notes at each step which tensors neither its stage nor a later one needs."""
        seen = {self.output}
        for steps in reversed(self.stages):
            for step in reversed(steps):
                step.last = [one for one in {_producer(i) for i in step.inputs} - seen if one not in self.constants]
                seen.update(step.last)

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> list[Tensor]:
        """The output for each picture of a batch (B, height, width, 3)."""
        before, together, after = self.stages
        each: list[dict[str, Any]] = [{self.input: picture[None]} for picture in pictures]
        for values in each:
            self._run(before, values)
        batch = {name: torch.cat([values[name] for values in each]) for name in each[0]}
        self._run(together, batch)
        found = []
        for i in range(len(pictures)):
            own = {name: value[i : i + 1] for name, value in batch.items()}
            self._run(after, own)
            found.append(own[self.output])
        return found

    def _run(self, steps: Sequence[Step], values: dict[str, Any]) -> None:
        constants = self.constants
        for step in steps:
            inputs = []
            for name in step.inputs:
                value = values.get(name)
                if value is None:
                    value = constants.get(name)
                if value is None or isinstance(value, tuple):
                    whole: Any = values.get(_producer(name), constants.get(_producer(name)))
                    value = whole[_place(name)]
                inputs.append(value)
            values[step.name] = step.run(*inputs)
            for name in step.last:
                values.pop(name, None)


def read_graph(model: str | os.PathLike[str], weights: str | os.PathLike[str]) -> TfjsGraph:
    """A graph model from its JSON file and its weights.

    Raises:
        FileNotFoundError; TooLarge: more than the budget; ValueError: damaged; UnknownOperator: names it.
    """
    content = read_json(model)
    try:
        return TfjsGraph(content, _read_weights(content["weightsManifest"], Path(weights)))
    except UnknownOperator as error:
        raise UnknownOperator(f"'{model}' cannot be run: {error}") from None
    except (KeyError, TypeError, AttributeError, IndexError, binascii.Error) as error:
        raise ValueError(f"'{model}' is no graph model of TensorFlow.js ({type(error).__name__}: {error}).") from None


def _read_weights(manifest: Sequence[Mapping[str, Any]], path: Path) -> dict[str, Tensor]:
    """The constants by name; checks that their shapes are what the file holds."""
    listed = [entry for group in manifest for entry in group["weights"]]
    kinds = [(entry["dtype"], entry.get("quantization", {}).get("dtype")) for entry in listed]
    unknown = next((kind for kind in kinds if kind not in STORED), None)
    if unknown is not None:
        raise ValueError(f"'{path}' holds numbers of the type {brief(unknown)}; float32, float16 and int32 are read.")
    counts = [math.prod(int(n) for n in entry["shape"]) for entry in listed]
    types = [np.dtype(STORED[kind]) for kind in kinds]
    expected = sum(count * kind.itemsize for count, kind in zip(counts, types, strict=True))
    data = read_bytes(path, factor=4)
    if min(counts, default=0) < 0 or expected != len(data):
        raise ValueError(
            f"'{path}' has {how_many(len(data), 'bytes')}, but its shapes need {expected}. It is cut off or another's."
        )
    check_bytes(4 * sum(counts), f"'{path}'")
    found, at = {}, 0
    for entry, count, kind in zip(listed, counts, types, strict=True):
        numbers = np.frombuffer(data, kind, count, at).reshape([int(n) for n in entry["shape"]])
        found[entry["name"]] = torch.from_numpy(numbers.astype(np.int32 if kind.kind == "i" else np.float32))
        at += count * kind.itemsize
    return found


def _producer(name: str) -> str:
    """`unstack:1` is the second output of `unstack`."""
    return name.partition(":")[0]


def _place(name: str) -> int:
    return int(name.partition(":")[2] or 0)


def _ordered(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names, each after its inputs."""
    sorter = TopologicalSorter({name: [_producer(i) for i in node.get("input", ())] for name, node in nodes.items()})
    try:
        return [name for name in sorter.static_order() if name in nodes]
    except CycleError:
        raise ValueError("The graph has a circle.") from None


def _attributes(node: Mapping[str, Any]) -> Attributes:
    """Of a node: plain values. Lists of four are of (batch, height, width, channels): the two in the middle."""
    found: dict[str, Any] = {name: _value(value) for name, value in (node.get("attr") or {}).items()}
    for name in ("strides", "dilations", "ksize"):
        if name in found:
            found[name] = tuple(found[name][1:3])
    found.setdefault("fused_ops", ())
    return found


def _value(value: Mapping[str, Any]) -> Any:
    """{"i": "1"}, {"b": true}, {"type": "DT_INT32"}, {"s": base64}, {"list": {...}} -> a plain value."""
    ((kind, content),) = value.items()
    if kind == "i":
        return int(content)
    if kind == "s":
        return base64.b64decode(content, validate=True).decode()
    if kind == "list":
        return [_value({inner: one}) for inner, several in content.items() for one in several]
    return content
