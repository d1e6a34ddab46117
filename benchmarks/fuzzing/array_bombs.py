"""Bombs of numpy's files and of pickles."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Bomb = Callable[[np.random.Generator], bytes]

HUGE = (10**9, 2**31 - 1, 2**32, 2**40, 10**18, 10**30)


def _huge(rng: np.random.Generator) -> int:
    return HUGE[int(rng.integers(len(HUGE)))]


def npy_header(shape: tuple[int, ...], descr: str = "<f8", version: bytes = b"\x01\0") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\x01\0" else "<I", len(text)) + text


def zeros_in_zip(
    names: list[str], shape: tuple[int, ...], descr: str = "<f8", method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """An npz whose arrays of zeros are really there, packed a thousand times."""
    file, size = io.BytesIO(), int(np.prod(shape)) * np.dtype(descr).itemsize
    with zipfile.ZipFile(file, "w", method, compresslevel=1) as archive:
        for name in names:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(npy_header(shape, descr))
                block = bytes(1 << 22)
                for begin in range(0, size, len(block)):
                    member.write(block[: size - begin])
    return file.getvalue()


def edited_npz(data: bytes, rng: np.random.Generator) -> bytes:
    """The npz with one array given another shape, type, contents or name, left out, or claimed to be huge."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays: dict[str, Any] = dict(file)
    name = list(arrays)[int(rng.integers(len(arrays)))]
    array, how = arrays[name], int(rng.integers(9))
    if how == 0:
        del arrays[name]
    elif how == 1:
        arrays[name] = array[None]
    elif how == 2:
        arrays[name] = np.zeros((0,) * max(array.ndim, 1), array.dtype)
    elif how == 3:
        arrays[name] = np.full(array.shape, "x")
    elif how == 4 and array.dtype.kind == "f":
        arrays[name] = np.full(array.shape, [np.nan, np.inf, 1e300, -1.0, 0.0][int(rng.integers(5))], array.dtype)
    elif how == 5:
        arrays[name] = np.array("[" * 100_000 if rng.random() < 0.5 else "1" * 5000)
    elif how == 6:
        arrays[name] = array.astype(">f4" if array.dtype.kind in "fiu" else "U9")
    elif how == 7:
        arrays[name] = np.zeros(array.shape, complex)
    file = io.BytesIO()
    np.savez(file, **arrays)
    if how == 8:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(f"{name}_more.npy", npy_header((_huge(rng), 3)))
            archive.writestr("again.npy", npy_header((_huge(rng),), f"<U{int(rng.integers(1, 2**29))}"))
    return file.getvalue()


def _many_members(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(30_000):
            archive.writestr(f"{i}.npy", b"")
    return file.getvalue()


def _objects(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    np.savez(file, keypoints=np.array([{}, None], object), poses=np.array([[]], object))
    return file.getvalue()


NPZ: list[Bomb] = [
    lambda rng: zeros_in_zip(["keypoints", "poses", "v_template", "imgname", "means"], (20_000_000,)),
    lambda rng: zeros_in_zip(["keypoints"], (25_000_000, 17, 3), "<f4"),
    lambda rng: zeros_in_zip(["keypoints", "names"], (500, 17, 3), "|i1"),
    lambda rng: zeros_in_zip(["poses"], (4_000_000, 72), "|i1"),
    lambda rng: zeros_in_zip(["keypoints", "f"], (60_000_000, 3), "|i1"),
    lambda rng: zeros_in_zip(["keypoints", "lower", "weights"], (10_000,), "<f8", zipfile.ZIP_LZMA),
    _many_members,
    _objects,
]

NPY: list[Bomb] = [
    lambda rng: npy_header((_huge(rng), 3)) + bytes(100),
    lambda rng: npy_header((-1, 3)) + bytes(100),
    lambda rng: npy_header((0, _huge(rng))),
    lambda rng: npy_header((17, 3), f"<U{2**29 - 1}"),
    lambda rng: npy_header((17, 3), "|O") + pickle.dumps(print),
    lambda rng: b"\x93NUMPY\x02\0" + struct.pack("<I", 2**31) + b"{" * 5000,
    lambda rng: b"\x93NUMPY\x01\0" + struct.pack("<H", 9000) + b"(" * 9000,
    lambda rng: b"\x93NUMPY\x01\0" + struct.pack("<H", 9000) + b"-" * 9000,
    lambda rng: pickle.dumps([1, 2, 3]),
]


def _encode_bomb(rng: np.random.Generator) -> bytes:
    """The same string encoded 1200 times."""
    text = "a" * 3_000_000
    body = b"\x80\x02}(X\x01\x00\x00\x00aX" + struct.pack("<I", len(text)) + text.encode() + b"q\x00"
    body += b"".join(
        b"X\x04\0\0\0" + b"%04d" % i + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" for i in range(1200)
    )
    return body + b"u."


def _set_bomb(rng: np.random.Generator) -> bytes:
    """A set of a list of 100,000, made 100,000 times."""
    body = b"\x80\x02](" + b"K\x01" * 100_000 + b"eq\x00c__builtin__\nset\nq\x01](" + b"h\x01h\x00\x85R" * 100_000
    return body + b"e."


def _array_bomb(rng: np.random.Generator) -> bytes:
    """A thousand arrays of one string."""
    data = b"\x80\x02T" + struct.pack("<i", 8_000_000) + bytes(8_000_000) + b"q\x000]("
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    state = b"(K\x01M\xe8\x03M\xe8\x03\x86cnumpy\ndtype\nU\x02f8\x85R\x89h\x00tb"
    return data + (made + state) * 1000 + b"e."


def _sparse_bomb(rng: np.random.Generator) -> bytes:
    import scipy.sparse

    side = int(rng.integers(1, 60_000))
    return pickle.dumps({f"J{i}": scipy.sparse.csc_matrix((side, side)) for i in range(3)}, 2)


def _laughs(value: Any, times: int = 30) -> Any:
    for _ in range(times):
        value = [value] * 10
    return value


PICKLE: list[Bomb] = [
    _encode_bomb,
    _set_bomb,
    _array_bomb,
    _sparse_bomb,
    lambda rng: b"]" + b"\x85" * 100_000 + b".",
    lambda rng: b"(" * 200_000 + b"N" + b"t" * 200_000 + b".",
    lambda rng: b"\x80\x04\x8d" + struct.pack("<Q", _huge(rng) % 2**63) + b"x.",
    lambda rng: b"\x8b" + struct.pack("<i", 3_000_000) + b"\x7f" * 3_000_000 + b".",
    lambda rng: pickle.dumps({"v_template": _laughs([1.0]), "f": _laughs([])}),
    lambda rng: b"}(" + b"N" * 999_998 + b"u.",
    lambda rng: b"c" + b"x" * 2_000_000 + b"\nsystem\n.",
    lambda rng: b"I" + b"9" * 2_000_000 + b"\n.",
    lambda rng: pickle.dumps(print),
]
