"""Other answers that a picture allows: the components of a mixture over bodies, each fitted with a prior of its own.

    p(Θ | x) ≈ Σ_h p_h t_ν(Θ_h, C_h),     Θ_h = argmin E_h,     C_h = H_h⁻¹

    the mixture  ->  the few of its components that all others are near to  ->  fitted side by side
    ->  those that lead to one body, added up  ->  limbs whose depth is open shown the other way (`open_limbs`)
    ->  the answer of the fit first, then the others, the likeliest first

E_h is the energy with the Gaussian prior of component h (`hmrfit.network.mixture`), each term as likely as it was
trained; p_h comes of the weight of all components that are nearer to Θ_h than to what else is offered. The answer
itself comes from the initial estimate, which is about the mean of what is likely: of all bodies the one with the least
expected error. Nothing of this changes the answer, so it is computed when it is asked for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.body.transfer import transferred
from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.open_limbs import with_open_limbs
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Route
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import grown_down, with_all_betas
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.gender_age import children
from hmrfit.fitting.terms.keypoints_3d import Keypoints3D
from hmrfit.fitting.uncertainty import Answers, Calibration, Posterior, Weight, laplace, posterior_noise
from hmrfit.network.error_model import PredictedError
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.mixture import Components, MixtureModel, components_of
from hmrfit.types import BodyParams

COMPONENT = Stage(
    {"anchor": 1.0, "joint_limits": 0.1, "keypoints": 1.0},
    options=Options(max_steps=3, ftol=1e-3, gtol=0.0, damping=1e-2),
)
"""E_h: as the error model of the mixture was trained to be used. Of 400 hard people and 400 of held-out motion the best
of what is offered is 85.2 and 44.2 mm off (PA-MPJPE) after up to eight steps from a damping of 1e-3, 85.2 and 44.3 mm
after three from 1e-2, 85.8 and 44.8 mm after two."""

OF_COMPONENTS = Calibration({"anchor": Weight(0.735, 0.5), "keypoints": Weight(0.525, 0.5)}, 7.0)
"""Of C_h. Chosen of twelve pairs on people of validation motion (1 and 3 % noise and half hidden with exact keypoints,
hard ones; 160 each): regions of 50, 68, 90 and 95 % about twelve joints, seen and unseen ones apart, hold what they say
to 5 points in the mean of the two pairs beside it; with 0.6 and 0.3 to 14, with 1.0 and 0.6 to 14. Then 5 % more, since
limbs that are shown both ways made the regions that much larger (300 tidy, 300 half hidden, 300 hard people)."""

OF_EXACT = Weight(1.14, 0.5)
"""Of C_h⁻¹ once more, of people whose keypoints are told to be the body's own points: the mixture's error model was
trained with hard people too, and is too careful for the rest. Chosen of six on 400 people of validation motion."""

SHARPNESS = 0.25
"""Power of the weights that is a probability: how often an answer is, of those offered, the nearest to the truth. Of
1,200 people of validation motion (1 % noise, half hidden, hard ones) the likelihood of the nearest is highest with 0.2
to 0.3: the weights know little more than that all of them are likely."""

SAME = 0.05
"""Metres. Answers none of whose joints are farther apart, the pelvises together, are one."""


@dataclass(frozen=True)
class OtherAnswers:
    """The other answers of fits from the initial estimate.

    Args:
        network: of the initial estimate. read: the mixture, ready for inference, when it is first needed.
            own_shapes: whether the networks' betas are this body's. keep: others that are offered at most. least: of
            their probability. worth: metres by which each brings the mixture nearer on average, at least.
    """

    needs_anchor: ClassVar[bool] = True
    network: KeypointHmr
    read: Callable[[], MixtureModel]
    own_shapes: bool = True
    keep: int = 3
    least: float = 0.05
    worth: float = 0.004
    stage: Stage = COMPONENT
    calibration: Calibration = field(default=OF_COMPONENTS)

    @property
    def mixture(self) -> MixtureModel:
        """The mixture, which `read` keeps."""
        return self.read()

    def __call__(self, fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """Of B people, accepted or not."""
        begun, observation, log_weight = self._begun(fit, body)
        chosen, weight = self._chosen(fit, begun, log_weight, body)
        route = Route(body, terms)
        known, table = self._fitted(fit, begun, observation, (chosen, weight), route)
        probability, table, chosen = likeliest_first(_about_pelvis(body, known)[table], weight, table, chosen)
        offered = probability > 0
        person = offered.nonzero()[:, 0]  # of the N answers of all people, as one batch
        answers = State(known[table[offered]], fit.state.camera[person])
        place = torch.zeros_like(table).masked_scatter(offered, torch.arange(len(person)))
        place = torch.where(offered, place, place[:, :1])  # (B, H) of those N; the first again where there are fewer
        posterior = self._posterior(fit, answers, observation[chosen[offered]], person, probability, place, route)
        unknown = torch.full_like(probability, torch.inf)
        return self.beside(Answers([answers[column] for column in place.T], unknown, posterior), fit, body, terms)

    def beside(self, found: Answers, fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """Those that were found, with limbs whose depth is open shown both ways, unless the depths were measured."""
        if Keypoints3D.name not in fit.observation.measurements:
            found = with_open_limbs(found, body, self.keep)
        found = distinct_answers(found, body)
        assert found.posterior is not None
        missing = (found.posterior.probability > 0) & found.cost.isinf()
        answer, person = missing.T.nonzero(as_tuple=True)
        states = State.cat(found.hypotheses)[answer * len(fit) + person]
        seen = _with_whole_anchor(fit.observation)[person]
        cost = total(Route(body, terms).term_costs(states, seen, fit.stage))
        return replace(found, cost=found.cost.index_put((person, answer), cost))

    def _chosen(self, fit: Fit, begun: State, log_weight: Tensor, body: PointBody) -> tuple[Tensor, Tensor]:
        """(rows (B, H) of `begun` that are offered, the first standing for the answer; their weights (B, H), 0 where a
        person is offered fewer)."""
        B, R = len(fit), len(begun)
        n = R // max(B, 1)
        places = torch.arange(R).view(B, n)
        first = places[:, :1].clone()
        places[:, 0] = R + torch.arange(B)  # the answer stands for the component that it was fitted from
        joints = _about_pelvis(body, BodyParams.cat([begun.params, fit.state.params]))[places]
        chosen, weight = covering(_distances(joints), log_weight.view(B, n).softmax(1), self.keep, self.worth)
        offered = (weight >= self.least).index_fill(1, ZERO, True)
        return first + chosen, weight * offered

    def _fitted(
        self, fit: Fit, begun: State, observation: Observation, offered: tuple[Tensor, Tensor], route: Route
    ) -> tuple[BodyParams, Tensor]:
        """(bodies, which of them (B, H) each person is offered): the answers, then the chosen components' own fits.
        Whoever has fewer has the answer again."""
        (chosen, weight), B = offered, len(fit)
        person, rank = (weight[:, 1:] > 0).nonzero(as_tuple=True)
        rows = chosen[person, rank + 1]
        stage = replace(self.stage, weights={**fit.stage.weights, **self.stage.weights})
        found = route.problem(observation[rows], stage).solve(begun[rows]).x
        table = torch.arange(B)[:, None].repeat(1, chosen.shape[1])
        table[person, rank + 1] = B + torch.arange(len(rows))
        return BodyParams.cat([fit.state.params, found.params]), table

    def _posterior(
        self,
        fit: Fit,
        answers: State,
        seen: Observation,
        person: Tensor,
        probability: Tensor,
        place: Tensor,
        route: Route,
    ) -> Posterior:
        """How sure each answer is, by the Laplace approximation at it.

        Args:
            answers, seen: N of them, and what each was fitted to. person: (N,) whose each is. place: (B, H) where among
                them each person's are.
        """
        known = fit.keypoint_noise
        assert seen.noise is not None
        noise = posterior_noise(route.body, answers, seen, seen.noise, None if known is None else known[person])
        covariance, _ = laplace(route.body, route.terms, self.calibration, answers, seen, noise)
        if known is not None:
            covariance = covariance / torch.where(known.exact[person], OF_EXACT.of(seen), 1.0)[:, None, None]
        return Posterior(probability, covariance[place], self.calibration.nu, noise[place[:, 0]])

    def _begun(self, fit: Fit, body: PointBody) -> tuple[State, Observation, Tensor]:
        """(states (R,), what they are fitted to, log weights (R,)) of all components, person by person.

        Of the picture only, as the mixture was trained: with the mirror image's components beside them, and errors
        that are the mean of both, people are offered what is as near to the truth (0.2 mm) in twice the time.
        """
        seen, camera = fit.observation, fit.state.camera
        estimate, encoded = self.network.forward(seen.keypoints, camera)
        one_sided = replace(encoded, mirrored_phi=None)
        components = components_of(self.mixture, seen.keypoints, camera, estimate, one_sided)
        person, params = components.person, components.estimate.params
        seen = replace(seen, anchor=None)  # each component has one of its own
        if not self.own_shapes:
            betas = params.betas.new_zeros(len(person), body.joint_shapes.shape[-1])
            params = replace(params, betas=betas)
        rows, camera = seen[person], camera[person]
        young = children(rows.measurements) if self.own_shapes else None
        params = params if young is None else grown_down(params, young, body)
        about, params = params, with_all_betas(transferred(params, SMPL, body.skeleton), body)
        away = rows.keypoints.xy - camera.project(body.pose(params).points)
        predicted = self._predicted(components, away / rows.box_size[:, None, None], camera.focal_known)
        anchor = Anchor.at(about, SMPL.parents, predicted.scale, predicted.factors)
        anchor = anchor if self.own_shapes else anchor.of_unknown_shape()
        anchor = anchor if young is None else anchor.of_shapes(young.people, young.covariance)
        noise = self.mixture.errors.noise_of(predicted, seen.keypoints.names)
        anchor = anchor.transferred(SMPL, body.skeleton).with_betas(params.betas.shape[1])
        known = replace(rows, anchor=anchor, noise=noise)
        assert predicted.log_weight is not None
        return State(params, camera), known, predicted.log_weight

    def _predicted(self, components: Components, residuals: Tensor, focal_known: Tensor) -> PredictedError:
        return self.mixture.errors.predict(
            components.encoded, components.estimate, residuals, focal_known, components.first
        )


ZERO = torch.zeros(1, dtype=torch.long)


def covering(distance: Tensor, weight: Tensor, keep: int, worth: float) -> tuple[Tensor, Tensor]:
    """Which components a person is offered beside the first: each time the one that brings the most of the mixture
    nearer to something offered,

        argmax_j Σ_k w_k (c_k − min(c_k, d_jk)),     c_k = min over the offered ones of d_jk

    until that is less than `worth`.

    Args:
        distance: (B, n, n) d, metres. weight: (B, n) w.
    Returns:
        components (B, keep + 1), the first 0; probability (B, keep + 1), the weight of all that are nearest to it, 0
        where a person is offered fewer.
    """
    B, n = weight.shape
    chosen, nearest, more = [ZERO.expand(B)], distance[:, 0], torch.ones(B, dtype=torch.bool)
    offered = torch.ones(B, 1, dtype=torch.bool)
    for _ in range(min(keep, n - 1)):
        gain = ((nearest[:, None] - distance).clamp_min(0) * weight[:, None]).sum(-1)
        best, index = gain.max(1)
        more = more & (best > worth)
        chosen.append(index)
        offered = torch.cat([offered, more[:, None]], 1)
        nearest = torch.where(more[:, None], torch.minimum(nearest, distance[torch.arange(B), index]), nearest)
    components = torch.stack(chosen, 1)
    to_each = distance.gather(1, components[..., None].expand(-1, -1, n)).masked_fill(~offered[..., None], torch.inf)
    owner = to_each.argmin(1)
    return components, torch.zeros_like(offered, dtype=weight.dtype).scatter_add(1, owner, weight)


def merged(joints: Tensor, probability: Tensor) -> Tensor:
    """The probabilities (B, H), where answers that are the same have become one: the later joins the earlier. What is
    left adds up to 1.

    Args:
        joints: (B, H, J, 3) about the pelvis, metres.
    """
    mass, people = probability.clone(), torch.arange(len(probability))
    for h in range(1, mass.shape[1]):
        same = (joints[:, h, None] - joints[:, :h]).norm(dim=-1).amax(-1) < SAME
        same &= mass[:, :h] > 0
        same[:, 0] |= mass[:, h] == 0
        joins, first = same.any(1), same.int().argmax(1)
        mass[people, first] += mass[:, h] * joins
        mass[:, h] *= ~joins
    return mass / mass.sum(1, keepdim=True)


def likeliest_first(joints: Tensor, weight: Tensor, table: Tensor, component: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(probability, table, component) (B, H'), those that lead to one body added up, the answer first, then the
    likeliest; H' as many as anybody has. In the places of those who have fewer is the answer, with probability 0.

    Args:
        joints: (B, H, J, 3) about the pelvis, metres. weight, table, component: (B, H) of each, in any order.
    """
    B = len(weight)
    probability = tempered(merged(joints, weight))
    order = _likeliest_first(probability)
    order = order[:, : max(1, int((probability > 0).sum(1).amax())) if B else 1]
    probability, table, component = (of_each.gather(1, order) for of_each in (probability, table, component))
    table, component = (torch.where(probability > 0, of, of[:, :1]) for of in (table, component))
    return probability, table, component


def distinct_answers(found: Answers, body: PointBody) -> Answers:
    """Those that have become one body added up, the first of them first, then the likeliest."""
    assert found.posterior is not None
    everyone, (B, H) = State.cat(found.hypotheses), found.cost.shape
    joints = _about_pelvis(body, everyone.params).unflatten(0, (H, B)).transpose(0, 1)
    probability = merged(joints, found.posterior.probability)
    order = _likeliest_first(probability)
    probability = probability.gather(1, order)
    table = torch.where(probability > 0, order, 0)  # where a person has fewer, the first again
    people = torch.arange(B)
    covariance = found.posterior.covariance[people[:, None], table]
    return Answers(
        [everyone[column * B + people] for column in table.T],
        found.cost.gather(1, table).where(probability > 0, torch.inf),
        replace(found.posterior, probability=probability, covariance=covariance),
    ).as_many_as_there_are()


def _likeliest_first(probability: Tensor) -> Tensor:
    """(B, H) the first, then the others by falling probability."""
    others = 1 + probability[:, 1:].argsort(dim=1, descending=True, stable=True)
    return torch.cat([ZERO.expand(len(probability), 1), others], 1)


def tempered(weight: Tensor) -> Tensor:
    """Probabilities (B, H) of weights that add up to 1: w^s over their sum, s = SHARPNESS."""
    sharp = weight**SHARPNESS * (weight > 0)
    return sharp / sharp.sum(1, keepdim=True)


def _with_whole_anchor(observation: Observation) -> Observation:
    """The observation with what its anchor's energy is made of, which is the same for all answers of a person."""
    if (anchor := observation.anchor) is None:
        return observation
    return replace(observation, anchor=anchor.prepared(torch.arange(anchor.scale.shape[1])))


def _distances(joints: Tensor) -> Tensor:
    """(B, n, n) metres, how far the joints (B, n, J, 3) of two bodies are apart on average."""
    return (joints[:, :, None] - joints[:, None]).norm(dim=-1).mean(-1)


def _about_pelvis(body: PointBody, params: BodyParams) -> Tensor:
    """Joints (B, J, 3) about the first."""
    joints = body.pose(params).joints
    return joints - joints[:, :1]
