"""Bombs of networks and of datasets' files."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from fuzzing.array_bombs import Bomb, zeros_in_zip


def _network(**settings: Any) -> Bomb:
    def make(rng: np.random.Generator) -> bytes:
        encoder = {"kind": "keypoints", "width": 16, "blocks": 1, "dropout": 0.0, "names": ["nose"]}
        regressor = {"features": 16, "form": "6d", "joints": 24, "betas": 10, "hidden": 8}
        made: dict[str, Any] = {"kind": "hmr", "encoder": encoder, "regressor": regressor}
        for name, value in settings.items():
            part, _, key = name.partition("__")
            made[part] = value if not key else {**made[part], key: value}
        file = io.BytesIO()
        np.savez(file, settings=json.dumps(made), x=np.zeros(3))
        return file.getvalue()

    return make


NETWORK: list[Bomb] = [
    _network(encoder__width=30_000, regressor__features=30_000),
    _network(regressor__hidden=30_000),
    _network(encoder__blocks=10**9),
    _network(encoder__names=["nose"] * 1_000_000),
    _network(regressor__joints=10**7),
    _network(regressor__iterations=10**12),
    _network(encoder__width=10**30),
    _network(encoder__width=-1),
    _network(encoder__width=1.5),
    _network(encoder__width=float("nan")),
    _network(kind="image", encoder=None),
    _network(kind={"a": 1}),
    lambda rng: zeros_in_zip(["settings"], (), "<U200000"),
]


def nested_settings(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    np.savez(file, settings="[" * 100_000)
    return file.getvalue()


def _torch(made: Callable[[Any], Any]) -> Bomb:
    def make(rng: np.random.Generator) -> bytes:
        import torch

        file = io.BytesIO()
        torch.save(made(torch), file, _use_new_zipfile_serialization=bool(rng.integers(2)))
        return file.getvalue()

    return make


def _deep(torch: Any) -> Any:
    value: Any = torch.zeros(1)
    for _ in range(150):
        value = [value]
    return {"model": value}


def _packed_torch(rng: np.random.Generator) -> bytes:
    """A file of torch.save whose storage of 2 GB of zeros is packed."""
    import torch

    plain, file = io.BytesIO(), io.BytesIO()
    torch.save({"decpose.weight": torch.zeros(4)}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for member in old.infolist():
            with new.open(member.filename, "w", force_zip64=True) as opened:
                blocks = 500 if member.filename.endswith("data/0") else 0
                for _ in range(blocks):
                    opened.write(bytes(1 << 22))
                opened.write(old.read(member) if not blocks else b"")
    return file.getvalue()


TORCH: list[Bomb] = [
    _torch(lambda torch: {"decpose.weight": torch.zeros(1, dtype=torch.half).expand(100_000, 100_000)}),
    _torch(lambda torch: {f"layer1.0.{i}": torch.zeros(1).expand(20_000, 20_000) for i in range(5)}),
    _torch(_deep),
    _torch(lambda torch: [torch.zeros(3)]),
    _torch(lambda torch: {1: torch.zeros(3), "decpose.weight": torch.zeros(3, dtype=torch.complex64)}),
    _packed_torch,
    lambda rng: b"\x80\x02" + b"]" + b"\x85" * 100_000 + b".",
    lambda rng: b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.",
    lambda rng: b"(" * 500_000,
]


def _mat_element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


MAT_HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\x01IM"


def _mat_nested(rng: np.random.Generator) -> bytes:
    """Cells in one another: a reader that goes down by recursion ends the process."""
    head = _mat_element(6, struct.pack("<II", 1, 0)) + _mat_element(5, struct.pack("<2i", 1, 1)) + _mat_element(1, b"")
    parts, size = [], 0
    for _ in range(30_000):
        parts.append(struct.pack("<II", 14, len(head) + size) + head)
        size += 8 + len(head)
    return MAT_HEADER + b"".join(parts[::-1])


def _mat_packed(rng: np.random.Generator) -> bytes:
    """A matrix of zeros that unpacks to 2 GB."""
    packer = zlib.compressobj(1)
    flags = (
        _mat_element(6, struct.pack("<II", 6, 0))
        + _mat_element(5, struct.pack("<2i", 250_000_000, 1))
        + _mat_element(1, b"joints")
    )
    body = struct.pack("<II", 14, 2_000_000_000 + len(flags) + 8) + flags + struct.pack("<II", 9, 2_000_000_000)
    packed = packer.compress(body) + b"".join(packer.compress(bytes(1 << 22)) for _ in range(477)) + packer.flush()
    return MAT_HEADER + struct.pack("<II", 15, len(packed)) + packed


MAT: list[Bomb] = [
    _mat_nested,
    _mat_packed,
    lambda rng: MAT_HEADER + struct.pack("<II", 14, 2**32 - 1),
    lambda rng: bytes(2000),
]


def _h5(shape: tuple[int, ...], chunks: tuple[int, ...] | None, kind: str) -> Bomb:
    def make(rng: np.random.Generator) -> bytes:
        import h5py

        file = io.BytesIO()
        with h5py.File(file, "w") as h5:
            h5.create_dataset("annot2", shape, kind, chunks=chunks, compression="gzip" if chunks else None)
        return file.getvalue()

    return make


H5: list[Bomb] = [_h5((10**6, 10**6), (100, 100), "f8"), _h5((10**9,), (10**6,), "i1"), _h5((5,), None, "S10")]
