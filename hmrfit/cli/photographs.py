"""The photographs that a command's arguments name, and the keypoint files that belong to them."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hmrfit.cli.detections import Detecting
from hmrfit.io.keypoint_files import KeypointSource, PersonKeypoints
from hmrfit.io.keypoint_files.find import PHOTO_SUFFIXES
from hmrfit.io.own_files import kind_of
from hmrfit.keypoints import resolve_set

SCENE = "scene"
"""The kind of hmrfit's own files that is a photograph all the same: the demo's."""


def photographs(images: Sequence[str]) -> Iterator[Path]:
    """The photographs among files and in folders, each once, a folder's in alphabetical order.

    Files that hmrfit wrote itself are no photographs, nor are hidden files of a folder.

    Raises:
        FileNotFoundError: there is no file or folder of a name. ValueError: a folder has no photographs.
    """
    yield from found_in(images)


def found_in(images: Sequence[str]) -> dict[Path, Path]:
    """Each photograph, and the folder that was named for it, where its keypoints are by default."""
    places: dict[Path, Path] = {}
    known: set[str] = set()
    for name in images:
        path = Path(name)
        if not os.path.lexists(path):
            raise FileNotFoundError(f"There is no photograph or folder '{name}'.")
        found = _of_folder(path, name) if path.is_dir() else [] if is_our_own(path) else [path]
        for photograph in found:
            whole = os.path.abspath(photograph)
            if whole not in known:
                known.add(whole)
                places[photograph] = path if path.is_dir() else path.parent
    if not places:
        raise ValueError(
            f"There is no photograph in {', '.join(map(repr, images))}, only files that hmrfit wrote itself."
        )
    return places


def _of_folder(folder: Path, name: str) -> list[Path]:
    """A folder's photographs, or those of its folder `images`."""
    for place in (folder, folder / "images"):
        candidates = _inside(place)
        found = [path for path in candidates if not is_our_own(path)]
        if found:
            return found
    if any(_inside(place) for place in (folder, folder / "images")):
        return []  # only hmrfit's own drawings
    raise ValueError(f"Neither '{name}' nor its folder 'images' holds photographs ({', '.join(PHOTO_SUFFIXES)}).")


def _inside(folder: Path) -> list[Path]:
    """The files of a folder with a photograph's suffix, in alphabetical order; none where there is no such folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.lower().endswith(PHOTO_SUFFIXES) and not e.name.startswith(".")]
    return [folder / name for name in sorted(names)]


def inner_folders(images: Sequence[str], out: Path) -> list[Path]:
    """Folders within those that were named, not the results' own, in which photographs lie that were not read."""
    inner, known = [], {out.resolve(), *(Path(name).resolve() for name in images)}
    for folder in (Path(name) for name in dict.fromkeys(images) if os.path.isdir(name)):
        direct = any(not is_our_own(path) for path in _inside(folder))
        for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            read = place.name == "images" and not direct
            if not read and place.resolve() not in known:
                inner += [place] if any(not is_our_own(path) for path in _inside(place)) else []
    return inner


def is_our_own(path: Path) -> bool:
    """Whether hmrfit wrote this file, and not as a photograph."""
    return kind_of(path) not in (None, SCENE)


@dataclass(frozen=True)
class Collection:
    """The photographs of a run and the source of their keypoints."""

    places: dict[Path, Path]  # photograph -> the file or folder of its keypoints
    source: KeypointSource
    doubled: frozenset[str]  # stems that photographs of several folders have
    contested: dict[Path, tuple[Path, Path]]  # photograph -> the file that it shares with another of its name, that one
    detecting: Detecting | None = None  # for photographs without a keypoint file

    def kept_in(self, files: Callable[[Path], Path]) -> "Collection":
        """The same, whose detections are kept in these files."""
        if self.detecting is None:
            return self
        return replace(self, detecting=self.detecting.kept_in({path: files(path) for path in self.places}))

    def people(self, photograph: Path) -> list[PersonKeypoints]:
        """The people of one photograph; those without any seen keypoint only if there are no others.

        Raises:
            ValueError, FileNotFoundError: as `KeypointSource.people`; or two photographs of one name share a file that
                does not distinguish them. NoPeople: a detector finds none.
        """
        place = self.places[photograph]
        if self.detecting is not None and self.detecting.can_run and self._has_no_file(photograph, place):
            return self.detecting.people(photograph)
        people = self.source.people(photograph, place)
        if photograph in self.contested:
            file, other = self.contested[photograph]
            if not self.source.index(file).tells_folders_apart(photograph):
                raise ValueError(
                    f"'{photograph}' and '{other}' have one name, and '{file}' does not say which of them it is of. "
                    f"Put the keypoints into folders of the same names as theirs ({photograph.absolute().parent.name}, "
                    f"{other.absolute().parent.name}), or write the folder before the name in the file."
                )
        return [person for person in people if (person.confidence > 0).any()] or people

    def _has_no_file(self, photograph: Path, place: Path) -> bool:
        """Whether there is no keypoint file, nor anything of its name."""
        absent = self.source.file_of(photograph, place) is None
        return absent and self.source.unreadable(photograph, place) is None


def collect(
    images: Sequence[str],
    keypoints: str | None,
    keypoint_set: str | None,
    detecting: Detecting | None = None,
    source: KeypointSource | None = None,
) -> Collection:
    """The photographs, and their keypoints: in `keypoints`, by default beside them; where there are none, detected.

    Args:
        source: what reads the files, if it is not that of `keypoint_set`.
    Raises:
        FileNotFoundError, ValueError: see `photographs`; there is no such keypoint set; NoDetector: no photograph has
            keypoints, and there is no detector.
    """
    if keypoint_set is not None and source is None:
        resolve_set(keypoint_set)
    places, source = found_in(images), source or KeypointSource(keypoint_set)
    if keypoints is not None:
        if not (Path(keypoints).is_file() or Path(keypoints).is_dir()):
            what = "is neither a file nor a folder" if os.path.lexists(keypoints) else "does not exist"
            raise FileNotFoundError(f"There is no keypoint file or folder '{keypoints}': it {what}.")
        places = dict.fromkeys(places, Path(keypoints))
        detecting = None
    elif detecting is not None:
        given = any(source.file_of(path, place) for path, place in places.items())
        if detecting.is_chosen or not given:
            _ = detecting.detector  # read now: without one, nothing is begun
    first: dict[str, Path] = {}
    doubled = frozenset(p.stem for p in places if first.setdefault(p.stem, p).parent != p.parent)
    return Collection(places, source, doubled, _contested(places, source, doubled), detecting)


def _contested(
    places: dict[Path, Path], source: KeypointSource, doubled: frozenset[str]
) -> dict[Path, tuple[Path, Path]]:
    """The photographs that share their keypoint file with one of the same name in another folder."""
    claims: dict[tuple[str, Path], list[Path]] = {}
    for path, place in places.items():
        if path.stem in doubled and (file := source.file_of(path, place)) is not None:
            claims.setdefault((path.stem, file), []).append(path)
    found: dict[Path, tuple[Path, Path]] = {}
    for (_, file), paths in claims.items():
        for path in paths:
            other = next((p for p in paths if p.parent != path.parent), None)
            if other is not None:
                found[path] = file, other
    return found
