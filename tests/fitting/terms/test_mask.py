"""The mask: its map and outline, the term's derivative, and what it does and does not pull."""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people, with_terms

from hmrfit.body.mass_index import body_mass_index
from hmrfit.body.skeleton import Skeleton
from hmrfit.fitting.check_term import check_term, normal_equations
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.terms.base import Staged
from hmrfit.fitting.terms.mask import (
    ANCHOR_VARIANCE,
    CLOTHES,
    MASK_WEIGHT,
    SURE,
    Mask,
    MaskTerm,
    clothes_of_joints,
    look_up,
    mask_map,
    mask_of_view,
    without_side,
)
from hmrfit.io.opencv import cv2
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.synthetic.garments import DressedBody, Garments
from hmrfit.synthetic.people import People
from hmrfit.types import Keypoints, RecordTable

SIZE = (1024, 768)


@cache
def term() -> MaskTerm:
    return MaskTerm(free_body())


@cache
def silhouettes(count: int = 6) -> np.ndarray:
    person = people(count, "coco17", noise=0.01)
    vertices = free_body()(person.params).vertices
    return np.stack(drawn(vertices, person))


def drawn(vertices: torch.Tensor, person: People) -> list[np.ndarray]:
    """The silhouette of each person, one after the other."""
    faces, draw = free_body().faces, BuiltinRenderer().silhouette
    return [draw(vertices[i : i + 1], faces, person.camera[i])[0].numpy() for i in range(len(vertices))]


def evaluation(masks: list, person: People, params=None) -> Linearization:
    state = State(params or person.params, person.camera)
    observation = Observation.of(person.clean, RecordTable({"mask": mask_map(masks, person.clean)}))
    return Linearization(free_body().points(person.clean.names), state, observation)


def cost(masks: list, person: People, params=None) -> torch.Tensor:
    return normal_equations(term(), evaluation(masks, person, params))[0]


def disc(radius: float = 100.0, center: tuple[float, float] = (512.0, 384.0)) -> np.ndarray:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    return (x - center[0]) ** 2 + (y - center[1]) ** 2 <= radius**2


def three_points(box: float = 200.0) -> Keypoints:
    xy = torch.tensor([[[512 - box / 2, 384.0], [512 + box / 2, 384.0], [512.0, 384.0]]], dtype=torch.float64)
    return Keypoints(xy, torch.ones(1, 3, dtype=torch.float64), ("nose", "left_wrist", "right_wrist"))


def test_distance_and_outline_of_a_disc():
    """Known answer: phi = |x - c| - radius. The transform's 5×5 mask is right to 2 %, pixels and cells to a pixel."""
    found = mask_map([disc()], three_points())
    xy = 512 + 140 * torch.rand(1, 200, 2, dtype=torch.float64) - torch.tensor([70.0, 198.0])
    value, slope = look_up(found, xy)
    expected = (xy - torch.tensor([512.0, 384.0])).norm(dim=-1) - 100
    outside = expected > -60  # the map's own kink is in the middle
    assert ((200 * value - expected)[outside]).abs().max() < 2.5
    radial = torch.nn.functional.normalize(xy - torch.tensor([512.0, 384.0]), dim=-1)
    assert ((200 * slope * radial).sum(-1) - 1)[outside].abs().max() < 0.25
    around = found.outline - torch.tensor([512.0, 384.0])
    assert (around.norm(dim=-1) - 100).abs().max() < 1.0
    assert (torch.nn.functional.normalize(around, dim=-1) * found.normal).sum(-1).min() > 0.98
    assert found.length.all()


def test_the_slope_is_the_maps_own_up_to_its_border_and_nothing_beyond():
    found = mask_map([disc()], three_points())
    last, u = found.distance.shape[1] - 1.0, torch.rand(1, 60, 2, dtype=torch.float64)
    node = torch.cat([0.01 + 0.98 * u, last - 0.01 - 0.98 * u, last * u], 1)  # the first cells, the last, any
    xy = (found.low[:, None] + node * found.cell[:, None, None]).requires_grad_()
    value, slope = look_up(found, xy)
    torch.testing.assert_close(slope, torch.autograd.grad(value.sum(), xy)[0], rtol=1e-9, atol=1e-12)
    beyond = found.low[:, None] + torch.stack([-u[..., 0], last * u[..., 1]], -1) * found.cell[:, None, None]
    assert not look_up(found, beyond)[1][..., 0].any()


def test_a_keypoint_a_fiftieth_of_the_box_beside_the_mask_lies_in_it():
    """A disc of 100 pixels, wrists 2 and 9 pixels beside it: the box's 2 % are 4 pixels."""
    trusted = [mask_map([disc()], three_points(200.0 + 2 * beside)).trusted[0].tolist() for beside in (2, 9)]
    assert trusted == [[1, 1, 1], [0, 0, 1]]


def test_where_the_image_ends_the_person_does_not():
    """A disc cut by the border: no outline there, and below the border is no outside."""
    points = replace(three_points(), xy=three_points().xy + torch.tensor([0.0, 380.0]))
    found = mask_map([disc(center=(512.0, 768.0))], points)
    counted = found.outline[0][found.length[0] > 0]
    assert 20 < len(counted) < 60 and counted[:, 1].max() < 767
    below = torch.tensor([[[512.0, 800.0], [560.0, 790.0]]], dtype=torch.float64)
    assert look_up(found, below)[0].max() <= 0.01


def test_holes_count_and_crumbs_do_not():
    mask = disc() & ~disc(40)
    mask[700:702, 100:102] = True
    outline = mask_map([mask], three_points()).outline[0]
    radius = (outline - torch.tensor([512.0, 384.0])).norm(dim=-1)
    assert ((radius - 100).abs().lt(2) | (radius - 40).abs().lt(2)).all() and (radius < 50).sum() > 10


def test_derivatives_and_sums():
    person = people(6, "coco17", noise=0.01)[:3]
    p = person.params
    moved = replace(p, transl=p.transl + torch.tensor([0.08, 0.03, 0.1]), betas=p.betas + 0.4)
    e = evaluation(list(silhouettes()[:3]), person, moved)
    assert (term().residuals(e) > 0).sum(1).min() > 20  # of both kinds
    check_term(term(), at=e)


def test_what_sticks_out_is_the_loop_over_vertices():
    """r² = s/M z/(1 + z), z = (max(φ − slack, 0)/sigma)²; s: how near to trusted keypoints the vertex is."""
    person = people(6, "coco17", noise=0.01)[:1]
    off = replace(person.params, transl=person.params.transl + torch.tensor([0.1, 0.0, 0.0]))
    e, t = evaluation(list(silhouettes()[:1]), person, off), term()
    known, M = e.observation.measurements["mask"], t.vertices
    place = e.state.camera.project(t.surface.pose(off).points)[:, :M]
    phi, near = look_up(known, place)[0][0], (known.trusted @ t.closeness(e.body.names).T)[0]
    z = [(max(float(phi[v]) - t.slack, 0) / t.sigma) ** 2 for v in range(M)]
    expected = [(float(near[v]) / M * z[v] / (1 + z[v])) ** 0.5 for v in range(M)]
    assert sum(r > 0 for r in expected) > 20
    np.testing.assert_allclose(t.residuals(e)[0, :M].numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_true_body_pays_next_to_nothing():
    person = people(6, "coco17", noise=0.01)
    p = person.params
    off = replace(p, transl=p.transl * torch.tensor([1.0, 1.0, 1.1]))
    assert (cost(list(silhouettes()), person) < 0.02 * cost(list(silhouettes()), person, off)).all()


def test_clothes_cost_nothing():
    """A pixel all around, less than clothes stand off."""
    person = people(6, "coco17", noise=0.01)
    masks = [cv2.dilate(m.astype(np.uint8), np.ones((3, 3))) > 0 for m in silhouettes()]
    p = person.params
    off = replace(p, transl=p.transl * torch.tensor([1.0, 1.0, 1.1]))
    assert (cost(masks, person) < 0.03 * cost(masks, person, off)).all()


def test_the_allowance_is_the_metres_of_the_table():
    """A vertex that one joint carries stands off as that joint says; both sides alike, fingers as their wrist."""
    body = free_body()
    weights = term().surface.weights
    alone = weights.amax(1) > 0.999
    for name in ("left_hand", "right_hand", "head"):
        mine = alone & (weights.argmax(1) == body.joint_names.index(name))
        mean, std = CLOTHES[without_side(name)]
        assert mine.any()
        expected = torch.tensor([1e-3 * mean, min(1.0, (SURE / std) ** 2)], dtype=torch.float64)
        torch.testing.assert_close(term().allowance[mine], expected.expand(int(mine.sum()), 2), rtol=0.01, atol=1e-5)
    hand = Skeleton("", ("left_wrist", "left_index1", "left_index2"), (-1, 0, 1))
    assert (clothes_of_joints(hand) == torch.tensor(CLOTHES["wrist"]).double()).all()
    assert (clothes_of_joints(Skeleton("", ("tail",), (-1,))) == torch.tensor([0.0, SURE]).double()).all()


def test_dressed_people_are_not_fattened():
    """In made-up clothes, mass over height squared is lower by more than one, and nearer to the truth, than where
    nothing is allowed for the clothes."""
    person, body = people(16, "coco17", noise=0.01, seed=4), free_body()
    generator = torch.Generator().manual_seed(0)
    worn = [Garments.everyday(generator) for _ in range(16)]
    dressed = DressedBody(body).masks(person.params, person.camera, worn, generator)
    record = RecordTable({"mask": mask_map(dressed, person.keypoints)})
    true, too_fat = body_mass_index(body, person.params.betas), []
    for one in (term(), MaskTerm(body, clothes=0.0)):
        informed = with_terms(fitter(), Staged(one, MASK_WEIGHT, MASK_WEIGHT))
        found = informed.fit(person.keypoints, person.camera, measurements=record).state.params
        too_fat.append((body_mass_index(body, found.betas) - true).mean().item())
    assert abs(too_fat[0]) < abs(too_fat[1]) and too_fat[0] < too_fat[1] - 1.0


def test_beside_a_mask_the_rotations_of_the_anchor_are_less_sure():
    """Of those who have one; the more so the more of them is seen; never of the start that a user gives."""
    person = people(6, "coco17", noise=0.01)[:3]
    masks = [silhouettes()[0], None, silhouettes()[2]]
    anchor = Anchor.around(person.params, free_body().parents)
    seen = Observation.of(person.clean, RecordTable({"mask": mask_map(masks, person.clean)}))
    assert term().beside(replace(seen, anchor=anchor)).anchor is anchor
    noise = torch.full_like(person.clean.confidence, 0.01)
    found = term().beside(replace(seen, anchor=anchor, noise=noise)).anchor.scale / anchor.scale
    assert (found[1] == 1).all() and (found[:, -10:] == 1).all()
    torch.testing.assert_close(found[[0, 2], :-10], torch.full_like(found[[0, 2], :-10], ANCHOR_VARIANCE**0.5))
    half = replace(seen.keypoints, confidence=person.clean.confidence * (torch.arange(17) < 9))
    less = term().beside(replace(seen, anchor=anchor, noise=noise, keypoints=half)).anchor.scale / anchor.scale
    assert (less[0, :-10] < found[0, :-10]).all() and (less >= 1).all()


def test_what_is_hidden_does_not_pull():
    """The lower half behind a wall, its keypoints unseen or labelled behind it: the true body pays next to nothing,
    and much less than where the same keypoints are in sight."""
    person = people(6, "coco17", noise=0.01)[:1]
    upright = replace(person, clean=person.clean)
    y = upright.clean.xy[0, :, 1]
    cut = int(y.quantile(0.55))
    mask = silhouettes()[0].copy()
    mask[cut:] = False
    hidden = mask_map([mask], person.clean)
    near = 0.03 * person.clean.box_size().item()  # closer to the mask than 0.02 a keypoint still lies in it
    assert not hidden.trusted[0, y > cut + near].any() and hidden.trusted[0, y < cut - near].all()
    blind = replace(hidden, trusted=torch.ones_like(hidden.trusted))
    e = evaluation([mask], person)
    naive = Linearization(e.body, e.state, replace(e.observation, measurements=RecordTable({"mask": blind})))
    assert normal_equations(term(), e)[0] < 0.35 * normal_equations(term(), naive)[0]


def test_masks_are_independent_of_the_batch_and_no_mask_costs_nothing():
    person = people(6, "coco17", noise=0.01)
    masks = list(silhouettes())
    masks[1] = None
    together = cost(masks, person)
    assert together[1] == 0
    alone = cost([masks[2]], person[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=1e-12, atol=1e-15)


def test_masks_make_shapes_better():
    """1 % noise, the true camera: the mean distance of vertices in the T-pose falls."""
    person = people(24, "coco17", noise=0.01, seed=3)
    body = free_body()
    vertices = body(person.params).vertices
    record = mask_map(drawn(vertices, person), person.keypoints)
    better = with_terms(fitter(), Staged(term(), MASK_WEIGHT, MASK_WEIGHT))
    plain = fitter().fit(person.keypoints, person.camera)
    known = better.fit(person.keypoints, person.camera, measurements=RecordTable({"mask": record}))
    true = body.shaped(person.params.betas)
    without, with_mask = ((body.shaped(f.state.params.betas) - true).norm(dim=-1).mean() for f in (plain, known))
    assert with_mask < 0.98 * without


def test_without_a_mask_there_is_an_error_message():
    e = evaluation(list(silhouettes()[:1]), people(6, "coco17", noise=0.01)[:1])
    bare = Linearization(e.body, e.state, replace(e.observation, measurements=RecordTable()))
    with pytest.raises(ValueError, match="The term 'mask' looks at a measurement that was not given"):
        term().residuals(bare)


EDGES = {
    "everything": lambda m: np.ones_like(m),
    "all but one pixel": lambda m: np.arange(m.size).reshape(m.shape) > 0,
    "one pixel": lambda m: np.arange(m.size).reshape(m.shape) == 0,
    "one pixel in the middle": lambda m: np.arange(m.size).reshape(m.shape) == 384 * 1024 + 512,
    "the last pixel": lambda m: np.arange(m.size).reshape(m.shape) == m.size - 1,
    "a row": lambda m: (np.arange(len(m)) == 300)[:, None] & np.ones_like(m),
    "a column": lambda m: (np.arange(m.shape[1]) == 1023) & np.ones_like(m),
    "the border": lambda m: ~np.pad(np.ones((766, 1022), bool), 1),
    "all but the border": lambda m: np.pad(np.ones((766, 1022), bool), 1),
    "the upper half": lambda m: (np.arange(len(m)) < 384)[:, None] & np.ones_like(m),
    "a chessboard": lambda m: np.indices(m.shape).sum(0) % 2 == 0,
}


@pytest.mark.parametrize("kind", EDGES)
def test_masks_of_any_shape_have_finite_numbers(kind: str):
    """Map, outline, cost and derivatives."""
    person = people(1, "coco17", noise=0.01)
    mask = EDGES[kind](np.zeros(SIZE[::-1], bool))
    found = mask_map([mask], person.clean)
    assert all(getattr(found, f.name).isfinite().all() for f in fields(found))
    assert found.distance.abs().max() < 1e4
    assert all(part.isfinite().all() for part in normal_equations(term(), evaluation([mask], person)))


def test_a_mask_of_the_whole_image_says_nothing():
    """Nothing sticks out of it and none of its outline is the person's: as without a mask."""
    person = people(1, "coco17", noise=0.01)
    assert cost([np.ones(SIZE[::-1], bool)], person).item() == 0
    found = mask_map([np.ones(SIZE[::-1], bool)], person.clean)
    assert (found.distance < 0).all() and not found.length.any() and found.trusted.all()


def test_the_thinnest_masks_are_seen_from_any_distance():
    """A pixel lies where it is, however large the image and coarse the map."""
    rng = np.random.default_rng(0)
    for width, height in ((50, 40), (700, 900), (3000, 200), (5000, 4000)):
        mask = np.zeros((height, width), bool)
        y, x = rng.integers(height), rng.integers(width)
        mask[y, x] = True
        found = mask_map([mask], three_points(20.0))
        at = torch.tensor([[[x + 0.5, y + 0.5]]]).double()
        value, _ = look_up(found, at)
        assert value.item() * 20 < 1.5 * found.cell.item() + 2


def test_every_view_has_its_own_mask():
    """From a list or an array of one for each; None where there is none."""
    masks = [silhouettes()[0], None, silhouettes()[2]]
    found = [Mask(masks).in_view(i, 3) for i in range(3)]
    assert [m.mask[0] is expected for m, expected in zip(found, masks, strict=True)] == [True] * 3
    assert np.array_equal(mask_of_view(silhouettes()[:3], 1, 3)[0], silhouettes()[1])
    for wrong in (silhouettes()[0], masks[:2], None):
        with pytest.raises(ValueError, match="The masks of 3 views should be a list of 3"):
            Mask(wrong).in_view(0, 3)
    record = mask_map([silhouettes()[0]], people(6, "coco17", noise=0.01).keypoints[:1])
    assert Mask(masks).seen_from(record, torch.eye(3).double()[None], torch.ones(1, 3).double()) is record
