"""A loop of fits beside the image HMR: who was seen, whatever the augmentation, and who learns from what."""

from dataclasses import replace

import torch
from helpers.bodies import free_body
from helpers.stored_fits import fits_of
from helpers.training import made, points, scenes, write_scenes
from torch.testing import assert_close

from hmrfit.camera import weak_project
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.fit_loop import Supervision, unaugmented
from hmrfit.train.image_loop import seen_of, weighted_smpl
from hmrfit.train.images import SPIN49, MixedPeople, PersonImages, ScenePeople
from hmrfit.types import Regression


def test_the_truth_of_an_augmented_scene_is_where_the_full_image_has_it():
    """From what the network would have to say of the changed crop, back to the camera of the full image."""
    batch = made().batch(6)
    seen = seen_of(batch, paired=True)
    body, single = free_body().points(SPIN49), points(SPIN49)
    own = seen.camera.project(body.pose(seen.truth).points)
    assert (own - seen.keypoints.xy).abs().max() < 0.1  # pixels: the crops' keypoints are float32
    pelvis = replace(batch.params, transl=torch.zeros_like(batch.params.transl))
    weak = torch.tensor([[0.9, 0.0, 0.0]]).expand(6, 3)
    back = unaugmented(Regression(pelvis, weak), batch.view, seen.turns, single)
    assert_close(back.rotations, seen.truth.rotations, rtol=0, atol=1e-5)
    assert weak_project(single.pose(pelvis).points, weak).isfinite().all()


def test_rows_are_those_of_the_mixture(tmp_path):
    npz = write_scenes(tmp_path)
    real = PersonImages(read_spin_npz(npz), tmp_path, Augmentation(), 40, name="people")
    mixed = MixedPeople([real, ScenePeople(scenes())], [1.0, 1.0])
    keys, batch = mixed.keys, mixed.batch(12)
    assert len(keys) == len(real) + len(scenes()) and len(set(keys)) == len(keys)
    assert [keys[i].data_set for i in (0, -1)] == ["people", "scenes 0"]
    for row, xy in zip(batch.seen.row.tolist(), batch.seen.keypoints.xy, strict=True):
        if row < len(real):
            assert torch.equal(xy, real.people.keypoints().xy[row])
        else:
            assert_close(xy, ScenePeople(scenes())[row - len(real)].seen.keypoints.xy[0], rtol=0, atol=1e-9)


def test_a_fit_counts_by_its_weights_and_only_where_the_truth_is_not_known():
    params, should = fits_of(3).params, fits_of(3, seed=1).params
    weight = torch.zeros(3, 24).double()
    weight[0], weight[1, 4] = 1.0, 0.5
    one = torch.ones(3).double()
    supervision = Supervision(should, weight, weight, one * weight[:, 4], one, one > 0)
    used = torch.tensor([True, True, True])
    a = (params.rotations[0] - should.rotations[0]).square().sum() + (params.betas[0] - should.betas[0]).square().sum()
    b = 0.5 * (params.rotations[1, 4] - should.rotations[1, 4]).square().sum()
    b = b + 0.5 * (params.betas[1] - should.betas[1]).square().sum()
    assert_close(weighted_smpl(params, supervision, used), 0.5 * (a + b) / 226 / 2)
    assert_close(weighted_smpl(params, supervision, ~used), torch.zeros(()).double())
