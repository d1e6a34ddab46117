"""hmrfit render, hmrfit convert: the small commands."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmrfit.body.files import read_body_file, write_body_npz
from hmrfit.body.gender import gender_of
from hmrfit.image import read_image, write_image
from hmrfit.result import FitResult


def render_command(
    results: Sequence[str],
    out: str | None = None,
    image: str | None = None,
    mesh: str | None = None,
    up: Sequence[float] | None = None,
    motion: bool = False,
) -> int:
    """Overlay, page and mesh of every result, beside it or in `out`; of a sequence its page and its motion."""
    if image is not None and len(results) > 1:
        raise ValueError(f"--image names one photograph, but there are {len(results)} results. Render them one by one.")
    for path in map(Path, results):
        result = FitResult.load(path)
        result = result if up is None else result.with_up(up)
        if image is not None:
            result.image = read_image(image)
        stem = (Path(out) if out is not None else path.parent) / path.stem
        written = [f"{stem}.html"]
        result.page(written[0])
        if not result.is_sequence:
            written.append(f"{stem}.jpg")
            write_image(written[-1], result.overlay())
        if mesh is not None:
            written.append(f"{stem}.{mesh}")
            result.mesh(written[-1])
        if motion:
            written += write_motions(result, str(stem))
        print(f"{path}: {', '.join(written)}")
    return 0


def write_motions(result: FitResult, stem: str) -> list[str]:
    """A sequence's motion file, or one for each person of a photograph; their names."""
    one = result.rows == "frames" or len(result) == 1
    names = [f"{stem}_motion.npz"] if one else [f"{stem}_motion_{i}.npz" for i in range(len(result))]
    for person, name in enumerate(names):
        result.save_motion(name, person)
    return names


def convert_command(body: str, target: str) -> int:
    """A body file -> .npz."""
    data = read_body_file(body)
    if (gender := gender_of(body, data)) != "neutral":
        data["gender"] = np.array(gender)  # the name of the new file may not state it
    write_body_npz(target, data)
    print(f"{target}: {len(data['v_template'])} vertices, {data['kintree_table'].shape[1]} joints, fields {', '.join(sorted(data))}.")  # fmt: skip  # noqa: E501
    return 0
