"""hmrfit render, hmrfit convert: the small commands."""

import sys
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hmrfit.body.files import read_body_file, write_body_npz
from hmrfit.body.gender import gender_of
from hmrfit.cli.outputs import BESIDE_INPUTS, Outputs, image_of, output_names, write_own, write_picture
from hmrfit.export import MOTIONS
from hmrfit.io.atomic import check_writable, sweep
from hmrfit.io.image import Image, read_image
from hmrfit.io.own_files import check_own, refuse_others
from hmrfit.io.printable import printable
from hmrfit.likely_up import UpLike
from hmrfit.ops.how_many import how_many
from hmrfit.result import FitResult


def render_command(
    results: Sequence[str],
    out: str | None = None,
    image: str | None = None,
    mesh: str | None = None,
    up: UpLike = None,
    motion: Sequence[str] | None = None,
    debug: bool = False,
) -> int:
    """Writes the overlay, page and mesh of every result, of a sequence its page and its motion; 0 if that was possible
    for one, else 1. motion: formats of motion files, none of them (None), or npz (an empty list)."""
    if image is not None and len(results) > 1:
        raise ValueError(
            f"--image names one photograph, but there are {how_many(len(results), 'results')}. Render them one by one."
        )
    paths = list(dict.fromkeys(map(Path, results)))
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"There is no result '{path}'. Results are written by `hmrfit fit`.")
        if path.suffix.lower() != ".npz":
            raise ValueError(f"'{path}' is no result, which ends in .npz. To fit photographs and videos: `hmrfit fit`.")
    photograph = None if image is None else read_image(image)
    names = output_names(paths) if out is not None else {path: path.stem for path in paths}
    files = {path: _files(path, names[path], out, image, mesh, motion) for path in paths}
    refuse_others(file for written in files.values() for file in written)
    for folder in {file.parent for written in files.values() for file in written}:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        check_writable(folder)
    done = 0
    for path in paths:
        try:
            written = _render(path, files[path], photograph, up)
        except Exception as error:
            if len(paths) == 1:
                raise
            if debug:
                traceback.print_exc()
            print(printable(f"{path}: FAILED: {type(error).__name__}: {error}"), file=sys.stderr)
        else:
            done += 1
            print(printable(f"{path}: {', '.join(map(str, written))}"))
    return 0 if done else 1


def _files(
    path: Path, name: str, out: str | None, image: str | None, mesh: str | None, motion: Sequence[str] | None = None
) -> dict[Path, int | None]:
    """Picture, page, mesh and motion of a result, by names that its photograph does not have; of a motion file, whose
    motion it is."""
    folder = path.parent if out is None else Path(out)
    photograph = image_of(path) if image is None else Path(image)
    meets = photograph is not None and photograph.resolve().parent == folder.resolve()
    infix = BESIDE_INPUTS if meets and not name.endswith(BESIDE_INPUTS) else ""
    outputs = Outputs(folder, infix)
    suffixes = (".jpg", ".html", *([f".{mesh}"] if mesh else []))
    shown: dict[Path, int | None] = {outputs.file(name, suffix): None for suffix in suffixes}
    kinds = () if motion is None else motion or MOTIONS[:1]
    for person, part in enumerate(_motion_parts(path) if kinds else ()):
        shown |= {outputs.file(f"{name}_motion{part}", f".{kind}"): person for kind in kinds}
    return shown


def _motion_parts(path: Path) -> list[str]:
    """The ends of the names of motion files: one for a sequence or a single person, else one for each person."""
    result = FitResult.load(path)
    return [""] if result.rows == "frames" or len(result) == 1 else [f"_{i}" for i in range(len(result))]


def _render(path: Path, files: Mapping[Path, int | None], photograph: Image | None, up: UpLike = None) -> list[Path]:
    """Writes the files, and returns them; a sequence has no overlay."""
    result = FitResult.load(path)
    result = result if up is None else result.with_up(up)
    if photograph is not None:
        result.image = photograph
    written = [file for file in files if file.suffix != ".jpg" or not result.is_sequence]
    for file in written:
        person = files[file]
        if person is not None:
            write_own(file, "motion", partial(result.save_motion, person=person))
        elif file.suffix == ".jpg":
            write_picture(file, result.overlay())
        elif file.suffix == ".html":
            write_own(file, "page", result.page)
        else:
            write_own(file, "mesh", result.mesh)
    return written


def convert_command(body: str, target: str) -> int:
    """Writes a body file as .npz."""
    check_own(target)
    data = read_body_file(body, as_stored=True)
    if (gender := gender_of(body, data)) != "neutral":
        data["gender"] = np.array(gender)  # the name of the new file may not state it
    write_own(Path(target), "body", lambda temporary: write_body_npz(temporary, data))
    vertices, joints = len(data["v_template"]), data["kintree_table"].shape[1]
    print(
        printable(
            f"{target}: {how_many(vertices, 'vertices')}, {how_many(joints, 'joints')}, fields "
            f"{', '.join(sorted(data))}."
        )
    )
    return 0
