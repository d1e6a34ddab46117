"""Learning a few people by heart: every loss of either encoder goes to its floor."""

from dataclasses import replace

import pytest
import torch
from helpers.training import image_trainer, made, stream, trainer

from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.train.losses import KeypointLossWeights, LossWeights, adversarial_encoder, discriminator_loss
from hmrfit.types import Regression


def by_heart(run, batch) -> tuple[dict[str, float], dict[str, float]]:
    """The losses of the first and of the last step of a run that sees one batch alone."""
    run.objective.batch = lambda count, progress: batch
    first = last = run.train_step()
    while run.progress < 1:
        last = run.train_step()
    return first, last


def test_the_keypoint_losses_go_to_their_floor():
    """Floors of the unweighted terms: millimetres, thousandths; each at least twenty times lower than at first."""
    unit = KeypointLossWeights(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, adversarial=0.0)
    batch = stream().batch(4)
    first, last = by_heart(trainer(unit, steps=400, rate=5e-3, warm_up=5), batch)
    floors = {"joints": 0.01, "canonical": 0.01, "rotations": 0.003, "betas": 0.02, "reprojection": 0.02, "scale": 0.02}
    assert floors.keys() <= last.keys()
    for name, floor in floors.items():
        assert last[name] < floor and last[name] < first[name] / 20, (name, first[name], last[name])


@pytest.mark.parametrize("paired", [True, False])
def test_the_image_losses_go_to_their_floor(paired):
    """Reprojection in the crop's [-1, 1]; ½ mean ‖X − X̂‖² of 1.5 cm is 1.1e-4; ½ mean ‖[R, β] − ...‖²."""
    weights = LossWeights(1.0, 10.0, 1.0, adversarial=0.0, paired=paired)
    run = image_trainer(made(), weights, steps=250, rate=5e-3, warm_up=5, batch=4)
    run.hmr.regressor.dropout.p = 0.0
    first, last = by_heart(run, made().batch(4))
    floors = {"reprojection": 0.02} | ({"joints_3d": 10 * 1.1e-4, "smpl": 0.005} if paired else {})
    assert set(last) == {*floors, "gradient"}
    for name, floor in floors.items():
        assert last[name] < floor and last[name] < first[name] / 10, (name, first[name], last[name])


def test_discriminators_end_at_one_half_where_fakes_equal_the_truth():
    """Fakes that are the very truth: all 25 end at 1/2, so L(D) ends at 25/2 and L_adv(E) at 25/4."""
    torch.manual_seed(0)
    people = stream().batch(6).params
    discriminators = FactorizedDiscriminator(width=8, hidden=16)
    optimizer = torch.optim.Adam(discriminators.parameters(), 0.01)
    fakes = [Regression(people[2 * i : 2 * i + 2], torch.zeros(2, 3)) for i in range(3)]
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        losses.append(discriminator_loss(discriminators, people, fakes))
        losses[-1].backward()
        optimizer.step()
    assert losses[0] > 15 and losses[-1].item() == pytest.approx(12.5, abs=0.05)
    scores = discriminators(people.body_pose, people.betas)
    assert adversarial_encoder(scores).item() == pytest.approx(6.25, abs=0.2)


def test_discriminators_distinguish_other_people():
    """Real ones in other poses than the fakes': L(D) goes well below 12.5, towards 0."""
    torch.manual_seed(0)
    people = stream().batch(12).params
    bent = replace(people[6:], body_pose=people[6:].body_pose.flip(1), betas=people[6:].betas + 3)
    discriminators = FactorizedDiscriminator(width=8, hidden=16)
    optimizer = torch.optim.Adam(discriminators.parameters(), 0.01)
    fakes = [Regression(bent[2 * i : 2 * i + 2], torch.zeros(2, 3)) for i in range(3)]
    for _ in range(300):
        optimizer.zero_grad()
        loss = discriminator_loss(discriminators, people[:6], fakes)
        loss.backward()
        optimizer.step()
    assert loss < 2.5
