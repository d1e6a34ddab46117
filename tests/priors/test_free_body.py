"""The shipped free body: closed, symmetric, in SMPL's format, with everything where it belongs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

FILE = Path(__file__).parents[2] / "priors" / "free_body.npz"
FLIP = np.array([-1.0, 1.0, 1.0])
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]


@pytest.fixture(scope="module")
def body() -> dict[str, np.ndarray]:
    with np.load(FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def places(body) -> dict[str, np.ndarray]:
    """Joints and landmarks of the template, by name."""
    points = np.concatenate([body["J_regressor"], body["landmark_regressor"]]) @ body["v_template"]
    return dict(zip([*body["joint_names"], *body["landmark_names"]], points, strict=True))


def mirrored_names(names: np.ndarray) -> list[int]:
    swap = {"left_": "right_", "right": "left_"}
    other = [swap[n[:5]] + n.partition("_")[2] if n[:5] in swap else n for n in names]
    return [list(names).index(n) for n in other]


def posed(body, local: np.ndarray, betas: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """SMPL's formula, written slowly: vertices (V, 3) and joints (24, 3) for local rotations (24, 3, 3)."""
    shaped = body["v_template"] + (0 if betas is None else body["shapedirs"] @ betas)
    joints = body["J_regressor"] @ shaped
    rest = shaped + body["posedirs"] @ (local[1:] - np.eye(3)).ravel()
    world, place = local.copy(), joints.astype(float)
    for j in range(1, 24):
        world[j] = world[PARENTS[j]] @ local[j]
        place[j] = place[PARENTS[j]] + world[PARENTS[j]] @ (joints[j] - joints[PARENTS[j]])
    moved = np.einsum("kij,kvj->kvi", world, rest[None] - joints[:, None]) + place[:, None]
    return np.einsum("vk,kvi->vi", body["weights"], moved), place


def turned(**degrees: tuple[float, float, float]) -> np.ndarray:
    names = list(np.load(FILE)["joint_names"])
    local = np.tile(np.eye(3), (24, 1, 1))
    for name, vector in degrees.items():
        local[names.index(name)] = Rotation.from_rotvec(np.deg2rad(vector)).as_matrix()
    return local


def test_shapes_and_types(body):
    v, f = len(body["v_template"]), len(body["f"])
    assert 6500 <= v <= 7200 and f == 2 * v - 4  # a closed surface without handles: V − E + F = 2
    for name, shape in {
        "v_template": (v, 3),
        "shapedirs": (v, 3, 10),
        "posedirs": (v, 3, 207),
        "J_regressor": (24, v),
        "weights": (v, 24),
        "landmark_regressor": (len(body["landmark_names"]), v),
    }.items():
        assert body[name].shape == shape and body[name].dtype == np.float32 and np.isfinite(body[name]).all(), name
    assert body["f"].dtype == np.uint32 and body["f"].max() == v - 1
    assert body["kintree_table"].dtype == np.int64
    assert body["kintree_table"][0].tolist() == [2**32 - 1, *PARENTS[1:]]
    assert FILE.stat().st_size < 20e6


def test_says_where_it_comes_from(body):
    meta = json.loads(str(body["meta"]))
    assert {"version", "anny", "seed", "command"} <= set(meta) and "unit variance" in meta["betas"]
    card = FILE.with_suffix(".md").read_text()
    assert "unit variance" in card and "Apache" in card and meta["command"] in card
    assert all(f"`{name.removeprefix('left_')}`" in card for name in body["landmark_names"] if name[:6] != "right_")


def test_surface_is_closed_and_faces_outwards(body):
    mesh = trimesh.Trimesh(body["v_template"], body["f"].astype(int), process=False)
    assert mesh.is_watertight and mesh.is_winding_consistent and mesh.body_count == 1
    assert 0.05 < mesh.volume < 0.09  # cubic metres; inside out would be negative


def winding(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How often the surface (F, 3, 3) goes round each point: the sum of solid angles over 4π."""
    a, b, c = np.moveaxis(triangles[None] - points[:, None, None], 2, 0)
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return np.arctan2((a * np.cross(b, c)).sum(-1), below).sum(1) / (2 * np.pi)


@pytest.mark.parametrize("component", range(10))
@pytest.mark.parametrize("beta", [-3, 3])
def test_shapes_stay_people(body, component, beta):
    vertices = body["v_template"] + beta * body["shapedirs"][..., component]
    mesh = trimesh.Trimesh(vertices, body["f"].astype(int), process=False)
    assert 0.03 < mesh.volume < 0.14
    assert 1.3 < np.ptp(vertices[:, 1]) < 2.1
    joints = body["J_regressor"] @ vertices
    inner = joints[[0, 1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21]]
    np.testing.assert_allclose(winding(vertices[body["f"].astype(int)], inner), 1, atol=1e-3)  # inside, exactly once


def test_everything_is_its_own_mirror_image(body):
    mirror, joints = body["mirror"], mirrored_names(body["joint_names"])
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    assert (body["v_template"][mirror] * FLIP == body["v_template"]).all()
    assert (body["weights"][mirror][:, joints] == body["weights"]).all()
    assert (body["J_regressor"][joints][:, mirror] == body["J_regressor"]).all()
    landmarks = mirrored_names(body["landmark_names"])
    assert (body["landmark_regressor"][landmarks][:, mirror] == body["landmark_regressor"]).all()
    assert (body["shapedirs"][mirror] * FLIP[:, None] == body["shapedirs"]).all()
    rotation_sign = np.tile(np.outer(FLIP, FLIP).ravel(), 23)  # R ↦ S R S
    per_joint = body["posedirs"].reshape(-1, 3, 23, 9)[mirror][:, :, np.array(joints)[1:] - 1].reshape(-1, 3, 207)
    assert (per_joint * FLIP[:, None] * rotation_sign == body["posedirs"]).all()
    sides = np.array([0, 1, 2, 4, 3, 6, 5])
    assert (sides[body["part_labels"]][mirror] == body["part_labels"]).all()
    edges = {tuple(sorted(e)) for f in body["f"].tolist() for e in (f[:2], f[1:], f[::2])}
    assert {tuple(sorted(mirror[list(e)].tolist())) for e in edges} == edges


def test_weights_and_regressors_are_means(body):
    for name in ("weights", "J_regressor", "landmark_regressor"):
        rows = body[name]
        assert (rows >= 0).all(), name
        np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6, err_msg=name)  # float32 rounding of up to 100 terms
    assert ((body["weights"] > 0).sum(1) <= 6).all()
    assert ((body["J_regressor"] > 0).sum(1) <= 120).all()


def test_t_pose(body, places):
    low = body["v_template"][:, 1].min()
    assert places["head_top"][1] == pytest.approx(body["v_template"][:, 1].max(), abs=1e-6)
    for joint in ("elbow", "wrist"):  # arms straight out to the person's left = +x, 5 mm: the regressors' own error
        arm = places[f"left_{joint}"] - places["left_shoulder"]
        assert arm[0] > 0.2 and np.abs(arm[1:]).max() < 5e-3
    assert np.ptp([places["left_heel"][1], places["left_big_toe"][1]]) < 0.04  # feet flat
    assert places["left_big_toe"][1] - low < 0.05
    knuckles, tips = places["left_index_knuckle"], places["left_thumb_tip"]
    assert tips[2] > knuckles[2] > places["left_pinky_knuckle"][2]  # thumbs forward, palms down
    assert np.abs(places["left_knee"][0] - places["left_ankle"][0]) < 0.01


def test_left_and_right_front_and_back(body, places):
    for name, place in places.items():
        side = {"left_": 1, "right": -1}.get(name[:5], 0)
        assert np.sign(np.round(place[0], 4)) == side, name
    assert places["nose"][2] > places["left_eye"][2] > places["left_ear"][2] + 0.05
    for side in ("left", "right"):
        toe, heel = places[f"{side}_big_toe"], places[f"{side}_heel"]
        assert toe[2] > places[f"{side}_ankle"][2] > heel[2]
        assert abs(places[f"{side}_small_toe"][0]) > abs(toe[0])
        inner, outer = places[f"{side}_eye_inner"], places[f"{side}_eye_outer"]
        assert abs(inner[0]) < abs(places[f"{side}_eye"][0]) < abs(outer[0])


def test_landmarks_stand_in_order_from_top_to_toe(places):
    order = ["head_top", "head_h36m", "left_eye", "nose", "left_mouth", "neck_lsp", "neck_h36m", "neck_openpose"]
    order += ["spine_h36m", "left_hip_lsp", "left_hip_h36m", "pelvis_mpii", "left_knee", "left_ankle", "left_heel"]
    heights = [places[name][1] for name in order]
    assert heights == sorted(heights, reverse=True)
    shoulders = (places["left_shoulder_coco"] + places["right_shoulder_coco"]) / 2
    assert np.linalg.norm(places["neck_openpose"] - shoulders) < 3e-3  # the row's own error
    assert np.allclose(places["mid_hip_coco"], (places["left_hip_coco"] + places["right_hip_coco"]) / 2, atol=1e-6)
    between_hips = places["left_hip_h36m"][0] - places["right_hip_h36m"][0]
    assert between_hips == pytest.approx(0.263, abs=0.003)  # 0.267 in Human3.6M
    for name, inwards in (("shoulder", 0.018), ("knee", 0.008)):  # as annotators see them
        joint, label = (places[f"left_{name}{ending}"] for ending in ("", "_coco"))
        assert joint[0] - label[0] == pytest.approx(inwards, abs=0.002)


def test_part_labels(body):
    names = dict(enumerate(body["part_names"], 1))
    assert list(names.values()) == ["head", "torso", "right_arm", "left_arm", "right_leg", "left_leg"]
    centre = {name: body["v_template"][body["part_labels"] == k].mean(0) for k, name in names.items()}
    assert centre["left_arm"][0] > 0.3 and centre["right_arm"][0] < -0.3
    assert centre["left_leg"][0] > 0.05 and centre["right_leg"][0] < -0.05
    assert centre["head"][1] > centre["torso"][1] > centre["left_leg"][1]
    joints = list(body["joint_names"])
    neck = body["weights"][:, joints.index("neck")] > 0.5
    assert neck.sum() > 20 and (body["part_labels"][neck] == 2).all()
    for part, joint in ((1, "head"), (3, "right_hand"), (4, "left_wrist"), (5, "right_foot"), (6, "left_ankle")):
        assert (body["part_labels"][body["weights"][:, joints.index(joint)] > 0.9] == part).all()


def test_proportions_of_adults(body):
    """ANSUR II's mixture of men and women: stature 1693 ± 92 mm, span 1.03 of it, see the card and the benchmark."""
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(300, 10))
    used = np.ptp(body["v_template"][:, 1]), np.ptp(body["v_template"][:, 0])
    assert used[0] == pytest.approx(1.6925, abs=0.01)
    assert 1.0 < used[1] / used[0] < 1.05
    ends = np.unique(np.concatenate([body["v_template"].argsort(0)[:60, 1], body["v_template"].argsort(0)[-40:, 1]]))
    stature = np.ptp(
        (body["v_template"][ends] + np.einsum("vdk,bk->bvd", body["shapedirs"][ends], betas))[..., 1], axis=1
    )
    assert stature.std() == pytest.approx(0.092, abs=0.012)  # 4 % is the sampling error of 300 people
    joints = body["J_regressor"] @ body["v_template"]
    floor = body["v_template"][:, 1].min()
    assert (joints[1, 1] - floor) / used[0] == pytest.approx(0.53, abs=0.015)  # Winter 2009, table 4.1
    assert (joints[4, 1] - floor) / used[0] == pytest.approx(0.285, abs=0.015)


def test_shape_components_are_ordered_and_grow(body):
    size = np.square(body["shapedirs"]).sum((0, 1))
    assert (np.diff(size) < 0).all()
    assert body["shape_variance"].sum() > 0.95 and (np.diff(body["shape_variance"]) < 0).all()
    taller = np.ptp((body["v_template"] + body["shapedirs"][..., 0])[:, 1])
    assert taller > np.ptp(body["v_template"][:, 1]) + 0.05


def cross_section(vertices, members, centre, axis) -> float:
    """Mean distance of the member vertices from a line: a candy wrapper pulls it to 0."""
    away = vertices[members] - centre
    away = away - (away @ axis)[:, None] * axis
    return np.linalg.norm(away, axis=1).mean()


@pytest.mark.parametrize("angle", [-80, 80])
def test_a_twisted_wrist_keeps_its_girth(body, angle):
    local = turned(left_wrist=(angle, 0, 0))
    vertices, joints = posed(body, local)
    ring = np.flatnonzero(np.abs(body["v_template"][:, 0] - joints[20, 0]) < 0.012)
    x = np.array([1.0, 0, 0])
    girth = cross_section(vertices, ring, joints[20], x) / cross_section(body["v_template"], ring, joints[20], x)
    plain, _ = posed(body | {"posedirs": 0 * body["posedirs"]}, local)
    without = cross_section(plain, ring, joints[20], x) / cross_section(body["v_template"], ring, joints[20], x)
    assert girth > 0.93 > 0.8 > without  # of linear skinning alone a fifth is lost


@pytest.mark.parametrize(
    "pose",
    [
        {"left_knee": (120, 0, 0)},
        {"left_elbow": (0, -120, 0)},
        {"left_shoulder": (0, 0, 75), "left_collar": (0, 0, 20)},
        {"left_shoulder": (0, 0, -75)},
        {"left_hip": (-110, 0, 20), "left_knee": (130, 0, 0)},
        {"left_shoulder": (80, 0, 0), "left_wrist": (60, 20, 30)},
        {"neck": (20, 40, 10), "spine1": (30, 10, 0)},
    ],
)
def test_bent_bodies_have_no_spikes(body, pose):
    """No edge longer than a few centimetres more than at rest, and the volume stays within a tenth."""
    vertices, _ = posed(body, turned(**pose))
    edges = np.concatenate([body["f"][:, [0, 1]], body["f"][:, [1, 2]]]).astype(int)
    rest, now = (np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1) for v in (body["v_template"], vertices))
    assert (now - rest).max() < 0.04
    volume = trimesh.Trimesh(vertices, body["f"].astype(int), process=False).volume
    assert volume == pytest.approx(trimesh.Trimesh(body["v_template"], body["f"].astype(int)).volume, rel=0.1)


def test_correctives_are_local(body):
    """A knee's rotation moves no vertex of the head, arms or the other leg."""
    knee = body["posedirs"].reshape(-1, 3, 23, 9)[:, :, list(body["joint_names"]).index("left_knee") - 1]
    moved = np.abs(knee).max((1, 2)) > 0
    assert 100 < moved.sum() < 1500
    assert set(np.unique(body["part_labels"][moved])) <= {2, 6}


def test_stock_smplx_reads_it(body):
    smplx, torch = pytest.importorskip("smplx"), pytest.importorskip("torch")
    model = smplx.SMPL("", data_struct=smplx.utils.Struct(**body), batch_size=1, dtype=torch.float32)
    local, betas = turned(left_knee=(100, 0, 0), right_elbow=(0, 90, 0), head=(0, 30, 0)), np.linspace(-2, 2, 10)
    vector = torch.tensor(Rotation.from_matrix(local).as_rotvec(), dtype=torch.float32)[None]
    out = model(
        betas=torch.tensor(betas[None], dtype=torch.float32),
        body_pose=vector[:, 1:].flatten(1),
        global_orient=vector[:, 0],
    )
    vertices, joints = posed(body, local, betas)
    np.testing.assert_allclose(out.vertices[0].detach().numpy(), vertices, atol=1e-5)  # smplx works in float32
    np.testing.assert_allclose(out.joints[0, :24].detach().numpy(), joints, atol=1e-5)
