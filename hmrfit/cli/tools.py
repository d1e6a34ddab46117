"""hmrfit render, hmrfit convert: the small commands."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hmrfit.body.files import read_body_file, write_body_npz
from hmrfit.body.gender import gender_of
from hmrfit.image import read_image, write_image
from hmrfit.result import FitResult


def render_command(
    results: Sequence[str], out: str | None = None, image: str | None = None, mesh: str | None = None
) -> int:
    """Overlay, page and mesh of every result, beside it or in `out`."""
    if image is not None and len(results) > 1:
        raise ValueError(f"--image names one photograph, but there are {len(results)} results. Render them one by one.")
    for path in map(Path, results):
        result = FitResult.load(path)
        if image is not None:
            result.image = read_image(image)
        stem = (Path(out) if out is not None else path.parent) / path.stem
        write_image(f"{stem}.jpg", result.overlay())
        result.page(f"{stem}.html")
        if mesh is not None:
            result.mesh(f"{stem}.{mesh}")
        print(f"{path}: {stem}.jpg, {stem}.html" + (f", {stem}.{mesh}" if mesh else ""))
    return 0


def convert_command(body: str, target: str) -> int:
    """A body file -> .npz."""
    data = read_body_file(body)
    if (gender := gender_of(body, data)) != "neutral":
        data["gender"] = np.array(gender)  # the name of the new file may not state it
    write_body_npz(target, data)
    print(f"{target}: {len(data['v_template'])} vertices, {data['kintree_table'].shape[1]} joints, fields {', '.join(sorted(data))}.")  # fmt: skip  # noqa: E501
    return 0
