"""The records: slices, joins, moves; the box of a person."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Observation
from hmrfit.ops.check import numbers
from hmrfit.ops.presence import NOTHING, SURE
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyOutput, BodyParams, Keypoints, RecordTable, TensorRecord


def make_params(count: int = 4) -> BodyParams:
    rotvecs = torch.randn(count, 24, 3, dtype=torch.float64)
    return BodyParams.from_rotvecs(rotvecs[:, 0], rotvecs[:, 1:], torch.randn(count, 10), torch.randn(count, 3))


def make_keypoints(xy: list, confidence: list) -> Keypoints:
    names = tuple(f"k{i}" for i in range(len(confidence[0])))
    return Keypoints(torch.tensor(xy, dtype=torch.float64), torch.tensor(confidence, dtype=torch.float64), names)


def test_rotation_vectors_round_trip_flat_or_not():
    rotvecs = torch.randn(2, 24, 3, dtype=torch.float64)  # far below π: |v| is about 1.6
    rotvecs = rotvecs / rotvecs.norm(dim=-1, keepdim=True) * torch.rand(2, 24, 1, dtype=torch.float64) * 3
    for body in (rotvecs[:, 1:], rotvecs[:, 1:].flatten(1)):
        params = BodyParams.from_rotvecs(rotvecs[:, 0], body, torch.zeros(2, 10), torch.zeros(2, 3))
        global_orient, body_pose = params.to_rotvecs()
        torch.testing.assert_close(global_orient, rotvecs[:, 0])
        torch.testing.assert_close(body_pose, rotvecs[:, 1:].flatten(1))
        torch.testing.assert_close(params.rotations, rotvec_to_matrix(rotvecs))


@pytest.mark.parametrize("index", [2, -1, slice(1, 3), [3, 0], torch.tensor([True, False, True, False])])
def test_people_are_chosen_and_the_leading_dimension_stays(index):
    params = make_params()
    chosen = params[index]
    expected = params.transl[index].reshape(-1, 3)
    assert len(chosen) == len(expected)
    torch.testing.assert_close(chosen.transl, expected)
    assert chosen.body_pose.shape == (len(expected), 23, 3, 3)


def test_cat_joins_what_slices_took_apart():
    params = make_params()
    again = BodyParams.cat([params[:1], params[1:]])
    for name in ("global_orient", "body_pose", "betas", "transl"):
        assert torch.equal(getattr(again, name), getattr(params, name))


def test_to_moves_every_tensor_and_leaves_the_rest():
    points = make_keypoints([[[1, 2], [3, 4]]], [[1, 0.5]])
    moved = points.to(torch.float32)
    assert moved.xy.dtype == moved.confidence.dtype == torch.float32
    assert moved.names == points.names
    assert points.xy.dtype == torch.float64
    camera = Camera.from_size(640, 480)
    assert camera.to("cpu", torch.float32).focal.dtype == torch.float32
    assert camera.to(torch.float32).focal_known.dtype == torch.bool and camera.to("cpu").focal.dtype == torch.float64
    assert BodyOutput(torch.zeros(1, 24, 3), torch.zeros(1, 5, 3)).to(torch.float64).vertices is None


def test_the_box_is_that_of_the_seen_keypoints():
    points = make_keypoints([[[10, 20], [40, 30], [1e9, -1e9]], [[0, 0], [5, 50], [1, 2]]], [[1, 0.6, 0], [1, 1, 1]])
    low, high = points.bounds()
    assert low.tolist() == [[10, 20], [0, 0]]
    assert high.tolist() == [[40, 30], [5, 50]]
    assert points.box_size().tolist() == [30, 50]


def test_a_keypoint_of_little_confidence_makes_the_box_little_larger():
    """Linearly in how far it counts as seen: none of it, half of it, all of it."""
    corners = [[[0, 0], [10, 10], [100, 10]]]
    sizes = [make_keypoints(corners, [[1, 1, c]]).box_size().item() for c in (0.1, 0.5 * (NOTHING + SURE), SURE, 1.0)]
    assert sizes == pytest.approx([10, 55, 100, 100])


def test_without_seen_keypoints_the_box_is_0_and_not_nan():
    points = make_keypoints([[[math.nan, 20], [40, math.inf]]], [[0, 0]])
    low, high = points.bounds()
    assert low.tolist() == high.tolist() == [[0, 0]]
    assert points.box_size().tolist() == [0]


def test_with_rows_takes_those_people_from_the_other_and_leaves_both_as_they_were():
    a = Keypoints(torch.zeros(3, 2, 2), torch.zeros(3, 2), ("nose", "neck"))
    b = Keypoints(torch.ones(3, 2, 2), torch.ones(3, 2), ("nose", "neck"))
    mixed = a.with_rows(torch.tensor([1]), b)
    assert mixed.confidence[:, 0].tolist() == [0, 1, 0]
    assert mixed.xy[:, 1, 0].tolist() == [0, 1, 0]
    assert not a.xy.any() and b.xy.all()


def test_with_rows_reaches_records_and_tables_inside_and_drops_what_one_lacks():
    def table(value: float, more: bool) -> Holder:
        points = torch.full((3, 2), value)
        return Holder(
            [points, points + 1], {"a": points}, make_keypoints([[[value] * 2]] * 3, [[1.0]] * 3) if more else None
        )

    mixed = table(0, True).with_rows(torch.tensor([2]), table(5, True))
    assert mixed.parts[1][:, 0].tolist() == [1, 1, 6] and mixed.named["a"][:, 0].tolist() == [0, 0, 5]
    assert mixed.keypoints is not None and mixed.keypoints.xy[:, 0, 0].tolist() == [0, 0, 5]
    for one, other in ((True, False), (False, True)):
        assert table(0, one).with_rows(torch.tensor([2]), table(5, other)).keypoints is None


@dataclass(frozen=True)
class Holder(TensorRecord):
    """Every kind of field."""

    parts: list[Tensor]
    named: dict[str, Tensor]
    keypoints: Keypoints | None = None


def make_table(start: float = 0.0, count: int = 3) -> RecordTable:
    """Two records by name: person i's numbers are about start + i."""
    rows = start + torch.arange(float(count)).double()
    camera = Camera(rows[:, None].expand(-1, 2), torch.zeros(count, 2), torch.ones(count, 2))
    keypoints = Keypoints(rows[:, None, None].expand(-1, 1, 2), torch.ones(count, 1), ("nose",))
    return RecordTable({"camera": camera, "keypoints": keypoints})


def firsts(table: RecordTable) -> list[list[float]]:
    return [table["camera"].focal[:, 0].tolist(), table["keypoints"].xy[:, 0, 0].tolist()]


def test_a_table_of_records_is_a_mapping_by_name() -> None:
    table = make_table()
    assert list(table) == ["camera", "keypoints"] and len(table) == 2 and "camera" in table
    assert isinstance(table["camera"], Camera) and table.get("mask") is None and bool(table)
    assert len(RecordTable()) == 0 and not RecordTable() and dict(RecordTable()) == {}
    with pytest.raises(KeyError):
        table["mask"]


@pytest.mark.parametrize("index", [2, -1, slice(1, 3), [2, 0], torch.tensor([True, False, True])])
def test_people_of_a_table_are_chosen_from_every_record(index) -> None:
    chosen = make_table()[index]
    expected = torch.arange(3.0)[index].reshape(-1).tolist()
    assert isinstance(chosen, RecordTable) and firsts(chosen) == [expected, expected]


def test_there_is_no_person_beyond_a_tables_rows() -> None:
    with pytest.raises(IndexError, match="There is no person 3: this RecordTable holds 3"):
        make_table()[3]


def test_map_reaches_every_tensor_of_a_table_and_leaves_it_as_it_was() -> None:
    table = make_table()
    doubled = table.map(lambda t: 2 * t)
    assert firsts(doubled) == [[0, 2, 4], [0, 2, 4]] and firsts(table) == [[0, 1, 2], [0, 1, 2]]
    assert doubled["keypoints"].names == ("nose",)
    assert make_table().to(torch.float32)["camera"].focal.dtype == torch.float32


def test_tables_are_joined_record_by_record() -> None:
    joined = RecordTable.cat([make_table(), make_table(10, 2)])
    assert firsts(joined) == [[0, 1, 2, 10, 11]] * 2
    assert len(RecordTable.cat([RecordTable(), RecordTable()])) == 0


def test_some_people_of_a_table_are_taken_from_another() -> None:
    table, other = make_table(), make_table(10)
    assert firsts(table.with_rows(torch.tensor([1]), other)) == [[0, 11, 2]] * 2
    assert firsts(table) == [[0, 1, 2]] * 2 and firsts(other) == [[10, 11, 12]] * 2


def test_a_table_inside_a_record_goes_with_its_people() -> None:
    """As in an observation: chosen, joined and replaced with the rest of it."""
    seen = [make_keypoints([[[0.0, i], [1.0, i]] for i in range(3)], [[1.0, 1.0]] * 3) for _ in range(2)]
    first, second = (Observation.of(k, make_table(s)) for k, s in zip(seen, (0.0, 10.0), strict=True))
    assert firsts(first[[2, 0]].measurements) == [[2, 0]] * 2
    assert firsts(Observation.cat([first, second[[1]]]).measurements) == [[0, 1, 2, 11]] * 2
    assert firsts(first.with_rows(torch.tensor([0]), second).measurements) == [[10, 1, 2]] * 2


def test_a_loop_over_a_record_ends() -> None:
    """So numpy, which tries to take any object with lengths and items for numbers, stops as well."""
    three = Keypoints(torch.arange(12.0).view(3, 2, 2), torch.ones(3, 2), ("a", "b"))
    assert [len(one) for one in three] == [1, 1, 1] and torch.equal(list(three)[2].xy, three.xy[2:])
    assert torch.equal(three[-1].xy, three.xy[2:])
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"no person {index}: this Keypoints holds 3"):
            three[index]
    with pytest.raises(TypeError, match="x should be numbers"):
        numbers([three], "x", "numbers")
