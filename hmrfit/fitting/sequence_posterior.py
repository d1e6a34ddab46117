"""How sure the frames of a sequence are, each knowing of its neighbours: Laplace's approximation for all together.

    p(x_1 .. x_T, beta | keypoints) ≈ t_ν(solution, H⁻¹),    H = blocks of every frame + w_s J^T D^T D J + a border

The frames' blocks are those of `hmrfit.fitting.uncertainty`, D the second differences of `hmrfit.fitting.sequence`, the
border the one shape. Two frames are a block. Eliminating block after block (`banded.eliminate`) leaves x_b given what
comes after it, z_b = (x_(b+1), beta), so that everything follows from the last frame to the first:

    x_b = L⁻ᵀ (ε_b - V z_b),   ε_b ~ N(0, I)                                    one draw is one coherent motion
    C_bz = -G C_zz,   C_bb = (L L^T)⁻¹ + G C_zz G^T,   G = L⁻ᵀ V                of which the frames' own are parts

Time is linear in T and memory that of `WINDOW` frames: the factors of a window are made again when its turn comes, from
what the frames before it left.

What neighbours say is not new. A network that errs in one frame errs likewise in the next. Of an
error with the correlation rho = exp(-1/(fps tau)) from frame to frame, T frames say as much as T/c independent ones:

    c = (1 + rho)/(1 - rho) - 2 rho (1 - rho^T)/(T (1 - rho)²),              1 for one frame, about 2 tau fps for many

by which the anchor's weight is divided. tau is measured (`MEASURED_IN_MOTION`), and so are ν and w_s. What the body and
the smoothness get wrong lasts too, so that keypoints count less than in a single frame, precise ones most of all.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.banded import add_between, eliminate
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Layout, Observation, State
from hmrfit.fitting.sequence import each_piece, pieces
from hmrfit.fitting.smoothness import BANDS, Smoothness, stencil
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.uncertainty import FLOORS, GAUSSIAN, Posterior, Weight, hessian, joint_rows
from hmrfit.ops.threads import own_threads

RowsT = TypeVar("RowsT", Tensor, Posterior)

WINDOW = 256
"""Frames whose factors are in memory at a time: 150 kB each."""


FRAMES = 64
"""Whose Jacobians are in memory at a time: 200 kB each."""


@dataclass(frozen=True)
class InMotion:
    """What was measured of sequences, beside the `Calibration` of single frames.

    anchor: tau of the initial estimate's error, seconds. keypoints: by how much their weight is divided; noise: what is
    added to its slope, since what is wrong beside noise does not become less with it. smooth: w_s. surer: by how much
    all of it is multiplied in the end. nu: ν.
    """

    anchor: float
    keypoints: float
    noise: float
    smooth: float
    surer: float
    nu: float


MEASURED_IN_MOTION = InMotion(anchor=2.0, keypoints=2.0, noise=1.0, smooth=0.4, surer=1.25, nu=6.0)
"""On 36 clips of validation motion (18 movements from two sides, 60 to 150 frames, 1 and 2 % noise, half hidden for a
third of the clip; joints whose own keypoint is seen and not seen apart): without the slope of the noise regions of 50,
68, 90 and 95 % are a point farther off, as single frames are weighed 66 points. About keypoints whose noise is new in
every frame; where half of its variance stayed for 0.3 s, the same numbers covered two points less, and a third of the
keypoints' weight ten points too much.

The smoothness, ν and how sure all of it is were chosen of 80 settings on 36 other clips of validation motion (60 to 90
frames), where regions hold what they say to 3.7 points at worst; on 78 clips of test motion (39 movements from two
sides) to 3.0. With a smoothness of 0.7, ν = 7 and nothing surer they were 5.9 and 4.5 off: regions of 90 % held 68 to
78 % of joints that nothing had shown for three to seven frames, over which real motion is less smooth than on average,
and those of 50 % too much everywhere else. An error lasts as long as a clip, so 39 clips have a standard error of 2 to
4 points: of the two halves of the 78 the worst numbers are 4.4 and 4.8 off, with opposite signs."""

CACHED = 2**28
"""Bytes of covariances that are kept once they were asked for."""


def repeated(count: int, fps: float, seconds: float) -> float:
    """c, as how many frames one counts whose error stays for so many seconds."""
    rho = math.exp(-1 / (fps * seconds)) if seconds > 0 else 0.0
    return (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**count) / (count * (1 - rho) ** 2)


class SeenFrames(Protocol):
    """What frames know, for as many as are asked about."""

    def __getitem__(self, part: slice) -> Observation: ...


def in_motion(
    fitter: Fitter, fit: Fit, motion: Smoothness | None, fps: float, known: SeenFrames | None = None
) -> "FramesPosterior | None":
    """Of the frames of a fit, solved together; None where only the posterior of single frames was measured (other
    energies than the default one, frames that share nothing but the shape)."""
    one = fit[:1] if known is None else replace(fit[:1], observation=known[:1])
    how = fitter.calibration(one)
    if motion is None or how.noise == "residuals" or how.nu >= GAUSSIAN:
        return None
    measured, T = MEASURED_IN_MOTION, len(fit)
    of_part = lambda part: fitter.seen_in_posterior(replace(fit[part], calibration=how))[1]  # noqa: E731
    found = [of_part(slice(i, i + WINDOW)) for i in range(0, T, WINDOW)]
    noise = None if found[0] is None else torch.cat([part for part in found if part is not None])
    weights = {}
    for name, own in how.weights.items():
        at = own.at * measured.surer ** (1 - 1 / T)  # one frame is weighed as a single one
        if name == "anchor":
            weights[name] = replace(own, at=at / repeated(T, fps, measured.anchor))
        else:
            less = 1 + (measured.keypoints - 1) * (1 - 1 / T)
            weights[name] = replace(own, at=at / less, noise=own.noise + measured.noise * (1 - 1 / T))
    motion = replace(motion, scale=motion.scale * (measured.smooth * measured.surer) ** 0.5)
    body, seen = fitter.point_body(fit.observation.keypoints.names), fit.observation if known is None else known
    return FramesPosterior(body, fitter.terms, weights, fit.state, seen, noise, motion, measured.nu)


@dataclass(frozen=True)
class FramesPosterior:
    """Of T frames at their solution.

    weights: of the terms whose Hessian it is. noise: (T, K) of the keypoints, fractions of the box, where they have
    one. rows: the frames that are asked about, those of a part of a result; all by default.
    """

    body: PointBody
    terms: Mapping[str, Term]
    weights: Mapping[str, Weight]
    state: State
    observation: SeenFrames
    noise: Tensor | None
    motion: Smoothness | None
    nu: float
    threads: int = 1
    rows: Tensor | None = None
    _carried: list["_Carried"] = field(default_factory=list, repr=False)
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)  # what was asked for before, of all frames

    def __len__(self) -> int:
        return len(self.state)

    def of(self, rows: Tensor) -> "FramesPosterior":
        """The same, asked about some of its frames."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def _chosen(self, values: RowsT) -> RowsT:
        return values if self.rows is None else values[self.rows]

    def covariances(self) -> Iterator[tuple[slice, Tensor]]:
        """(frames, C (m, P, P) over all columns as in `Posterior`), from the last frames to the first."""
        own, P = Layout.driven(self.body).all_columns, Layout.everything(self.body).columns
        n, S = self._sizes()
        w = BANDS * n
        with own_threads(1):
            shape = self._shape_covariance()
            Q = shape.new_zeros(w + S, w + S)  # of the block behind, and the shape
            Q[w:, w:] = shape
            for window, U, V in self._windows():
                each = shape.new_zeros(len(U), w + S, w + S)
                gains = torch.linalg.solve_triangular(U, V, upper=True)
                alone = torch.cholesky_inverse(U, upper=True)
                for b in reversed(range(len(U))):
                    Q = each[b] = _one_earlier(gains[b], alone[b], Q)
                found = shape.new_zeros(len(U) * BANDS, P, P)
                for i in range(BANDS):
                    few = torch.cat([torch.arange(i * n, (i + 1) * n), torch.arange(w, w + S)])
                    found[i::BANDS, own[:, None], own] = each[:, few[:, None], few]
                yield window, found[: window.stop - window.start]

    def posterior(self) -> Posterior:
        """Of every frame: 60 kB each."""
        known: Posterior | None = self._known.get("posterior")
        if known is None:
            T, P = len(self), Layout.everything(self.body).columns
            covariance = torch.zeros(T, 1, P, P, dtype=torch.float64)
            for window, found in self.covariances():
                covariance[window, 0] = found
            known = Posterior(torch.ones(T, 1, dtype=torch.float64), covariance, self.nu, self.noise)
            if covariance.nbytes <= CACHED:
                self._known["posterior"] = known
        return self._chosen(known)

    def point_covariance(self, points: PointBody) -> Tensor:
        """(T, K, 3, 3) metres²: how wrong some points may be relative to the first, the tails in it."""
        total: Tensor | None = self._known.get(points.names)
        if total is None:
            total = torch.zeros(len(self), len(points.names), 3, 3, dtype=torch.float64)
            for window, found in self.covariances():
                A = joint_rows(points, self.state.params[window])
                total[window] = (A.flatten(1, 2) @ found).view_as(A) @ A.mT
            self._known[points.names] = total
        return self.nu / (self.nu - 2) * self._chosen(total)

    def sample(self, count: int, rng: np.random.Generator) -> Tensor:
        """(count, T, P) steps from the solution; each of the count is one motion of one body."""
        own, P = Layout.driven(self.body).all_columns, Layout.everything(self.body).columns
        n, S = self._sizes()
        normal = lambda *shape: torch.as_tensor(rng.standard_normal(shape))  # noqa: E731
        steps = torch.zeros(count, len(self), P, dtype=torch.float64)
        with own_threads(1):
            y = torch.linalg.cholesky(self._shape_covariance()) @ normal(S, count) if S else torch.zeros(0, count)
            x = torch.zeros(BANDS * n, count, dtype=torch.float64)
            for window, U, V in self._windows():
                frames = torch.zeros(len(U) * BANDS, n, count, dtype=torch.float64)
                for b in reversed(range(len(U))):
                    ahead = V[b, :, : BANDS * n] @ x + V[b, :, BANDS * n :] @ y
                    x = torch.linalg.solve_triangular(U[b], normal(BANDS * n, count) - ahead, upper=True)
                    frames[b * BANDS : (b + 1) * BANDS] = x.view(BANDS, n, count)
                frames = frames[: window.stop - window.start]
                steps[:, window, own] = torch.cat([frames, y.expand(len(frames), -1, -1)], 1).permute(2, 0, 1)
        steps = steps if self.rows is None else steps[:, self.rows]
        return steps * torch.as_tensor(self.nu / rng.chisquare(self.nu, (count, 1, 1))).sqrt()

    def _sizes(self) -> tuple[int, int]:
        """n columns of a frame, and S shared ones."""
        betas = Layout.driven(self.body).slice("betas")
        return betas.start, betas.stop - betas.start

    def _windows(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """(frames, Lᵀ, V), from the last to the first."""
        for carried in reversed(self._carried):
            diagonal, right, _ = self._equations(carried)
            N = len(diagonal) - 1
            eliminate(diagonal, right, N, diagonal.shape[1])
            yield slice(carried.first, carried.first + carried.count), diagonal[:N], right[:N]

    def _shape_covariance(self) -> Tensor:
        """(S, S), once all frames are eliminated; what each window begins with is kept for later."""
        for floor in (0.0, *FLOORS):
            corner = self._eliminated(floor)
            if corner is not None:
                factor, info = torch.linalg.cholesky_ex(corner + floor * _largest(corner) * torch.eye(len(corner)))
                if not info:
                    return torch.cholesky_inverse(factor) if len(corner) else corner
        raise ArithmeticError("The frames' Hessian is not positive definite.")

    def _eliminated(self, floor: float) -> Tensor | None:
        """The equations of the shape without the frames; None where the floor is too low."""
        self._carried.clear()
        n, S = self._sizes()
        w = BANDS * n
        behind = torch.zeros(w, w, dtype=torch.float64), torch.zeros(w, w + S, dtype=torch.float64)
        total = torch.zeros(S, S, dtype=torch.float64)
        size = max(1, WINDOW // BANDS) * BANDS
        for first in range(0, len(self), size):
            carried = _Carried(first, min(size, len(self) - first), behind, floor)
            self._carried.append(carried)
            diagonal, right, corner = self._equations(carried)
            taken = eliminate(diagonal, right, len(diagonal) - 1, w)
            if taken is None:
                return None
            total += corner - taken
            behind = diagonal[-1].clone(), right[-1].clone()  # views would keep the equations of all windows
        return total

    def _equations(self, carried: "_Carried") -> tuple[Tensor, Tensor, Tensor]:
        """(diagonal, right, corner) of some frames, less what those before them took; see `eliminate`. The last block
        is empty."""
        n, S = self._sizes()
        m, first, T = carried.count, carried.first, len(self)
        zeros = lambda *shape: torch.zeros(shape, dtype=torch.float64)  # noqa: E731
        N, w = -(-m // BANDS), BANDS * n
        diagonal, right = zeros(N + 1, w, w), zeros(N + 1, w, w + S)
        border = right.view(-1, n, w + S)[:, :, w:]
        G = stencil(T, self.motion.cuts)[:, first : first + m] if self.motion is not None and T > BANDS else None
        layout = Layout.driven(self.body)

        def add_part(part: slice) -> Tensor:
            there = slice(first + part.start, first + part.stop)
            noise = None if self.noise is None else self.noise[there]
            H = hessian(self.body, self.terms, self.weights, self.state[there], self.observation[there], noise)
            add_between(diagonal, right, BANDS, 0, part.start, H[:, :n, :n])
            border[part] += H[:, :n, n:]
            if G is not None and self.motion is not None:
                more = slice(there.start, there.stop + BANDS)
                carry, _ = self.motion[more].carried(self.state.params[more], layout)
                for k in range(BANDS + 1):
                    count = min(part.stop, T - k - first) - part.start
                    if count > 0:
                        between = G[k, part.start : part.start + count]
                        block = carry[:count].product(carry[k : k + count], between)
                        add_between(diagonal, right, BANDS, k, part.start, block)
            return H[:, n:, n:].sum(0)

        corner = sum(each_piece(add_part, pieces(m, FRAMES), self.threads), start=zeros(S, S))
        own = diagonal.diagonal(dim1=1, dim2=2)
        own[:N] += carried.floor * _largest(own[:N])
        own[N - 1, w - (N * BANDS - m) * n :] = 1.0  # frames that fill up the last block
        diagonal[0] += carried.behind[0]
        right[0] += carried.behind[1]
        return diagonal, right, corner


@dataclass(frozen=True)
class _Carried:
    """What a window of frames begins with: what the frames before it took from the equations of its first ones."""

    first: int
    count: int
    behind: tuple[Tensor, Tensor]  # from the diagonal (w n, w n), and from what is right of it
    floor: float


def _largest(values: Tensor) -> float:
    return max(float(values.max()), 1e-6) if values.numel() else 1e-6


def _one_earlier(gain: Tensor, alone: Tensor, Q: Tensor) -> Tensor:
    """Cov(x_b, beta) from G = L⁻ᵀ V and (L Lᵀ)⁻¹ of block b, and Q = Cov(x_(b+1), beta)."""
    w = len(gain)
    across = -gain @ Q
    own = torch.addmm(alone, across, gain.mT, alpha=-1)
    new = torch.empty_like(Q)
    new[:w, :w] = 0.5 * (own + own.mT)  # what is not symmetric would grow from block to block
    new[:w, w:], new[w:, :w] = across[:, w:], across[:, w:].mT
    new[w:, w:] = Q[w:, w:]
    return new
