"""The fit store: the best fit known of every person of a data set, on the disk, in step with a run's checkpoint.

    (data set, image, person)  ->  parameters, camera, energy = data + prior, covariance, source, visits, accepted

One SQLite file with a write-ahead log. Everything is of the full image as it is in the file, not augmented; numbers are
little-endian float64 (covariances float32) in blobs whose sizes are known beforehand; nothing is pickled.

A run writes its checkpoint and its fits together, both or neither. Every row carries the step at which it was written:

    commit(N)     one transaction puts the fits of an interval beside the older ones, as of step N
    (the checkpoint of step N is written and renamed)
    confirm(N)    what the new rows replace is removed
    rollback(S)   on resuming a checkpoint of step S: rows of later steps are removed, so their elders count again

So a process may be killed at any point: the next one finds the fits as its checkpoint knew them, and at most what came
after that is lost. Fits that were there before a run (`hmrfit fits init`, `import`) are of step 0. What is put between
two commits stays in memory and is seen by this process only; of several processes each has a `FitStore` of its own on
the same file, and sees those of the others after they all have committed.

    energy of the store     E(t + 1) <= E(t) for every person: `put` keeps the better one, of duplicates too
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera
from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import Meter, brief
from hmrfit.ops.how_many import how_many
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, TensorRecord

VERSION = 1
"""Of the schema; `user_version` of the file."""

APPLICATION = 0x484D5246
"""`application_id` of the file: "HMRF"."""

HEADER = b"SQLite format 3\0"

BUSY_SECONDS = 60.0
"""How long a process waits for another one's transaction."""

MOST_IN_A_ROW = 1 << 20
"""Bytes: SQLite refuses a text, blob or row that is longer. A fit of SMPL's body has 1.6 kB."""

SOURCES = ("keypoint_network", "image_network", "stored", "mirror", "library", "imported", "ground_truth")
"""Where the fit that won began; a store holds their numbers."""

TABLES = {
    "about": "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "fits": (
        "CREATE TABLE fits (data_set TEXT NOT NULL, image TEXT NOT NULL, person TEXT NOT NULL, step INTEGER NOT NULL, "
        "data_energy REAL NOT NULL, prior_energy REAL NOT NULL, source INTEGER NOT NULL, visits INTEGER NOT NULL, "
        "accepted INTEGER NOT NULL, body BLOB NOT NULL, camera BLOB NOT NULL, covariance BLOB NOT NULL, "
        "PRIMARY KEY (data_set, image, person, step)) WITHOUT ROWID"
    ),
}
"""All that may be in the file: no trigger and no view, which would run when the tables are used."""

COLUMNS = "data_energy, prior_energy, source, visits, accepted, body, camera, covariance"
NEWEST = f"SELECT {COLUMNS} FROM fits WHERE data_set = ? AND image = ? AND person = ? AND step <= ? ORDER BY step DESC"
BETTER = "excluded.data_energy + excluded.prior_energy <= data_energy + prior_energy"

NEVER = 1e300
"""The energy of a fit of which none is known: any other is lower. SQLite has no infinity that compares in text."""

Row = tuple[float, float, int, int, int, bytes, bytes, bytes]


class FitKey(NamedTuple):
    """Whose fit it is."""

    data_set: str
    image: str
    person: str


@dataclass(frozen=True)
class StoredFits(TensorRecord):
    """Fits of B people before the full image's camera."""

    params: BodyParams  # float64
    camera: Camera
    covariance: Tensor  # (B, J, 3, 3) rad², of each joint's turn about the camera's axes
    shape_variance: Tensor  # (B, S)
    joint_variance: Tensor  # (B, J) metres², of each joint about the root, the mean of the three axes
    data_energy: Tensor  # (B,)
    prior_energy: Tensor  # (B,)
    source: Tensor  # (B,) int64, a place in SOURCES
    visits: Tensor  # (B,) int64
    accepted: Tensor  # (B,) bool

    def __len__(self) -> int:
        return len(self.params)

    @property
    def energy(self) -> Tensor:
        """(B,)."""
        return self.data_energy + self.prior_energy

    @property
    def known(self) -> Tensor:
        """(B,) bool: whether everything of the fit is a number. What is not does not go into a store."""
        parts = (self.energy, self.params.rotations, self.params.betas, self.params.transl, self.covariance)
        finite = [part.isfinite().flatten(1).all(1) if part.ndim > 1 else part.isfinite() for part in parts]
        return torch.stack([*finite, self.joint_variance.isfinite().all(1)]).all(0)


class FitStore:
    """A store's file, opened by one process."""

    def __init__(
        self, path: str | PathLike[str], energy: str = "", joints: int = len(SMPL), betas: int = 10, step: int = 0
    ) -> None:
        """Opens the file, or makes it.

        Args:
            energy: the name of the energy that its fits are compared by; "" for whatever the file says.
            joints, betas: of the body.
            step: of the checkpoint that it belongs to; rows of later steps are not seen.
        Raises:
            ValueError: another file, another version, another body, another energy.
        """
        self.path, self.joints, self.betas, self.step = Path(path), joints, betas, step
        self._pending: dict[FitKey, Row] = {}
        if self.path.exists():
            check_store(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        self._file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_IN_A_ROW)
        with _described(self.path):
            self._file.execute("PRAGMA trusted_schema = OFF")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._prepare()
            self.energy = self._agree("energy", energy)
            self._agree("joints", str(joints))
            self._agree("betas", str(betas))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; what was put and not committed is gone."""
        self._pending.clear()
        self._file.close()

    # ---- fits

    def get(self, keys: Sequence[FitKey]) -> tuple[StoredFits, Tensor]:
        """(the fits of those people that there are, in their order; which they are (B,) bool)."""
        rows = [self._row(key) for key in keys]
        found = torch.tensor([row is not None for row in rows], dtype=torch.bool)
        return self._decoded([row for row in rows if row is not None]), found

    def put(self, keys: Sequence[FitKey], fits: StoredFits, replace: bool = False) -> None:
        """Keeps the better of each person's fits: of those here, and of the one that is stored. They are on the disk
        after the next `commit`.

        Args:
            replace: a fit takes the stored one's place whatever the energies are (SPIN's rule has another measure).
        """
        fresh: set[FitKey] = set()
        for key, row in zip(keys, self._encoded(fits), strict=True):
            old = self._row(key)
            visits = row[3] if old is None else max(row[3], old[3])
            worse = old is not None and not row[0] + row[1] <= old[0] + old[1]
            kept = old if old is not None and worse and not (replace and key not in fresh) else row
            self._pending[key] = (*kept[:3], visits, *kept[4:])
            fresh.add(key)

    def visit(self, keys: Sequence[FitKey]) -> None:
        """Counts one more visit of each person of whom there is a fit."""
        for key in keys:
            if (row := self._row(key)) is not None:
                self._pending[key] = (*row[:3], row[3] + 1, *row[4:])

    def _row(self, key: FitKey) -> Row | None:
        """The row of a person as this process sees it."""
        if key in self._pending:
            return self._pending[key]
        with _described(self.path):
            row: Row | None = self._file.execute(NEWEST, (*key, self.step)).fetchone()
        return row

    # ---- in step with a checkpoint

    def commit(self, step: int) -> None:
        """Puts on the disk, as of `step` and in one transaction, what was put since the last commit. Of two processes'
        fits of a person the better one stays."""
        insert = f"INSERT INTO fits (data_set, image, person, step, {COLUMNS}) VALUES ({', '.join('?' * 12)})"
        names = COLUMNS.split(", ")
        kept = ", ".join(f"{name} = CASE WHEN {BETTER} THEN excluded.{name} ELSE {name} END" for name in names)
        rows = [(*key, step, *row) for key, row in self._pending.items()]
        with self._transaction():
            self._file.executemany(f"{insert} ON CONFLICT DO UPDATE SET {kept}", rows)
        self._pending.clear()
        self.step = step

    def confirm(self, step: int) -> None:
        """Removes what the rows of `step` replace: the checkpoint of that step is on the disk."""
        newer = "SELECT 1 FROM fits n WHERE n.data_set = f.data_set AND n.image = f.image AND n.person = f.person"
        with self._transaction():
            self._file.execute(
                f"DELETE FROM fits AS f WHERE step < ?1 AND EXISTS ({newer} AND n.step > f.step AND n.step <= ?1)",
                (step,),
            )

    def rollback(self, step: int) -> None:
        """The fits as the checkpoint of `step` knew them: what is later, or was only put, is gone."""
        self._pending.clear()
        with self._transaction():
            self._file.execute("DELETE FROM fits WHERE step > ?", (step,))
        self.step = step

    # ---- the whole store

    @property
    def newest(self) -> int:
        """The step of what was committed last, by any process."""
        with _described(self.path):
            found: int | None = self._file.execute("SELECT max(step) FROM fits").fetchone()[0]
        return found or 0

    def __len__(self) -> int:
        with _described(self.path):
            count: int = self._file.execute(
                "SELECT count(*) FROM (SELECT DISTINCT data_set, image, person FROM fits WHERE step <= ?)", (self.step,)
            ).fetchone()[0]
        return count + sum(1 for key in self._pending if not self._on_disk(key))

    def _on_disk(self, key: FitKey) -> bool:
        return self._file.execute(NEWEST, (*key, self.step)).fetchone() is not None

    def keys(self, data_set: str | None = None) -> Iterator[FitKey]:
        """Everybody of whom there is a committed fit, in the order of their names."""
        query, which = "SELECT DISTINCT data_set, image, person FROM fits WHERE step <= ?", [self.step]
        with _described(self.path):
            for row in self._file.execute(
                query + (" AND data_set = ?" if data_set is not None else "") + " ORDER BY 1, 2, 3",
                which if data_set is None else [*which, data_set],
            ):
                yield FitKey(*row)

    def data_sets(self) -> dict[str, int]:
        """Name -> how many people of it have a committed fit."""
        with _described(self.path):
            query = "SELECT data_set, count(*) FROM (SELECT DISTINCT data_set, image, person FROM fits WHERE step <= ?)"
            return dict(self._file.execute(query + " GROUP BY data_set", (self.step,)))

    def energies(self) -> NDArray[np.float64]:
        """(N, 2) data and prior energy of everybody's committed fit."""
        with _described(self.path):
            newest = "SELECT data_energy, prior_energy, max(step) FROM fits WHERE step <= ?"
            found = self._file.execute(newest + " GROUP BY data_set, image, person", (self.step,)).fetchall()
        return np.array(found, np.float64).reshape(-1, 3)[:, :2]

    def counts(self) -> dict[str, int]:
        """How many committed fits there are of each source, how many were accepted, and how many visits there were."""
        newest = "SELECT source, accepted, visits, max(step) FROM fits WHERE step <= ? GROUP BY data_set, image, person"
        with _described(self.path):
            rows = self._file.execute(newest, (self.step,)).fetchall()
        found = {name: sum(1 for row in rows if row[0] == number) for number, name in enumerate(SOURCES)}
        return {n: c for n, c in found.items() if c} | {
            "accepted": sum(row[1] for row in rows),
            "visits": sum(row[2] for row in rows),
        }

    def copy_to(self, path: str | PathLike[str], energy: str | None = None) -> None:
        """A copy of what is committed in another file, all of it as of step 0: where another run begins.

        Args:
            energy: the name that the copy has for it, where that run compares fits anew; None for the same.
        """
        name = self.energy if energy is None else energy
        with FitStore(path, name, self.joints, self.betas) as other:
            if len(other):
                raise FileExistsError(f"'{path}' holds fits already. Choose another file, or go on with it.")
            self._file.backup(other._file)
            other.rollback(self.step)
            other.confirm(self.step)
            with other._transaction():
                other._file.execute("UPDATE fits SET step = 0")
                other._file.execute("UPDATE about SET value = ? WHERE name = 'energy'", (name,))

    # ---- rows

    def _encoded(self, fits: StoredFits) -> list[Row]:
        orient, pose = fits.params.to_rotvecs()
        parts = (orient, pose, fits.params.betas, fits.params.transl)
        body = torch.cat([part.double().cpu() for part in parts], 1).numpy().astype("<f8")
        cameras = torch.cat([fits.camera.focal, fits.camera.center, fits.camera.size], 1).double().cpu().numpy()
        variances = (fits.covariance.flatten(1), fits.shape_variance, fits.joint_variance)
        covariance = torch.cat(variances, 1).cpu().numpy().astype("<f4")
        numbers = zip(
            fits.data_energy.nan_to_num(NEVER, NEVER).clamp_max(NEVER).tolist(),
            fits.prior_energy.nan_to_num(NEVER, NEVER).clamp_max(NEVER).tolist(),
            fits.source.tolist(),
            fits.visits.tolist(),
            [int(accepted) for accepted in fits.accepted.tolist()],
            strict=True,
        )
        focal_known = fits.camera.focal_known.cpu().numpy()
        cameras = np.concatenate([cameras, focal_known[:, None]], 1).astype("<f8")
        return [
            (*some, body[i].tobytes(), cameras[i].tobytes(), covariance[i].tobytes()) for i, some in enumerate(numbers)
        ]

    def _decoded(self, rows: Sequence[Row]) -> StoredFits:
        J, S = self.joints, self.betas
        meter = Meter(f"'{self.path}'")
        meter.add(len(rows) * (8 * (3 * J + S + 3 + 7) + 12 * (10 * J + S)))
        body = self._numbers([row[5] for row in rows], "<f8", 3 * J + S + 3, "body")
        camera = self._numbers([row[6] for row in rows], "<f8", 7, "camera")
        covariance = self._numbers([row[7] for row in rows], "<f4", 10 * J + S, "covariance")
        orient, pose, betas, transl = body.split([3, 3 * (J - 1), S, 3], 1)
        column = lambda i, kind: torch.tensor([row[i] for row in rows], dtype=kind)  # noqa: E731
        rotations = rotvec_to_matrix(pose.unflatten(1, (J - 1, 3)))
        return StoredFits(
            BodyParams(rotvec_to_matrix(orient), rotations, betas, transl),
            Camera(camera[:, :2], camera[:, 2:4], camera[:, 4:6], camera[:, 6] > 0),
            covariance[:, : 9 * J].unflatten(1, (J, 3, 3)),
            covariance[:, 9 * J : 9 * J + S],
            covariance[:, 9 * J + S :],
            column(0, torch.float64),
            column(1, torch.float64),
            column(2, torch.int64),
            column(3, torch.int64),
            column(4, torch.bool),
        )

    def _numbers(self, blobs: Sequence[bytes], kind: str, count: int, name: str) -> Tensor:
        """(B, count) float64, finite."""
        size = count * np.dtype(kind).itemsize
        for blob in blobs:
            if not isinstance(blob, bytes) or len(blob) != size:
                raise ValueError(
                    f"'{self.path}' is damaged: its {name} of a fit should have {how_many(size, 'bytes')}. Make it "
                    "again, or take "
                    "a copy."
                )
        numbers = np.frombuffer(b"".join(blobs), kind).reshape(-1, count).astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError(f"'{self.path}' is damaged: its {name} of a fit is not finite. Make it again.")
        return torch.from_numpy(numbers)

    # ---- the file

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        with _described(self.path):
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")

    def _prepare(self) -> None:
        """The tables, where the file is new."""
        with self._transaction():
            if self._file.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
                for table in TABLES.values():
                    self._file.execute(table)
                self._file.execute(f"PRAGMA application_id = {APPLICATION}")
                self._file.execute(f"PRAGMA user_version = {VERSION}")

    def _agree(self, name: str, value: str) -> str:
        """What the file says of itself by this name, which has to be `value`; written where nothing was said."""
        with self._transaction():
            row = self._file.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
            if row is None and value:
                self._file.execute("INSERT INTO about VALUES (?, ?)", (name, value))
        said = value if row is None else str(row[0])
        if value and said != value:
            raise ValueError(
                f"'{self.path}' holds fits with {name} {brief(said)}, not {value}, which cannot be compared. Take "
                "another file for these."
            )
        return said


def check_store(path: str | PathLike[str]) -> None:
    """That an existing file is a fit store of this version with nothing in it that would run.

    Raises:
        ValueError: it is something else. FileNotFoundError: there is none.
    """
    check_regular(path, "a fit store")
    with Path(path).open("rb") as file:
        head = file.read(len(HEADER))
    if head and head != HEADER:
        raise ValueError(f"'{path}' is no fit store: it is no SQLite file. Nothing of it was changed.")
    with _described(path):
        connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_IN_A_ROW)
            found = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))
            application, version = (
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
        finally:
            connection.close()
    if not found and not head:
        return
    if application != APPLICATION:
        raise ValueError(f"'{path}' is a SQLite file, but no fit store of hmrfit. Nothing of it was changed.")
    if version != VERSION:
        raise ValueError(
            f"'{path}' is a fit store of version {version}; this hmrfit reads version {VERSION}. Export it with the "
            "hmrfit that wrote it: hmrfit fits export."
        )
    if found != TABLES:
        raise ValueError(f"'{path}' holds other tables than a fit store: {brief(', '.join(sorted(map(str, found))))}.")


def _quoted(path: str | PathLike[str]) -> str:
    """The absolute path as a URI has it."""
    return Path(path).absolute().as_uri().removeprefix("file:")


@contextmanager
def _described(path: str | PathLike[str]) -> Iterator[None]:
    """Errors of SQLite as those of a user's file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise OSError(
                f"'{path}' is being written by another process, and was for {BUSY_SECONDS:.0f} seconds. Try again."
            ) from error
        raise OSError(f"'{path}' could not be read or written: {brief(str(error), 200)}.") from error
    except sqlite3.DatabaseError as error:
        raise ValueError(f"'{path}' is damaged: {brief(str(error), 200)}. Take a copy, or make it again.") from error


# ---- SPIN's files of fits


def as_spin(store: FitStore, keys: Sequence[FitKey]) -> NDArray[np.float64]:
    """(N, 3 J + S) as SPIN keeps them, pose as rotation vectors and betas, in the order of `keys`; 0 for people without
    a fit, as SPIN has them for data sets without fits."""
    found, there = store.get(keys)
    rows = np.zeros((len(keys), 3 * store.joints + store.betas))
    orient, pose = found.params.to_rotvecs()
    rows[there.numpy()] = torch.cat([orient, pose, found.params.betas], 1).numpy()
    return rows


def keys_of_boxes(data_set: str, images: Sequence[str], centers: NDArray[np.float64]) -> list[FitKey]:
    """The keys of people who are known by the middle of their box (N, 2), pixels, in their image: the same in whichever
    order a file has them, and with some of them left out. Of two with the same box, the second one is "x,y,2"."""
    seen: dict[FitKey, int] = {}
    keys = []
    for image, (x, y) in zip(images, centers.tolist(), strict=True):
        key = FitKey(data_set, str(image), f"{x:.1f},{y:.1f}")
        seen[key] = seen.get(key, 0) + 1
        keys.append(key if seen[key] == 1 else key._replace(person=f"{key.person},{seen[key]}"))
    return keys
