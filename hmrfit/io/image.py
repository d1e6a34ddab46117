"""Images at the border: reading, cleaning, writing, cutting out people, lens distortion.

Inside the library an image is RGB uint8 (H, W, 3), its pixels continuous with (0, 0) the corner of the top-left pixel.
cv2 puts pixel centres at integers; that shift of half a pixel (camera.PIXEL_CENTER) is handled in this file for
everything cv2 does.

    crop:  x' = (x − center + side/2) · resolution / side        a square box of the image <-> the network's input
    lens:  cv2's distortion model (k1, k2, p1, p2[, k3, ...]), inverted for points and images
"""

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import read_bytes, refuse_url
from hmrfit.io.budget import check_pixels
from hmrfit.io.heic import heic_exif, heic_pixels, is_heic
from hmrfit.io.image_header import check_claim, read_claim
from hmrfit.io.opencv import cv2

Image = NDArray[np.uint8]

EXIF_TAGS, FOCAL_35MM, EXIF_ORIENTATION = 0x8769, 0xA405, 0x0112
"""Tags of EXIF 2.3: where its own directory begins, FocalLengthIn35mmFilm, and which way up the picture is."""

TIFF_NUMBERS = {3: "H", 4: "I", 5: "II", 9: "i", 10: "ii", 11: "f", 12: "d"}
"""Kinds of numbers in EXIF: SHORT, LONG, RATIONAL (numerator and denominator), the signed ones, and two floats."""

EXIF_WITHIN = 1 << 18
"""Bytes of a file in which its EXIF block is looked for; one block has at most 64 KiB and comes first."""

ENDS = (b"\xff\xd9", b"\x00\x00\x00\x00IEND\xaeB`\x82")
"""With what whole JPEG and PNG files end; OpenCV decodes none that are cut off."""

ROWS = 256
"""Of a picture, that are converted at a time."""

DISTORTION_LENGTHS = (4, 5, 8, 12, 14)
"""How many coefficients cv2's lens models have."""

LENS_STEPS, LENS_TOLERANCE = 20, 0.01
"""Fixed-point steps after cv2's own few (whose number no call of every OpenCV version can set), and pixels."""


def read_image(path: str | os.PathLike) -> Image:
    """An image file -> (H, W, 3) uint8 RGB, upright as its EXIF orientation says.

    Grey, palette and 16-bit files come out as RGB uint8; transparent pixels are laid over white.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file. ValueError: it is empty, cut off or not an image.
        TooLarge (a ValueError): it says that it has more pixels than `hmrfit.file_limits` allows; nothing was decoded.
    """
    return decode_image(_read_bytes(Path(path)), f"'{path}'")


def decode_image(data: bytes, name: str = "The image") -> Image:
    """The bytes of an image file -> (H, W, 3) uint8 RGB; errors are those of `read_image`."""
    return as_image(_bgr_to_rgb(decode_pixels(data, name, _flags(data))), name.strip("'"))


def _flags(data: bytes) -> int:
    """As stored; where EXIF may turn the picture, cv2 does so only on its way to colours."""
    oriented = data[:2] == b"\xff\xd8" or b"eXIf" in data or b"EXIF" in data
    return cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH if oriented else cv2.IMREAD_UNCHANGED


def decode_pixels(data: bytes, name: str, flags: int) -> NDArray:
    """What cv2 makes of an image file's bytes, after its claims were checked; of HEIC, which it does not read, colours
    whatever `flags` says. Errors: those of `read_image`."""
    known = check_claim(data, name)
    if is_heic(data):
        return heic_pixels(data, name)
    try:
        pixels = None if known is None else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"{name} cannot be decoded as an image ({error.err.strip()}).") from error
    if pixels is None:
        raise ValueError(f"{name} cannot be decoded: {_what_it_is(data)}")
    return pixels


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise IsADirectoryError(f"'{path}' is a folder, not an image. Give one image, or list the folder's images.")
    if not path.exists():
        refuse_url(path, "the image")
        raise FileNotFoundError(f"There is no image '{path}'.")
    data = read_bytes(path)
    if not data:
        raise ValueError(f"'{path}' is empty (0 bytes). Was its download or copy cut off?")
    return data


def _what_it_is(data: bytes) -> str:
    """Why cv2 could not read it, as far as the first bytes show it."""
    if data[:4] in (b"\x89PNG", b"GIF8", b"RIFF") or data[:2] == b"\xff\xd8":
        return f"it begins like an image, but its {len(data)} bytes are damaged or cut off. Copy it again."
    return "it is not an image in a format that OpenCV reads. Convert it to JPEG or PNG."


def _bgr_to_rgb(pixels: NDArray) -> NDArray:
    """cv2's channel order to ours; in place, because photographs can be large."""
    if pixels.ndim == 3 and pixels.shape[2] >= 3:
        code = cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
        cv2.cvtColor(pixels, code, dst=pixels)
    return pixels


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of an image file, upright; of JPEG and PNG without decoding. Errors: those of `read_image`."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            data = file.read(EXIF_WITHIN)
        found = _size_in_header(data)
        if found:
            check_pixels(*found, f"'{path}'")
            return found
    height, width = read_image(path).shape[:2]
    return width, height


def whole_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of an image file, upright, where its pixels are not needed: JPEG and PNG that say it and end as
    whole files do are not decoded. Errors: those of `read_image`, but of damaged pixels in the middle of a PNG."""
    data, name = _read_bytes(Path(path)), f"'{path}'"
    if data.endswith(ENDS):
        check_claim(data, name)
        if found := _size_in_header(data[:EXIF_WITHIN]):
            return found
    height, width = decode_image(data, name).shape[:2]
    return width, height


def _size_in_header(data: bytes) -> tuple[int, int] | None:
    """What the first bytes of a JPEG or PNG say; None where it is not certain which way a PNG's own chunk or an unusual
    EXIF turns the picture."""
    turned = False
    if b"eXIf" in data:
        return None
    if blocks := data.count(b"Exif\0\0"):
        orientation = _exif_numbers(data).get(EXIF_ORIENTATION, 0) if blocks == 1 else 0
        if orientation not in range(1, 9):
            return None
        turned = orientation > 4
    claim = read_claim(data) if data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) else None
    if claim is None:
        return None
    return (claim.height, claim.width) if turned else (claim.width, claim.height)


def exif_focal_35mm(source: str | os.PathLike | bytes) -> float | None:
    """The 35 mm-equivalent focal length, millimetres, that a camera wrote into a JPEG or HEIC; else None.

    `source` is the file's path, or its bytes. 0 stands for an unknown one in EXIF, and so does what is no number (0/0,
    n/0, NaN) or negative. Whether a lens has it is for the caller to judge. It holds for the whole photograph: not for
    one that was cropped. `camera.focal_from_35mm` makes pixels of it.
    """
    focal = float(_exif_numbers(source).get(FOCAL_35MM, 0))
    return focal if 0 < focal < float("inf") else None


def exif_turns(source: str | os.PathLike | bytes) -> bool:
    """Whether the EXIF of a JPEG or HEIC says that its width as stored is the upright picture's height."""
    return _exif_numbers(source).get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)


def _exif_numbers(source: str | os.PathLike | bytes) -> dict[int, float]:
    """The numbers that are asked for, as far as the EXIF of a file has them."""
    data = _beginning(source)
    tiff = heic_exif(data) if is_heic(data) else _exif_block(data)
    order = None if tiff is None else {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if tiff is None or order is None:
        return {}
    try:
        main = _tiff_tags(tiff, order, struct.unpack_from(order + "I", tiff, 4)[0])
        return main | (_tiff_tags(tiff, order, int(main[EXIF_TAGS])) if EXIF_TAGS in main else {})
    except (struct.error, OverflowError):
        return {}


def _beginning(source: str | os.PathLike | bytes) -> bytes:
    """As much of a file as its EXIF block lies in; in HEIC that may be anywhere."""
    if isinstance(source, bytes):
        return source if is_heic(source) else source[:EXIF_WITHIN]
    with Path(source).open("rb") as file:
        data = file.read(EXIF_WITHIN)
    return read_bytes(source) if is_heic(data) else data


def _exif_block(jpeg: bytes) -> bytes | None:
    """The TIFF structure inside a JPEG's EXIF segment: markers FF xx, each with a length, up to the picture itself."""
    at = 2
    while jpeg[:2] == b"\xff\xd8" and at + 4 <= len(jpeg) and jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] == 0xE1 and jpeg[at + 4 : at + 10] == b"Exif\0\0":
            return jpeg[at + 10 : at + 2 + length]
        at += 2 + length
    return None


def _tiff_tags(tiff: bytes, order: str, offset: int) -> dict[int, float]:
    """The single numbers of one directory: tag -> value, inf where a denominator is 0. struct.error at cut-off ones."""
    tags = {}
    for i in range(struct.unpack_from(order + "H", tiff, offset)[0]):
        at = offset + 2 + 12 * i
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, at)
        if kind in TIFF_NUMBERS and count == 1 and tag in (EXIF_TAGS, FOCAL_35MM, EXIF_ORIENTATION):
            layout = order + TIFF_NUMBERS[kind]
            if struct.calcsize(layout) > 4:  # its value lies elsewhere, and here is where
                at = struct.unpack_from(order + "I", tiff, at + 8)[0] - 8
            numbers = struct.unpack_from(layout, tiff, at + 8)
            divisor = numbers[1] if len(numbers) == 2 else 1
            tags[tag] = numbers[0] / divisor if divisor else float("inf")
    return tags


def as_image(array: object, name: str = "The image") -> Image:
    """An array as users have them -> (H, W, 3) uint8 RGB. The input is never changed.

    Accepts (H, W), (H, W, 1), (H, W, 3) RGB and (H, W, 4) RGBA (laid over white); uint8, uint16 (over its full range),
    bool, and floats in [0, 1]. Of Pillow's images any mode, turned upright as their EXIF says; tensors.

    Raises:
        TypeError: not an array, or numbers of another type. ValueError: empty, another shape, floats outside [0, 1].
    """
    if callable(detach := getattr(array, "detach", None)):
        array = detach().cpu()
    pixels = _of_pillow(array) if callable(getattr(array, "getexif", None)) else np.asarray(array)
    _check_image_shape(pixels, name)
    pixels = _to_uint8(pixels, name)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2)
    return _over_white(pixels) if pixels.shape[2] == 4 else np.ascontiguousarray(pixels)


def _of_pillow(picture: Any) -> NDArray:
    """A `PIL.Image`'s pixels: palettes, CMYK and the like as RGB or RGBA, and upright."""
    if picture.mode not in ("1", "L", "RGB", "RGBA", "I;16"):
        transparent = picture.mode in ("LA", "PA", "La", "RGBa") or "transparency" in picture.info
        picture = picture.convert("RGBA" if transparent else "RGB")
    pixels = np.asarray(picture)
    orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    upward, leftward = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if upward else 1, :: -1 if leftward else 1]


def _check_image_shape(pixels: NDArray, name: str) -> None:
    if 0 in pixels.shape or pixels.ndim == 0:
        raise ValueError(f"{name} is empty: its shape is {pixels.shape}. Expected (height, width, 3).")
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4)):
        return
    hint = "It looks channels-first: transpose it with `.transpose(1, 2, 0)`." if pixels.shape[0] in (1, 3, 4) else ""
    if pixels.ndim == 4:
        hint = "Give one image at a time."
    raise ValueError(f"{name} should have the shape (height, width, 3), RGB, but has {pixels.shape}. {hint}".rstrip())


def _to_uint8(pixels: NDArray, name: str) -> Image:
    """Full scale of any accepted type -> 0..255, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype == np.uint16:
        return _by_rows(lambda part: (part.astype(np.uint32) + 128) // 257, pixels)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise TypeError(
            f"{name} should be uint8, uint16 or float in [0, 1], but is {pixels.dtype}. "
            "If its numbers are 0 to 255, pass `image.astype(numpy.uint8)`."
        )
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name} holds floats from {low:g} to {high:g}; expected 0 to 1. "
            "If they are 0 to 255, pass `image.astype(numpy.uint8)`."
        )
    return (pixels * 255 + 0.5).astype(np.uint8)


def _over_white(rgba: Image) -> Image:
    """colour · α + white · (1 − α)."""

    def mixed(part: Image) -> NDArray:
        alpha = part[..., 3:].astype(np.uint16)
        return (part[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255

    return _by_rows(mixed, rgba)


def _by_rows(change: Callable[[NDArray], NDArray], pixels: NDArray) -> Image:
    """The change of some rows at a time: on the way its numbers take several times the picture's own bytes."""
    return np.concatenate([change(pixels[i : i + ROWS]).astype(np.uint8) for i in range(0, len(pixels), ROWS)])


def write_image(path: str | os.PathLike, image: ArrayLike) -> None:
    """Writes RGB (or grey, RGBA over white) as the suffix of `path` says (.png, .jpg, ...), whole or not at all.

    Raises:
        ValueError: cv2 writes no format of that suffix. OSError: see `atomic.atomic_write`.
    """
    suffix = Path(path).suffix
    try:
        encoded = cv2.imencode(suffix, cv2.cvtColor(as_image(image), cv2.COLOR_RGB2BGR))[1]
    except cv2.error as error:
        raise ValueError(f"Cannot write '{path}': no image format '{suffix}'. Use .png or .jpg.") from error
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


@dataclass(frozen=True)
class Crop:
    """A square box of an image and the network's input that is made from it.

    Both sides in pixels with (0, 0) the corner of the top-left pixel; the crop's corner (0, 0) is the box's corner.
    The box may reach out of the image: black there.
    """

    center: tuple[float, float]  # (x, y) pixels of the full image
    side: float  # pixels of the full image
    resolution: int = 224  # pixels of the crop

    def __post_init__(self) -> None:
        numbers = np.array([*self.center, self.side, self.resolution], np.float64)
        if not (np.isfinite(numbers).all() and self.side > 0 and self.resolution > 0):
            raise ValueError(f"A box needs finite numbers and a side above 0 pixels, but this one is {self}.")
        x, y, side = numbers[:3].tolist()
        object.__setattr__(self, "center", (x, y))
        object.__setattr__(self, "side", side)

    @classmethod
    def around(cls, low: Sequence[float], high: Sequence[float], scale: float = 1.2, resolution: int = 224) -> "Crop":
        """Around the rectangle from `low` (x, y) to `high`, its longest side times `scale` (HMR and SPIN: 1.2)."""
        (x0, y0), (x1, y1) = (map(float, low), map(float, high))
        return cls(((x0 + x1) / 2, (y0 + y1) / 2), scale * max(x1 - x0, y1 - y0), resolution)

    @property
    def low(self) -> NDArray[np.float64]:
        """(x, y) of the box's top-left corner, pixels of the full image."""
        return np.asarray(self.center, np.float64) - self.side / 2

    def points_to_crop(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Pixels of the full image (..., 2) -> pixels of the crop."""
        return (np.asarray(xy, np.float64) - self.low) * (self.resolution / self.side)

    def points_from_crop(self, xy: ArrayLike) -> NDArray[np.float64]:
        """The inverse of `points_to_crop`."""
        return np.asarray(xy, np.float64) * (self.side / self.resolution) + self.low

    def image(self, image: Image) -> Image:
        """The crop (resolution, resolution, 3) of an RGB image (H, W, 3): bilinear; averaged first when shrinking."""
        shrink = max(1, min(int(self.side / self.resolution), *image.shape[:2]))
        patch, corner = _patch(image, self.low, self.side, shrink)
        scale = shrink * self.resolution / self.side
        shift = (corner - self.low) * self.resolution / self.side
        centers = scale * PIXEL_CENTER + shift - PIXEL_CENTER
        affine = np.array([[scale, 0, centers[0]], [0, scale, centers[1]]])
        crop = cv2.warpAffine(patch, affine, (self.resolution, self.resolution), flags=cv2.INTER_LINEAR)
        return crop.astype(image.dtype, copy=False)


def _patch(image: Image, low: NDArray, side: float, shrink: int) -> tuple[Image, NDArray]:
    """The box's part of an image, shrunk by a whole factor (mean of blocks), and its corner (x, y) in the image.

    Bilinear sampling alone would skip pixels when a crop is much smaller than its box. One block more on each side
    keeps the interpolation at the box's edge true. Never larger than the image, however far the box reaches.
    """
    size = np.array(image.shape[1::-1])
    start = np.clip(np.floor(low).astype(np.int64) - shrink, -shrink, size)
    stop = np.clip(np.ceil(low + side).astype(np.int64) + shrink, np.maximum(start, 0), size)
    count = np.maximum(-(-(stop - start) // shrink), 1)  # blocks, the last one may reach out of the image
    part = image[max(start[1], 0) : stop[1], max(start[0], 0) : stop[0]]
    if part.size == 0:
        return np.zeros((1, 1, image.shape[2]), image.dtype), start.astype(np.float64)
    before = np.maximum(-start, 0)
    after = count * shrink - before - part.shape[1::-1]
    top, bottom, left, right = (int(n) for n in (before[1], after[1], before[0], after[0]))
    whole = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT)
    if shrink > 1:
        whole = cv2.resize(whole, count.tolist(), interpolation=cv2.INTER_AREA)
    return whole.astype(image.dtype, copy=False), start.astype(np.float64)


def _cv2_lens(K: ArrayLike, dist: ArrayLike) -> tuple[NDArray, NDArray]:
    K, dist = np.asarray(K, np.float64), np.asarray(dist, np.float64).ravel()
    if K.shape != (3, 3) or not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise ValueError(f"K should be a 3×3 matrix of finite numbers with focal lengths above 0, but is {K.tolist()}.")
    if len(dist) not in DISTORTION_LENGTHS or not np.isfinite(dist).all():
        raise ValueError(
            f"Lens distortion should be {', '.join(map(str, DISTORTION_LENGTHS))} finite numbers in cv2's order "
            f"(k1, k2, p1, p2, k3, ...), but is {dist.tolist()}."
        )
    return K, dist


def undistort_points(xy: ArrayLike, K: ArrayLike, dist: ArrayLike) -> NDArray[np.float64]:
    """Pixels (..., 2) as the lens made them -> pixels of the pinhole camera with the same K.

    `xy` has our pixel convention, `K` (3, 3) is as cv2's calibration wrote it (pixel centres at integers), `dist` are
    cv2's coefficients. NaN where the model has no inverse: a point far outside of what was calibrated.
    """
    K, dist = _cv2_lens(K, dist)
    xy = np.asarray(xy, np.float64)
    distorted = xy.reshape(-1, 2) - PIXEL_CENTER
    if not len(distorted):
        return xy.copy()
    focal = K.diagonal()[:2]
    rays = cv2.undistortPoints(distorted[:, None], K, dist).reshape(-1, 2)
    for _ in range(LENS_STEPS):
        rays = rays + (distorted - _through_lens(rays, K, dist)) / focal
    missed = ~(np.abs(_through_lens(rays, K, dist) - distorted).max(1) < LENS_TOLERANCE)
    pixels = rays * focal + K[:2, 2] + PIXEL_CENTER
    pixels[missed] = np.nan
    return pixels.reshape(xy.shape)


def _through_lens(rays: NDArray, K: NDArray, dist: NDArray) -> NDArray:
    """Directions (N, 2) at depth 1 -> cv2's pixels (N, 2)."""
    points = np.concatenate([rays, np.ones((len(rays), 1))], 1)
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, dist)[0].reshape(-1, 2)


def undistort_image(image: Image, K: ArrayLike, dist: ArrayLike) -> Image:
    """The photograph as the pinhole camera with the same K would have taken it: what a fit's overlay lies on."""
    return cv2.undistort(image, *_cv2_lens(K, dist)).astype(image.dtype, copy=False)
