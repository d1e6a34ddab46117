"""What a run writes and how it is called: never a file of the user's, and never old pictures beside new numbers.

    OUT/<name>.npz  <name>.jpg  thumbnails/<name>.jpg  <name>.glb, .obj, .ply  <name>.html (render)  index.html

Where OUT holds photographs or keypoints of the run, every one of these but index.html has ".hmrfit" before its suffix,
so that none can meet an input: a.jpg is the photograph, a.hmrfit.jpg is its overlay. Each file says itself that it is
hmrfit's (see `hmrfit.io.own_files`); only such files are replaced, and drawings are not taken for photographs.
"""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmrfit.io.atomic import check_writable, sweep
from hmrfit.io.bounded import read_npz
from hmrfit.io.image import write_image
from hmrfit.io.own_files import check_own, kind_of, own_file, refuse_others, remove_own
from hmrfit.report.page import thumbnail
from hmrfit.result import FitResult

MESHES = ("glb", "obj", "ply")
PAGE, THUMBNAILS = "index.html", "thumbnails"
BESIDE_INPUTS = ".hmrfit"

LONGEST_NAME = 180
"""Bytes of a name without what is appended; file systems allow 255."""

NOT_IN_NAMES = '\\/:*?"<>|'
"""Which some system does not allow in a file's name."""


@dataclass(frozen=True)
class Wanted:
    """What is to be written beside each result."""

    pictures: bool = True
    mesh: str | None = None


@dataclass(frozen=True)
class Outputs:
    """The files of a run in its folder."""

    folder: Path
    infix: str = ""
    page: str = PAGE

    def file(self, name: str, suffix: str) -> Path:
        """The file of a photograph's name."""
        return self.folder / f"{name}{self.infix}{suffix}"

    def thumbnail(self, name: str) -> Path:
        """The small picture that the page shows."""
        return self.folder / THUMBNAILS / f"{name}{self.infix}.jpg"

    def address(self, path: Path) -> str:
        """Seen from the page."""
        return path.relative_to(self.folder).as_posix()

    def wanted(self, name: str, what: Wanted) -> list[Path]:
        """What is written for a photograph, the result first."""
        pictures = [self.file(name, ".jpg"), self.thumbnail(name)] if what.pictures else []
        return [self.file(name, ".npz"), *pictures, *([self.file(name, f".{what.mesh}")] if what.mesh else [])]

    def about(self, name: str) -> list[Path]:
        """Everything that may show a result's numbers."""
        return [
            self.thumbnail(name),
            *(self.file(name, suffix) for suffix in (".jpg", ".html", ".glb", ".obj", ".ply")),
        ]

    def prepare(self, names: Iterable[str], what: Wanted) -> None:
        """Refuses where something of the user's is in the way; then makes the folder, and removes what a kill left.

        Raises:
            FileExistsError: names what is in the way. OSError: the folder cannot be written.
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
        if self.folder.is_dir():
            for name in names:
                yield from self.wanted(name, what)

    def write(self, result: FitResult, name: str, what: Wanted) -> None:
        """The result, then what shows it. What showed an older one is gone before the new one is there."""
        with own_file(self.file(name, ".npz"), "result") as temporary:
            result.save(temporary)
            for path in self.about(name):
                remove_own(path)
        self.draw(result, name, what)

    def draw(self, result: FitResult, name: str, what: Wanted) -> bool:
        """Writes what is wanted and is not there yet, from the result; whether there was any of it."""
        missing = [path for path in self.wanted(name, what)[1:] if not os.path.lexists(path)]
        picture = result.overlay() if any(path.suffix == ".jpg" for path in missing) else None
        for path in missing:
            if path.suffix != ".jpg":
                write_own(path, "mesh", result.mesh)
            elif path.parent == self.folder:
                write_picture(path, picture)
            else:
                write_picture(path, thumbnail(picture))
        return bool(missing)

    def check(self, name: str, what: Wanted) -> None:
        """That everything of this name may be replaced. Raises FileExistsError."""
        for path in self.wanted(name, what):
            check_own(path)


def outputs_in(out: Path, photographs: Iterable[Path], keypoints: Iterable[Path] = ()) -> Outputs:
    """How files are called in this folder. keypoints: files, or the folders that hold them."""
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


def write_picture(path: Path, picture: np.ndarray) -> None:
    """A drawing of ours: no photograph."""
    write_own(path, "drawing", lambda temporary: write_image(temporary, picture))


def write_own(path: Path, kind: str, write: Callable[[Path], None]) -> None:
    """One file, see `own_file`."""
    with own_file(path, kind) as temporary:
        write(temporary)


def image_of(path: Path) -> Path | None:
    """The photograph that a result says it is of."""
    try:
        said = str(read_npz(path, ("image_path",))["image_path"])
    except (OSError, ValueError, KeyError):  # none, or damaged: it is made anew
        return None
    return Path(said) if said and os.path.isabs(said) else None


# ---- names


def output_names(paths: Sequence[Path]) -> dict[Path, str]:
    """What each photograph's files are called: its stem; where stems meet, with its suffix, folder or a number.

    Two names differ on every file system, those that tell no capitals included.
    """
    names: dict[Path, str] = {}
    first_in = {_key("index"): None}  # the page's; which folder a stem was first seen in
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
    """A free one. tries: the next number of every name, so that a thousand equal ones take a thousand steps."""
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
    """A photograph's stem as a name that every system takes, at most `LONGEST_NAME` bytes."""
    name = _safe(path.stem).strip(" .") or "photograph"
    if len(name.encode()) <= LONGEST_NAME:
        return name
    short = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
    return f"{short}_{hashlib.sha256(os.fsencode(path.stem)).hexdigest()[:8]}"


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() and c not in NOT_IN_NAMES else "_" for c in text)


def _key(name: str) -> str:
    """Equal for names that one file system or another takes for the same."""
    return unicodedata.normalize("NFC", name).casefold()
