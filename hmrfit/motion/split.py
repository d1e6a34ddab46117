"""Which sequences are set aside: `split.json` is the one list that every script and benchmark reads.

"test": no prior and no network is ever fitted on them; whole sequences, and some whole action classes. "validation":
for choosing settings. Everything else, also any motion of your own, is "train". Two recordings of one CMU trial and
the two partners of one dance always share a split.
"""

import json
from functools import cache
from pathlib import Path

from hmrfit.motion.motion import Motion

SPLITS = ("train", "validation", "test")


@cache
def split_lists() -> dict[str, frozenset[str]]:
    """ "test" and "validation" -> names of the sequences in them."""
    content = json.loads(Path(__file__).with_name("split.json").read_text())
    return {part: frozenset(name for names in content[part].values() for name in names) for part in SPLITS[1:]}


def split(motion: Motion | str) -> str:
    """ "train", "validation" or "test" for a motion, or for its name (the `id` of the manifest)."""
    name = motion if isinstance(motion, str) else motion.name
    for part, names in split_lists().items():
        if name in names:
            return part
    return SPLITS[0]
