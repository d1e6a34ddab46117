"""The synthetic benchmark: its files say the same as its truth, and a run that was stopped comes to the same files."""

import json

import numpy as np
import pytest
import torch
from helpers.bodies import free_body

from hmrfit.camera import PIXEL_CENTER
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.io.image import read_image
from hmrfit.keypoints import LSP14, OPENPOSE25, SPIN24
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import label_faces
from hmrfit.synthetic import benchmark as synthetic
from hmrfit.synthetic.benchmark import Benchmark, LabelledPoses, is_whole, make_benchmark, paths_of, read_truth

COUNT = 5


def pool(scale: float = 0.3) -> LabelledPoses:
    poses = scale * torch.randn(20, 24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return LabelledPoses(poses, torch.ones(20), ("walk",) * 10 + ("run",) * 10, "made up")


def benchmark(**changes) -> Benchmark:
    return Benchmark(**{"body": free_body(), "pool": pool(), "count": COUNT, **changes})


def contents(root) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob("*") if path.suffix in (".jpg", ".png"))
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def arrays(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module", autouse=True)
def nobody_is_hidden():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "OCCLUDED", 0.0)
        patch.setattr(synthetic, "ROOMS", 0.2)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    make_benchmark(folder, benchmark())
    return folder


def test_the_masks_are_what_the_truth_looks_like(root):
    truth, body = read_truth(root), free_body()
    labels = label_faces(body.part_labels, body.faces)
    assert len(truth) == COUNT and set(truth.action) <= {"walk", "run"}
    for i, (image, mask, parts) in enumerate(map(paths_of, range(COUNT))):
        drawn = BuiltinRenderer().parts(body(truth.params[i]).vertices, body.faces, truth.camera[i], labels)[0]
        seen = read_image(root / parts)[..., 0]
        assert (drawn.numpy() != seen).mean() < 1e-5  # rotation vectors and back move a vertex by 1e-15
        assert np.array_equal(read_image(root / mask)[..., 0], np.where(seen > 0, 255, 0))
        assert read_image(root / image).shape[:2] == seen.shape == tuple(truth.camera.size[i].int().tolist()[::-1])


def test_the_datasets_hold_the_truth_of_the_same_people(root):
    truth, body = read_truth(root), free_body()
    lsp, h36m, walk = (
        read_spin_npz(root / "dataset_extras" / name)
        for name in ("lsp_dataset_test.npz", "h36m_valid_protocol1.npz", "3dpw_test.npz")
    )
    assert len(lsp) == len(h36m) == len(walk) == COUNT
    frontal = read_spin_npz(root / "dataset_extras" / "h36m_valid_protocol2.npz")
    assert np.array_equal(frontal.S, h36m.S[::4]) and all(".60457274_" in name for name in frontal.imgname)
    for dataset in (h36m, walk, read_spin_npz(root / "dataset_extras" / "mpi_inf_3dhp_valid.npz")):
        for ours, theirs in zip(lsp.imgname, dataset.imgname, strict=True):
            assert (root / ours).samefile(root / theirs)
    known = lsp.keypoints()
    points = body.points(LSP14).pose(truth.params).points
    at = [len(OPENPOSE25) + SPIN24.index(name) for name in LSP14]
    torch.testing.assert_close(known.xy[:, at], truth.camera.project(points), atol=1e-8, rtol=0)
    joints, sure = h36m.joints()
    names = ("pelvis_h36m", "left_hip_h36m", "head_h36m", "spine_h36m")
    truly = body.points(names).pose(truth.params).points
    slots = [SPIN24.index(name) for name in ("left_hip_lsp", "head_h36m", "spine_h36m")]
    torch.testing.assert_close(joints[:, slots], truly[:, 1:] - truly[:, :1], atol=1e-9, rtol=0)
    assert sure.sum(1).eq(17).all()
    vertices = body(walk.params()).vertices + truth.params.transl[:, None]
    torch.testing.assert_close(vertices, body(truth.params).vertices, atol=1e-9, rtol=0)


def test_the_detections_are_noisy_gappy_and_inside(root):
    truth, lsp = read_truth(root), read_spin_npz(root / "dataset_extras" / "lsp_dataset_test.npz")
    seen = lsp.openpose[..., 2] > 0
    assert 0.75 < seen.mean() < 0.99
    xy = torch.as_tensor(lsp.openpose[..., :2] + PIXEL_CENTER)
    clean = truth.camera.project(free_body().points(OPENPOSE25).pose(truth.params).points)
    apart = (xy - clean).norm(dim=-1)[torch.as_tensor(seen)] / (200 * lsp.scale.mean())
    assert 0.003 < apart.mean() < 0.03  # 1 % a coordinate


def test_a_stopped_run_goes_on_to_the_same_files(root, tmp_path, monkeypatch):
    draw, drawn = Benchmark.draw, []

    def stops(self, person):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(person)
        return draw(self, person)

    monkeypatch.setattr(Benchmark, "draw", stops)
    with pytest.raises(KeyboardInterrupt):
        make_benchmark(tmp_path, benchmark())
    assert not is_whole(tmp_path)
    with pytest.raises(FileNotFoundError, match="no synthetic benchmark was finished"):
        read_truth(tmp_path)
    monkeypatch.setattr(Benchmark, "draw", draw)
    (tmp_path / paths_of(0)[1]).unlink()
    make_benchmark(tmp_path, benchmark())
    assert is_whole(tmp_path) and contents(tmp_path) == contents(root)
    for path in ("truth.npz", "dataset_extras/lsp_dataset_test.npz", "dataset_extras/3dpw_test.npz"):
        ours, theirs = arrays(tmp_path / path), arrays(root / path)
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_person_depends_on_the_seed_and_its_number_alone(root):
    other = benchmark(count=99).person(3).people
    assert torch.equal(other.params.transl[0], read_truth(root).params.transl[3])
    assert not torch.equal(benchmark(seed=1).person(3).people.params.transl, other.params.transl)


def test_another_benchmark_in_the_folder_gets_a_letter(root):
    with pytest.raises(ValueError, match=r"seed 0, not 7.*another folder"):
        make_benchmark(root, benchmark(seed=7))
    with pytest.raises(ValueError, match="poses_sha256"):
        make_benchmark(root, benchmark(pool=pool(0.2)))
    assert json.loads((root / "card.json").read_text())["people"] == COUNT


def test_a_body_without_parts_gets_a_letter():
    body = free_body().to()
    body.part_labels = None
    with pytest.raises(ValueError, match="part labels"):
        benchmark(body=body)
