"""The gender of a body file, in AMASS's words: "female", "male", or "neutral".

Readers of motion files choose the body that betas belong to by this word. A file may state it in a field `gender`;
otherwise its name does, as SMPL's files have it (SMPL_FEMALE, basicModel_m_lbs_10_207_0_v1.0.0, smplx_male), or the
name of its folder (AMASS's body_models/smplh/female/model.npz). A body without a gender, such as the free body, is
"neutral"; the field `body` beside it says which body it is.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

GENDERS = ("female", "male", "neutral")

WORDS = {"female": "female", "woman": "female", "male": "male", "man": "male", "neutral": "neutral"}
LETTERS = {"f": "female", "m": "male", "n": "neutral"}
"""What fields say, in lower case. In a name, a single letter counts only where it is one of SMPL's files."""


def gender_of(body: str | Path, data: Mapping[str, ArrayLike] | None = None) -> str:
    """The gender of a body.

    Args:
        body: its name or path. data: the arrays of its file, where a field `gender` counts more than any name.
    """
    path = Path(body)
    folder = path.parent.name.lower()
    return _stated(data or {}) or _in_name(path.stem) or (folder if folder in GENDERS else "neutral")


def _stated(data: Mapping[str, ArrayLike]) -> str | None:
    """What the field says, text or bytes; None where there is none, or where it is no such word."""
    value = np.asarray(data.get("gender", ""))
    if value.size != 1 or value.dtype.kind not in "US":
        return None
    word = value.reshape(-1)[0]
    text = word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)
    return (WORDS | LETTERS).get(text.strip().lower())


def _in_name(name: str) -> str | None:
    """The first word of a name that is a gender. A word ends at a sign, or where a capital follows a small letter."""
    ends = r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
    words = [word.lower() for word in re.split(ends, name) if word]
    known = WORDS | LETTERS if re.search("smpl|model", name, re.IGNORECASE) else WORDS
    return next((known[word] for word in words if word in known), None)
