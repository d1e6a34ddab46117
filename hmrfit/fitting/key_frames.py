"""Where the fit of a sequence begins: every k-th frame is fitted alone, twice as many are solved together, all others
lie between.

    R_t = R_a exp(u log(R_a^T R_b)),   u = (t - a)/(b - a),   a <= t <= b the nearest key frames

gives the coarse frames between key frames their poses. They have their own initial estimate and its error (the anchor),
as wide as those of the key frames beside them became, as all frames have. Where the interpolated pose is far from its
keypoints, or a key frame beside it had to be fitted again, a coarse frame is fitted alone too.

The coarse frames together are a sequence of fewer frames a second. Between what it becomes, all others are on a cubic,

    R_t = R_a exp(h(u)),   h(0) = 0, h(1) = log(R_a^T R_b), h'(0), h'(1) the mean of the turns on both sides of a and b

from where two steps are enough. Where the sequence begins decides little, except in hard poses: without the fits
from other starts that those get (`hmrfit.fitting.retry`), three clips of gymnasts were 1.4 mm worse
(PA-MPJPE 83.9, 82.5 with them, 82.1 from fits of all frames).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from hmrfit.fitting.anchor_inflation import inflated
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import State
from hmrfit.fitting.pieces import CHUNK, side_by_side, slices
from hmrfit.fitting.retry import mean_distance
from hmrfit.fitting.route import Begun
from hmrfit.fitting.starts import Given
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.types import BodyParams

APART = 0.135
"""Seconds between coarse frames, at most; every second one is a key frame."""

FAR = 0.03
"""Of the box, mean distance to the keypoints, from which a frame is fitted alone; twice that of a good fit."""

FEW_KEYS = 16
"""Frames that are one batch at least; more are two, for two threads."""


def key_frames_apart(fps: float) -> int:
    """How many frames there are from one key frame to the next."""
    return 2 * int(APART * fps) if APART * fps >= 1 else 1


def coarse_frames(T: int, fps: float) -> Tensor:
    """The coarse ones of T frames, the first and last among them; ascending."""
    apart = max(1, key_frames_apart(fps) // 2)
    return torch.cat([torch.arange(0, T, apart), torch.tensor([T - 1])]).unique()


def fitted_frames(fitter: Fitter, given: Given, usable: Tensor, fps: float) -> Fit:
    """A fit of every frame to begin with, of which those of coarse frames are meant to be used.

    usable: (T,) bool, the frames that may be key frames.
    """
    T, rows = len(given), usable.nonzero()[:, 0]
    run = rows // key_frames_apart(fps)  # the first usable frame of each run of so many, wherever a sequence is cut
    keys = torch.cat([rows[run.diff(prepend=run[:1] - 1) > 0], rows[-1:]]).unique()
    if len(keys) == T:
        return _fit(fitter, given)
    fit, begun = _at_keys(fitter, given, keys)
    between = torch.ones(T, dtype=torch.bool)
    between[keys] = False
    rest = between.nonzero()[:, 0]
    right = torch.searchsorted(keys, rest).clamp(max=len(keys) - 1)
    left = (right - 1).clamp_min(0)
    u = ((rest - keys[left]) / (keys[right] - keys[left]).clamp_min(1)).clamp(0, 1).double()
    wider = _wider(begun[keys], fit)
    state = State(interpolated(fit.state.params, left, right, u), begun[rest].state.camera)
    begun = _widened(replace(begun[rest], state=state, hypotheses=[state]), torch.lerp(wider[left], wider[right], u))
    frames = fitter.schedule.frames
    far = FAR if frames is None else frames.far
    again = mean_distance(begun, fitter.route(given.keypoints.names)) > far
    if fit.acceptance is not None:
        unsure = fit.acceptance.reason != 0
        again |= unsure[left] | unsure[right]
    coarse = torch.zeros(T, dtype=torch.bool)
    coarse[coarse_frames(T, fps)] = True
    again &= coarse[rest]
    begun, kept, alone = begun[~again], rest[~again], rest[again]
    parts, order = [fit, begun], [keys, kept]
    if len(alone):
        fits = side_by_side(partial(_fit, fitter), [given[alone[part]] for part in _halves(len(alone), FEW_KEYS)])
        parts, order = [*parts, *fits], [*order, alone]
    parts = [replace(part, acceptance=None, start_term_cost={}) for part in parts if len(part)]
    return Fit.cat(parts)[torch.cat(order).argsort()]


def _fit(fitter: Fitter, given: Given) -> Fit:
    """Of these frames alone."""
    fit = fitter.fit(given.keypoints, given.camera, given.init, given.init_std, given.measurements)
    return replace(fit, seeker=None)


def _halves(count: int, few: int = 1) -> list[slice]:
    """So many frames in two parts for two threads, if they are more than `few`."""
    each = max(-(-count // 2), few)
    return slices(count, min(each, CHUNK), each)


def _at_keys(fitter: Fitter, given: Given, keys: Tensor) -> tuple[Fit, Fit]:
    """(the fit of the key frames, all frames where their fit begins, in the form of one); side by side."""
    of_keys = [keys[part] for part in _halves(len(keys), FEW_KEYS)]
    begins = _halves(len(given))
    tasks: list[Callable[[], Fit | Begun]] = [partial(_fit, fitter, given[rows]) for rows in of_keys]
    tasks += [partial(fitter.begin, given[part]) for part in begins]
    done = side_by_side(lambda task: task(), tasks)
    fits = [one for one in done if isinstance(one, Fit)]
    fit = fits[0] if len(fits) == 1 else Fit.cat(fits)
    return fit, Fit.cat([_in_form(one, fit) for one in done if isinstance(one, Begun)])


def _in_form(begun: Begun, like: Fit) -> Fit:
    """Frames where their fit begins, in the form of one."""
    state = begun.state
    nothing = state.params.transl.new_zeros(len(state))
    whole = torch.zeros(len(state), dtype=torch.int64)
    return replace(
        like[:0],
        state=state,
        cost=nothing,
        term_cost=dict.fromkeys(like.term_cost, nothing),
        status=whole,
        steps=whole,
        hypotheses=[state],
        hypothesis_cost=nothing[:, None],
        observation=begun.observation,
        start=None if like.start is None else state,
        acceptance=None,
        start_term_cost={},
    )


def _wider(begun: Fit, fit: Fit) -> Tensor:
    """(n,) log of how much greater the variances of the fits' anchors are than those that they began with."""
    before, after = begun.observation.anchor, fit.observation.anchor
    if before is None or after is None:
        return torch.zeros(len(fit), dtype=torch.float64)
    return 2 * (after.scale[:, 0] / before.scale[:, 0]).log()


def _widened(fit: Fit, wider: Tensor) -> Fit:
    """The frames with their anchors' variances times exp `wider` (n,)."""
    anchor = fit.observation.anchor
    if anchor is None:
        return fit
    return replace(fit, observation=replace(fit.observation, anchor=inflated(anchor, wider.exp()[:, None])))


def interpolated(params: BodyParams, left: Tensor, right: Tensor, u: Tensor) -> BodyParams:
    """The bodies between those of the rows `left` and `right`, at u (m,) from 0 to 1."""
    a, b = params[left], params[right]
    share = u[:, None, None]
    turn = matrix_to_rotvec(a.rotations.mT @ b.rotations)
    rotations = a.rotations @ rotvec_to_matrix(share * turn)
    betas, transl = (torch.lerp(x, y, u[:, None]) for x, y in ((a.betas, b.betas), (a.transl, b.transl)))
    return BodyParams(rotations[:, 0], rotations[:, 1:], betas, transl)


def on_a_cubic(params: BodyParams, at: Tensor, T: int) -> BodyParams:
    """T frames through the bodies of the frames `at` (n,), ascending, the first and the last among them."""
    if len(at) == T:
        return params
    gap = at.diff().double()
    t = torch.arange(T)
    a = (torch.searchsorted(at, t, right=True) - 1).clamp(0, len(gap) - 1)
    u = ((t - at[a]) / gap[a]).double()
    rotations = params.rotations
    turn = matrix_to_rotvec(rotations[:-1].mT @ rotations[1:])
    h = _hermite(turn, gap, a, u)
    found = rotations[a] @ rotvec_to_matrix(h)
    transl = params.transl[a] + _hermite(params.transl.diff(dim=0), gap, a, u)
    return BodyParams(found[:, 0], found[:, 1:], params.betas[:1].expand(T, -1).contiguous(), transl)


def _hermite(step: Tensor, gap: Tensor, a: Tensor, u: Tensor) -> Tensor:
    """h(u) of frames (T,) in the intervals `a`, from the steps (n - 1, ...) over intervals of `gap` (n - 1,) frames."""
    of_all = lambda values: values.view(-1, *[1] * (step.ndim - 1))  # noqa: E731
    slope, wide = step / of_all(gap), of_all(gap)
    inner = (slope[:-1] * wide[1:] + slope[1:] * wide[:-1]) / (wide[:-1] + wide[1:])
    tangent = torch.cat([slope[:1], inner, slope[-1:]])
    u, wide = of_all(u), wide[a]
    begins, passes, ends = u**3 - 2 * u**2 + u, 3 * u**2 - 2 * u**3, u**3 - u**2
    return begins * wide * tangent[a] + passes * step[a] + ends * wide * tangent[a + 1]
