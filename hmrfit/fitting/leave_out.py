"""Leave keypoints out, fit again, and see how far the fit predicts them: a check that needs no truth.

    d_k = |Pi(X_k(all but g)) - x_k| / box,     k in the group g that was left out

A keypoint that a fit to all the others predicts well tells that both are right. One whose residual is far larger than
the rest is either wrong itself or shows what the prior does not know: the body is unsure there. Beside it, the same for
the initial estimate, from the same keypoints: a fit that predicts what it has not seen worse than its own start has
followed the noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import State
from hmrfit.keypoints import limb_of
from hmrfit.types import Keypoints

LIMBS = ("left_arm", "left_leg", "right_arm", "right_leg", "head")
"""The keypoints that `limb_of` counts to one of these are left out together; those of none are left out alone."""

FEWEST = 3
"""Keypoints that must be left to fit to."""

ROWS = 256
"""Fits at a time."""


@dataclass(frozen=True)
class LeftOut:
    """How far B people's K keypoints were predicted; distances as a share of the person's box, NaN where a keypoint was
    not seen or too few others were."""

    names: tuple[str, ...]
    groups: dict[str, tuple[int, ...]]
    predicted: Tensor  # (B, K) with the keypoint's group left out
    fitted: Tensor  # (B, K) with all of them
    start: Tensor | None  # (B, K) by the initial estimate alone, the group left out; None where there is no network

    def of_group(self, which: Tensor | None = None) -> dict[str, Tensor]:
        """Group -> (B,) mean over its seen keypoints; of `predicted`, or another of the (B, K)."""
        which = self.predicted if which is None else which
        return {name: which[:, list(places)].nanmean(1) for name, places in self.groups.items()}

    def farthest(self) -> list[str]:
        """(B) the group that each person's fit predicts worst; empty where there is none."""
        means = torch.stack(list(self.of_group().values()), 1).nan_to_num(-1.0)
        best = means.max(1)
        return [list(self.groups)[k] if value >= 0 else "" for value, k in zip(*map(Tensor.tolist, best), strict=True)]


def leave_out(
    fitter: Fitter,
    keypoints: Keypoints,
    camera: Camera,
    groups: str | Mapping[str, Sequence[str]] = "limbs",
    fit: Fit | None = None,
) -> LeftOut:
    """Fit every person again without each group of keypoints.

    Args:
        fitter, keypoints, camera: as for `Fitter.fit`.
        groups: "limbs", "keypoints" (each alone), or name -> keypoint names.
        fit: of all keypoints, where it is at hand; else it is made.

    Raises:
        ValueError: a name in `groups` that is not among the keypoints, or another word.
    """
    chosen = _groups(keypoints.names, groups)
    seen = keypoints.confidence > 0
    member = torch.zeros(len(chosen), len(keypoints.names), dtype=torch.bool)
    for g, places in enumerate(chosen.values()):
        member[g, list(places)] = True
    concerned = (seen[:, None] & member).any(2) & ((seen[:, None] & ~member).sum(2) >= FEWEST)
    person, group = concerned.nonzero().unbind(1)
    fit, network = fitter.fit(keypoints, camera) if fit is None else fit, fitter.network
    fitted = _distance(fitter, fit.state, keypoints)
    predicted, start = torch.full_like(fitted, torch.nan), torch.full_like(fitted, torch.nan)
    for rows in torch.arange(len(person)).split(ROWS) if len(person) else ():
        who, gone = person[rows], member[group[rows]]
        truth, lens = keypoints[who], camera[who]
        fewer = Keypoints(truth.xy, truth.confidence * ~gone, keypoints.names)
        row, place = (gone & seen[who]).nonzero().unbind(1)
        predicted[who[row], place] = _distance(fitter, fitter.fit(fewer, lens).state, truth)[row, place]
        if network is not None:
            guess = State(network.predict(fewer, lens).params, lens)
            start[who[row], place] = _distance(fitter, guess, truth)[row, place]
    return LeftOut(keypoints.names, chosen, predicted, fitted, None if network is None else start)


def _groups(names: tuple[str, ...], groups: str | Mapping[str, Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """Name -> places in the set; what is in no group stands alone."""
    if isinstance(groups, str):
        if groups not in ("limbs", "keypoints"):
            raise ValueError(f"groups is 'limbs', 'keypoints' or a mapping of names, not '{groups}'.")
        limbs = LIMBS if groups == "limbs" else ()
        found = {limb: tuple(i for i, n in enumerate(names) if limb_of(n) == limb) for limb in limbs}
    else:
        for name in (n for members in groups.values() for n in members):
            if name not in names:
                raise ValueError(f"groups: there is no keypoint '{name}' among the {len(names)} of this set.")
        found = {g: tuple(i for i, n in enumerate(names) if n in members) for g, members in groups.items()}
        return {g: places for g, places in found.items() if places}
    taken = {i for places in found.values() for i in places}
    alone = {f"{n}#{i}" if names.count(n) > 1 else n: (i,) for i, n in enumerate(names) if i not in taken}
    return {g: places for g, places in {**found, **alone}.items() if places}


def _distance(fitter: Fitter, state: State, keypoints: Keypoints) -> Tensor:
    """(B, K) of bodies to keypoints, a fraction of the box; NaN where unseen."""
    points = fitter.point_body(keypoints.names).pose(state.params).points
    away = (state.camera.project(points) - keypoints.xy).norm(dim=-1) / keypoints.box_size().clamp_min(1.0)[:, None]
    return torch.where(keypoints.confidence > 0, away, torch.nan)
