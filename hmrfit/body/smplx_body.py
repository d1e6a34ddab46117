"""The smplx package behind our body protocol: the reference that `SmplBody` is compared with, and a second opinion.

The package reads its own files by running their pickles; here it never opens one: it is handed arrays that
`hmrfit.body.files` read, and rotation matrices (its `pose2rot=False`). Whatever precision it computes in, it holds the
body's numbers in float32; the 21 joints that it appends by SMPL-H's vertex numbers are dropped.

smplx is licensed for non-commercial research only; it is an extra, and nothing else in hmrfit needs it.
"""

import contextlib
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch

from hmrfit.body.files import read_body_file
from hmrfit.body.smpl import SmplBody
from hmrfit.types import BodyOutput, BodyParams


def _smplx() -> ModuleType:
    """The package; where it is missing, the error message says how to install it."""
    try:
        return importlib.import_module("smplx")
    except ImportError as error:
        raise ImportError(
            f"The smplx package is not installed ({error}): pip install 'hmrfit[smplx]'. Its licence allows only "
            "non-commercial research (https://github.com/vchoutas/smplx). Without it, SmplBody poses the same files."
        ) from None


class SmplxBody:
    """`smplx.SMPL` on any SMPL-format arrays, with the names, landmarks and conventions of `SmplBody`."""

    def __init__(
        self, data: Mapping[str, np.ndarray], dtype: torch.dtype = torch.float32, shape_count: int = 10
    ) -> None:
        """Args:
            data: the arrays of an SMPL-format file, as `read_body_file` returns them (SMPL, SMPL-H, MANO, SMPL-X).
            dtype: the precision of the arithmetic; the body's numbers are rounded to float32 by the package.
            shape_count: how many shape components to use at most.
        Raises:
            ImportError: smplx is not installed; says how, and under which licence.
        """
        ours = SmplBody(data, dtype, shape_count)
        self.faces = ours.faces  # (F, 3)
        self.skeleton = ours.skeleton
        self.parents, self.joint_names = ours.parents, ours.joint_names
        self.landmark_names = ours.landmark_names
        self.shape_count = ours.shape_count
        self.landmark_regressor = ours.landmark_regressor  # (K, V)
        self.module = _module(data, dtype, ours.shape_count)

    @classmethod
    def from_file(cls, path: str | Path, dtype: torch.dtype = torch.float32, shape_count: int = 10) -> "SmplxBody":
        """From `.npz` or `.pkl`, without running it. Errors: those of `read_body_file`."""
        return cls(read_body_file(path), dtype, shape_count)

    def __call__(self, params: BodyParams, vertices: bool = True) -> BodyOutput:
        """Pose B bodies; see `SmplBody.__call__`. The package computes the mesh whether or not it is asked for."""
        J = len(self.parents)
        missing = self.shape_count - params.betas.shape[1]
        out = self.module(
            betas=torch.nn.functional.pad(params.betas, (0, max(missing, 0))),
            global_orient=params.global_orient[:, None],
            body_pose=params.body_pose,
            transl=params.transl,
            pose2rot=False,
        )
        landmarks = self.landmark_regressor @ out.vertices
        return BodyOutput(out.joints[:, :J], landmarks, out.vertices if vertices else None)


def _module(data: Mapping[str, np.ndarray], dtype: torch.dtype, shape_count: int) -> torch.nn.Module:
    """smplx.SMPL without parameters of its own, quiet, its appended joints pointing at vertex 0."""
    smplx = _smplx()
    vertex_ids = dict.fromkeys(importlib.import_module("smplx.vertex_ids").vertex_ids["smplh"], 0)
    absent = dict.fromkeys(("betas", "body_pose", "global_orient", "transl"), False)
    with contextlib.redirect_stdout(io.StringIO()):  # it warns of ten shape components, which SMPL itself has
        module = smplx.SMPL(
            "",
            data_struct=SimpleNamespace(**data),
            vertex_ids=vertex_ids,
            dtype=dtype,
            **{f"create_{name}": create for name, create in absent.items()},
        )
    # it stops at 10 of its own accord
    module.shapedirs = torch.tensor(data["shapedirs"][..., :shape_count], dtype=torch.float32).to(dtype)
    return module
