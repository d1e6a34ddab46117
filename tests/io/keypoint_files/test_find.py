"""Which people are in which photograph: paths as far as the file gives them, numbers that count alike."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.io.keypoint_files import KeypointSource, PersonKeypoints, find_keypoint_file, people_in_image
from hmrfit.io.keypoint_files.find import ImageIndex, path_parts
from hmrfit.io.photo import find_people
from hmrfit.keypoints import COCO17


def person(image: str | None, **more: object) -> PersonKeypoints:
    """A person whose file calls the photograph so."""
    return PersonKeypoints(
        COCO17, np.ones((17, 2)), np.ones(17), Path("keypoints/file.json"), str(image), image, **more
    )


def found(named: list[str], image: Path | str, **more: object) -> list[str | None]:
    """What the file calls the photographs of the people that are found for an image."""
    return [p.image for p in people_in_image([person(name, **more) for name in named], image)]


def touch(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


# Paths


@pytest.mark.parametrize(
    ("named", "parts"),
    [
        ("images\\a.jpg", ("images", "a.jpg")),
        ("..\\label\\12.jpg", ("label", "12.jpg")),
        ("./a.jpg", ("a.jpg",)),
        ("C:\\x\\y\\a.jpg", ("x", "y", "a.jpg")),
        ("/x//y/a.jpg", ("x", "y", "a.jpg")),
        ("", ()),
        ("a", ("a",)),
        ("s3://bucket/cam1/a.jpg", ("bucket", "cam1", "a.jpg")),
        ("x/../y\\a.jpg", ("y", "a.jpg")),
    ],
)
def test_the_parts_of_a_path(named: str, parts: tuple[str, ...]) -> None:
    assert path_parts(named) == parts


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_folders_distinguish_two_photographs_of_one_name(tmp_path: Path, separator: str) -> None:
    named = [f"cam1{separator}0001.jpg", f"cam2{separator}0001.jpg"]
    for folder, own in zip(("cam1", "cam2"), named, strict=True):
        assert found(named, tmp_path / folder / "0001.jpg") == [own]
    assert found(named[:1], touch(tmp_path / "cam2" / "0001.jpg", "2")) == named[:1]  # cam1 may have been renamed
    touch(tmp_path / "cam1" / "0001.jpg", "1")
    assert found(named[:1], tmp_path / "cam2" / "0001.jpg") == []  # but there it is
    assert found(named, tmp_path / "cam3" / "0001.jpg") == []


def test_the_file_knows_the_folder_and_has_no_person_there(tmp_path: Path) -> None:
    assert found(["cam1/0001.jpg", "cam2/0002.jpg"], tmp_path / "cam2" / "0001.jpg") == []


def test_outer_folders_may_be_those_of_another_machine(tmp_path: Path) -> None:
    named = ["C:\\rec\\cam1\\0001.jpg", "C:\\rec\\cam2\\0001.jpg"]
    assert found(named, tmp_path / "mine" / "cam2" / "0001.jpg") == named[1:]
    touch(tmp_path / "cam1" / "0001.jpg", "1")
    touch(tmp_path / "cam2" / "0001.jpg", "2")
    assert found(named[:1], tmp_path / "cam2" / "0001.jpg") == []


def test_a_renamed_folder_is_remarked_on() -> None:
    (one,) = people_in_image([person("images\\a.jpg")], "photographs/a.jpg")
    assert "'images\\a.jpg'" in one.warnings[0]
    (same,) = people_in_image([person("photographs\\a.jpg")], "photographs/a.jpg")
    assert same.warnings == ()


def test_names_with_another_suffix(tmp_path: Path) -> None:
    assert found(["a.png"], tmp_path / "a.jpg") == ["a.png"]  # converted
    touch(tmp_path / "a.png")
    assert found(["a.png"], tmp_path / "a.jpg") == []
    assert found(["a.png", "a.jpg"], tmp_path / "a.jpg") == ["a.jpg"]
    assert found(["a"], tmp_path / "a.jpg") == ["a"]
    assert found(["a.b"], tmp_path / "a.b.jpg") == ["a.b"]


@pytest.mark.parametrize(
    ("named", "name"),
    [
        ("images\\A.JPG", "a.jpg"),
        ("images/Zoe\u0308.jpg", "Zo\u00eb.jpg"),
        ("images%5Ca%201.jpg", "a 1.jpg"),
        ("/data/local-files/?d=images%2Fa.jpg", "a.jpg"),
        ("https://host/images/a.jpg?token=3", "a.jpg"),
    ],
)
def test_names_of_other_systems(tmp_path: Path, named: str, name: str) -> None:
    assert found([named], tmp_path / "images" / name) == [named]
    assert found([named, f"images/{name}"], tmp_path / "images" / name) == [f"images/{name}"]  # the same name first


def test_a_photograph_beside_whose_name_differs_in_capitals_is_another(tmp_path: Path) -> None:
    touch(tmp_path / "A.jpg"), touch(tmp_path / "a.jpg")
    assert found(["A.jpg"], tmp_path / "a.jpg") == []


def test_a_backslash_may_belong_to_a_name(tmp_path: Path) -> None:
    assert found(["x\\a.jpg"], tmp_path / "x\\a.jpg") == ["x\\a.jpg"]


def test_people_without_an_image_name_are_in_every_one() -> None:
    people = [person(None), person("a.jpg"), person("b.jpg")]
    assert people_in_image(people, "a.jpg") == people[:2]


NAMES = st.text(st.sampled_from("ab0/\\. :é"), max_size=12)


@given(st.lists(NAMES, max_size=6), st.text(st.sampled_from("ab0. é"), min_size=1, max_size=6))
def test_any_names_are_compared(named: list[str], name: str) -> None:
    """Nothing is raised but that numbers disagree, and each person is found at most once, in order."""
    people = [person(n) for n in named]
    try:
        rows = [int(p.person_id == p.image) for p in people_in_image(people, Path("folder") / name)]
    except ValueError as error:
        assert "cannot be known" in str(error)
    else:
        assert len(rows) <= len(people)


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=3), st.sampled_from(["x", "y"]), st.booleans())
def test_a_path_finds_itself_however_it_is_written(folders: list[str], name: str, windows: bool) -> None:
    inner = [*folders, f"{name}.jpg"]
    written = ("\\" if windows else "/").join(inner)
    assert found([written, "q/other.jpg"], Path("/root", *inner)) == [written]


# Numbers


def frames(folder: Path, numbers: range) -> list[Path]:
    return [touch(folder / f"frame_{i:04d}.jpg") for i in numbers]


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(("first", "low"), [(1, 0), (0, 1)])
def test_the_first_is_the_first(tmp_path: Path, first: int, low: int, complete: bool) -> None:
    images = frames(tmp_path, range(first, first + 3))
    named = [str(low + i) for i in range(3)]
    more = {"frames": (low, low + 2)} if complete else {}
    for image, own in zip(images, named, strict=True):
        (one,) = people_in_image([person(n, **more) for n in named], image)
        assert one.image == own
        assert f"begin with number {low}" in one.warnings[0]


def test_frames_without_people_count(tmp_path: Path) -> None:
    images = frames(tmp_path, range(1, 6))
    named = ["1", "3"]  # of frames 0 to 4
    assert [found(named, image, frames=(0, 4)) for image in images] == [[], ["1"], [], ["3"], []]


@pytest.mark.parametrize("photographs", [range(1, 3), range(1, 5), range(0, 4)])
def test_other_counts_are_refused(tmp_path: Path, photographs: range) -> None:
    images = frames(tmp_path, photographs)
    with pytest.raises(ValueError, match=r"frames 0 to 2.*cannot be known which"):
        found(["0", "1", "2"], images[-1], frames=(0, 2))


def test_equal_numbers_are_equal(tmp_path: Path) -> None:
    images = frames(tmp_path, range(3))
    assert [found(["0", "1", "2"], image, frames=(0, 2)) for image in images] == [["0"], ["1"], ["2"]]
    (one,) = people_in_image([person("2", frames=(0, 2))], images[2])
    assert one.warnings == ()


def test_some_frames_of_a_video_are_remarked_on(tmp_path: Path) -> None:
    image = touch(tmp_path / "frame_0010.jpg")
    (one,) = people_in_image([person(str(i), frames=(0, 99)) for i in range(100)], image)
    assert one.image == "10"
    assert "begin with number 10" in one.warnings[0]


def test_numbers_of_a_dataset_are_those_of_its_files(tmp_path: Path) -> None:
    images = [touch(tmp_path / f"{i:012d}.jpg") for i in (139, 785, 9999)]
    assert [found(["139", "785"], image) for image in images] == [["139"], ["785"], []]
    zero = frames(tmp_path / "b", range(4))
    assert [found(["1", "2", "3"], image) for image in zero] == [
        [],
        ["1"],
        ["2"],
        ["3"],
    ]  # no person was seen in the first


def test_the_own_file_of_a_photograph_has_one_frame(tmp_path: Path) -> None:
    image = frames(tmp_path, range(1, 4))[1]
    own = PersonKeypoints(COCO17, np.ones((17, 2)), np.ones(17), tmp_path / "frame_0002.json", image="0", frames=(0, 0))
    assert people_in_image([own], image) == [own]


def test_frames_of_mmpose_are_listed_with_those_without_people(tmp_path: Path) -> None:
    instance = {"keypoints": np.full((17, 2), 9.0).tolist(), "keypoint_scores": [1.0] * 17}
    content = [{"frame_id": i, "instances": [instance] if i == 1 else []} for i in range(3)]
    path = touch(tmp_path / "video.json", json.dumps(content))
    images = frames(tmp_path / "images", range(1, 4))
    assert [len(KeypointSource("coco17").people(images[i], path)) for i in (1,)] == [1]
    with pytest.raises(ValueError, match="has no person in"):
        find_people(images[0], path, "coco17")


# Files


def test_a_folder_of_the_photographs_own_name_comes_first(tmp_path: Path) -> None:
    image = tmp_path / "images" / "cam1" / "0001.jpg"
    outer = touch(tmp_path / "kp" / "0001.json")
    assert find_keypoint_file(image, tmp_path / "kp") == outer
    inner = touch(tmp_path / "kp" / "cam1" / "0001.json")
    assert find_keypoint_file(image, tmp_path / "kp") == inner
    assert find_keypoint_file(tmp_path / "images" / "cam2" / "0001.jpg", tmp_path / "kp") == outer


def test_our_results_are_no_keypoints(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", format=np.array("hmrfit result 1"), keypoints=np.zeros((1, 17, 3)))
    assert find_keypoint_file("a.jpg", tmp_path) is None
    np.savez(tmp_path / "a.npz", keypoints=np.zeros((1, 17, 3)))
    assert find_keypoint_file("a.jpg", tmp_path) == tmp_path / "a.npz"


def test_the_error_names_both(tmp_path: Path) -> None:
    content = {"format": "coco17", "keypoints": [[1, 2, 1]] * 17, "image": "b.jpg"}
    path = touch(tmp_path / "a.json", json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json' has no person in .*a\.jpg': it is about 'b\.jpg'"):
        find_people(tmp_path / "a.jpg", path)


def test_a_datasets_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(30)]
    annotations = [{"id": i, "image_id": i, "keypoints": [5, 6, 2] * 17} for i in range(30)]
    path = touch(tmp_path / "d.json", json.dumps({"images": images, "annotations": annotations}))
    reads = []
    read = __import__("hmrfit.io.keypoint_files.find", fromlist=["read_keypoints"]).read_keypoints
    monkeypatch.setattr(
        "hmrfit.io.keypoint_files.find.read_keypoints", lambda *given: reads.append(given) or read(*given)
    )
    source = KeypointSource()
    assert [source.people(tmp_path / f"{i}.jpg", path)[0].person_id for i in range(30)] == [str(i) for i in range(30)]
    assert len(reads) == 1
    touch(path, "[]")
    assert source.people(tmp_path / "1.jpg", path) == []
    touch(path, "{")
    for _ in range(2):
        with pytest.raises(ValueError, match="is not JSON"):
            source.people(tmp_path / "1.jpg", path)
    assert len(reads) == 3


def test_windows_paths_lead_to_files(tmp_path: Path) -> None:
    image, mask = touch(tmp_path / "im" / "a.jpg"), touch(tmp_path / "masks" / "a.png")
    one = PersonKeypoints(
        COCO17, np.ones((17, 2)), np.ones(17), tmp_path / "a.json", image="im\\a.jpg", mask=".\\masks\\a.png"
    )
    assert (one.image_path, one.mask_path.resolve()) == (image, mask.resolve())
    literal = touch(tmp_path / "im\\a.jpg")
    assert one.image_path == literal
    assert person("x" * 5000).image_path is None
    assert person("a\0b").image_path is None


def test_the_index_is_linear_in_the_people() -> None:
    """Many photographs are looked up, each by what it finds."""
    index = ImageIndex([person(f"cam{i % 7}/{i}.jpg") for i in range(5_000)])
    assert all(len(index.of(Path(f"/r/cam{i % 7}/{i}.jpg"))) == 1 for i in range(0, 5_000, 4))
