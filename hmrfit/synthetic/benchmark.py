"""A benchmark that anyone can make: rendered people with the whole truth, laid out as the field's datasets are.

    ROOT/card.json                                      what it was made of; a run that was stopped goes on
    ROOT/images/im0001.jpg ...                          as LSP; the same pictures under the other datasets' names:
    ROOT/images/S9_Walking_1.60457274_000001.jpg ...,   ROOT/mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg ...,
    ROOT/imageFiles/walk_00/image_00000.jpg ...
    ROOT/data/lsp/im0001_segmentation.png               0 or 255: what is seen of the person, as UPi-S1h
    ROOT/data/lsp/im0001_part_segmentation.png          0, or 1 to 6: head, torso, right, left arm, right, left leg
    ROOT/dataset_extras/lsp_dataset_test.npz ...        SPIN's format (`hmrfit.datasets.spin_npz`), one each protocol
    ROOT/truth.npz                                      what that format has no room for: `BenchmarkTruth`

Person n depends on the seed and n alone. The keypoints that a fit may see are the field `openpose`: noisy, some
missing, none outside of the image. `part` has LSP's 14 joints as they truly are; boxes are around those, as LSP's are.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import PIXEL_CENTER, Camera
from hmrfit.datasets.download import boxes, spin_slots
from hmrfit.datasets.human36m import FRONTAL
from hmrfit.datasets.human36m import JOINTS as H36M_JOINTS
from hmrfit.datasets.mpi_inf_3dhp import TEST_SEQUENCES
from hmrfit.datasets.spin_npz import SpinDataset, write_spin_npz
from hmrfit.io.atomic import atomic_write, write_npz
from hmrfit.io.bounded import read_json, read_npz
from hmrfit.io.image import Image, write_image
from hmrfit.io.opencv import cv2
from hmrfit.keypoints import LSP14, OPENPOSE25, SPIN24
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import label_faces
from hmrfit.synthetic.dataset import PersonRenderer, scene_generator
from hmrfit.synthetic.people import Corruption, People, Views, people_from_points
from hmrfit.types import BodyParams, TensorRecord

VERSION = 1
"""Of the pictures; raise it when the same seed makes others."""

SIZES = ((288, 384), (320, 320), (384, 288), (256, 384))
"""(width, height) of the images, pixels: twice LSP's, whose people are 150 pixels tall."""

FILL = (0.6, 0.9)
"""The person's largest extent as a fraction of the image's shorter side."""
DETECTIONS = Corruption(noise=0.01, missing=0.1, truncated=True)
"""Of the field `openpose`."""
OCCLUDED, ROOMS = 0.2, 0.04
"""Probabilities: behind something; in a room with soft shadows, which takes twenty times as long."""

H36M_ACTIONS = {"walk": "Walking", "Greeting": "Greeting", "Sitting_Exit": "Sitting"}
"""Classes of motion that Human3.6M has too; the others keep their names, so its protocols find them as actions."""
CAMERAS = (FRONTAL, "54138969", "55011271", "58860488")

H36M17_NAMES = tuple(H36M_JOINTS)
NAMES = tuple(dict.fromkeys((*OPENPOSE25, *SPIN24, *H36M17_NAMES)))
"""Every point with a truth."""


@dataclass(frozen=True)
class LabelledPoses:
    """World poses to draw from, y up, rotation vectors."""

    poses: Tensor  # (N, 24, 3)
    weight: Tensor  # (N,)
    label: tuple[str, ...]  # (N,) what the person does
    origin: str  # where they are from, in words

    def fingerprint(self) -> str:
        """A checksum of the numbers."""
        return hashlib.sha256(
            self.poses.double().numpy().tobytes() + self.weight.double().numpy().tobytes()
        ).hexdigest()


@dataclass(frozen=True)
class BenchmarkTruth(TensorRecord):
    """Of N people, in the full image's own camera."""

    params: BodyParams  # camera frame, metres
    camera: Camera
    action: tuple[str, ...]  # what they do

    def __len__(self) -> int:
        return len(self.params)


@dataclass(frozen=True)
class _Person:
    """One person of the benchmark before it is drawn."""

    people: People  # of one
    pose: Tensor  # (24, 3)
    action: str
    generator: torch.Generator  # what the picture is drawn with


class Benchmark:
    """The people of one seed, by number."""

    def __init__(self, body: SmplBody, pool: LabelledPoses, count: int = 1000, seed: int = 0) -> None:
        """
        Args:
            body: SMPL-format, float64, in a T-pose at rest, with part labels.
        Raises:
            ValueError: the body has no part labels.
        """
        if body.part_labels is None:
            raise ValueError("The synthetic benchmark needs a body with part labels; the free body has them.")
        self.body, self.pool, self.count, self.seed = body, pool, count, seed
        self.points, self.renderer = body.points(NAMES), PersonRenderer(body)
        self.face_labels = label_faces(body.part_labels, body.faces)

    def card(self) -> dict[str, object]:
        """What the files depend on."""
        return {
            "benchmark": "hmrfit synthetic",
            "version": VERSION,
            "people": self.count,
            "seed": self.seed,
            "poses": self.pool.origin,
            "poses_sha256": self.pool.fingerprint(),
        }

    def person(self, index: int) -> _Person:
        """The n-th person and their camera."""
        generator = scene_generator(self.seed, index)
        row = int(torch.multinomial(self.pool.weight, 1, generator=generator))
        size = SIZES[int(torch.randint(len(SIZES), (1,), generator=generator))]
        pose, views = self.pool.poses[row].double(), Views(size=size, fill=FILL)
        people = people_from_points(self.points, pose[None], generator, views, DETECTIONS)
        return _Person(people, pose, self.pool.label[row], generator)

    def draw(self, person: _Person) -> tuple[Image, NDArray[np.bool_], NDArray[np.uint8]]:
        """(picture (H, W, 3), where the person is visible (H, W), part labels (H, W))."""
        params, camera = person.people.params, person.people.camera
        drawn = self.renderer.draw(params, person.pose[0], camera, person.generator, ROOMS, OCCLUDED)
        labels = BuiltinRenderer().parts(self.body(params).mesh, self.body.faces, camera, self.face_labels)
        parts = np.where(drawn.mask, labels[0].numpy(), 0).astype(np.uint8)
        return drawn.image, parts > 0, parts


def make_benchmark(root: str | os.PathLike, benchmark: Benchmark) -> None:
    """Writes everything below `root`; what is already there stays, so a run that was stopped goes on.

    Raises:
        ValueError: `root` holds another benchmark. OSError: see `atomic.atomic_write`.
    """
    root = Path(root)
    _claim(root, benchmark.card())
    people = []
    for index in tqdm(range(benchmark.count), desc="drawing people", unit="person", disable=None):
        person = benchmark.person(index)
        people.append(person)
        paths = [root / path for path in paths_of(index)]
        if not all(path.exists() for path in paths):
            image, mask, parts = benchmark.draw(person)
            _write_png(paths[1], mask.astype(np.uint8) * 255)
            _write_png(paths[2], parts)
            write_image(paths[0], image)
    _write_truth(root, people, benchmark)


def _claim(root: Path, card: dict[str, object]) -> None:
    """Writes the card, or checks that the one that is there is the same."""
    path = root / "card.json"
    if path.exists():
        found = read_json(path)
        other = [name for name in card if found.get(name) != card[name]]
        if other:
            differences = "; ".join(f"{name} {found.get(name)}, not {card[name]}" for name in other)
            raise ValueError(
                f"'{root}' holds another synthetic benchmark ({differences}). Give another folder, or delete it."
            )
        return
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def is_whole(root: str | os.PathLike) -> bool:
    """Has a run of `make_benchmark` come to its end here? The truth is written last."""
    return (Path(root) / "truth.npz").exists()


def paths_of(index: int) -> tuple[str, str, str]:
    """Image, mask and part map of the n-th person, n from 0, below the root."""
    name = f"im{index + 1:04d}"
    return f"images/{name}.jpg", f"data/lsp/{name}_segmentation.png", f"data/lsp/{name}_part_segmentation.png"


def h36m_image(index: int, action: str) -> str:
    """The n-th person's image in Human3.6M's way: subjects and cameras in turn."""
    subject, camera = ("S9", "S11")[index // 4 % 2], CAMERAS[index % 4]
    return f"images/{subject}_{H36M_ACTIONS.get(action, _word(action))}_1.{camera}_{index + 1:06d}.jpg"


def mpi_inf_3dhp_image(index: int) -> str:
    """In MPI-INF-3DHP's way: test sequences in turn."""
    return f"{TEST_SEQUENCES[index % len(TEST_SEQUENCES)]}/imageSequence/img_{index + 1:06d}.jpg"


def threedpw_image(index: int, action: str) -> str:
    """In 3DPW's way: a sequence for each class of motion."""
    return f"imageFiles/{_word(action)}_00/image_{index:05d}.jpg"


def _word(action: str) -> str:
    return action.replace(" ", "_")


def _link(source: Path, path: Path) -> None:
    """The same picture under another name, without using the disk twice where it can be helped."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:
        shutil.copyfile(source, path)


def _write_png(path: Path, labels: NDArray[np.uint8]) -> None:
    """Of one channel, so that labels stay labels."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", labels)[1].tobytes())


def _write_truth(root: Path, persons: list[_Person], benchmark: Benchmark) -> None:
    """The npz files; `truth.npz` last."""
    people, actions = People.cat([person.people for person in persons]), [person.action for person in persons]
    for name, dataset in datasets_of(people, actions, benchmark).items():
        write_spin_npz(root / "dataset_extras" / name, dataset)
    for index, action in enumerate(actions):
        for path in (h36m_image(index, action), mpi_inf_3dhp_image(index), threedpw_image(index, action)):
            _link(root / paths_of(index)[0], root / path)
    params, camera = people.params, people.camera
    orient, pose = params.to_rotvecs()
    truth = {
        "pose": torch.cat([orient, pose], 1).numpy(),
        "betas": params.betas.numpy(),
        "transl": params.transl.numpy(),
        "focal": camera.focal.numpy(),
        "center": camera.center.numpy(),
        "size": camera.size.numpy(),
        "action": np.array(actions),
    }
    write_npz(root / "truth.npz", truth)


def read_truth(root: str | os.PathLike) -> BenchmarkTruth:
    """What `make_benchmark` wrote.

    Raises:
        FileNotFoundError: there is no such benchmark, or it is not finished.
    """
    path = Path(root) / "truth.npz"
    if not path.exists():
        raise FileNotFoundError(f"There is no '{path}': no synthetic benchmark was finished in '{root}'.")
    arrays = read_npz(path)
    try:
        action = tuple(arrays.pop("action").tolist())
        data = {name: torch.as_tensor(array) for name, array in arrays.items()}
        return _truth(data, action)
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"'{path}' is damaged ({type(error).__name__}: {error}). Make the benchmark anew.") from error


def _truth(data: dict[str, torch.Tensor], action: tuple[str, ...]) -> BenchmarkTruth:
    params = BodyParams.from_rotvecs(data["pose"][:, :3], data["pose"][:, 3:], data["betas"], data["transl"])
    return BenchmarkTruth(params, Camera(data["focal"], data["center"], data["size"]), action)


def datasets_of(people: People, actions: Sequence[str], benchmark: Benchmark) -> dict[str, SpinDataset]:
    """SPIN's file name -> the people as that dataset would have them. Nobody has a gender: nor has the body."""
    at = {name: i for i, name in enumerate(NAMES)}
    clean = people.clean.xy.numpy() - PIXEL_CENTER  # annotators' pixels: centres at integers
    points = benchmark.points.pose(people.params).points.numpy()
    lsp, h36m = ([at[name] for name in names] for names in (LSP14, H36M17_NAMES))
    center, scale = boxes(clean[:, lsp])
    images, masks, parts = (np.array(paths) for paths in zip(*map(paths_of, range(len(people.joints))), strict=True))
    orient, pose = people.params.to_rotvecs()
    S = spin_slots(points[:, h36m] - points[:, [at["pelvis_h36m"]]], H36M17_NAMES)
    everybody = SpinDataset(
        images,
        center,
        scale,
        openpose=_detections(people, at),
        pose=torch.cat([orient, pose], 1).numpy(),
        shape=people.params.betas.numpy(),
    )
    count = range(len(images))
    protocol1 = replace(everybody, imgname=np.array([h36m_image(i, actions[i]) for i in count]), S=S)
    return {
        "lsp_dataset_test.npz": replace(
            everybody, part=spin_slots(clean[:, lsp], LSP14), maskname=masks, partname=parts
        ),
        "h36m_valid_protocol1.npz": protocol1,
        "h36m_valid_protocol2.npz": protocol1[[i for i in count if CAMERAS[i % 4] == FRONTAL]],
        "mpi_inf_3dhp_valid.npz": replace(
            everybody,
            imgname=np.array([mpi_inf_3dhp_image(i) for i in count]),
            part=spin_slots(clean[:, h36m], H36M17_NAMES),
            S=S,
        ),
        "3dpw_test.npz": replace(
            everybody,
            imgname=np.array([threedpw_image(i, actions[i]) for i in count]),
            gender=np.full(len(images), "n"),
        ),
    }


def _detections(people: People, at: dict[str, int]) -> NDArray[np.float64]:
    """(N, 25, 3) x, y, confidence of the noisy keypoints."""
    index = [at[name] for name in OPENPOSE25]
    confidence = people.keypoints.confidence[:, index, None].numpy()
    xy = people.keypoints.xy[:, index].numpy() - PIXEL_CENTER
    return np.concatenate([np.where(confidence > 0, xy, 0.0), confidence], -1)
