"""Photographs in HEIC, as iPhones write them, through pillow-heif, the one door to it; `pip install 'hmrfit[heic]'`.

ftyp heic …                       how the file begins
meta: iprp: ispe                  its sizes, checked by hmrfit.io.image_header before anything is decoded
      iprp: irot, imir            how it is turned; libheif obeys these, and so pixels come out upright
Exif\\0\\0 II*\\0 …               EXIF as in a JPEG; HEIF says that its orientation does not count
"""

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.budget import TooLarge, check_pixels

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Of HEIF files with pictures in HEVC; files with AV1 begin with others, and OpenCV reads those."""

INSTALL = "pip install 'hmrfit[heic]'"

EXIF_BEGINS = (b"Exif\0\0II*\0", b"Exif\0\0MM\0*")
"""Of an EXIF block: its mark, and a TIFF header in either order of bytes."""


def is_heic(data: bytes) -> bool:
    """Whether a file begins like a HEIC photograph."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS


def heic_pixels(data: bytes, name: str) -> NDArray[np.uint8]:
    """The main picture of a HEIC file whose claim was checked -> (H, W, 3) or (H, W, 4), blue first as cv2 has it,
    upright; ten bits a colour become eight.

    Raises:
        ValueError: pillow-heif is not installed, or the file is damaged. TooLarge: it has more pixels than allowed.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise ValueError(
            f"{name} cannot be decoded: it is a HEIC photo, as iPhones make them, and reading these needs pillow-heif: "
            f"{INSTALL}. Or convert it to JPEG first (for example with `heif-convert`)."
        ) from error
    try:
        picture = pillow_heif.open_heif(data, bgr_mode=True)  # decodes nothing yet
        width, height = picture.size
        check_pixels(width, height, f"{name} cannot be decoded: it")
        return np.array(picture)
    except TooLarge:
        raise
    except (ValueError, RuntimeError, SyntaxError, LookupError, EOFError, OSError) as error:  # libheif's errors
        raise ValueError(
            f"{name} cannot be decoded: it begins like a HEIC photo, but its {len(data)} bytes are "
            "damaged or cut off "
            f"({str(error).strip()}). Copy it again."
        ) from error


def heic_exif(data: bytes) -> bytes | None:
    """The TIFF structure of a HEIC file's EXIF block; None where there is none."""
    starts = [at for mark in EXIF_BEGINS if (at := data.find(mark)) >= 0]
    return data[min(starts) + len(b"Exif\0\0") :] if starts else None
