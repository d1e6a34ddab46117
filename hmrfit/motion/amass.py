"""AMASS npz and its relatives: `poses` (T, 72 | 156 | 165) or the SMPL-X columns, `trans`, rate, betas.

Columns of `poses`: global orientation 3, then 21 body joints; SMPL (72) adds the two hands as single joints; SMPL+H
(156) and SMPL-X (165, after jaw and eyes) add 15 finger joints a hand instead, which SMPL's hand joints cannot take:
they are left out and the hands count as not driven. The world of AMASS has z up; it is kept (`up="z"`), and
`Motion.y_up` turns it.
"""

import numpy as np
from numpy.typing import NDArray

from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX
from hmrfit.io.bounded import advising, read_npz
from hmrfit.io.budget import check_bytes
from hmrfit.motion.motion import FRAME_BYTES, N_JOINTS, Motion

_RATES = ("mocap_framerate", "mocap_frame_rate", "fps", "frame_rate", "framerate")
_WANTED = ("format", "poses", "trans", "transl", "betas", "gender", "root_orient", "pose_body", *_RATES)
_LAYOUTS = {skeleton.pose_size: skeleton for skeleton in (SMPL, SMPLH, SMPLX)}


def _read(data: bytes) -> dict[str, NDArray]:
    """The arrays of an npz; whatever would need a pickle is left out."""
    with advising("Copy it again."):
        return read_npz(data, _WANTED, what="AMASS npz: the file")


def _poses(arrays: dict[str, NDArray]) -> NDArray:
    if "poses" in arrays:
        return arrays["poses"]
    if "root_orient" in arrays and "pose_body" in arrays:
        body = np.concatenate([arrays["root_orient"], arrays["pose_body"]], axis=-1)
        return np.pad(body, ((0, 0), (0, SMPLX.pose_size - body.shape[-1])))
    raise ValueError(
        f"AMASS npz: no 'poses' (nor 'root_orient' with 'pose_body'); found {', '.join(arrays) or 'nothing'}."
        " Shape files (shape.npz) and body models hold no motion."
    )


def _rate(arrays: dict[str, NDArray]) -> float | None:
    for key in _RATES:
        if key in arrays:
            rate = arrays[key].reshape(-1)
            if rate.size != 1 or rate.dtype.kind not in "fiu":
                raise ValueError(f"AMASS npz: '{key}' should be one number, but is {rate.dtype} {rate.shape}.")
            return float(rate[0])
    return None


def motion_from_amass(data: bytes, name: str = "", fps: float | None = None) -> Motion:
    """The bytes of an AMASS npz as a Motion, its world (z up) as it is.

    Args:
        fps: the rate, where the file has none.

    Raises:
        ValueError: not an npz, Python objects inside, no poses, unknown width, NaN, no rate anywhere, or a result of
            hmrfit, which is in the camera's frame.
    """
    arrays = _read(data)
    if str(arrays.get("format", "")).startswith("hmrfit result"):
        raise ValueError(
            "this is a saved result, in the frame of its camera (y down). Write a motion file from it: "
            "hmrfit.FitResult.load(path).save_motion('walk.npz')."
        )
    poses = np.asarray(_poses(arrays))
    if poses.ndim != 2 or poses.shape[1] not in _LAYOUTS or poses.dtype.kind not in "fiu":
        raise ValueError(f"AMASS npz: 'poses' is {poses.dtype} {poses.shape}; expected (T, 72), (T, 156) or (T, 165).")
    rate = fps or _rate(arrays)
    if rate is None:
        raise ValueError(f"AMASS npz: no frame rate ({', '.join(_RATES)}). Give it as fps=.")
    check_bytes(FRAME_BYTES * len(poses), "AMASS npz: it")
    layout = _LAYOUTS[poses.shape[1]]
    joints = np.zeros((len(poses), N_JOINTS, 3))
    n_known = len(layout.body_joints)  # the first ones of either
    joints[:, :n_known] = poses[:, : 3 * n_known].reshape(len(poses), n_known, 3)
    transl = np.asarray(arrays.get("trans", arrays.get("transl", np.zeros((len(poses), 3)))), float)
    betas = np.asarray(arrays["betas"], float).reshape(-1) if "betas" in arrays else None
    driven, source = np.arange(N_JOINTS) < n_known, f"amass_{layout.surface}"
    return Motion(joints, transl, rate, driven, name=name, source=source, betas=betas, up="z")
