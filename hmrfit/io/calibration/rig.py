"""Calibrated cameras as every format of a calibration file is read into them.

    x_camera = R x_world + t      metres; camera frame x right, y down, z forward
    pixel = K · lens(x_camera)    ours: (0, 0) is the corner of the top-left pixel; cv2's K, whose pixel centres are at
                                  integers, is this one less half a pixel

A `CameraCalibration` holds either C cameras of one moment (they stand still), or one camera in C frames (it moves).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.camera import PIXEL_CENTER, Camera
from hmrfit.io.image import undistort_points
from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.ops.check import brief_repr, did_you_mean, numbers
from hmrfit.ops.how_many import how_many
from hmrfit.ops.level import unit_up

NEARLY = 1e-2
"""How far a rotation of a file may be from orthonormal: written with two digits it is this far."""

LARGEST_SCALE = 1e6


@dataclass(frozen=True, eq=False)
class CameraCalibration:
    """C calibrated cameras, or C frames of one that moves. Made by `hmrfit.read_calibration`."""

    names: tuple[str, ...]  # of the cameras, or of the frames' images
    camera: Camera  # (C,) pinholes, our pixels
    distortion: tuple[NDArray[np.float64], ...]  # of each, cv2's coefficients k1, k2, p1, p2[, k3, ...]; may be empty
    extrinsics: NDArray[np.float64]  # (C, 3, 4) [R | t], x_camera = R x_world + t, metres
    up: NDArray[np.float64] | None = None  # (3,) points up in the world, where the format says it
    source: str = "given"  # the file
    notes: tuple[str, ...] = ()  # what had to be assumed to read it

    @classmethod
    def of(
        cls,
        matrices: ArrayLike,
        extrinsics: ArrayLike,
        sizes: ArrayLike,
        *,
        distortion: Sequence[ArrayLike] | None = None,
        names: Sequence[str] | None = None,
        up: ArrayLike | None = None,
    ) -> "CameraCalibration":
        """From arrays that you have.

        Args:
            matrices: (C, 3, 3) K as cv2 has it, pixel centres at integers, or (3, 3) of all.
            extrinsics: (C, 3, 4) [R | t], x_camera = R x_world + t, metres.
            sizes: (C, 2) width and height of the images, pixels, or (2,) of all.
            distortion: of each camera, cv2's coefficients. names: of the cameras; by default cam01, cam02, ...
            up: (3,) points up in the world.

        Raises:
            ValueError, TypeError: what was expected, what came.
        """
        poses = numbers(extrinsics, "extrinsics", "(C, 3, 4), [R | t] of each camera")
        if poses.ndim != 3 or poses.shape[1:] != (3, 4):
            raise ValueError(f"extrinsics should be (C, 3, 4), [R | t] of each camera, but have {poses.shape}.")
        C = len(poses)
        K = numbers(matrices, "matrices", "(C, 3, 3), or one (3, 3) of all cameras")
        size = numbers(sizes, "sizes", "(C, 2), or one (width, height) of all cameras")
        for what, values, of_one in (("matrices", K, (3, 3)), ("sizes", size, (2,))):
            if values.shape not in (of_one, (C, *of_one)):
                raise ValueError(
                    f"{what} should be of {how_many(C, 'cameras')} or of all, {(C, *of_one)}, but have {values.shape}."
                )
        K, size = np.broadcast_to(K, (C, 3, 3)), np.broadcast_to(size, (C, 2))
        called = [f"cam{i + 1:02d}" for i in range(C)] if names is None else [str(name) for name in names]
        lenses = [()] * C if distortion is None else list(distortion)
        if len(called) != C or len(lenses) != C:
            raise ValueError(f"names and distortion should be one for each of the {how_many(C, 'cameras')}.")
        rows = zip(called, K, size.tolist(), lenses, poses, strict=True)
        return assembled([CameraRead(n, k, tuple(s), d, E[:, :3], E[:, 3]) for n, k, s, d, E in rows], "given", up)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"CameraCalibration({how_many(len(self), 'cameras')}: {brief_repr(list(self.names), 60)}, from "
            f"{self.source})"
        )

    def index(self, view: int | str) -> int:
        """Which camera, by its place or name. Errors: ValueError, IndexError, naming the nearest."""
        if isinstance(view, str):
            if view not in self.names:
                raise ValueError(
                    f"The calibration has no camera '{view}'.{did_you_mean(view, self.names)} It has: "
                    f"{brief_repr(list(self.names), 200)}."
                )
            return self.names.index(view)
        if not -len(self) <= view < len(self):
            raise IndexError(
                f"The calibration has {how_many(len(self), 'cameras')}, numbered from 0; there is no {view}."
            )
        return view % len(self)

    def select(self, views: Sequence[int | str]) -> "CameraCalibration":
        """Some of the cameras, in the order of their places or names."""
        rows = [self.index(view) for view in views]
        return replace(
            self,
            names=tuple(self.names[i] for i in rows),
            camera=self.camera[rows],
            distortion=tuple(self.distortion[i] for i in rows),
            extrinsics=self.extrinsics[rows],
        )

    def intrinsics(self, view: int | str) -> NDArray[np.float64]:
        """K (3, 3) of a camera as cv2 has it, pixel centres at integers."""
        i = self.index(view)
        (fx, fy), (cx, cy) = self.camera.focal[i].tolist(), (self.camera.center[i] - PIXEL_CENTER).tolist()
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

    def image_size(self, view: int | str) -> tuple[int, int]:
        """Width and height of a camera's images, pixels."""
        width, height = self.camera.size[self.index(view)].tolist()
        return round(width), round(height)

    def undistorted(self, keypoints: ArrayLike, view: int | str) -> NDArray[np.float64]:
        """Keypoints as the pinhole camera would have seen them.

        Args:
            keypoints: (..., 2) or (..., 3) pixels of the full image, as the lens made them, [and confidence].
            view: which camera.

        Returns: an array like it; what the lens model cannot invert has NaN, and confidence 0 where there is one.
        """
        points = np.array(keypoints, np.float64)
        if points.ndim < 1 or points.shape[-1] not in (2, 3):
            raise ValueError(f"keypoints should be (..., 2) or (..., 3), but have the shape {points.shape}.")
        i = self.index(view)
        if not self.distortion[i].any():
            return points
        points[..., :2] = undistort_points(points[..., :2], self.intrinsics(i), self.distortion[i])
        if points.shape[-1] == 3:
            points[..., 2] = np.where(np.isnan(points[..., 0]), 0.0, points[..., 2])
        return points

    def of_person(self, person: PersonKeypoints, view: int | str) -> PersonKeypoints:
        """A person's keypoints with this camera beside them, its lens distortion still in."""
        i = self.index(view)
        lens = self.distortion[i] if self.distortion[i].any() else None
        size = person.image_size or self.image_size(i)
        return replace(person, image_size=size, intrinsics=self.intrinsics(i), distortion=lens)

    def scaled(self, factor: float) -> "CameraCalibration":
        """The same with all lengths times `factor`: 0.001 makes metres of millimetres."""
        factor = float(numbers(factor, "scale", "metres of one unit of the file, above 0", (), 0.0, LARGEST_SCALE))
        if factor <= 0:
            raise ValueError(f"scale should be metres of one unit of the file, above 0, not {factor}.")
        moved = self.extrinsics.copy()
        moved[:, :, 3] *= factor
        return replace(self, extrinsics=moved)

    def with_up(self, up: ArrayLike | None) -> "CameraCalibration":
        """The same, which knows what points up in the world."""
        return replace(self, up=None if up is None else unit_up(up).numpy())

    @property
    def positions(self) -> NDArray[np.float64]:
        """(C, 3) where the cameras are in the world, metres."""
        return -(self.extrinsics[:, :, :3].transpose(0, 2, 1) @ self.extrinsics[:, :, 3:])[..., 0]


@dataclass(frozen=True)
class CameraRead:
    """One camera with the numbers of a file, checked by `assembled`."""

    name: str
    matrix: Any  # (3, 3) K
    size: tuple[float, float]  # width, height
    distortion: Any = ()  # cv2's coefficients
    rotation: Any = None  # (3, 3); None: the world is this camera's frame
    translation: Any = None  # (3,) metres
    centers_at_integers: bool = True  # cv2's pixels, which K is for


def assembled(
    cameras: Sequence[CameraRead], source: str, up: ArrayLike | None = None, notes: Sequence[str] = ()
) -> CameraCalibration:
    """Checked cameras of one file as a calibration. Errors: ValueError, TypeError, naming file and camera."""
    if not cameras:
        raise ValueError(f"'{source}' holds no camera.")
    names = tuple(one.name for one in cameras)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"'{source}' has two cameras named '{twice}'. Give each a name of its own.")
    try:
        pinholes = [_pinhole(one) for one in cameras]
        lenses = tuple(_lens(one) for one in cameras)
        poses = np.stack([_pose(one) for one in cameras])
    except (ValueError, TypeError) as error:
        raise ValueError(f"'{source}': {error}") from None
    return CameraCalibration(names, Camera.cat(pinholes), lenses, poses, None, source, tuple(notes)).with_up(up)


def _pinhole(one: CameraRead) -> Camera:
    try:
        return Camera.from_intrinsics(one.matrix, *one.size, pixel_centers_at_integers=one.centers_at_integers)
    except (ValueError, TypeError) as error:
        raise ValueError(f"camera '{one.name}': {error}") from None


def _lens(one: CameraRead) -> NDArray[np.float64]:
    """The coefficients, as many as cv2 takes."""
    given = numbers(one.distortion, f"camera '{one.name}': the lens distortion", "numbers k1, k2, p1, p2, k3, ...")
    given = np.trim_zeros(np.ravel(given), "b")
    length = next((n for n in (4, 5, 8, 12, 14) if n >= len(given)), None)
    if length is None:
        raise ValueError(
            f"camera '{one.name}': the lens distortion has {how_many(len(given), 'numbers')}; cv2 has at most 14."
        )
    return np.pad(given, (0, length - len(given)))


def _pose(one: CameraRead) -> NDArray[np.float64]:
    """[R | t], R made orthonormal to the last digit."""
    what = f"camera '{one.name}': the"
    rotation = numbers(np.eye(3) if one.rotation is None else one.rotation, f"{what} rotation", "a matrix (3, 3)")
    shift = numbers(np.zeros(3) if one.translation is None else one.translation, f"{what} translation", "three numbers")
    if rotation.shape != (3, 3) or shift.size != 3:
        raise ValueError(
            f"{what} rotation and translation should be (3, 3) and (3,), but are {rotation.shape} and {shift.shape}."
        )
    u, _, vt = np.linalg.svd(rotation)
    near = u @ vt
    if np.linalg.det(near) < 0 or np.abs(near - rotation).max() > NEARLY:
        raise ValueError(f"{what} rotation is none (or a reflection): {brief_repr(rotation.round(4).tolist(), 200)}.")
    return np.concatenate([near, shift.reshape(3, 1)], 1)


def stands_upright(extrinsics: NDArray[np.float64], up: ArrayLike) -> bool:
    """Whether most cameras see `up` pointing to the top or the sides of their images, as cameras on tripods do."""
    along = extrinsics[:, 1, :3] @ unit_up(up).numpy()  # camera's y axis, down in the image
    return bool(np.median(along) < 0.5)
