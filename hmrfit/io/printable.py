"""Text that is safe to show: what a terminal or a page would obey instead of printing is written as an escape.

"a\\x1b[2J.jpg" -> a, backslash, x1b, [2J.jpg
"""

BYTES_OF_NAMES = range(0xDC80, 0xDD00)
"""How Python holds the bytes of a file name that are not UTF-8 (surrogateescape), 0x80 to 0xFF."""


def printable(text: object, keep: str = "") -> str:
    """The text of an object with every control, direction and other invisible character escaped.

    Args:
        keep: characters that stay as they are, such as the line breaks of our own messages.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if code in BYTES_OF_NAMES else character.encode("unicode_escape").decode()
