"""Discriminators for the fit: real motion as 1, the poses that a fit may pass through or end in as 0.

L(D) = mean Σ_i (D_i(Θ) − 1)² + mean Σ_i D_i(Θ̂)²           Θ real, Θ̂ of one of these kinds, or of all equally

estimates    of the keypoint HMR: a generator that has converged
perturbed    real poses with noise of 0.05 to 1 rad on some joints, left and right limbs exchanged without a mirror,
             or a part bent towards the camera instead of away from it
unfinished   a fit without pose prior after 1, 2, 4 and 12 steps, from the estimate, the prior's means, another's pose
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import Skeleton
from hmrfit.camera import Camera
from hmrfit.fitting.depth_flips import flips
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import State
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import Given
from hmrfit.fitting.terms.discriminators import DiscriminatorTerm
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.discriminator_prior import DiscriminatorPrior
from hmrfit.synthetic.people import Corruption, People, Views, people_from_points, uniform
from hmrfit.train.losses import adversarial_discriminator
from hmrfit.train.people_stream import LEFT_ARM, LEFT_LEG, RIGHT_ARM, RIGHT_LEG, Mixture, PosePool
from hmrfit.train.trainer import average_weights
from hmrfit.types import BodyParams

REAL = Mixture(other_legs=0.0, other_arm=0.0, jitter=0.0, from_prior=0.0)
"""Frames as they are; half of them with the joints that their source does not drive filled in."""

NOISE = (-1.3, 0.0)
"""log10 of the noise on perturbed joints, rad."""

STEPS = (1, 1, 2, 8)
"""Of an unfinished fit, between one state that is taken and the next."""

FREE = {"keypoints": 0.7, "joint_limits": 1.0, "shape": 1.0}
"""The energy of those fits: no prior of the pose."""

WEIGHTS = (1.0, 4.0, 16.0)
"""Of discriminators that are to be fooled."""

CHUNK = 256
AVERAGE = 0.995
"""d of the averaged weights θ̄ ← d θ̄ + (1 − d) θ."""


def real_people(body: PointBody, pool: PosePool, count: int, generator: torch.Generator) -> People:
    """People in poses of the pool, seen as the fit's benchmark sees them."""
    return people_from_points(body, pool.sample(count, generator, REAL), generator, corruption=Corruption())


def estimates(hmr: KeypointHmr, people: People) -> BodyParams:
    """Their initial estimates."""
    camera = _assumed(people)
    return BodyParams.cat([hmr.predict(people.keypoints[part], camera[part]).params for part in _chunks(people)])


def perturbed(people: People, skeleton: Skeleton, generator: torch.Generator) -> BodyParams:
    """Half of them with noise, a quarter with limbs exchanged, a quarter with a part bent the other way."""
    params, B = people.params, len(people.camera)
    draw = uniform(0, 1, B, generator)
    pose = _noisy(params.body_pose, generator)
    pose = torch.where((draw > 0.5)[:, None, None, None], _exchanged(params.body_pose, generator), pose)
    bent = (draw > 0.75).nonzero()[:, 0]
    flipped = torch.stack([flip.body_pose for flip in flips(params[bent], people.joints[bent], skeleton)])
    which = torch.randint(len(flipped), (len(bent),), generator=generator)
    pose = pose.index_copy(0, bent, flipped[which, torch.arange(len(bent))])
    std = uniform(0, 2, B, generator)[:, None].to(params.betas)
    betas = params.betas + std * torch.randn(params.betas.shape, generator=generator).to(params.betas)
    return replace(params, body_pose=pose, betas=betas)


def _noisy(pose: Tensor, generator: torch.Generator) -> Tensor:
    """(B, J-1, 3, 3) with some joints rotated by noise of a size drawn for each person."""
    B, J = pose.shape[:2]
    size = (10 ** uniform(*NOISE, B, generator))[:, None, None]
    some = torch.rand(B, J, 1, generator=generator) < uniform(0.05, 1, B, generator)[:, None, None]
    rotvec = size * some * torch.randn(B, J, 3, generator=generator, dtype=torch.float64)
    return pose @ rotvec_to_matrix(rotvec.to(pose))


def _exchanged(pose: Tensor, generator: torch.Generator) -> Tensor:
    """(B, J-1, 3, 3) with the arms', the legs' or both sides' rotations exchanged as they are."""
    arms = {left - 1: right - 1 for left, right in zip(LEFT_ARM, RIGHT_ARM, strict=True)}
    legs = {left - 1: right - 1 for left, right in zip(LEFT_LEG, RIGHT_LEG, strict=True)}
    orders = torch.arange(pose.shape[1]).repeat(3, 1)
    for order, pairs in zip(orders, (arms, legs, arms | legs), strict=True):
        for left, right in pairs.items():
            order[[left, right]] = torch.tensor([right, left])
    order = orders[torch.randint(3, (len(pose),), generator=generator)]
    return pose[torch.arange(len(pose))[:, None], order]


def unfinished(fitter: Fitter, people: People, generator: torch.Generator) -> BodyParams:
    """Each person after 1, 2, 4 and 12 steps of a fit without pose prior: four states for each."""
    return BodyParams.cat([_steps(fitter, people[part], generator, FREE) for part in _chunks(people)])


def fooled(
    fitter: Fitter, people: People, generator: torch.Generator, discriminator: FactorizedDiscriminator
) -> BodyParams:
    """The same with discriminators as the only pose prior, at one of WEIGHTS: poses that they wrongly take for real."""
    term = DiscriminatorTerm(DiscriminatorPrior(discriminator), "fooled")
    armed = fitter.with_schedule(fitter.schedule, terms={**fitter.terms, term.name: term})
    energies = [{**FREE, term.name: weight} for weight in WEIGHTS]
    parts = enumerate(_chunks(people))
    return BodyParams.cat([_steps(armed, people[part], generator, energies[i % len(energies)]) for i, part in parts])


def _steps(fitter: Fitter, people: People, generator: torch.Generator, energy: Mapping[str, float]) -> BodyParams:
    B = len(people.camera)
    begun = fitter.begin(Given(people.keypoints, _assumed(people)))
    prior = fitter.terms["gmm"]
    assert isinstance(prior, PosePrior)
    means = prior.gmm.mean_poses()[torch.randint(8, (B,), generator=generator)]
    poses = rotvec_to_matrix(means.unflatten(1, (-1, 3)))
    ways = torch.stack([begun.state.params.body_pose, poses, people.params.body_pose.roll(1, 0)])
    pose = ways[torch.randint(3, (B,), generator=generator), torch.arange(B)]
    state = State(replace(begun.state.params, body_pose=pose), begun.state.camera)
    route, found = fitter.route(people.keypoints.names), []
    for steps in STEPS:
        stage = Stage(energy, options=Options(max_steps=steps, ftol=0.0))
        state = route.run(replace(begun, state=state), (stage,)).state
        found.append(state.params)
    return BodyParams.cat(found)


def _assumed(people: People) -> Camera:
    return Camera.from_size(*Views().size, count=len(people.camera))


def _chunks(people: People) -> list[slice]:
    return [slice(i, i + CHUNK) for i in range(0, len(people.camera), CHUNK)]


def train_discriminators(
    real: BodyParams,
    fake: BodyParams,
    steps: int,
    hidden: int = 256,
    batch: int = 128,
    rate: float = 2.5e-3,
    seed: int = 0,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> FactorizedDiscriminator:
    """Adam, its rate falling to 0 along a cosine; the average of the weights is returned.

    Args:
        real, fake: any number each; equally many are drawn. Translation and orientation do not count.
        report: called after each step with its number and loss.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FactorizedDiscriminator(real.body_pose.shape[1] + 1, real.betas.shape[1], hidden=hidden)
    average = FactorizedDiscriminator(**network.settings()).requires_grad_(False)
    average.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    sides = [(side.body_pose.float(), side.betas.float()) for side in (real, fake)]
    for step in range(1, steps + 1):
        rows = [torch.randint(len(pose), (batch,), generator=generator) for pose, _ in sides]
        scores = [network(pose[i], betas[i]) for (pose, betas), i in zip(sides, rows, strict=True)]
        loss = adversarial_discriminator(*scores)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        average_weights(average, network, min(AVERAGE, step / (step + 10)))
        report(step, loss.item())
    return average.eval()


@torch.no_grad()
def separation(discriminator: FactorizedDiscriminator, real: BodyParams, fake: BodyParams) -> float:
    """AUC of Σ_i (D_i − 1)²: how often a fake has more of it than a real one; 0.5 for nothing learned."""
    energies = [
        (discriminator(side.body_pose.float(), side.betas.float()) - 1).square().sum(-1) for side in (real, fake)
    ]
    return float(mannwhitneyu(energies[1], energies[0]).statistic / (len(energies[0]) * len(energies[1])))
