"""What the encoders see: names, not places; a crop, not an image; nothing where nothing is seen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmrfit.camera import Camera
from hmrfit.keypoints import keypoint_sets, resolve_set
from hmrfit.network.encoders import (
    KEYPOINT_NAMES,
    ImageEncoder,
    KeypointEncoder,
    normalise_keypoints,
    view_of_box,
)
from hmrfit.types import Keypoints


@pytest.fixture(scope="module")
def encoder() -> KeypointEncoder:
    torch.manual_seed(0)
    return KeypointEncoder(width=64, blocks=2).double().eval()


def some_points(count: int, names: tuple[str, ...]) -> torch.Tensor:
    points = torch.rand(count, len(names), 3, dtype=torch.float64)
    points[..., :2] = 2 * points[..., :2] - 1
    return points


@pytest.mark.parametrize("name", keypoint_sets())
def test_every_built_in_set_is_taken(encoder, name: str):
    names = resolve_set(name)
    phi = encoder(some_points(3, names), name)
    assert phi.shape == (3, 64)
    assert (phi[0] - phi[1]).abs().max() > 1e-3


@given(st.integers(0, 2**31))
@settings(max_examples=25)
def test_the_order_of_the_names_does_not_matter(encoder, seed: int):
    torch.manual_seed(seed)
    names = resolve_set("openpose25")
    points, order = some_points(2, names), torch.randperm(25)
    shuffled = encoder(points[:, order], [names[i] for i in order])
    torch.testing.assert_close(shuffled, encoder(points, names), rtol=0, atol=1e-12)


def test_absent_and_unseen_are_the_same(encoder):
    """coco17 alone equals the same people given with all names, the others at confidence 0 and any coordinates."""
    coco = resolve_set("coco17")
    points = some_points(2, coco)
    wide = torch.full((2, len(KEYPOINT_NAMES), 3), torch.nan, dtype=torch.float64)
    wide[..., 2] = 0
    wide[:, [KEYPOINT_NAMES.index(name) for name in coco]] = points
    assert torch.equal(encoder(wide, KEYPOINT_NAMES), encoder(points, coco))


def test_the_same_name_has_the_same_slot_in_every_set(encoder):
    points = some_points(1, ("left_knee",))
    one = encoder.slots(points, ("left_knee",))
    two = encoder.slots(torch.cat([points, some_points(1, ("nose",))], 1), ("left_knee", "nose"))
    changed = (one != two).any(-1)[0].nonzero().flatten().tolist()
    assert changed == [encoder.names.index("nose")]
    torch.testing.assert_close(
        one[0, encoder.names.index("left_knee")], torch.cat([points[0, 0], torch.ones(1).double()])
    )


def test_slots_for_more_names_change_nothing_at_first():
    """coco17's shoulders went into the plain shoulders' slots, and have their own now."""
    torch.manual_seed(0)
    few = KeypointEncoder(24, 1, names=[name for name in KEYPOINT_NAMES if not name.endswith("_coco")]).double().eval()
    more, coco = few.knowing(KEYPOINT_NAMES).double().eval(), resolve_set("coco17")
    assert more.names == KEYPOINT_NAMES and "left_shoulder_coco" in coco and "left_shoulder_coco" not in few.names
    points = some_points(3, coco)
    torch.testing.assert_close(more(points, coco), few(points, coco), rtol=0, atol=1e-12)
    wing = few.knowing(("left_wing", *few.names))
    assert not wing.inputs.weight[:, :4].any()


def test_a_name_that_stands_twice_is_the_mean_by_confidence(encoder):
    points = torch.tensor([[[0.0, 0.0, 0.2], [1.0, -1.0, 0.6]]]).double()
    slot = encoder.slots(points, ("nose", "nose"))[0, encoder.names.index("nose")]
    torch.testing.assert_close(slot, torch.tensor([0.75, -0.75, 0.6, 1.0]).double())
    points[0, 1, 2] = 0
    slot = encoder.slots(points, ("nose", "nose"))[0, encoder.names.index("nose")]
    torch.testing.assert_close(slot, torch.tensor([0.0, 0.0, 0.2, 1.0]).double())


def test_unknown_names_are_left_out_and_none_known_is_an_error(encoder):
    points = some_points(2, ("nose", "tail"))
    assert torch.equal(encoder(points, ("nose", "tail")), encoder(points[:, :1], ("nose",)))
    with pytest.raises(ValueError, match="Did you mean 'nose'"):
        encoder(points[:, :1], ("noze",))
    with pytest.raises(ValueError, match="points"):
        encoder(points, "coco17")


def test_nobody_seen_is_finite_and_batch_mates_do_not_mix(encoder):
    names = resolve_set("lsp14")
    points = some_points(5, names)
    points[2] = 0
    together = encoder(points, names)
    assert torch.isfinite(together).all()
    one_by_one = torch.cat([encoder(one[None], names) for one in points])
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-12)


def test_the_view_counts(encoder):
    points = some_points(1, resolve_set("coco17"))
    far = encoder(points, "coco17")
    assert torch.equal(far, encoder(points, "coco17", torch.zeros(1, 3).double()))
    assert (encoder(points, "coco17", torch.ones(1, 3).double()) - far).abs().max() > 1e-3


def test_inputs_stay_as_they_were(encoder):
    points = some_points(2, resolve_set("coco17"))
    before = points.clone()
    encoder(points, "coco17")
    assert torch.equal(points, before)


def people(shift: float = 0.0, size: float = 1.0) -> Keypoints:
    xy = torch.tensor([[[10.0, 20.0], [110.0, 20.0], [60.0, 220.0], [9999.0, -9999.0]]]).double()
    return Keypoints(xy * size + shift, torch.tensor([[1.0, 0.5, 1.0, 0.0]]).double(), ("a", "b", "c", "d"))


def test_points_are_normalised_by_the_visible_box():
    points, center, side = normalise_keypoints(people(), scale=1.0)
    assert center.tolist() == [[60, 120]] and side.tolist() == [200]
    expected = [[-0.5, -1.0, 1.0], [0.5, -1.0, 0.5], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(points, torch.tensor([expected]).double())


@given(st.floats(-1e3, 1e3), st.floats(0.05, 20))
def test_where_and_how_large_a_person_is_does_not_matter(shift: float, size: float):
    moved, _, side = normalise_keypoints(people(shift, size))
    torch.testing.assert_close(moved, normalise_keypoints(people())[0], rtol=0, atol=1e-6)
    assert side.item() == pytest.approx(1.2 * 200 * size)


def test_one_keypoint_or_none_has_a_box_too():
    keypoints = people()
    for seen in (0, 1):
        confidence = torch.zeros(1, 4).double()
        confidence[:, :seen] = 1
        points, _, side = normalise_keypoints(Keypoints(keypoints.xy, confidence, keypoints.names))
        assert torch.isfinite(points).all() and side.item() == 1


def test_the_view_of_a_box_is_an_angle():
    camera = Camera.from_size(800, 600, focal=1000.0)
    view = view_of_box(torch.tensor([[500.0, 250.0]]).double(), torch.tensor([200.0]).double(), camera)
    assert view.tolist() == [[pytest.approx(0.1), pytest.approx(-0.05), pytest.approx(0.2)]]
    half = camera.resize(camera.size / 2)
    again = view_of_box(torch.tensor([[250.0, 125.0]]).double(), torch.tensor([100.0]).double(), half)
    torch.testing.assert_close(again, view)


def test_images_are_normalised_as_their_weights_expect():
    seen = {}
    for variant in ("resnet18", "resnet50_v2"):
        encoder = ImageEncoder(variant).eval()
        encoder.resnet.register_forward_pre_hook(lambda _, inputs, name=variant: seen.update({name: inputs[0]}))
        encoder(torch.ones(1, 3, 32, 32))
    torch.testing.assert_close(
        seen["resnet18"][0, :, 0, 0], (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    )
    assert torch.equal(seen["resnet50_v2"], torch.ones(1, 3, 32, 32))


def test_wrong_images_and_names_are_answered():
    with pytest.raises(ValueError, match="channels first"):
        ImageEncoder("resnet18")(torch.rand(1, 32, 32, 3))
    with pytest.raises(ValueError, match="Did you mean 'resnet50'"):
        ImageEncoder("resnet5O")


def test_the_default_encoder_keeps_within_five_million():
    assert sum(p.numel() for p in KeypointEncoder().parameters()) < 5e6
