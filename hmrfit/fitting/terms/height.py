"""A known height.

height   r = (h(beta) - height) / std        h from the lowest to the highest vertex of the body at rest
"""

from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Term, part_of


class KnownHeight(Term):
    """The height of the body at rest, linear in its shape: the lowest and the highest vertex of the mean body."""

    name = "height"

    def __init__(self, body: SmplBody) -> None:
        y = body.v_template[:, 1]
        high, low = int(y.argmax()), int(y.argmin())
        self.mean = y[high] - y[low]
        self.slope = body.shapedirs[high, 1] - body.shapedirs[low, 1]  # (S,)

    def of(self, betas: Tensor) -> Tensor:
        """Betas (B, S) -> metres (B,)."""
        return self.mean + betas @ self.slope

    def residuals(self, e: Linearization) -> Tensor:
        known = part_of(e, "height", "height=")
        return ((self.of(e.state.params.betas) - known.value) / known.std)[:, None]

    def jacobian(self, e: Linearization) -> Tensor:
        jacobian = e.state.params.transl.new_zeros(len(e.state), 1, e.layout.columns)
        if e.layout.moves("betas"):
            known = part_of(e, "height", "height=")
            jacobian[:, 0, e.layout.slice("betas")] = self.slope / known.std[:, None]
        return jacobian
