"""The six part labels of a body's vertices: by its skinning weights, or from a file."""

import numpy as np
import pytest
from helpers.bodies import free_body
from helpers.fingered_body import fingered_body
from helpers.synthetic_body import synthetic_body, synthetic_hand

from hmrfit.body.parts import labels_by_weights, part_labels, read_part_labels
from hmrfit.body.skeleton import PART_NAMES, SMPLH, SMPLX
from hmrfit.body.smpl import SmplBody


def test_labels_by_weights_are_the_free_bodys():
    body = free_body()
    assert (labels_by_weights(body) == body.part_labels).all()
    bare = body.to()
    bare.part_labels = None
    assert (part_labels(bare) == body.part_labels).all()


@pytest.mark.parametrize("skeleton", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_fingers_are_of_their_arm(skeleton):
    assert (labels_by_weights(fingered_body(skeleton)) == free_body().part_labels).all()


def test_a_hand_is_of_its_arm():
    assert set(labels_by_weights(SmplBody(synthetic_hand("left"))).tolist()) == {PART_NAMES.index("left_arm") + 1}


def test_joints_of_unknown_names_have_no_six_parts():
    data = synthetic_body((-1, 0, 1)) | {"joint_names": np.array(["base", "axle", "wheel"])}
    with pytest.raises(ValueError, match="root joint 'base' is of none of the six parts"):
        labels_by_weights(SmplBody(data))


def test_label_files(tmp_path):
    path = tmp_path / "labels.npy"
    np.save(path, np.array([1, 6, 3]))
    assert read_part_labels(path, 3).tolist() == [1, 6, 3]
    with pytest.raises(ValueError, match="should hold 4 whole numbers"):
        read_part_labels(path, 4)
    np.save(path, np.array([0, 6, 3]))
    with pytest.raises(ValueError, match=r"1 to 6 \(head, torso.*from 0 to 6"):
        read_part_labels(path, 3)
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        read_part_labels(path, 3)
    with pytest.raises(FileNotFoundError, match="part labels"):
        read_part_labels(tmp_path / "none.npy", 3)
