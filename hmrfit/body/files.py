"""Body files: SMPL's layout in `.npz` or `.pkl`, read without running anything, checked, and written as `.npz`.

    v_template (V, 3) metres    shapedirs (V, 3, S)    posedirs (V, 3, 9(J-1))    J_regressor (J, V)
    weights (V, J)              kintree_table (2, J): parents, own numbers        f (F, 3): faces, from 0

SMPL, SMPL-H, MANO and SMPL-X files all have these seven; whatever other arrays they bring is kept. A sparse matrix X
may stand in an npz as X_row, X_col, X_data and X_shape.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hmrfit.body.left_shapes import with_left_shapes
from hmrfit.body.skeleton import skeleton_of
from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import check_regular, read_npz
from hmrfit.io.budget import Meter, TooLarge, check_bytes
from hmrfit.io.pickles import RefusedFile, dense_from_triplets, read_pickle
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.ops.how_many import how_many

PATTERNS = {
    "v_template": "V 3",
    "kintree_table": "2 J",
    "shapedirs": "V 3 S",
    "J_regressor": "J V",
    "weights": "V J",
    "f": "F 3",
}
MOST_JOINTS = 1000
"""SMPL-X has 55, and no body nearly as many; poses are worked out joint after joint."""

WEIGHT_SUM_TOLERANCE = 1e-3
"""How far the skinning weights of a vertex may be from 1 in total: files in half precision are off by 5e-4."""


def read_body_file(path: str | Path, as_stored: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a body file, checked. Faces and tree come as int64, the root's parent as -1; the rest as stored,
    but for the shapes of MANO's left hand (`left_shapes`).

    Fields that are no arrays of numbers or text (such as SMPL-X's joint2num) are left out.

    Args:
        as_stored: with the shapes of MANO's left hand as they are in the file.
    Raises:
        FileNotFoundError: no such file.
        RefusedFile: damaged, hostile, too large, or neither an npz nor a pickle; nothing of it was run.
        ValueError: readable, but not a body; the message says which field is missing or wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no body file '{path}'. hmrfit.assets.locate knows where bodies are looked for."
        )
    check_regular(path)
    data = _read_npz(path) if zipfile.is_zipfile(path) else _read_pickled(path)
    try:
        check_body(data)
    except (ValueError, TypeError) as error:
        raise type(error)(f"'{path}' is not a body in SMPL's format: {error}") from None
    check_bytes(sum(array.nbytes + 8 * array.size for array in data.values()), f"'{path}'")
    parents = np.concatenate([[-1], data["kintree_table"][0, 1:]])
    tree = np.stack([parents, np.arange(len(parents))]).astype(np.int64)
    data = {**data, "f": data["f"].astype(np.int64), "kintree_table": tree}
    return data if as_stored else with_left_shapes(data)


def write_body_npz(path: str | Path, data: Mapping[str, ArrayLike]) -> None:
    """Writes a checked body as a compressed npz, atomically; the same arrays give the same bytes.

    Raises:
        ValueError: not a body, or the name does not end in .npz. OSError: see `atomic_write`.
    """
    if Path(path).suffix != ".npz":
        raise ValueError(f"A body is written as .npz; '{path}' ends otherwise. Choose a name such as body.npz.")
    arrays = {name: np.asarray(value) for name, value in data.items()}
    if objects := [name for name, array in arrays.items() if array.dtype.kind == "O"]:
        raise ValueError(f"{objects} hold Python objects; a body file has arrays of numbers and text only.")
    check_body(arrays)
    write_npz(path, arrays)


def check_body(data: Mapping[str, np.ndarray]) -> None:
    """That `data` is a body in SMPL's format: fields, shapes, finite numbers, weights, tree and faces.

    Raises:
        ValueError: says what was expected and what was found.
    """
    missing = [name for name in (*PATTERNS, "posedirs") if name not in data]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}. It has {', '.join(sorted(map(str, data))) or 'nothing'}.")
    sizes: dict[str, int] = {}
    for name, pattern in PATTERNS.items():
        sizes = check_shape(data[name], pattern, name, sizes)
    if not 0 < sizes["J"] <= MOST_JOINTS or not sizes["V"]:
        raise ValueError(
            f"it has {how_many(sizes['V'], 'vertices')} and {how_many(sizes['J'], 'joints')}; a body has at most "
            f"{MOST_JOINTS} joints."
        )
    columns, hint = 9 * (sizes["J"] - 1), "It holds 9 columns per joint but the root."
    check_shape(data["posedirs"], f"V 3 {columns}", "posedirs", sizes, hint)
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        _check_floats(data[name], name)
    _check_tree(data["kintree_table"])
    _check_faces(data["f"], sizes["V"])
    _check_weights(data["weights"])
    skeleton_of(data)


def _check_floats(array: np.ndarray, name: str) -> None:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} should hold numbers, not {array.dtype}.")
    check_finite(array, name)


def _check_tree(table: np.ndarray) -> None:
    """Every joint but the first has an earlier one as parent: then it is a tree, and one pass down poses it."""
    if table.dtype.kind not in "fiu":
        raise ValueError(f"kintree_table should hold joint numbers, not {table.dtype}.")
    parents = table[0].astype(np.int64)
    wrong = [i for i in range(1, len(parents)) if not 0 <= parents[i] < i]
    if wrong:
        raise ValueError(
            f"in kintree_table joint {wrong[0]} has the parent {parents[wrong[0]]}; every joint but the first needs an "
            "earlier joint as its parent."
        )


def _check_faces(faces: np.ndarray, vertices: int) -> None:
    if faces.dtype.kind not in "iu":
        raise ValueError(f"f should hold vertex numbers as integers, not {faces.dtype}.")
    if faces.size and (faces.min() < 0 or faces.max() >= vertices):
        raise ValueError(
            f"f names the vertices {faces.min()} to {faces.max()}, but there are {vertices}, counted from 0."
        )


def _check_weights(weights: np.ndarray) -> None:
    off = np.abs(weights.sum(1, dtype=np.float64) - 1)
    if off.max(initial=0) > WEIGHT_SUM_TOLERANCE:
        raise ValueError(
            f"the skinning weights of vertex {off.argmax()} add up to {weights[off.argmax()].sum():.4g}, not 1."
        )


def _read_pickled(path: Path) -> dict[str, np.ndarray]:
    data = read_pickle(path)
    if not isinstance(data, dict):
        raise RefusedFile(f"'{path}' holds a {type(data).__name__}, not a dictionary of arrays.")
    arrays = {str(name): np.asarray(v) for name, v in data.items() if isinstance(v, np.ndarray | np.generic)}
    gender = data.get("gender")
    return arrays | ({"gender": np.asarray(gender)} if isinstance(gender, str | bytes) else {})


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every member that is plain numbers or text; members of Python objects are not opened."""
    try:
        return _with_sparse(read_npz(path, skip_objects=True, what="it"))
    except (RefusedFile, TooLarge) as error:
        raise RefusedFile(f"'{path}' was refused: {error}") from None
    except ValueError as error:
        raise RefusedFile(f"'{path}' cannot be read: {error} Fetch or convert it again.") from None


def _with_sparse(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """X_row, X_col, X_data, X_shape -> X."""
    meter = Meter("it")
    parts = ("_row", "_col", "_data", "_shape")
    stems = [name.removesuffix("_shape") for name in data if name.endswith("_shape")]
    for stem in stems:
        if not all(stem + part in data for part in parts):
            continue
        rows, columns, values, shape = (data.pop(stem + part) for part in parts)
        if shape.shape != (2,) or shape.dtype.kind not in "iu":
            raise RefusedFile(
                f"{stem}_shape is no shape of a matrix: it has {how_many(shape.size, 'numbers')} of {shape.dtype}."
            )
        try:
            data[stem] = dense_from_triplets(tuple(shape.tolist()), rows, columns, values, meter)
        except TooLarge as error:
            raise RefusedFile(f"{stem}_shape is {shape.tolist()}, no shape that is read: {error}") from None
    return data
