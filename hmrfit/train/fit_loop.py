"""SPIN's loop: the network starts the fit, the fit supervises the network (Kolotouros et al., ICCV 2019), with a store
that never forgets a better fit.

    candidates   the network's answer Θ̂, its about-face, what is stored; where nothing is stored, poses of a library
    fit          all of them in one batch, before the full image's camera, not augmented:  E = E_data + E_prior, nats
    choice       the least E of a person's candidates, the stored one among them;  E of the store never rises
    acceptance   P = E_gmm + E_limits <= 116 nats (`fitting.acceptance`) and E_data <= 2 nats a visible keypoint
    supervision  R̂_j <- R*_j with weight w_j = σ₀²/(σ₀² + Var_j),  Var from the inverse Hessian of E at Θ*;  weight 0
                 where the fit is rejected: those people are trained by their keypoints alone
    shape        where any |β| > 3, the mean shape is what supervises; the store keeps the fit's own
    truth        where there is one, it supervises, with weight 1, and nothing is fitted

A person is fitted at visits 1, 2, 4, 8, ... or at each one: the fit gains little between two visits, and costs several
milliseconds. Which people a loop serves is in `turns.Seen`: what any training shows beside its own inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import Camera, weak_to_translation
from hmrfit.fitting.acceptance import LIMIT, implausibility
from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.library import PoseLibrary, library_starts, ring
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.schedule import FINAL, WIDE
from hmrfit.fitting.starts import about_face
from hmrfit.fitting.uncertainty import GAUSSIAN, Calibration, Weight, joint_scale, laplace
from hmrfit.network.hmr import in_front
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.train.fit_store import SOURCES, FitKey, FitStore, StoredFits
from hmrfit.train.turns import Seen, Turns
from hmrfit.types import BodyParams, Regression, TensorRecord

DATA_TERM = "reprojection"
"""Of the stage whose energy is compared; its other terms are the prior."""

ENERGY = "hmrfit final 1"
"""What stores call that energy. Another number where its terms or weights change: fits are not comparable then."""

MOST_PER_KEYPOINT = 2.0
"""Nats of data energy a visible keypoint, of an accepted fit: about 2.7 % of the box for each. At most it is 12,
which no point costs more than."""

MOST_BETA = 3.0
"""SPIN's: a shape beyond it is not believed."""

ROTATION_STD, JOINT_STD = 0.2, 0.05
"""σ₀: radians about an axis, and metres along one. Of a joint that a fit knows so well, the weight is a half."""

SHAPE_STD = 1.0


@dataclass(frozen=True)
class Supervision(TensorRecord):
    """What a batch's estimates should be, as augmented as the network saw the people."""

    params: BodyParams  # (B,), before the turned camera where it was fitted
    rotations: Tensor  # (B, J) weight of each joint's rotation, 0 to 1; all 0 where there is no supervision
    joints: Tensor  # (B, J) weight of each joint's place about the root
    betas: Tensor  # (B,) weight of the shape
    placed: Tensor  # (B,) 1 where the translation is known too
    accepted: Tensor  # (B,) bool


@dataclass(frozen=True)
class LoopSettings:
    """How the loop goes about it.

    every: fit at each visit; else at visits 1, 2, 4, 8, ... mirror: the about-face of the network's answer is a
    candidate too, at the first visits. library: so many poses of a library are, for people without any fit.
    weighted: by the covariance; else every accepted fit has the weight 1.
    """

    every: bool = False
    mirror: bool = True
    library: int = 2
    weighted: bool = True


BEAM = 2
"""So many of a person's first candidates are fitted to the end."""

EARLY_VISITS = 4
"""Until when the about-face is tried."""


class FitLoop:
    """The loop over one store, for people of known keys. What is true of bodies only is in class attributes; hands have
    others (`train.hand_loop`).

    Args:
        fitter: body and terms; the schedule is the loop's own.
        keys: of everybody, by `Seen.row`.
        poses: (N, 3 (J-1)) rotation vectors, the library's; None for none.
    """

    wide: ClassVar[Stage] = WIDE
    final: ClassVar[Stage] = FINAL
    joint_std: ClassVar[float] = JOINT_STD
    roll_sigma: ClassVar[float] = 0.4
    newest: ClassVar[bool] = False
    """Whether a person's newest fit takes the place of a stored one that has less energy."""

    def __init__(
        self,
        fitter: Fitter,
        store: FitStore,
        keys: Sequence[FitKey],
        settings: LoopSettings | None = None,
        poses: Tensor | None = None,
        source: str = "keypoint_network",
    ) -> None:
        self.fitter, self.store, self.keys = fitter, store, list(keys)
        self.settings, self.poses, self.source = settings or LoopSettings(), poses, SOURCES.index(source)
        self._libraries: dict[tuple[str, ...], PoseLibrary] = {}

    @staticmethod
    def views() -> Tensor:
        """(H, 3, 3) orientations in which poses of the library are seen."""
        return ring()

    @staticmethod
    def other_side(state: State) -> State:
        """What may be mistaken for it."""
        return about_face(state)

    def root(self, betas: Tensor) -> Tensor:
        """J₀ (B, 3) of the resting bodies of these shapes."""
        return root_of(self.fitter.point_body(tuple(self.fitter.body.joint_names)), betas)

    @torch.no_grad()
    def visit(self, seen: Seen, estimate: BodyParams) -> Supervision:
        """Fits those whose turn it is, keeps what is better, and says what supervises the batch.

        Args:
            estimate: the network's, float64, before the full image's camera (`unaugmented`).
        """
        keys = [self.keys[i] for i in seen.row.tolist()]
        stored, there = self.store.get(keys)
        visits = torch.zeros(len(seen), dtype=torch.int64)
        visits[there] = stored.visits
        due = ~seen.has_truth & (self.settings.every | is_power_of_two(visits + 1))
        place = there.cumsum(0) - 1  # of each person among the stored
        early = visits < EARLY_VISITS
        for group, old in ((due & ~there, None), (due & there & early, stored), (due & there & ~early, stored)):
            index = group.nonzero()[:, 0]
            if len(index):
                of_them = None if old is None else old[place[index]]
                fits = self._fitted(seen[index], estimate[index], of_them, mirror=bool(early[index[0]]))
                good = fits.known
                self.store.put([keys[i] for i in index[good].tolist()], fits[good], self.newest)
        self.store.visit([key for key, known in zip(keys, seen.has_truth.tolist(), strict=True) if not known])
        return self.supervision(seen, keys)

    def supervision(self, seen: Seen, keys: Sequence[FitKey]) -> Supervision:
        """What is stored, the truth in its place where there is one, augmented."""
        fits, there = self.store.get(keys)
        index = there.nonzero()[:, 0]
        accepted = torch.zeros_like(there)
        accepted[index] = fits.accepted
        ones = torch.ones(len(seen), fits.covariance.shape[1], dtype=torch.float64)
        rotations, joints, betas = torch.zeros_like(ones), torch.zeros_like(ones), torch.zeros(len(seen)).double()
        if len(index):
            rotations[index], joints[index], betas[index] = self._weights(fits)
        unknown = ~seen.has_truth
        rows = torch.arange(len(seen))
        rows[index] = torch.where(unknown[index], len(seen) + torch.arange(len(index)), index)
        params = BodyParams.cat([seen.truth, fits.params])[rows]
        implausible = (params.betas.abs() > MOST_BETA).any(1) & unknown
        params = replace(params, betas=torch.where(implausible[:, None], 0.0, params.betas))
        used = accepted & unknown
        scale = lambda weight: torch.where(seen.has_truth[:, None], 1.0, weight * used[:, None])  # noqa: E731
        turned = seen.turns.params(params, self.root(params.betas), self.fitter.body.skeleton)
        rotations, joints = (
            seen.turns.joints(scale(weight), self.fitter.body.skeleton) for weight in (rotations, joints)
        )
        return Supervision(
            turned, rotations, joints, scale(betas[:, None])[:, 0], used.double(), accepted | seen.has_truth
        )

    def _weights(self, fits: StoredFits) -> tuple[Tensor, Tensor, Tensor]:
        """w_j of rotations (B, J), of places (B, J), and of the shape (B,)."""
        if not self.settings.weighted:
            one = torch.ones_like(fits.joint_variance)
            return one, one, one[:, 0]
        turns = fits.covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
        return (
            certainty(turns, ROTATION_STD),
            certainty(fits.joint_variance, self.joint_std),
            certainty(fits.shape_variance.mean(1), SHAPE_STD),
        )

    # ---- the fit

    def _fitted(self, seen: Seen, estimate: BodyParams, stored: StoredFits | None, mirror: bool) -> StoredFits:
        """The best of the candidates of people who all have a stored fit, or all have none."""
        observation, count = Observation.of(seen.keypoints), len(seen)
        route = self.fitter.route(seen.keypoints.names)
        starts = [State(estimate, seen.camera)]
        sources = [self.source]
        if self.settings.mirror and mirror:
            starts.append(self.other_side(starts[0]))
            sources.append(SOURCES.index("mirror"))
        if stored is None and self.poses is not None and self.settings.library:
            starts += self._from_library(route.body, observation, seen.camera)
            sources += [SOURCES.index("library")] * self.settings.library
        origins = torch.tensor(sources)[:, None].expand(-1, count)
        if stored is None:
            starts, origins = self._best(route, observation, starts, origins)
        states = self._solved(route, observation, starts, self.final)
        energies = [torch.stack(self.energies(route, state, observation)) for state in states]
        if stored is not None:
            states.append(State(stored.params, seen.camera))
            energies.append(torch.stack(self.energies(route, states[-1], observation)))
            origins = torch.cat([origins, stored.source[None]])
        data, prior = torch.stack(energies, 1)  # (C, B) each
        best = (data + prior).nan_to_num(torch.inf).argmin(0)
        rows = torch.arange(count)
        chosen, origin = State.cat(states)[best * count + rows], origins[best, rows]
        visits = torch.zeros(count, dtype=torch.int64) if stored is None else stored.visits
        return self.described(route, chosen, observation, (data[best, rows], prior[best, rows]), origin, visits)

    def _from_library(self, body: PointBody, observation: Observation, camera: Camera) -> list[State]:
        """As many states of everybody as the settings want."""
        count, poses = self.settings.library, self.poses
        assert poses is not None
        if body.names not in self._libraries:
            self._libraries[body.names] = PoseLibrary.build(body, poses, self.views())
        state = library_starts(
            body, self._libraries[body.names], observation, camera, count, roll_sigma=self.roll_sigma
        )
        return [state[torch.arange(i, len(state), count)] for i in range(count)]

    def _best(
        self, route: Route, observation: Observation, starts: Sequence[State], origins: Tensor
    ) -> tuple[list[State], Tensor]:
        """The few of a person's starts, and of their origins (C, B), whose wide energy is the least after a few steps
        (`wide`): what is far off must pull."""
        count, keep = len(observation.box_size), min(BEAM, len(starts))
        states = self._solved(route, observation, starts, self.wide)
        costs = torch.stack([total(route.term_costs(state, observation, self.wide)) for state in states])
        first = costs.nan_to_num(torch.inf).argsort(dim=0, stable=True)[:keep]
        rows = torch.arange(count)
        together = State.cat(states)
        return [together[which * count + rows] for which in first], origins.gather(0, first)

    def _solved(self, route: Route, observation: Observation, starts: Sequence[State], stage: Stage) -> list[State]:
        """Every start of everybody after the stage, all in one batch."""
        count = len(observation.box_size)
        person = torch.arange(count).repeat(len(starts))
        begun = Begun(State.cat(list(starts)), observation[person], torch.arange(len(person)))
        found = route.run(begun, (stage,)).state
        return [found[i * count : (i + 1) * count] for i in range(len(starts))]

    @classmethod
    def energies(cls, route: Route, state: State, observation: Observation) -> tuple[Tensor, Tensor]:
        """(E_data, E_prior), (B,) each."""
        costs = route.term_costs(state, observation, cls.final)
        return costs[DATA_TERM], total({name: cost for name, cost in costs.items() if name != DATA_TERM})

    def described(
        self,
        route: Route,
        state: State,
        observation: Observation,
        energies: tuple[Tensor, Tensor],
        source: Tensor,
        visits: Tensor,
    ) -> StoredFits:
        """A state as the store has it: with its covariance, and whether it is accepted."""
        params, body = state.params, route.body
        how = Calibration({name: Weight(weight) for name, weight in self.final.weights.items()}, GAUSSIAN)
        full, _ = laplace(body, route.terms, how, state, observation)
        J = params.rotations.shape[1]
        S = slice(3 + 3 * J, None)
        blocks = full[:, 3 : 3 + 3 * J, 3 : 3 + 3 * J].unflatten(2, (J, 3)).unflatten(1, (J, 3))
        each = torch.arange(J)
        covariance = blocks[:, each, :, each].movedim(0, 1)
        joints = joint_scale(self.fitter.point_body(tuple(self.fitter.body.joint_names)), params, full)
        data, _ = energies
        seen = observation.keypoints.presence.sum(1)
        plausible = implausibility(route, state, observation) <= LIMIT
        return StoredFits(
            params,
            state.camera,
            covariance,
            full.diagonal(dim1=1, dim2=2)[:, S],
            joints.diagonal(dim1=-2, dim2=-1).mean(-1),
            *energies,
            source,
            visits,
            plausible & (data <= MOST_PER_KEYPOINT * seen),
        )


def certainty(variance: Tensor, std: float) -> Tensor:
    """σ₀²/(σ₀² + Var); 0 where nothing is known."""
    return (std**2 / (std**2 + variance.clamp_min(0))).nan_to_num(0.0)


def is_power_of_two(count: Tensor) -> Tensor:
    """1, 2, 4, 8, ..."""
    return (count > 0) & ((count & (count - 1)) == 0)


def root_of(body: PointBody, betas: Tensor) -> Tensor:
    """J₀ (B, 3), where the root of the resting body lies."""
    return body.rest_joints[0].to(betas) + betas @ body.joint_shapes[0].to(betas).mT


def unaugmented(regression: Regression, view: Tensor, turns: Turns, body: PointBody) -> BodyParams:
    """A network's estimate for the turned crop -> the person before the full image's camera, detached, float64.

    Args:
        view: (B, 3) of the turned box (`encoders.view_of_box`): all of box and camera that matters.
        body: that knows where its root lies.
    """
    regression, view = regression.map(Tensor.detach).to(torch.float64), view.detach().double()
    center, side = view[:, :2], view[:, 2]
    unit = Camera(torch.ones_like(center), torch.zeros_like(center), torch.ones_like(center))
    transl = weak_to_translation(in_front(regression.weak_camera), center, side, unit)
    # in full precision: as networks give them, rotations are orthonormal to 1e-7, and a fit from there stays so
    orient, pose = (
        rotvec_to_matrix(matrix_to_rotvec(R)) for R in (regression.params.global_orient, regression.params.body_pose)
    )
    params = BodyParams(orient, pose, regression.params.betas, transl)
    turns = turns.inverse
    return turns.params(params, root_of(body, params.betas), body.skeleton)
