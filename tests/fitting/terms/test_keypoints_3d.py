"""Points measured in 3D: the term, its derivative, other frames, and what they do to a fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points, free_body
from helpers.fits import people
from helpers.measured import at, check_measured, draw, knowing, moved, other_frame, refitted

from hmrfit.body.smpl import FARTHEST
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Known, Staged
from hmrfit.fitting.terms.keypoints_3d import (
    WEIGHT,
    WIDE,
    WIDE_WEIGHT,
    Keypoints3D,
    Keypoints3DTerm,
    Points3D,
)
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix

POINTS = free_body().points(SMPL24)
TERMS = (Keypoints3DTerm(POINTS), Keypoints3DTerm(POINTS, relative=True, name="relative"))
EACH = pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)


def measured(e: Linearization) -> Points3D:
    """All joints, 5 cm off, some hardly trusted."""
    return Points3D(POINTS.pose(e.state.params).points + 0.05 * draw(3, 24, 3), torch.rand(3, 24).double())


def known() -> tuple[Linearization, Points3D]:
    e = at()
    record = measured(e)
    return knowing(e, keypoints_3d=record), record


@EACH
def test_derivatives_and_sums(term: Keypoints3DTerm):
    check_measured(term, known()[0])


def test_points_are_metres():
    """Up to 100 for half of the depths, up to FARTHEST for any coordinate."""
    photo = read_photo(None, demo_points(480), "coco17", image_size=(640, 480))

    def read(depth: float, farthest: float) -> Known:
        xyz = np.full((24, 3), depth)
        xyz[0, 0] = farthest
        return Keypoints3D(xyz, SMPL24).read(photo, free_body())

    assert isinstance(read(100.0, FARTHEST).record, Points3D)
    for wrong in ((np.nextafter(100.0, np.inf), 1.0), (100.0, np.nextafter(FARTHEST, np.inf))):
        with pytest.raises(ValueError, match="millimetres"):
            read(*wrong)


@EACH
def test_without_points_there_is_an_error_message(term: Keypoints3DTerm):
    with pytest.raises(ValueError, match=f"The term '{Keypoints3D.name}' looks at a measurement that was not given"):
        term.residuals(at())


def test_relative_points_do_not_depend_on_where_they_are():
    e, record = known()
    far = knowing(e, keypoints_3d=replace(record, xyz=record.xyz + 5))
    absolute, relative = TERMS
    torch.testing.assert_close(relative.residuals(far), relative.residuals(e), rtol=0, atol=1e-10)
    assert (absolute.residuals(far) - absolute.residuals(e)).abs().max() > 0.1


@EACH
def test_in_another_cameras_frame_bodies_and_points_have_the_same_residuals(term: Keypoints3DTerm):
    """The lengths of the residuals; their axes turn with the frame."""
    e, record = known()
    rotation, translation = other_frame()
    there = Keypoints3D(record.xyz[0]).seen_from(record, rotation, translation)
    found = term.residuals(knowing(moved(e, rotation, translation), keypoints_3d=there)).unflatten(1, (24, 3))
    expected = term.residuals(e).unflatten(1, (24, 3)) @ rotation.mT
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_moving_points_leaves_the_record_as_it_was():
    _, record = known()
    before = record.xyz.clone()
    there = Keypoints3D(record.xyz[0]).seen_from(record, rotvec_to_matrix(draw(3, 3)), draw(3, 3))
    assert torch.equal(record.xyz, before) and torch.equal(there.confidence, record.confidence)


def test_points_behind_a_camera_are_refused_once_they_are_in_its_frame():
    _, record = known()
    points = Keypoints3D(record.xyz[0])
    points.check_in_camera(record)
    about = torch.diag(torch.tensor([-1.0, 1.0, -1.0]).double()).expand(3, 3, 3)
    behind = points.seen_from(record, about, torch.zeros(3, 3).double())
    with pytest.raises(ValueError, match="keypoints_3d lie behind the camera"):
        points.check_in_camera(behind)
    replace(points, relative=True).check_in_camera(behind)


def test_points_are_known_in_every_view():
    points = Keypoints3D(draw(24, 3))
    assert points.in_view(1, 3) is points


def test_points_in_3d_make_the_fit_good():
    """24 joints with 1 cm of noise: the error falls to about that."""
    joints = people(12, "coco17", noise=0.01).joints
    record = Points3D(joints + 0.01 * draw(12, 24, 3), torch.ones(12, 24).double())
    wide = Staged(Keypoints3DTerm(POINTS, sigma=WIDE, name="wide"), 0.0, WIDE_WEIGHT)
    final = Staged(Keypoints3DTerm(POINTS), WEIGHT)
    without, better = refitted(12, (Keypoints3D.name, record), wide, final)
    assert without > 0.05 and better < 0.02
