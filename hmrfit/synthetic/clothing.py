"""Clothing textures: clothes, hair and faces as functions of a point's place on the undressed body in its T-pose.

    albedo = paint(rest position)        so the same texture fits every pose, shape and SMPL-format body

Borders are functions of the position, not of vertices: they stay sharp however close the camera comes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.render.shading import texture

SKINS = ((0.87, 0.68, 0.57), (0.79, 0.58, 0.45), (0.62, 0.43, 0.32), (0.42, 0.28, 0.21))
HAIRS = ((0.10, 0.08, 0.07), (0.20, 0.13, 0.09), (0.36, 0.24, 0.14), (0.55, 0.42, 0.26))
SHIRTS = ((0.78, 0.26, 0.22), (0.20, 0.42, 0.56), (0.86, 0.83, 0.76), (0.26, 0.47, 0.36), (0.85, 0.62, 0.22))
TROUSERS = ((0.16, 0.21, 0.34), (0.24, 0.24, 0.26), (0.55, 0.49, 0.40), (0.30, 0.33, 0.28))
"""sRGB, of ordinary things."""

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Outfit:
    """The clothing of one person. Colours sRGB, lengths as a fraction: 0 short, 1 long."""

    skin: Color = SKINS[0]
    hair: Color = HAIRS[1]
    shirt: Color = SHIRTS[0]
    trousers: Color = TROUSERS[0]
    sleeves: float = 0.35
    legs: float = 1.0
    stripes: bool = False

    @classmethod
    def random(cls, generator: torch.Generator) -> "Outfit":
        """One of many."""

        def choose(among: tuple[Color, ...]) -> Color:
            return among[int(torch.randint(len(among), (1,), generator=generator))]

        long_sleeves, shorts, stripes = (torch.rand(3, generator=generator) < torch.tensor([0.4, 0.25, 0.35])).tolist()
        return cls(
            skin=choose(SKINS),
            hair=choose(HAIRS),
            shirt=choose(SHIRTS),
            trousers=choose(TROUSERS),
            sleeves=0.93 if long_sleeves else 0.35,
            legs=0.42 if shorts else 1.0,
            stripes=stripes,
        )


class ClothingTexture:
    """The colours of a body's points, for any outfit."""

    def __init__(self, body: SmplBody) -> None:
        joints = dict(zip(body.skeleton.names, body.rest_joints.double(), strict=True))
        marks = dict(zip(body.landmark_names, (body.landmark_regressor @ body.v_template).double(), strict=True))
        self.at = {**marks, **joints}

    def height(self, *names: str) -> float:
        """The mean y of joints and landmarks at rest, metres."""
        return sum(float(self.at[name][1]) for name in names) / len(names)

    def paint(self, rest: Tensor, outfit: Outfit, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points of the body at rest (M, 3), metres -> sRGB (M, 3), gloss (M,), and whether it is cloth (M,)."""
        x, y, z = rest.unbind(-1)
        color = rest.new_tensor(outfit.skin).repeat(len(rest), 1)
        self._face(rest, color)
        shirt, trousers, hair = self.regions(rest, outfit, noise)
        for mask, paint in ((trousers, outfit.trousers), (shirt, outfit.shirt), (hair, outfit.hair)):
            color[mask] = rest.new_tensor(paint)
        if outfit.stripes:
            sleeve = x.abs() > abs(self.at["left_shoulder"][0]) + 0.04
            along = torch.where(sleeve, x.abs(), y)
            color[shirt & (torch.remainder(along, 0.07) < 0.025)] = rest.new_tensor((0.93, 0.92, 0.88))
        color[trousers & (y > self.waist - 0.03)] = rest.new_tensor((0.14, 0.09, 0.06))  # a belt
        cloth = shirt | trousers
        weave = texture(noise, 250 * x + 500, 250 * y + 500)
        strands = texture(noise, 220 * x + 300 * z + 500, 25 * y + 500)
        color = color * (1 - 0.12 * cloth * weave - 0.45 * hair * strands)[:, None]
        return color, torch.where(cloth, 0.03, torch.where(hair, 0.2, 0.25)).to(rest), cloth

    def regions(self, rest: Tensor, outfit: Outfit, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points of the body at rest (M, 3), metres -> which are under the shirt, the trousers and the hair (M,)."""
        x, y, z = rest.unbind(-1)
        return self._shirt(x, y, z, outfit), self._trousers(y, outfit), self._hair(x, y, z, noise)

    @property
    def waist(self) -> float:
        """Where trousers end and the shirt begins, y at rest, metres."""
        return 0.35 * self.height("pelvis") + 0.65 * self.height("spine1")

    def _shirt(self, x: Tensor, y: Tensor, z: Tensor, outfit: Outfit) -> Tensor:
        shoulder, wrist = (abs(float(self.at[f"left_{name}"][0])) for name in ("shoulder", "wrist"))
        neck = self.at["neck"]
        end = shoulder + outfit.sleeves * (wrist - shoulder)
        throat = (x / 0.085).square() + ((y - neck[1] + 0.015) / 0.075).square() + ((z - neck[2]) / 0.13).square() < 1
        return (y > self.waist) & (x.abs() < end) & (y < neck[1] + 0.02) & ~throat

    def _trousers(self, y: Tensor, outfit: Outfit) -> Tensor:
        waist, ankle = self.waist, self.height("left_ankle") + 0.035
        return (y <= waist) & (y > waist + outfit.legs * (ankle - waist))

    def _hair(self, x: Tensor, y: Tensor, z: Tensor, noise: Tensor) -> Tensor:
        """A cap: above the nape at the back, above the forehead in front, around the ears."""
        ear, eye = self.at["left_ear"], self.at["left_eye"]
        top = self.height("head_top")
        brow = float(eye[1]) + 0.42 * (top - float(eye[1]))
        front = ((z - ear[2]) / (eye[2] - ear[2])).clamp(-1, 1)  # -1 the back, 0 the ears, 1 the eyes
        edge = self.height("head") - 0.005 + (brow - self.height("head")) * ((front + 0.35) / 0.75).clamp(0, 1)
        edge = edge + 0.022 * (texture(noise, 90 * x + 50 * z + 500, 0 * y) - 0.5)
        ears = ((y - ear[1]) / 0.038).square() + ((z - ear[2] + 0.005) / 0.028).square() < 1
        return (y > edge) & ~(ears & (x.abs() > 0.9 * ear[0]))

    def _face(self, rest: Tensor, color: Tensor) -> None:
        """Eyes, brows and lips, painted into the skin's colour."""
        skin = color[:1].clone()
        for side in ("left", "right"):
            eye = self.at[f"{side}_eye"]
            away = rest - eye
            brow = (
                (away[:, 0] / 0.021).square() + ((away[:, 1] - 0.021) / 0.0042).square() + (away[:, 2] / 0.03).square()
            )
            color[brow < 1] = 0.35 * skin
            white = (away[:, 0] / 0.013).square() + (away[:, 1] / 0.0062).square() + (away[:, 2] / 0.02).square() < 1
            color[white] = color.new_tensor((0.88, 0.87, 0.85))
            color[white & (away[:, :2].norm(dim=1) < 0.0058)] = color.new_tensor((0.16, 0.11, 0.08))
        if "left_mouth" in self.at:
            mouth = rest - (self.at["left_mouth"] + self.at["right_mouth"]) / 2
            half = self.at["left_mouth"][0]
            lips = (
                (mouth[:, 0] / (1.1 * half)).square() + (mouth[:, 1] / 0.010).square() + (mouth[:, 2] / 0.04).square()
            )
            color[lips < 1] = skin * color.new_tensor((0.88, 0.66, 0.66))
