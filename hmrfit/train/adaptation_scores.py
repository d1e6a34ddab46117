"""What an adaptation is measured by, before and after, with the same people and the same random numbers.

synthetic hold-out    people whose truth is known, in poses that nothing is trained on, seen by the body's own points:
                      PA-MPJPE and MPJPE of estimate and fit over `keypoints.COMMON14`, mm; coverage: worst of 50, 68,
                      90 and 95 %, measured minus stated, of those joints about the pelvis
people set aside      of the user's, whose truth nobody knows: distance to the keypoints of estimate and fit, % of the
                      box; energy of the fit, nats a person (`fit_loop`'s, which has no network in it); and how far from
                      a limb's keypoints a fit to all the others puts them, % of the box (`fitting.leave_out`)

The last says most of a real detector: a body that is right predicts what it was not shown.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.evaluate.metrics import mpjpe, pa_mpjpe, reprojection_error
from hmrfit.evaluate.posterior_scores import SAMPLES, coverage_gap, truth_levels
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.leave_out import leave_out
from hmrfit.fitting.parameters import Layout, Observation, State
from hmrfit.fitting.uncertainty import sample_steps
from hmrfit.keypoints import COMMON14
from hmrfit.synthetic.people import People
from hmrfit.train.fit_loop import FitLoop
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.train.people_stream import assumed_camera
from hmrfit.types import BodyParams

PLACES = [SMPL.index(name) for name in COMMON14]

WORSE = 0.01
"""The fraction by which PA-MPJPE on the hold-out may rise, of estimate and of fit: the same people are seen before and
after."""

LESS_SURE = 0.03
"""By which the coverage gap may grow."""


@dataclass(frozen=True)
class HoldOutScores:
    """On synthetic people."""

    estimate_pa_mpjpe_mm: float
    estimate_mpjpe_mm: float
    fit_pa_mpjpe_mm: float
    fit_mpjpe_mm: float
    reprojection_percent: float
    coverage_gap: float


@dataclass(frozen=True)
class AsideScores:
    """On the user's people who are set aside."""

    estimate_reprojection_percent: float
    fit_reprojection_percent: float
    energy: float
    left_out_percent: float


def score_hold_out(fitter: Fitter, people: People, seed: int = 0) -> HoldOutScores:
    """Of people with their truth; the focal length is not known."""
    camera = assumed_camera(people.camera, torch.zeros(len(people.joints), dtype=torch.bool))
    assert fitter.network is not None
    estimate, fit = fitter.network.predict(people.keypoints, camera).params, fitter.fit(people.keypoints, camera)
    points = fitter.point_body(people.keypoints.names)
    joints = [points.pose(params).joints for params in (estimate, fit.state.params)]
    (of_estimate, absolute_estimate), (of_fit, absolute_fit) = (joint_errors(found, people.joints) for found in joints)
    projected = camera.project(points.pose(fit.state.params).points)
    keypoints = people.keypoints
    away = reprojection_error(projected, keypoints.xy, keypoints.confidence, keypoints.box_size())
    levels = posterior_levels(fitter, fit, people.joints, points, seed)
    return HoldOutScores(
        of_estimate, absolute_estimate, of_fit, absolute_fit, 100 * away.mean().item(), coverage_gap(levels)
    )


def joint_errors(joints: Tensor, truth: Tensor) -> tuple[float, float]:
    """(PA-MPJPE, MPJPE with the pelvises together) of all joints (B, J, 3), means in millimetres."""
    found, true = joints[:, PLACES], truth[:, PLACES]
    absolute = mpjpe(found, true, joints[:, 0], truth[:, 0])
    return 1e3 * pa_mpjpe(found, true).mean().item(), 1e3 * absolute.mean().item()


def posterior_levels(fitter: Fitter, fit: Fit, truth: Tensor, points: PointBody, seed: int) -> Tensor:
    """(B, 14) how far out in the posterior each joint's truth lies, about the pelvis."""
    which, steps = sample_steps(fitter.posterior(fit), SAMPLES, np.random.default_rng(seed))
    everyone, layout = BodyParams.cat([state.params for state in fit.hypotheses]), Layout.everything(points)
    B, rows = len(fit), torch.arange(len(fit))
    drawn = []
    for hypothesis, step in zip(which, steps, strict=True):
        state = State(everyone[hypothesis * B + rows], fit.state.camera).retract(step, points.parents, layout)
        joints = points.pose(state.params).joints
        drawn.append(joints[:, PLACES] - joints[:, :1])
    return truth_levels(torch.stack(drawn), truth[:, PLACES] - truth[:, :1])


def score_aside(fitter: Fitter, people: KnownPeople) -> AsideScores:
    """Of people of whom keypoints alone are known."""
    keypoints, camera = people.keypoints, people.camera
    assert fitter.network is not None
    estimate, fit = fitter.network.predict(keypoints, camera).params, fitter.fit(keypoints, camera)
    points, box = fitter.point_body(keypoints.names), keypoints.box_size().clamp_min(1.0)
    of_estimate, of_fit = (
        100 * reprojection_error(camera.project(points.pose(p).points), keypoints.xy, keypoints.confidence, box).mean()
        for p in (estimate, fit.state.params)
    )
    energies = FitLoop.energies(fitter.route(keypoints.names), fit.state, Observation.of(keypoints))
    predicted = leave_out(fitter, keypoints, camera, fit=fit).predicted
    energy = torch.stack(energies).sum(0).mean().item()
    return AsideScores(of_estimate.item(), of_fit.item(), energy, 100 * predicted.nanmean().item())


def what_got_worse(before: HoldOutScores, after: HoldOutScores) -> list[str]:
    """Sentences: what the hold-out has against handing the adapted model over; empty where it has nothing."""
    found = []
    for what, name in (("estimate", "estimate_pa_mpjpe_mm"), ("fit", "fit_pa_mpjpe_mm")):
        old, new = getattr(before, name), getattr(after, name)
        if not new <= (1 + WORSE) * old:
            found.append(f"PA-MPJPE of the {what} on synthetic people rose from {old:.1f} to {new:.1f} mm")
    if not after.coverage_gap <= before.coverage_gap + LESS_SURE:
        old, new = 100 * before.coverage_gap, 100 * after.coverage_gap
        found.append(f"regions there hold what they say to {new:.1f} points, before to {old:.1f}")
    return found
