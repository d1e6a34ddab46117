"""Landmarks: what a file brings, what SMPL's vertices give, what stands in where neither does."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.synthetic_body import synthetic_body, synthetic_hand, synthetic_smplx

from hmrfit.body.landmarks import (
    FINGER_KNUCKLES,
    JOINT_MIXTURES,
    MANO_VERTEX_COUNT,
    SMPL_VERTEX_COUNT,
    SMPL_VERTICES,
    SMPLX_VERTEX_COUNT,
    SMPLX_VERTICES,
    landmarks_of,
)
from hmrfit.body.skeleton import SMPL, SMPLX
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import HANDS42, SMPL24, keypoint_sets, mirrored_name


@pytest.mark.parametrize("name", keypoint_sets())
def test_every_built_in_set_is_defined_on_the_free_body(name):
    assert [point for point in keypoint_sets()[name] if not free_body().has_point(point)] == []


def test_the_free_bodys_own_rows_are_means():
    rows = free_body().landmark_regressor
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-14)  # a hundred roundings


def test_a_body_of_smpls_size_gets_smpls_vertices():
    data = {
        "v_template": np.random.default_rng(0).normal(size=(SMPL_VERTEX_COUNT, 3)),
        "J_regressor": np.eye(24, SMPL_VERTEX_COUNT),
    }
    names, rows = landmarks_of(data, SMPL)
    assert set(SMPL_VERTICES) | set(JOINT_MIXTURES) == set(names)
    points = dict(zip(names, rows @ data["v_template"], strict=True))
    np.testing.assert_array_equal(points["nose"], data["v_template"][332])
    np.testing.assert_array_equal(points["left_ear"], data["v_template"][583])
    middle = (data["v_template"][1] + data["v_template"][2]) / 2
    np.testing.assert_allclose(points["mid_hip_coco"], middle, atol=1e-15)


def test_openpose_coco_and_lsp_are_defined_on_a_body_of_smpls_size():
    """What SMPL's own users ask for first needs no regressor of others."""
    known = {*SMPL24, *SMPL_VERTICES, *JOINT_MIXTURES}
    for name in ("smpl24", "coco17", "openpose25", "openpose18", "openpose25b", "lsp14", "mpii16"):
        assert set(keypoint_sets()[name]) <= known, name


TIPS = [f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "pinky")]


def of_the_package(kind: str) -> dict[str, int]:
    """Vertex numbers of the smplx package under our names."""
    ids = pytest.importorskip("smplx.vertex_ids").vertex_ids[kind]
    words = {"eye": "eye", "ear": "ear", "BigToe": "big_toe", "SmallToe": "small_toe", "Heel": "heel"}
    words |= {tip.removesuffix("_tip"): tip for tip in TIPS}
    sides = {"l": "left_", "r": "right_"}
    return {sides[name[0].lower()] + words[name[1:]]: i for name, i in ids.items() if name != "nose"} | {
        "nose": ids["nose"]
    }


@pytest.mark.parametrize(("kind", "table"), [("smplh", SMPL_VERTICES), ("smplx", SMPLX_VERTICES)])
def test_vertices_are_the_smplx_packages(kind, table):
    assert {name: vertex for name, vertex in table.items() if name != "head_top"} == of_the_package(kind)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hand_of_manos_size_gets_its_tips_and_knuckles(side):
    data = synthetic_hand(side, vertices=MANO_VERTEX_COUNT)
    body = SmplBody(data)
    ids = pytest.importorskip("smplx.vertex_ids").vertex_ids["mano"]
    hand = [name for name in HANDS42 if name.startswith(side)]
    bent = body.neutral(1)
    bent.body_pose[:] = torch.linalg.matrix_exp(torch.tensor([[0, -0.9, 0], [0.9, 0, 0.2], [0, -0.2, 0]]).double())
    assert all(body.has_point(name) for name in hand)
    points = dict(zip(hand, body.points(hand).pose(bent).points[0], strict=True))
    posed, mesh = dict(zip(body.joint_names, body(bent).joints[0], strict=True)), body(bent).mesh[0]
    for finger, vertex in ids.items():
        torch.testing.assert_close(points[f"{side}_{finger}_tip"], mesh[vertex])
    for name, joint in (
        ("index_knuckle", "index1"),
        ("thumb_cmc", "thumb1"),
        ("thumb_ip", "thumb3"),
        ("ring_dip", "ring3"),
    ):
        torch.testing.assert_close(points[f"{side}_{name}"], posed[f"{side}_{joint}"], rtol=0, atol=1e-12)


def test_smplx_has_the_sets_that_smpl_has_and_both_hands():
    data = synthetic_smplx(vertices=SMPLX_VERTEX_COUNT, shapes=1)
    known = {*landmarks_of(data, SMPLX)[0], *SMPLX.names}
    for name in ("coco17", "openpose25", "openpose18", "openpose25b", "lsp14", "mpii16"):
        assert set(keypoint_sets()[name]) <= known, name
    assert all(SmplBody(data).has_point(name) for name in HANDS42)


def test_left_and_right_are_both_there():
    for table in (SMPL_VERTICES, SMPLX_VERTICES, JOINT_MIXTURES, FINGER_KNUCKLES):
        assert all(mirrored_name(name) in table for name in table)
    for name, mixture in JOINT_MIXTURES.items():
        mirrored = {mirrored_name(joint): share for joint, share in mixture.items()}
        assert JOINT_MIXTURES[mirrored_name(name)] == mirrored
        assert sum(mixture.values()) == 1 and set(mixture) <= set(SMPL24)


def test_a_file_with_its_own_landmarks_keeps_them():
    data = synthetic_body()
    regressor = np.zeros((2, len(data["v_template"])))
    regressor[0, 5], regressor[1, :4] = 1, 0.25
    body = SmplBody(data | {"landmark_names": np.array(["tip", "palm"]), "landmark_regressor": regressor})
    assert body.landmark_names == ("tip", "palm")
    np.testing.assert_array_equal(body.landmark_regressor, regressor)


def test_a_body_may_have_none_and_is_posed_all_the_same():
    body = SmplBody(synthetic_body((-1, 0, 1)) | {"joint_names": np.array(["base", "axle", "wheel"])})
    assert body.landmark_names == () and not body.has_point("nose")
    out = body(body.neutral(2), vertices=False)
    assert out.landmarks.shape == (2, 0, 3) and out.joints.shape == (2, 3, 3)
