"""Training the label model: what is done to people, how it is called, and that it can be learned."""

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import gmm, limits, people

from hmrfit.keypoints import COCO17, LIMBS
from hmrfit.network.label_model import (
    EXCHANGES,
    TRAINED_BORROWED,
    TRAINED_EXCHANGED,
    LabelModel,
    exchanged_places,
    limb_members,
)
from hmrfit.train.label_training import LabelPeople, spoilt, train_label_model, with_others_limbs
from hmrfit.train.people_stream import PosePool
from hmrfit.types import Keypoints

B = 600


@pytest.fixture(scope="module")
def right() -> Keypoints:
    return people(B, "coco17", missing=0.1).keypoints


def test_what_was_done_is_undone_by_its_name(right: Keypoints) -> None:
    generator = torch.Generator().manual_seed(0)
    found = spoilt(right, generator)
    places = torch.cat([torch.arange(17)[None], exchanged_places(COCO17)])
    back = found.keypoints.rearranged(places[found.exchange])
    whole = found.borrowed == 0
    seen = right.confidence > 0
    assert torch.equal(back.confidence, right.confidence)
    torch.testing.assert_close(back.xy[seen & whole[:, None]], right.xy[seen & whole[:, None]])
    assert abs(float((found.exchange > 0).double().mean()) - TRAINED_EXCHANGED) < 0.08
    assert set(found.exchange.tolist()) == set(range(1 + len(EXCHANGES)))


def test_an_exchange_of_unseen_keypoints_is_none(right: Keypoints) -> None:
    """And where only feet are seen of the legs, exchanging either has the name of both that comes first."""
    legs, feet = (list(EXCHANGES).index(what) for what in ("The legs", "The feet"))
    hidden = [k for k, name in enumerate(COCO17) if "hip" in name or "knee" in name]
    confidence = right.confidence.clone()
    confidence[:, hidden] = 0
    found = spoilt(Keypoints(right.xy, confidence, COCO17), torch.Generator().manual_seed(1))
    assert (found.exchange == 1 + legs).sum() > 0
    assert (found.exchange == 1 + feet).sum() == 0
    nobody = spoilt(Keypoints(right.xy, 0 * right.confidence, COCO17), torch.Generator().manual_seed(1))
    assert not nobody.exchange.any() and not nobody.borrowed.any()


def test_anothers_limb_is_one_limb_that_lies_elsewhere(right: Keypoints) -> None:
    found, limb = with_others_limbs(right, torch.Generator().manual_seed(2))
    moved = (found.xy != right.xy).any(-1)
    member = torch.nn.functional.pad(limb_members(COCO17), (0, 0, 1, 0))[limb]
    assert not (moved & ~member).any()
    assert torch.equal(moved.any(1), limb > 0)
    assert torch.equal(found.confidence, right.confidence)
    assert abs(float((limb > 0).double().mean()) - TRAINED_BORROWED) < 0.08
    assert set(limb.tolist()) == set(range(1 + len(LIMBS)))


def test_a_few_steps_lower_the_loss() -> None:
    theta = gmm().sample(200, torch.Generator().manual_seed(0)).unflatten(1, (-1, 3)).float()
    poses = torch.cat([torch.zeros(200, 1, 3), theta], 1)
    pool = PosePool(poses, poses, torch.ones(200), gmm(), limits())
    stream = LabelPeople(free_body().to(dtype=torch.float32), pool, torch.Generator().manual_seed(1))
    losses = [line for _, line in train_label_model(LabelModel(48, 1), stream, 40, rate=3e-3, count=64)]
    mean = lambda rows: sum(row["exchange"] + row["borrowed"] for row in rows) / len(rows)  # noqa: E731
    assert mean(losses[-10:]) < 0.9 * mean(losses[:5])
