"""Clothed outlines: what the mask of a dressed person covers beyond the body.

    cloth(v) = v + ease(v) · (1 + sag · n·g) · fold(v) · n      n the body's normal, g unit, down: loose cloth lies on
                                                                top of a limb and hangs below it
    mask     = labelled( closed( body, cloth ) + skirt + hair )

The eases are half of what tailors add to a circumference, over pi: 6 to 10 cm at the chest of a fitted shirt, 20 cm of
a loose one; trousers with a hem of 36 to 50 cm stand off an ankle of 22 cm. A skirt is the convex hull of both legs,
band by band from waist to hem. Closing fills what cloth bridges, such as the armpits. A label is a polygon drawn by
hand: its corners leave out what is finer than half a percent of the box.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.io.opencv import cv2
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.shading import texture, vertex_normals
from hmrfit.synthetic.clothing import ClothingTexture, Outfit
from hmrfit.types import BodyParams

SAG, FOLDS = 0.8, 0.5
"""How much farther cloth stands off below a limb than beside it, and how much farther a fold than their mean."""

SHIRT_TAIL = 0.14
"""Metres that a shirt hangs below the waist."""

BANDS = 8
"""Of a skirt, from waist to hem; each hull spans two."""


@dataclass(frozen=True)
class Garments:
    """What one person wears. Metres: how far it stands off the body in the mean; lengths as fractions, 0 short, 1 long.

    A negative skirt is none.
    """

    shirt: float = 0.0
    sleeves: float = 0.35
    thigh: float = 0.0
    ankle: float = 0.0
    legs: float = 1.0
    skirt: float = -1.0
    flare: float = 0.0  # how much farther the skirt's hem stands off than its waist
    hair: float = 0.0
    hair_length: float = 0.0  # metres below the ears
    shoes: float = 0.0
    bridge: float = 0.0  # half the width of the gaps that cloth closes
    label: float = 0.0  # how far corners of the labelled polygon may miss the edge, a fraction of the box

    @classmethod
    def everyday(cls, generator: torch.Generator) -> "Garments":
        """Shirts, jackets, trousers, shorts, skirts, as people wear them in the street and for sports."""
        draw = _Draw(generator)
        jacket, shorts, skirt, long_hair = (draw.chance(p) for p in (0.3, 0.25, 0.12, 0.3))
        thigh = draw.between(0.003, 0.02)
        return cls(
            shirt=draw.between(0.02, 0.05) if jacket else draw.between(0.004, 0.03),
            sleeves=0.93 if jacket or draw.chance(0.3) else draw.between(0.2, 0.5),
            thigh=thigh,
            ankle=thigh + draw.between(0.0, 0.035),
            legs=draw.between(0.3, 0.6) if shorts else draw.between(0.92, 1.0),
            skirt=draw.between(0.35, 0.95) if skirt else -1.0,
            flare=draw.between(0.02, 0.12),
            hair=draw.between(0.004, 0.045),
            hair_length=draw.between(0.1, 0.4) if long_hair else 0.0,
            shoes=draw.between(0.003, 0.015),
            bridge=draw.between(0.0, 0.03),
            label=draw.between(0.001, 0.005),
        )

    @classmethod
    def unusual(cls, generator: torch.Generator) -> "Garments":
        """What `everyday` never gives: long coats and gowns, wide trousers and sportswear, helmets, next to nothing."""
        draw = _Draw(generator)
        kind = int(torch.randint(4, (1,), generator=generator))
        plain = cls.everyday(generator)
        if kind == 0:
            coat, long = draw.between(0.03, 0.07), draw.between(0.4, 0.9)
            return replace(plain, shirt=coat, sleeves=0.95, skirt=long, flare=draw.between(0.0, 0.05), legs=1.0)
        if kind == 1:
            wide = draw.between(0.025, 0.05)
            return replace(plain, skirt=-1.0, thigh=wide, ankle=wide + draw.between(0.02, 0.04), legs=1.0)
        if kind == 2:
            helmet, boots = draw.between(0.04, 0.07), draw.between(0.015, 0.03)
            return replace(plain, skirt=-1.0, hair=helmet, hair_length=0.0, shoes=boots, shirt=draw.between(0.03, 0.06))
        tight = draw.between(0.0, 0.004)
        bare = replace(plain, skirt=-1.0, hair=0.005, bridge=0.0, hair_length=0.0)
        return replace(bare, shirt=tight, thigh=tight, ankle=tight)


class _Draw:
    """Random numbers of one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=self.generator))

    def chance(self, probability: float) -> bool:
        return float(torch.rand(1, generator=self.generator)) < probability


class DressedBody:
    """Draws the masks of dressed people.

    Args:
        body: SMPL-format, in its T-pose at rest.
    """

    def __init__(self, body: SmplBody) -> None:
        self.body, self.texture = body, ClothingTexture(body)
        self.rest = body.v_template.double()
        skeleton, weights = body.skeleton, body.weights.double()
        joints = [skeleton.index(f"{side}_{name}") for side in ("left", "right") for name in ("ankle", "foot")]
        self.feet = weights[:, joints].sum(1)
        arms = [j for part in ("left_arm", "right_arm") for j in skeleton.parts[part]]
        self.trunk = weights[:, arms].sum(1) < 0.5

    def masks(
        self, params: BodyParams, camera: Camera, garments: Sequence[Garments], generator: torch.Generator
    ) -> list[NDArray[np.bool_]]:
        """The mask (H, W) of each of B people, alone in the picture, upright along the image's columns.

        Args:
            params, camera: (B,) camera frame.
        """
        noise = torch.rand(64, 64, generator=generator, dtype=torch.float64)
        shift = 64 * torch.rand(len(garments), generator=generator, dtype=torch.float64)
        return [self._mask(params[i], camera[i], worn, noise, float(shift[i])) for i, worn in enumerate(garments)]

    def _mask(
        self, params: BodyParams, camera: Camera, worn: Garments, noise: Tensor, shift: float
    ) -> NDArray[np.bool_]:
        """Of one person. shift: where in the noise this person's folds are."""
        body = self.body(params).mesh.double()
        normals = vertex_normals(body, self.body.faces)
        hang = 1 + SAG * normals[..., 1:2]  # +y is down
        cloth = body + (self.ease(worn, noise, shift)[:, None] * hang) * normals
        draw, faces = BuiltinRenderer(), self.body.faces
        drawn = draw.silhouette(body, faces, camera) | draw.silhouette(cloth, faces, camera)
        mask = drawn[0].numpy().astype(np.uint8)
        per_metre = float(camera.focal.mean() / body[..., 2].mean().clamp_min(0.1))
        mask = _closed(mask, worn.bridge * per_metre)
        if worn.skirt >= 0:
            self._skirt(mask, cloth, normals, camera, worn)
        if worn.hair_length > 0:
            self._long_hair(mask, cloth, camera, worn, noise)
        return _labelled(mask, worn.label)

    def ease(self, worn: Garments, noise: Tensor, shift: float = 0.0) -> Tensor:
        """(V,) metres that what is worn stands off the body's vertices, with its folds."""
        x, y, z = self.rest.unbind(-1)
        outfit = Outfit(sleeves=worn.sleeves, legs=worn.legs)
        shirt, trousers, hair = self.texture.regions(self.rest, outfit, noise)
        shirt = shirt | (self.trunk & (y <= self.texture.waist) & (y > self.texture.waist - SHIRT_TAIL))
        down = ((self.texture.waist - y) / (self.texture.waist - self.texture.height("left_ankle"))).clamp(0, 1)
        of_trousers = worn.thigh + (worn.ankle - worn.thigh) * down
        cloth = torch.maximum(worn.shirt * shirt, of_trousers * trousers)
        folds = 1 + 2 * FOLDS * (texture(noise, 14 * x + 8 * z + shift, 9 * y + shift) - 0.5)
        return torch.maximum(torch.maximum(cloth * folds, worn.hair * hair), worn.shoes * self.feet)

    def _skirt(self, mask: NDArray[np.uint8], cloth: Tensor, normals: Tensor, camera: Camera, worn: Garments) -> None:
        """Convex hulls of both legs, band by band."""
        y, waist = self.rest[:, 1], self.texture.waist
        ankle = self.texture.height("left_ankle")
        t = (waist - y) / max(worn.skirt * (waist - ankle), 0.05)  # 0 the waist, 1 the hem
        points = camera.project(cloth + (worn.flare * t.clamp(0, 1))[:, None] * normals)[0]
        for band in range(BANDS):
            low, high = band / BANDS, min((band + 2) / BANDS, 1.0)
            _fill_hull(mask, points[self.trunk & (t >= low) & (t <= high)])

    def _long_hair(self, mask: NDArray[np.uint8], cloth: Tensor, camera: Camera, worn: Garments, noise: Tensor) -> None:
        """Between the hair at the ears and as far below them."""
        y, z = self.rest[:, 1], self.rest[:, 2]
        hair = self.texture.regions(self.rest, Outfit(), noise)[2]
        ear = self.texture.at["left_ear"]
        back = cloth[0][hair & (y < ear[1] + 0.03) & (z < ear[2] + 0.02)]
        if len(back) < 3:
            return
        lower = back + back.new_tensor([0.0, worn.hair_length, 0.0])
        _fill_hull(mask, camera.project(torch.cat([back, lower])[None])[0])


def _fill_hull(mask: NDArray[np.uint8], points: Tensor) -> None:
    """Fill the convex hull of pixels (M, 2)."""
    if len(points) < 3:
        return
    hull = cv2.convexHull(points.numpy().astype(np.float32))
    cv2.fillConvexPoly(mask, np.round(hull[:, 0] - 0.5).clip(-30000, 30000).astype(np.int32), 1)


def _closed(mask: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """Without gaps narrower than twice as many pixels."""
    if pixels < 0.5:
        return mask
    side = 2 * math.ceil(pixels) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    padded = cv2.copyMakeBorder(mask, side, side, side, side, cv2.BORDER_CONSTANT, value=0)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, element)[side:-side, side:-side].astype(np.uint8)


def _labelled(mask: NDArray[np.uint8], miss: float) -> NDArray[np.bool_]:
    """As somebody draws it: polygons whose edges miss the true ones by at most this fraction of the box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if miss <= 0 or not len(rows):
        return mask > 0
    box = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    found, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros_like(mask)
    cv2.drawContours(drawn, [cv2.approxPolyDP(c, miss * box, True) for c in found], -1, 1, cv2.FILLED)
    return drawn > 0
