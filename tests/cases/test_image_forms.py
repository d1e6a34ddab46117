"""Photographs in the forms that users have them in: Pillow's images, bytes, open files, tensors."""

import io

import cv2
import numpy as np
import pytest
import torch
from helpers.keypoint_layouts import SIZE, rows

import hmrfit
from hmrfit.io.image import as_image
from hmrfit.io.photo import read_photo

Image, ImageOps = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.ImageOps")

ROWS = rows("coco17", shift=0)


def stripes() -> np.ndarray:
    """(480, 640, 3), different at every corner."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[:100, :, 0], image[:, :50, 1], image[-30:, -70:, 2] = 200, 100, 250
    return image


@pytest.mark.parametrize("form", ["Pillow", "bytes", "bytearray", "open file", "tensor"])
def test_an_image_in_any_form(form: str) -> None:
    png = cv2.imencode(".png", stripes()[..., ::-1])[1].tobytes()
    image = {
        "Pillow": lambda: Image.fromarray(stripes()),
        "bytes": lambda: png,
        "bytearray": lambda: bytearray(png),
        "open file": lambda: io.BytesIO(png),
        "tensor": lambda: torch.tensor(stripes()),
    }[form]()
    np.testing.assert_array_equal(read_photo(image, ROWS, "coco17").image, stripes())


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGBA", "CMYK", "I;16"])
def test_pillows_modes(mode: str) -> None:
    picture = Image.fromarray(stripes())
    picture = Image.fromarray(np.full((480, 640), 40000, np.uint16)) if mode == "I;16" else picture.convert(mode)
    expected = np.full((480, 640, 3), 156) if mode == "I;16" else np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(as_image(picture).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pillows_images_are_turned_upright(orientation: int) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stripes()).save(file, "png", exif=exif)
    picture = Image.open(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(as_image(picture), np.asarray(ImageOps.exif_transpose(picture)))


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match="The image cannot be decoded"):
        hmrfit.fit(b"hello", ROWS, keypoint_set="coco17")
