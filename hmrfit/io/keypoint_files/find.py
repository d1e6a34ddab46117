"""Which keypoint file belongs to an image, and which of its people; many images' files are read once."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from hmrfit.io.keypoint_files.match import ImageIndex
from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.io.keypoint_files.read import READERS, read_keypoints
from hmrfit.io.own_files import holds_our_format

DATASET_PATTERNS = ("*annotations*.json", "*keypoints*.json", "*results*.json")
"""How files that hold a whole dataset are called."""

FILES_KEPT = 4
"""Keypoint files whose people stay in memory: a dataset's is asked for by every photograph."""

FOLDERS_DEEP = 2
"""How many of an image's own folders may be in the keypoints' folder as well."""

NAMED = 3
"""Photographs that an error message names."""


def find_keypoint_file(image_path: str | os.PathLike, folder: str | os.PathLike) -> Path | None:
    """The keypoint file of an image in a folder, or None.

    Tried in this order: `<stem>.json`, .npy, .npz, .csv; `<stem>_keypoints.json` as OpenPose writes; the only file
    that is called like a whole dataset's (`person_keypoints_val2017.json`, `annotations.json`, `results.json`). First
    in the folder that is called like the image's own (keypoints/cam1 for images/cam1/0001.jpg), where there is one.
    Results of hmrfit are no keypoint files.
    """
    return KeypointSource().file_of(image_path, folder)


def people_in_image(people: Sequence[PersonKeypoints], image_path: str | os.PathLike) -> list[PersonKeypoints]:
    """Those people whose file says that they are in this image, and those whose file names no image.

    See `match` for how paths and numbers are compared.

    Raises:
        ValueError: the numbers of the file and of the photographs do not agree.
    """
    return ImageIndex(people).of(Path(image_path))


class KeypointSource:
    """The people of many photographs. What several of them ask for, a dataset's file or a folder, is read once."""

    def __init__(self, keypoint_set: str | Sequence[str] | None = None) -> None:
        self.keypoint_set = keypoint_set
        self._datasets: dict[Path, Path | None] = {}
        self._indices: OrderedDict[tuple[Path, int, int], ImageIndex | Exception] = OrderedDict()

    def file_of(self, image_path: str | os.PathLike, folder: str | os.PathLike) -> Path | None:
        """See `find_keypoint_file`."""
        image, folder = Path(image_path), Path(folder)
        if folder.is_file():
            return folder
        parents = [name for name in image.absolute().parent.parts[-FOLDERS_DEEP:] if name != image.anchor]
        inner = [folder.joinpath(*parents[i:]) for i in range(len(parents))]
        for place in [path for path in inner if path.is_dir()] + [folder]:
            found = next((path for path in _own_files(image, place) if _is_keypoints(path, image)), None)
            found = found or self._dataset(place)
            if found is not None:
                return found
        return None

    def _dataset(self, folder: Path) -> Path | None:
        if folder not in self._datasets:
            found = {path for pattern in DATASET_PATTERNS for path in folder.glob(pattern)}
            found = {path for path in found if not path.stem.endswith("_keypoints") and path.is_file()}
            self._datasets[folder] = found.pop() if len(found) == 1 else None
        return self._datasets[folder]

    def people(self, image_path: str | os.PathLike, folder: str | os.PathLike) -> list[PersonKeypoints]:
        """The people of an image in a keypoint file, or in the folder where its keypoint file lies.

        Raises:
            FileNotFoundError: the folder has no file for this image. ValueError: as `read_keypoints`; the file is about
                other photographs; or its numbers and those of the photographs do not agree.
        """
        image = Path(image_path)
        file = self.file_of(image, folder)
        if file is None:
            other = next((path for path in _own_files(image, Path(folder)) if os.path.lexists(path)), None)
            there = "" if other is None else f" '{other.name}' is there, but it is none that can be read."
            raise FileNotFoundError(
                f"There is no keypoint file for '{image.name}' in '{folder}': looked for {image.stem}.json, .npy, "
                f".npz, .csv and {image.stem}_keypoints.json.{there}"
            )
        index = self.index(file)
        people = index.of(image)
        if not people and index.called():
            named = index.called()
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            raise ValueError(
                f"'{file}' has no person in '{image}': it is about {', '.join(map(repr, named[:NAMED]))}{more}. Names, "
                "and folders as far as the file gives them, have to agree."
            )
        return people

    def index(self, file: Path) -> ImageIndex:
        """The file's people by photograph. Errors: those of `read_keypoints`, the same each time."""
        known = file.stat()
        key = file, known.st_mtime_ns, known.st_size
        if key not in self._indices:
            try:
                self._indices[key] = ImageIndex(read_keypoints(file, self.keypoint_set))
            except Exception as error:  # the next photograph that asks for this file has the same answer
                self._indices[key] = error.with_traceback(None)
        self._indices.move_to_end(key)
        while len(self._indices) > FILES_KEPT:
            self._indices.popitem(last=False)
        found = self._indices[key]
        if isinstance(found, Exception):
            raise found
        return found


def _own_files(image: Path, folder: Path) -> list[Path]:
    """The files that would be one image's own."""
    return [folder / f"{image.stem}{suffix}" for suffix in READERS] + [folder / f"{image.stem}_keypoints.json"]


def _is_keypoints(path: Path, image: Path) -> bool:
    try:
        return path.is_file() and path != image and not (path.suffix == ".npz" and holds_our_format(path))
    except OSError:  # such as a name too long to be one
        return False
