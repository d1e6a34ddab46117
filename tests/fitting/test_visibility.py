"""How much of a person is seen does not depend on the set's length."""

import pytest
import torch

from hmrfit.fitting.visibility import hidden_fraction
from hmrfit.keypoints import COCO17, LSP14, MEDIAPIPE33, OPENPOSE25, SMPL24
from hmrfit.ops.presence import NOTHING, SURE
from hmrfit.types import Keypoints


def seen(names: tuple[str, ...], hidden: tuple[str, ...] = ()) -> Keypoints:
    confidence = torch.tensor([[0.0 if any(part in name for part in hidden) else 1.0 for name in names]]).double()
    return Keypoints(torch.zeros(1, len(names), 2).double(), confidence, names)


@pytest.mark.parametrize("names", [COCO17, LSP14, OPENPOSE25, MEDIAPIPE33, SMPL24])
def test_all_of_a_body(names):
    assert hidden_fraction(seen(names)).item() == 0


@pytest.mark.parametrize("names", [COCO17, LSP14, OPENPOSE25, MEDIAPIPE33])
def test_the_legs_are_six_of_thirteen_parts_whatever_the_set(names):
    legs = seen(names, ("hip", "knee", "ankle", "heel", "toe", "foot", "pelvis"))
    assert hidden_fraction(legs).item() == pytest.approx(6 / 13)


def test_the_face_counts_once():
    assert hidden_fraction(seen(COCO17, ("eye", "ear"))).item() == 0
    assert hidden_fraction(seen(COCO17, ("eye", "ear", "nose"))).item() == pytest.approx(1 / 13)


def test_names_that_are_never_seen_change_nothing():
    padded = (*COCO17, "left_big_toe", "right_heel", "head_top", "my_own_point")
    more = Keypoints(torch.zeros(1, 21, 2).double(), torch.tensor([[1.0] * 16 + [0.0] * 5]).double(), padded)
    less = Keypoints(torch.zeros(1, 17, 2).double(), torch.tensor([[1.0] * 16 + [0.0]]).double(), COCO17)
    assert torch.equal(hidden_fraction(more), hidden_fraction(less))


def test_a_part_fades_with_its_confidence():
    keypoints = seen(COCO17)
    keypoints.confidence[0, COCO17.index("left_wrist")] = 0.5 * (NOTHING + SURE)
    assert hidden_fraction(keypoints).item() == pytest.approx(0.5 / 13)


def test_the_tip_of_a_foot_is_no_hand():
    """MediaPipe's `left_foot_index`: with the arms hidden, they are hidden."""
    arms = seen(MEDIAPIPE33, ("elbow", "wrist", "pinky", "index_knuckle", "thumb"))
    assert hidden_fraction(arms).item() == pytest.approx(4 / 13)
