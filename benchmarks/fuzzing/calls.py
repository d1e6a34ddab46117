"""Random calls of the public functions: each argument is an ordinary value, or one that is passed by mistake."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hmrfit
from hmrfit.build import load_body
from hmrfit.cli.demo import make_truth
from hmrfit.ops.presence import presence

SIZE = (640, 480)

NUMBERS = (
    0,
    1,
    -1,
    2,
    0.5,
    -500,
    1e-12,
    5e-324,
    1e60,
    1e300,
    -1e300,
    2**31,
    2**63,
    10**400,
    np.nan,
    np.inf,
    -np.inf,
    True,
    np.float32(3),
    np.float16("nan"),
    np.int8(-3),
)
NOT_NUMBERS = (
    None,
    "",
    "one",
    "nan",
    b"x",
    [],
    [1],
    {},
    (),
    1 + 2j,
    {"a": 1},
    [[1, 2], [3]],
    Path("nowhere"),
    ["a"],
    object(),
)
"""Values that some argument does not expect."""


@cache
def person() -> np.ndarray:
    """(17, 3) the demo's true keypoints."""
    xy = make_truth(load_body("free_body"), SIZE[1]).clean.xy[0].numpy()
    return np.concatenate([xy, np.ones((17, 1))], 1)


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    """One of the values, as it is."""
    return values[int(rng.integers(len(values)))]


def any_number(rng: np.random.Generator) -> Any:
    return pick(rng, NUMBERS)


def any_value(rng: np.random.Generator) -> Any:
    return pick(rng, NOT_NUMBERS) if rng.random() < 0.4 else any_number(rng)


def damaged(rng: np.random.Generator, array: np.ndarray) -> Any:
    """The array with some numbers, its shape, its type or its order changed."""
    array = np.array(array, np.float64)
    for _ in range(int(rng.integers(1, 3))):
        how = int(rng.integers(10))
        if how <= 3 and array.size:  # most often: some of its numbers
            places = rng.random(array.shape) < pick(rng, (0.03, 0.3, 1.0))
            value = any_number(rng)
            array[places] = np.nan if isinstance(value, int) and abs(value) > 1e300 else value
        elif how == 4 and array.ndim:
            array = np.repeat(array[:1], len(array), 0)
        elif how == 5 and array.ndim:
            array = array[: int(rng.integers(0, len(array) + 1))]
        elif how == 6 and array.ndim:
            array = array[..., : int(rng.integers(0, array.shape[-1] + 1))]
        elif how == 7:
            array = array[None]
        elif how == 8:
            array = array * pick(rng, (-1.0, 1e-3, 1e3, 1e6, 1e60, 1e-300))
        else:
            array = array.T
    return recast(rng, array)


def recast(rng: np.random.Generator, array: np.ndarray) -> Any:
    """The same numbers as another kind of thing."""
    with np.errstate(all="ignore"):
        forms: tuple[Callable[[np.ndarray], Any], ...] = (
            lambda a: a,
            lambda a: a,
            lambda a: a,
            lambda a: a.tolist(),
            lambda a: a.astype(np.float32),
            lambda a: torch.tensor(a),
            lambda a: np.nan_to_num(a).clip(-1e9, 1e9).astype(int),
            lambda a: a.astype(object),
            lambda a: a.astype(str),
            lambda a: a.astype(complex),
            lambda a: a.astype(np.float16),
            lambda a: [*a.tolist(), None] if a.ndim else None,
        )
        return pick(rng, forms)(array)


def keypoints(rng: np.random.Generator, count: int | None = None) -> Any:
    """Somebody's, at some place of the image; often damaged, sometimes several people."""
    points = person() * [*(2 * [rng.uniform(0.2, 1.2)]), 1.0] + [*rng.uniform(-100, 200, 2), 0]
    points[:, :2] += rng.normal(size=(17, 2)) * pick(rng, (0, 3, 60))
    points[:, 2] = np.where(rng.random(17) < 0.1, 0, pick(rng, (1.0, rng.random())))
    many = int(rng.integers(1, 4)) if count is None and rng.random() < 0.2 else count
    points = points if many is None else np.stack([points + np.array([7.0 * i, 0, 0]) for i in range(many)])
    return damaged(rng, points) if rng.random() < 0.6 else recast(rng, points) if rng.random() < 0.3 else points


def camera(rng: np.random.Generator) -> Any:
    """A camera of the image, some of its numbers damaged."""
    if rng.random() < 0.15:
        return any_value(rng)
    made = hmrfit.Camera.from_size(*SIZE, focal=pick(rng, (None, 600.0, 900.0)))
    if rng.random() < 0.5:
        return made
    parts = {name: getattr(made, name).numpy() for name in ("focal", "center", "size")}
    name = pick(rng, tuple(parts))
    value = damaged(rng, parts[name])
    try:
        parts[name] = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        parts[name] = np.full((1, 2), np.nan)
    return hmrfit.Camera(*(torch.as_tensor(part) for part in parts.values()))


def options(rng: np.random.Generator) -> dict[str, Any]:
    """Arguments of `hmrfit.fit`: most of them left out."""
    one_person = {
        "focal": lambda: pick(rng, ("free", 600, [500, 510], any_value(rng), any_number(rng))),
        "focal_35mm": lambda: pick(rng, (28, any_value(rng))),
        "camera": lambda: camera(rng),
        "image_size": lambda: pick(rng, (SIZE, (any_number(rng), any_number(rng)), any_value(rng))),
        "keypoint_set": lambda: pick(rng, ("coco17", "lsp14", "COCO_17", any_value(rng))),
        "init": lambda: start(rng),
        "init_std": lambda: pick(rng, (5, damaged(rng, np.full(24, 5.0)), any_value(rng))),
        **{kind: lambda kind=kind: [measurement(rng, kind)] for kind in KINDS},
        "measurements": lambda: pick(rng, (any_value(rng), [any_value(rng)], measurement(rng, pick(rng, KINDS)))),
        "up": lambda: pick(rng, ((0, -1, 0), damaged(rng, np.array([0, -1, 0])), any_value(rng))),
        "weights": lambda: pick(rng, ({"anchor": any_number(rng)}, {"mask": 1.0}, {"gmm": 1.0}, any_value(rng))),
        "terms": lambda: pick(rng, ([], ["gmm"], any_value(rng), [any_value(rng)])),
        "config": lambda: pick(rng, ("fit", "nowhere", any_value(rng))),
    }
    asked = {"keypoint_set": "coco17", "image_size": SIZE}
    for name in rng.permutation(list(one_person))[: int(rng.integers(0, 3))]:
        value, argument = one_person[name](), "measurements" if name in KINDS else name
        both = isinstance(value, list) and isinstance(asked.get(argument), list)
        asked[argument] = asked[argument] + value if both else value
    return asked


KINDS = ("mask", "silhouette", "keypoints_3d", "height", "shape", "floor")


def measurement(rng: np.random.Generator, kind: str) -> hmrfit.Measurement:
    """One of a kind, as it should be or not."""
    if kind == "mask":
        return hmrfit.Mask(mask(rng))
    if kind == "silhouette":
        return hmrfit.Silhouette(mask(rng), pick(rng, (100.0, 100.0, any_number(rng))))
    if kind == "keypoints_3d":
        points = 0.3 * rng.normal(size=(17, 4)) + [0, 0, 4, 1]
        xyz = pick(rng, (points, damaged(rng, points), damaged(rng, np.ones((17, 4))), any_value(rng)))
        names, relative = pick(rng, (None, "coco17", any_value(rng))), pick(rng, (False, True, any_value(rng)))
        return hmrfit.Keypoints3D(xyz, names, relative)
    if kind == "height":
        return hmrfit.Height(
            pick(rng, (1.75, [1.8], any_value(rng), any_number(rng))), pick(rng, (None, 0.01, any_value(rng)))
        )
    if kind == "shape":
        betas = pick(rng, (np.zeros(10), damaged(rng, np.zeros(10)), any_value(rng)))
        return hmrfit.Shape(betas, pick(rng, (0.1, any_number(rng))))
    contacts = pick(rng, ((), ["left_heel"], ["x"], None))
    odd = hmrfit.Floor(damaged(rng, np.array([0, -1, 0])), any_number(rng), contacts)
    return pick(rng, (hmrfit.Floor((0, -1, 0), -1.5), odd, hmrfit.Floor(any_value(rng), 1.0)))


def start(rng: np.random.Generator) -> Any:
    """Where to start: the demo's truth, damaged."""
    params = make_truth(load_body("free_body"), SIZE[1]).params
    if rng.random() < 0.2:
        return any_value(rng)
    parts = {name: getattr(params, name) for name in ("global_orient", "body_pose", "betas", "transl")}
    if rng.random() < 0.7:
        name = pick(rng, tuple(parts))
        try:
            parts[name] = torch.as_tensor(np.asarray(damaged(rng, parts[name].numpy()), np.float64))
        except (TypeError, ValueError, OverflowError):
            parts[name] = torch.full_like(parts[name], torch.nan)
    try:
        return hmrfit.BodyParams(**parts)
    except (TypeError, ValueError):  # the record refuses some shapes itself
        return params


def mask(rng: np.random.Generator) -> Any:
    """Of the person: an ellipse, everything, nothing, noise, another size or type."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    whole = np.ones(SIZE[::-1], bool)
    ellipse = ((x - 320) / 120) ** 2 + ((y - 240) / 230) ** 2 < 1
    pixel = np.zeros(SIZE[::-1], bool)
    pixel[240, 320] = True
    almost = whole.copy()
    almost[0, 0] = False
    made = pick(rng, (ellipse, ~ellipse, whole, ~whole, pixel, almost, rng.random(SIZE[::-1]) < 0.5, ellipse[:100]))
    if rng.random() < 0.3:
        made = pick(
            rng,
            (made.astype(float) * np.nan, made * 255, [made], [None], made[None], made.tolist()[:3], any_value(rng)),
        )
    return made


def fit(rng: np.random.Generator) -> Any:
    points = pick(rng, NOT_NUMBERS) if rng.random() < 0.05 else keypoints(rng)
    image = any_value(rng) if rng.random() < 0.05 else None
    return hmrfit.fit(image, points, **options(rng))


def fit_views(rng: np.random.Generator) -> Any:
    count = int(rng.integers(1, 4))
    points = [keypoints(rng, 1) if rng.random() < 0.4 else person() for _ in range(count)]
    turns = np.tile(np.eye(3, 4), (count, 1, 1)) + 0.01 * rng.normal(size=(count, 3, 4))
    turns = pick(rng, (turns, np.tile(np.eye(3, 4), (count, 1, 1)), damaged(rng, turns), any_value(rng)))
    cameras = pick(
        rng,
        (
            None,
            [hmrfit.Camera.from_size(*SIZE)] * count,
            [camera(rng)] * count,
            [any_value(rng)] * count,
            any_value(rng),
        ),
    )
    size = pick(rng, (SIZE, [SIZE] * count, any_value(rng)))
    images = any_value(rng) if rng.random() < 0.05 else [None] * count
    shared = ("measurements", "init", "up", "terms", "weights", "focal")
    more = {k: v for k, v in options(rng).items() if k in shared}
    return hmrfit.fit_views(images, points, turns, keypoint_set="coco17", cameras=cameras, image_size=size, **more)


def fit_sequence(rng: np.random.Generator) -> Any:
    count = int(rng.integers(1, 4))
    points = keypoints(rng, count)
    asked = {"fps": pick(rng, (30, any_value(rng), any_number(rng))) if rng.random() < 0.3 else 25}
    if rng.random() < 0.3:
        asked["smooth"] = pick(rng, (0, 1, any_value(rng), any_number(rng)))
    return hmrfit.fit_sequence(points, **asked, **options(rng))


def make_camera(rng: np.random.Generator) -> Any:
    """A camera from numbers, and a point through it."""
    value = lambda: pick(rng, (640, 480, any_number(rng), any_value(rng)))  # noqa: E731
    if rng.random() < 0.5:
        made = hmrfit.Camera.from_size(value(), value(), focal=pick(rng, (None, value())))
    else:
        K = damaged(rng, np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]))
        made = hmrfit.Camera.from_intrinsics(K, value(), value())
    return made if len(made) != 1 else made.project(torch.tensor([[[0.0, 0.0, 4.0]]], dtype=torch.float64))


def edit_result(rng: np.random.Generator, folder: Path) -> Any:
    """A result saved and read again, one of its arrays damaged."""
    path = folder / "result.npz"
    saved_result(path)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    name = pick(rng, tuple(arrays))
    array = arrays[name]
    with np.errstate(all="ignore"):
        if array.dtype.kind in "fiu":
            value = damaged(rng, array)
            arrays[name] = np.asarray(value, None if not isinstance(value, list) else object)
        else:
            arrays[name] = np.array(pick(rng, ("", "[" * 5000, "{}", "null", "[1]", "\ud800", "x" * 1000, "1e999")))
    if arrays[name].dtype.kind == "O":
        del arrays[name]
    np.savez(path, **arrays)
    result = hmrfit.FitResult.load(path)
    return [str(result), result] if rng.random() < 0.5 else result


def saved_result(path: Path) -> None:
    """The demo's person, fitted once and saved."""
    _result().save(path)


@cache
def _result() -> hmrfit.FitResult:
    return hmrfit.fit(None, person(), keypoint_set="coco17", image_size=SIZE)


def read_array_file(rng: np.random.Generator, folder: Path) -> Any:
    """Keypoints as an npz or a csv with any numbers in it."""
    points = keypoints(rng)
    path = folder / pick(rng, ("k.npz", "k.npy", "k.csv"))
    array = np.asarray(points) if not isinstance(points, torch.Tensor) else points.numpy()
    array = array.astype(str) if array.dtype.kind == "O" else array
    if path.suffix == ".csv":
        rows = array.reshape(-1, array.shape[-1]) if array.ndim and array.size else [[]]
        path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        np.savez(
            path,
            keypoints=array,
            names=pick(rng, (np.array(["nose"]), np.array(hmrfit.keypoint_sets()["coco17"]), np.array(1.0))),
        )
    people = hmrfit.read_keypoints(path, pick(rng, ("coco17", None, any_value(rng))))
    return [p.xy for p in people]


CALLS: dict[str, tuple[float, Callable[..., Any]]] = {
    "fit": (0.55, fit),
    "fit_views": (0.1, fit_views),
    "fit_sequence": (0.1, fit_sequence),
    "Camera": (0.1, make_camera),
    "FitResult.load": (0.05, edit_result),
    "read_keypoints": (0.1, read_array_file),
}
"""(how often, what)."""


def draw(rng: np.random.Generator) -> str:
    """The name of a call."""
    share = np.array([share for share, _ in CALLS.values()])
    return list(CALLS)[int(rng.choice(len(share), p=share / share.sum()))]


def call(name: str, rng: np.random.Generator, folder: Path) -> Any:
    """Makes the call and returns what it returns."""
    function = CALLS[name][1]
    return function(rng, folder) if name in ("FitResult.load", "read_keypoints") else function(rng)


def numbers(value: Any, name: str = "result") -> dict[str, np.ndarray]:
    """Everything that a returned value says in numbers, by name."""
    if isinstance(value, hmrfit.FitResult):
        params = {
            f"params {i}": torch.cat([t.flatten(1) for t in (p.rotations, p.betas, p.transl)], 1).numpy()
            for i, p in enumerate([value.params, *value.hypotheses])
        }
        said = {
            "cost": value.cost,
            "joints": value.joints,
            "projected": value.projected.xy.numpy(),
            "keypoints": value.keypoints.xy.numpy(),
            "focal": value.camera.focal.numpy(),
            "reprojection_error": value.reprojection_error[presence(value.keypoints.confidence).any(-1).numpy()],
        }
        said |= {f"cost of {term}": cost for term, cost in value.term_cost.items()}
        return params | said | ({} if value.posterior is None else {"joint_std": value.joint_std})
    if isinstance(value, list | tuple):
        return {f"{i}, {k}": v for i, part in enumerate(value) for k, v in numbers(part, name).items()}
    if isinstance(value, torch.Tensor | np.ndarray):
        return {name: np.asarray(value)}
    return {}
