"""Which keypoint file belongs to a photograph, and which of its people: by the path that the file gives, or its number.

A file names a photograph by a path ("images\\\\cam1\\\\0001.jpg" where Windows wrote it) or by a number (COCO's
image_id, a video's frame_id). Paths are compared from their ends, as far as the file gives them: the name has to
agree, and so have its folders, since two cameras' folders may hold photographs of one name. Where the file's outer
folders are called otherwise here, and the photograph that it names is not there, they were renamed.

Numbers are compared with the one that a photograph's name ends in. Some tools count from 0 and others from 1; then the
first is the first if both end together, and otherwise it cannot be known who is who, and the file is refused.
"""

import filecmp
import os
import re
import unicodedata
import urllib.parse
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.io.keypoint_files.readers import READERS, read_keypoints
from hmrfit.io.own_files import holds_our_format

DATASET_PATTERNS = ("*annotations*.json", "*keypoints*.json", "*results*.json")
"""How files that hold a whole dataset are called."""

FILES_KEPT = 4
"""Keypoint files whose people stay in memory: a dataset's is asked for by every photograph."""

FOLDERS_DEEP = 2
"""How many of an image's own folders may be in the keypoints' folder as well."""

NAMED = 3
"""Photographs that an error message names."""

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".heic", ".heif")
"""How photographs end."""

LONGEST_NUMBER = 18
"""Digits; longer ones are names."""

Parts = tuple[str, ...]
Match = tuple[list[str], str]
"""What the file calls a photograph, none or more, and a remark for its people where that is a matter of belief."""


def path_parts(named: str) -> Parts:
    """The folders and the name in a path as any system writes it, without drives, "." and what lies before ".."."""
    parts = [part for part in re.split(r"[\\/]+", named.strip()) if part not in ("", ".")]
    last = max((i for i, part in enumerate(parts) if part == ".." or part.endswith(":")), default=-1)
    return tuple(parts[last + 1 :])


class ImageIndex:
    """The people of one file, found by photograph. Made in linear time; each look-up costs what it finds."""

    def __init__(self, people: Sequence[PersonKeypoints]) -> None:
        self.people = people
        self.anywhere = [i for i, p in enumerate(people) if p.image is None]
        self.rows: dict[str, list[int]] = defaultdict(list)  # what the file calls a photograph -> its people
        for i, person in enumerate(people):
            if person.image is not None:
                self.rows[person.image].append(i)
        numbers = {named: _number(named) for named in self.rows}
        self.by_number: dict[int, list[str]] = defaultdict(list)
        for named, number in numbers.items():
            if number is not None:
                self.by_number[number].append(named)
        self.all_numbers = bool(numbers) and None not in numbers.values()
        self.by_name: dict[str, list[str]] = defaultdict(list)  # name, with and without suffix -> what the file says
        self.by_loose_name: dict[str, list[str]] = defaultdict(list)
        self.folders: set[Parts] = set()
        for named in self.rows:
            *folders, name = path_parts(named) or ("",)
            self.folders.add(tuple(folders))
            for key in {name, Path(name).stem, named}:
                self.by_name[key].append(named)
            self.by_loose_name[_loose(_unquoted(named))].append(named)
        self._beside: dict[tuple[Path, str], list[int]] = {}
        self._agreement: dict[Parts, int] = {}

    def of(self, image: Path) -> list[PersonKeypoints]:
        """The people of an image, and those whose file names no image.

        Raises:
            ValueError: the numbers of the file and of the photographs do not agree.
        """
        named, remark = self._match(image)
        rows = {row for name in named for row in self.rows[name]}
        chosen = [(self.people[i], i in rows) for i in sorted([*self.anywhere, *rows])]
        return [replace(p, warnings=(*p.warnings, remark)) if remark and named else p for p, named in chosen]

    def tells_folders_apart(self, image: Path) -> bool:
        """Whether what the file says of this photograph cannot be about one of the same name in another folder."""
        if self.anywhere or self.all_numbers:
            return False
        here = image.absolute().parent.parts
        return all(_common(here, _folders(named)) > 0 for named in self._match(image)[0])

    def called(self) -> list[str]:
        """What the file calls its photographs."""
        return list(self.rows)

    def _match(self, image: Path) -> Match:
        return self._by_number(image) if self.all_numbers else self._by_path(image)

    # ---- paths

    def _by_path(self, image: Path) -> Match:
        exact = self.by_name.get(image.name, [])
        alike = exact or [named for named in self.by_name.get(image.stem, []) if not _is_beside(named, image)]
        loose = self.by_loose_name.get(_loose(image.name), [])
        alike = alike or [named for named in loose if not _is_beside(named, image)]
        here = image.absolute().parent.parts
        if not alike:
            number = _last_number(image.stem)
            return [] if number is None else self.by_number.get(number, []), ""
        whole = [named for named in alike if _common(here, _folders(named)) == len(_folders(named))]
        if whole:
            longest = max(len(_folders(named)) for named in whole)
            return [named for named in whole if len(_folders(named)) == longest], ""
        return self._in_a_renamed_folder(alike, image, here)

    def _in_a_renamed_folder(self, alike: Sequence[str], image: Path, here: Parts) -> Match:
        """The folder of the file that is most like the photograph's own, if there is one and it has this name."""
        if here not in self._agreement:
            self._agreement[here] = max(_common(here, folders) for folders in self.folders)
        best = self._agreement[here]
        likely = {folders for folders in self.folders - {()} if _common(here, folders) == best}
        named = [name for name in alike if _folders(name) in likely]
        if len(likely) != 1 or len(named) != 1 or self._is_another(named[0], image):
            return [], ""
        if self._is_own_file(image):
            return named, ""
        return named, f"The keypoints' file calls this photograph '{named[0]}', which lies in another folder."

    def _is_another(self, named: str, image: Path) -> bool:
        """Whether the photograph that the file names is there, in a folder of that name, and is another one."""
        sources = {self.people[i].source.absolute().parent for i in self.rows[named]}
        parts = path_parts(named)
        roots = (*image.absolute().parents, *sources)
        places = [(root, parts[-length:]) for root in roots for length in range(2, len(parts) + 1)]
        for folder, inner in places:
            other = folder.joinpath(*inner)
            try:
                if other.is_file() and not (other.samefile(image) or filecmp.cmp(other, image, shallow=False)):
                    return True
            except OSError:
                continue
        return False

    # ---- numbers

    def _by_number(self, image: Path) -> Match:
        if len(self.rows) == 1 and self._is_own_file(image):
            return list(self.rows), ""
        number = _last_number(image.stem)
        if number is None:
            return [], ""
        low, high = self.frames or (min(self.by_number), max(self.by_number))
        shift, remark = number_shift(
            (low, high), self.frames is not None, self._numbers_beside(image), f"the photographs beside '{image.name}'"
        )
        return self.by_number.get(number - shift, []), remark

    @property
    def frames(self) -> tuple[int, int] | None:
        """The first and last frame of the file, where it lists every frame."""
        return self.people[0].frames

    def _is_own_file(self, image: Path) -> bool:
        """Whether the file is called like the photograph."""
        return self.people[0].source.stem in (image.stem, f"{image.stem}_keypoints")

    def _numbers_beside(self, image: Path) -> list[int]:
        """The numbers of the photographs in this one's folder that are called alike, rising."""
        key = image.parent, _before_number(image.stem)
        if key not in self._beside:
            try:
                names = [path for path in image.parent.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES]
            except OSError:
                names = []
            stems = {path.stem for path in (*names, image) if _before_number(path.stem) == key[1]}
            self._beside[key] = sorted({n for stem in stems if (n := _last_number(stem)) is not None})
        return self._beside[key]


def number_shift(listed: tuple[int, int], complete: bool, files: Sequence[int], what: str) -> tuple[int, str]:
    """By how much a photograph's number is higher than the file's for it, and a remark.

    Args:
        listed: the file's lowest and highest number. complete: it lists every frame, those without people as well.
        files: numbers of the photographs, or of a video's frames, rising. what: them, for the error message.
    Raises:
        ValueError: it cannot be known which belongs to which.
    """
    (low, high), first, last = listed, files[0], files[-1]
    starts_differ = {low, first} == {0, 1}
    if not starts_differ and not (complete and (first < low or last > high)):
        unsure = complete and low in (0, 1) and first > low
        warning = (
            f"The photographs begin with number {first} and the keypoints' frames with {low}: equal numbers were taken "
            "to be the same frame."
        )
        return 0, warning if unsure else ""
    if last - high == first - low and all(b - a == 1 for a, b in pairwise(files)):
        warning = (
            f"The keypoints' frames begin with number {low} and the photographs with {first}: they were matched in "
            "order."
        )
        return first - low, warning
    if not complete and low == 1 and high <= last:
        return 0, ""  # no person was found in the photograph of number 0
    raise ValueError(
        f"The keypoints' file has the frames {low} to {high}, but {what} are numbered "
        f"{first} to {last} ({len(files)} of them), so it cannot be known which belongs to which. Give both the same "
        f"numbers (ffmpeg -start_number {low} begins with {low}), or one photograph for every frame."
    )


# ---- names


def _is_beside(named: str, image: Path) -> bool:
    """Whether a name that differs in its suffix is that of another photograph in the same folder."""
    name = (path_parts(named) or ("",))[-1]
    try:
        if "." not in name or name == image.name or not (other := image.with_name(name)).is_file():
            return False
        return not (image.exists() and other.samefile(image))  # which it is where capitals make no difference
    except (OSError, ValueError):
        return False


def _folders(named: str) -> Parts:
    return path_parts(named)[:-1]


def _unquoted(named: str) -> str:
    """A name in a URL as it is: Label Studio writes "/data/local-files/?d=images%2F0001.jpg"."""
    return urllib.parse.unquote(named.rpartition("?d=")[2].partition("?")[0])


def _loose(named: str) -> str:
    """A file's name where capitals, and how accents are written, make no difference: as in Windows and macOS."""
    return unicodedata.normalize("NFC", (path_parts(named) or ("",))[-1]).casefold()


def _common(here: Parts, folders: Parts) -> int:
    """How many folders agree, from the innermost on."""
    pairs = zip(reversed(here), reversed(folders), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(here), len(folders)))


def _number(named: str) -> int | None:
    """The number that a file says instead of a name."""
    return int(named) if named.isdecimal() and named.isascii() and len(named) <= LONGEST_NUMBER else None


def _before_number(stem: str) -> str:
    return stem.rstrip("0123456789")


def _last_number(stem: str) -> int | None:
    """The number that a photograph's name ends in."""
    return _number(stem[len(_before_number(stem)) :])


# ---- a photograph's file


def find_keypoint_file(image_path: str | os.PathLike, folder: str | os.PathLike) -> Path | None:
    """The keypoint file of an image in a folder, or None.

    Tried in this order: `<stem>` with each suffix of `READERS`; `<stem>_keypoints.json` as OpenPose writes; the only
    file that is called like a whole dataset's (`person_keypoints_val2017.json`, `annotations.json`, `results.json`). A
    folder that is called like the image's own (keypoints/cam1 for images/cam1/0001.jpg) comes first.
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

    def unreadable(self, image_path: str | os.PathLike, folder: str | os.PathLike) -> Path | None:
        """What is called like an image's keypoint file, in a folder where `file_of` finds none; or None."""
        image = Path(image_path)
        there = (path for path in _own_files(image, Path(folder)) if os.path.lexists(path) and path != image)
        return next((path for path in there if not _is_result(path)), None)

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
            other = self.unreadable(image, folder)
            there = "" if other is None else f" '{other.name}' is there, but it is none that can be read."
            raise FileNotFoundError(
                f"There is no keypoint file for '{image.name}' in '{folder}': looked for {image.stem} with "
                f"{', '.join(READERS)}, and {image.stem}_keypoints.json.{there}"
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

    def read(self, file: Path) -> list[PersonKeypoints]:
        """The file's people. Errors: those of `read_keypoints`."""
        return read_keypoints(file, self.keypoint_set)

    def index(self, file: Path) -> ImageIndex:
        """The file's people by photograph. Errors: those of `read_keypoints`, the same each time."""
        known = file.stat()
        key = file, known.st_mtime_ns, known.st_size
        if key not in self._indices:
            try:
                self._indices[key] = ImageIndex(self.read(file))
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


def _is_result(path: Path) -> bool:
    """Whether it is a result of hmrfit."""
    return path.suffix == ".npz" and path.is_file() and holds_our_format(path)


def _is_keypoints(path: Path, image: Path) -> bool:
    try:
        return path.is_file() and path != image and not _is_result(path)
    except OSError:  # such as a name too long to be one
        return False
