"""Images at the border: files and arrays of every kind, crops against a known function, lenses against cv2."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.io.image import (
    Crop,
    as_image,
    exif_focal_35mm,
    image_size,
    read_image,
    undistort_image,
    undistort_points,
    whole_image_size,
    write_image,
)
from hmrfit.io.opencv import cv2


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    """Red, green over blue, white: every turn and mirror of it looks different."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 0] = 255
    image[: height // 2, width // 2 :, 1] = 255
    image[height // 2 :, : width // 2, 2] = 255
    image[height // 2 :, width // 2 :] = 255
    return image


def exif(orientation: int = 1, focal: int = 28, order: str = "<") -> bytes:
    """A TIFF block with the orientation and, in the EXIF directory, the 35 mm focal length."""
    main = struct.pack(order + "HHHIHHHHII", 2, 0x0112, 3, 1, orientation, 0, 0x8769, 4, 1, 38) + bytes(4)
    details = struct.pack(order + "HHHIHHI", 1, 0xA405, 3, 1, focal, 0, 0)
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8) + main + details


def jpeg_with(tiff: bytes, image: np.ndarray) -> bytes:
    data = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    segment = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


# Files

UPRIGHT = {
    1: lambda i: i, 2: lambda i: i[:, ::-1], 3: lambda i: i[::-1, ::-1], 4: lambda i: i[::-1],
    5: lambda i: i.swapaxes(0, 1), 6: lambda i: np.rot90(i, -1), 7: lambda i: i[::-1, ::-1].swapaxes(0, 1),
    8: lambda i: np.rot90(i),
}  # fmt: skip
"""EXIF 2.3: how stored rows and columns become upright."""


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photos_come_out_upright(tmp_path, orientation):
    (tmp_path / "a.jpg").write_bytes(jpeg_with(exif(orientation), quadrants()))
    read = read_image(tmp_path / "a.jpg").astype(int)
    expected = UPRIGHT[orientation](quadrants())
    assert read.shape == expected.shape
    assert np.median(np.abs(read - expected)) < 5  # JPEG's loss; a wrong turn differs by 255 in half of the numbers


def test_an_oriented_png_too(tmp_path):
    data = cv2.imencode(".png", quadrants()[..., ::-1])[1].tobytes()
    chunk = b"eXIf" + exif(6)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(quadrants(), -1))


@pytest.mark.parametrize("orientation", [*UPRIGHT, 0, 9])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_is_that_of_the_upright_picture(tmp_path, monkeypatch, orientation, order):
    """With and without decoding: what a header says, and what EXIF that is none leaves to the decoder."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with(exif(orientation, order=order), quadrants()))
    height, width = read_image(path).shape[:2]
    assert image_size(path) == whole_image_size(path) == (width, height)
    if orientation in UPRIGHT:
        monkeypatch.setattr("hmrfit.io.image.decode_pixels", None)
        assert image_size(path) == whole_image_size(path) == (width, height)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999, 1.0, 1.1])
def test_a_file_that_is_cut_off_is_found_without_its_pixels(tmp_path, suffix, kept):
    """And one with more bytes behind it is whole."""
    data = cv2.imencode(suffix, np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: round(kept * len(data))] + bytes(max(0, round((kept - 1) * len(data)))))
    try:
        height, width = read_image(path).shape[:2]
    except ValueError as error:
        with pytest.raises(ValueError) as found:
            whole_image_size(path)
        assert str(found.value) == str(error)
    else:
        assert whole_image_size(path) == (width, height) == (80, 60)


def save(path, array: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def test_colour_is_rgb(tmp_path):
    save(tmp_path / "a.png", quadrants()[..., ::-1])
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image, quadrants())
    assert image.flags.c_contiguous


def test_grey_and_16_bit(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save(tmp_path / "grey.png", grey)
    save(tmp_path / "grey16.png", grey.astype(np.uint16) * 257)
    save(tmp_path / "colour16.png", quadrants()[..., ::-1].astype(np.uint16) * 257)
    for name in ("grey.png", "grey16.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name), np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(read_image(tmp_path / "colour16.png"), quadrants())


def test_transparent_pixels_lie_over_white(tmp_path):
    rgba = np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 51
    save(tmp_path / "a.png", rgba[..., [2, 1, 0, 3]])
    image = read_image(tmp_path / "a.png")
    assert (image[:10] == 255).all()
    assert image[15, 5].tolist() == [255, 204, 204]  # red at a fifth
    np.testing.assert_array_equal(image[20:], quadrants()[20:])


def test_a_palette(tmp_path):
    """A PNG of colour type 3, written by hand: two colours, one byte a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"\0\0\1" + b"\0\1\0")
    parts = chunk(b"IHDR", header) + chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 0])) + chunk(b"IDAT", pixels)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b""))
    assert read_image(tmp_path / "a.png").tolist() == [[[10, 20, 30], [200, 100, 0]], [[200, 100, 0], [10, 20, 30]]]


def test_an_image_12000_pixels_wide(tmp_path):
    wide = np.zeros((300, 12_000, 3), np.uint8)
    wide[:, 11_000:] = (255, 128, 0)
    write_image(tmp_path / "wide.png", wide)
    image = read_image(tmp_path / "wide.png")
    np.testing.assert_array_equal(image, wide)
    crop = Crop((11_000, 150), 200, 64).image(image)
    assert crop[32, 10].tolist() == [0, 0, 0]
    assert crop[32, 50].tolist() == [255, 128, 0]


def test_names_beyond_ascii(tmp_path):
    write_image(tmp_path / "fotó 人.png", quadrants())
    np.testing.assert_array_equal(read_image(tmp_path / "fotó 人.png"), quadrants())


def photo_bytes(suffix: str = ".png") -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    return cv2.imencode(suffix, noise)[1].tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "not an image"),
        (b"\x89PNG\r\n\x1a\n garbage", "damaged or cut off"),
        (photo_bytes()[:40], "damaged or cut off"),
        (photo_bytes()[:9000], "damaged or cut off"),
        (photo_bytes(".jpg")[:9000], "damaged or cut off"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "damaged or cut off"),
    ],
)
def test_what_is_no_image_gets_an_error_message(tmp_path, content, message):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_header_that_claims_too_many_pixels(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = photo_bytes()
    (tmp_path / "a.png").write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(ValueError, match="cannot be decoded"):
        read_image(tmp_path / "a.png")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no image"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_image(tmp_path)


def test_writing(tmp_path):
    write_image(tmp_path / "new" / "a.png", quadrants())
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), quadrants())
    with pytest.raises(ValueError, match=r"no image format '\.what'"):
        write_image(tmp_path / "a.what", quadrants())
    assert not (tmp_path / "a.what").exists()


# Arrays


@pytest.mark.parametrize(
    "given_array",
    [
        quadrants(),
        quadrants() / 255,
        (quadrants() / 255).astype(np.float32),
        quadrants().astype(np.uint16) * 257,
        quadrants() > 0,
        np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)]),
    ],
    ids=["uint8", "float64", "float32", "uint16", "bool", "rgba"],
)
def test_every_accepted_array_is_the_same_image(given_array):
    before = given_array.copy()
    image = as_image(given_array)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, quadrants())
    np.testing.assert_array_equal(given_array, before)


def test_16_bit_numbers_go_to_the_nearest_of_8_bit():
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    np.testing.assert_array_equal(as_image(deep)[..., 0], np.round(deep / 257))


def test_grey_arrays_become_rgb():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(as_image(array), np.repeat(grey[..., None], 3, 2))


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), ValueError, "empty"),
        (np.uint8(3), ValueError, "empty"),
        (np.zeros((3, 20, 30), np.uint8), ValueError, r"channels-first.*transpose"),
        (np.zeros((2, 20, 30, 3), np.uint8), ValueError, "one image at a time"),
        (np.zeros((20, 30, 5), np.uint8), ValueError, r"\(height, width, 3\)"),
        (np.zeros((20, 30, 3), np.int64), TypeError, "astype"),
        (np.full((2, 2, 3), 255.0), ValueError, "floats from 255 to 255"),
        (np.full((2, 2, 3), np.nan), ValueError, "floats from nan"),
        (np.full((2, 2, 3), "a"), TypeError, "uint8"),
    ],
)
def test_other_arrays_are_refused(array, error, message):
    with pytest.raises(error, match=message):
        as_image(array)


# EXIF


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_focal_length_of_a_photo(tmp_path, order):
    (tmp_path / "a.jpg").write_bytes(jpeg_with(exif(1, 26, order), quadrants()))
    assert exif_focal_35mm(tmp_path / "a.jpg") == 26.0


def test_where_no_focal_length_is_known(tmp_path):
    (tmp_path / "zero.jpg").write_bytes(jpeg_with(exif(1, 0), quadrants()))
    (tmp_path / "plain.jpg").write_bytes(cv2.imencode(".jpg", quadrants())[1].tobytes())
    (tmp_path / "a.png").write_bytes(photo_bytes())
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert [exif_focal_35mm(p) for p in sorted(tmp_path.iterdir())] == [None] * 4


@given(st.integers(0, 90), st.integers(0, 255), st.integers(10, 90))
def test_hostile_exif_is_only_unknown(tmp_path_factory, at, value, cut):
    """Any byte changed, any length cut: a number or None, never an error and never a loop."""
    data = bytearray(jpeg_with(exif(), np.zeros((8, 8, 3), np.uint8))[:90])
    data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "hostile.jpg"
    path.write_bytes(bytes(data[:cut]))
    found = exif_focal_35mm(path)
    assert found is None or found > 0


# Crops


def function_image(height: int = 300, width: int = 400) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    return (function_at(x, y) + 0.5).astype(np.uint8)


def function_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth colour at every point of the plane; the last channel tells every direction."""
    return np.stack([x / 400 * 255, y / 300 * 255, 127 + 60 * np.sin(x / 12) + 60 * np.cos(y / 11)], -1)


def shift_of(gap: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """By how many pixels (x, y) of the image a picture of the last channel is displaced, by least squares."""
    slopes = np.stack([5 * np.cos(x / 12), -60 / 11 * np.sin(y / 11)], -1)
    return np.linalg.lstsq(slopes, gap[:, 2], rcond=None)[0]


@pytest.mark.parametrize("side", [50, 100, 224, 230.5, 300, 460.3, 700])
def test_each_pixel_of_a_crop_shows_its_point_of_the_image(side):
    """Enlarging, shrinking, and over the edges; cv2's corners at integers would displace by half a pixel."""
    crop = Crop((201.3, 148.7), side)
    y, x = np.mgrid[:224, :224] + 0.5
    points = crop.points_from_crop(np.stack([x, y], -1))
    seen = crop.image(function_image())
    gap = seen - function_at(points[..., 0], points[..., 1])
    pixel = side / 224 + 1
    inside = ((points > pixel) & (points < np.array([400, 300]) - pixel)).all(-1)
    assert np.abs(gap[inside]).max() < 3.5  # roundings to whole grey levels, and the mean over a pixel of the sine
    assert np.abs(shift_of(gap[inside], *points[inside].T)).max() < 0.05  # cv2 rounds positions to 1/32 pixel
    outside = ((points < -pixel) | (points > np.array([400, 300]) + pixel)).any(-1)
    assert (seen[outside] == 0).all()


def test_a_whole_pixel_crop_is_a_slice():
    image = function_image()
    np.testing.assert_array_equal(Crop((132, 112), 224).image(image), image[:224, 20:244])


def test_a_half_size_crop_is_the_mean_of_blocks():
    image = np.random.default_rng(0).integers(0, 256, (448, 448, 3), np.uint8)
    blocks = image.reshape(224, 2, 224, 2, 3).mean((1, 3))
    assert np.abs(Crop((224, 224), 448).image(image) - blocks).max() <= 0.75  # rounding


def test_shrinking_averages_instead_of_skipping():
    """A fine checkerboard is grey from afar."""
    board = np.indices((1600, 1600)).sum(0) % 2 * 255
    small = Crop((800.3, 799.9), 1500.7, 64).image(as_image(board.astype(np.uint8)))
    assert np.abs(small[2:-2, 2:-2].astype(float) - 127.5).max() < 4


@pytest.mark.parametrize("center", [(200.0, 150.0), (1e6, -1e6), (-500.0, 150.0)])
@pytest.mark.parametrize("side", [1e-3, 1e7])
def test_boxes_far_beyond_the_image(center, side):
    assert Crop(center, side, 32).image(function_image()).shape == (32, 32, 3)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0.1, 1e4), st.integers(1, 1000))
def test_points_to_crop_and_back(x, y, side, resolution):
    crop = Crop((x, y), side, resolution)
    points = np.array([[x, y], [0, 0], [123.4, -56.7]])
    np.testing.assert_allclose(crop.points_from_crop(crop.points_to_crop(points)), points, atol=1e-8)
    np.testing.assert_allclose(crop.points_to_crop(points[0]), resolution / 2, atol=1e-6)
    np.testing.assert_allclose(crop.points_to_crop(crop.low), 0, atol=1e-9)


def test_a_box_around_a_person():
    crop = Crop.around((10, 20), (110, 60))
    assert (crop.center, crop.side) == ((60, 40), 120)


@pytest.mark.parametrize("side", [0.0, -3.0, float("nan"), float("inf")])
def test_boxes_that_are_none(side):
    with pytest.raises(ValueError, match="A box needs"):
        Crop((0, 0), side)


# Lenses

K = np.array([[1000.0, 0, 500], [0, 1010, 400], [0, 0, 1]])


@pytest.mark.parametrize("dist", [[-0.3, 0.1, 0, 0], [-0.45, 0.3, 0.001, -0.002, -0.1], [0.2, -0.5, 0, 0]])
def test_undistortion_inverts_cv2s_lens(dist):
    rays = np.random.default_rng(0).uniform(-0.45, 0.45, (50, 2))
    points = np.c_[rays, np.ones(50)]
    lens = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(dist))[0].reshape(-1, 2) + 0.5
    pinhole = rays * K.diagonal()[:2] + K[:2, 2] + 0.5
    assert np.abs(lens - pinhole).max() > 5
    np.testing.assert_allclose(undistort_points(lens, K, dist), pinhole, atol=1e-6)
    assert undistort_points(lens.reshape(5, 10, 2), K, dist).shape == (5, 10, 2)


def test_no_distortion_changes_nothing():
    xy = np.random.default_rng(0).uniform(0, 900, (9, 2))
    np.testing.assert_allclose(undistort_points(xy, K, np.zeros(4)), xy, atol=1e-9)
    assert undistort_points(np.zeros((0, 2)), K, np.zeros(4)).shape == (0, 2)


def test_points_that_the_lens_cannot_have_seen_are_nan():
    wild = undistort_points([[1e5, 1e5], [500.5, 400.5], [np.nan, 3]], K, [-0.3, 0.1, 0, 0])
    assert np.isnan(wild[[0, 2]]).all()
    np.testing.assert_allclose(wild[1], [500.5, 400.5])  # the principal point stays


def test_image_and_points_are_undistorted_alike():
    """A white dot in the picture moves where its coordinates move."""
    dist, spot = [-0.3, 0.1, 0, 0], np.array([150.5, 120.5])
    image = np.zeros((800, 1000, 3), np.uint8)
    cv2.circle(image, (150, 120), 6, (255, 255, 255), -1)
    moved = undistort_image(image, K, dist)[..., 0]
    y, x = np.nonzero(moved > 128)
    np.testing.assert_allclose([x.mean() + 0.5, y.mean() + 0.5], undistort_points(spot, K, dist), atol=0.5)


@pytest.mark.parametrize(
    ("matrix", "dist", "message"),
    [
        (np.eye(2), [0, 0, 0, 0], "K should be a 3×3"),
        (-K, [0, 0, 0, 0], "above 0"),
        (K, [0.1], "4, 5, 8, 12, 14"),
        (K, [0, 0, 0, np.nan], "finite"),
    ],
)
def test_lenses_that_are_none(matrix, dist, message):
    with pytest.raises(ValueError, match=message):
        undistort_points([[1.0, 2.0]], matrix, dist)
