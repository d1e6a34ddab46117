"""HEIC photographs: as their JPEG would be read, upright, with EXIF, within the budget; without pillow-heif a message
names the command."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from hmrfit.io.budget import TooLarge, file_limits
from hmrfit.io.image import exif_focal_35mm, image_size, read_image

CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
FOCAL = 26


def picture() -> np.ndarray:
    """(48, 96, 3): red, green, blue and yellow quarters."""
    return CORNERS.repeat(24, 0).repeat(48, 1)


def exif(orientation: int) -> bytes:
    """Orientation in the main directory, and a focal length of 26 mm in EXIF's own."""
    main = struct.pack("<HHHIIHHIII", 2, 0x0112, 3, 1, orientation, 0x8769, 4, 1, 38, 0)
    own = struct.pack("<HHHIII", 1, 0xA405, 3, 1, FOCAL, 0)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + main + own


def heic(path: Path, orientation: int = 1) -> Path:
    """The picture as a HEIC file, turned as cameras turn it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    pixels = picture()
    file = pillow_heif.from_bytes("RGB", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    file.info["exif"] = exif(orientation)
    file.save(path, quality=90)
    return path


def test_colours_and_size_are_those_of_the_picture(tmp_path: Path) -> None:
    path = heic(tmp_path / "a.heic")
    assert image_size(path) == (96, 48)
    found = read_image(path)
    assert found.shape == (48, 96, 3)
    assert np.abs(found.astype(int) - picture())[6::12, 6::12].max() < 30  # lossy; red is not blue


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_it_comes_out_upright(tmp_path: Path, orientation: int, turn: int) -> None:
    found = read_image(heic(tmp_path / "a.heic", orientation))
    expected = np.rot90(picture(), turn)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected)[6::12, 6::12].max() < 30


def test_the_focal_length_is_read(tmp_path: Path) -> None:
    path = heic(tmp_path / "a.heic")
    assert exif_focal_35mm(path) == FOCAL == exif_focal_35mm(path.read_bytes())


def test_the_budget_holds_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heic(tmp_path / "a.heic")
    monkeypatch.setattr("hmrfit.io.image.heic_pixels", lambda *_: pytest.fail("it was decoded"))
    with file_limits(megapixels=0.001), pytest.raises(TooLarge, match="megapixels"):
        read_image(path)


def test_what_is_cut_off_is_said(tmp_path: Path) -> None:
    path = heic(tmp_path / "a.heic")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.heic.*damaged or cut off"):
        read_image(path)


def test_without_pillow_heif_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heic(tmp_path / "a.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r"HEIC photo.*pip install 'hmrfit\[heic\]'"):
        read_image(path)
