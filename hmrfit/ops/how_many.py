"""Counts in words: "1 person", "3 people". Every count in a message goes through here, so that none says "1 people"."""

SINGULAR = {"people": "person", "vertices": "vertex", "matrices": "matrix", "axes": "axis"}
"""Of nouns whose plural is not the singular with an s, or -ies for -y."""


def how_many(count: object, several: str, one: str | None = None) -> str:
    """A number and its noun.

    Args:
        several: "people", or more words of the sentence that depend on the number, "tracks were". one: the same of one
            thing, "track was"; by default the singular of `several`.
    """
    return f"{count} {several if count != 1 else singular(several) if one is None else one}"


def singular(several: str) -> str:
    """ "people" -> "person", "bodies" -> "body", "frames" -> "frame"."""
    if several in SINGULAR:
        return SINGULAR[several]
    return f"{several[:-3]}y" if several.endswith("ies") else several.removesuffix("s")
