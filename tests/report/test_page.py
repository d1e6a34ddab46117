"""Pages: every row's numbers are shown, and what others named does no harm."""

import re
from pathlib import Path

from hmrfit.report.page import Entry, write_page


def test_a_row_may_know_more_than_the_first(tmp_path: Path) -> None:
    rows = [{"person": "0", "notes": "a"}, {"person": "1", "other answers": "12 %", "notes": "b"}]
    write_page(tmp_path / "page.html", [Entry("photo", rows=rows)], "title")
    text = (tmp_path / "page.html").read_text()
    assert re.findall("<th>(.*?)</th>", text) == ["person", "notes", "other answers"]
    cells = [re.findall("<td class='.*?'>(.*?)</td>", line) for line in text.split("<tr>")[2:]]
    assert cells == [["0", "a", ""], ["1", "b", "12 %"]]


def test_names_are_text(tmp_path: Path) -> None:
    entry = Entry("<script>", rows=[{"notes": "<b>"}], links={"a": "x y?.npz"}, text="&")
    write_page(tmp_path / "page.html", [entry], "<title>")
    text = (tmp_path / "page.html").read_text()
    assert (
        "<script>" not in text
        and "<b>" not in text
        and "<title>&lt;title&gt;" in text
        and "x%20y%3F.npz" in text
        and "&amp;" in text
    )
