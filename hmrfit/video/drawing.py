"""One frame of a video with its people drawn over it, each in a colour of their own, with their name above the head."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.render.overlay import draw_keypoints
from hmrfit.render.rasteriser import to_screen
from hmrfit.render.shading import hex_to_rgb, shade
from hmrfit.types import Keypoints

COLORS = ("#7fb2ff", "#ff9d7a", "#7fdca0", "#d29bff", "#ffd75e", "#66d9e8", "#ff8fc7", "#b5c96a", "#c8a27a", "#9aa7ff")
"""Of persons, one after the other."""

LARGEST = 1280
"""Pixels, the longest side of a drawn video."""

GUESSED = 0.45
"""How opaque a person is who is not seen in the frame; others have `OPACITY`."""

OPACITY = 0.8


@dataclass(frozen=True, eq=False)
class DrawnPerson:
    """A person in one frame."""

    name: str
    color: str
    vertices: Tensor  # (V, 3) camera frame, metres
    camera: Camera  # one, of the video's full size
    keypoints: Keypoints | None = None  # (1, K), pixels of the full size
    seen: bool = True


def color_of(number: int) -> str:
    """The colour of the n-th person, counted from 0."""
    return COLORS[number % len(COLORS)]


def drawn_size(size: tuple[int, int], largest: int = LARGEST) -> tuple[int, int]:
    """(width, height) of the drawn video: no side above `largest`, both even."""
    ratio = min(1.0, largest / max(size))
    return max(2, 2 * round(size[0] * ratio / 2)), max(2, 2 * round(size[1] * ratio / 2))


def draw_people(image: Image, people: Sequence[DrawnPerson], faces: Tensor, text: str = "") -> Image:
    """The frame at `drawn_size`, those in front hiding those behind. text: in the corner."""
    size = drawn_size((image.shape[1], image.shape[0]))
    picture = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    ratio = size[0] / image.shape[1], size[1] / image.shape[0]
    whole = [person for person in people if bool(person.vertices.isfinite().all())]
    far_first = sorted(whole, key=lambda person: -float(person.vertices[:, 2].mean()))
    for seen, opacity in ((False, GUESSED), (True, OPACITY)):
        for group in _of_one_camera([person for person in far_first if person.seen is seen]):
            camera = group[0].camera.resize(group[0].camera.size.new_tensor([size]))
            colors = np.stack([hex_to_rgb(person.color) for person in group])
            picture = shade(torch.stack([p.vertices for p in group]), faces, camera, colors, 1).over(picture, opacity)
    for person in far_first:
        if person.keypoints is not None and person.seen:
            scaled = person.keypoints.xy * person.keypoints.xy.new_tensor(ratio)
            moved = Keypoints(scaled, person.keypoints.confidence, person.keypoints.names)
            picture = draw_keypoints(picture, moved)
    for person in far_first:
        _label(picture, person, size)
    if text:
        _write(picture, text, (8, size[1] - 10), "#ffffff", size)
    return picture


def _of_one_camera(people: Sequence[DrawnPerson]) -> list[list[DrawnPerson]]:
    groups: list[list[DrawnPerson]] = []
    for person in people:
        known = next((g for g in groups if torch.equal(g[0].camera.focal, person.camera.focal)), None)
        if known is None:
            groups.append([person])
        else:
            known.append(person)
    return groups


def _label(picture: Image, person: DrawnPerson, size: tuple[int, int]) -> None:
    """The person's name above the highest vertex that is in the picture."""
    camera = person.camera.resize(person.camera.size.new_tensor([size]))
    points = to_screen(person.vertices[None], camera)[0]
    points = points[points[:, 2] > MIN_DEPTH]
    inside = (points[:, 0] >= 0) & (points[:, 0] < size[0]) & (points[:, 1] >= 0) & (points[:, 1] < size[1])
    if not bool(inside.any()):
        return
    top = points[inside][points[inside][:, 1].argmin()]
    _write(picture, person.name, (int(top[0]) - 8 * len(person.name), max(int(top[1]) - 8, 24)), person.color, size)


def _write(picture: Image, text: str, at: tuple[int, int], color: str, size: tuple[int, int]) -> None:
    scale, tint = max(0.5, max(size) / 1400), tuple(int(c) for c in np.round(255 * hex_to_rgb(color)))
    plain = text.encode("ascii", "replace").decode()
    for shade_of, thickness in (((0, 0, 0), 4), (tint, 2)):
        cv2.putText(picture, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale, shade_of, thickness, cv2.LINE_AA)
