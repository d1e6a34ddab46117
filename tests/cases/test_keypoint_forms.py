"""Keypoints in the layouts of other tools, in memory and in settings, as bug reports have them, are where they belong.

What each layout means is in `hmrfit.io.keypoint_files`; the numbers here are the demo's person, projected.
"""

import io
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.keypoint_cases import assert_at, flat, photo_of, write
from helpers.keypoint_layouts import HALF, SIZE, plain, rows

import hmrfit
from hmrfit.io.keypoint_files import read_keypoints
from hmrfit.keypoints import COCO17, OPENPOSE25, resolve_set

# ---- formats of single tools


def ultralytics(shares: bool) -> list[dict]:
    unit = np.array(SIZE) if shares else np.ones(2)
    points = rows("coco17")
    x, y = ((points[:, :2]) / unit).T
    box = dict(zip(("x1", "y1", "x2", "y2"), (np.array([50, 20, 300, 400]) / np.tile(unit, 2)).tolist(), strict=True))
    keypoints = {"x": x.tolist(), "y": y.tolist(), "visible": points[:, 2].tolist()}
    return [{"name": "person", "class": 0, "confidence": 0.9, "box": box, "keypoints": keypoints}]


def easymocap() -> dict:
    annots = [{"personID": 3, "bbox": [10, 20, 110, 220, 1], "keypoints": rows("openpose25").tolist()}]
    return {"filename": "images/1/000000.jpg", "height": SIZE[1], "width": SIZE[0], "annots": annots}


def vitpose() -> dict:
    skeleton = {str(i): name for i, name in enumerate(plain(COCO17))}
    return {"keypoints": [{"0": rows("coco17")[:, [1, 0, 2]].tolist()}], "skeleton": skeleton}


def landmarks() -> list[dict]:
    points = rows("mediapipe33", shift=0) / (*SIZE, 1)
    return [{"x": x, "y": y, "z": 0.1, "visibility": c} for x, y, c in points.tolist()]


def named_points(x: str = "x", y: str = "y", score: str = "score", name: str = "name") -> list[dict]:
    return [
        {x: a, y: b, score: c, name: n} for n, (a, b, c) in zip(plain(COCO17), rows("coco17").tolist(), strict=True)
    ]


def posenet() -> dict:
    points = [{"part": p["name"], "position": {"x": p["x"], "y": p["y"]}, "score": p["score"]} for p in named_points()]
    return {"score": 0.9, "keypoints": points}


def labelme() -> dict:
    shapes = [{"label": p["name"], "points": [[p["x"], p["y"]]], "shape_type": "point"} for p in named_points()]
    shapes.append({"label": "person", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"})
    return {"shapes": shapes, "imagePath": "photo.jpg", "imageWidth": SIZE[0], "imageHeight": SIZE[1]}


def label_studio() -> list[dict]:
    size = {"original_width": SIZE[0], "original_height": SIZE[1]}
    points = zip(plain(COCO17), (rows("coco17", shift=0) / (*SIZE, 1)).tolist(), strict=True)
    results = [{"value": {"x": 100 * x, "y": 100 * y, "keypointlabels": [name]}} | size for name, (x, y, _) in points]
    return [{"id": 1, "data": {"img": "/data/photo.jpg"}, "annotations": [{"result": results}]}]


def beside(scores: str, people: bool) -> dict:
    points = rows("coco17")
    xy, confidence = points[:, :2].tolist(), points[:, 2].tolist()
    return {"keypoints": [xy], scores: [confidence]} if people else {"keypoints": xy, scores: confidence}


def torchvision() -> dict:
    points = rows("coco17")
    heights = np.where(points[:, 2] > 0, 12.0, -3.0)
    return {"keypoints": [points.tolist()], "keypoints_scores": [heights.tolist()], "scores": [0.9], "boxes": [[1] * 4]}


TOOLS = {
    "TensorFlow.js": ([{"score": 0.9, "keypoints": named_points()}], "coco17"), "PoseNet": (posenet(), "coco17"),
    "points with names": (named_points("x", "y", "confidence", "label"), "coco17"),
    "points by name": ({p["name"]: [p["x"], p["y"], p["score"]] for p in named_points()}, "coco17"),
    "labelme": (labelme(), "coco17"), "Label Studio": (label_studio(), "coco17"),
    "Hugging Face": ([[beside("scores", False) | {"labels": list(range(17)), "bbox": [1, 2, 3, 4]}]], "coco17"),
    "rtmlib": (beside("scores", True), "coco17"), "torchvision": (torchvision(), "coco17"),
    "ultralytics": (ultralytics(False), "coco17"), "ultralytics, normalised": (ultralytics(True), "coco17"),
    "EasyMocap": (easymocap(), "openpose25"), "easy_ViTPose": (vitpose(), "coco17"),
    "ControlNet": ([{"people": [{"pose_keypoints_2d": flat(rows("openpose18"))}], "canvas_width": 640,
                     "canvas_height": 480}], "openpose18"),
    "AlphaPose cmu": ({"photo.jpg": {"version": "AlphaPose", "bodies": [{"joints": flat(rows("openpose18"))}]}},
                      "openpose18"),
    "AlphaPose open": ({"photo.jpg": {"people": [{"pose_keypoints_2d": flat(rows("openpose18"))}]}}, "openpose18"),
    "MediaPipe": (landmarks(), "mediapipe33"), "MediaPipe, a list": ([landmarks()], "mediapipe33"),
    "MediaPipe, named": ({"pose_landmarks": landmarks()}, "mediapipe33"),
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("form", ["file", "utf-16", "loaded", "bytes", "open file"])
def test_json_of_other_tools(tmp_path: Path, tool: str, form: str) -> None:
    content, name = TOOLS[tool]
    text = json.dumps(content)
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-16" if form == "utf-16" else "utf-8")
    given = {"loaded": content, "bytes": text.encode(), "open file": io.StringIO(text)}.get(form, path)
    photo = photo_of(given, None)
    assert photo.people[0].names == resolve_set(name)
    assert_at(photo.people[0], name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_tables_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    points = zip(COCO17, rows("coco17", shift=0), strict=True)
    lines = ["Größe;x;y;confidence", *(f"{n};{x};{y};{c}" for n, (x, y, c) in points)]
    lines[0] = lines[0].replace("Größe", "name")
    lines.append("")
    text = "\n".join(lines).replace("nose;", "nosé;" if encoding == "latin-1" else "nose;")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    set_of_latin = {"keypoint_set": "coco17"} if encoding == "latin-1" else {}
    assert_at(read_keypoints(tmp_path / "a.csv", **set_of_latin)[0], "coco17")


@pytest.mark.parametrize("between", [";", "\t", ",", " "])
@pytest.mark.parametrize("heading", ["landmark y x visibility", "name x y z presence likelihood", ""])
def test_tables_with_headings_in_any_order(tmp_path: Path, between: str, heading: str) -> None:
    columns = heading.split() or ["name", "x", "y", "c"]
    names = [n.upper() for n in plain(COCO17)]
    lines = [heading.replace(" ", between)] if heading else []
    comma = (lambda v: f"{v:.7f}".replace(".", ",")) if between in ";\t" else (lambda v: f"{v:.7f}")
    for name, (x, y, c) in zip(names, rows("coco17", shift=0), strict=True):
        cell = {"name": name, "landmark": name, "x": comma(x), "y": comma(y), "z": "7", "presence": "0.1"}
        lines.append(between.join(cell.get(column, comma(c)) for column in columns))
    (person,) = read_keypoints(write(tmp_path / "a.csv", "\n".join(lines)))
    assert_at(person, "coco17", atol=1e-5)
    np.testing.assert_allclose(person.confidence, 0.8)


def test_mediapipes_long_table(tmp_path: Path) -> None:
    points = rows("mediapipe33", shift=0) / (*SIZE, 1)
    lines = [f"{f},{i},{x},{y},-0.1,{c}" for f in (0, 1) for i, (x, y, c) in enumerate(points)]
    path = write(tmp_path / "a.csv", "\n".join(["frame,landmark,x,y,z,visibility", *reversed(lines)]))
    people = read_keypoints(path, image_size=SIZE)
    assert [p.image for p in people] == ["1", "0"]
    assert_at(people[0], "mediapipe33")
    assert read_keypoints(path)[0].fractions is not None  # the size may come later
    path = write(tmp_path / "b.csv", "\n".join(["frame,landmark,x,y,z,visibility", *lines[:33]]))
    assert_at(photo_of(path, None).people[0], "mediapipe33")


def test_a_table_with_a_line_a_frame(tmp_path: Path) -> None:
    points = rows("coco17", shift=0)
    heading = ["frame", *(f"{n}_{axis}" for n in plain(COCO17) for axis in ("x", "y", "conf"))]
    lines = [",".join(heading), *(",".join(map(str, [i, *flat(points)])) for i in range(3))]
    people = read_keypoints(write(tmp_path / "a.csv", "\n".join(lines)))
    assert [p.image for p in people] == ["0", "1", "2"]
    assert_at(people[2], "coco17")


@pytest.mark.parametrize("heading", ["{name}_{axis}", "{axis}_{name}", "{name}.{axis}", "{axis} ({name})"])
def test_headings_of_a_line_a_frame(tmp_path: Path, heading: str) -> None:
    """In the second, `score_left_hip` ends like a column of some `p`."""
    cells = [heading.format(name=n, axis=axis) for n in plain(COCO17) for axis in ("x", "y", "score")]
    path = write(tmp_path / "a.csv", "\n".join([",".join(cells), ",".join(map(str, flat(rows("coco17", shift=0))))]))
    assert_at(read_keypoints(path)[0], "coco17")


@pytest.mark.parametrize("start", [None, 0, 1])
@pytest.mark.parametrize("line", [False, True])
def test_tables_of_numbers_alone(tmp_path: Path, line: bool, start: int | None) -> None:
    points = rows("coco17", shift=0)
    numbers = points if start is None or line else np.column_stack([np.arange(17) + start, points])
    lines = [flat(points)] * 2 if line else numbers.tolist()
    path = write(tmp_path / "a.csv", "\n".join(",".join(map(str, row)) for row in lines))
    people = read_keypoints(path, "coco17")
    assert len(people) == 1 + line
    assert_at(people[-1], "coco17")


@pytest.mark.parametrize("heading", ["name,row,col", "name,y [px],x [px]", "name,keypoint y,keypoint x"])
def test_rows_and_columns_of_pixels(tmp_path: Path, heading: str) -> None:
    lines = [f"{n},{y},{x}" for n, (x, y, _) in zip(plain(COCO17), rows("coco17", shift=0).tolist(), strict=True)]
    assert_at(read_keypoints(write(tmp_path / "a.csv", "\n".join([heading, *lines])))[0], "coco17")


def test_a_heading_that_says_nothing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "first,second\n" + "\n".join("3,4" for _ in range(17)))
    with pytest.raises(ValueError, match="the heading 'first, second' does not say which columns are x and y"):
        read_keypoints(path, "coco17")


@pytest.mark.parametrize("blank", ["NA", "nan", "None", "null", "-", ""])
def test_what_tables_write_for_a_missing_point(tmp_path: Path, blank: str) -> None:
    lines = [f"{n},{x},{y}" for n, (x, y, _) in zip(plain(COCO17), rows("coco17", shift=0).tolist(), strict=True)]
    lines[9] = f"left_wrist,{blank},{blank}"
    (person,) = read_keypoints(write(tmp_path / "a.csv", "\n".join(["name,x,y", *lines])))
    assert np.flatnonzero(person.confidence == 0).tolist() == [9]


def test_yolos_label_without_people_and_with_boxes_alone(tmp_path: Path) -> None:
    assert read_keypoints(write(tmp_path / "a.txt", "")) == []
    points = rows("coco17") / (*SIZE, 1)
    lines = [" ".join(map(str, [0, 0.5, 0.5, 0.25, 0.5, *flat(points)])), "0 0.1 0.1 0.2 0.2 0.9"]
    (person,) = read_keypoints(write(tmp_path / "b.txt", "\n".join(lines)), image_size=SIZE)
    assert_at(person, "coco17")


def test_a_json_text_in_every_line(tmp_path: Path) -> None:
    text = json.dumps({"format": "coco17", "keypoints": rows("coco17").tolist()})
    for name in ("a.json", "a.jsonl"):
        people = read_keypoints(write(tmp_path / name, f"{text}\n\n{text}\n"))
        assert len(people) == 2
        assert_at(people[1], "coco17")


@pytest.mark.parametrize("shape", ["(K, 3)", "(N, K, 3)", "flat"])
def test_json_of_numbers_alone(tmp_path: Path, shape: str) -> None:
    points = rows("coco17", shift=0)
    content = {"(K, 3)": points.tolist(), "(N, K, 3)": [points.tolist()], "flat": flat(points)}[shape]
    assert_at(read_keypoints(write(tmp_path / "a.json", content), "coco17")[0], "coco17")


def test_hugging_face_lists_only_the_points_it_found(tmp_path: Path) -> None:
    points, found = rows("coco17"), [0, 5, 6, 11, 12, 16]
    person = {"keypoints": points[found, :2].tolist(), "scores": points[found, 2].tolist(), "labels": found}
    (person,) = read_keypoints(write(tmp_path / "a.json", [[person]]))
    assert np.flatnonzero(person.confidence).tolist() == found
    np.testing.assert_allclose(person.xy[found], rows("coco17", shift=0)[found, :2], atol=1e-9)


class Held:
    """An object of a detector, with these attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


@pytest.mark.parametrize("form", ["Results", "[Results]", "Keypoints", "KeyPoints", "InstanceData", "sample"])
def test_what_detectors_return(form: str) -> None:
    points = torch.tensor(rows("coco17"))[None].float().requires_grad_()
    held = Held(xy=points[..., :2], conf=points[..., 2])
    instances = Held(keypoints=points[..., :2].detach().numpy(), keypoint_scores=points[..., 2].detach().numpy())
    forms = {
        "Results": Held(keypoints=held),
        "[Results]": [Held(keypoints=held)],
        "Keypoints": held,
        "KeyPoints": Held(xy=held.xy, confidence=held.conf),
        "InstanceData": instances,
        "sample": Held(pred_instances=instances),
    }
    given = forms[form]
    assert_at(photo_of(given, None).people[0], "coco17", atol=1e-4)


def test_text_and_bytes_that_are_no_path() -> None:
    text = json.dumps({"format": "coco17", "keypoints": rows("coco17").tolist()})
    assert_at(photo_of(text, None).people[0], "coco17")
    buffer = io.BytesIO()
    np.save(buffer, rows("coco17"))
    with pytest.raises(TypeError, match="give its path"):
        photo_of(buffer.getvalue(), "coco17")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (rows("coco17").T, "keypoints.T"),
        (np.ones((17, 4)), r"\[0, 1, 3\]"),
        (torch.ones(17, 3, device="meta"), "no real numbers"),
        ([[[1.0, 2]] * 17, [[1.0, 2]] * 5], "rows of unequal length"),
    ],
)
def test_shapes_that_are_nearly_right(given: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        photo_of(given, "coco17")


def test_a_networks_batch_of_one_and_a_sparse_tensor() -> None:
    points = rows("coco17", shift=0)
    assert_at(photo_of(points[None, None], "coco17").people[0], "coco17")
    assert_at(photo_of(torch.tensor(points).to_sparse(), "coco17").people[0], "coco17")


@pytest.mark.parametrize("individuals", [False, True])
def test_deeplabcuts_table(tmp_path: Path, individuals: bool) -> None:
    who = ["anna", "ben"] if individuals else [""]
    names = [n for _ in who for n in plain(COCO17) for _ in range(3)]
    lines = [["scorer", *["DLC"] * len(names)]]
    lines += [["individuals", *(w for w in who for _ in range(51))]] if individuals else []
    lines += [["bodyparts", *names], ["coords", *["x", "y", "likelihood"] * 17 * len(who)]]
    lines += [[str(i), *map(str, flat(rows("coco17")) * len(who))] for i in range(2)]
    people = read_keypoints(write(tmp_path / "a.csv", "\n".join(map(",".join, lines))))
    assert [(p.image, p.person_id) for p in people] == [(str(i), w or "0") for i in range(2) for w in who]
    assert_at(people[-1], "coco17")


@pytest.mark.parametrize("more", [[], [0.9], [0.9, 7]])
def test_yolos_labels(tmp_path: Path, more: list[float]) -> None:
    points = rows("coco17")
    points[:, :2] /= SIZE
    path = write(tmp_path / "a.txt", " ".join(map(str, [0, 0.5, 0.5, 0.25, 0.5, *flat(points), *more])))
    person = photo_of(path, None).people[0]
    assert_at(person, "coco17")
    assert person.box == (240, 120, 160, 240)
    assert person.track == ("7" if len(more) == 2 else None)
    with pytest.raises(ValueError, match="image_size="):
        photo_of(path, None, image_size=None)


@pytest.mark.parametrize("fields", [("openpose",), ("part",), ("part", "openpose")])
def test_spins_npz(tmp_path: Path, fields: tuple[str, ...]) -> None:
    arrays = {"openpose": rows("openpose25")[None], "part": rows("spin24")[None]}
    names = {"openpose": "openpose25", "part": "spin24"}[fields[0]] if len(fields) == 1 else "spin49"
    hidden = {field: np.zeros_like(arrays[field]) for field in arrays if field not in fields}
    np.savez(tmp_path / "a.npz", imgname=np.array(["photo.jpg"]), center=[[300, 200]], scale=[1.5], **arrays | hidden)
    (person,) = read_keypoints(tmp_path / "a.npz")
    assert person.names == resolve_set(names) and person.image == "photo.jpg" and person.box == (150, 50, 300, 300)
    assert_at(person, names)


DAMAGE = (None, "", [], {}, 0, -1, 10**400, float("nan"), float("inf"), -1e300, "abc", ["abc"], True, [[[]]], 1e60)


def damaged(content: Any, rng: random.Random) -> Any:
    """A copy in which something, somewhere, is something else."""
    if isinstance(content, dict | list) and content and rng.random() < 0.8:
        copy = content.copy()
        key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
        copy[key] = damaged(copy[key], rng)
        return copy
    return rng.choice(DAMAGE)


@pytest.mark.parametrize("tool", TOOLS)
def test_any_damage_is_read_or_refused(tool: str) -> None:
    rng = random.Random(0)
    for _ in range(60):
        content = damaged(TOOLS[tool][0], rng)
        if not isinstance(content, str):
            with suppress(ValueError, TypeError):
                assert photo_of(content, None).keypoints.xy.isfinite().all()


# ---- in memory


class Landmark:
    """As MediaPipe's objects are."""

    def __init__(self, x: float, y: float, visibility: float) -> None:
        self.x, self.y, self.visibility = x, y, visibility


MARKS = [Landmark(*row) for row in rows("coco17", shift=0) / (*SIZE, 1)]
ROWS = rows("coco17", shift=0)
IN_MEMORY = {
    "a tensor with gradients": torch.tensor(ROWS, requires_grad=True),
    "half precision": torch.tensor(ROWS[None], dtype=torch.float64).to(torch.float32),
    "a list of tensors": [torch.tensor(ROWS, requires_grad=True)],
    "(xy, scores)": (ROWS[:, :2], ROWS[:, 2]),
    "(xy, scores) of several": (ROWS[None, :, :2], ROWS[None, :, 2]),
    "[xy, scores, column]": [ROWS[:, :2].tolist(), ROWS[:, 2:].tolist()],
    "flat": flat(ROWS),
    "flat, of several": [flat(ROWS), flat(ROWS)],
    "arrays by name": {"xy": ROWS[:, :2], "confidence": ROWS[:, 2]},
    "hmrfit's dictionaries": [{"format": "coco17", "keypoints": (ROWS - [HALF, HALF, 0]).tolist()}] * 2,
    "MMPose's predictions": {"predictions": [[{"keypoints": ROWS[:, :2] - HALF, "keypoint_scores": ROWS[:, 2]}]]},
    "Keypoints": hmrfit.Keypoints(torch.tensor(ROWS[None, :, :2]), torch.tensor(ROWS[None, :, 2]), COCO17),
}


@pytest.mark.parametrize("form", IN_MEMORY)
def test_keypoints_in_memory(form: str) -> None:
    person = photo_of(IN_MEMORY[form]).people[-1]
    assert person.names == COCO17
    assert_at(person, "coco17", atol=1e-4)
    np.testing.assert_allclose(person.confidence, 0.8)


@pytest.mark.parametrize("form", ["list", "people", "result"])
def test_mediapipes_objects(form: str) -> None:
    marks = [Landmark(*row) for row in rows("mediapipe33", shift=0) / (*SIZE, 1)]
    result = type("Result", (), {"pose_landmarks": [marks]})()
    given = {"list": marks, "people": [marks], "result": result}[form]
    assert_at(photo_of(given, None).people[0], "mediapipe33")


def test_what_is_given_in_memory_is_never_changed() -> None:
    points = ROWS.copy()
    points[3] = [-1, -1, 7]
    before = points.copy()
    photo_of(points)
    np.testing.assert_array_equal(points, before)


def test_flat_lists_of_xy_alone() -> None:
    assert_at(photo_of(flat(ROWS[:, :2])).people[0], "coco17")
    with pytest.raises(ValueError, match=r"17 keypoints, but does not say which"):
        photo_of(flat(ROWS), None)


@pytest.mark.parametrize("what", ["image", "keypoints", "both"])
@pytest.mark.parametrize("address", ["https://example.org/a.json", "s3://bucket/a.json"])
def test_a_url_gets_a_sentence(what: str, address: str) -> None:
    image = None if what == "keypoints" else address.replace("json", "jpg")
    with pytest.raises(ValueError, match=r"is a URL .*Download it first"):
        hmrfit.fit(image, ROWS if what == "image" else address, keypoint_set="coco17", image_size=SIZE)


def test_another_form_is_refused() -> None:
    for form in (3, [{"x": 1}], {"a": 1}, object(), [[10**400, 1, 1]] * 17):
        with pytest.raises((TypeError, ValueError), match="keypoints should"):
            photo_of(form)


# ---- settings


def test_settings_as_a_mapping() -> None:
    fast = {"FIT": {"HYPOTHESES": 2, "START": "library"}, "SEED": 3}
    more = {"keypoint_set": "coco17", "image_size": SIZE}
    nested, dotted = (hmrfit.load_config(c) for c in (fast, {"FIT.HYPOTHESES": 2, "FIT.START": "library", "SEED": 3}))
    assert nested == dotted and nested.FIT.HYPOTHESES == 2
    assert len(hmrfit.fit(None, ROWS, config=fast, **more)) == 1
    with pytest.raises(ValueError, match=r"there is no setting FIT.SIGMAS\. Did you mean 'FIT.SIGMA'"):
        hmrfit.fit(None, ROWS, config={"FIT": {"SIGMAS": 1}}, **more)


def test_openpose25_is_openposes_own_name() -> None:
    assert resolve_set("BODY_25") == resolve_set("OpenPose 25") == OPENPOSE25
