"""Every format's header says the size that the decoder makes; what claims too much never reaches a decoder."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from hmrfit.io.budget import TooLarge, file_limits
from hmrfit.io.image import image_size, read_image
from hmrfit.io.image_header import check_claim
from hmrfit.io.opencv import cv2

SIZE = (57, 33)


def encoded(suffix: str) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    return cv2.imencode(suffix, np.float32(image / 255.0) if suffix in (".hdr", ".pfm") else image)[1].tobytes()


SUFFIXES = (".png", ".jpg", ".bmp", ".webp", ".tif", ".gif", ".ppm", ".pam", ".pfm", ".hdr", ".ras", ".jp2")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_size_in_the_header_is_the_pictures(tmp_path: Path, suffix: str) -> None:
    data = encoded(suffix)
    claim = check_claim(data, "it")
    assert claim is not None and (claim.width, claim.height) == SIZE
    (tmp_path / f"a{suffix}").write_bytes(data)
    assert read_image(tmp_path / f"a{suffix}").shape[1::-1] == SIZE
    with file_limits(megapixels=0.001):
        for read in (read_image, image_size):
            with pytest.raises(TooLarge, match=rf"a{suffix}.*57 × 33 pixels.*file_limits\(megapixels"):
                read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_off_headers_are_value_errors(suffix: str) -> None:
    data = encoded(suffix)
    for end in range(0, min(len(data), 400), 7):
        try:
            check_claim(data[:end], "it")
        except ValueError as error:
            assert "damaged or cut off" in str(error)


def pillow(form: str, **options: object) -> bytes:
    image = pytest.importorskip("PIL.Image")
    file, picture = io.BytesIO(), np.zeros((*SIZE[::-1], 3), np.uint8)
    more = {"append_images": [image.fromarray(picture[::-1] + 9)]} if options.get("save_all") else {}
    image.fromarray(picture).save(file, form, **options, **more)
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"progressive": True}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"big_tiff": True}),
        ("GIF", {"save_all": True}),
        ("PNG", {"save_all": True}),
        ("WEBP", {"save_all": True}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_pictures_of_other_programs(form: str, options: dict) -> None:
    claim = check_claim(pillow(form, **options), "it")
    assert claim is not None and (claim.width, claim.height) == SIZE


def png(width: int, height: int, more: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


FRAME = struct.pack(">I4sIIIIIHHBBI", 26, b"fcTL", 0, 60_000, 60_000, 0, 0, 1, 1, 0, 0, 0)

TILE = [struct.pack("<HHII", tag, 4, 1, n) for tag, n in ((256, 9), (257, 9), (322, 10**5), (323, 10**5))]

CLAIMS = {
    "png": png(36_000, 40_000),
    "frame of a png": png(10, 10, FRAME),
    "jpg": b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x11\x08" + struct.pack(">HH", 65_535, 65_535) + b"\x03" + bytes(9),
    "bmp": b"BM" + struct.pack("<IHHIIii", 0, 0, 0, 54, 40, 30_000, -30_000) + bytes(28),
    "old bmp": b"BM" + struct.pack("<IHHIIHH", 0, 0, 0, 26, 12, 60_000, 60_000) + bytes(28),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0),
    "frame of a gif": b"GIF87a"
    + struct.pack("<HHBBB", 9, 9, 0, 0, 0)
    + b","
    + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0)
    + b"\x02\0;",
    "webp": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff",
    "picture in a webp": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x09\0\0\x09\0\0VP8L\x05\0\0\0\x2f\xff\xff\xff\x0f\0",
    "tif": b"MM\0*" + struct.pack(">IHHHIIHHII", 8, 2, 256, 4, 1, 200_000, 257, 4, 1, 10_000),
    "tile of a tif": b"II*\0" + struct.pack("<IH", 8, 4) + b"".join(TILE),
    "ppm": b"P6\n# a comment\n100000 100000 255\n",
    "pam": b"P7\nWIDTH 100000\nHEIGHT 100000\nDEPTH 3\n",
    "hdr": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
    "jp2": b"\xff\x4f\xff\x51" + struct.pack(">HHII", 47, 0, 10**6, 10**6) + bytes(24) + struct.pack(">H", 3),
    "avif": struct.pack(">I4s4sI", 16, b"ftyp", b"avif", 0)
    + struct.pack(">I4sI4sIII", 28, b"meta", 20, b"ispe", 0, 10**5, 10**5),
}


def test_a_part_of_a_png_that_is_longer_than_the_file() -> None:
    """OpenCV takes memory for it before it looks: 1.4 GB for 7 KB."""
    data = png(10, 10)
    at = data.index(b"IDAT") - 4
    with pytest.raises(ValueError, match="damaged or cut off"):
        check_claim(data[:at] + b"\x58" + data[at + 1 :], "it")


@pytest.mark.parametrize("name", CLAIMS)
def test_gigantic_claims_never_reach_a_decoder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    (tmp_path / "a").write_bytes(CLAIMS[name])
    with pytest.raises(TooLarge, match="says that it has"):
        read_image(tmp_path / "a")


def test_a_jpeg_of_thousands_of_scans_is_not_decoded() -> None:
    """Each goes over the whole picture, and takes ten bytes of the file."""
    data = pillow("JPEG", progressive=True)
    assert check_claim(data, "it").work < 20
    last = data.rindex(b"\xff\xda")
    with pytest.raises(TooLarge, match="too long to decode"):
        check_claim(data[:last] + data[last : last + 12] * 5000 + b"\xff\xd9", "it")


def test_sixteen_bit_pictures_keep_their_values(tmp_path: Path) -> None:
    """They are converted some rows at a time; every row is the one it was."""
    pixels = (np.arange(700 * 5 * 4, dtype=np.uint32).reshape(700, 5, 4) * 4 % 65_536).astype(np.uint16)
    pixels[..., 3] = 65_535
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    expected = (pixels[..., 2::-1].astype(np.uint32) + 128) // 257
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)


def test_fifty_megapixels_are_an_ordinary_photograph() -> None:
    claim = check_claim(png(8660, 5774), "it")
    assert claim is not None and claim.width * claim.height > 50e6
