"""Writes binary glTF 2.0: a JSON tree of nodes, meshes, skins and animations, and one buffer that they point into.

    GLB = "glTF" 2 length | length "JSON" {...} spaces | length "BIN\\0" bytes zeros        little-endian, chunks of 4 n

    accessor  count, component type, SCALAR | VEC2 | VEC3 | VEC4 | MAT4  ->  bufferView  offset, length  ->  the buffer

Every accessor has a view of its own, tightly packed, on a multiple of four bytes. Lists that stay empty are left out,
as the format demands. Quaternions are x y z w, matrices are written column by column, angles are radians, lengths
metres, y is up.
"""

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMPONENTS = {"float32": 5126, "uint8": 5121, "uint16": 5123, "uint32": 5125}
SHAPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}

ATTRIBUTE, INDEX = 34962, 34963
"""What a view is for: of vertices, or of faces. Others have no target."""

Json = dict[str, Any]


class GltfFile:
    """A file in the making. `add` appends to one of the lists of the tree, and returns the place there."""

    def __init__(self, extras: Json) -> None:
        """extras: what else there is to say, under the file's `asset`."""
        self.tree: Json = {"asset": {"version": "2.0", "generator": "hmrfit", "extras": extras}}
        self.buffer = bytearray()

    def add(self, kind: str, **fields: Any) -> int:
        """A node, mesh, skin, camera, material or animation (`kind`: nodes, meshes, ...); fields of None are left
        out."""
        entries = self.tree.setdefault(kind, [])
        entries.append({name: value for name, value in fields.items() if value is not None})
        return len(entries) - 1

    def accessor(
        self, values: NDArray, target: int | None = None, normalized: bool = False, bounds: bool = False
    ) -> int:
        """An array, one row an element: float32, uint8, uint16 or uint32.

        Args:
            normalized: whole numbers stand for fractions of their largest. bounds: also writes the least and largest
                of every column, as positions and the times of keys must have.
        """
        values = np.ascontiguousarray(values)
        flat = values.swapaxes(1, 2) if values.ndim == 3 else values  # matrices by columns
        data = flat.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        self.buffer += bytes(-len(self.buffer) % 4)
        view = self.add("bufferViews", buffer=0, byteOffset=len(self.buffer), byteLength=len(data), target=target)
        self.buffer += data
        columns = values.reshape(len(values), -1)
        return self.add(
            "accessors",
            bufferView=view,
            componentType=COMPONENTS[values.dtype.name],
            count=len(values),
            type=SHAPES[values.shape[1:]],
            normalized=True if normalized else None,
            min=columns.min(0).tolist() if bounds else None,
            max=columns.max(0).tolist() if bounds else None,
        )

    def data(self) -> bytes:
        """The file's bytes."""
        self.buffer += bytes(-len(self.buffer) % 4)
        tree = self.tree | ({"buffers": [{"byteLength": len(self.buffer)}]} if self.buffer else {})
        text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = [struct.pack("<I4s", len(text), b"JSON") + text]
        if self.buffer:
            chunks.append(struct.pack("<I4s", len(self.buffer), b"BIN\0") + bytes(self.buffer))
        body = b"".join(chunks)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
