"""A result as rows of a table, one a person: what `--format parquet` and the engines write.

    column              type            meaning
    id                  text            unique: the name of the photograph's files, "#" and the row; of `--engine ray`
                                        the id of the input's row
    photograph          text            the image's path as it was given, or its id
    person              text            as the keypoint file or the detector calls the person; null: of no person
    body                text            which body it is: people whose hands are seen have `free_body_h`'s, with fingers
    poses               numbers 3 J     rotation vectors, in the order of the body's joints; camera frame
    betas               numbers S       shape
    transl              numbers 3       metres, camera frame: +x right, +y down, +z forward
    focal, center       numbers 2       pixels of the full image
    image_size          numbers 2       width, height, pixels
    focal_known         true or false   null where nothing was fitted
    joints              numbers 3 J     metres, camera frame, joint by joint
    joint_std           numbers J       metres, relative to the pelvis: how far off each may be
    up                  numbers 3       points up in the camera frame, length 1; null: the camera is taken as level
    up_std              number          degrees, how far off it may be, where it is an estimate; null where it is known
    reprojection_error  number          mean distance to the keypoints seen, a fraction of the person's box
    accepted            true or false   whether the fit is better than its start; where not, the row holds the start
    warnings            texts           whole sentences
    reason              text            why there are no numbers in this row, or why a fit was not accepted; else null

A photograph whose people could not be fitted has one row with its reason, and so has each person who was left out. The
table's metadata has the version of this layout (`hmrfit_schema`), of the library (`hmrfit_version`), the body of people
whose hands are not seen and its joints' names; those of another body: `hmrfit.build.load_body(name).joint_names`.
"""

from collections.abc import Sequence
from typing import Any

from hmrfit.build import load_body
from hmrfit.result import FitResult
from hmrfit.version import __version__

SCHEMA = "people 3"
"""Changes whenever a column does."""

TEXT, NUMBER, NUMBERS, FLAG, TEXTS = "text", "number", "numbers", "flag", "texts"

COLUMNS = {
    "id": TEXT,
    "photograph": TEXT,
    "person": TEXT,
    "body": TEXT,
    "poses": NUMBERS,
    "betas": NUMBERS,
    "transl": NUMBERS,
    "focal": NUMBERS,
    "center": NUMBERS,
    "image_size": NUMBERS,
    "focal_known": FLAG,
    "joints": NUMBERS,
    "joint_std": NUMBERS,
    "up": NUMBERS,
    "up_std": NUMBER,
    "reprojection_error": NUMBER,
    "accepted": FLAG,
    "warnings": TEXTS,
    "reason": TEXT,
}
"""The table above."""

Row = dict[str, Any]


def metadata(body: str) -> dict[str, str]:
    """What the file says of itself. body: the name or path of the one that was fitted."""
    names = " ".join(load_body(body).joint_names)
    return {"hmrfit_schema": SCHEMA, "hmrfit_version": __version__, "body": body, "joint_names": names}


def rows_of(result: FitResult, name: str, photograph: str) -> list[Row]:
    """The people of a photograph, those who were left out too.

    Args:
        name: of the photograph's files, or its id; unique.
    """
    camera, params = result.camera, result.params
    std = result.joint_std if result.posterior is not None else None
    people = result.person_ids or [str(i) for i in range(len(result))]
    rows = [
        {
            "id": f"{name}#{i}",
            "photograph": photograph,
            "person": people[i],
            "body": result.origin.body,
            "poses": result.poses[i].tolist(),
            "betas": result.betas[i].tolist(),
            "transl": params.transl[i].tolist(),
            "focal": camera.focal[i].tolist(),
            "center": camera.center[i].tolist(),
            "image_size": camera.size[i].tolist(),
            "focal_known": bool(camera.focal_known[i]),
            "joints": result.joints[i].ravel().tolist(),
            "joint_std": None if std is None else std[i].tolist(),
            "up": None if result.up is None else result.up.tolist(),
            "up_std": result.up_std,
            "reprojection_error": float(result.reprojection_error[i]),
            "accepted": bool(result.accepted[i]),
            "warnings": list(result.warnings[i]),
            "reason": None if result.accepted[i] else result.rejection_reason[i],
        }
        for i in range(len(result))
    ]
    left_out = enumerate(result.left_out.items(), len(result))
    return rows + [empty_row(f"{name}#{i}", photograph, reason, who) for i, (who, reason) in left_out]


def empty_row(name: str, photograph: str, reason: str, person: str | None = None) -> Row:
    """A photograph, or one of its people, without a fit."""
    known: Row = {"id": name, "photograph": photograph, "person": person, "reason": reason, "warnings": []}
    return dict.fromkeys(COLUMNS) | known


def of_columns(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows -> columns, in the order of `COLUMNS`."""
    return {name: [row[name] for row in rows] for name in COLUMNS}
