"""The files of a run and their names: no file of the user's is replaced, and no old picture stays beside new numbers.

    OUT/<name>.npz  <name>.jpg  thumbnails/<name>.jpg  <name>.glb, .obj, .ply  <name>.html (render)  index.html
    thumbnails/<name>.js  viewer.js  viewer_body_....js     the 3D view, once a photograph and once a folder

Where OUT holds photographs or keypoints of the run, all of these but index.html have ".hmrfit" before the suffix, so
that none has the name of an input: a.jpg is the photograph, a.hmrfit.jpg is its overlay. Each file states that hmrfit
wrote it (see `hmrfit.io.own_files`); only such files are replaced, and drawings are not taken for photographs.
"""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hmrfit.io.atomic import check_writable, sweep
from hmrfit.io.bounded import read_npz
from hmrfit.io.image import Image, write_image
from hmrfit.io.own_files import check_own, kind_of, own_file, refuse_others, remove_own
from hmrfit.render import MESHES
from hmrfit.report.page import thumbnail
from hmrfit.report.viewer import VIEWER, result_scene, write_beside, write_view
from hmrfit.result import FitResult

PAGE, THUMBNAILS = "index.html", "thumbnails"
BESIDE_INPUTS = ".hmrfit"

SCREEN = 1600
"""Pixels, about the width of a drawing: what a screen shows."""

LONGEST_NAME = 180
"""Bytes of a name without suffixes; file systems allow 255."""

NOT_IN_NAMES = '\\/:*?"<>|'
"""Characters that some system does not allow in a file's name."""


@dataclass(frozen=True)
class Wanted:
    """What is to be written beside each result."""

    pictures: bool = True
    mesh: str | None = None
    full_size: bool = False  # the overlay has the photograph's own size, up to `render.overlay.LARGEST`


@dataclass(frozen=True)
class Outputs:
    """The files of a run in its folder."""

    folder: Path
    infix: str = ""
    page: str = PAGE

    @property
    def people(self) -> Path:
        """The table of all people."""
        part = self.page.removeprefix("index").removesuffix(".html")
        return self.folder / f"people{part}{'' if self.infix in part else self.infix}.parquet"

    def of_shard(self, part: str) -> "Outputs":
        """The same files, and a page of its own."""
        return replace(self, page=f"{self.page.removesuffix('.html')}.{part}.html")

    def numbered(self, page: int) -> Path:
        """One of the pages, counted from 1."""
        return self.folder / (self.page if page == 1 else f"{self.page.removesuffix('.html')}-{page}.html")

    def file(self, name: str, suffix: str) -> Path:
        """The file of a photograph's name."""
        return self.folder / f"{name}{self.infix}{suffix}"

    def thumbnail(self, name: str) -> Path:
        """The small picture that the page shows."""
        return self.folder / THUMBNAILS / f"{name}{self.infix}.jpg"

    def view(self, name: str) -> Path:
        """What the page's 3D view of it loads."""
        return self.folder / THUMBNAILS / f"{name}{self.infix}.js"

    def address(self, path: Path) -> str:
        """The address of a file, relative to the page."""
        return path.relative_to(self.folder).as_posix()

    def wanted(self, name: str, what: Wanted) -> list[Path]:
        """The files of a photograph, the result first."""
        pictures = [self.file(name, ".jpg"), self.thumbnail(name), self.view(name)] if what.pictures else []
        return [self.file(name, ".npz"), *pictures, *([self.file(name, f".{what.mesh}")] if what.mesh else [])]

    def about(self, name: str) -> list[Path]:
        """Everything that may show a result's numbers."""
        return [
            self.thumbnail(name),
            self.view(name),
            *(self.file(name, suffix) for suffix in (".jpg", ".html", *(f".{mesh}" for mesh in MESHES))),
        ]

    def prepare(self, names: Iterable[str], what: Wanted) -> None:
        """Makes the folder, and removes the temporary files of a killed run.

        Raises:
            FileExistsError: a file of the user's is in the way. OSError: the folder cannot be written.
        """
        refuse_others(self._all(names, what))
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.folder / THUMBNAILS):
            sweep(folder)
        check_writable(self.folder)

    def _all(self, names: Iterable[str], what: Wanted) -> Iterator[Path]:
        thumbnails = self.folder / THUMBNAILS
        if what.pictures and os.path.lexists(thumbnails) and not thumbnails.is_dir():
            yield thumbnails
        yield self.folder / self.page
        if what.pictures:
            yield self.folder / VIEWER
        if self.folder.is_dir():
            for name in names:
                yield from self.wanted(name, what)

    def write(self, result: FitResult, name: str, what: Wanted) -> None:
        """Writes the result, then its pictures. Those of an older result are removed before the new one is there."""
        with own_file(self.file(name, ".npz"), "result") as temporary:
            result.save(temporary)
            for path in self.about(name):
                remove_own(path)
        self.draw(result, name, what)

    def draw(self, result: FitResult, name: str, what: Wanted) -> bool:
        """Writes what is wanted and is not there yet, from the result; returns whether there was any of it."""
        missing = [path for path in self.wanted(name, what)[1:] if not os.path.lexists(path)]
        pictures = [path for path in missing if path.suffix == ".jpg"]
        if pictures:
            overlay = result.overlay(longest=None if what.full_size else SCREEN)
            for path in pictures:
                write_picture(path, overlay if path.parent == self.folder else thumbnail(overlay))
        for path in missing:
            if path.suffix == ".js":
                scene = result_scene(result, result.picture())
                write_beside(self.folder, scene.body)
                write_view(path, scene)
            elif path not in pictures:
                write_own(path, "mesh", result.mesh)
        return bool(missing)

    def check(self, name: str, what: Wanted) -> None:
        """Raises FileExistsError where a file of this name may not be replaced."""
        for path in self.wanted(name, what):
            check_own(path)


def outputs_in(out: Path, photographs: Iterable[Path], keypoints: Iterable[Path] = ()) -> Outputs:
    """The names of files in this folder. keypoints: files, or the folders that hold them."""
    target = out.resolve()
    targets = {target, target / THUMBNAILS}
    folders = {path.parent for path in photographs}
    taken = any(folder.resolve() in targets for folder in folders)
    taken = taken or any((path if path.is_dir() else path.parent).resolve() == target for path in set(keypoints))
    if not taken:
        return Outputs(out)
    page = out / PAGE
    theirs = os.path.lexists(page) and (page.is_symlink() or kind_of(page) is None)
    return Outputs(out, BESIDE_INPUTS, f"index{BESIDE_INPUTS}.html" if theirs else PAGE)


def write_picture(path: Path, picture: Image) -> None:
    """A drawing by hmrfit, which is no photograph."""
    write_own(path, "drawing", lambda temporary: write_image(temporary, picture))


def write_own(path: Path, kind: str, write: Callable[[Path], None]) -> None:
    """One file, see `own_file`."""
    with own_file(path, kind) as temporary:
        write(temporary)


def image_of(path: Path) -> Path | None:
    """The photograph that a result names as its own."""
    try:
        name = str(read_npz(path, ("image_path",))["image_path"])
    except (OSError, ValueError, KeyError):  # there is none, or it is damaged: it is made again
        return None
    return Path(name) if name and os.path.isabs(name) else None


# ---- names


def output_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The name of each photograph's files: its stem; where two stems are equal, with its suffix, folder or a number.

    Two names differ on every file system, also on those that ignore case.
    """
    names: dict[Path, str] = {}
    first_in: dict[str, Path | None] = {_key("index"): None}  # the page's; the folder in which a stem was first seen
    used = {_key("index")}
    tries: dict[str, int] = {}
    for path in paths:
        plain = safe_name(path)
        key = _key(plain)
        folder = first_in.setdefault(key, path.parent)
        if key in used:
            plain = _other_name(path, plain, folder == path.parent, used, tries)
        used.add(_key(plain))
        names[path] = plain
    return names


def _other_name(path: Path, plain: str, same_folder: bool, used: set[str], tries: dict[str, int]) -> str:
    """A free name. tries: the next number of every name, so that a thousand equal ones take a thousand steps."""
    suffixed, inside = f"{plain}_{_safe(path.suffix[1:])}", f"{_safe(path.absolute().parent.name)}_{plain}"
    for name in (suffixed, inside) if same_folder else (inside, suffixed):
        if _key(name) not in used and len(os.fsencode(name)) <= LONGEST_NAME:
            return name
    key = _key(plain)
    number = tries.get(key, 2)
    while _key(f"{plain}_{number}") in used:
        number += 1
    tries[key] = number + 1
    return f"{plain}_{number}"


def safe_name(path: Path) -> str:
    """A photograph's stem as a name that every system allows, at most `LONGEST_NAME` bytes."""
    name = _safe(path.stem).strip(" .") or "photograph"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    short = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
    return f"{short}_{hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:8]}"


def _safe(text: str) -> str:
    if text.isalnum():
        return text
    return "".join(c if c.isprintable() and c not in NOT_IN_NAMES else "_" for c in text)


def _key(name: str) -> str:
    """Equal for two names that are the same on some file system."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
