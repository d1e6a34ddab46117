"""Left and right exchanged, seen from the fit: who is doubted, and of what."""

from dataclasses import replace
from functools import cache

import torch
from helpers.fits import fitter, people, photograph, shipped
from torch import Tensor

from hmrfit.fitting.exchanged_sides import exchanged_sides
from hmrfit.fitting.fit import Fit
from hmrfit.keypoints import COCO17, find_part
from hmrfit.types import Keypoints

B = 24
AS_THEY_ARE = {"PRIORS.LABELS": ""}
"""What looks for wrong names before finds most of them; here it is left out."""


@cache
def right() -> Keypoints:
    return people(B, "coco17", noise=0.01).keypoints


def exchanged(*parts: str) -> Keypoints:
    """The same with left and right of some parts exchanged."""
    source = list(range(len(COCO17)))
    for part in parts:
        a, b = (find_part(COCO17, f"{side}_{part}") for side in ("left", "right"))
        source[a], source[b] = b, a
    return Keypoints(right().xy[:, source], right().confidence[:, source], COCO17)


def distance(fit: Fit, keypoints: Keypoints) -> Tensor:
    projected = fit.state.camera.project(shipped(AS_THEY_ARE).point_body(COCO17).pose(fit.state.params).points)
    return (projected - keypoints.xy).norm(dim=-1) / keypoints.box_size()[:, None]


@cache
def doubts(*parts: str) -> tuple[list[str | None], Tensor]:
    """(what is doubted, (B,) whether the fit misses a keypoint) of people with these parts exchanged."""
    keypoints = exchanged(*parts)
    fit = shipped(AS_THEY_ARE).fit(keypoints, photograph(B))
    away = distance(fit, keypoints)
    return exchanged_sides(shipped(AS_THEY_ARE), fit, away), (away > 0.06).any(1)


def test_exchanged_shanks_are_doubted_where_the_body_misses_them():
    found, missed = doubts("knee", "ankle")
    hit = [found[i] for i in missed.nonzero()[:, 0].tolist()]
    assert len(hit) >= 6
    assert sum(what is not None for what in hit) >= 0.65 * len(hit)
    assert sum(what == "The shanks" for what in hit) >= 0.5 * len(hit)
    assert all(what is None for what, miss in zip(found, missed.tolist(), strict=True) if not miss)


def test_right_people_are_not_doubted():
    assert doubts()[0].count(None) >= B - 1


def test_a_wild_keypoint_is_no_exchange():
    """It is better left out."""
    xy = right().xy.clone()
    xy[:, find_part(COCO17, "left_ankle")] += 0.6 * right().box_size()[:, None]
    wild = replace(right(), xy=xy)
    fit = shipped(AS_THEY_ARE).fit(wild, photograph(B))
    away = distance(fit, wild)
    assert (away > 0.06).any(1).sum() > B / 2
    assert exchanged_sides(shipped(AS_THEY_ARE), fit, away).count(None) >= 0.9 * B


def test_without_an_initial_estimate_or_anybody_nothing_is_doubted():
    keypoints = exchanged("knee", "ankle")[:3]
    fit = fitter().fit(keypoints, photograph(3))
    assert exchanged_sides(fitter(), fit, torch.ones(3, len(COCO17))) == [None] * 3
    nobody = torch.zeros(0, dtype=torch.int64)
    assert (
        exchanged_sides(
            shipped(AS_THEY_ARE), shipped(AS_THEY_ARE).fit(right()[nobody], photograph(0)), torch.zeros(0, 17)
        )
        == []
    )
