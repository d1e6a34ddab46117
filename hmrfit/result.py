"""FitResult: what a fit found, to look at, to save, to hand on. What it holds is `hmrfit.result_data`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import torch
from numpy.typing import ArrayLike

from hmrfit.build import load_body
from hmrfit.fitting.terms.ground import Plane
from hmrfit.io.image import Image
from hmrfit.likely_up import LikelyUp, likely_up_of
from hmrfit.ops.how_many import how_many
from hmrfit.render.overlay import overlay, sheet, turntable
from hmrfit.report.page import Entry, write_page
from hmrfit.report.result_page import LEGEND, drawn_entry, uncertainty_picture, uncertainty_pictures
from hmrfit.report.viewer import result_scene, scene_html, write_beside
from hmrfit.result_data import ResultData
from hmrfit.result_file import read_result, write_result
from hmrfit.world_data import WorldData, read_world, write_world

if TYPE_CHECKING:  # the writers of files take 0.1 s to import, and a fit needs none of them
    from hmrfit.export.motion_files import MotionOptions
    from hmrfit.export.person_motion import PersonMotion


@dataclass(eq=False, repr=False)
class FitResult(ResultData):
    """Bodies of the N people that could be fitted, or (`rows`) of one person in N frames. Made by `hmrfit.fit` and its
    like, and by `FitResult.load`. `result[i]`, `result[a:b]` and iteration give results of single people or frames."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes everything but the pixels as .npz, whole or not at all; `hmrfit.result_file` lists the keys."""
        write_result(path, self.without_energy())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: there is no such file, it is damaged, or no result.
        """
        found = read_result(path)
        return cls(**{name: getattr(found, name) for name in found.__dataclass_fields__})

    def in_world(self) -> "WorldResult":
        """The same bodies in the world of the extrinsics that the fit was given: of one camera (`fit_views`, or
        `fit_sequence` with `extrinsics=`).

        Raises:
            ValueError: no extrinsics were given, so no world is known. Of N people, take one: `result[i].in_world()`.
        """
        return WorldResult(self)

    def overlay(
        self,
        image: ArrayLike | None = None,
        sides: bool = True,
        keypoints: bool = True,
        longest: int | None = None,
    ) -> Image:
        """The bodies over the photograph, RGB uint8; side view and back view beside it unless `sides` is False.

        Args:
            image: to draw on; default the photograph itself.
            keypoints: also draws what was fitted, as rings.
            longest: with side and back view, about how many pixels the whole is wide at most; smaller is quicker.

        The side and back view are upright where `up` is known; else they have the camera's axes. Of a sequence, one
        frame at a time: `result[i].overlay(frame)`.
        """
        self._at_one_moment("overlay")
        image = self.picture() if image is None else image
        given = self.keypoints if keypoints else None
        vertices, faces = self.mesh_vertices, self.body_model.faces
        if not sides:
            return overlay(image, vertices, faces, self.camera, given=given)
        return sheet(image, vertices, faces, self.camera, given=given, up=self.up, longest=longest)

    def turntable(self, count: int = 8, size: tuple[int, int] = (360, 480)) -> list[Image]:
        """`count` pictures from all around, the photograph's own side first. Upright where `up` is known; else the
        vertical is the camera's y axis."""
        self._at_one_moment("turntable")
        return turntable(self.mesh_vertices, self.body_model.faces, count, size, up=self.up)

    def mesh(
        self,
        path: str | PathLike[str],
        frame: str = "y_up",
        colors: ArrayLike | None = None,
        *,
        material: str = "clay",
        on_floor: bool = False,
    ) -> None:
        """Writes the bodies as .obj, .ply or .glb, metres; y up, or with frame="camera" as they are here.

        They stand upright where `up` is known; else y is the camera's own vertical. A .glb also has the skeleton,
        smooth normals, texture coordinates, a material ("clay" or "skin"), the camera, and the floor where it is known;
        with on_floor=True everything is moved until the lowest point is at y = 0. Of a sequence, one frame at a time:
        `result[i].mesh(path)`; all frames are a motion, see `save_motion`.
        """
        from hmrfit.render.meshes import FRAMES, write_mesh  # trimesh takes 0.3 s to import

        self._at_one_moment("mesh")
        names = [f"person_{name}" for name in self.person_ids]
        if len(names) != len(self) or len(set(names)) < len(names):
            names = [f"person_{i}" for i in range(len(self))]
        if str(path).lower().endswith(".glb") and frame in FRAMES and len(self):
            from hmrfit.export.glb import write_posed_glb

            people = [self[i]._before_camera(name) for i, name in enumerate(names)]
            write_posed_glb(
                path, people, self.mesh_vertices, frame=frame, colors=colors, on_floor=on_floor, material=material
            )
            return
        if on_floor or material != "clay":
            raise ValueError("on_floor= and material= are options of .glb.")
        write_mesh(path, self.mesh_vertices, self.body_model.faces, frame, colors, names, self.up, self.up_std)

    def motion(
        self, person: int | None = None, *, name: str | None = None, times: ArrayLike | None = None
    ) -> "PersonMotion":
        """One person's motion, or pose, for the writers of `hmrfit.export`: `write_glb` takes several.

        Args:
            person: which of several people of a photograph. Of a sequence, all frames are taken.
            name: what to call the person; default person_ and its id.
            times: (T,) seconds of the frames; default by the frames' numbers, frame 0 at 0.
        """
        chosen = self if self.rows == "frames" else self[self._one_person(person)]
        if self.rows == "frames" and person not in (None, 0):
            raise ValueError(f"This result is a sequence of one person; there is no person {person!r}.")
        if chosen.is_sequence and chosen.fps is None:
            raise ValueError(
                "The frame rate of this sequence is not known: it was saved by an earlier version. Fit it again."
            )
        if chosen.camera_moves:
            return chosen.in_world().motion(name=name, times=times)
        return chosen._before_camera(name or f"person_{0 if self.rows == 'frames' else chosen.names[0]}", times)

    def _before_camera(self, name: str, times: ArrayLike | None = None) -> "PersonMotion":
        """The motion of the one person that this result is of, in the camera's frame."""
        from hmrfit.export.amass import ADD_ONS_RATE
        from hmrfit.export.person_motion import PersonMotion, frame_times

        fps = ADD_ONS_RATE if self.fps is None else self.fps
        if times is None and self.is_sequence:
            times = frame_times(self.person_ids, fps)
        return PersonMotion(
            self.params,
            load_body(self.origin.body),
            fps,
            times,
            name,
            self.up,
            self.origin.gender,
            self.origin.body,
            self.camera[:1],
            self._floor(),
            self.up_std,
        )

    @property
    def likely_up(self) -> LikelyUp | None:
        """What points up in the camera frame, as most people stand and cameras are held; None of hands, and before a
        camera that moves. `with_up("likely")` takes it."""
        return likely_up_of([self])

    def _floor(self) -> float | None:
        """The height of the floor in a world with y up, where it was given to the fit."""
        plane = self.fit.observation.measurements.get("ground") if self.up is not None else None
        return float(plane.offset[0]) if isinstance(plane, Plane) and bool(plane.weight[0] > 0) else None

    def save_motion(
        self,
        path: str | PathLike[str],
        person: int | None = None,
        *,
        fps: float | None = None,
        on_floor: bool = False,
        **options: "Unpack[MotionOptions]",
    ) -> None:
        """Writes one person's motion, or pose, in the format of the suffix:

            .npz    AMASS, for its readers (Blender add-ons, aitviewer, ours)          z up
            .glb    a mesh with skeleton and animation (Blender, three.js, engines)    y up
            .bvh    the skeleton and its angles (Blender, MotionBuilder, Maya)         y up
            .smpl   Meshcapade's codec                                                 y up
            .trc    points, as OpenSim's markers                                       y up
            .mot    clinical joint angles (also .sto, .csv)                            y up

        The camera is the world's origin and looks along +y in a world with z up, along -z in one with y up. It is
        upright where `up` is known; else the camera is taken as level. See the modules of `hmrfit.export`.

        Args:
            person: which of several people of a photograph. Of a sequence, all frames are written.
            fps: another frame rate, to which the motion is interpolated: Blender's add-ons for .npz refuse rates below
                30. By default the sequence's own; a photograph has none, and its one pose is written with 30.
            on_floor: moves everything up or down until the lowest point of the motion is at height 0.
            options: of the format: columns= (.npz), influences=, material= and correctives= (.glb), unit= and order=
                (.bvh), unit= and points= (.trc); see `hmrfit.export.motion_files`.
        """
        from hmrfit.export.motion_files import write_motion

        motion = self.motion(person)
        if fps is not None:
            motion = motion.even(fps)
        write_motion(path, motion, on_floor=on_floor, **options)

    def _one_person(self, person: int | None) -> int:
        if person is None and len(self) > 1:
            raise ValueError(
                f"This photograph has {how_many(len(self), 'people')}; a motion file has one. Say which: person=0."
            )
        return 0 if person is None else person

    def _at_one_moment(self, what: str) -> None:
        """Refuses to put the frames of a sequence into one picture."""
        if self.is_sequence:
            raise ValueError(
                f"This result is a sequence of {how_many(len(self), 'frames')}, which do not belong into one {what}. "
                "Take one, "
                f"result[i].{what}(...), or write the motion: result.save_motion('walk.npz')."
            )

    def page(self, path: str | PathLike[str], title: str | None = None) -> None:
        """Writes one .html file with the overlay, views from all around and the numbers, and a 3D view that turns.

        The pictures are inside. The view needs two scripts beside the page, which are written with it: viewer.js, and
        the body's. A sequence has its frames in it; see `hmrfit.report.viewer`.
        """
        scene = result_scene(self, self._picture_at_hand())
        write_beside(Path(path).parent, scene.body)
        write_page(path, [replace(self.entry(), view=scene_html(scene))], title or f"hmrfit: {self.name}", LEGEND)

    def _picture_at_hand(self) -> Image | None:
        """The photograph, where there is one."""
        try:
            return None if self.is_sequence else self.picture()
        except (OSError, ValueError):
            return None

    def entry(self, pictures: Mapping[str, Image | str] | None = None) -> Entry:
        """This result on a page; pictures by caption, default the overlay and a turntable (of a sequence: some frames,
        from the camera's side and from the right)."""
        if pictures is None and not self.is_sequence:
            around = {f"{45 * i}°": view for i, view in enumerate(self.turntable())}
            pictures = {"photograph, from the right, from behind": self.overlay(), **around}
            pictures |= uncertainty_pictures(self)
        return drawn_entry(self, pictures)

    def uncertainty_plot(self, person: int = 0, height: int = 480) -> Image:
        """A person's skeleton from the front and from the side, an ellipse about every joint, `height` pixels high."""
        return uncertainty_picture(self, person, height)

    def without_energy(self) -> "FitResult":
        """What can leave this process: the same without the energy's terms, which may be anything, and without pixels.
        What is computed when it is asked for, other answers and the effect of an unknown focal length, is computed
        before."""
        if self.terms is not None and not self.focal_known:
            self.focal_effect()
        fit = replace(self.fit, seeker=None)
        return replace(self, fit=fit, known_answers=self.answers, seek=None, terms=None, together=None, image=None)

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copies in other processes."""
        return vars(self.without_energy()) | {"image": self.image}


@dataclass(eq=False, repr=False)
class WorldResult(WorldData[FitResult]):
    """One person in the world's frame: T frames (or one), seen by C calibrated cameras; `views` are the results in the
    cameras' frames. Made by `hmrfit.fit_views_sequence`, by `FitResult.in_world` and by `WorldResult.load`."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes everything but pixels as .npz, whole or not at all; `hmrfit.world_data` lists the keys."""
        write_world(path, self, self.base.without_energy())

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError, ValueError: there is no such file, it is damaged, or no result in a world.
        """
        base = FitResult.load(path)
        return cls(base, *read_world(path, base))

    def motion(self, *, name: str | None = None, times: ArrayLike | None = None) -> "PersonMotion":
        """The motion in the world, for the writers of `hmrfit.export`: upright where the world's `up` is known."""
        from hmrfit.export.amass import ADD_ONS_RATE
        from hmrfit.export.person_motion import PersonMotion, frame_times

        fps = ADD_ONS_RATE if self.fps is None else self.fps
        if times is None and self.base.is_sequence:
            times = frame_times(self.base.person_ids, fps)
        origin = self.base.origin
        named = name or f"person_{self.person}"
        return PersonMotion(self.params, load_body(origin.body), fps, times, named, self.up, origin.gender, origin.body)

    def save_motion(
        self,
        path: str | PathLike[str],
        *,
        fps: float | None = None,
        on_floor: bool = False,
        **options: "Unpack[MotionOptions]",
    ) -> None:
        """Writes the motion in the world: .npz, .glb, .bvh, .smpl, .trc, .mot, .sto or .csv; see
        `FitResult.save_motion`. The world's own origin is kept."""
        from hmrfit.export.motion_files import write_motion

        motion = self.motion() if fps is None else self.motion().even(fps)
        write_motion(path, motion, on_floor=on_floor, **options)

    def mesh(self, path: str | PathLike[str], frame: int = 0, colors: ArrayLike | None = None) -> None:
        """Writes one frame's body as .obj, .ply or .glb, metres, in the world's own axes."""
        from hmrfit.render.meshes import write_mesh  # trimesh takes 0.3 s to import

        write_mesh(path, torch.tensor(self.vertices[[frame]]), self.base.body_model.faces, "camera", colors)
