"""Warnings that only the outcome can give: shapes that few people have, masks that do not meet their keypoints."""

import numpy as np
import pytest
from helpers.bodies import demo_points, free_body

import hmrfit
from hmrfit.cli.demo import DemoTruth, make_truth
from hmrfit.io.photo import read_photo
from hmrfit.make_result import compute_together
from hmrfit.pipeline import Pipeline
from hmrfit.render.backends.builtin import BuiltinRenderer

SIZE = (480, 360)


@pytest.fixture(scope="module")
def truth() -> DemoTruth:
    return make_truth(free_body(), SIZE[1])


@pytest.fixture(scope="module")
def mask(truth: DemoTruth) -> np.ndarray:
    body = free_body()
    return BuiltinRenderer().silhouette(body(truth.params).vertices, body.faces, truth.camera)[0].numpy() > 0


def warnings_of(points: np.ndarray, *masks: np.ndarray | None, config: dict[str, str] | None = None) -> list[list[str]]:
    """Of a fit with the people's masks, if there are any."""
    known = [hmrfit.Mask(list(masks))] if masks else []
    return hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, measurements=known, config=config).warnings


def test_a_good_fit_has_no_warning(truth, mask):
    points = truth.clean.xy[0].numpy()
    assert warnings_of(points) == [[]]
    assert warnings_of(points, mask) == [[]]


def test_keypoints_that_the_body_cannot_reach_are_named(truth):
    """An ankle beside the head; a leg of somebody who stands a metre farther left is left out, or named too."""
    points = truth.clean.xy[0].numpy().copy()
    points[15] = points[0] + 5.0
    (warnings,) = warnings_of(points)
    (unmet,) = [warning for warning in warnings if warning.startswith("The body cannot reach")]
    assert "left_ankle" in unmet and "right_" not in unmet and "nose" not in unmet
    points = truth.clean.xy[0].numpy().copy()
    points[[14, 16]] -= [150.0, 20.0]
    (warnings,) = warnings_of(points)
    assert any(w.startswith("The keypoints of the right leg look like another person's") for w in warnings)
    (warnings,) = warnings_of(points, config={"PRIORS.LABELS": ""})
    (unmet,) = [warning for warning in warnings if warning.startswith("The body cannot reach")]
    assert "right_knee" in unmet and "right_ankle" in unmet and "left_" not in unmet


@pytest.mark.parametrize("height", [0.6, 2.5])
def test_a_shape_that_few_people_have(truth, height):
    known, points = [hmrfit.Height(height)], truth.clean.xy[0].numpy()
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, measurements=known)
    reached = np.abs(result.betas[0]).max()
    assert reached > 4
    assert any(f"|beta| reaches {reached:.1f}" in warning for warning in result.warnings[0])


def test_an_inverted_mask(truth, mask):
    (warnings,) = warnings_of(truth.clean.xy[0].numpy(), ~mask)
    assert any(warning.startswith("The mask looks inverted") for warning in warnings)


def test_a_mask_that_does_not_meet_its_keypoints(truth, mask):
    """Somebody else's, beside; of two people only the one who has it is warned."""
    points = truth.clean.xy[0].numpy()
    elsewhere = np.roll(mask, 160, 1)
    one, other, third = warnings_of(np.stack([points] * 3), mask, elsewhere, None)
    assert one == [] and third == []
    assert any("of the seen keypoints lie in the mask: is it another person's" in warning for warning in other)


def test_half_a_person_behind_something_is_well(truth, mask):
    """The mask ends at the hips: keypoints below were labelled all the same."""
    points = truth.clean.xy[0].numpy()
    cut = mask & (np.arange(SIZE[1])[:, None] < points[[13, 14], 1].mean())
    assert warnings_of(points, cut) == [[]]


def test_unsure_keypoints_beside_the_mask_say_little(truth, mask):
    """Nine of seventeen lie elsewhere, found with a confidence of 0.05."""
    points = np.concatenate([truth.clean.xy[0].numpy(), np.ones((17, 1))], 1)
    points[8:, 2] = 0.05
    points[8:, 0] -= 60
    (warnings,) = warnings_of(points, mask)
    assert not any("mask" in warning for warning in warnings)


def test_a_batch_computes_what_each_result_does_alone() -> None:
    points = demo_points(480)
    moved = [points + np.array([dx, 0, 0]) for dx in (0, 20)]
    fitted = lambda: Pipeline.of().fit_photos([read_photo(None, p, "coco17", image_size=(640, 480)) for p in moved])  # noqa: E731
    alone, together = fitted(), fitted()
    compute_together(together)
    for one, other in zip(alone, together, strict=True):
        assert "joint_covariance" in vars(other)
        np.testing.assert_allclose(one.joint_covariance, other.joint_covariance, rtol=1e-6, atol=1e-9)
