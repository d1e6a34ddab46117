"""Ray Data: photographs or a table of keypoints, fitted on many machines, the results as a folder of Parquet files.

    read (Parquet)  ->  detect (GPU actors, where photographs have no keypoints)  ->  fit (CPU actors)  ->  write

Each actor builds its engine once. A run that was stopped, by kill -9 too, goes on by Ray's own checkpoint: the ids of
all rows that are written lie in OUT/checkpoint, and are left out of the next run. Rows that cannot be fitted are
written with their reason.

An actor that asks for a whole processor on a machine with two of them leaves none to read and write with, and the run
never begins, and with two a second run with a checkpoint hung too. So a cluster on this machine alone is declared to
have `LOGICAL` processors at least, and gets as many actors as there are cores; in a cluster that others began, actors
leave `RESERVED` processors, and ask for half of one where there are few.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmrfit.engines.fit_rows import FitAsked, RowFitter
from hmrfit.engines.rows import COLUMNS
from hmrfit.io.parquet import arrow_schema, pyarrow
from hmrfit.ops.threads import cores

ROWS_AT_ONCE = 64
"""Of one batch of the fit."""

BLOCK = 2 * ROWS_AT_ONCE
"""Rows of one block, which is fitted by one actor and written as one file: what a stop loses."""

FEW = 4
"""Processors of a cluster below which an actor asks for half of one."""

LOGICAL = 8
"""Processors that a cluster on this machine is declared to have, at least."""

RESERVED = 2
"""Processors that reading and writing keep."""

NEEDED = "This engine is Ray Data, which is not installed: pip install 'hmrfit[ray]'."


def ray() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ray
        import ray.data
        import ray.data.checkpoint
    except ImportError as error:
        raise ImportError(NEEDED) from error
    return ray


def begin_cluster(package: Any, tries: int = 5) -> None:
    """One on this machine. Ray waits half a minute for its own processes, which is little where others are at work."""
    for left in reversed(range(tries)):
        try:
            package.init(num_cpus=max(LOGICAL, cores()), log_to_driver=False, include_dashboard=False)
            return
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise
            package.shutdown()


@dataclass(frozen=True)
class RayRun:
    """What is fitted, and where the results go.

    Args:
        source: a Parquet file or folder of them, with a column `id`, a unique text: people with
            `keypoints` (`hmrfit.io.keypoint_files.parquet_tables`), or a `photograph` each.
        out: a folder that all machines see.
        detect: whether photographs are detected in a stage of their own. actors: of the fit; None: by the cluster.
        gpus: of each actor that detects.
    """

    source: str
    out: str
    asked: FitAsked
    detect: bool = False
    actors: int | None = None
    gpus: float = 0.0

    @property
    def people(self) -> Path:
        """The folder of the results."""
        return Path(self.out) / "people"

    @property
    def checkpoint(self) -> Path:
        """The folder of Ray's checkpoint."""
        return Path(self.out) / "checkpoint"

    def run(self) -> None:
        """Fits what is not there yet. In the cluster that `ray.init` found, or in one on this machine."""
        package = ray()
        if not package.is_initialized() and "RAY_ADDRESS" in os.environ:
            package.init(log_to_driver=False)
        elif not package.is_initialized():
            begin_cluster(package)
        for folder in (self.people, self.checkpoint):
            folder.mkdir(parents=True, exist_ok=True)
        actors, cpus = self._actors(int(package.cluster_resources().get("CPU", 1)))
        context = package.data.DataContext.get_current()
        before = getattr(context, "use_datasource_v2", None)
        checkpoint = package.data.checkpoint.CheckpointConfig(
            id_column="id", checkpoint_path=str(self.checkpoint.resolve()), delete_checkpoint_on_success=False
        )
        checkpoint.checkpoint_actor_pool_max_size = max(1, actors // 2)
        context.checkpoint_config, context.use_datasource_v2 = checkpoint, False
        try:
            flow = self._flow(package, actors, cpus)
            flow.write_parquet(str(self.people.resolve()), mode=package.data.SaveMode.APPEND)
        finally:
            context.checkpoint_config, context.use_datasource_v2 = None, before

    def _flow(self, package: Any, actors: int, cpus: float) -> Any:
        """The stages. cpus: processors of each actor."""
        rows = package.data.read_parquet(self.source).repartition(target_num_rows_per_block=BLOCK)
        if self.detect:
            pool = package.data.ActorPoolStrategy(min_size=1, max_size=max(1, actors // 2))
            rows = rows.map_batches(
                _Detect,
                fn_constructor_args=(self.asked,),
                batch_format="pyarrow",
                batch_size=8,
                compute=pool,
                num_cpus=cpus,
                num_gpus=self.gpus or None,
            )
        return rows.map_batches(
            _Fit,
            fn_constructor_args=(self.asked,),
            batch_format="pyarrow",
            batch_size=ROWS_AT_ONCE,
            compute=package.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=cpus,
        )

    def _actors(self, processors: int) -> tuple[int, float]:
        """(how many fit, processors of each)."""
        cpus = 0.5 if processors < FEW else 1.0
        free = max(1, processors - RESERVED)
        return self.actors or (free if "RAY_ADDRESS" in os.environ else min(cores(), free)), cpus


class _Fit:
    """A worker that fits."""

    def __init__(self, asked: FitAsked) -> None:
        import torch

        torch.set_num_threads(1)
        self.fit, self.schema = RowFitter(asked), arrow_schema(COLUMNS)

    def __call__(self, batch: Any) -> Any:
        return pyarrow().Table.from_pylist(self.fit(batch.to_pylist()), self.schema)


class _Detect:
    """A worker that detects: what it finds is kept in a file beside the results, which the fit reads."""

    def __init__(self, asked: FitAsked) -> None:
        self.asked = asked

    def __call__(self, batch: Any) -> Any:
        for row in batch.to_pylist():
            try:
                assert self.asked.people is not None
                self.asked.people(Path(row["photograph"]))
            except Exception:
                continue
        return batch
