"""What a result holds: the fit of the N people of one photograph, or of N frames of one person, and what it is of.

The records hold tensors, as the rest of the library takes them; everything else is numpy. Camera frame: OpenCV, +x
right, +y down, +z forward, metres; pixels of the full image.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.model import BodyModel
from hmrfit.body.points import PointBody
from hmrfit.build import load_points, load_posed_body
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import reprojection_error
from hmrfit.fitting.finite import ENDS
from hmrfit.fitting.fit import REASONS, Fit
from hmrfit.fitting.focal import WRONG, FittedEnergy, FocalSensitivity, checked_factor, focal_sensitivity
from hmrfit.fitting.limb_depths import limb_bones, towards_camera
from hmrfit.fitting.parameters import Layout, State
from hmrfit.fitting.sequence_posterior import FramesPosterior
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.uncertainty import GAUSSIAN, Answers, Posterior, mixed_joint_covariance, sample_steps
from hmrfit.io.image import Image, read_image
from hmrfit.keypoints import resolve_set
from hmrfit.likely_up import LikelyUp, UpLike, checked_up, likely_up_of
from hmrfit.ops.level import up_in_words
from hmrfit.ops.rotation import geodesic_angle
from hmrfit.ops.threads import one_thread_for_few
from hmrfit.result_text import Rows, acceptance, described, joined, reprojection, summary, warning_lines
from hmrfit.types import BodyOutput, BodyParams, Keypoints


@dataclass(frozen=True, eq=False)
class Origin:
    """What N people or frames were fitted to, and what their result rests on."""

    keypoints: Keypoints  # (N, K), what was fitted, without lens distortion
    focal_source: str = "unknown"
    keypoint_source: Sequence[str] = ()  # of each person's: labelled, detector, exact, or given (`keypoint_std`)
    warnings: Sequence[list[str]] = ()  # a list for each person
    person_ids: Sequence[str] = ()  # of a sequence, the frames' numbers
    left_out: Mapping[str, str] = field(default_factory=dict)  # person_id of those that were not fitted -> why
    measurements: Mapping[str, str] = field(default_factory=dict)  # what was believed, by the kind of measurement
    image_path: Path | None = None
    body: str = "free_body"  # its name or path
    body_kind: str = "smpl"
    gender: str = "neutral"  # of the body's file: "female", "male", or "neutral"
    rows: Rows = "people"  # or "frames"
    fps: float | None = None  # frames a second, of a sequence
    extrinsics: NDArray[np.float64] | None = None  # (N, 3, 4) x_camera = R x_world + t, metres, where they are known
    world_up: NDArray[np.float64] | None = None  # (3,) points up in that world, where it is known
    keypoint_offsets: NDArray[np.float64] | None = None  # (K, 3) metres, where they lie off the body's points; None: at
    #                                                      them, else see `body.point_offsets`
    conditioned_on: str = ""  # what the posterior and `focal_effect` take as given
    versions: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""  # of what it was computed from, for runs that go on where they stopped

    def of(self, rows: Sequence[int], names: Sequence[str]) -> "Origin":
        """That of some rows. names: of all rows."""
        warnings = [list(self.warnings[i]) for i in rows] if self.warnings else []
        ids = [names[i] for i in rows] if self.person_ids or self.rows == "frames" else []
        sources = [self.keypoint_source[i] for i in rows] if self.keypoint_source else []
        poses = None if self.extrinsics is None else self.extrinsics[list(rows)]
        own = replace(self, keypoints=self.keypoints[torch.tensor(rows)], keypoint_source=sources, extrinsics=poses)
        return replace(own, warnings=warnings, person_ids=ids, fingerprint="")


@dataclass(eq=False, repr=False)
class ResultData:
    """Bodies of the N people that could be fitted, or of one person in N frames, as numbers."""

    fit: Fit
    origin: Origin
    known_answers: Answers | None = None  # what else may be the answer, how likely and how sure, once it was asked for
    seek: Callable[[Fit], Answers] | None = field(default=None, repr=False)  # finds it; not saved
    up: NDArray[np.float64] | None = None  # (3,) of length 1, points up in the camera frame; None where not known
    up_std: float | None = None  # degrees, where it is an estimate (`hmrfit.likely_up`)
    terms: Mapping[str, Term] | None = field(default=None, repr=False)  # of the energy that was minimised; not saved
    focal_moves: FocalSensitivity | None = None  # `focal_effect`, once it was asked for
    together: FramesPosterior | None = field(default=None, repr=False)  # of a sequence's frames together; not saved
    image: Image | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.fit)

    def __repr__(self) -> str:
        what, share = described(self.rows, self.names, self.fps), self._share()
        return f"FitResult({what}, reprojection {share}, focal {self.origin.focal_source})"

    def __str__(self) -> str:
        """One screen: people or frames, reprojection, focal length, whether it was accepted, warnings."""
        known = None if self.fit.acceptance is None else self.accepted.tolist()
        where = "" if self.up is None else f"({', '.join(f'{u:.2f}' for u in self.up)}) in the camera frame, "
        what = " (up=): views, meshes and motion files take the camera as level" if self.up is None else ""
        level = f"{where}{up_in_words(self.up is not None, self.up_std)}{what}"
        facts = [
            ("reprojection", self._share()),
            ("focal length", f"{self.camera.focal[0, 0]:.0f} px ({self.origin.focal_source})"),
            ("accepted", acceptance(known, self.rejection_reason, self.rows, self.names)),
            ("up", level),
        ]
        facts += [(f"given {name}", value) for name, value in self.measurements.items()]
        if self.extrinsics is not None:
            how = "the camera moves" if self.camera_moves else "the camera stands still"
            facts.append(("world", f"known, {how}: in_world()"))
        title = f"FitResult of {self.name}: {described(self.rows, self.names, self.fps)}"
        absent = [f"person {who} is left out: {reason}" for who, reason in self.left_out.items()]
        return summary(title, facts, [*absent, *warning_lines(self.warnings, self.rows, self.names)])

    def _share(self) -> str:
        return reprojection(self.reprojection_error, self.rows, self.names)

    def __getitem__(self, index: int | slice) -> Self:
        """One person or frame, or some of them, as a result of its own. Raises IndexError where there is none."""
        rows = rows_of(index, len(self), self.rows)
        chosen, origin = torch.tensor(rows), self.origin.of(rows, self.names)
        image = self.image
        if self.is_sequence:  # its picture is of one frame, and which is not known
            step = index.step if isinstance(index, slice) else None
            fps = None if self.fps is None else self.fps / abs(step or 1)
            origin, image = replace(origin, fps=fps, image_path=None), None
        return replace(
            self,
            fit=self.fit[chosen],
            origin=origin,
            known_answers=None if self.known_answers is None else self.known_answers[chosen],
            focal_moves=None if self.focal_moves is None else self.focal_moves[chosen],
            together=None if self.together is None else self.together.of(chosen),
            image=image,
        )

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> list[str]:
        """N, of the people or frames: their ids, else numbers."""
        return joined(self.person_ids, len(self))

    @property
    def is_sequence(self) -> bool:
        """Whether it holds several frames of one person."""
        return self.rows == "frames" and len(self) > 1

    def with_up(self, up: UpLike) -> Self:
        """The same result, which knows which way is up: (3,) in the camera frame, or "likely", where the estimate is
        sure enough. Views, meshes and motion files stand upright then; the bodies stay as they are."""
        up = checked_up(up, self.joint_names)
        if isinstance(up, str):
            return self.with_likely_up(likely_up_of([self]))
        return self._upright(None if up is None else np.asarray(up), None)

    def with_likely_up(self, found: LikelyUp | None) -> Self:
        """The same result by an estimate; the camera is taken as level where there is none that is sure."""
        return self._upright(found.up, found.std) if found is not None and found.is_sure else self._upright(None, None)

    def _upright(self, up: NDArray[np.float64] | None, std: float | None) -> Self:
        """The same by another direction, with what was computed of its bodies."""
        vars(other := replace(self, up=up, up_std=std)).update({**vars(self), "up": up, "up_std": std})
        return other

    @property
    def params(self) -> BodyParams:
        """(N,), camera frame."""
        return self.fit.state.params

    @property
    def camera(self) -> Camera:
        """(N,)."""
        return self.fit.state.camera

    @property
    def keypoints(self) -> Keypoints:
        """(N, K), what was fitted, without lens distortion."""
        return self.origin.keypoints

    @property
    def cost(self) -> NDArray[np.float64]:
        """(N,) the energy."""
        return self.fit.cost.numpy()

    @property
    def term_cost(self) -> dict[str, NDArray[np.float64]]:
        """Name -> (N,), weighted; they add up to `cost`."""
        return {name: cost.numpy() for name, cost in self.fit.term_cost.items()}

    @property
    def steps(self) -> NDArray[np.int64]:
        """(N,) of the solver."""
        return self.fit.steps.numpy()

    @property
    def answers(self) -> Answers:
        """What may be the answer: `hypotheses`, `hypothesis_cost` and `posterior`. Computed when it is first asked for
        (about as long as the fit took)."""
        if self.known_answers is None:
            if self.together is not None:
                known = Answers(self.fit.hypotheses, self.fit.hypothesis_cost, self.together.posterior())
                self.known_answers = known
                return known
            if self.seek is None:
                return Answers(self.fit.hypotheses, self.fit.hypothesis_cost, None)
            with one_thread_for_few(len(self)):
                self.known_answers = self.seek(self.fit)
        return self.known_answers

    @property
    def posterior(self) -> Posterior | None:
        """How likely the hypotheses are, and how sure each; None in results of earlier versions."""
        return self.answers.posterior

    @property
    def hypotheses(self) -> list[BodyParams]:
        """What may be the answer, (N,) bodies each: `params`, then others that the picture allows, the most probable
        first; see `probability`."""
        return [state.params for state in self.answers.hypotheses]

    @property
    def hypothesis_cost(self) -> NDArray[np.float64]:
        """(N, H) what each costs by the energy of the fit, infinite where a person has fewer."""
        return self.answers.cost.numpy()

    def likeliest(self) -> Self:
        """The same result with the most probable of its hypotheses as the answer: for pictures and meshes.

        What `fit` returns has the least expected error, and is near the mean of what is likely: right on average, but
        a limb whose depth the picture leaves open comes out between towards and away. The most probable one is one of
        both, and wrong more often by more.
        """
        answers = self.answers
        if answers.posterior is None or not len(self):
            return self
        chosen = answers.posterior.probability.argmax(1)
        order = [torch.where(chosen == h, 0, h) for h in range(len(answers.hypotheses))]
        order[0] = chosen
        people, everyone = torch.arange(len(self)), BodyParams.cat(self.hypotheses)
        camera, table = self.camera, torch.stack(order, 1)
        states = [State(everyone[column * len(self) + people], camera) for column in order]
        posterior = replace(
            answers.posterior,
            probability=answers.posterior.probability.gather(1, table),
            covariance=answers.posterior.covariance[people[:, None], table],
        )
        moved = Answers(states, answers.cost.gather(1, table), posterior)
        fit = replace(self.fit, state=states[0], cost=moved.cost[:, 0], term_cost={}, seeker=None)
        return replace(self, fit=fit, known_answers=moved, seek=None, focal_moves=None)

    @property
    def start(self) -> BodyParams | None:
        """(N,) the initial estimate, or the start that was given; None where there were several."""
        return None if self.fit.start is None else self.fit.start.params

    @property
    def warnings(self) -> Sequence[list[str]]:
        """A list for each person or frame."""
        return self.origin.warnings

    @property
    def person_ids(self) -> Sequence[str]:
        """N; of a sequence, the frames' numbers."""
        return self.origin.person_ids

    @property
    def left_out(self) -> Mapping[str, str]:
        """person_id of those that were not fitted -> why."""
        return self.origin.left_out

    @property
    def measurements(self) -> Mapping[str, str]:
        """What was believed beside the keypoints, by the kind of measurement."""
        return self.origin.measurements

    @property
    def rows(self) -> Rows:
        """What the rows are: "people" of one photograph, or "frames" of one person."""
        return self.origin.rows

    @property
    def fps(self) -> float | None:
        """Frames a second, of a sequence."""
        return self.origin.fps

    @property
    def extrinsics(self) -> NDArray[np.float64] | None:
        """(N, 3, 4) [R | t], x_camera = R x_world + t in metres, of each row's camera; None where no world is known."""
        return self.origin.extrinsics

    @property
    def camera_moves(self) -> bool:
        """Whether the rows' cameras are known to be at different places."""
        poses = self.extrinsics
        return poses is not None and self.is_sequence and bool(np.abs(poses - poses[:1]).max() > 0)

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        width, height = self.camera.size[0].tolist()
        return int(width), int(height)

    @property
    def focal_known(self) -> bool:
        """Whether the focal length was given, in the keypoint file or in EXIF; neither assumed nor fitted."""
        return bool(self.camera.focal_known.all())

    @property
    def status(self) -> list[str]:
        """How each person's fit ended, a sentence."""
        return [ENDS[int(code)] for code in self.fit.status]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """(N,) False where the fit was no better than its start and the start was returned."""
        tested = self.fit.acceptance
        return np.ones(len(self), bool) if tested is None else tested.accepted.numpy()

    @property
    def rejection_reason(self) -> list[str]:
        """Why the start was returned, a sentence for each person; empty where the fit was accepted."""
        tested = self.fit.acceptance
        if tested is None:
            return [""] * len(self)
        return ["" if fine else REASONS[int(code)] for fine, code in zip(tested.accepted, tested.reason, strict=True)]

    @property
    def probability(self) -> NDArray[np.float64]:
        """(N, H) of the hypotheses; they add up to 1."""
        return self._known_posterior().probability.numpy()

    @property
    def keypoint_source(self) -> Sequence[str]:
        """N, what each person's keypoints were taken for: "labelled", "detector", "exact", or "given" (`keypoint_std`).
        Empty where how sure it is does not depend on it (`fit_views`, other energies)."""
        return self.origin.keypoint_source

    @property
    def keypoint_std(self) -> NDArray[np.float64] | None:
        """(N, K) the keypoints' noise that `joint_std` and its like rest on: the standard deviation per coordinate,
        fractions of the person's box. None where they do not depend on it."""
        noise = self._known_posterior().noise
        return None if noise is None else noise.numpy()

    @property
    def calibrated(self) -> bool:
        """Whether how sure it is was measured on held-out motion (with `init=`: given that `init_std` is true). Else
        (stages of your own, `fit_views`) it is what the energy says of itself, which is far too sure."""
        return self._known_posterior().nu < GAUSSIAN

    @cached_property
    def joint_covariance(self) -> NDArray[np.float64]:
        """(N, J, 3, 3) metres², camera axes: how wrong the joints' positions relative to the pelvis may be."""
        return self._point_covariance(self.joint_names)

    def _point_covariance(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """(N, K, 3, 3) metres² of points of the body, the first of which they are relative to."""
        body = load_points(self.origin.body, names)
        if self.together is not None:
            return self.together.point_covariance(body).numpy()
        return mixed_joint_covariance(body, self.hypotheses, self._known_posterior()).numpy()

    @property
    def joint_std(self) -> NDArray[np.float64]:
        """(N, J) metres: the distance a joint is expected to be off (root mean square), relative to the pelvis."""
        return np.sqrt(np.trace(self.joint_covariance, axis1=2, axis2=3).clip(0))

    @property
    def limb_towards(self) -> dict[str, NDArray[np.float64]]:
        """For each bone of arms and legs ("left_forearm", "right_thigh", ...) the probability (N,) that its far end is
        nearer to the camera than its near one. Near 0.5 the picture does not say; the answer shows only one side."""
        body, posterior = load_points(self.origin.body, self.joint_names), self._known_posterior()
        names = limb_bones(body.skeleton).names
        found = posterior.towards
        if found is None or found.shape[1] != len(names):
            found = towards_camera(body, self.answers.hypotheses, posterior)
        return dict(zip(names, found.numpy().T, strict=True))

    @property
    def landmark_std(self) -> NDArray[np.float64]:
        """(N, K) metres: the same for the body's own keypoints, those of the set that was fitted."""
        covariance = self._point_covariance((self.joint_names[0], *self.keypoints.names))[:, 1:]
        return np.sqrt(np.trace(covariance, axis1=2, axis2=3).clip(0))

    def points(self, keypoint_set: str | Sequence[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """The bodies' own points of a keypoint set: (N, K, 3) metres in the camera frame, and their K names.

        Args:
            keypoint_set: its name ("coco17", see `hmrfit.keypoint_sets`), or names of points that the body defines.

        Raises:
            ValueError: there is no such set, or the body does not define a point of it.
        """
        names = resolve_set(keypoint_set)
        return load_points(self.origin.body, names).pose(self.params).points.numpy(), names

    def sample(self, count: int, seed: int = 0) -> list[BodyParams]:
        """`count` bodies (N,) each, drawn from what is likely given the picture; the same for the same seed.

        Of a sequence, each is a motion of one body. A saved one no longer knows how its frames hang together: there one
        draw errs alike in all frames, as much as each says.
        """
        points, rng = load_points(self.origin.body, self.joint_names), np.random.default_rng(seed)
        if self.together is not None:
            steps = self.together.sample(count, rng)
            which = torch.zeros(steps.shape[:2], dtype=torch.int64)
        else:
            which, steps = sample_steps(self._known_posterior(), count, rng, alike=self.rows == "frames")
        everyone, layout = BodyParams.cat(self.hypotheses), Layout.everything(points)
        drawn = []
        for hypothesis, step in zip(which, steps, strict=True):
            rows = hypothesis * len(self) + torch.arange(len(self))
            state = State(everyone[rows], self.camera).retract(step, points.parents, layout)
            drawn.append(state.params)
        return drawn

    def _known_posterior(self) -> Posterior:
        posterior = self.posterior
        if posterior is None:
            raise ValueError(
                "This result says nothing of how sure it is: it was saved by an earlier version. Fit again."
            )
        return posterior

    def focal_effect(self, factor: float = WRONG) -> FocalSensitivity:
        """What a focal length `factor` times the one that was used would have changed: `depth` (N,) of the pelvis,
        `joints` (N, J) how far each moves relative to it, `moved` (N, J, 3) the same as vectors, metres.

        Computed by refits (7 ms for one person); of a loaded result, factors other than 1.2 are answered to first
        order. All that the fit knew is in it, but what `conditioned_on` names. The initial estimate, the other views of
        `fit_views` and which hypothesis is the best stay as they were; people whose answer is their start only stand
        elsewhere.

        Raises:
            ValueError, TypeError: factor is no number above 0, or the result was saved without what is needed.
        """
        factor = checked_factor(factor)
        if factor == WRONG and self.focal_moves is not None:
            return self.focal_moves
        effect = self._other_focal_length(factor)
        if factor == WRONG:
            self.focal_moves = effect
        return effect

    def _other_focal_length(self, factor: float) -> FocalSensitivity:
        body = self._seen_points()
        if self.terms is not None:
            energy = FittedEnergy(self.terms, self.fit.stage, self.fit.observation)
            fixed = None if self.fit.acceptance is None else ~self.fit.acceptance.accepted
            with one_thread_for_few(len(self)):
                return focal_sensitivity(body, energy, self.fit.state, factor, fixed)
        if self.focal_moves is None:
            raise ValueError(
                "This result does not say what another focal length would change: its own is known, or it was saved by "
                "an earlier version. Ask for result.focal_effect() before saving it, or fit again."
            )
        return self.focal_moves.at(factor, body.pose(self.params).joints[:, 0, 2])

    @property
    def change_degrees(self) -> NDArray[np.float64]:
        """(N, J) by how much the fit turned each joint from its start, the root first."""
        if self.start is None:
            raise ValueError("This fit began at several poses of a library, not at one start: nothing to compare with.")
        return np.rad2deg(geodesic_angle(self.start.rotations, self.params.rotations).numpy())

    @property
    def start_reprojection_error(self) -> NDArray[np.float64]:
        """(N,) `reprojection_error` of the start; NaN where there was none."""
        nothing = np.full(len(self), np.nan)
        return nothing if self.start is None else self._reprojection_error(self._projected(self.start))

    @cached_property
    def body_model(self) -> BodyModel:
        """The body that was fitted, read again where this result comes from a file."""
        return load_posed_body(self.origin.body, self.origin.body_kind)

    @cached_property
    def output(self) -> BodyOutput:
        """Vertices, joints and landmarks, camera frame, metres."""
        return self.body_model(self.params)

    @property
    def vertices(self) -> NDArray[np.float64]:
        """(N, V, 3) metres, camera frame."""
        return self.mesh_vertices.numpy()

    @property
    def mesh_vertices(self) -> Tensor:
        """`vertices` as a tensor."""
        vertices = self.output.vertices
        assert vertices is not None
        return vertices

    @property
    def faces(self) -> NDArray[np.int64]:
        """(F, 3), counterclockwise seen from outside."""
        return self.body_model.faces.numpy()

    @cached_property
    def joints(self) -> NDArray[np.float64]:
        """(N, J, 3) metres, camera frame, in the order of `joint_names`. Posed without the mesh."""
        return load_points(self.origin.body, self.joint_names).pose(self.params).joints.numpy()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """J names."""
        return self.body_model.skeleton.names

    @property
    def poses(self) -> NDArray[np.float64]:
        """(N, 3J) rotation vectors, the global orientation (body to camera) first, as SMPL and AMASS have them."""
        return poses_of(self.params)

    @property
    def betas(self) -> NDArray[np.float64]:
        """(N, S) shape."""
        return self.params.betas.numpy()

    @property
    def trans(self) -> NDArray[np.float64]:
        """(N, 3) metres, added after posing."""
        return self.params.transl.numpy()

    @cached_property
    def projected(self) -> Keypoints:
        """The body's own keypoints in the image, beside `keypoints`."""
        return Keypoints(self._projected(self.params), self.keypoints.confidence, self.keypoints.names)

    def _projected(self, params: BodyParams) -> Tensor:
        return self.camera.project(self._seen_points().pose(params).points)

    def _seen_points(self) -> PointBody:
        """The body reduced to the keypoints, where they lie on it."""
        body, offsets = load_points(self.origin.body, self.keypoints.names), self.origin.keypoint_offsets
        return body if offsets is None else body.with_offsets(torch.as_tensor(offsets))

    @cached_property
    def reprojection_error(self) -> NDArray[np.float64]:
        """(N,) mean distance over the seen keypoints, a fraction of the person's box (at least a pixel); NaN without
        any, as in a frame of a sequence that was filled in."""
        return self._reprojection_error(self.projected.xy)

    def _reprojection_error(self, xy: Tensor) -> NDArray[np.float64]:
        seen, box = self.keypoints, self.keypoints.box_size().clamp_min(1.0)
        return reprojection_error(xy, seen.xy, seen.confidence, box).numpy()

    @property
    def name(self) -> str:
        """What to call it: the image's file name."""
        return self.origin.image_path.name if self.origin.image_path is not None else "image"

    def picture(self) -> Image:
        """The photograph's pixels: those at hand, or read again from where they were."""
        if self.image is None:
            self.image = _read_again(self.origin.image_path, self.image_size)
        return self.image


def rows_of(index: Any, count: int, what: str) -> list[int]:
    """The rows that an index (a whole number or a slice) chooses of `count`.

    Raises:
        IndexError: there is no such row. TypeError: it is neither.
    """
    if isinstance(index, slice):
        rows = list(range(count)[index])
        if not rows:
            raise IndexError(f"This slice chooses none of the {count} {what}.")
        return rows
    try:
        row = operator.index(index)
    except TypeError:
        raise TypeError(f"A result is indexed by a whole number or a slice, not {type(index).__name__}.") from None
    if not -count <= row < count:
        raise IndexError(f"This result has {count} {what}, numbered from 0; there is no {row}.")
    return [row % count]


def poses_of(params: BodyParams) -> NDArray[np.float64]:
    """(N, 3J) rotation vectors, the root first."""
    return torch.cat(params.to_rotvecs(), 1).numpy()


def _read_again(path: Path | None, size: tuple[int, int]) -> Image:
    """The photograph from its file, if that is still the same."""
    if path is None:
        raise ValueError("This result has no photograph (it was fitted without one). Pass one: overlay(image).")
    image = read_image(path)
    if image.shape[1::-1] != size:
        raise ValueError(
            f"'{path}' has {image.shape[1]} × {image.shape[0]} pixels, but the fit was made on {size[0]} × {size[1]}. "
            "Pass the photograph that was fitted: overlay(image)."
        )
    return image
