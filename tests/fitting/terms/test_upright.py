"""Upright people cost nothing, and nobody costs much."""

import math

import pytest
import torch
from helpers.points import one_point

from hmrfit.fitting.check_term import normal_equations
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.terms.upright import Upright
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


def test_upright_people_pay_nothing_and_no_one_much():
    e = one_point(0, 0)

    def cost(*rotvec: float) -> float:
        orient = rotvec_to_matrix(torch.tensor([rotvec], dtype=torch.float64))
        p = e.state.params
        state = State(BodyParams(orient, p.body_pose, p.betas, p.transl), e.state.camera)
        return normal_equations(Upright(), Linearization(e.body, state, e.observation))[0].item()

    assert cost(math.pi, 0, 0) == pytest.approx(0, abs=1e-20)  # faces the camera
    assert cost(0, 0, math.pi) == pytest.approx(0, abs=1e-20)  # turns the back on it
    assert 0 < cost(math.pi - 0.2, 0, 0) < cost(math.pi / 2, 0, 0) < cost(0, 0, 0) < 0.5
