"""FitResult: what a fit found, for the N people of one photograph or for N frames of one person. To look at, to save,
to hand on.

The records (`params`, `camera`, `keypoints`, `output`) hold tensors, as the rest of the library takes them; everything
else is numpy. Camera frame: OpenCV, +x right, +y down, +z forward, metres; pixels of the full image.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body, load_points, load_posed_body
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import reprojection_error
from hmrfit.export.amass import ADD_ONS_RATE, write_amass
from hmrfit.fitting.finite import ENDS
from hmrfit.fitting.fit import REASONS
from hmrfit.fitting.focal import WRONG, FittedEnergy, FocalSensitivity, checked_factor, focal_sensitivity
from hmrfit.fitting.parameters import Layout, State
from hmrfit.fitting.uncertainty import GAUSSIAN, Posterior, mixed_joint_covariance, sample_steps
from hmrfit.io.image import Image, read_image
from hmrfit.ops.level import unit_up
from hmrfit.ops.rotation import geodesic_angle
from hmrfit.ops.threads import one_thread_for_few
from hmrfit.render.meshes import write_mesh
from hmrfit.render.overlay import overlay, sheet, turntable
from hmrfit.report.page import write_page
from hmrfit.report.result_page import OnPage
from hmrfit.report.result_text import Rows
from hmrfit.result_file import read_result, write_result
from hmrfit.result_rows import InRows
from hmrfit.types import BodyOutput, BodyParams, Keypoints


@dataclass(eq=False, repr=False)
class FitResult(InRows, OnPage):
    """Bodies of the N people that could be fitted, or (`rows`) of one person in N frames. Made by `hmrfit.fit` and its
    like, and by `FitResult.load`. `result[i]`, `result[a:b]` and iteration give results of single people or frames."""

    params: BodyParams  # (N,), camera frame
    camera: Camera  # (N,)
    keypoints: Keypoints  # (N, K), what was fitted, without lens distortion
    cost: NDArray[np.float64]  # (N,)
    term_cost: dict[str, NDArray[np.float64]]  # name -> (N,), weighted; they add up to `cost`
    status_code: NDArray[np.int64]  # (N,)
    steps: NDArray[np.int64]  # (N,) of the solver
    hypotheses: list[BodyParams]  # kept ones, (N,) each, by rising cost; the first is `params`
    hypothesis_cost: NDArray[np.float64]  # (N, H), infinite where a person has fewer
    start: BodyParams | None = None  # (N,) the initial estimate, or the start that was given
    reason: NDArray[np.int64] | None = None  # (N,) why the fit was accepted or not, see `verdict`
    start_term_cost: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # name -> (N,), at the start
    spread: Posterior | None = None  # how sure the hypotheses are, and how likely
    focal_source: str = "unknown"
    apart: str = ""  # what held in the fit, and is left out where it says how sure it is and of `focal_effect`
    warnings: list[list[str]] = field(default_factory=list)  # a list for each person
    person_ids: list[str] = field(default_factory=list)  # of a sequence, the frames' numbers
    left_out: dict[str, str] = field(default_factory=dict)  # person_id of those that were not fitted -> why
    measurements: dict[str, str] = field(default_factory=dict)  # what was given of height and shape, and how sure it is
    body: str = "free_body"  # its name or path
    body_kind: str = "smpl"
    image_path: Path | None = None
    versions: dict[str, str] = field(default_factory=dict)
    rows: Rows = "people"  # or "frames"
    fps: float | None = None  # frames a second, of a sequence
    up: NDArray[np.float64] | None = None  # (3,) of length 1, points up in the camera frame; None where not known
    gender: str = "neutral"  # of the body's file: "female", "male", or "neutral"
    stamp: str = ""  # of what it was computed from, for runs that go on where they stopped
    focal_moves: FocalSensitivity | None = None  # `focal_effect`, once it was asked for
    energy: FittedEnergy | None = field(default=None, repr=False)  # what was minimised; not saved
    image: Image | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.params)

    def with_up(self, up: ArrayLike | None) -> "FitResult":
        """The same result, which knows which way is up: (3,) in the camera frame. Views, meshes and motion files stand
        upright then; the bodies stay as they are."""
        return replace(self, up=None if up is None else unit_up(up).numpy())

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        width, height = self.camera.size[0].tolist()
        return int(width), int(height)

    @property
    def focal_known(self) -> bool:
        """Whether the focal length was given, in the keypoint file or in EXIF; neither assumed nor fitted."""
        return bool(self.camera.focal_known.all())

    @property
    def status(self) -> list[str]:
        """How each person's fit ended, a sentence."""
        return [ENDS[int(code)] for code in self.status_code]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(N,) False where the fit was no better than its start and the start was returned."""
        return np.ones(len(self), bool) if self.reason is None else self.reason == 0

    @property
    def verdict(self) -> list[str]:
        """Why, a sentence for each person."""
        return [REASONS[int(code)] for code in (np.zeros(len(self)) if self.reason is None else self.reason)]

    @property
    def probability(self) -> NDArray[np.float64]:
        """(N, H) of the hypotheses; they add up to 1."""
        return self._known_spread().probability.numpy()

    @property
    def counted(self) -> bool:
        """Whether how sure it is was counted on motion set aside (with `init=`: given that `init_std` is true). Else
        (stages of your own, `fit_views`) it is what the energy says of itself, which is far too sure."""
        return self._known_spread().nu < GAUSSIAN

    @cached_property
    def joint_covariance(self) -> NDArray[np.float64]:
        """(N, J, 3, 3) metres², camera axes: how wrong the joints' positions relative to the pelvis may be."""
        spread, body = self._known_spread(), load_points(self.body, self.joint_names)
        return mixed_joint_covariance(body, self.hypotheses, spread).numpy()

    @property
    def joint_std(self) -> NDArray[np.float64]:
        """(N, J) metres: the distance a joint is expected to be off (root mean square), relative to the pelvis."""
        return np.sqrt(np.trace(self.joint_covariance, axis1=2, axis2=3).clip(0))

    @property
    def landmark_std(self) -> NDArray[np.float64]:
        """(N, K) metres: the same for the body's own keypoints, those of the set that was fitted."""
        names = ("pelvis", *self.keypoints.names)
        body = load_points(self.body, names)
        covariance = mixed_joint_covariance(body, self.hypotheses, self._known_spread()).numpy()[:, 1:]
        return np.sqrt(np.trace(covariance, axis1=2, axis2=3).clip(0))

    def sample(self, count: int, seed: int = 0) -> list[BodyParams]:
        """`count` bodies (N,) each, drawn from what is likely given the picture; the same for the same seed."""
        spread, points = self._known_spread(), load_points(self.body, self.joint_names)
        which, steps = sample_steps(spread, count, np.random.default_rng(seed))
        everyone, layout = BodyParams.cat(self.hypotheses), Layout.everything(points)
        drawn = []
        for hypothesis, step in zip(which, steps, strict=True):
            rows = hypothesis * len(self) + torch.arange(len(self))
            state = State(everyone[rows], self.camera).retract(step, points.parents, layout)
            drawn.append(state.params)
        return drawn

    def _known_spread(self) -> Posterior:
        if self.spread is None:
            raise ValueError(
                "This result says nothing of how sure it is: it was saved by an earlier version. Fit again."
            )
        return self.spread

    def focal_effect(self, factor: float = WRONG) -> FocalSensitivity:
        """What a focal length `factor` times the one that was used would have changed: `depth` (N,) of the pelvis,
        `joints` (N, J) how far each moves relative to it, `moved` (N, J, 3) the same as vectors, metres.

        Computed by refits (7 ms for one person); of a loaded result, factors other than 1.2 are answered to first
        order. All that the fit knew is in it, but what `apart` names. The initial estimate, the other views of
        `fit_views` and which hypothesis is the best stay as they were; people whose answer is their start only stand
        elsewhere.

        Raises:
            ValueError, TypeError: factor is no number above 0, or the result was saved without what is needed.
        """
        factor = checked_factor(factor)
        if factor == WRONG and self.focal_moves is not None:
            return self.focal_moves
        effect = self._other_focal_length(factor)
        if factor == WRONG:
            self.focal_moves = effect
        return effect

    def _other_focal_length(self, factor: float) -> FocalSensitivity:
        body = load_points(self.body, self.keypoints.names)
        if self.energy is not None:
            held = None if self.reason is None else torch.as_tensor(self.reason != 0)
            with one_thread_for_few(len(self)):
                return focal_sensitivity(body, self.energy, State(self.params, self.camera), factor, held)
        if self.focal_moves is None:
            raise ValueError(
                "This result does not say what another focal length would change: its own is known, or it was saved by "
                "an earlier version. Ask for result.focal_effect() before saving it, or fit again."
            )
        return self.focal_moves.at(factor, body.pose(self.params).joints[:, 0, 2])

    @property
    def change_degrees(self) -> NDArray[np.float64]:
        """(N, J) by how much the fit turned each joint from its start, the root first."""
        if self.start is None:
            raise ValueError("This fit began at several poses of a library, not at one start: nothing to compare with.")
        return np.rad2deg(geodesic_angle(self.start.rotations, self.params.rotations).numpy())

    @property
    def start_reprojection_error(self) -> NDArray[np.float64]:
        """(N,) `reprojection_error` of the start; NaN where there was none."""
        return np.full(len(self), np.nan) if self.start is None else self._reprojection_error(self.start)

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

    @cached_property
    def joints(self) -> NDArray[np.float64]:
        """(N, J, 3) metres, camera frame, in the order of `joint_names`. Posed without the mesh."""
        return load_points(self.body, self.joint_names).pose(self.params).joints.numpy()

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
        return Keypoints(self._projected(self.params), self.keypoints.confidence, self.keypoints.names)

    def _projected(self, params: BodyParams) -> Tensor:
        return self.camera.project(load_points(self.body, self.keypoints.names).pose(params).points)

    @property
    def reprojection_error(self) -> NDArray[np.float64]:
        """(N,) mean distance over the seen keypoints, a share of the person's box (at least a pixel); NaN without any,
        as in a frame of a sequence that was filled in."""
        return self._reprojection_error(self.params)

    def _reprojection_error(self, params: BodyParams) -> NDArray[np.float64]:
        seen, box = self.keypoints, self.keypoints.box_size().clamp_min(1.0)
        return reprojection_error(self._projected(params), seen.xy, seen.confidence, box).numpy()

    def save(self, path: str | PathLike) -> None:
        """Writes everything but the pixels as .npz, whole or not at all; `hmrfit.result_file` lists the keys."""
        write_result(path, self._kept())

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

        The side and back view are upright where `up` is known; else they have the camera's axes. Of a sequence, one
        frame at a time: `result[i].overlay(frame)`.
        """
        self._at_one_moment("overlay")
        image = self.picture() if image is None else image
        given = self.keypoints if keypoints else None
        draw = sheet if sides else overlay
        upright = {"up": self.up} if sides else {}
        return draw(image, self.output.vertices, self.body_model.faces, self.camera, given=given, **upright)

    def turntable(self, count: int = 8, size: tuple[int, int] = (360, 480)) -> list[Image]:
        """`count` pictures from all around, the photograph's own side first. Upright where `up` is known; else the
        vertical is the camera's y axis."""
        self._at_one_moment("turntable")
        return turntable(self.output.vertices, self.body_model.faces, count, size, up=self.up)

    def mesh(self, path: str | PathLike, frame: str = "y_up", colors: ArrayLike | None = None) -> None:
        """Writes the bodies as .obj, .ply or .glb, metres; y up, or with frame="camera" as they are here.

        They stand upright where `up` is known; else y is the camera's own vertical. Of a sequence, one frame at a time:
        `result[i].mesh(path)`; all frames are a motion, see `save_motion`.
        """
        self._at_one_moment("mesh")
        names = [f"person_{name}" for name in self.person_ids] or None
        names = names if names and len(set(names)) == len(names) else None
        write_mesh(path, self.output.vertices, self.body_model.faces, frame, colors, names, self.up)

    def save_motion(
        self,
        path: str | PathLike,
        person: int | None = None,
        *,
        columns: int | None = None,
        fps: float | None = None,
        on_floor: bool = False,
    ) -> None:
        """Writes one person's motion, or pose, as an npz for readers of AMASS (Blender add-ons, aitviewer, ours).

        The world has z up; the camera is its origin and looks along +y. It is upright where `up` is known; else the
        camera is taken as level, and the file says so. See `hmrfit.export.amass` for the keys.

        Args:
            person: which of several people of a photograph. Of a sequence, all frames are written.
            columns: of `poses`: 156 (SMPL-H, the default for a body of 24 joints, as AMASS has it), 165 (SMPL-X) or 72
                (SMPL). Hands and face are at rest.
            fps: another frame rate, to which the motion is interpolated: Blender's add-ons refuse rates below 30. By
                default the sequence's own; a photograph has none, and its one pose is written with 30.
            on_floor: moves everything up or down until the lowest point of the motion is at z = 0.
        """
        chosen = self if self.rows == "frames" else self[self._one_person(person)]
        if self.rows == "frames" and person not in (None, 0):
            raise ValueError(f"This result is a sequence of one person; there is no person {person!r}.")
        if chosen.is_sequence and chosen.fps is None:
            raise ValueError(
                "The frame rate of this sequence is not known: it was saved by an earlier version. Fit it again."
            )
        still = chosen.fps is None
        rate, resample = (ADD_ONS_RATE if fps is None else fps, None) if still else (chosen.fps, fps)
        write_amass(
            path, chosen.params, load_body(self.body), rate, up=self.up, gender=self.gender, body_name=self.body,
            columns=columns, resample=resample, on_floor=on_floor,
        )  # fmt: skip

    def _one_person(self, person: int | None) -> int:
        if person is None and len(self) > 1:
            raise ValueError(f"This photograph has {len(self)} people; a motion file has one. Say which: person=0.")
        return 0 if person is None else person

    def page(self, path: str | PathLike, title: str | None = None) -> None:
        """Writes one .html file with the overlay, views from all around and the numbers; nothing else is needed."""
        write_page(path, [self.entry()], title or f"hmrfit: {self.name}")

    @property
    def name(self) -> str:
        """What to call it: the image's file name."""
        return self.image_path.name if self.image_path is not None else "image"

    def _kept(self) -> dict:
        """The fields that can leave this process. Where the focal length is not known, its effect is among them."""
        if self.energy is not None and not self.focal_known:
            self.focal_effect()
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("image", "energy")}

    def __getstate__(self) -> dict:
        """For pickle and copies in other processes: without the energy, whose terms may be anything."""
        return self._kept() | {"image": self.image, "energy": None}


def poses_of(params: BodyParams) -> NDArray[np.float64]:
    """(N, 3J) rotation vectors, the root first."""
    return torch.cat(params.to_rotvecs(), 1).numpy()


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
