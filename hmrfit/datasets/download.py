"""What the readers share: is the download whole, files of MATLAB, boxes, SPIN's slots, frames out of videos.

center = (low + high)/2,   scale = 1.2 max(high − low) / 200            over a person's keypoints, as SPIN boxes them
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from hmrfit.datasets.cdf_check import check_cdf
from hmrfit.datasets.matlab_check import check_matlab
from hmrfit.datasets.spin_npz import BOX_UNIT
from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import TooLarge, brief, check_bytes, check_pixels
from hmrfit.io.image import write_image
from hmrfit.io.opencv import cv2
from hmrfit.io.pickles import RefusedFile
from hmrfit.keypoints import SPIN24
from hmrfit.ops.how_many import how_many

BOX_SCALE = 1.2

SPIN_SLOTS = {
    "left_hip_coco": "left_hip_lsp", "right_hip_coco": "right_hip_lsp",
    "left_hip_h36m": "left_hip_lsp", "right_hip_h36m": "right_hip_lsp",
    "pelvis_h36m": "pelvis_mpii", "neck_h36m": "neck_lsp",
    "left_knee": "left_knee_coco", "right_knee": "right_knee_coco",
    "left_shoulder": "left_shoulder_coco", "right_shoulder": "right_shoulder_coco",
}  # fmt: skip
"""What SPIN files under the name of another definition. So these slots mean different points in different datasets."""

DAMAGE = (
    KeyError, IndexError, TypeError, AttributeError, ValueError, EOFError, OSError, RuntimeError, OverflowError,
)  # fmt: skip
"""What reading a file of another structure raises."""

INSTALL = "pip install 'hmrfit[datasets]' (or: pip install {package})"


class DamagedDownload(ValueError):
    """A file of a download that does not hold what it should."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"'{path}' is damaged, cut off or of another dataset ({what}). Download it again.")


def require(root: Path, tree: str, paths: Iterable[str | Path]) -> None:
    """That all of these files or folders are below `root`.

    Raises:
        FileNotFoundError: with the first that is missing, how many there are, and the expected tree.
    """
    paths = [Path(path) for path in paths]
    missing = [path for path in paths if not (root / path).exists()]
    if missing:
        raise FileNotFoundError(
            f"The download in '{root}' is not whole: {len(missing)} of {len(paths)} parts are missing, the first is "
            f"'{missing[0]}'. Expected:\n{tree}\nGive the folder that holds these, or unpack the download again."
        )


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within the block, errors about the structure of a file become a `DamagedDownload` that names the file."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, FileNotFoundError | DamagedDownload | RefusedFile | TooLarge):
            raise
        raise DamagedDownload(path, f"{type(error).__name__}: {brief(str(error), 200)}") from error


def h5_numbers(file: Any, name: Any) -> NDArray[np.float64]:
    """A dataset of an open HDF5 file, by its name or reference, as float64.

    Raises:
        TooLarge: more than the budget, as it is or as its blocks are packed. ValueError: no numbers.
    """
    found = file[name]
    if found.dtype.kind not in "fiub":
        raise ValueError(f"a dataset of {found.dtype} where numbers belong")
    block = math.prod(found.chunks or ()) * found.dtype.itemsize
    check_bytes(found.size * (8 + found.dtype.itemsize) + 2 * block, f"'{file.filename}'")
    return np.asarray(found, np.float64)


def read_mat(path: Path, **options: Any) -> dict[str, Any]:
    """A MATLAB file up to version 7."""
    try:
        check_matlab(path)
        return scipy.io.loadmat(path, **options)
    except (FileNotFoundError, TooLarge):
        raise
    except NotImplementedError as error:
        raise DamagedDownload(path, "it is of MATLAB 7.3, the dataset's own is older") from error
    except Exception as error:  # zlib's, struct's and scipy's own, whatever byte was hit
        raise DamagedDownload(path, f"{type(error).__name__}: {error}") from error


@contextmanager
def open_h5(path: Path) -> Iterator[Any]:
    """An HDF5 file, or one of MATLAB 7.3.

    Raises:
        ImportError: h5py is not installed. ValueError: damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"'{path}' needs h5py: {INSTALL.format(package='h5py')}.") from error
    with reading(path), h5py.File(path, "r") as file:
        yield file


def read_cdf(path: Path, variable: str = "Pose") -> NDArray[np.float64]:
    """One variable of a file in NASA's Common Data Format.

    Raises:
        ImportError: cdflib is not installed. ValueError: damaged.
    """
    try:
        import cdflib
    except ImportError as error:
        raise ImportError(f"'{path}' needs cdflib: {INSTALL.format(package='cdflib')}.") from error
    try:
        check_cdf(path)
        file = cdflib.CDF(path)
        found = file.vdr_info(variable)
        each = math.prod(found.dim_sizes) * max(found.num_elements, 1)
        check_bytes(40 * each * (found.max_rec + 1), f"'{path}'")
        return np.asarray(file.varget(variable), np.float64)
    except TooLarge:
        raise
    except Exception as error:  # cdflib has no error of its own
        raise DamagedDownload(path, f"{type(error).__name__}: {error}") from error


def spin_slots(points: NDArray, names: Sequence[str], known: NDArray | float = 1.0) -> NDArray[np.float64]:
    """Points (N, K, D) with names -> SPIN's (N, 24, D + 1): zeros but where a name has a slot; last column `known`."""
    slots = [SPIN24.index(SPIN_SLOTS.get(name, name)) for name in names]
    filled = np.zeros((len(points), len(SPIN24), points.shape[-1] + 1))
    filled[:, slots, :-1] = points
    filled[:, slots, -1] = known
    return filled


def boxes(
    points: NDArray, seen: NDArray | None = None, factor: float = BOX_SCALE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keypoints (N, K, 2) and which count (N, K) -> center (N, 2) pixels, scale (N,)."""
    seen = np.ones(points.shape[:-1], bool) if seen is None else seen
    low = np.where(seen[..., None], points, np.inf).min(-2)
    high = np.where(seen[..., None], points, -np.inf).max(-2)
    return (low + high) / 2, factor * (high - low).max(-1) / BOX_UNIT


def all_inside(points: NDArray, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) whether every keypoint of (N, K, 2) lies in an image of this width and height."""
    return np.all((points >= 0) & (points < np.array(size)), axis=(-1, -2))


def extract_frames(video: Path, wanted: Mapping[int, Path]) -> int:
    """Writes frames of a video as images; those that are there already stay. Returns how many were written.

    Args:
        wanted: frame number, from 0 -> path of its image.
    Raises:
        FileNotFoundError: no such video. ValueError: it is damaged, or ends before the last wanted frame.
    """
    if not video.exists():
        raise FileNotFoundError(f"There is no video '{video}'.")
    left = {number: path for number, path in wanted.items() if not path.exists()}
    check_regular(video)
    total, capture = len(left), cv2.VideoCapture(str(video))
    try:
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        check_pixels(width, height, f"'{video}'")
        number = 0
        while left:
            if not capture.grab():
                raise DamagedDownload(video, f"it ends after {how_many(number, 'frames')}, before frame {min(left)}")
            if number in left:
                good, frame = capture.retrieve()
                if not good:
                    raise DamagedDownload(video, f"frame {number} cannot be decoded")
                write_image(left.pop(number), cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            number += 1
    finally:
        capture.release()
    return total
