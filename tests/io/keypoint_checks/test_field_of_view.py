"""What is said of cameras that cannot be right, and that nothing is said of the others."""

import struct

import numpy as np
import pytest
import torch

from hmrfit.camera import Camera, default_focal, focal_from_35mm
from hmrfit.io.keypoint_checks.field_of_view import ASSUMED, FocalSource, camera_warnings, focal_from_exif
from hmrfit.io.opencv import cv2
from hmrfit.io.photo import read_photo

SIZE = (640, 480)
PERSON = np.array([[300.0, 100.0], [340.0, 400.0]])


def keypoints() -> np.ndarray:
    """Somebody who stands in the middle: (17, 3)."""
    xy = [
        (320, 90),
        (327, 84),
        (313, 84),
        (334, 88),
        (306, 88),
        (350, 125),
        (290, 125),
        (368, 175),
        (272, 175),
        (375, 220),
        (265, 220),
        (338, 222),
        (302, 222),
        (342, 300),
        (298, 300),
        (344, 372),
        (296, 372),
    ]
    return np.concatenate([np.array(xy, np.float64), np.ones((17, 1))], 1)


def said(size=SIZE, **camera) -> tuple[str, ...]:
    (warnings,) = read_photo(None, keypoints(), "coco17", image_size=size, **camera).warnings
    return warnings


@pytest.mark.parametrize(
    "camera",
    [
        {},
        {"focal": 600.0},
        {"focal": (610.0, 590.0)},
        {"focal": 190.0},
        {"focal": 5000.0},
        {"focal_35mm": 14.0},
        {"focal_35mm": 600.0},
        {"focal_35mm": 3000.0},
    ],
)
def test_cameras_that_exist_are_well(camera):
    assert said(**camera) == ()


@pytest.mark.parametrize("focal", [4.25, 28.0, 50.0, 85.0])
@pytest.mark.parametrize("size", [SIZE, (4000, 3000)])
def test_millimetres_given_as_pixels_get_a_warning(focal, size):
    (warning,) = said(size, focal=focal)
    assert f"{focal:g} looks like millimetres. Give focal_35mm={focal:g}" in warning


def test_a_field_of_view_that_no_straight_lens_has():
    for camera in ({"focal": 700.0, "size": (4000, 3000)}, {"focal_35mm": 5.0}, {"focal": (600.0, 60.0)}):
        (warning,) = said(**camera)
        assert "the camera would see 1" in warning and "°" in warning


def test_the_angle_is_that_of_the_image_and_not_of_its_half():
    """f = L/2 sees 90° where the principal point is in the middle, and 63° where it is at the border."""
    focal = 320 / np.tan(np.radians(60.0))
    assert said(focal=focal * 1.01) == ()
    (warning,) = said(focal=focal * 0.98)
    assert "would see 121°" in warning
    corner = Camera(*(torch.tensor([v], dtype=torch.float64) for v in ((focal * 0.98,) * 2, (0.0, 240.0), SIZE)))
    assert said(camera=corner) == ()


@pytest.mark.parametrize(
    ("camera", "hint"), [({"focal": 2e5}, "pixels of this image"), ({"focal_35mm": 4000.0}, "as focal=")]
)
def test_a_field_of_view_that_is_less_than_any_lens(camera, hint):
    (warning,) = said(**camera)
    assert "would see only" in warning and hint in warning


def test_a_person_far_off_the_axis():
    center = torch.tensor([[-5e3, 240.0]], dtype=torch.float64)
    camera = Camera(torch.full((1, 2), 800.0, dtype=torch.float64), center, torch.tensor([SIZE], dtype=torch.float64))
    (warning,) = said(camera=camera)
    assert "off the camera's axis" in warning


def test_each_person_has_their_own_camera():
    cameras = Camera.from_size(*SIZE, count=3)
    focal = cameras.focal.clone()
    focal[1] = 50.0
    found = camera_warnings(
        Camera(focal, cameras.center, cameras.size), FocalSource("given, as a camera"), [PERSON] * 3
    )
    assert [len(warnings) for warnings in found] == [0, 1, 0]


# EXIF


def photograph(path, focal: float, layout: str = "I"):
    """A JPEG whose EXIF says a 35 mm-equivalent focal length: as a number of a kind of TIFF's."""
    kind = {"H": 3, "I": 4, "II": 5, "f": 11, "d": 12}[layout]
    numbers = (focal, 1) if layout == "II" else (focal,)
    value = struct.pack("<" + layout, *(n if layout in "fd" else int(n) for n in numbers))
    main = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", 26 + 18)
    details = struct.pack("<HHHI", 1, 0xA405, kind, 1) + inline + bytes(4)
    tiff = b"Exif\0\0II*\0" + struct.pack("<I", 8) + main + details + (value if len(value) > 4 else b"")
    jpeg = cv2.imencode(".jpg", np.zeros((*SIZE[::-1], 3), np.uint8))[1].tobytes()
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(tiff) + 2) + tiff + jpeg[2:])
    return path


@pytest.mark.parametrize("layout", ["H", "I", "II", "f", "d"])
def test_exif_in_any_kind_of_number(tmp_path, layout):
    pixels, source = focal_from_exif(photograph(tmp_path / "a.jpg", 28, layout), SIZE)
    assert pixels == pytest.approx(focal_from_35mm(28.0, *SIZE))
    assert source == FocalSource("the photograph's EXIF: 28 mm (35 mm)")


@pytest.mark.parametrize("focal", [1, 5, 3300, 65000, 4_000_000])
def test_exif_that_no_lens_has_is_ignored_with_a_warning(tmp_path, focal):
    photo = read_photo(photograph(tmp_path / "a.jpg", focal), keypoints(), "coco17")
    assert photo.camera.focal[0, 0].item() == pytest.approx(default_focal(*SIZE))
    assert photo.focal_source.startswith("assumed") and f"{focal:g} mm" in photo.focal_source
    ((warning,),) = photo.warnings
    assert warning.startswith("The focal length is assumed") and f"no camera has the {focal:g} mm" in warning


def test_exif_is_no_matter_where_the_focal_length_is_given(tmp_path):
    photo = read_photo(photograph(tmp_path / "a.jpg", 1), keypoints(), "coco17", focal=700.0)
    assert photo.warnings == ((),) and photo.focal_source == "given, in pixels"


@pytest.mark.parametrize(("focal", "layout"), [(0, "H"), (float("nan"), "f"), (-28.0, "f"), (float("inf"), "d")])
def test_exif_without_a_length_is_unknown(tmp_path, focal, layout):
    assert focal_from_exif(photograph(tmp_path / "a.jpg", focal, layout), SIZE) == (None, FocalSource(ASSUMED))


def test_a_rational_without_denominator_is_unknown(tmp_path):
    path = photograph(tmp_path / "a.jpg", 28, "II")
    path.write_bytes(path.read_bytes().replace(struct.pack("<II", 28, 1), struct.pack("<II", 28, 0)))
    assert focal_from_exif(path, SIZE) == (None, FocalSource(ASSUMED))
