"""The label model: which keypoints each exchange moves, what is said of a mirror image, batches, files."""

from functools import cache
from pathlib import Path

import pytest
import torch

from hmrfit.assets import locate
from hmrfit.keypoints import COCO17, LIMBS, flip_permutation, keypoint_sets
from hmrfit.network.checkpoints import load_error_model, load_label_model, save_network
from hmrfit.network.inference import packed
from hmrfit.network.label_model import (
    EXCHANGES,
    TRAINED_EXCHANGED,
    LabelModel,
    LabelOdds,
    exchanged_places,
    limb_members,
)
from hmrfit.types import Keypoints
from tests.helpers.fits import people, photograph

B = 48


@cache
def model() -> LabelModel:
    return packed(load_label_model(locate("label_model")))


@cache
def right() -> Keypoints:
    return people(B, "coco17", noise=0.01).keypoints


def exchanged(what: str) -> Keypoints:
    return right().rearranged(exchanged_places(COCO17)[list(EXCHANGES).index(what)].expand(B, -1))


@pytest.mark.parametrize("name", [name for name, names in keypoint_sets().items() if flip_permutation(names)])
def test_an_exchange_moves_only_keypoints_of_its_parts_to_their_mirror_images(name: str) -> None:
    names = keypoint_sets()[name]
    mirrored, own = torch.tensor(flip_permutation(names)), torch.arange(len(names))
    for sources in exchanged_places(names):
        assert ((sources == own) | (sources == mirrored)).all()
        assert torch.equal(sources[sources], own)  # twice is nothing
    everything = exchanged_places(names)[list(EXCHANGES).index("Everything")]
    assert torch.equal(everything, mirrored)
    assert limb_members(names).sum(0).max() <= 1


def test_feet_are_of_the_shanks_and_shanks_of_the_legs() -> None:
    places = dict(zip(EXCHANGES, exchanged_places(COCO17) != torch.arange(17), strict=True))
    assert {COCO17[k] for k in places["The feet"].nonzero()[:, 0]} == {"left_ankle", "right_ankle"}
    for less, more in (("feet", "shanks"), ("shanks", "legs"), ("hands", "forearms"), ("forearms", "arms")):
        assert (places[f"The {more}"] | ~places[f"The {less}"]).all()


def test_exchanged_people_are_told_from_right_ones() -> None:
    """Better than by chance by far; a leg that crosses the other is as possible exchanged."""
    doubted = lambda keypoints: model().look(keypoints, photograph(B)).of_exchanges().sum(1) > 0.5  # noqa: E731
    assert doubted(right()).sum() <= 2
    for what in ("The arms", "Everything but the face"):
        assert doubted(exchanged(what)).sum() >= 8


def test_rare_mistakes_need_more_to_be_believed() -> None:
    odds = model().look(exchanged("The arms"), photograph(B))
    rare, often = odds.of_exchanges(0.01).sum(1), odds.of_exchanges(TRAINED_EXCHANGED).sum(1)
    assert (rare < often).all()
    none = LabelOdds(torch.zeros(1, 1 + len(EXCHANGES)), torch.zeros(1, 1 + len(LIMBS)))
    torch.testing.assert_close(none.of_exchanges(TRAINED_EXCHANGED).sum(1), torch.tensor([len(EXCHANGES) / 9]))


def test_of_the_mirror_image_the_same_is_said_of_the_other_limb() -> None:
    camera = photograph(B)
    xy = right().xy[:, flip_permutation(COCO17)] * torch.tensor([-1.0, 1.0]) + 2 * camera.center[
        :, None
    ] * torch.tensor([1.0, 0.0])
    mirrored = Keypoints(xy, right().confidence[:, flip_permutation(COCO17)], COCO17)
    first, second = model().look(right(), camera), model().look(mirrored, camera)
    torch.testing.assert_close(first.exchange, second.exchange, atol=1e-4, rtol=0)
    torch.testing.assert_close(first.borrowed, second.borrowed[:, [0, 2, 1, 4, 3]], atol=1e-4, rtol=0)


def test_what_is_said_does_not_depend_on_batch_mates() -> None:
    odds, alone = model().look(right(), photograph(B)), model().look(right()[:1], photograph(1))
    assert torch.equal(odds.exchange[:1], alone.exchange)


def test_a_model_is_saved_and_read(tmp_path: Path) -> None:
    own = LabelModel(32, 1, COCO17)
    save_network(tmp_path / "own.npz", own)
    other = load_label_model(tmp_path / "own.npz")
    odds, found = own.look(right(), photograph(B)), other.look(right(), photograph(B))
    torch.testing.assert_close(odds.borrowed, found.borrowed)
    with pytest.raises(ValueError, match="LabelModel"):
        load_error_model(tmp_path / "own.npz")
