"""The loop: what is stored never gets worse, what supervises is as augmented as the network saw it, a resumed run has
the losses of an uninterrupted one."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.loop import NAMES, fitter, known, loop, objective, trainer
from helpers.stored_fits import fits_of
from helpers.training import flat, points
from torch.testing import assert_close

from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Observation, State
from hmrfit.network.hmr import project_in_crop
from hmrfit.train.fit_loop import FitLoop, is_power_of_two, root_of, unaugmented
from hmrfit.train.keypoint_loop import Truth, scale_of, supervised_losses
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights
from hmrfit.train.trainer import LAST, train
from hmrfit.train.turns import Turns
from hmrfit.types import BodyParams, Regression


def estimate(count: int, seed: int = 0) -> BodyParams:
    """Somebody near the middle of the picture, in any pose."""
    params = fits_of(count, seed).params
    at = torch.tensor([0.0, 0.0, 6.0]).double()
    return replace(params, betas=0.3 * params.betas, transl=0.1 * params.transl + at)


def seen_of(people, rows, turned: bool = False):
    stream = objective(people, None).people
    batch = stream.batch(len(rows))
    some = people[torch.tensor(rows)]
    turns = batch.seen.turns if turned else Turns.none(len(rows))
    truth = replace(batch.seen, turns=turns, keypoints=some.keypoints, camera=some.camera)
    return replace(truth, row=torch.tensor(rows), truth=some.truth, has_truth=some.has_truth)


def test_the_energy_of_the_store_never_rises_over_a_run(tmp_path):
    people = known()
    own = loop(tmp_path, people, every=True, mirror=False)
    run = trainer(people, own, rate=0.02, batch=4)
    before = torch.full((8,), torch.inf).double()
    for _ in range(4):
        run.train_step()
        found, there = own.store.get(people.keys)
        now = before.clone()
        now[there] = found.energy
        assert (now <= before).all()
        before = now
    assert before.isfinite().sum() >= 4
    route = fitter().route(NAMES)
    found, there = own.store.get(people.keys)
    again = FitLoop.energies(route, State(found.params, found.camera), Observation.of(people.keypoints[there]))
    assert_close(sum(again), found.energy, rtol=1e-9, atol=1e-9)  # and it is the energy of what is stored


def test_of_a_persons_duplicates_in_a_batch_the_better_one_is_kept(tmp_path):
    people = known()
    starts = BodyParams.cat([estimate(1), estimate(1, seed=4)])
    seen = seen_of(people, [2, 2])
    each = []
    for i in range(2):
        (folder := tmp_path / str(i)).mkdir()
        alone = loop(folder, people, mirror=False)
        alone.visit(seen[[i]], starts[[i]])
        each.append(alone.store.get([people.keys[2]])[0].energy.item())
    (folder := tmp_path / "both").mkdir()
    both = loop(folder, people, mirror=False)
    both.visit(seen, starts)
    assert both.store.get([people.keys[2]])[0].energy.item() == pytest.approx(min(each), rel=1e-9)


def test_a_persons_fit_does_not_depend_on_the_batch_and_nothing_of_the_batch_is_edited(tmp_path):
    people, starts = known(), estimate(4)
    seen = seen_of(people, [0, 1, 2, 3], turned=True)
    before = flat(dict(vars(seen)))
    copies = {
        n: {k: v.clone() for k, v in vars(r).items() if isinstance(v, torch.Tensor)}
        for n, r in before.items()
        if hasattr(r, "map")
    }
    (one := tmp_path / "one").mkdir()
    (all_of := tmp_path / "all").mkdir()
    own = loop(all_of, people, library=1)
    own.poses = torch.zeros(1, 69).double()
    together = own.visit(seen, starts)
    for name, tensors in copies.items():
        for key, value in tensors.items():
            assert torch.equal(getattr(before[name], key), value)
    single = loop(one, people, library=1)
    single.poses = own.poses
    alone = single.visit(seen[[1]], starts[[1]])
    assert_close(alone.params.rotations[0], together.params.rotations[1], rtol=0, atol=1e-6)
    assert_close(alone.joints[0], together.joints[1], rtol=0, atol=1e-6)


def test_store_to_augmented_to_store_is_the_same(tmp_path):
    people = known()
    own, seen = loop(tmp_path, people), seen_of(people, [0, 1, 2, 3], turned=True)
    should = own.visit(seen, estimate(4))
    stored = own.store.get(people.keys[:4])[0]
    back = seen.turns.inverse.params(should.params, own.root(should.params.betas))
    assert_close(back.rotations, stored.params.rotations, rtol=0, atol=1e-6)
    assert_close(back.transl, stored.params.transl, rtol=0, atol=1e-6)


def test_a_networks_estimate_of_the_turned_crop_looks_the_same_in_the_full_image():
    batch = objective(known(), None).people.batch(5)
    body = points(LANDMARKS)
    params = replace(estimate(5).map(torch.Tensor.float), transl=torch.zeros(5, 3))
    weak = torch.tensor([0.8, 0.05, 0.2]).expand(5, 3)
    full = unaugmented(Regression(params, weak), batch.view, batch.seen.turns, body)
    seen_by = free_body().points(NAMES)
    pixels = batch.seen.camera.project(seen_by.pose(full).points)
    center = batch.seen.camera.center[:, None]
    turned = batch.seen.turns.points(pixels - center, NAMES) / batch.seen.camera.focal[:, None]
    in_box = 2 * (turned - batch.view[:, None, :2]) / batch.view[:, None, 2:]
    expected = project_in_crop(seen_by.pose(params.to(torch.float64)).points, weak.double(), batch.view.double())
    assert_close(in_box, expected, rtol=0, atol=2e-3)  # the landmarks are symmetric to a tenth of a millimetre
    scale = scale_of(batch.seen.turns.params(full, root_of(body, full.betas)).transl, batch.view.double())
    assert_close(scale, weak[:, 0].double(), rtol=1e-6, atol=0)


def put(own: FitLoop, key, **changes) -> None:
    fit = fits_of(1)
    own.store.put([key], replace(fit, accepted=torch.tensor([True]), **changes), replace=True)


def test_truth_wins_an_implausible_shape_is_the_mean_and_a_rejected_fit_says_nothing(tmp_path):
    people = known(truth=True)
    people = replace(people, has_truth=torch.tensor([True, False, False, False, False, False, False, False]))
    own, seen = loop(tmp_path, people), seen_of(people, [0, 1, 2, 3])
    betas = torch.tensor([[2.9] * 10, [2.9] * 9 + [3.01]]).double()
    put(own, people.keys[0])
    fit = fits_of(1)
    for row, some in ((1, betas[:1]), (2, betas[1:])):
        put(own, people.keys[row], params=replace(fit.params, betas=some))
    own.store.put([people.keys[3]], replace(fit, accepted=torch.tensor([False])), replace=True)
    should = own.supervision(seen, people.keys[:4])
    assert_close(should.params.rotations[0], people.truth.rotations[0], rtol=0, atol=1e-12)
    assert (should.rotations[0] == 1).all() and (should.joints[0] == 1).all()
    assert torch.equal(should.params.betas[1], betas[0]) and not should.params.betas[2].any()
    assert_close(own.store.get([people.keys[2]])[0].params.betas, betas[1:])  # the store keeps the fit's own
    assert not should.rotations[3].any() and not should.joints[3].any() and not should.betas[3]
    assert should.accepted.tolist() == [True, True, True, False]


def test_nobody_to_learn_from_is_no_loss_and_a_gradient_of_0():
    body, view = points(LANDMARKS), torch.tensor([[0.0, 0.0, 0.3]]).expand(4, 3)
    people = known()
    truth = Truth(body).visit(seen_of(people, [0, 1, 2, 3]), estimate(4))
    params = replace(estimate(4).map(torch.Tensor.float), betas=torch.zeros(4, 10, requires_grad=True))
    weak = torch.tensor([0.9, 0.0, 0.0]).repeat(4, 1).requires_grad_()
    losses = supervised_losses(Regression(params, weak), truth, view, body, KeypointLossWeights())
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert not weak.grad.any() and not params.betas.grad.any()


def test_only_people_with_a_fit_get_a_gradient_from_it():
    body, view = points(LANDMARKS), torch.tensor([[0.0, 0.0, 0.3]]).expand(2, 3)
    people = replace(known(truth=True), has_truth=torch.tensor([True] + [False] * 7))
    should = Truth(body).visit(seen_of(people, [0, 1]), estimate(2))
    params = estimate(2).map(torch.Tensor.float)
    rotations = params.body_pose.clone().requires_grad_()
    regression = Regression(replace(params, body_pose=rotations), torch.tensor([[0.9, 0.0, 0.0]] * 2))
    sum(supervised_losses(regression, should, view, body, KeypointLossWeights()).values()).backward()
    assert rotations.grad[0].any() and not rotations.grad[1].any()


def test_an_estimate_that_is_no_number_leaves_the_store_as_it_was(tmp_path):
    people = known()
    own, seen = loop(tmp_path, people, mirror=False), seen_of(people, [0, 1])
    bad = estimate(2)
    bad.transl[0] = torch.nan
    own.visit(seen, bad)
    assert own.store.get(people.keys[:2])[1].tolist() == [False, True]


def test_fits_are_made_at_visits_1_2_4_8():
    assert [n for n in range(20) if is_power_of_two(torch.tensor(n))] == [1, 2, 4, 8, 16]


def test_a_run_that_was_stopped_goes_on_with_the_losses_of_an_uninterrupted_one(tmp_path):
    people = known()
    (a := tmp_path / "a").mkdir()
    (b := tmp_path / "b").mkdir()
    how = {"every": True, "mirror": False}
    whole = trainer(people, loop(a, people, **how), batch=3)
    expected = [whole.train_step() for _ in range(4)]
    first = trainer(people, loop(b, people, **how), batch=3)
    for _ in range(2):
        first.train_step()
    first.save(b / LAST)
    first.train_step()
    first.fits.commit(3)  # and killed here, the checkpoint of step 3 not yet written
    first.fits.close()
    second = trainer(people, loop(b, people, **how), batch=3)
    second.load(b / LAST)
    for one in expected[2:]:
        found = second.train_step()
        assert found == pytest.approx(one, rel=1e-6, abs=1e-9)


def test_a_run_keeps_its_fits_beside_its_state(tmp_path):
    people = known()
    train(
        trainer(people, loop(tmp_path, people, mirror=False), steps=2, batch=3),
        tmp_path,
        every=1,
        save_every=1,
        quiet=True,
    )
    own = loop(tmp_path, people)
    own.store.rollback(torch.load(tmp_path / LAST, weights_only=True)["step"])
    assert len(own.store) > 0
    camera = own.store.get(list(own.store.keys()))[0].camera
    assert torch.equal(camera.size, Camera.from_size(1024, 768, count=len(camera)).size)
