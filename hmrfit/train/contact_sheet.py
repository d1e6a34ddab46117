"""A sheet to look at: what the network says of people whose truth is known, beside that truth.

Each person: the guess over the keypoints it was made from, the guess from the side, the truth from the side.
"""

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.io.image import Image
from hmrfit.network.hmr import HMR
from hmrfit.render.overlay import close_up, side_by_side, views
from hmrfit.synthetic.people import People
from hmrfit.train.validation import Predict, estimate_of, people_of
from hmrfit.types import BodyParams

PANEL = (240, 320)
"""Width and height of one picture, pixels."""

GREY = 96
"""The background, which no photograph gave."""


def draw_sheet(body: SmplBody, people: People, predict: Predict, across: int = 3) -> Image:
    """All people, `across` beside each other; a few dozen at most."""
    width, height = (int(n) for n in people.camera.size[0])
    guessed = predict(people.keypoints, Camera.from_size(width, height, count=len(people.joints)))
    blank = np.full((height, width, 3), GREY, np.uint8)
    panels = [_person(body, people[i], guessed[i], blank) for i in range(len(people.joints))]
    empty = np.full_like(panels[0], 255)
    panels += [empty] * (-len(panels) % across)
    rows = [side_by_side(panels[i : i + across]) for i in range(0, len(panels), across)]
    return np.concatenate(rows)


def validation_sheet(
    body: SmplBody, frames: Mapping[str, np.ndarray], count: int = 12
) -> Callable[[HMR], Image] | None:
    """The function that draws `count` people as a network sees them, always the same; None for nobody.

    Args:
        body: in float64. frames: of `load_frames`, of a split that is not trained on.
    """
    if not count:
        return None
    people = people_of(body, frames, count, seed=1)
    return lambda hmr: draw_sheet(body, people, estimate_of(hmr))


def _person(body: SmplBody, person: People, guessed: BodyParams, blank: Image) -> Image:
    """One person's three pictures."""
    camera = Camera.from_size(*(int(n) for n in person.camera.size[0]))
    found, truth = (_vertices(body, params) for params in (guessed, person.params))
    front = close_up(blank, found, body.faces, camera, PANEL, given=person.keypoints)
    return side_by_side([front, *(view for mesh in (found, truth) for view in views(mesh, body.faces, (90,), PANEL))])


def _vertices(body: SmplBody, params: BodyParams) -> Tensor:
    return body(params).vertices
