"""The pipeline: everything that a fit needs beside its input, built once from settings, and the three fits.

p = hmrfit.Pipeline("fit_spin");   p.fit("photo.jpg", "photo.json")

read and check the input  ->  read the measurements  ->  the schedule with their terms  ->  fit  ->  result
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from yacs.config import CfgNode

from hmrfit.assets import checksum, locate
from hmrfit.body.mirrored import side_of
from hmrfit.body.rigid import turned
from hmrfit.body.skeleton import SMPLH
from hmrfit.body.smpl import SmplBody, checked_params
from hmrfit.build import build_parts, load_body, load_points, load_posed_body, parameter_files
from hmrfit.camera import Camera
from hmrfit.config import Config, load_config
from hmrfit.detectors.detect import beside_or_detected
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.schedule import Schedule
from hmrfit.fitting.smoothness import Poses
from hmrfit.fitting.terms.base import Measurement
from hmrfit.fitting.terms.up import Up
from hmrfit.fitting.terms.views import VIEWS, other_views
from hmrfit.free_focal import (
    FocalLike,
    each_with_free_focal,
    is_free,
    split_focal,
    views_with_free_focal,
    with_free_focal,
)
from hmrfit.groups import (
    SMOOTH,
    Pace,
    as_sequence,
    checked_pace,
    fit_each_view,
    in_cameras,
    in_known_world,
    one_body_in_views,
)
from hmrfit.hand_keypoints import names_of_hand
from hmrfit.io.calibration import read_calibration
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.image import read_image
from hmrfit.io.keypoint_files.names import leaving_hands_out, reading_hands
from hmrfit.io.keypoint_noise import with_known_noise, with_known_noise_in_views
from hmrfit.io.photo import ImageLike, KeypointsLike, Photo, read_photo
from hmrfit.keypoints import KeypointsFrom, has_hands
from hmrfit.likely_up import UpLike, checked_up
from hmrfit.long_sequence import fit_frames
from hmrfit.make_result import LOGGER, Exchanged, log_warnings, result_of
from hmrfit.mend_frames import doubted_frames, with_runs_mended, with_views_doubted
from hmrfit.network.initial_estimate import ImageHmr
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import know_own_threads, one_thread_each, one_thread_for_few, own_threads
from hmrfit.prepare import (
    Asked,
    Prepared,
    TermLike,
    check_measurements,
    checked_init_std,
    known_up,
    noise_argument,
    prepare,
    read_measurements,
)
from hmrfit.result import FitResult, WorldResult
from hmrfit.several import (
    Extrinsics,
    ExtrinsicsLike,
    Sizes,
    count_of_views,
    free_or_known,
    joined,
    photo_of_frames,
    read_extrinsics,
    read_people_of_frames,
    read_views,
    through_moving,
    with_calibration,
)
from hmrfit.types import BodyParams, Keypoints
from hmrfit.views_sequence import (
    NOBODY_IN_TWO,
    SeenPerson,
    fit_person_over_time,
    grid_of,
    in_frame_order,
    people_over_time,
    read_views_over_time,
    reordered,
    world_result,
)
from hmrfit.with_hands import about_shapes_of_one_body, config_with_hands, why_without_hands

UPRIGHT = "upright"
"""The term that takes cameras for level; calibrated ones are where they are."""


class Pipeline:
    """Everything that a fit needs and that does not change from call to call.

    Args:
        config: settings from `load_config`, a YAML file, the name of a shipped one ("fit", "fit_spin", "fit_smplify"),
            or a mapping {"FIT.SIGMA": 0.05}; None for the defaults.

    Raises:
        ConfigError, FileNotFoundError, ValueError: settings or the files that they name.
    """

    def __init__(self, config: Config = None) -> None:
        self.config = config if isinstance(config, CfgNode) else load_config(config)
        self.settings: str = self.config.dump()
        """As YAML, every key."""
        self.files = parameter_files(self.config)
        """The files of parameters that the settings name."""
        self._written = _written(self.files)  # before they are read
        image = self.config.PRIORS.IMAGE_ESTIMATE
        self.image_estimate = ImageHmr.from_file(locate(image)) if image else None
        self.body_name, self.body_kind = self.config.BODY.PATH, self.config.BODY.KIND
        self.threads: int = max(self.config.THREADS, 0)
        with own_threads(self.threads):
            self.fitter, self.schedules = build_parts(self.config)

    @classmethod
    def of(cls, config: Config = None, settings: str = "") -> "Pipeline":
        """The pipeline of these settings, the same object for equal ones as long as the files they name do not
        change. settings: the same as YAML, where it is known."""
        if config is None:
            settings = _DEFAULTS.get("") or _DEFAULTS.setdefault("", load_config(None).dump())
        elif not settings:
            config = config if isinstance(config, CfgNode) else load_config(config)
            settings = config.dump()
        found = _PIPELINES.get(settings)
        if found is None or found._written != _written(found.files):
            _forget_files()
            found = _PIPELINES[settings] = cls(config)
        return found

    @property
    def body(self) -> SmplBody:
        """The body that is fitted."""
        return self.fitter.body

    @cached_property
    def fingerprint(self) -> str:
        """What a fit depends on beside its input: the settings, and the content of the files that they name."""
        return "\n".join([self.settings, *map(checksum, self.files)])

    @cached_property
    def with_hands(self) -> "Pipeline | None":
        """The pipeline of people whose hands are seen: this one, where its body has hands; of the default body's the
        one with `free_body_h`; None where the hands are left out."""
        if self.schedules.fit.hands is not None:
            return self
        config = config_with_hands(self.settings)
        return None if config is None else Pipeline.of(config)

    def for_keypoints(self, names: Sequence[str]) -> "Pipeline":
        """This pipeline, or the one of bodies with hands, where there are points of hands."""
        return self if not has_hands(names) or self.with_hands is None else self.with_hands

    def for_people_of(self, photo: Photo) -> "Pipeline":
        """`for_keypoints`, those of the photograph's people."""
        return self.for_keypoints(photo.people[0].names)

    def reading_hands_of(
        self, measurements: Sequence[Measurement] = (), init: BodyParams | FitResult | None = None
    ) -> AbstractContextManager[None]:
        """Within the block, keypoints are read with those of the hands, where this pipeline has a use for them; where
        it would have, but for what is asked of it, people with hands are warned that these are left out."""
        wanted = self.hands_are_possible and not about_shapes_of_one_body(measurements)
        if wanted and init is not None and self.schedules.fit.hands is None:
            params = init.params if isinstance(init, FitResult) else init
            wanted = isinstance(params, BodyParams) and params.body_pose.shape[1:2] == (len(SMPLH) - 1,)
        if wanted:
            return reading_hands()
        why = why_without_hands(self.settings, measurements, init is not None)
        return leaving_hands_out(why) if why else nullcontext()

    @cached_property
    def hands_are_possible(self) -> bool:
        """Whether people can be fitted with their hands by these settings."""
        return self.schedules.fit.hands is not None or config_with_hands(self.settings) is not None

    def fit(
        self,
        image: ImageLike,
        keypoints: KeypointsLike = None,
        *,
        keypoint_set: str | Sequence[str] | None = None,
        focal: FocalLike = None,
        focal_35mm: float | None = None,
        camera: Camera | None = None,
        image_size: tuple[int, int] | None = None,
        init: BodyParams | FitResult | None = None,
        init_std: float | Sequence[float] | None = None,
        measurements: Sequence[Measurement] = (),
        up: UpLike = None,
        terms: Sequence[TermLike] = (),
        weights: Mapping[str, float] | None = None,
        keypoint_source: KeypointsFrom | None = None,
        keypoint_std: ArrayLike | None = None,
    ) -> FitResult:
        """Fits a body to every person of a photograph; see `hmrfit.fit`."""
        know_own_threads()
        check_measurements(measurements)
        (free, pixels), up = split_focal(focal), checked_up(up, self.body.joint_names)
        keypoint_set = self.set_of(keypoints, keypoint_set)
        if keypoints is None and image is not None:
            image, keypoints = beside_or_detected(image)
        with self.reading_hands_of(measurements, init):
            photo = read_photo(image, keypoints, keypoint_set, pixels, focal_35mm, camera, image_size)
        photo = with_known_noise(photo, keypoint_source, keypoint_std)
        asked = Asked(terms, weights, noise_argument(keypoint_source, keypoint_std))
        free |= is_free(self.config.FIT.FOCAL, photo)
        return self.for_people_of(photo)._fit_people(photo, free, (init, init_std), measurements, up, asked)

    def _fit_people(
        self,
        photo: Photo,
        free: bool,
        given: tuple[BodyParams | FitResult | None, float | Sequence[float] | None],
        measurements: Sequence[Measurement],
        up: UpLike,
        asked: Asked,
    ) -> FitResult:
        """`fit` of what has been read. given: init and init_std."""
        start, std = self.start_of(given[0], photo), self.init_std(given[1], given[0])
        if start is None and self.sees(photo):
            start = self.image_start(photo)
        ready = self._ready(photo, start, measurements, asked)
        photo, upright = ready.photo(photo), known_up(up, measurements, photo.camera)
        with one_thread_for_few(len(photo), self.threads), one_thread_each():
            if free:
                photo = with_free_focal(photo, ready.fitter, ready.records, (start, std))
            fit = ready.fitter.fit(photo.keypoints, photo.camera, start, std, ready.records)
        result = self.result(fit, photo, torch.arange(len(photo)), ready).with_up(upright)
        log_warnings([result])
        return result

    def fit_views(
        self,
        images: Sequence[ImageLike],
        keypoints: Sequence[KeypointsLike],
        extrinsics: ExtrinsicsLike,
        *,
        keypoint_set: str | Sequence[str] | None = None,
        focal: Literal["free"] | None = None,
        cameras: Sequence[Camera] | None = None,
        image_size: Sizes = None,
        init: BodyParams | FitResult | None = None,
        measurements: Sequence[Measurement] = (),
        up: ArrayLike | None = None,
        terms: Sequence[TermLike] = (),
        weights: Mapping[str, float] | None = None,
        keypoint_source: KeypointsFrom | None = None,
        keypoint_std: ArrayLike | None = None,
    ) -> list[FitResult]:
        """Fits one body to one person seen by several calibrated cameras; see `hmrfit.fit_views`."""
        know_own_threads()
        check_measurements(measurements)
        noise = keypoint_source, keypoint_std
        keypoint_set = self.set_of(keypoints[0] if count_of_views(keypoints, "keypoints") else None, keypoint_set)
        with self.reading_hands_of(measurements, init):
            if isinstance(extrinsics, CameraCalibration):
                cameras, keypoints = with_calibration(cameras, keypoints, extrinsics, keypoint_set)
                up = extrinsics.up if up is None else up
            world = read_extrinsics(extrinsics, count_of_views(images, "images"))
            free = free_or_known(focal)
            upright = known_up(up, measurements, None)
            photos = read_views(images, keypoints, keypoint_set, cameras, image_size, free)
        photos, pipeline = with_known_noise_in_views(photos, *noise), self.for_people_of(photos[0])
        photos = with_views_doubted(photos, pipeline.schedules.labels(init, measurements))
        start = pipeline._start_in_views(init, world)
        schedule = pipeline.schedules.views if start is None else pipeline.schedules.views_given
        asked = Asked(terms, weights, noise_argument(*noise))
        read = lambda photos: pipeline._ready_in_views(photos, world, schedule, measurements, asked)  # noqa: E731
        with one_thread_for_few(len(photos), self.threads):
            if free:
                photos = views_with_free_focal(photos, lambda p: fit_each_view(read(p), p, start))
            ready = read(photos)
            fit = one_body_in_views(ready, photos, world, start)
        results = [pipeline.result(fit, photo, torch.tensor([i]), ready) for i, photo in enumerate(photos)]
        poses = torch.cat([world.rotation, world.translation[..., None]], -1).numpy()
        results = [in_known_world(r, E[None], upright) for r, E in zip(results, poses, strict=True)]
        log_warnings(results, f"fit_views, {how_many(len(results), 'views')}")
        return results

    def _ready(
        self,
        photo: Photo,
        start: BodyParams | None,
        measurements: Sequence[Measurement],
        asked: Asked,
        world: Extrinsics | None = None,
        frames: bool = False,
    ) -> Prepared:
        """The call made ready for the people of one photograph, or the frames of one camera, whose measurements are in
        the camera's frame, or in that of a known world."""
        without = self.schedules.of_frames if frames else self.schedules.fit
        schedule = without if start is None else self.schedules.given
        if world is not None:
            measurements = [m.in_view(0, 1) if isinstance(m, Up) else m for m in measurements]
        found = read_measurements(measurements, photo, self.body, world)
        return prepare(self.fitter, self.config, schedule, photo, found, asked)

    def _ready_in_views(
        self,
        photos: Sequence[Photo],
        world: Extrinsics,
        schedule: Schedule,
        measurements: Sequence[Measurement],
        asked: Asked,
    ) -> Prepared:
        """The call made ready for these cameras: what each view knows of the person, in its own frame."""
        C = len(photos)
        each = [
            read_measurements([m.in_view(i, C) for m in measurements], photo, self.body, world[[i]])
            for i, photo in enumerate(photos)
        ]
        found = {m.name: in_cameras([known[m.name] for known in each]) for m in measurements}
        seen, camera = Keypoints.cat([p.keypoints for p in photos]), Camera.cat([p.camera for p in photos])
        found[VIEWS] = other_views(seen, camera, world.rotation, world.translation)
        return prepare(self.fitter, self.config, schedule, joined(photos), found, asked)

    def _start_in_views(self, init: BodyParams | FitResult | None, world: Extrinsics) -> BodyParams | None:
        """The one body in every camera's frame, given in the world of the extrinsics, or one for each camera."""
        if init is None:
            return None
        params, rotation = self._params(init), world.rotation
        if len(params) == len(rotation):
            return params
        if len(params) != 1:
            raise ValueError(
                f"init holds {how_many(len(params), 'bodies')}. Give one, in the world of the extrinsics, or one for "
                f"each of the {how_many(len(rotation), 'cameras')}, in its frame."
            )
        pelvis = self.body.rest_joints[0], self.body.joint_shapes[0]
        return turned(params[[0] * len(rotation)], *pelvis, rotation, world.translation)

    def fit_views_sequence(
        self,
        views: Sequence[Any] | Mapping[str, Any],
        calibration: CameraCalibration | str | os.PathLike[str],
        *,
        fps: float,
        keypoint_set: str | Sequence[str] | None = None,
        smooth: float = SMOOTH,
        measurements: Sequence[Measurement] = (),
        up: ArrayLike | None = None,
        terms: Sequence[TermLike] = (),
        weights: Mapping[str, float] | None = None,
        keypoint_source: KeypointsFrom | None = None,
        keypoint_std: ArrayLike | None = None,
    ) -> list[WorldResult]:
        """Fits the people whom several calibrated cameras see over time; see `hmrfit.fit_views_sequence`."""
        know_own_threads()
        check_measurements(measurements)
        pace = Pace(*checked_pace(fps, smooth))
        rig = calibration if isinstance(calibration, CameraCalibration) else read_calibration(calibration)
        with self.reading_hands_of(measurements):
            tracks, rig = read_views_over_time(views, rig, keypoint_set)
            upright = known_up(rig.up if up is None else up, measurements, None)
            read_extrinsics(rig, len(rig))
            people, left = people_over_time(tracks, rig, keypoint_set)
        if not people:
            raise ValueError(NOBODY_IN_TWO)
        pipeline = self.for_people_of(people[0].photos[0])
        weights = {**({UPRIGHT: 0.0} if UPRIGHT in self.schedules.views.term_names else {}), **(weights or {})}
        noise = keypoint_source, keypoint_std
        asked = Asked(terms, weights, noise_argument(*noise))
        results = []
        for i, person in enumerate(people):
            labels = pipeline.schedules.labels(None, measurements)
            noted = (with_known_noise(photo, *noise) for photo in person.photos)
            mended = [with_runs_mended(p, b, labels, pace.fps) for p, b in zip(noted, person.blank, strict=True)]
            person = replace(person, photos=tuple(mended))
            ready, photo = pipeline._ready_over_time(person, rig, measurements, asked)
            with one_thread_for_few(len(photo), self.threads), one_thread_each():
                fit = fit_person_over_time(ready, person, photo, rig.extrinsics[list(person.views)], pace)
            base = person.photos[person.base]
            result = pipeline.result(fit, base, torch.arange(len(base)), ready, partial(doubted_frames, labels))
            result = as_sequence(result, person.nowhere, pace.fps)
            results.append(world_result(result, person, rig, upright, str(i)))
        log_warnings([one.base for one in results], f"fit_views_sequence, {how_many(len(results), 'people')}")
        if left:
            LOGGER.warning("fit_views_sequence: %d tracks are of people whom no second camera sees: left out.", left)
        return results

    def _ready_over_time(
        self, person: SeenPerson, rig: CameraCalibration, measurements: Sequence[Measurement], asked: Asked
    ) -> tuple[Prepared, Photo]:
        """The call made ready for all frames of all views of one person."""
        V, T = person.blank.shape
        photo, seen, camera = grid_of(person)
        world = read_extrinsics(rig.extrinsics[list(person.views)], V)
        each = [
            read_measurements([m.in_view(v, V) for m in measurements], of_view, self.body, world[[v] * T])
            for v, of_view in enumerate(person.photos)
        ]
        order = in_frame_order(V, T)
        found = {m.name: reordered(in_cameras([known[m.name] for known in each]), order) for m in measurements}
        found[VIEWS] = other_views(seen, camera, world.rotation, world.translation, T)
        return prepare(self.fitter, self.config, self.schedules.views, photo, found, asked), photo

    def fit_sequence(
        self,
        keypoints: KeypointsLike,
        *,
        fps: float,
        image: ImageLike = None,
        keypoint_set: str | Sequence[str] | None = None,
        focal: FocalLike = None,
        focal_35mm: float | None = None,
        camera: Camera | None = None,
        image_size: tuple[int, int] | None = None,
        extrinsics: ExtrinsicsLike | None = None,
        smooth: float = SMOOTH,
        init: BodyParams | FitResult | None = None,
        init_std: float | Sequence[float] | None = None,
        measurements: Sequence[Measurement] = (),
        up: UpLike = None,
        terms: Sequence[TermLike] = (),
        weights: Mapping[str, float] | None = None,
        keypoint_source: KeypointsFrom | None = None,
        keypoint_std: ArrayLike | None = None,
    ) -> FitResult:
        """Fits one person in consecutive frames of one camera; see `hmrfit.fit_sequence`."""
        know_own_threads()
        check_measurements(measurements)
        (rate, weight), up = checked_pace(fps, smooth), checked_up(up, self.body.joint_names)
        free, pixels = split_focal(focal)
        keypoint_set = self.set_of(keypoints, keypoint_set)
        with self.reading_hands_of(measurements, init):
            frames = read_people_of_frames(keypoints, keypoint_set)
        frames, camera, image_size = through_moving(frames, extrinsics, camera, image_size)
        photo, blank = photo_of_frames(image, frames, keypoint_set, pixels, focal_35mm, camera, image_size)
        photo, pipeline = with_known_noise(photo, keypoint_source, keypoint_std), self.for_people_of(photo)
        labels = pipeline.schedules.labels(init, measurements)
        photo = with_runs_mended(photo, blank, labels, rate)
        world = None if extrinsics is None else read_extrinsics(extrinsics, len(photo), "frame")
        upright = known_up(up, measurements, None if world else photo.camera)
        start, std = pipeline.start_of(init, photo), pipeline.init_std(init_std, init)
        asked = Asked(terms, weights, noise_argument(keypoint_source, keypoint_std))
        ready = pipeline._ready(photo, start, measurements, asked, world, frames=True)
        photo = ready.photo(photo)
        poses = None if world is None else Poses(world.rotation, world.translation)
        with one_thread_for_few(len(photo), self.threads), one_thread_each():
            if free or is_free(self.config.FIT.FOCAL, photo):
                photo = with_free_focal(photo, ready.fitter, ready.records, (start, std), "frames")
            fit, motion, seen = fit_frames(ready, photo, blank, Pace(rate, weight), (start, std), poses)
            people = tuple(replace(p, confidence=p.confidence * ~b) for p, b in zip(photo.people, blank, strict=True))
            rows, sides = torch.arange(len(photo)), partial(doubted_frames, labels)
            result = pipeline.result(fit, replace(photo, people=people), rows, ready, sides)
            result = as_sequence(result, blank, rate, ready.fitter, motion, seen)
        if world is None:
            result = result.with_up(upright)
        else:
            own = extrinsics.up if upright is None and isinstance(extrinsics, CameraCalibration) else upright
            poses_of = torch.cat([world.rotation, world.translation[..., None]], -1).numpy()
            result = in_known_world(result, poses_of, own)
        log_warnings([result], f"fit_sequence, {how_many(len(result), 'frames')}")
        return result

    def fit_photos(
        self, photos: Sequence[Photo], measurements: Sequence[Measurement] = (), up: UpLike = None
    ) -> list[FitResult]:
        """The people of many photographs, side by side in one batch per keypoint set. One result a photo, in order.
        measurements: of everybody, or of every photograph's camera. up: of every photograph, as for `fit`."""
        up = checked_up(up, self.body.joint_names)
        many = [i for i, photo in enumerate(photos) if self.for_people_of(photo) is not self]
        if many:
            rest = [i for i in range(len(photos)) if i not in set(many)]
            with_hands, without = (
                one.fit_photos([photos[i] for i in some], measurements, up)
                for one, some in ((self.for_people_of(photos[many[0]]), many), (self, rest))
            )
            in_order = dict(zip([*many, *rest], [*with_hands, *without], strict=True))
            return [in_order[i] for i in range(len(photos))]
        results: dict[int, FitResult] = {}
        kind = lambda i: (photos[i].people[0].names, self.sees(photos[i]))  # noqa: E731
        for (_, seen), group in groupby(sorted(range(len(photos)), key=kind), key=kind):
            chosen = list(group)
            together = [photos[i] for i in chosen]
            schedule = self.schedules.given if seen else self.schedules.fit
            each = [read_measurements(measurements, photo, self.body) for photo in together]
            found = {m.name: in_cameras([known[m.name] for known in each]) for m in measurements}
            ready = prepare(self.fitter, self.config, schedule, together[0], found, Asked())
            rows = torch.arange(sum(map(len, together))).split([len(photo) for photo in together])
            together = each_with_free_focal(self.config.FIT.FOCAL, together, rows, ready.fitter, ready.records)
            keypoints = Keypoints.cat([photo.keypoints for photo in together])
            camera = Camera.cat([photo.camera for photo in together])
            with one_thread_for_few(len(keypoints), self.threads), one_thread_each():
                start = BodyParams.cat([self.image_start(photo) for photo in together]) if seen else None
                fit = ready.fitter.fit(keypoints, camera, start, measurements=ready.records)
            for i, photo, row in zip(chosen, together, rows, strict=True):
                upright = known_up(up, measurements, photo.camera)
                results[i] = self.result(fit, photo, row, ready).with_up(upright)
        for result in results.values():
            log_warnings([result])
        return [results[i] for i in range(len(photos))]

    def result(
        self, fit: Fit, photo: Photo, rows: Tensor, ready: Prepared, exchanged: Exchanged | None = None
    ) -> FitResult:
        """The part of a batch's outcome that is one photograph's. exchanged: as `result_of` takes it."""
        body = self.body_name, self.body_kind
        return result_of(fit, photo, rows, ready.fitter, body, ready.summaries, exchanged)

    def sees(self, photo: Photo) -> bool:
        """Whether there is a network that sees images, and the photograph's pixels for it."""
        return self.image_estimate is not None and (photo.image is not None or photo.path is not None)

    def image_start(self, photo: Photo) -> BodyParams:
        """What the image network says of the photograph's people."""
        assert self.image_estimate is not None
        image = photo.image
        if image is None:
            assert photo.path is not None
            image = read_image(photo.path)
        return self.image_estimate.predict(image, photo.keypoints, photo.camera).params

    def start_of(self, init: BodyParams | FitResult | None, photo: Photo) -> BodyParams | None:
        """The start of the people who are fitted, from one for each person given, or a result of the same people."""
        if init is None:
            return None
        params = self._params(init)
        same = isinstance(init, FitResult) and init.left_out and init.person_ids == [p.person_id for p in photo.people]
        if same:
            return params
        if len(params) != photo.given:
            raise ValueError(
                f"init holds {how_many(len(params), 'people')}, but there are {photo.given} in the keypoints. Give "
                "one each."
            )
        return params[list(photo.rows)]

    def _params(self, init: BodyParams | FitResult) -> BodyParams:
        """The bodies of `init`, checked against the one that is fitted."""
        params = init.params if isinstance(init, FitResult) else init
        if not isinstance(params, BodyParams):
            raise TypeError(f"init should be a FitResult or BodyParams, not {type(init).__name__}.")
        return checked_params(params, self.body)

    def set_of(self, keypoints: KeypointsLike, keypoint_set: str | Sequence[str] | None) -> str | Sequence[str] | None:
        """The keypoint set; of a hand with the side of the names."""
        side = side_of(self.body.skeleton)
        if side is None:
            return keypoint_set
        shape = np.shape(keypoints) if isinstance(keypoints, np.ndarray | list | tuple | Tensor) else ()
        return cast(Sequence[str], names_of_hand(shape, keypoint_set, side))

    def init_std(self, std: float | Sequence[float] | None, init: object) -> Tensor | None:
        """Degrees, as the fitter takes them."""
        return None if std is None else checked_init_std(std, init, self.schedules.given, len(self.body.parents))


_PIPELINES: dict[str, Pipeline] = {}
_DEFAULTS: dict[str, str] = {}
"""The default settings, read once: for one person, that takes as long as the initial estimate."""


def _written(files: Sequence[Path]) -> tuple[tuple[int, ...], ...]:
    """Which files these are, and when they were last written: equal as long as nothing has to be read again."""
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) if (s := _stat(file)) else () for file in files)


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:  # gone: reading it says so
        return None


def _forget_files() -> None:
    """Bodies by name are kept as long as no file of a pipeline has changed."""
    stale = [settings for settings, pipeline in _PIPELINES.items() if pipeline._written != _written(pipeline.files)]
    for settings in stale:
        del _PIPELINES[settings]
    if stale:
        for read in (load_body, load_posed_body, load_points):
            read.cache_clear()
