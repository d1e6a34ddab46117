"""Nothing that is shown is obeyed."""

from hypothesis import given
from hypothesis import strategies as st

from hmrfit.io.printable import printable


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[2J\x07b\n\u202ec") == "a\\x1b[2J\\x07b\\n\\u202ec"
    assert printable("caf\udce9") == "caf\\xe9"
    assert printable("Θ × ½ 人 …") == "Θ × ½ 人 …"
    assert printable("two\nlines\r", keep="\n") == "two\nlines\\r"


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_printed_anywhere(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert printable(shown) == shown
