"""hmrfit fit --engine ray: photographs, or a Parquet table of keypoints, by Ray Data (`hmrfit.engines.ray_data`).

OUT/people/*.parquet     a row a person, see `hmrfit.engines.rows`      OUT/checkpoint    what is written already
OUT/work.parquet         the photographs, where folders were given
"""

from collections import Counter
from pathlib import Path
from typing import Any

from hmrfit.cli.detections import FOLDER as DETECTIONS
from hmrfit.cli.fit_flags import FitFlags
from hmrfit.cli.outputs import output_names
from hmrfit.cli.photographs import collect
from hmrfit.config import load_config
from hmrfit.engines.fit_rows import FitAsked
from hmrfit.engines.ray_data import RayRun, ray
from hmrfit.io.parquet import ParquetWriter, is_parquet, read_rows
from hmrfit.ops.how_many import how_many
from hmrfit.pipeline import Pipeline

WITHOUT = ("mesh", "overwrite", "format", "full_size", "workers", "shard")
"""Flags of what this engine does not do."""


def ray_command(flags: FitFlags) -> int:
    """Fits what is not there yet; 0 if there is a result for at least one, else 1."""
    ray()  # where it is missing, that is known before any work
    unused = [name for name in WITHOUT if getattr(flags, name) not in (None, False)]
    if unused:
        raise ValueError(
            f"--{unused[0].replace('_', '-')} has no meaning with --engine ray, which writes Parquet alone."
        )
    Pipeline.of(load_config(flags.config, flags.overrides))  # wrong settings are known before any work
    out = Path(flags.out)
    source, asked, detect = _source(flags, out)
    run = RayRun(source, str(out), asked, detect, flags.workers)
    run.run()
    ends: Counter[bool] = Counter()
    for file in sorted(run.people.glob("*.parquet")):
        ends.update(row["poses"] is not None for row in read_rows(file, ("poses",)))
    print(
        f"{how_many(ends[True], 'people have', 'person has')} a result, "
        f"{how_many(ends[False], 'rows say', 'row says')} why there is none. "
        f"Look at {run.people}"
    )
    return 0 if ends[True] else 1


def _source(flags: FitFlags, out: Path) -> tuple[str, FitAsked, bool]:
    """(the table that is read, what is asked, whether photographs are detected first)."""
    known: dict[str, Any] = {
        "config": flags.config,
        "overrides": tuple(flags.overrides),
        "measurements": flags.measurements,
        "keypoint_set": flags.keypoint_set,
        "focal": flags.focal,
        "focal_35mm": flags.focal_35mm,
        "keypoint_source": flags.keypoint_source,
        "keypoint_std": flags.keypoint_std,
        "up": flags.up,
    }
    if len(flags.images) == 1 and is_parquet(flags.images[0]):
        return str(Path(flags.images[0]).resolve()), FitAsked(**known), False
    images = [str(Path(image).resolve()) for image in flags.images]  # workers have another working folder
    keypoints = None if flags.keypoints is None else str(Path(flags.keypoints).resolve())
    collection = collect(images, keypoints, flags.keypoint_set, flags.detecting)
    names, work = output_names(list(collection.places)), out.resolve() / "work.parquet"
    with ParquetWriter(work, {"id": "text", "photograph": "text"}) as table:
        for path, name in names.items():
            table.add([{"id": name, "photograph": str(path)}])
    detect = collection.detecting is not None and collection.detecting.can_run
    kept = collection.kept_in(lambda path: out.resolve() / DETECTIONS / f"{names[path]}.json")
    return str(work), FitAsked(**known, people=kept.people), detect
