"""The soft silhouette as a term: its picture, its derivative, and what a fit does with it."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people

from hmrfit.api import fit
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.solver import Options
from hmrfit.fitting.terms.silhouette import PIXELS, Silhouette, SilhouetteTerm, small_pictures
from hmrfit.io.photo import read_photo
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.types import Keypoints, RecordTable

COUNT = 2


@pytest.fixture(scope="module")
def given():
    """People, their exact masks, and what is known of these."""
    chosen = people(4, "coco17", 0.03, 0.1)[:COUNT]
    body = free_body()
    masks = BuiltinRenderer().silhouette(body(chosen.params).vertices, body.faces, chosen.camera).numpy()
    return chosen, masks, RecordTable({"silhouette": small_pictures(list(masks), chosen.keypoints)})


@pytest.fixture(scope="module")
def term():
    return SilhouetteTerm(free_body())


def at(chosen, known, delta=None) -> Linearization:
    body = fitter().point_body(chosen.keypoints.names)
    e = Linearization(body, State(chosen.params, chosen.camera), Observation.of(chosen.keypoints, known))
    if delta is None:
        return e
    return Linearization(body, e.state.retract(delta, body.parents, e.layout), e.observation)


def overlap(params, camera, masks):
    body = free_body()
    drawn = BuiltinRenderer().silhouette(body(params).vertices, body.faces, camera).numpy()
    return np.array([(a & b).sum() / (a | b).sum() for a, b in zip(drawn, masks, strict=True)])


def test_the_small_picture_keeps_the_masks_area():
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:37] = True
    keypoints = Keypoints(torch.tensor([[[20.0, 10.0], [37.0, 50.0]]]).double(), torch.ones(1, 2).double(), ("a", "b"))
    known = small_pictures([mask], keypoints)
    cell = known.side[0] / PIXELS
    assert known.coverage.sum() * cell**2 == pytest.approx(mask.sum(), rel=1e-9)
    assert known.side[0] == pytest.approx(40 * 1.3) and known.low[0].tolist() == pytest.approx([2.5, 4.0])
    middle = int((30 - 4) / cell), int((28 - 2.5) / cell)
    assert known.coverage[0][middle] == pytest.approx(1) and known.known.all()


def test_beyond_the_image_nothing_is_known():
    mask = np.ones((40, 30), bool)
    keypoints = Keypoints(torch.tensor([[[0.0, 0.0], [30.0, 40.0]]]).double(), torch.ones(1, 2).double(), ("a", "b"))
    known = small_pictures([mask], keypoints)
    assert not known.known[0, 0].any() and known.known[0, PIXELS // 2, PIXELS // 2]
    assert 0.2 < known.known.mean() < 0.5  # 30 × 40 of 52 × 52


def test_the_truth_costs_least_along_each_way(given, term):
    chosen, _, known = given
    cost = lambda d: term.residuals(at(chosen, known, d)).square().sum(1)  # noqa: E731
    here = cost(None)
    assert (here < 0.3).all()
    layout = at(chosen, known).layout
    for column, step in ((0, 0.05), (1, 0.05), (layout.slice("global_orient").start + 2, 0.2)):
        for sign in (-1, 1):
            delta = torch.zeros(layout.columns, dtype=torch.float64)
            delta[column] = sign * step
            assert (cost(delta) > here).all()


def test_its_rows_are_its_derivative(given, term):
    """Along a random direction, with a step that no edge comes within reach by; saturated pixels are left out."""
    chosen, _, known = given
    e = at(chosen, known)
    direction = torch.randn(e.layout.columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ahead, behind = (term.residuals(at(chosen, known, s * 1e-9 * direction)) for s in (1, -1))
    numeric, rows = (ahead - behind) / 2e-9, term.jacobian(e)
    moving = (rows != 0).any(-1)
    torch.testing.assert_close((rows @ direction)[moving], numeric[moving], atol=1e-4, rtol=1e-4)
    assert numeric[~moving].abs().max() < 0.02 * numeric.abs().max()
    sums = NormalEquations(e)
    term.add(e, sums, 3.0)
    cost, gradient, hessian = sums.finish(e)
    residuals = term.residuals(e)
    torch.testing.assert_close(cost, 1.5 * residuals.square().sum(1))
    torch.testing.assert_close(gradient, 3 * (residuals[:, None] @ rows)[:, 0])
    torch.testing.assert_close(hessian, 3 * rows.mT @ rows)


def test_a_fit_with_it_covers_the_mask_better(given, term):
    chosen, masks, known = given
    plain = fitter().fit(chosen.keypoints, chosen.camera)
    stage = Stage({**FINAL.weights, term.name: 300.0}, options=Options(max_steps=8))
    start = State(plain.state.params, plain.state.camera)
    route = Route(fitter().point_body(chosen.keypoints.names), {**fitter().terms, term.name: term})
    better = route.run(Begun.at(start, Observation.of(chosen.keypoints, known)), (stage,))
    before, after = (overlap(f.state.params, chosen.camera, masks) for f in (plain, better))
    assert (after > before + 0.03).all()


def test_without_a_mask_it_costs_nothing(given, term):
    chosen, masks, _ = given
    known = RecordTable({"silhouette": small_pictures([masks[0], None], chosen.keypoints)})
    residuals = term.residuals(at(chosen, known))
    assert residuals[0].any() and not residuals[1].any()
    with pytest.raises(ValueError, match="The term 'silhouette' looks at a measurement that was not given"):
        term.residuals(at(chosen, None))


@pytest.fixture(scope="module")
def person(given):
    """The first of them for `fit`, with the mask."""
    chosen, masks, _ = given
    points = torch.cat([chosen[0].keypoints.xy, chosen[0].keypoints.confidence[..., None]], -1).numpy()
    return {"keypoints": points, "keypoint_set": "coco17", "image_size": (1024, 768)}, masks[0]


def test_a_measurement_brings_it_in_with_its_weight(person):
    call, mask = person
    known = Silhouette(mask, 30.0)
    photo = read_photo(None, call["keypoints"], "coco17", None, None, None, call["image_size"])
    (staged,) = known.read(photo, free_body()).terms
    assert (staged.term.name, staged.last, staged.before) == ("silhouette", 30.0, 0.0)
    assert fit(None, **call, measurements=[known]).term_cost["silhouette"][0] > 0


def test_a_weight_of_nothing_or_less_is_refused(person):
    call, mask = person
    for weight in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="Silhouette's weight should be one number above 0"):
            fit(None, **call, measurements=[Silhouette(mask, weight)])


def test_every_view_has_its_own_mask(person):
    _, mask = person
    silhouette = Silhouette([mask, None], 50.0)
    assert silhouette.in_view(0, 2).mask[0] is mask and silhouette.in_view(1, 2).mask == [None]
    assert silhouette.in_view(1, 2).weight == 50.0
