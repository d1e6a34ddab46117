"""3D protocols: the truth scores the best, known changes give known errors, and a slow version agrees."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.evaluation import as_predictions, human36m_people, threedpw_people
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hmrfit.body.regressors import REGRESSORS, read_regressor, regressed_body
from hmrfit.datasets.human36m import FRONTAL
from hmrfit.datasets.spin_npz import SpinDataset, write_spin_npz
from hmrfit.evaluate.metrics import aligned_distances
from hmrfit.evaluate.protocol import PROTOCOLS, EvaluationData, Measure, Protocol, Setting, Summary, make_protocol
from hmrfit.evaluate.protocols.human36m import CORRUPT, FIRST_TRIALS, H36M14, H36M_SLOTS
from hmrfit.evaluate.protocols.mpi_inf_3dhp import H36M17_SPIN, sequences_of
from hmrfit.evaluate.protocols.pose import QUANTITIES, Joints, slot_joints
from hmrfit.keypoints import SPIN24
from hmrfit.ops.rotation import rotvec_to_matrix

IMAGES = [
    f"images/{s}_{a}.{c}_{f:06d}.jpg"
    for s, a, c in (("S9", "Eating_1", FRONTAL), ("S9", "Eating", "54138969"), ("S11", "Waiting_1", FRONTAL))
    for f in (1, 6)
]


@pytest.fixture(scope="module")
def body():
    return free_body()


def best(protocol: Protocol) -> None:
    """Every measure is what the truth scores: exactly 0 mm and 100 %; 30/31 needs a rounding."""
    summary = protocol.summary()
    for m in summary.measures:
        assert m.value == (pytest.approx(100 * 30 / 31, rel=1e-14) if "AUC" in m.name else m.best), m.name
    assert summary.missing == 0


def random_joints(N: int, K: int, spread: float = 0.1, seed: int = 0) -> tuple[Joints, Joints]:
    """A person's joints, and others nearby; unrelated roots."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(N, K, 3, generator=g, dtype=torch.float64)
    x = y + spread * torch.randn(N, K, 3, generator=g, dtype=torch.float64)
    roots = torch.randn(2, N, 3, generator=g, dtype=torch.float64)
    return Joints(x, roots[0] + y.mean(1)), Joints(y, roots[0] + 0.05 * roots[1] + y.mean(1))


# ---- the truth against itself


def test_the_truth_of_3dpw_scores_the_best(body):
    params = random_params(body, 6)
    people = threedpw_people(params, "mfmfff")
    protocol = make_protocol("3dpw", Setting(body, gendered={"m": body, "f": body}))
    data = EvaluationData("", people)
    protocol.update(protocol.prediction(as_predictions(people.params()), data), protocol.target(data))
    best(protocol)


@pytest.mark.parametrize("name", ["h36m-p1-spin", "h36m-p2-spin", "3dhp-spin", "3dhp-official"])
def test_the_truth_given_as_joints_scores_the_best(body, name):
    people = human36m_people(body, random_params(body, 6), IMAGES)
    protocol = make_protocol(name, Setting(body))
    names = (*protocol.joints, *protocol.root)
    predictions = as_predictions(random_params(body, 6, seed=1), joints=slot_joints(people, names), joint_names=names)
    data = EvaluationData("", people)
    protocol.update(protocol.prediction(predictions, data), protocol.target(data))
    best(protocol)
    assert protocol.summary().regressor == "the predictions themselves"


def test_the_body_that_made_the_joints_scores_them(body):
    """Within rounding: the same points, moved to another origin and back."""
    params = random_params(body, 6)
    people = human36m_people(body, params, IMAGES)
    protocol = make_protocol("h36m-p1-spin", Setting(body))
    data = EvaluationData("", people)
    protocol.update(protocol.prediction(as_predictions(params), data), protocol.target(data))
    assert protocol.summary()["MPJPE"] < 1e-10 and protocol.summary()["PA-MPJPE"] < 1e-10


# ---- known changes, known errors


def test_a_shift_of_every_joint_but_the_root_is_the_error(body):
    _, truth = random_joints(5, 14)
    protocol = make_protocol("3dhp-official", Setting(body))
    protocol.update(replace(truth, xyz=truth.xyz + torch.tensor([0.0312, 0.0, 0.0416], dtype=torch.float64)), truth)
    summary = protocol.summary()
    assert summary["MPJPE"] == pytest.approx(52, abs=1e-9) and summary["PA-MPJPE"] == pytest.approx(0, abs=1e-9)
    assert summary["PCK@150"] == 100 and summary["PA-AUC"] == pytest.approx(100 * 30 / 31)
    assert summary["AUC"] == pytest.approx(100 * 20 / 31)  # 52 mm lies below 55, 60, ..., 150


@settings(max_examples=25)
@given(st.floats(0.2, 5), st.lists(st.floats(-3, 3), min_size=6, max_size=6))
def test_a_similarity_is_no_error_after_alignment(scale, numbers):
    _, truth = random_joints(3, 14)
    turn, shift = torch.tensor(numbers, dtype=torch.float64).split(3)
    moved = scale * truth.xyz @ rotvec_to_matrix(turn[None])[0].T + shift
    assert 1000 * aligned_distances(moved, truth.xyz).max() < 1e-9


def test_a_mirrored_person_is_an_error_even_after_alignment():
    _, truth = random_joints(3, 14)
    assert (aligned_distances(truth.xyz * torch.tensor([-1.0, 1, 1]), truth.xyz).mean(1) > 0.1).all()


def test_exactly_150_mm_is_no_hit():
    distances = torch.tensor([[150.0, 149.99, 0.0, 1000.0]], dtype=torch.float64)
    values = {name: QUANTITIES[name].of(type("D", (), {"plain": distances})) for name in ("PCK@150", "AUC")}
    assert values["PCK@150"] == 50
    # of 31 thresholds: 150 in none, 149.99 in the last, 0 in all but the first
    assert values["AUC"] == pytest.approx(100 * (0 + 1 + 30 + 0) / (4 * 31))


# ---- a second way of computing each


def slow_measures(x: Joints, y: Joints) -> dict[str, float]:
    """By loops, with scipy's rotation between point sets."""
    errors, aligned = [], []
    for i in range(len(x.xyz)):
        a, b = (1000 * (s.xyz[i] - s.root[i]).numpy() for s in (x, y))
        errors.append([float(np.sqrt(((p - q) ** 2).sum())) for p, q in zip(a, b, strict=True)])
        a, b = a - a.mean(0), b - b.mean(0)
        turned = Rotation.align_vectors(b, a)[0].apply(a)
        a = turned * (turned * b).sum() / (turned**2).sum()
        aligned.append([float(np.sqrt(((p - q) ** 2).sum())) for p, q in zip(a, b, strict=True)])
    found = {}
    for prefix, table in (("", errors), ("PA-", aligned)):
        flat = [e for row in table for e in row]
        below = [sum(e < 5 * k for e in flat) / len(flat) for k in range(31)]
        found |= {f"{prefix}MPJPE": sum(flat) / len(flat), f"{prefix}PCK@150": 100 * below[30]}
        found[f"{prefix}AUC"] = 100 * sum(below) / 31
    return found


@pytest.mark.parametrize("name, K", [("3dhp-spin", 17), ("3dhp-official", 14)])
def test_a_slow_version_agrees(body, name, K):
    x, y = random_joints(60, K)
    protocol = make_protocol(name, Setting(body))
    protocol.update(x, y)
    expected, summary = slow_measures(x, y), protocol.summary()
    for measure in summary.measures:
        assert measure.value == pytest.approx(expected[measure.name], abs=1e-9)
    assert 10 < summary["AUC"] < 90 and 10 < summary["PCK@150"] < 99


def test_updates_of_any_size_give_the_same(body):
    x, y = random_joints(30, 14)
    whole, parts = (make_protocol("h36m-p2-spin", Setting(body)) for _ in range(2))
    whole.update(x, y)
    for rows in torch.arange(30).split(7):
        parts.update(*(Joints(s.xyz[rows], s.root[rows]) for s in (x, y)))
    assert parts.summary()["PA-MPJPE"] == pytest.approx(whole.summary()["PA-MPJPE"], abs=1e-12)
    np.testing.assert_allclose(parts.details().joints["MPJPE"], whole.details().joints["MPJPE"], atol=1e-12)


def test_the_mesh_error_is_the_mean_over_vertices(body):
    params = random_params(body, 4)
    people, other = threedpw_people(params, "mfmf"), random_params(body, 4, seed=5)
    protocol, data = make_protocol("3dpw", Setting(body, gendered={"m": body, "f": body})), EvaluationData("", people)
    protocol.update(protocol.prediction(as_predictions(other), data), protocol.target(data))
    points = body.points(("pelvis_h36m",))
    sides = [1000 * (body(p).vertices - points.pose(p).points) for p in (other, people.params())]
    people_of = zip(*(side.numpy() for side in sides), strict=True)
    expected = [np.mean([np.linalg.norm(u - v) for u, v in zip(*pair, strict=True)]) for pair in people_of]
    assert protocol.summary()["PVE"] == pytest.approx(np.mean(expected), abs=1e-9)


# ---- joints by name


def test_the_joints_are_those_of_spins_tables():
    """Reference page, sections 3.3 and 3.4."""
    rows = REGRESSORS["h36m"]
    assert [rows.index(name) for name in H36M17_SPIN] == [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9]
    assert [H36M_SLOTS.index(name) for name in H36M17_SPIN] == [*range(13), 18, 14, 16, 17]
    assert H36M17_SPIN[:14] == H36M14 and len(H36M_SLOTS) == len(SPIN24)


def test_regressors_act_on_vertices(body, tmp_path):
    """Through the reduced body as through the mesh; also where the rows do not sum to 1 (there the translation counts
    once, as in SPIN, which regresses about the origin)."""
    matrix = np.random.default_rng(0).random((17, 6900)) * (np.random.default_rng(1).random((17, 6900)) < 0.01)
    matrix *= 1.02 / matrix.sum(1, keepdims=True)
    np.save(tmp_path / "J.npy", matrix)
    params = replace(random_params(body, 3), transl=torch.zeros(3, 3).double())
    read = read_regressor("h36m", tmp_path / "J.npy", 6900)
    points = regressed_body(body, "h36m", read).points(H36M14).pose(params).points
    expected = (torch.as_tensor(matrix) @ body(params).vertices)[:, [REGRESSORS["h36m"].index(n) for n in H36M14]]
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-12)
    assert "left_knee" in body.joint_names  # the body itself is as it was
    protocol = make_protocol("h36m-p1-spin", Setting(body, regressors={"h36m": tmp_path / "J.npy"}))
    found = protocol.prediction(as_predictions(params), None)
    torch.testing.assert_close(found.xyz, expected, rtol=0, atol=1e-12)
    assert "J.npy" in protocol._regressor


@pytest.mark.parametrize("shape", [(17, 6890), (14, 6900), (17,)])
def test_a_regressor_of_another_shape_is_refused(body, tmp_path, shape):
    np.save(tmp_path / "J.npy", np.zeros(shape))
    with pytest.raises(ValueError, match=r"should hold numbers of shape \(17, 6900\).*leave it out"):
        make_protocol("h36m-p1-spin", Setting(body, regressors={"h36m": tmp_path / "J.npy"}))


def test_a_damaged_regressor_is_refused(tmp_path):
    path = tmp_path / "J.npy"
    with pytest.raises(FileNotFoundError, match="J_regressor_h36m"):
        read_regressor("h36m", path, 5)
    np.save(path, np.full((17, 5), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        read_regressor("h36m", path, 5)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        read_regressor("h36m", path, 5)
    with pytest.raises(ValueError, match="Did you mean 'h36m'"):
        read_regressor("h36", path, 5)


# ---- Human3.6M's actions and trials; NaN; no person


def h36m_folder(tmp_path, body, images):
    people = human36m_people(body, random_params(body, len(images)), images)
    write_spin_npz(tmp_path / "h36m_valid_protocol1.npz", people)
    return tmp_path


def test_hmr_takes_means_of_means(body, tmp_path):
    """Three frames of one sequence, one of another of the same action, one of another action."""
    frames = ("S9_Eating_1", 1), ("S9_Eating_1", 6), ("S9_Eating_1", 11), ("S9_Eating", 1), ("S11_Waiting_1", 1)
    images = [f"images/{recording}.{FRONTAL}_{frame:06d}.jpg" for recording, frame in frames]
    protocol = make_protocol("h36m-p1-hmr", Setting(body))
    data = protocol.load(h36m_folder(tmp_path, body, images))
    target = protocol.target(data)
    shift = torch.tensor([0.01, 0.02, 0.03, 0.06, 0.5], dtype=torch.float64)[:, None, None] * torch.tensor([1.0, 0, 0])
    protocol.update(replace(target, xyz=target.xyz + shift), target)
    summary = protocol.summary()
    assert summary["MPJPE"] == pytest.approx(((20 + 60) / 2 + 500) / 2)
    assert summary["MPJPE over frames"] == pytest.approx((10 + 20 + 30 + 60 + 500) / 5)
    assert {name: measures[0].value for name, measures in summary.groups.items()} == {
        "Eating": pytest.approx(40),
        "Waiting": pytest.approx(500),
    }
    root = slot_joints(data.people, ("left_hip_h36m", "right_hip_h36m")).mean(1)
    torch.testing.assert_close(target.root, root)


def test_the_trials_of_hmr(body, tmp_path):
    images = [*IMAGES, f"images/{CORRUPT[0]}_{CORRUPT[1]}.{CORRUPT[2]}_000001.jpg"]
    folder = h36m_folder(tmp_path, body, images)
    assert len(make_protocol("h36m-p1-spin", Setting(body)).load(folder)) == 7
    assert make_protocol("h36m-p1-hmr", Setting(body)).load(folder).people.imgname.tolist() == IMAGES
    assert make_protocol("h36m-p2-hmr", Setting(body)).load(folder).people.imgname.tolist() == IMAGES[:2] + IMAGES[4:]
    assert all(len(trials) == 15 for trials in FIRST_TRIALS.values())


def test_images_of_other_names_have_no_action(body, tmp_path):
    folder = h36m_folder(tmp_path, body, ["a/b.jpg"])
    assert make_protocol("h36m-p1-spin", Setting(body)).load(folder).groups.tolist() == [""]
    with pytest.raises(ValueError, match="action and trial are unknown"):
        make_protocol("h36m-p1-hmr", Setting(body)).load(folder)


def test_frames_of_3dhp_belong_to_the_sequence_in_their_path():
    paths = ["mpi_inf_3dhp_test_set/TS3/imageSequence/img_000001.jpg", "/data/TS6/img.jpg", "TS7/a.jpg", "a/TS3.jpg"]
    people = SpinDataset(np.array(paths), np.zeros((4, 2)), np.ones(4))
    assert sequences_of(people).tolist() == ["TS3", "TS6", "", ""]


def test_nan_leaves_out_one_person(body):
    x, y = random_joints(4, 14)
    x.xyz[1, 3, 0], y.root[2, 1] = torch.nan, torch.inf
    protocol, rest = make_protocol("h36m-p2-spin", Setting(body)), make_protocol("h36m-p2-spin", Setting(body))
    protocol.update(x, y)
    rest.update(*(Joints(s.xyz[[0, 3]], s.root[[0, 3]]) for s in (x, y)))
    assert protocol.summary().missing == 2 and protocol.summary().samples == 2
    assert protocol.summary().measures == rest.summary().measures
    protocol.update(x, y)
    assert protocol.details().rows.tolist() == [0, 3, 4, 7]


def test_a_summary_of_no_person_is_refused(body):
    protocol = make_protocol("h36m-p2-spin", Setting(body))
    with pytest.raises(ValueError, match="has scored no person"):
        protocol.summary()
    x, y = random_joints(1, 14)
    protocol.update(replace(x, xyz=x.xyz * torch.nan), y)
    with pytest.raises(ValueError, match="1 person lacks"):
        protocol.summary()


def test_the_truth_of_3dpw_needs_its_bodies(body, tmp_path):
    write_spin_npz(tmp_path / "3dpw_test.npz", threedpw_people(random_params(body, 2), "mf"))
    with pytest.raises(ValueError, match="gender 'f', but there are bodies for 'm'"):
        make_protocol("3dpw", Setting(body, gendered={"m": body})).load(tmp_path)
    data = make_protocol("3dpw", Setting(body, gendered={"m": body, "f": body})).load(tmp_path)
    assert data.groups.tolist() == ["town_0", "town_1"]


def test_each_gender_is_posed_by_its_own_body(body):
    """A woman's truth on a body twice as large."""
    large = body.to()
    lengths = ("v_template", "shapedirs", "posedirs", "rest_joints", "joint_shapes")
    large.__dict__ |= {name: 2 * getattr(body, name) for name in lengths}
    people = threedpw_people(random_params(body, 3), "mfm")
    protocol, data = make_protocol("3dpw", Setting(body, gendered={"m": body, "f": large})), EvaluationData("", people)
    predicted, truth = protocol.prediction(as_predictions(people.params()), data), protocol.target(data)
    ratio = (truth.xyz - truth.root[:, None]).norm(dim=-1) / (predicted.xyz - predicted.root[:, None]).norm(dim=-1)
    torch.testing.assert_close(ratio, torch.tensor([[1.0], [2], [1]]).double().expand(3, 14))


# ---- what a summary says


def test_a_summary_says_what_it_is_of(body, tmp_path):
    protocol = make_protocol("h36m-p1-spin", Setting(body))
    protocol.update(*random_joints(3, 14))
    summary = protocol.summary()
    for path in summary.save(tmp_path):
        text = path.read_text()
        for word in (summary.joint_set, summary.regressor, summary.alignment, summary.box_source, summary.version):
            assert word in text
    read = json.loads((tmp_path / "h36m-p1-spin.json").read_text())
    assert "σ" in replace(summary, regressor="σ").to_json()  # as it is, not as an escape
    expected = {"name": "MPJPE", "value": 0, "unit": "mm", "better": "lower", "best": 0.0}
    assert read["measures"][0] | {"value": 0} == expected
    with pytest.raises(KeyError, match="Did you mean 'MPJPE'"):
        summary["MPJP"]


def test_the_alignment_names_the_root(body):
    origins = [make_protocol(name, Setting(body)).alignment.split(" at ")[0] for name in ("3dpw", "h36m-p1-hmr")]
    assert origins == ["pelvis_h36m", "the middle of left_hip_lsp and right_hip_lsp"]


def test_the_last_line_of_a_table_is_of_all_where_there_are_groups():
    measure = (Measure("MPJPE", 50.0, "mm", "lower", 0.0),)
    alone = Summary("3dpw", measure, "14", "regressor", "alignment", "box", 7)
    grouped = replace(alone, groups={"walking": measure})
    first = lambda summary: [line.split("|")[1].strip() for line in summary.to_table().splitlines() if "|" in line]  # noqa: E731
    assert first(alone)[2:] == ["3dpw"] and first(grouped)[2:] == ["walking", "all"]


def test_nan_is_null_in_json(body):
    protocol = make_protocol("3dpw", Setting(body))
    protocol.update(*random_joints(3, 14))
    assert json.loads(protocol.summary().to_json())["measures"][2]["value"] is None  # no meshes, no PVE


def test_names_are_of_one_quantity_each(body):
    names = PROTOCOLS.names()
    assert len(names) == len(set(names)) and all(PROTOCOLS.find(name).name == name for name in names)
    with pytest.raises(ValueError, match="Did you mean 'h36m-p2-spin'"):
        make_protocol("h36m-p2-spinn", Setting(body))


def test_what_a_dataset_does_not_know_is_nan():
    people = SpinDataset(np.array(["a.jpg", "b.jpg"]), np.zeros((2, 2)), np.ones(2))
    unknown = slot_joints(people, ("left_knee", "right_knee", "nose"))
    assert unknown.shape == (2, 3, 3) and unknown.isnan().all()
    S = np.arange(2 * 24 * 4.0).reshape(2, 24, 4)
    S[..., 3] = 1
    S[1, SPIN24.index("nose"), 3] = 0
    known = slot_joints(replace(people, S=S), ("nose", "left_knee"))
    np.testing.assert_array_equal(known[:, 1], S[:, SPIN24.index("left_knee_coco"), :3])
    assert known[1, 0].isnan().all() and torch.equal(known[0, 0], torch.as_tensor(S[0, SPIN24.index("nose"), :3]))
