"""The table and the page of a run of any length, from a few numbers a photograph."""

import tracemalloc
from pathlib import Path

import pytest
from helpers.folder import report_of

from hmrfit.cli.folder_report import MOST_LINES, PAGE_ROWS, FolderReport, Line
from hmrfit.cli.outputs import Outputs
from hmrfit.report.page import Entry


def done(i: int, *notes: str) -> Line:
    return Line(f"{i}.jpg", str(i), (0.01, 0.03), ((0.5, 0.01), (1.5, 0.02)), "converged", notes, Entry(f"{i}.jpg"))


def test_memory_does_not_grow_with_the_photographs(tmp_path: Path) -> None:
    report = report_of([], tmp_path)
    lines = 3000
    tracemalloc.start()
    try:
        for i in range(100):
            report.add(done(i))
        before = tracemalloc.get_traced_memory()[0]
        for i in range(lines):
            entry = Entry(f"{i}.jpg", rows=[{"person": "0", "notes": f"{i} " * 300}])
            report.add(Line(f"{i}.jpg", str(i), (0.01,), ((0.5, 0.01),), "converged", ("x" * 500,), entry))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / lines < 64  # bytes a photograph: three numbers, which grow by doubling
    first = report.write_page()
    pages = [first, *sorted(tmp_path.glob("index-*.html"), key=lambda path: int(path.stem[6:]))]
    assert [page.read_text().count("<section>") for page in pages] == [PAGE_ROWS] * 10 + [100 + lines - 10 * PAGE_ROWS]


def test_the_summary() -> None:
    report = report_of([done(0), done(1), Line("c.jpg", "c", error="broken")])
    assert report.summary() == (
        "4 people, median reprojection 2.00 % of the box, worst 3.00 %; with a focal length 20 % longer, for the 4 "
        "whose is not known: 0.50 m farther away, joints moved by 10 mm on average; 1 photograph could not be used"
    )


def test_photographs_that_need_attention_are_shown(capsys: pytest.CaptureFixture) -> None:
    lines = [done(i) for i in range(2 * MOST_LINES)]
    lines[-1], lines[-2] = done(2 * MOST_LINES - 1, "a warning"), Line("bad.jpg", "bad", error="broken")
    report_of(lines).print_table()
    said = capsys.readouterr().out
    assert "a warning" in said and "FAILED: broken" in said and "\n0.jpg" in said
    assert f"... and {MOST_LINES} more, in index.html" in said
    assert said.index("a warning") < said.index("\n0.jpg")


def test_a_long_table_ends_and_the_page_does_not(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    report = report_of([Line(f"{i}.jpg", str(i), error="e") for i in range(70)], tmp_path)
    report.print_table()
    assert "... and 10 more" in capsys.readouterr().out
    assert report.summary() == "0 people; 70 photographs could not be used"
    assert report.write_page().read_text().count("<section>") == 70


def test_escape_sequences_in_names_and_messages_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = Line("\x1b]0;x\x07\n\u202e.jpg", "a", error="\x1b[2J\r<script>")
    report_of([line]).print_table()
    assert not set(capsys.readouterr().out) & set("\x1b\x07\r\u202e")
    report = FolderReport(Outputs(tmp_path))
    report.add(line)
    page = report.write_page().read_text()
    assert not set(page) & set("\x1b\x07\r\u202e") and "<script>" not in page


def test_the_page_of_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    report = FolderReport(Outputs(tmp_path), planned=3)
    report.add(done(0))
    assert "2 photographs are to come" in (tmp_path / "index.html").read_text()
    report.add(done(1))
    report.add(done(2))
    assert "to come" not in report.write_page().read_text()


def test_a_page_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    report = FolderReport(Outputs(tmp_path))
    report.add(done(0))
    with pytest.raises(FileExistsError, match=r"index\.html"):
        report.write_page()
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_long_run_has_several_pages_and_writes_a_full_one_once(tmp_path: Path) -> None:
    report = report_of(map(done, range(PAGE_ROWS + 1)), tmp_path)
    first = report.write_page()
    text, second = first.read_text(), (tmp_path / "index-2.html").read_text()
    assert "href='index-2.html'" in text and "href='index.html'" in second
    assert f">{PAGE_ROWS - 1}.jpg<" in text and f">{PAGE_ROWS}.jpg<" in second
    for i in range(PAGE_ROWS + 1, 3 * PAGE_ROWS):
        report.add(done(i))
    report.write_page()
    full = (tmp_path / "index-2.html").stat().st_mtime_ns
    report.add(done(3 * PAGE_ROWS))
    report.write_page()
    assert (tmp_path / "index-4.html").is_file()
    report.add(done(3 * PAGE_ROWS + 1))
    report.write_page()
    assert (tmp_path / "index-2.html").stat().st_mtime_ns == full
    assert (tmp_path / "index-4.html").read_text().count("<section>") == 2
