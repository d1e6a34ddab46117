"""Clothed outlines: what is worn lies outside the body, where it is worn, and as far as it says."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from helpers.bodies import free_body
from helpers.fits import people

from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.synthetic.garments import DressedBody, Garments

COUNT = 4


@cache
def dressed_body() -> DressedBody:
    return DressedBody(free_body())


@cache
def naked() -> list[np.ndarray]:
    person = people(COUNT, "coco17", noise=0.01)
    vertices, draw = free_body()(person.params).vertices, BuiltinRenderer()
    return [draw.silhouette(vertices[i : i + 1], free_body().faces, person.camera[i])[0].numpy() for i in range(COUNT)]


def masks(worn: list[Garments], seed: int = 0) -> list[np.ndarray]:
    person = people(COUNT, "coco17", noise=0.01)
    return dressed_body().masks(person.params, person.camera, worn, torch.Generator().manual_seed(seed))


def drawn(kind: Callable[[torch.Generator], Garments], seed: int = 0) -> list[Garments]:
    generator = torch.Generator().manual_seed(seed)
    return [kind(generator) for _ in range(COUNT)]


def test_nothing_worn_is_the_silhouette():
    for mask, body in zip(masks([Garments()] * COUNT), naked(), strict=True):
        assert np.array_equal(mask, body)


def test_dressed_people_cover_their_bodies_and_more():
    """But for what the label's corners leave out."""
    for kind in (Garments.everyday, Garments.unusual):
        for mask, body in zip(masks(drawn(kind)), naked(), strict=True):
            assert (body & ~mask).sum() < 0.03 * body.sum()
            assert mask.sum() > body.sum()


def test_every_garment_adds_to_the_outline():
    """Where it is in the picture: of nobody it takes from it."""
    least = np.array([body.sum() for body in naked()])
    more = ({"shirt": 0.03}, {"thigh": 0.03, "ankle": 0.03}, {"skirt": 0.7}, {"hair": 0.04}, {"shoes": 0.02})
    for worn in more:
        area = np.array([mask.sum() for mask in masks([Garments(**worn)] * COUNT)])
        assert (area >= least).all() and (area > least).sum() >= COUNT - 1, worn


def test_cloth_stands_off_as_far_as_it_says():
    """The mean ease under a shirt is the shirt's; hands are bare, and feet below short legs."""
    noise = torch.rand(64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ease = dressed_body().ease(Garments(shirt=0.03, legs=0.4, thigh=0.01, ankle=0.02), noise)
    names = free_body().joint_names
    carried = free_body().weights.argmax(1)
    mean = {name: ease[carried == names.index(name)].mean().item() for name in ("spine2", "left_hand", "left_foot")}
    assert 0.025 < mean["spine2"] < 0.035 and mean["left_hand"] == mean["left_foot"] == 0.0


def test_the_same_seed_gives_the_same_masks():
    first, again, other = (masks(drawn(Garments.everyday, seed), seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
