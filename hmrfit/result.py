"""FitResult: what a fit found, for the N people of one photograph. To look at, to save, to hand on.

The records (`params`, `camera`, `keypoints`, `output`) hold tensors, as the rest of the library takes them; everything
else is numpy. Camera frame: OpenCV, +x right, +y down, +z forward, metres; pixels of the full image.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.build import Engine, load_points, load_posed_body
from hmrfit.camera import Camera
from hmrfit.data.photo import Photo
from hmrfit.data.result_file import read_result, write_result
from hmrfit.evaluate.metrics import reprojection_error
from hmrfit.fitting.fitter import Fit
from hmrfit.fitting.solver import STATUS
from hmrfit.image import Image, read_image
from hmrfit.render.meshes import write_mesh
from hmrfit.render.overlay import overlay, sheet, turntable
from hmrfit.render.page import Entry, write_page
from hmrfit.types import BodyOutput, BodyParams, Keypoints
from hmrfit.version import __version__

POOR = 0.06
"""Mean distance of body and keypoints, a share of the box, from which the fit is called into question. Good fits of
labelled people have 0.01 to 0.03."""


@dataclass(eq=False)
class FitResult:
    """Bodies of N people. Made by `hmrfit.fit` and `FitResult.load`."""

    params: BodyParams  # (N,), camera frame
    camera: Camera  # (N,)
    keypoints: Keypoints  # (N, K), what was fitted, without lens distortion
    cost: NDArray[np.float64]  # (N,)
    term_cost: dict[str, NDArray[np.float64]]  # name -> (N,), weighted; they add up to `cost`
    status_code: NDArray[np.int64]  # (N,)
    steps: NDArray[np.int64]  # (N,) of the solver
    hypotheses: list[BodyParams]  # kept ones, (N,) each, by rising cost; the first is `params`
    hypothesis_cost: NDArray[np.float64]  # (N, H)
    focal_source: str = "unknown"
    warnings: list[list[str]] = field(default_factory=list)  # a list for each person
    person_ids: list[str] = field(default_factory=list)
    body: str = "free_body"  # its name or path
    body_kind: str = "smpl"
    image_path: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    stamp: str = ""  # of what it was computed from, for runs that go on where they stopped
    image: Image | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.params)

    def __repr__(self) -> str:
        share = ", ".join(f"{100 * e:.1f} %" for e in self.reprojection_error)
        return f"FitResult({len(self)} people, reprojection {share} of the box, focal {self.focal_source})"

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        width, height = self.camera.size[0].tolist()
        return int(width), int(height)

    @property
    def status(self) -> list[str]:
        """How each person's fit ended, a sentence."""
        return [STATUS[int(code)] for code in self.status_code]

    @cached_property
    def body_model(self) -> SmplBody:
        """The body that was fitted, read again where this result comes from a file."""
        return load_posed_body(self.body, self.body_kind)

    @cached_property
    def output(self) -> BodyOutput:
        """Vertices, joints and landmarks, camera frame, metres."""
        return self.body_model(self.params)

    @property
    def vertices(self) -> NDArray[np.float64]:
        """(N, V, 3) metres, camera frame."""
        return self.output.vertices.numpy()

    @property
    def faces(self) -> NDArray[np.int64]:
        """(F, 3), counterclockwise seen from outside."""
        return self.body_model.faces.numpy()

    @property
    def joints(self) -> NDArray[np.float64]:
        """(N, J, 3) metres, camera frame, in the order of `joint_names`."""
        return self.output.joints.numpy()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """J names."""
        return self.body_model.joint_names

    @property
    def poses(self) -> NDArray[np.float64]:
        """(N, 3J) rotation vectors, the global orientation (body to camera) first, as SMPL and AMASS have them."""
        return poses_of(self.params)

    @property
    def betas(self) -> NDArray[np.float64]:
        """(N, S) shape."""
        return self.params.betas.numpy()

    @property
    def trans(self) -> NDArray[np.float64]:
        """(N, 3) metres, added after posing."""
        return self.params.transl.numpy()

    @cached_property
    def projected(self) -> Keypoints:
        """The body's own keypoints in the image, beside `keypoints`."""
        points = load_points(self.body, self.keypoints.names).pose(self.params).points
        return Keypoints(self.camera.project(points), self.keypoints.confidence, self.keypoints.names)

    @property
    def reprojection_error(self) -> NDArray[np.float64]:
        """(N,) mean distance over the seen keypoints, a share of the person's box (at least a pixel)."""
        seen, box = self.keypoints, self.keypoints.box_size().clamp_min(1.0)
        return reprojection_error(self.projected.xy, seen.xy, seen.confidence, box).numpy()

    def save(self, path: str | PathLike) -> None:
        """Writes everything but the pixels as .npz, whole or not at all; `hmrfit.data.result_file` lists the keys."""
        write_result(path, self._fields())

    @classmethod
    def load(cls, path: str | PathLike) -> "FitResult":
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: there is no such file, it is damaged, or no result.
        """
        return cls(**read_result(path))

    def picture(self) -> Image:
        """The photograph's pixels: those at hand, or read again from where they were."""
        if self.image is None:
            self.image = _read_again(self.image_path, self.image_size)
        return self.image

    def overlay(self, image: ArrayLike | None = None, sides: bool = True, keypoints: bool = True) -> Image:
        """The bodies over the photograph, RGB uint8; side view and back view beside it unless `sides` is False.

        Args:
            image: to draw on; default the photograph itself.
            keypoints: also draws what was fitted, as rings.
        """
        image = self.picture() if image is None else image
        given = self.keypoints if keypoints else None
        draw = sheet if sides else overlay
        return draw(image, self.output.vertices, self.body_model.faces, self.camera, given=given)

    def turntable(self, count: int = 8, size: tuple[int, int] = (360, 480)) -> list[Image]:
        """`count` pictures from all around, the photograph's own side first."""
        return turntable(self.output.vertices, self.body_model.faces, count, size)

    def mesh(self, path: str | PathLike, frame: str = "y_up", colors: ArrayLike | None = None) -> None:
        """Writes the bodies as .obj, .ply or .glb, metres; y up, or with frame="camera" as they are here."""
        names = [f"person_{name}" for name in self.person_ids] or None
        names = names if names and len(set(names)) == len(names) else None
        write_mesh(path, self.output.vertices, self.body_model.faces, frame, colors, names)

    def page(self, path: str | PathLike, title: str | None = None) -> None:
        """Writes one .html file with the overlay, views from all around and the numbers; nothing else is needed."""
        write_page(path, [self.entry()], title or f"hmrfit: {self.name}")

    @property
    def name(self) -> str:
        """What to call it: the image's file name."""
        return self.image_path.name if self.image_path is not None else "image"

    def entry(self, pictures: Mapping[str, Image | str] | None = None) -> Entry:
        """This result on a page; pictures by caption, default the overlay and a turntable."""
        if pictures is None:
            around = {f"{45 * i}°": view for i, view in enumerate(self.turntable())}
            pictures = {"photograph, from the right, from behind": self.overlay(), **around}
        people = [
            {
                "person": name,
                "reprojection": f"{100 * error:.1f} % of the box",
                "cost": ", ".join(f"{term} {value[i]:.1f}" for term, value in self.term_cost.items()),
                "end": f"{self.status[i]} ({self.steps[i]} steps)",
                "notes": " ".join(self.warnings[i]),
            }
            for i, (name, error) in enumerate(zip(self.person_ids, self.reprojection_error, strict=True))
        ]
        return Entry(
            self.name, pictures, people, f"Focal length: {self.camera.focal[0, 0]:.0f} px ({self.focal_source})."
        )

    def _fields(self) -> dict:
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "image"}


def poses_of(params: BodyParams) -> NDArray[np.float64]:
    """(N, 3J) rotation vectors, the root first."""
    return torch.cat(params.to_rotvecs(), 1).numpy()


def result_of(outcome: Fit, photo: Photo, rows: Tensor, engine: Engine) -> FitResult:
    """The part of a batch's outcome that is one photograph's."""
    result = FitResult(
        params=outcome.state.params[rows],
        camera=photo.camera,
        keypoints=photo.keypoints,
        cost=outcome.cost[rows].numpy(),
        term_cost={name: cost[rows].numpy() for name, cost in outcome.term_cost.items()},
        status_code=outcome.status[rows].numpy(),
        steps=outcome.steps[rows].numpy(),
        hypotheses=[state.params[rows] for state in outcome.hypotheses],
        hypothesis_cost=outcome.hypothesis_cost[rows].numpy(),
        focal_source=photo.focal_source,
        warnings=[list(warnings) for warnings in photo.warnings],
        person_ids=[person.person_id for person in photo.people],
        body=engine.body,
        body_kind=engine.body_kind,
        image_path=None if photo.path is None else photo.path.resolve(),
        versions=_versions(),
        image=photo.image,
    )
    _judge(result)
    return result


def _versions() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "hmrfit": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _judge(result: FitResult) -> None:
    """Adds warnings that only the outcome can give."""
    for i, error in enumerate(result.reprojection_error):
        if error > POOR:
            result.warnings[i].append(
                f"The body is on average {100 * error:.0f} % of the box away from its keypoints: look at the overlay."
            )
        if result.status_code[i] == 4:
            result.warnings[i].append(STATUS[4])


def _read_again(path: Path | None, size: tuple[int, int]) -> Image:
    """The photograph from its file, if that is still the same."""
    if path is None:
        raise ValueError("This result has no photograph (it was fitted without one). Pass one: overlay(image).")
    image = read_image(path)
    if image.shape[1::-1] != size:
        raise ValueError(
            f"'{path}' has {image.shape[1]} × {image.shape[0]} pixels, but the fit was made on {size[0]} × {size[1]}. "
            "Pass the photograph that was fitted: overlay(image)."
        )
    return image
