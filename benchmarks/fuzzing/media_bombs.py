"""Bombs of texts, pictures and motion files."""

import json
import struct
import zlib
from typing import Any

import numpy as np
from helpers.motion_files import glb

from fuzzing.array_bombs import Bomb

NESTED = ("[" * 100_000, '{"a":' * 100_000, '{"people":' + "[" * 100_000, '[{"keypoints":' + "[" * 50_000)

JSON: list[Bomb] = [
    lambda rng: NESTED[int(rng.integers(len(NESTED)))].encode(),
    lambda rng: b"[" + b"[]," * 8_000_000 + b"[]]",
    lambda rng: b"[" + b"{}," * 8_000_000 + b"{}]",
    lambda rng: b'{"keypoints": [' + b"1" * 1_000_000 + b"]}",
    lambda rng: b'{"people": [{"pose_keypoints_2d": [' + b"1" * int(rng.integers(300, 5000)) + b", 1, 1]}]}",
    lambda rng: json.dumps({"people": [{"pose_keypoints_2d": [10**250, 1, 1] * 25}]}).encode(),
    lambda rng: json.dumps(
        {
            "format": "coco17",
            "keypoints": [[np.nan, np.inf, 1]] * 17,
            "size": [1e300, 2],
            "image": "x" * 5000,
            "mask": "\0",
        }
    ).encode(),
    lambda rng: b'{"Frames": [' + b"[" + b"0," * 43 + b"1e308]" + b"]}",
    lambda rng: ('["' + "\U0001f600" * 100 + '"]').encode() + b"\xff",
    lambda rng: json.dumps([{"image_id": 1, "keypoints": [1, 2, 3] * 17, "bbox": [1e308] * 4, "score": "x"}]).encode(),
]

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
    lambda rng: (
        b"a: &a [1,1,1,1,1,1,1,1,1]\n"
        + b"".join(b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(20))
    ),
    lambda rng: b"FIT: " + b"[" * 60_000,
    lambda rng: b"FIT: " + b"{a: " * 10_000,
    lambda rng: b"SEED: &a [*a]",
    lambda rng: b"SEED: " + b"9" * int(rng.integers(10, 9000)),
    lambda rng: b"SEED: " + b"1:" * 8000 + b"1.5",
    lambda rng: b"SEED: !!python/object/apply:os.system [ls]",
    lambda rng: b"FIT: {STAGES: " + b"[1," * 300 + b"]" * 300 + b"}",
    lambda rng: b"x" * 3_000_000,
    lambda rng: b'SEED: "' + b"(" * 20_000 + b'"',
]


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
        lambda rng: _png(
            10,
            10,
            more=struct.pack(">I", 26)
            + b"fcTL"
            + struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0)
            + bytes(4),
        ),
    ],
    ".jpg": [
        _exif_jpeg,
        lambda rng: (
            b"\xff\xd8\xff\xc0\0\x11\x08"
            + struct.pack(">HH", 65_535, 65_535)
            + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
            + b"\xff\xda"
            + bytes(5000)
        ),
        lambda rng: b"\xff\xd8" + b"\xff\xe0\0\x02" * 100_000,
    ],
    ".bmp": [
        lambda rng: (
            b"BM"
            + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 30_000, -30_000, 1, 24, 0, 0, 0, 0, 0, 0)
            + bytes(500)
        )
    ],
    ".gif": [
        lambda rng: (
            b"GIF89a"
            + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0)
            + bytes(6)
            + b","
            + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
            + b"\x02\x02\x44\x01\0;"
        )
    ],
    ".webp": [lambda rng: b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff" + b"VP8 \0\0\0\0"],
    ".tif": [_tiff],
    ".ppm": [
        lambda rng: b"P6 %d %d 255\n" % (_side(rng), _side(rng)) + bytes(1000),
        lambda rng: b"P6 " + b"9" * 400 + b" 1 255\n",
    ],
    ".hdr": [
        lambda rng: b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (_side(rng), _side(rng)) + bytes(1000)
    ],
}


def _glb(accessor: dict, view: dict, **more: Any) -> Bomb:
    """A GLB of a known skeleton whose keys are one bad accessor."""

    def make(rng: np.random.Generator) -> bytes:
        from hmrfit.motion.glb import RIGS

        nodes = [{"name": name} for name in RIGS[0].nodes().values()]
        clip = {
            "samplers": [{"input": 0, "output": 0}],
            "channels": [{"sampler": 0, "target": {"node": 0, "path": "scale"}}],
        }
        clips = [{"name": RIGS[0].rest_clip, **clip}, {"name": "a", **clip}]
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
