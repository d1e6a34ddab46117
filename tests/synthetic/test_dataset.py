"""Synthetic scenes: the picture shows the person that the truth describes, each scene by its number alone."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from torch.nn.functional import max_pool2d
from torch.utils.data import DataLoader

from hmrfit.camera import pixels_to_crop, weak_project, weak_to_translation
from hmrfit.io.image import write_image
from hmrfit.keypoints import COCO17, SPIN24
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.synthetic.dataset import SceneDataset, SceneSample, SceneStyle, collate_scenes, scene_generator
from hmrfit.synthetic.fast_renderer import Drawn, backdrop, occlude
from hmrfit.synthetic.people import Views
from hmrfit.train.losses import Targets, l1_reprojection, squared_joints_3d

RESOLUTION = 96
CLEAR = SceneStyle(occluded=0.0)


def poses(count: int = 20) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return 0.3 * torch.randn(count, 24, 3, generator=generator, dtype=torch.float64)


def dataset(**changes) -> SceneDataset:
    given = {"body": free_body(), "poses": poses(), "count": 50, "resolution": RESOLUTION, "style": CLEAR}
    return SceneDataset(**{**given, **changes})


@pytest.fixture(scope="module")
def batch() -> SceneSample:
    data = dataset()
    return collate_scenes([data[i] for i in range(12)])


def same(a: SceneSample, b: SceneSample) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.params.rotations, b.params.rotations)


def test_a_batch_has_every_truth(batch):
    B, K = 12, len(SPIN24)
    assert len(batch) == B and batch.images.shape == (B, 3, RESOLUTION, RESOLUTION)
    assert batch.images.dtype == torch.uint8 and batch.masks.shape == (B, RESOLUTION, RESOLUTION)
    assert batch.keypoints.shape == (B, K, 2) and batch.joints.shape == (B, K, 3)
    assert batch.confidence.shape == (B, K) and batch.smpl_joints.shape == (B, 24, 3)
    assert batch.weak_camera.shape == batch.view.shape == (B, 3) and batch.box_side.shape == (B,)
    seen = batch.masks.float().mean((1, 2))
    assert (seen > 0.03).all() and (seen < 0.9).all()


def test_the_parameters_give_the_joints_and_the_keypoints(batch):
    posed = free_body().to(dtype=torch.float32).points(SPIN24).pose(batch.params)
    torch.testing.assert_close(posed.points, batch.joints, rtol=0, atol=1e-5)  # float32, metres
    torch.testing.assert_close(posed.joints, batch.smpl_joints, rtol=0, atol=1e-5)
    xy = pixels_to_crop(batch.camera.project(batch.joints), batch.box_center, batch.box_side)
    torch.testing.assert_close(xy, batch.keypoints, rtol=0, atol=1e-4)
    assert torch.equal(batch.confidence, (batch.keypoints.abs() <= 1).all(-1).float())


def test_the_weak_camera_is_that_of_the_translation(batch):
    back = weak_to_translation(batch.weak_camera, batch.box_center, batch.box_side, batch.camera)
    torch.testing.assert_close(back, batch.params.transl, rtol=1e-5, atol=1e-5)
    weak = weak_project(batch.joints - batch.params.transl[:, None], batch.weak_camera)
    assert (weak - batch.keypoints).abs().median() < 0.1  # perspective is left out; the crop is 2 wide


def test_the_mask_is_the_body_in_the_crop(batch):
    body, low = free_body(), batch.box_center - batch.box_side[:, None] / 2
    camera = batch.camera.crop(low, batch.box_side[:, None].expand(-1, 2))
    camera = camera.resize(torch.full((len(batch), 2), float(RESOLUTION)))
    vertices = body(batch.params.to(torch.float64)).vertices
    drawn = BuiltinRenderer().silhouette(vertices, body.faces, camera)
    # the sample is float32: single pixels on the outline may differ
    assert ((drawn != batch.masks).float().mean((1, 2)) < 0.002).all()


def test_the_person_is_seen_where_the_mask_is(tmp_path):
    """Before another photograph, a scene changes outside of the mask and not inside."""
    for value in (40, 200):
        write_image(tmp_path / f"{value}.png", np.full((120, 150, 3), value, np.uint8))
    first, second = (dataset(photos=[tmp_path / f"{value}.png"], resolution=192)[3] for value in (40, 200))
    change = (first.images.float() - second.images.float()).abs().mean(1)
    # blur and JPEG reach four pixels
    outside, inside = (-max_pool2d(-m.float(), 9, 1, 4) > 0 for m in (~first.masks, first.masks))
    assert inside.sum() > 300 and change[outside].mean() > 100 and change[inside].mean() < 2


def test_a_scene_depends_on_its_number_alone():
    data = dataset()
    one = data[7]
    assert same(one, dataset()[7]) and same(one, dataset(count=8)[7])
    assert not same(one, data[8]) and not same(one, dataset(seed=1)[7])


def test_loaders_shuffle_and_share_scenes_out():
    data = dataset(count=6, resolution=32)
    alone = [data[i] for i in range(6)]
    for workers in (0, 2):
        loader = DataLoader(data, batch_size=3, collate_fn=collate_scenes, num_workers=workers)
        batches = list(loader)
        assert len(batches) == 2
        for i in range(6):
            assert same(batches[i // 3][i % 3], alone[i])


def test_seeds_beyond_32_bits_count():
    """torch's generator keeps 32 bits of a seed; neighbours in either number must differ."""
    firsts = {
        int(torch.randint(2**31, (1,), generator=scene_generator(seed, index)))
        for seed in (0, 1, 2**33)
        for index in (0, 1, 2**32, 2**40)
    }
    assert len(firsts) == 12


def test_poses_may_come_from_a_function():
    calls = []

    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        calls.append(count)
        return poses(1).float()

    sample = dataset(poses=draw, names=COCO17)[0]
    assert calls == [1] and sample.keypoints.shape == (1, 17, 2)
    expected = dataset(poses=poses(1))[0].params.body_pose
    torch.testing.assert_close(sample.params.body_pose, expected, rtol=0, atol=1e-6)  # drawn in float32


def test_occluders_take_pixels_from_the_mask():
    hidden = dataset(style=SceneStyle(occluded=1.0))
    clear = dataset()
    share = [hidden[i].masks.sum() / clear[i].masks.sum() for i in range(12)]
    assert max(share) <= 1 and min(share) < 0.95 and min(share) >= 0.4


def test_nobody_is_hidden_altogether():
    drawn = Drawn(np.zeros((50, 50, 3), np.uint8), np.ones((50, 50), bool))
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert occlude(drawn, rng).mask.mean() >= 0.4
    assert drawn.mask.all() and not drawn.image.any()


def test_rooms_show_the_same_truth():
    """The slow pictures with soft shadows, of the same people."""
    style = SceneStyle(rooms=1.0, occluded=0.0)
    room, quick = dataset(style=style, resolution=64)[2], dataset(resolution=64)[2]
    torch.testing.assert_close(room.keypoints, quick.keypoints)
    assert torch.equal(room.masks, quick.masks) and not torch.equal(room.images, quick.images)
    inside = room.images[0].float().std((1, 2))
    assert (inside > 5).all()  # a picture, not a flat field


def test_rooms_stand_upright_in_the_world(monkeypatch):
    """A camera that looks down by 30° sees the world's up as (0, −cos, −sin), however the person is turned."""
    calls = []
    monkeypatch.setattr("hmrfit.synthetic.dataset.render_scene", lambda *_, up: calls.append(up) or _Nothing)
    views = Views(elevation=(30.0, 30.0), roll=0.0)
    dataset(style=SceneStyle(rooms=1.0, occluded=0.0, views=views))[1]
    expected = torch.tensor([0.0, -(3**0.5) / 2, -0.5], dtype=torch.float64)
    torch.testing.assert_close(calls[0], expected)


class _Nothing:
    image, masks = np.zeros((RESOLUTION, RESOLUTION, 3), np.uint8), torch.zeros(1, RESOLUTION, RESOLUTION).bool()


def test_backdrops_are_light_within_reason():
    pictures = [backdrop(40, 30, np.random.default_rng(i)) for i in range(20)]
    assert all(p.shape == (30, 40, 3) and p.min() >= 0 and p.max() <= 2 and np.isfinite(p).all() for p in pictures)
    assert np.std([p.mean() for p in pictures]) > 0.05


def test_boxes_move_as_the_style_says():
    still = dataset(style=SceneStyle(occluded=0, box_scale=0, box_shift=0, views=Views(beyond=0.0)))
    sample = collate_scenes([still[i] for i in range(8)])
    # HMR's box: the keypoints' longest side fills 1 / 1.2 of it, in the middle
    low, high = sample.keypoints.amin(1), sample.keypoints.amax(1)
    torch.testing.assert_close((high - low).amax(1), torch.full((8,), 2 / 1.2), rtol=0, atol=1e-4)
    torch.testing.assert_close(low + high, torch.zeros(8, 2), rtol=0, atol=1e-4)


def test_samples_are_what_the_losses_take(batch):
    """The truth against itself costs nothing in 3D, and little in 2D where perspective is left out."""
    targets = Targets(
        batch.keypoints, batch.confidence, batch.joints, torch.ones(12, 24), batch.params, torch.ones(12).bool()
    )
    assert squared_joints_3d(batch.joints, targets.joints, targets.joint_confidence, SPIN24) == 0
    assert l1_reprojection(batch.keypoints, targets.keypoints, targets.confidence) == 0


def test_letters():
    with pytest.raises(ValueError, match="poses"):
        dataset(poses=torch.zeros(4, 23, 3))
    with pytest.raises(ValueError, match="no point"):
        dataset(names=("left_tentacle",))
    with pytest.raises(IndexError, match="50 scenes"):
        dataset()[50]
