"""Files of a few kilobytes that would take gigabytes, minutes, or the stack; by the suffix or the kind they are for."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from helpers.motion_files import glb

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
    state = b"(K\x01M\xe8\x03M\xe8\x03\x86cnumpy\ndtype\nU\x02f8\x85Rh\x00U\x00tb"
    data = b"\x80\x02T" + struct.pack("<i", 8_000_000) + bytes(8_000_000) + b"q\x000]("
    one = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01M\xe8\x03M\xe8\x03\x86cnumpy\ndtype\nU\x02f8\x85R\x89h\x00tb"
    return data + one * (1000 if state else 0) + b"e."


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

NESTED = ("[" * 100_000, '{"a":' * 100_000, '{"people":' + "[" * 100_000, '[{"keypoints":' + "[" * 50_000)

JSON: list[Bomb] = [
    lambda rng: NESTED[int(rng.integers(len(NESTED)))].encode(),
    lambda rng: b"[" + b"[]," * 8_000_000 + b"[]]",
    lambda rng: b"[" + b"{}," * 8_000_000 + b"{}]",
    lambda rng: b'{"keypoints": [' + b"1" * 1_000_000 + b"]}",
    lambda rng: b'{"people": [{"pose_keypoints_2d": [' + b"1" * int(rng.integers(300, 5000)) + b", 1, 1]}]}",
    lambda rng: json.dumps({"people": [{"pose_keypoints_2d": [10**250, 1, 1] * 25}]}).encode(),
    lambda rng: json.dumps({"format": "coco17", "keypoints": [[np.nan, np.inf, 1]] * 17, "size": [1e300, 2], "image": "x" * 5000, "mask": "\0"}).encode(),
    lambda rng: b'{"Frames": [' + b"[" + b"0," * 43 + b"1e308]" + b"]}",
    lambda rng: ('["' + "\U0001f600" * 100 + '"]').encode() + b"\xff",
    lambda rng: json.dumps([{"image_id": 1, "keypoints": [1, 2, 3] * 17, "bbox": [1e308] * 4, "score": "x"}]).encode(),
]  # fmt: skip

CSV: list[Bomb] = [
    lambda rng: b"1," + b"2" * 200_000 + b",1\n",
    lambda rng: b"\n" * 50_000_000,
    lambda rng: b'"' + b"1,2,3\n" * 100_000,
    lambda rng: b"1,2,3\0\n" * 17,
    lambda rng: b",".join([b"1"] * 3_000_000),
    lambda rng: b"1,2,3\n" * 400_000,
    lambda rng: b"1e999,nan,-inf\n" * 17,
    lambda rng: b"\xff\xfe" + bytes(1000),
]

YAML: list[Bomb] = [
    lambda rng: b"a: &a [1,1,1,1,1,1,1,1,1]\n" + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(20)),
    lambda rng: b"FIT: " + b"[" * 60_000,
    lambda rng: b"FIT: " + b"{a: " * 10_000,
    lambda rng: b"SEED: &a [*a]",
    lambda rng: b"SEED: " + b"9" * int(rng.integers(10, 9000)),
    lambda rng: b"SEED: " + b"1:" * 8000 + b"1.5",
    lambda rng: b"SEED: !!python/object/apply:os.system [ls]",
    lambda rng: b"FIT: {STAGES: " + b"[1," * 300 + b"]" * 300 + b"}",
    lambda rng: b"x" * 3_000_000,
    lambda rng: b'SEED: "' + b"(" * 20_000 + b'"',
]  # fmt: skip


def _png(width: int, height: int, depth: int = 8, color: int = 2, rows: int = 50, more: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packed = zlib.compress(bytes(min(rows * (1 + width * 8), 40_000_000)), 9)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(width % 2))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _side(rng: np.random.Generator) -> int:
    return int([8000, 30_000, 65_535, 200_000, 2**31 - 1][int(rng.integers(5))])


def _exif_jpeg(rng: np.random.Generator) -> bytes:
    tiff = b"II*\0" + struct.pack("<IH", 8, 65_535) + struct.pack("<HHII", 0x8769, 4, 1, int(rng.integers(2**32)))
    body = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(body) + 2) + body + b"\xff" * 1000


def _tiff(rng: np.random.Generator) -> bytes:
    tags = [
        (256, _side(rng)),
        (257, 100),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 200),
        (277, 1),
        (278, 2**31),
        (279, 2**31),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(2000)


IMAGES: dict[str, list[Bomb]] = {
    ".png": [
        lambda rng: _png(_side(rng), _side(rng)),
        lambda rng: _png(36_000, 40_000, rows=100),
        lambda rng: _png(7001, 7000, 16, 6),
        lambda rng: _png(10, 10, more=struct.pack(">I", 26) + b"fcTL" + struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0) + bytes(4)),
    ],
    ".jpg": [
        _exif_jpeg,
        lambda rng: b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 65_535, 65_535) + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01" + b"\xff\xda" + bytes(5000),
        lambda rng: b"\xff\xd8" + b"\xff\xe0\0\x02" * 100_000,
    ],
    ".bmp": [lambda rng: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 30_000, -30_000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(500)],
    ".gif": [lambda rng: b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6) + b"," + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\0;"],
    ".webp": [lambda rng: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff" + b"VP8 \0\0\0\0"],
    ".tif": [_tiff],
    ".ppm": [lambda rng: b"P6 %d %d 255\n" % (_side(rng), _side(rng)) + bytes(1000), lambda rng: b"P6 " + b"9" * 400 + b" 1 255\n"],
    ".hdr": [lambda rng: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (_side(rng), _side(rng)) + bytes(1000)],
}  # fmt: skip


def _glb(accessor: dict, view: dict, **more: Any) -> Bomb:
    """A GLB of a known skeleton whose keys are one bad accessor."""

    def make(rng: np.random.Generator) -> bytes:
        from hmrfit.data.motion.glb import SKELETONS

        nodes = [{"name": name} for name in SKELETONS[0].nodes().values()]
        clip = {
            "samplers": [{"input": 0, "output": 0}],
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "scale"}}],
        }
        clips = [{"name": SKELETONS[0].rest_clip, **clip}, {"name": "a", **clip}]
        content = {
            "asset": {"version": "2.0"},
            "nodes": nodes,
            "animations": clips,
            "accessors": [accessor],
            "bufferViews": [view],
        }
        return glb(content | more, struct.pack("<3f", 0.0, 1.0, 2.0) * 100)

    return make


def _accessor(count: Any, kind: str = "VEC3", **more: Any) -> dict[str, Any]:
    return {"bufferView": 0, "componentType": 5126, "count": count, "type": kind, **more}


GLB: list[Bomb] = [
    _glb(_accessor(200_000_000), {"buffer": 0, "byteStride": 0}),
    _glb(_accessor(10**30), {"buffer": 0, "byteStride": 0}),
    _glb(_accessor(50), {"buffer": 0, "byteStride": 1}),
    _glb(_accessor(True), {"buffer": 0, "byteStride": -4}),
    _glb(_accessor(50, sparse={"count": 10**9}), {"buffer": 0}),
    _glb(_accessor(1e9), {"buffer": 0, "byteOffset": 0.5}),
    _glb(_accessor(3), {"buffer": 0}, nodes=[{}] * 1_000_000),
    _glb(_accessor(3), {"buffer": 0}, animations=[{"samplers": [], "channels": []}] * 300_000),
    lambda rng: b"glTF" + struct.pack("<II", 2, 30_000_012) + bytes(30_000_000),
    lambda rng: glb({}, b"").replace(b"{}  ", b"[[[["),
    lambda rng: b"glTF" + struct.pack("<III4s", 2, 200_020, 200_000, b"JSON") + b"[" * 200_000,
]

_ROOT = b"HIERARCHY\nROOT Hips {\nOFFSET 0 0 0\nCHANNELS %s Xrotation Yrotation Zrotation\n}\nMOTION\n"

BVH: list[Bomb] = [
    lambda rng: _ROOT % b"0" + b"Frames: 1000000000000\nFrame Time: 0.1\n",
    lambda rng: _ROOT % b"1e999" + b"Frames: 1\nFrame Time: 0.1\n0 0 0",
    lambda rng: _ROOT % b"3" + b"Frames: " + b"9" * 5000 + b"\nFrame Time: 0.1\n0 0 0",
    lambda rng: _ROOT % b"3" + b"Frames: 20000000\nFrame Time: 0.1\n" + b"11 " * 30_000_000,
    lambda rng: b"HIERARCHY " + b"ROOT a { " + b"JOINT b { " * 100_000,
    lambda rng: _ROOT % b"3" + b"Frames: 1\nFrame Time: 5e-324\n0 0 1e308",
]

TEXT: list[Bomb] = [
    lambda rng: b"1" + b"," * 40_000_000,
    lambda rng: (b"0," * 116 + b"1e308\n") * 5,
    lambda rng: b"1,2\n" * 3_000_000,
]


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


def _nested_settings(rng: np.random.Generator) -> bytes:
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

BY_SUFFIX: dict[str, list[Bomb]] = {
    ".npz": NPZ, ".npy": NPY, ".pkl": PICKLE, ".json": JSON, ".csv": CSV, ".yaml": YAML, ".glb": GLB, ".bvh": BVH,
    ".txt": TEXT, ".pt": TORCH, ".mat": MAT, ".h5": H5, **IMAGES,
}  # fmt: skip

BY_KIND: dict[str, list[Bomb]] = {
    "network.npz": [*NETWORK, _nested_settings],
    "discriminator.npz": [*NETWORK, _nested_settings],
    "body.npz": [*NPZ, *PICKLE],
    "body.pkl": [*PICKLE, *NPZ],
}


def of(kind: str, suffix: str) -> list[Bomb]:
    """The bombs for a kind of file."""
    return BY_KIND.get(kind, BY_SUFFIX.get(suffix, []))
