"""A result on a page: its pictures, a line of numbers for each person or frame, and in words what they rest on."""

from collections.abc import Mapping

import numpy as np

from hmrfit.fitting.focal import WRONG
from hmrfit.io.image import Image
from hmrfit.ops.level import level_rotation
from hmrfit.render.overlay import side_by_side, views
from hmrfit.report.page import Entry
from hmrfit.report.result_text import described, reprojection
from hmrfit.report.uncertainty_plot import doubt

PAGE_FRAMES, PAGE_ROWS = 8, 12
"""Of a sequence, at most: the frames that are drawn, equally far apart, and the frames, worst first, in the table."""

PANEL = (240, 320)
"""(width, height) of one view of a frame, pixels."""


class OnPage:
    """The part of FitResult that writes pages; `hmrfit.result` has all that it asks of itself."""

    def entry(self, pictures: Mapping[str, Image | str] | None = None) -> Entry:
        """This result on a page; pictures by caption, default the overlay and a turntable (of a sequence: some frames,
        from the camera's side and from the right)."""
        if pictures is None:
            pictures = self._frames_drawn() if self.is_sequence else self._drawn()
        errors = self.reprojection_error
        rows = [self._row(i, errors[i]) for i in self._rows_shown(errors)]
        return Entry(self.name, pictures, rows, self._said(errors))

    def _drawn(self) -> dict[str, Image]:
        around = {f"{45 * i}°": view for i, view in enumerate(self.turntable())}
        return {"photograph, from the right, from behind": self.overlay(), **around, **self.doubts()}

    def _frames_drawn(self) -> dict[str, Image]:
        """By number."""
        chosen = np.unique(np.linspace(0, len(self) - 1, PAGE_FRAMES).round().astype(int)).tolist()
        drawn = {}
        for i in chosen:
            frame = self[i]
            sides = views(frame.output.vertices, self.body_model.faces, (0, 90), PANEL, up=self.up)
            drawn[f"frame {self.names[i]}"] = side_by_side(sides)
        return drawn

    def _rows_shown(self, errors: np.ndarray) -> list[int]:
        """Everyone; of many frames the worst, in their order."""
        if not self.is_sequence or len(self) <= PAGE_ROWS:
            return list(range(len(self)))
        order = np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable")
        return sorted(order[:PAGE_ROWS].tolist())

    def _row(self, i: int, error: float) -> dict[str, str]:
        share = f"{100 * error:.1f} % of the box" if np.isfinite(error) else "without keypoints"
        return {
            "frame" if self.rows == "frames" else "person": self.names[i],
            "reprojection": share + self._before(i),
            **self._how_sure(i),
            **self._other_focal(i),
            "cost": ", ".join(f"{term} {value[i]:.1f}" for term, value in self.term_cost.items()),
            "end": f"{self.status[i]} ({self.steps[i]} steps)",
            "notes": " ".join(self.warnings[i]),
        }

    def _said(self, errors: np.ndarray) -> str:
        """The sentences above the table."""
        said = [f"Focal length: {self.camera.focal[0, 0]:.0f} px ({self.focal_source})."]
        if self.is_sequence:
            said = [f"{described(self.rows, self.names, self.fps)}, reprojection {reprojection(errors, self.rows, self.names)}.", *said]  # fmt: skip  # noqa: E501
            if len(self) > PAGE_ROWS:
                said.append(f"The table holds the {PAGE_ROWS} frames with the largest reprojection error.")
        said += [f"Given {name}: {value}." for name, value in self.measurements.items()]
        said += [f"Person {who} is left out: {reason}" for who, reason in self.left_out.items()]
        if self.apart:
            said.append(f"How sure it is, and what another focal length changes, is said without {self.apart}.")
        said.append(
            "The views from other sides have the camera's own axes, because it is not known which way is up (up=): a "
            "camera that looks up or down tilts them."
            if self.up is None
            else "The views from other sides stand upright, by the direction that was given (up)."
        )
        return " ".join(said)

    def doubt(self, person: int = 0, height: int = 480) -> Image:
        """A person's skeleton from the front and from the side (depth to the right), an ellipse about every joint in
        which nine in ten of its errors lie, relative to the pelvis. Upright where `up` is known."""
        parents, L = tuple(self.body_model.parents), level_rotation(self.up).numpy()
        joints, covariance = self.joints[person], self.joint_covariance[person]
        return doubt(joints @ L.T, L @ covariance @ L.T, parents, height)

    def doubts(self) -> dict[str, Image]:
        """`doubt` of everyone, for the page."""
        if self.spread is None:
            return {}
        return {f"how sure, {name}: front, side": self.doubt(i) for i, name in enumerate(self.person_ids)}

    def _before(self, i: int) -> str:
        """The start's reprojection and how far the fit turned it, for the page."""
        if self.start is None:
            return ""
        turned = self.change_degrees[i]
        most = int(turned.argmax())
        return (
            f" ({100 * self.start_reprojection_error[i]:.1f} % at the start; joints turned by {turned.mean():.0f}° on "
            f"average, {self.joint_names[most].replace('_', ' ')} by {turned[most]:.0f}°)"
        )

    def _how_sure(self, i: int) -> dict[str, str]:
        """The joints it is least and most sure of, and other answers, for the page."""
        if self.spread is None:
            return {}
        std, names = 100 * self.joint_std[i, 1:], [name.replace("_", " ") for name in self.joint_names[1:]]
        order = std.argsort()
        sure = [f"{names[j]} ±{std[j]:.0f} cm" for j in (*order[-1:-4:-1], order[0])]
        others = [f"{100 * p:.0f} %" for p in self.probability[i, 1:] if p > 0.005]
        word = "" if self.counted else " (as its energy says, not counted)"
        found = {"uncertain by": f"{', '.join(sure[:-1])}; least {sure[-1]}{word}"}
        verdict = {} if self.reason is None else {"verdict": self.verdict[i]}
        return found | ({"other answers": ", ".join(others)} if others else {}) | verdict

    def _other_focal(self, i: int) -> dict[str, str]:
        """What a longer focal length changes, for the page, where it may be another one."""
        if self.focal_known or (self.energy is None and self.focal_moves is None):
            return {}
        return {f"if the focal length is {100 * (WRONG - 1):.0f} % longer": self.focal_effect().said(i)}
