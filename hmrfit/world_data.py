"""What a `WorldResult` holds: one person's motion in the world's frame, and what every calibrated camera saw of it.

It rests on the result in one camera's frame, the base, whose rows know their cameras' poses (`Origin.extrinsics`); all
else follows from it: the bodies in the world, the other cameras' results, how sure it is. Saved, it is the base's own
file (`hmrfit.result_file`, read by `FitResult.load` too) with more arrays:

    world_poses (T, 3 J)  world_trans (T, 3)                                  in the world, metres; betas as in `betas`
    view_names (C,)  view_base                                                which view the file's own arrays are of
    view_keypoints (C, T, K, 3)  view_focal  view_center  view_size (C, 2)    pixels, without lens distortion
    view_extrinsics (C, T, 3, 4)  view_distortion (C, 14)  person             x_camera = R x_world + t; cv2's
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.build import load_body, load_points
from hmrfit.camera import Camera
from hmrfit.fitting.uncertainty import Answers
from hmrfit.io.bounded import read_npz
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.ops.how_many import how_many
from hmrfit.result_data import ResultData, poses_of
from hmrfit.result_file import write_result
from hmrfit.types import BodyParams, Keypoints
from hmrfit.world import between, moved_fit, moved_params, moved_posterior, poses_in_world

ResultT = TypeVar("ResultT", bound=ResultData)

SHAPES = {
    "view_names": "C",
    "view_keypoints": "C T K 3",
    "view_focal": "C 2",
    "view_center": "C 2",
    "view_size": "C 2",
    "view_extrinsics": "C 3 4",
    "view_distortion": "C D",
}

LENS_NUMBERS = 14


@dataclass(eq=False, repr=False)
class WorldData(Generic[ResultT]):
    """One person in the world, T frames (or one), seen by C calibrated cameras, as numbers. World frame: that of the
    extrinsics, metres."""

    base: ResultT  # in the frame of one of the cameras, with `extrinsics`
    calibration: CameraCalibration | None = None  # of the C cameras; None: only the base's is known
    seen: Sequence[Keypoints] = ()  # C times (T, K), without lens distortion
    base_view: int = 0  # which of the C cameras `base` is of
    person: str = "0"

    def __post_init__(self) -> None:
        if self.base.extrinsics is None:
            raise ValueError(
                "This result knows no world: its camera's place is not known. Fit with extrinsics= (fit_sequence), or "
                "with calibrated cameras (fit_views, fit_views_sequence)."
            )

    def __len__(self) -> int:
        return len(self.base)

    def __repr__(self) -> str:
        rate = "" if self.fps is None else f", {self.fps:g} a second"
        return (
            f"WorldResult(person {self.person}, {how_many(len(self), 'frames')}{rate}, "
            f"{how_many(max(len(self.seen), 1), 'cameras')})"
        )

    def __getitem__(self, part: slice) -> Self:
        """Some of the frames."""
        rows = torch.arange(len(self))[part]
        return replace(self, base=self.base[part], seen=[keypoints[rows] for keypoints in self.seen])

    @property
    def extrinsics(self) -> NDArray[np.float64]:
        """(T, 3, 4) of the base's camera, x_camera = R x_world + t, metres."""
        assert self.base.extrinsics is not None
        return self.base.extrinsics

    @property
    def fps(self) -> float | None:
        """Frames a second, of a sequence."""
        return self.base.fps

    @property
    def frames(self) -> Sequence[str]:
        """T, the frames' numbers."""
        return self.base.names

    @property
    def up(self) -> NDArray[np.float64] | None:
        """(3,) points up in the world, where that is known."""
        return self.base.origin.world_up

    @cached_property
    def params(self) -> BodyParams:
        """(T,) in the world."""
        return moved_params(self.base.params, load_body(self.base.origin.body), *poses_in_world(self.extrinsics))

    @cached_property
    def vertices(self) -> NDArray[np.float64]:
        """(T, V, 3) metres, world."""
        return self.base.body_model(self.params).mesh.numpy()

    @property
    def faces(self) -> NDArray[np.int64]:
        """(F, 3), counterclockwise seen from outside."""
        return self.base.faces

    @cached_property
    def joints(self) -> NDArray[np.float64]:
        """(T, J, 3) metres, world, in the order of `joint_names`. Posed without the mesh."""
        return load_points(self.base.origin.body, self.joint_names).pose(self.params).joints.numpy()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """J names."""
        return self.base.joint_names

    def points(self, keypoint_set: str | Sequence[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """The body's own points of a keypoint set: (T, K, 3) metres in the world, and their K names."""
        points, names = self.base.points(keypoint_set)
        back, origin = poses_in_world(self.extrinsics)
        return points @ back.mT.numpy() + origin.numpy()[:, None], names

    @property
    def poses(self) -> NDArray[np.float64]:
        """(T, 3J) rotation vectors, the global orientation (body to world) first."""
        return poses_of(self.params)

    @property
    def betas(self) -> NDArray[np.float64]:
        """(T, S) shape, the same in all frames."""
        return self.params.betas.numpy()

    @property
    def trans(self) -> NDArray[np.float64]:
        """(T, 3) metres, added after posing."""
        return self.params.transl.numpy()

    @property
    def joint_std(self) -> NDArray[np.float64]:
        """(T, J) metres: the distance a joint is expected to be off, relative to the pelvis; see `FitResult`."""
        return self.base.joint_std

    @property
    def joint_covariance(self) -> NDArray[np.float64]:
        """(T, J, 3, 3) metres², world axes: how wrong the joints' positions relative to the pelvis may be."""
        back = self.extrinsics[:, None, :, :3].swapaxes(-1, -2)
        return back @ self.base.joint_covariance @ back.swapaxes(-1, -2)

    @cached_property
    def views(self) -> list[ResultT]:
        """Of each camera the result in its frame, with what it saw: to draw, to look at."""
        if self.calibration is None:
            return [self.base]
        return [self._view(c) for c in range(len(self.calibration))]

    def _view(self, c: int) -> ResultT:
        """The base's result as another camera sees it."""
        if c == self.base_view or self.calibration is None:
            return self.base
        body, base = load_body(self.base.origin.body), self.base
        poses = np.broadcast_to(self.calibration.extrinsics[c], (len(self), 3, 4)).copy()
        Q, q = between(self.extrinsics, poses)
        camera = self.calibration.camera[[c] * len(self)]
        fit = moved_fit(base.fit, camera, body, Q, q)
        posterior = None if base.posterior is None else moved_posterior(base.posterior, body, Q)
        up = None if self.up is None else poses[0, :, :3] @ self.up
        return replace(
            base,
            fit=fit,
            origin=replace(base.origin, keypoints=self.seen[c], extrinsics=poses, image_path=None),
            known_answers=Answers(fit.hypotheses, fit.hypothesis_cost, posterior),
            seek=None,
            terms=None,
            focal_moves=None,
            image=None,
        ).with_up(up)

    @cached_property
    def reprojection_error(self) -> NDArray[np.float64]:
        """(C, T) mean distance over the seen keypoints, a fraction of the person's box; NaN where nothing is seen."""
        return np.stack([view.reprojection_error for view in self.views])

    def view_arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array of the cameras and what they saw, as a file holds them."""
        rig = self.calibration
        if rig is None:
            return {}
        seen = [torch.cat([k.xy, k.confidence[..., None]], -1).numpy() for k in self.seen]
        lenses = [np.pad(lens, (0, LENS_NUMBERS - len(lens))) for lens in rig.distortion]
        return {
            "view_names": np.array(rig.names),
            "view_base": np.array(self.base_view),
            "view_keypoints": np.stack(seen),
            "view_focal": rig.camera.focal.numpy(),
            "view_center": rig.camera.center.numpy(),
            "view_size": rig.camera.size.numpy(),
            "view_extrinsics": rig.extrinsics,
            "view_distortion": np.stack(lenses),
        }


def write_world(path: str | PathLike[str], world: WorldData[Any], base: ResultData) -> None:
    """Writes a world's result, whole or not at all. base: its own, without what cannot be saved."""
    own = {"world_poses": world.poses, "world_trans": world.trans, "person": np.array(world.person)}
    write_result(path, base, {**own, **world.view_arrays()})


def read_world(
    path: str | PathLike[str], base: ResultData
) -> tuple[CameraCalibration | None, list[Keypoints], int, str]:
    """(cameras, what they saw, which is the base's, person): what `write_world` wrote beside the base's own arrays.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is damaged.
    """
    data = read_npz(path, names=(*SHAPES, "view_base", "person"))
    person = str(data.get("person", "0"))
    if "view_names" not in data:
        return None, [], 0, person
    try:
        return *_rig(data, base), person
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise ValueError(f"'{path}' is a damaged result: {error} Fit again, or copy it again.") from None


def _rig(data: dict[str, NDArray[Any]], base: ResultData) -> tuple[CameraCalibration, list[Keypoints], int]:
    """(the cameras, what they saw, which is the base's), checked."""
    sizes: dict[str, int] = {"T": len(base)}
    for name, pattern in SHAPES.items():
        sizes = check_shape(data[name], pattern, name, sizes)
        if name != "view_names":
            check_finite(data[name], name)
    focal, center, size = (torch.tensor(data[f"view_{part}"]).double() for part in ("focal", "center", "size"))
    points = torch.tensor(data["view_keypoints"]).double()
    names = tuple(str(name) for name in data["view_names"])
    lenses = tuple(np.asarray(lens, np.float64) for lens in data["view_distortion"])
    poses = np.asarray(data["view_extrinsics"], np.float64)
    rig = CameraCalibration(names, Camera(focal, center, size), lenses, poses, base.origin.world_up, "a saved result")
    place = int(data["view_base"])
    if not 0 <= place < len(names):
        raise ValueError(f"its view_base is {place}, of {how_many(len(names), 'cameras')}.")
    if points.shape[2] != len(base.keypoints.names):
        raise ValueError(f"its view_keypoints are {points.shape[2]}, but it names {len(base.keypoints.names)}.")
    return rig, [Keypoints(one[..., :2], one[..., 2], base.keypoints.names) for one in points], place
