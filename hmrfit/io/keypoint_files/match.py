"""Which of a file's people are in which photograph: by the path that the file gives, or by its number.

A file names a photograph by a path ("images\\\\cam1\\\\0001.jpg" where Windows wrote it) or by a number (COCO's
image_id, a video's frame_id). Paths are compared from their ends, as far as the file gives them: the name has to
agree, and so have its folders, since two cameras' folders may hold photographs of one name. Where the file's outer
folders are called otherwise here, and the photograph that it names is not there, they were renamed.

Numbers are compared with the one that a photograph's name ends in. Some tools count from 0 and others from 1; then the
first is the first if both end together, and otherwise it cannot be known who is who, and the file is refused.
"""

import filecmp
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hmrfit.io.keypoint_files.person import PersonKeypoints

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
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
        self.folders: set[Parts] = set()
        for named in self.rows:
            *folders, name = path_parts(named) or ("",)
            self.folders.add(tuple(folders))
            for key in {name, Path(name).stem, named}:
                self.by_name[key].append(named)
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
        here = image.absolute().parent.parts
        if not alike:
            return self.by_number.get(_last_number(image.stem), []), ""
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
        shift, remark = _shift((low, high), self.frames is not None, self._numbers_beside(image), image)
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


def _shift(listed: tuple[int, int], complete: bool, files: Sequence[int], image: Path) -> tuple[int, str]:
    """By how much a photograph's number is higher than the file's for it, and a remark.

    Args:
        listed: the file's lowest and highest number. complete: it lists every frame, those without people as well.
        files: numbers of the photographs, rising.
    """
    (low, high), first, last = listed, files[0], files[-1]
    starts_differ = {low, first} == {0, 1}
    if not starts_differ and not (complete and (first < low or last > high)):
        unsure = complete and low in (0, 1) and first > low
        said = f"The photographs begin with number {first} and the keypoints' frames with {low}: equal numbers were taken to be the same frame."  # fmt: skip  # noqa: E501
        return 0, said if unsure else ""
    if last - high == first - low and all(b - a == 1 for a, b in pairwise(files)):
        said = f"The keypoints' frames begin with number {low} and the photographs with {first}: they were matched in order."  # fmt: skip  # noqa: E501
        return first - low, said
    if not complete and low == 1 and high <= last:
        return 0, ""  # no person was found in the photograph of number 0
    raise ValueError(
        f"The keypoints' file has the frames {low} to {high}, but the photographs beside '{image.name}' are numbered "
        f"{first} to {last} ({len(files)} of them), so it cannot be known which belongs to which. Give both the same "
        f"numbers (ffmpeg -start_number {low} begins with {low}), or one photograph for every frame."
    )


# ---- names


def _is_beside(named: str, image: Path) -> bool:
    """Whether a name that differs in its suffix is that of another photograph in the same folder."""
    name = path_parts(named)[-1]
    try:
        return "." in name and name != image.name and image.with_name(name).is_file()
    except (OSError, ValueError):
        return False


def _folders(named: str) -> Parts:
    return path_parts(named)[:-1]


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
