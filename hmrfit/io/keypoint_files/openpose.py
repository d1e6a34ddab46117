"""OpenPose's JSON, which other tools write as well."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from hmrfit.io.keypoint_files.json_parts import person_of, size_of, track_of, triples
from hmrfit.io.keypoint_files.person import Found

OPENPOSE_SETS = {25: "openpose25", 18: "openpose18"}


def read_openpose(content: Mapping, name: str, image: str | None = None) -> Iterator[Found]:
    """{"people": [{"person_id": [-1], "pose_keypoints_2d": [x, y, c, ...]}]}; hands and faces are left out.

    `canvas_width` and `canvas_height`, as ControlNet's and DWPose's writers add them, are the size of the image; where
    all coordinates are within [0, 1], they are shares of it.
    """
    size = size_of((content.get("canvas_width"), content.get("canvas_height")), name)
    people: list[Found] = []
    for i, person in enumerate(content["people"] or []):
        what = f"{name}, person {i}"
        body = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
        if body is None or body == []:
            continue  # a hand or a face without its body
        people.append(person_of(partial(_person, body, person.get("person_id"), i, what, image, size), what, i, image))
    shares = size is not None and all(np.nanmax(p.points[:, :2], initial=0) <= 1 for p in people)
    yield from (replace(p, shares=shares) for p in people)


def _person(
    body: Sequence[float], given: Any, index: int, what: str, image: str | None, size: tuple[int, int] | None
) -> Found:
    points = triples(body, what)
    given = next(iter(given), None) if isinstance(given, Sequence) and not isinstance(given, str) else given
    known = given not in (-1, None)
    said = OPENPOSE_SETS.get(len(points))
    return Found(
        points, said, what, str(given if known else index), image=image, image_size=size, track=track_of(given)
    )  # fmt: skip
