"""People as hard as real ones: the same in any batch, as free as was asked, the truth where it is said to be."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body

from hmrfit.keypoints import COCO17, find_part, flip_permutation
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.hard_people import Hardness, HardPeople, HardPeopleMaker
from hmrfit.synthetic.label_errors import FEWEST
from hmrfit.types import TensorRecord

COUNT = 1500
BEFALLS = ("recombined", "seated", "turned_camera", "cut", "detected", "occluded", "swapped", "borrowed")
PLAIN = Hardness(missing=(0.0, 1e-9), **dict.fromkeys(BEFALLS, 0.0))


def maker(
    how: Hardness | None = None, dtype: torch.dtype = torch.float64, limits: JointLimits | None = None
) -> HardPeopleMaker:
    poses = 0.3 * torch.randn(200, 24, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return HardPeopleMaker(free_body().points(COCO17).to(dtype=dtype), poses, torch.ones(200), 0, how, limits)


def made(how: Hardness | None = None, count: int = COUNT) -> HardPeople:
    return maker(how).people(torch.arange(count))


@pytest.fixture(scope="module")
def people() -> HardPeople:
    return made()


def tensors(record: TensorRecord) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    record.map(lambda t: found.append(t) or t)
    return found


def test_a_person_is_the_same_in_any_batch(people):
    rows = torch.tensor([1203, 5, 77])
    alone = maker().people(rows)
    for one, other in zip(tensors(alone), tensors(people[rows]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_single_precision_makes_the_same_people(people):
    single = maker(dtype=torch.float32).people(torch.arange(50))
    assert single.people.keypoints.xy.dtype == single.labelled.dtype == torch.float32
    torch.testing.assert_close(single.labelled.double(), people.labelled[:50], rtol=0, atol=1e-4)


def test_as_much_befalls_them_as_asked(people):
    how, share = Hardness(), {name: who.double().mean().item() for name, who in people.kinds.items()}
    near = lambda p: pytest.approx(p, abs=3.5 * (p * (1 - p) / COUNT) ** 0.5)  # noqa: E731
    seated = (1 - how.recombined) * how.seated
    assert share["recombined"] == near(how.recombined) and share["seated"] == near(seated)
    assert share["behind a table"] == near(seated * how.table)
    assert share["sides swapped"] == near(how.swapped) and share["another's limb"] == near(how.borrowed)
    assert share["confidence flat"] == near(1 - how.detected)
    assert share["confidence honest"] == near(how.detected / 2) == share["confidence inflated"]
    assert 0.5 * how.cut < share["cut by the border"] < 1.2 * how.cut


def test_everyone_stands_before_the_camera_and_is_seen(people):
    assert (people.people.joints[..., 2] > 0.3).all() and (people.labelled[..., 2] > 0.1).all()
    seen = people.people.keypoints.confidence > 0
    assert (seen.sum(1) >= FEWEST).double().mean() > 0.995
    assert (people.people.keypoints.xy[~seen] == 0).all()


def test_lenses_and_pitches_are_those_asked_for(people):
    camera = people.people.camera
    lens = camera.focal[:, 0] * 43.27 / camera.size.norm(dim=-1)
    assert lens.min() >= 14 and lens.max() <= 200.1 and lens.log().std() == pytest.approx(0.77, abs=0.06)


def test_labels_mean_points_one_to_two_centimetres_away_left_as_right():
    plain = made(replace(PLAIN, segments=0.0, sides=0.0), 200)
    away = (plain.labelled - plain.points).norm(dim=-1)
    assert away.min() > 0.01 - 1e-9 and away.max() < 0.02 + 1e-9
    torch.testing.assert_close(away, away[:, flip_permutation(COCO17)], rtol=0, atol=1e-12)


def test_exact_labels_lie_where_the_labelled_points_are_seen():
    """Without noise: what remains of the pixels' way from label to point is none."""
    import hmrfit.synthetic.hard_people as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "mislabelled", lambda exact, *_: exact)
        plain = made(PLAIN, 200)
    seen = plain.people.keypoints.confidence > 0
    torch.testing.assert_close(plain.people.keypoints.xy[seen], plain.people.camera.project(plain.labelled)[seen])
    torch.testing.assert_close(plain.people.clean.xy, plain.people.camera.project(plain.points))


def test_without_freedom_the_body_is_the_shape_spaces():
    plain = made(replace(PLAIN, segments=0.0, sides=0.0), 100)
    posed = free_body().points(COCO17).pose(plain.people.params)
    torch.testing.assert_close(plain.points, posed.points, rtol=0, atol=1e-9)
    torch.testing.assert_close(plain.people.joints, posed.joints, rtol=0, atol=1e-9)


def test_segments_are_as_free_as_asked_and_left_is_as_right():
    free = made(PLAIN)
    body = free_body()
    posed = body.points(COCO17).pose(free.people.params)
    up = list(body.parents[1:])
    length = lambda joints: (joints[:, 1:] - joints[:, up]).norm(dim=-1)  # noqa: E731
    ratio = length(free.people.joints) / length(posed.joints)
    assert ratio.mean() == pytest.approx(1.0, abs=0.005)
    std = ratio.std(0)
    assert std.min() > 0.045 and std.max() < 0.057  # √(5² + 1²) %
    left, right = (body.skeleton.index(f"{side}_knee") - 1 for side in ("left", "right"))
    assert (ratio[:, left] - ratio[:, right]).std() == pytest.approx(0.01 * 2**0.5, abs=0.002)


def test_seated_people_sit():
    seated = made(replace(PLAIN, seated=1.0, table=1.0), 400)
    height = lambda name: seated.points[:, find_part(COCO17, name)]  # noqa: E731
    thigh, trunk = height("left_knee") - height("left_hip"), height("left_shoulder") - height("left_hip")
    cosine = torch.nn.functional.cosine_similarity(thigh, trunk, dim=-1)
    assert cosine.mean().abs() < 0.3  # at a right angle, not −1 as of those who stand
    legs = [find_part(COCO17, f"{side}_{part}") for side in ("left", "right") for part in ("knee", "ankle")]
    assert (seated.people.keypoints.confidence[:, legs] == 0).double().mean() > 0.85


def test_recombined_people_are_tumbled():
    tumbled = made(replace(PLAIN, recombined=1.0), 600)
    up = tumbled.people.params.global_orient[:, 1, 1]
    assert (up > 0).double().mean() == pytest.approx(0.5, abs=0.08)


def test_the_recombined_are_bent_further_but_not_beyond_the_limits():
    limit = torch.full((69,), 0.5, dtype=torch.float64)
    bent = made_with(JointLimits(-limit, limit), replace(PLAIN, recombined=1.0, bent=3.0))
    frames = made_with(None, replace(PLAIN, recombined=1.0, bent=1.0))
    angle = lambda people: people.people.params.to_rotvecs()[1]  # noqa: E731
    assert (angle(bent).abs() <= angle(frames).abs().clamp_min(0.5) + 1e-6).all()
    assert angle(bent).abs().mean() > 1.2 * angle(frames).abs().mean()


def made_with(limits: JointLimits | None, how: Hardness) -> HardPeople:
    return maker(how, limits=limits).people(torch.arange(200))
