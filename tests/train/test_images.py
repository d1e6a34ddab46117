"""Training data of the image HMR: people of datasets and of scenes in one form, resumed by a number. Mixtures: the n-th
batch depends on n alone, shares are kept, unreadable people are replaced."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from torch.utils.data import ConcatDataset, DataLoader

from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.image import write_image
from hmrfit.keypoints import SPIN24, mirrored_name
from hmrfit.synthetic.dataset import SceneDataset
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.images import SPIN49, MixedPeople, PersonImages, PersonSample, ScenePeople
from hmrfit.types import BodyParams, TensorRecord

SHOWN = "left_wrist"
SIZE = (160, 120)
HARD = Augmentation(translation=0.05, rotated=0.7, colour=0.2)


@pytest.fixture
def people(tmp_path) -> SpinDataset:
    """Three people; each image is black but for a spot at the left wrist."""
    rng = np.random.default_rng(0)
    part = np.zeros((3, 24, 3))
    part[..., :2] = rng.uniform(45, 75, (3, 24, 2)).round()  # pixels' numbers, as annotators click
    part[:, :14, 2] = 1
    for i, (x, y) in enumerate(part[:, SPIN24.index(SHOWN), :2]):
        rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
        spot = 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 12)
        write_image(tmp_path / f"images/{i}.png", np.repeat(spot[..., None], 3, 2).astype(np.uint8))
    S = np.concatenate([rng.normal(size=(3, 24, 3)), np.ones((3, 24, 1))], -1)
    return SpinDataset(
        np.array([f"images/{i}.png" for i in range(3)]),
        np.full((3, 2), 60.0),
        np.full(3, 0.5),
        part,
        S=S,
        pose=rng.normal(0, 0.4, (3, 72)),
        shape=rng.normal(size=(3, 10)),
        has_smpl=np.array([1, 0, 1]),
    )


def spot(sample: PersonSample) -> torch.Tensor:
    """The centre of brightness in the crop's [-1, 1]."""
    weight = sample.images[0].double().mean(0)
    R = weight.shape[0]
    at = (torch.arange(R) + 0.5) / R * 2 - 1
    return torch.stack([(weight.sum(0) * at).sum(), (weight.sum(1) * at).sum()]) / weight.sum()


@pytest.mark.parametrize("how", [None, HARD], ids=["plain", "changed"])
def test_the_spot_is_at_its_keypoint(people, tmp_path, how):
    """Pixel conventions of file, crop and augmentation agree; in a mirror the left wrist is a right one."""
    data = PersonImages(people, tmp_path, how, resolution=128, seed=3)
    for epoch in range(4):
        data.epoch = epoch
        for i in range(3):
            sample = data[i]
            name = mirrored_name(SHOWN) if data.change(i).flip else SHOWN
            expected = sample.keypoints[0, 25 + SPIN24.index(name)]
            assert (
                spot(sample) - expected
            ).abs().max() < 0.003  # half a pixel of the image is 0.01; 8 bits cut the tails


def test_a_mirror_changes_what_is_known_and_where_the_box_lies(people, tmp_path):
    part = people.part.copy()
    part[:, SPIN24.index("left_ankle"), 2] = 0
    data = PersonImages(replace(people, part=part), tmp_path, replace(HARD, flipped=1.0, rotated=1.0), 32)
    sample, change = data[0], data.change(0)
    known = dict(zip(SPIN24, sample.confidence[0, 25:].tolist(), strict=True))
    assert known["left_ankle"] == 1 and known["right_ankle"] == 0
    away = torch.tensor(change.box(people.crop(0)).center).double() - torch.tensor(SIZE) / 2
    focal = (SIZE[0] ** 2 + SIZE[1] ** 2) ** 0.5
    torch.testing.assert_close(sample.view[0, :2], (change.matrix() @ away / focal).float())
    torch.testing.assert_close(sample.view[0, 2].item(), change.scale * 100 / focal)


def test_unknown_stays_unknown(people, tmp_path):
    sample = PersonSample.collate([PersonImages(people, tmp_path)[i] for i in range(3)])
    assert sample.has_params.tolist() == [True, False, True]
    assert not sample.confidence[:, :25].any() and sample.confidence[:, 25:39].all()
    assert not sample.confidence[:, 39:].any()
    assert (sample.params.betas[1] == 0).all() and not sample.params.transl.any()
    np.testing.assert_allclose(sample.joints, people.S[..., :3], rtol=1e-6)
    flat = PersonImages(replace(people, S=None, pose=None, shape=None), tmp_path)[0]
    assert not flat.joint_confidence.any() and not flat.has_params.any()


def test_chance_comes_of_seed_epoch_and_number(people, tmp_path):
    data = PersonImages(people, tmp_path, HARD, 32)
    first = [data.change(i) for i in range(3)]
    assert [data.change(i) for i in range(3)] == first and len(set(first)) == 3
    data.epoch = 1
    assert not set(first) & {data.change(i) for i in range(3)}


def scenes() -> SceneDataset:
    poses = 0.3 * torch.randn(4, 24, 3, dtype=torch.float64)
    return SceneDataset(free_body(), poses, count=5, resolution=64, names="spin49")


def test_real_and_made_people_mix(people, tmp_path):
    real, made = PersonImages(people, tmp_path, HARD, 64), ScenePeople(scenes())
    batches = list(DataLoader(ConcatDataset([real, made]), 4, collate_fn=PersonSample.collate))
    assert [len(batch) for batch in batches] == [4, 4]
    mixed = MixedPeople([real, made], [0.75, 0.25]).batch(8)
    for field in fields(PersonSample):
        value = getattr(mixed, field.name)
        assert isinstance(value, TensorRecord) or len(value) == 8


def test_a_changed_scene_stays_true():
    """Its keypoints are where the box's direction sees its joints, and its joints are those of its parameters."""
    made = scenes()
    data = ScenePeople(made, replace(HARD, rotated=1.0), remembered=True, resolution=48)
    seen = set()
    for chance in range(6):
        sample = data.take(1, chance)
        seen.add(sample.images.numpy().tobytes())
        assert sample.images.shape == (1, 3, 48, 48)
        rays = sample.joints[..., :2] / sample.joints[..., 2:]
        expected = 2 * (rays - sample.view[:, None, :2]) / sample.view[:, None, 2:]
        torch.testing.assert_close(sample.keypoints[:, 25:], expected, rtol=0, atol=1e-4)
        posed = free_body().points(SPIN24).pose(sample.params.to(torch.float64)).points.float()
        middle = lambda x: x - x.mean(1, keepdim=True)  # noqa: E731
        torch.testing.assert_close(middle(posed), middle(sample.joints), rtol=0, atol=1e-4)
    assert len(seen) == 6 and torch.equal(data.take(1, 3).images, data.take(1, 3).images)
    plain = ScenePeople(made, remembered=True)
    assert torch.equal(plain.take(2, 0).images, made[2].images) and plain[2] is plain[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_scenes_made_beforehand_are_the_same_scenes(workers):
    drawn = scenes()
    made = ScenePeople(drawn, remembered=True)
    made.make(workers)
    for i in (0, len(made) - 1):
        one, other = made[i], ScenePeople(drawn)[i]
        assert made[i] is one
        assert torch.equal(one.images, other.images) and torch.equal(one.joints, other.joints)
        assert one.seen is not None and one.seen.row.tolist() == [i]


def test_the_same_chance_changes_a_real_person_in_the_same_way(people, tmp_path):
    data = PersonImages(people, tmp_path, HARD, 32)
    a, b, c = data.take(0, 5), data.take(0, 5), data.take(0, 6)
    assert torch.equal(a.images, b.images) and not torch.equal(a.images, c.images)


def test_a_made_person_is_all_true():
    data = scenes()
    sample, scene = ScenePeople(data)[1], data[1]
    posed = free_body().points(SPIN24).pose(scene.params.to(torch.float64))
    torch.testing.assert_close(sample.joints.double(), posed.points, rtol=0, atol=1e-5)
    assert torch.equal(sample.keypoints, scene.keypoints) and data.names == SPIN49
    assert sample.has_params.all() and sample.joint_confidence.all()


def test_letters(people, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images/0\.png' lies"):
        PersonImages(people, tmp_path / "images")
    data = PersonImages(people, tmp_path)
    (tmp_path / "images/1.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(ValueError, match=r"1\.png"):
        data[1]
    with pytest.raises(ValueError, match="spin49"):
        ScenePeople(SceneDataset(free_body(), torch.zeros(1, 24, 3)))


# ---- mixtures


class Numbers:
    """A source whose pictures hold the number of the person and of the augmentation."""

    def __init__(self, name: int, size: int, broken: tuple[int, ...] = ()) -> None:
        self.name, self.size, self.broken = name, size, broken

    def __len__(self) -> int:
        return self.size

    def take(self, index: int, chance: int) -> PersonSample:
        if index in self.broken:
            raise OSError(f"cannot read {index}")
        numbers = torch.tensor([[self.name, index, chance]], dtype=torch.float64)
        empty = torch.zeros(1, 1)
        params = BodyParams(empty, empty, empty, empty)
        return PersonSample(numbers, empty, empty, empty, empty, empty, params, empty)


def numbers(batches: list[PersonSample]) -> torch.Tensor:
    return torch.cat([batch.images for batch in batches])


def mixed(seed: int = 0, workers: int = 0, **sources) -> MixedPeople:
    return MixedPeople([Numbers(0, 5), Numbers(1, 50)], [1.0, 3.0], seed, workers)


def test_the_same_seed_gives_the_same_people_and_another_gives_others():
    a, b, c = (mixed(seed) for seed in (0, 0, 1))
    first = numbers([a.batch(8) for _ in range(3)])
    assert torch.equal(first, numbers([b.batch(8) for _ in range(3)]))
    assert not torch.equal(first, numbers([c.batch(8) for _ in range(3)]))


def test_the_position_is_all_that_the_next_batch_depends_on():
    whole = mixed()
    batches = [whole.batch(4) for _ in range(5)]
    other = mixed()
    other.batch(4)
    other.go_to(3)
    assert torch.equal(numbers([other.batch(4), other.batch(4)]), numbers(batches[3:]))
    assert other.position == whole.position == 5


def test_workers_change_nothing():
    single, several = mixed(), mixed(workers=2)
    assert torch.equal(numbers([single.batch(6) for _ in range(3)]), numbers([several.batch(6) for _ in range(3)]))


def test_shares_are_kept_and_everybody_comes():
    people = numbers([mixed().batch(4000)])
    assert people[:, 0].mean().item() == pytest.approx(0.75, abs=0.03)  # four deviations of 4,000 draws
    for name, size in ((0, 5), (1, 50)):
        assert len(people[people[:, 0] == name, 1].unique()) == size
    assert len(people[:, 2].unique()) > 3990  # everybody with another augmentation


def test_an_unreadable_person_is_replaced_by_the_next():
    people = MixedPeople([Numbers(0, 6, broken=(2, 3))], [1.0])
    with pytest.warns(UserWarning, match="left out: cannot read 2"):
        found = numbers([people.batch(60)])[:, 1]
    assert set(found.tolist()) == {0, 1, 4, 5} and (found == 4).sum() > (found == 5).sum()


def test_a_dataset_of_unreadable_people_ends_the_run():
    with pytest.warns(UserWarning), pytest.raises(OSError, match="cannot read"):
        MixedPeople([Numbers(0, 3, broken=(0, 1, 2))], [1.0]).batch(1)


@pytest.mark.parametrize("shares", [[1.0], [0.5, -0.5], [0.0, 0.0], []])
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(ValueError, match="share"):
        MixedPeople([Numbers(0, 5), Numbers(1, 5)], shares)


def test_an_empty_dataset_cannot_have_a_share():
    with pytest.raises(ValueError, match="without people"):
        MixedPeople([Numbers(0, 5), Numbers(1, 0)], [1.0, 1.0])


def test_a_batch_has_everything_of_everybody():
    batch = mixed().batch(7)
    assert len(batch) == 7
    for field in fields(PersonSample):
        value = getattr(batch, field.name)
        assert value is None or isinstance(value, TensorRecord) or len(value) == 7  # made-up numbers were not seen
