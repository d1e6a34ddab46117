"""hmrfit fit: many photographs, their people fitted side by side, results as they come.

For each photograph <stem>: <stem>.npz (see hmrfit.data.result_file), <stem>.jpg (overlay, side and back view), a
thumbnail, on request <stem>.glb; and one index.html. A run that was stopped goes on: what is there and was made from
the same photograph, keypoints and settings is left as it is. A file that cannot be used is named and skipped.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hmrfit.api import fit_photos
from hmrfit.build import Engine, build
from hmrfit.cli.report import Line, print_table, write_index
from hmrfit.config import load_config
from hmrfit.data.keypoint_files import find_keypoint_file
from hmrfit.data.photo import Photo, find_people, no_keypoints_letter, read_photo
from hmrfit.data.result_file import read_stamp
from hmrfit.image import write_image
from hmrfit.ops.threads import use_threads
from hmrfit.render.page import thumbnail
from hmrfit.result import FitResult
from hmrfit.version import __version__

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
PEOPLE_AT_ONCE = 64
"""More gain little speed: the solver's work is matrices of one person each."""

FILE_ERRORS = (ValueError, TypeError, OSError)


@dataclass(frozen=True)
class Options:
    """What the flags say."""

    out: Path
    keypoints: Path
    keypoint_set: str | None = None
    focal: float | None = None
    focal_35mm: float | None = None
    mesh: str | None = None
    pictures: bool = True
    overwrite: bool = False


def fit_command(
    images: Sequence[str],
    out: str,
    keypoints: str | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    no_pictures: bool = False,
    **flags: object,
) -> int:
    """Fits every photograph; 0 if there is a result for at least one, else 1."""
    paths = list(photographs(images))
    keypoints = keypoints or beside(images, paths[0])
    if keypoints is None:
        raise ValueError(no_keypoints_letter(paths[0]))
    if not Path(keypoints).exists():
        raise FileNotFoundError(f"There is no keypoint file or folder '{keypoints}'.")
    options = Options(Path(out), Path(keypoints), pictures=not no_pictures, **flags)
    engine = build(load_config(config, overrides))
    use_threads(engine.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = list(fit_all(paths, engine, options))
    print_table(lines)
    write_index(options.out, lines)
    done = sum(line.result is not None for line in lines)
    print(f"{done} of {len(lines)} photographs have a result. Look at {options.out / 'index.html'}")
    return 0 if done else 1


def photographs(images: Sequence[str]) -> Iterator[Path]:
    """The files meant by names of files and folders, each once, a folder's in alphabetical order.

    Raises:
        FileNotFoundError: a name stands for nothing. ValueError: a folder without photographs.
    """
    seen = set()
    for name in images:
        path = Path(name)
        if not path.exists():
            raise FileNotFoundError(f"There is no photograph or folder '{name}'.")
        found = (_inside(path) or _inside(path / "images")) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"Neither '{name}' nor its folder 'images' holds photographs ({', '.join(SUFFIXES)}).")
        yield from (p for p in found if p not in seen)
        seen |= set(found)


def _inside(folder: Path) -> list[Path]:
    """The photographs of a folder, in alphabetical order; none where there is no such folder."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []


def beside(images: Sequence[str], first: Path) -> str | None:
    """The one folder named, where keypoints lie beside its photographs and nobody said where they are."""
    if len(images) == 1 and Path(images[0]).is_dir() and find_keypoint_file(first, images[0]):
        return images[0]
    return None


def fit_all(paths: Sequence[Path], engine: Engine, options: Options) -> Iterator[Line]:
    """A line per photograph, in order of completion: those already there, those that failed, those fitted now."""
    names = output_names(paths)
    waiting: list[tuple[Photo, str, str]] = []
    with tqdm(total=len(paths), unit="photo", disable=None) as bar:
        for path in paths:
            bar.set_postfix_str(path.name[-30:])
            try:
                photo = open_photo(path, options)
                stamp = stamp_of(photo, engine)
                old = None if options.overwrite else finished(options.out / f"{names[path]}.npz", stamp)
            except FILE_ERRORS as error:
                yield _count(bar, Line(path.name, names[path], error=str(error)))
                continue
            if old is not None:
                yield _count(bar, Line(path.name, names[path], old, skipped=True))
                continue
            waiting.append((photo, names[path], stamp))
            if sum(len(photo) for photo, *_ in waiting) >= PEOPLE_AT_ONCE:
                yield from (_count(bar, line) for line in fit_waiting(waiting, engine, options))
                waiting = []
        yield from (_count(bar, line) for line in fit_waiting(waiting, engine, options))


def _count(bar: tqdm, line: Line) -> Line:
    bar.update()
    if line.error:
        bar.write(f"{line.image}: {line.error}")
    return line


def output_names(paths: Sequence[Path]) -> dict[Path, str]:
    """What each photograph's files are called: its stem; where stems meet, its whole name, or a number behind it."""
    names: dict[Path, str] = {}
    for path in paths:
        wanted = [path.stem, path.name.replace(".", "_"), *(f"{path.stem}_{i}" for i in range(2, len(paths) + 2))]
        names[path] = next(name for name in wanted if name not in names.values())
    return names


def open_photo(path: Path, options: Options) -> Photo:
    """Read and checked, without its pixels. People of whom nothing is seen are left out."""
    people = find_people(path, options.keypoints, options.keypoint_set)
    seen = [person for person in people if (person.confidence > 0).any()]
    photo = read_photo(path, seen or people, focal=options.focal, focal_35mm=options.focal_35mm)
    return photo.without_image()


def stamp_of(photo: Photo, engine: Engine) -> str:
    """What the result depends on, as a checksum: the photograph, keypoints, camera, settings and version."""
    digest = hashlib.sha256(photo.path.read_bytes())
    keypoints, camera = photo.keypoints, photo.camera
    for tensor in (keypoints.xy, keypoints.confidence, camera.focal, camera.center):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    digest.update(json.dumps([keypoints.names, engine.settings, __version__]).encode())
    return digest.hexdigest()


def finished(path: Path, stamp: str) -> FitResult | None:
    """The result that is already there, if it was made from the same."""
    return FitResult.load(path) if path.is_file() and read_stamp(path) == stamp else None


def fit_waiting(waiting: Sequence[tuple[Photo, str, str]], engine: Engine, options: Options) -> Iterator[Line]:
    """Fits a batch and writes it; where the batch cannot be fitted together, one photograph after the other."""
    if not waiting:
        return
    try:
        results = fit_photos([photo for photo, *_ in waiting], engine)
    except ValueError as error:  # such as keypoints that the body does not define
        if len(waiting) == 1:
            yield Line(waiting[0][0].path.name, waiting[0][1], error=str(error))
        else:
            for one in waiting:
                yield from fit_waiting([one], engine, options)
        return
    for (photo, name, stamp), result in zip(waiting, results, strict=True):
        result = replace(result, stamp=stamp)
        write_outputs(result, name, options)
        yield Line(photo.path.name, name, replace(result, image=None, energy=None))  # nothing large is kept


def write_outputs(result: FitResult, name: str, options: Options) -> None:
    """Pictures and mesh first: where the result is, the rest is there too."""
    if options.mesh is not None:
        result.mesh(options.out / f"{name}.{options.mesh}")
    if options.pictures:
        picture = result.overlay()
        write_image(options.out / f"{name}.jpg", picture)
        write_image(options.out / "thumbnails" / f"{name}.jpg", thumbnail(picture))
    result.save(options.out / f"{name}.npz")
