"""Keypoint files: the same person in every format comes out the same; what is broken gets its error message."""

import json
from pathlib import Path

import numpy as np
import pytest

from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.keypoint_files import (
    PersonKeypoints,
    find_keypoint_file,
    people_in_image,
    read_keypoints,
    readers,
    tables,
)
from hmrfit.io.keypoint_files.json_formats import JsonFormat, has
from hmrfit.io.keypoint_files.person import Found
from hmrfit.io.keypoint_files.tables import TableFormat
from hmrfit.keypoints import resolve_set

HALF = 0.5  # detectors and COCO count pixel centres as integers


def points_of(count: int, seed: int = 0) -> np.ndarray:
    """(count, 3) x, y, confidence; the second is unseen."""
    rng = np.random.default_rng(seed)
    points = np.c_[rng.uniform(10, 600, (count, 2)).round(2), rng.uniform(0.2, 1, count).round(3)]
    points[1] = 0
    return points


def write(path: Path, content) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def assert_is(person: PersonKeypoints, points: np.ndarray, name: str, shift: float) -> None:
    seen = points[:, 2] > 0
    assert person.names == resolve_set(name)
    np.testing.assert_allclose(person.xy[seen], points[seen, :2] + shift)
    np.testing.assert_allclose(person.xy[~seen], 0)
    np.testing.assert_allclose(person.confidence, points[:, 2])


def flat(points: np.ndarray) -> list[float]:
    return points.ravel().tolist()


# Each format


@pytest.mark.parametrize(("count", "name"), [(25, "openpose25"), (18, "openpose18")])
def test_openpose(tmp_path, count, name):
    a, b = points_of(count, 1), points_of(count, 2)
    people = [{"person_id": [-1], "pose_keypoints_2d": flat(p), "hand_left_keypoints_2d": []} for p in (a, b)]
    read = read_keypoints(
        write(tmp_path / "x_keypoints.json", {"version": 1.3, "people": people}), image_size=(640, 480)
    )
    assert [p.person_id for p in read] == ["0", "1"]
    assert_is(read[0], a, name, HALF)
    assert_is(read[1], b, name, HALF)
    assert read[0].image_size == (640, 480) and read[0].made_by == "detector"


def test_openpose_without_people_is_an_empty_list(tmp_path):
    assert read_keypoints(write(tmp_path / "a.json", {"people": []})) == []
    assert read_keypoints(write(tmp_path / "b.json", [])) == []


def test_the_callers_set_is_stronger_than_the_formats(tmp_path):
    points = points_of(25)
    path = write(tmp_path / "a.json", {"people": [{"pose_keypoints_2d": flat(points)}]})
    assert_is(read_keypoints(path, "openpose25b")[0], points, "openpose25b", HALF)
    own = [f"mine{i}" for i in range(25)]
    assert read_keypoints(path, own)[0].names == tuple(own)


def coco_dataset(points: list[np.ndarray], **category) -> dict:
    """One image per person; visibility 1 for the first keypoint, 2 for the others that are seen."""
    annotations = []
    for i, person in enumerate(points):
        visible = np.where(person[:, 2] > 0, 2, 0)
        visible[0] = 1
        keypoints = flat(np.c_[person[:, :2], visible])
        annotations.append(
            {"id": 70 + i, "image_id": 5 + i, "category_id": 1, "keypoints": keypoints, "bbox": [1, 2, 30.5, 40]}
        )
    images = [{"id": 5 + i, "file_name": f"img{i}.jpg", "width": 640, "height": 480} for i in range(len(points))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person", **category}]}


def test_coco_annotations(tmp_path):
    a, b = points_of(17, 1), points_of(17, 2)
    content = coco_dataset([a, b])
    content["annotations"].append({"id": 1, "image_id": 5, "keypoints": [0] * 51, "num_keypoints": 0})
    content["annotations"].append({"id": 2, "image_id": 5, "iscrowd": 1, "segmentation": {}})
    content["annotations"].append({"id": 3, "image_id": 5, "segmentation": []})
    first, second = read_keypoints(write(tmp_path / "a.json", content))
    a[:, 2] = b[:, 2] = [1, 0] + [1] * 15  # hidden and seen count alike
    assert_is(first, a, "coco17", HALF)
    assert_is(second, b, "coco17", HALF)
    assert (first.person_id, first.image, first.image_size) == ("70", "img0.jpg", (640, 480))
    assert first.box == (1, 2, 30.5, 40)  # corners as corners: no half pixel
    assert second.image == "img1.jpg" and second.made_by == "labelled"


def test_coco_categories_name_their_keypoints(tmp_path):
    names = [n.removesuffix("_h36m").removesuffix("_coco") for n in resolve_set("h36m17")]
    points = points_of(17)
    read = read_keypoints(write(tmp_path / "a.json", coco_dataset([points], keypoints=names)))
    assert read[0].names == resolve_set("h36m17")


def test_coco_with_another_number_of_keypoints_asks(tmp_path):
    path = write(tmp_path / "a.json", coco_dataset([points_of(14)]))
    with pytest.raises(ValueError, match=r"annotation 70 holds 14 keypoints.*keypoint_set='lsp14'"):
        read_keypoints(path)
    assert read_keypoints(path, "lsp14")[0].names == resolve_set("lsp14")


def test_coco_results(tmp_path):
    points = points_of(17)
    content = [{"image_id": 785, "category_id": 1, "keypoints": flat(points), "score": 3.2}]
    (person,) = read_keypoints(write(tmp_path / "a.json", content))
    assert_is(person, points, "coco17", HALF)
    assert person.image == "785"


def test_coco_results_with_visibility_for_confidence(tmp_path):
    points = points_of(17)
    flags = np.where(points[:, 2:] > 0, 2, 0)
    content = [{"image_id": 1, "keypoints": flat(np.c_[points[:, :2], flags]), "score": 1}]
    (person,) = read_keypoints(write(tmp_path / "a.json", content))
    np.testing.assert_array_equal(person.confidence, flags[:, 0] / 2)


def mmpose_instance(points: np.ndarray) -> dict:
    scores = np.where(points[:, 2] > 0, points[:, 2] + 0.5, 0)  # peaks of heat maps overshoot
    return {"keypoints": points[:, :2].tolist(), "keypoint_scores": scores.tolist(), "bbox": [[10, 20, 110, 220]]}


@pytest.mark.parametrize(
    "meta",
    [
        {"dataset_name": "coco"},
        {"keypoint_id2name": {str(i): n.replace("_coco", "") for i, n in enumerate(resolve_set("coco17"))}},
    ],
)
@pytest.mark.parametrize("frames", [False, True])
def test_mmpose(tmp_path, meta, frames):
    points = points_of(17)
    instances = [mmpose_instance(points), mmpose_instance(points)]
    info = [{"frame_id": 4, "instances": instances}] if frames else instances
    first, second = read_keypoints(write(tmp_path / "a.json", {"meta_info": meta, "instance_info": info}))
    points[:, 2] = np.minimum(points[:, 2] + 0.5 * (points[:, 2] > 0), 1)
    assert_is(first, points, "coco17", HALF)
    assert first.box == (10, 20, 100, 200)
    assert second.person_id == "1"
    assert first.image == ("4" if frames else None)


@pytest.mark.parametrize("frames", [False, True])
def test_mmposes_inferencer_names_no_set(tmp_path, frames):
    content = [mmpose_instance(points_of(17))]
    content = [{"frame_id": 0, "instances": content}] if frames else content
    path = write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=r"17 keypoints.*keypoint_set='coco17' or keypoint_set='h36m17'"):
        read_keypoints(path)
    assert len(read_keypoints(path, "coco17")) == 1


def own_json(points: np.ndarray, **more) -> dict:
    return {"format": "coco17", "keypoints": points.tolist(), **more}


def test_our_own_json(tmp_path):
    points = points_of(17)
    lens = {"K": [[900.0, 0, 320], [0, 900, 240], [0, 0, 1]], "dist": [-0.2, 0.05, 0, 0]}
    content = own_json(points, id="me", image="im/a.jpg", size=[640, 480], bbox=[1, 2, 3, 4], mask="m.png", **lens)
    content["keypoint_source"] = "labelled"
    (person,) = read_keypoints(write(tmp_path / "a.json", content), image_size=(1, 1))
    assert_is(person, points, "coco17", HALF)
    assert (person.person_id, person.image, person.mask, person.image_size) == ("me", "im/a.jpg", "m.png", (640, 480))
    np.testing.assert_array_equal(person.intrinsics, lens["K"])
    np.testing.assert_array_equal(person.distortion, lens["dist"])
    assert person.image_path is None and person.made_by == "labelled"
    (tmp_path / "im").mkdir()
    (tmp_path / "im" / "a.jpg").touch()
    assert person.image_path == tmp_path / "im" / "a.jpg"


def test_a_pinhole_person_sees_without_the_lens(tmp_path):
    points = points_of(17)
    points[2, :2] = 1e6  # nothing this lens can have seen
    content = own_json(points, K=[[900.0, 0, 320], [0, 900, 240], [0, 0, 1]], dist=[-0.2, 0.05, 0, 0])
    (person,) = read_keypoints(write(tmp_path / "a.json", content))
    before = person.xy.copy()
    pinhole = person.pinhole()
    assert pinhole.distortion is None
    assert pinhole.pinhole() is pinhole
    assert pinhole.confidence[2] == 0
    assert np.abs(pinhole.xy - person.xy)[[0, 3, 4]].max() > 0.1
    np.testing.assert_array_equal(pinhole.xy[1], 0)  # unseen stays unseen
    np.testing.assert_array_equal(person.xy, before)


@pytest.mark.parametrize("suffix", ["npy", "npz", "npz xy", "csv", "csv with a heading", "csv;"])
def test_plain_arrays_are_in_our_pixels(tmp_path, suffix):
    points = points_of(17)
    path = tmp_path / f"a.{suffix[:3]}"
    if suffix == "npy":
        np.save(path, points)
    elif suffix == "npz":
        np.savez(path, keypoints=points, other=3)
    elif suffix == "npz xy":
        np.savez(path, xy=points[:, :2], confidence=points[:, 2])
    else:
        between = ";" if suffix.endswith(";") else ","
        heading = "x,y,confidence" if "heading" in suffix else ""
        np.savetxt(path, points, delimiter=between, header=heading, comments="")
    with pytest.raises(ValueError, match=r"does not say which. Say which set they are: keypoint_set='coco17' or"):
        read_keypoints(path)
    (person,) = read_keypoints(path, "coco17")
    assert_is(person, points, "coco17", 0)


def test_several_people_and_coordinates_alone(tmp_path):
    points = np.stack([points_of(17, 1), points_of(17, 2)])
    np.save(tmp_path / "a.npy", points)
    np.save(tmp_path / "b.npy", points[..., :2])
    for path in ("a.npy", "b.npy"):
        people = read_keypoints(tmp_path / path, "coco17")
        assert [p.person_id for p in people] == ["0", "1"]
        np.testing.assert_array_equal(people[1].xy, points[1, :, :2])
        assert people[1].confidence[1] == 0  # (0, 0), as detectors write what they miss


def test_an_npz_may_say_its_set(tmp_path):
    np.savez(tmp_path / "a.npz", keypoints=points_of(17), keypoint_set="h36m17")
    np.savez(tmp_path / "b.npz", keypoints=points_of(3), names=["nose", "left_knee", "right_knee"])
    assert read_keypoints(tmp_path / "a.npz")[0].names == resolve_set("h36m17")
    assert read_keypoints(tmp_path / "b.npz")[0].names == ("nose", "left_knee_coco", "right_knee_coco")


def test_a_csv_may_name_its_rows(tmp_path):
    text = "name,x,y,confidence\nnose,10,20,0.5\nleft_knee,,,\nright_knee,30.5,40,1\n\n"
    (person,) = read_keypoints(write(tmp_path / "a.csv", text))
    assert person.names == ("nose", "left_knee_coco", "right_knee_coco")
    assert person.xy.tolist() == [[10, 20], [0, 0], [30.5, 40]]
    assert person.confidence.tolist() == [0.5, 0, 1]


# Numbers


def test_nan_at_an_unseen_keypoint_is_fine(tmp_path):
    points = points_of(17)
    points[1] = [np.nan, np.nan, 0]
    points[2] = np.nan  # a row of a table without numbers
    np.save(tmp_path / "a.npy", points)
    (person,) = read_keypoints(tmp_path / "a.npy", "coco17")
    assert person.xy[1:3].tolist() == [[0, 0], [0, 0]]
    assert person.confidence[1:3].tolist() == [0, 0]
    np.save(tmp_path / "b.npy", points[:, :2])
    assert read_keypoints(tmp_path / "b.npy", "coco17")[0].confidence[[1, 2]].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([np.nan, 5, 0.5], r"keypoint 3 is at \[nan, 5.0\] with confidence 0.5, .* Give unseen keypoints confidence 0"),
        ([np.inf, 5, 0.5], "keypoint 3 is at"),
        ([5, 5, np.nan], "keypoint 3 has NaN as its confidence"),
        ([1e60, 5, 0.5], "keypoint 3 is at"),
    ],
)
def test_broken_numbers(tmp_path, row, message):
    points = points_of(17)
    points[:, 2] = 1
    points[3] = row
    np.save(tmp_path / "a.npy", points)
    with pytest.raises(ValueError, match=message) as caught:
        read_keypoints(tmp_path / "a.npy", "coco17")
    assert "a.npy" in str(caught.value)


def test_confidences_that_overshoot_count_as_one(tmp_path):
    points = points_of(17)
    points[:, 2] = 1.03
    np.save(tmp_path / "a.npy", points)
    seen = (points[:, :2] != 0).any(1)
    assert (read_keypoints(tmp_path / "a.npy", "coco17")[0].confidence == seen).all()


# Broken files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{'not': json}", "is not JSON"),
        ('{"people": [{"pose_keyp', "is not JSON, or it is cut off"),
        ("[" * 100_000, "is not JSON"),
        ({"what": 1}, "none of the keypoint formats that are known: .*OpenPose"),
        ([1, 2], "none of the keypoint formats"),
        ("3", "none of the keypoint formats"),
        ({"people": [{"pose_keypoints_2d": [1.0, 2.0]}]}, "person 0: expected x, y, confidence"),
        ({"people": [{"pose_keypoints_2d": []}, {"pose_keypoints_2d": ["a"] * 75}]}, "person 1: expected lists"),
        ({"people": [{"pose_keypoints_2d": [1.0] * 60}]}, r"20 keypoints.*No known set has 20.*register_keypoint_set"),
        ({"people": 3}, "looks like OpenPose, but is built differently"),
        ({"images": [{}], "annotations": []}, "looks like COCO annotations, but is built differently"),
        ({"instance_info": [{"keypoints": [[1, 2], [3]]}]}, "lists of numbers of equal length"),
        ({"instance_info": [{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1]}]}, "keypoint_scores has the shape"),
        ({"format": "coco", "keypoints": [[1, 2, 1]] * 17}, r"Unknown keypoint set 'coco'. Did you mean 'coco17'\?"),
        ({"format": "smpl24", "keypoints": [[1, 2, 1]] * 17}, "'smpl24' has 24. For 17: keypoint_set='coco17'"),
        ({"format": "coco17", "keypoints": [[1, 2, 1]] * 17, "size": [640, -480]}, "positive width and height"),
        ({"format": "coco17", "keypoints": [[1, 2, 1]] * 17, "bbox": [1, 2, -3, 4]}, "negative size -3 × 4"),
        ({"format": "coco17", "keypoints": [[1, 2, 1]] * 17, "K": [1, 2]}, "'K' should be 3×3"),
        (
            {"format": "coco17", "keypoints": [[1, 2, 1]] * 17, "keypoint_source": "me"},
            "labelled, detector, exact, not 'me'",
        ),
    ],
)
def test_broken_json(tmp_path, content, message):
    path = write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_keypoints(path)
    assert "a.json" in str(caught.value) or "Unknown keypoint set" in str(caught.value)


def test_truncated_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", points_of(17))
    np.savez(tmp_path / "a.npz", keypoints=points_of(17))
    for path in list(tmp_path.iterdir()):
        data = path.read_bytes()
        for cut in (0, 3, 20, len(data) // 2, len(data) - 5):
            path.write_bytes(data[:cut])
            with pytest.raises(ValueError, match=f"'{path}'"):
                read_keypoints(path, "coco17")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", ["npy", "npz", "pickle in npy"])
def test_hostile_arrays_are_refused_and_nothing_runs(tmp_path, suffix):
    import pickle

    trap, path = tmp_path / "sprung", tmp_path / f"a.{suffix[-3:]}"
    if suffix == "pickle in npy":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif suffix == "npy":
        np.save(path, np.array([Trap(trap)], object), allow_pickle=True)
    else:
        np.savez(path, keypoints=np.array([Trap(trap)], object))
    with pytest.raises(ValueError, match="holds Python objects"):
        read_keypoints(path, "coco17")
    assert not trap.exists()


def test_a_header_that_claims_a_huge_array(tmp_path):
    np.save(tmp_path / "a.npy", points_of(17))
    data = (tmp_path / "a.npy").read_bytes()
    claim = data.replace(b"(17, 3), }" + b" " * 11, b"(9999999999999, 3), }")
    assert claim != data
    assert len(claim) == len(data)
    (tmp_path / "a.npy").write_bytes(claim)
    with pytest.raises(ValueError, match="damaged or cut off"):
        read_keypoints(tmp_path / "a.npy", "coco17")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(51), r"should have the shape \(K, 3\).*the shape is \(51,\)"),
        (np.zeros((17, 4)), r"\(17, 4\)"),
        (np.zeros((2, 2, 17, 3)), "should have the shape"),
        (np.full((17, 3), "a"), "expected numbers"),
        (np.zeros((17, 3), complex), "expected numbers"),
        (np.zeros((19, 3)), r"holds 19 keypoints, but 'coco17' has 17. No known set has 19"),
    ],
)
def test_arrays_of_other_shapes(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message):
        read_keypoints(tmp_path / "a.npy", "coco17")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no keypoints"),
        ("x,y,confidence\n", "holds no keypoints"),
        ("1,2,3\n4,5\n", "expected x, y"),
        ("nose,1,2,0.5\nneck,a,b,c\n", "could not convert"),
        ("1,2,3,4,5\n", r"shape \(1, 5\)"),
    ],
)
def test_broken_tables(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_keypoints(write(tmp_path / "a.csv", text))


def test_a_format_is_one_function_and_one_row(tmp_path, monkeypatch):
    """What the package promises: read from a file, from memory and beside a photograph."""

    def read(content, name):
        yield Found(np.array(content["my_points"], float), "coco17", name)

    def read_table(rows, path):
        yield Found(np.array([row[1:] for row in rows[1:]], float), "coco17", f"'{path}'")

    def read_words(path):
        yield Found(np.array(path.read_text().split(), float).reshape(17, 3), "coco17", f"'{path}'")

    row = JsonFormat("mine", has("my_points"), read)
    table = TableFormat("mine", lambda rows: rows[0][0] == "#", read_table)
    monkeypatch.setattr(readers, "JSON_FORMATS", (row, *readers.JSON_FORMATS))
    monkeypatch.setattr(tables, "TABLE_FORMATS", (table, *tables.TABLE_FORMATS))
    monkeypatch.setitem(readers.READERS, ".words", read_words)
    points = np.arange(51).reshape(17, 3) + 1.0
    content = {"my_points": points.tolist()}
    for name, text in (
        ("a.json", json.dumps(content)),
        ("b.csv", "#,,,\n" + "\n".join(f"p,{x},{y},{c}" for x, y, c in points)),
        ("c.words", " ".join(map(str, points.ravel()))),
    ):
        file = write(tmp_path / name, text)
        assert find_keypoint_file(f"{file.stem}.jpg", tmp_path) == file
        (person,) = read_keypoints(file)
        np.testing.assert_allclose(person.xy, points[:, :2] + PIXEL_CENTER)
    np.testing.assert_array_equal(readers.people_in_memory(content)[0].xy, points[:, :2] + PIXEL_CENTER)


def test_a_binary_file_called_csv(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x80\x81")
    with pytest.raises(ValueError, match="is not a text"):
        read_keypoints(tmp_path / "a.csv")


def test_an_npz_of_several_arrays_asks_which(tmp_path):
    np.savez(tmp_path / "a.npz", pose=np.zeros(3), shape=np.zeros(3))
    with pytest.raises(ValueError, match="holds pose, shape; expected one array called 'keypoints'"):
        read_keypoints(tmp_path / "a.npz", "coco17")


def test_missing_files_folders_and_other_kinds(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no keypoint file"):
        read_keypoints(tmp_path / "a.json")
    with pytest.raises(IsADirectoryError, match="find_keypoint_file"):
        read_keypoints(tmp_path)
    with pytest.raises(ValueError, match=r"read from \.json, \.npy, \.npz, \.csv, \.tsv, \.txt"):
        read_keypoints(write(tmp_path / "a.xml", ""))


# Which file, which people


def test_the_file_of_an_image(tmp_path):
    image = tmp_path / "img" / "a.b.jpg"
    assert find_keypoint_file(image, tmp_path) is None
    dataset = write(tmp_path / "person_keypoints_val.json", {})
    assert find_keypoint_file(image, tmp_path) == dataset
    assert find_keypoint_file(image, dataset) == dataset
    own = write(tmp_path / "a.b_keypoints.json", {})
    write(tmp_path / "other_keypoints.json", {})
    assert find_keypoint_file(image, tmp_path) == own
    for suffix in ("csv", "npz", "npy", "json"):
        own = write(tmp_path / f"a.b.{suffix}", "")
        assert find_keypoint_file(image, tmp_path) == own


def test_the_people_of_an_image(tmp_path):
    people = read_keypoints(write(tmp_path / "a.json", coco_dataset([points_of(17, 1), points_of(17, 2)])))
    assert [p.person_id for p in people_in_image(people, "somewhere/img1.png")] == ["71"]
    results = [{"image_id": i, "keypoints": flat(points_of(17)), "score": 1} for i in (785, 1785)]
    people = read_keypoints(write(tmp_path / "b.json", results))
    assert [p.image for p in people_in_image(people, "COCO_val2014_000000000785.jpg")] == ["785"]
    assert people_in_image(people, "cat.jpg") == []
    single = read_keypoints(write(tmp_path / "c.json", own_json(points_of(17))))
    assert people_in_image(single, "any.jpg") == single


def test_the_real_photographs(shared):
    files = sorted((shared / "photos").glob("*.json"))
    assert len(files) == 22
    for path in files:
        (person,) = read_keypoints(path)
        assert person.image_path is not None
        assert people_in_image([person], person.image_path) == [person]
        assert find_keypoint_file(person.image_path, shared / "photos") == path
        assert (person.intrinsics is not None) == path.name.startswith("p2s")
        moved = np.abs(person.pinhole().xy - person.xy).max()
        assert moved < 5  # this lens bends by a few pixels
