"""The table and the page of a run of any length, from a few numbers a photograph."""

import tracemalloc
from pathlib import Path

import pytest

from hmrfit.cli.outputs import Outputs
from hmrfit.cli.report import MOST_LINES, Line, Report, print_table, summary
from hmrfit.report.page import Entry


def done(i: int, *notes: str) -> Line:
    return Line(f"{i}.jpg", str(i), (0.01, 0.03), ((0.5, 0.01), (1.5, 0.02)), "converged", notes, Entry(f"{i}.jpg"))


def test_memory_does_not_grow_with_the_photographs(tmp_path: Path) -> None:
    report = Report(Outputs(tmp_path))
    report._due = float("inf")
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
    page = report.write_page().read_text()
    assert page.count("<section>") == 100 + lines


def test_the_summary() -> None:
    said = summary([done(0), done(1), Line("c.jpg", "c", error="broken")])
    assert said == (
        "4 people, median reprojection 2.00 % of the box, worst 3.00 %; were the focal length of the 4 whose is not "
        "known 20 % longer: 0.50 m farther away, joints moved by 10 mm on average; 1 photographs could not be used"
    )


def test_what_wants_looking_at_is_shown(capsys: pytest.CaptureFixture) -> None:
    lines = [done(i) for i in range(2 * MOST_LINES)]
    lines[-1], lines[-2] = done(2 * MOST_LINES - 1, "a warning"), Line("bad.jpg", "bad", error="broken")
    print_table(lines)
    said = capsys.readouterr().out
    assert "a warning" in said and "FAILED: broken" in said and "\n0.jpg" in said
    assert f"... and {MOST_LINES} more, in index.html" in said
    assert said.index("a warning") < said.index("\n0.jpg")


def test_names_and_messages_are_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = Line("\x1b]0;x\x07\n\u202e.jpg", "a", error="\x1b[2J\r<script>")
    print_table([line])
    assert not set(capsys.readouterr().out) & set("\x1b\x07\r\u202e")
    report = Report(Outputs(tmp_path))
    report.add(line)
    page = report.write_page().read_text()
    assert not set(page) & set("\x1b\x07\r\u202e") and "<script>" not in page


def test_the_page_of_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    report = Report(Outputs(tmp_path), planned=3)
    report.add(done(0))
    assert "2 photographs are to come" in (tmp_path / "index.html").read_text()
    report.add(done(1))
    report.add(done(2))
    assert "to come" not in report.write_page().read_text()


def test_a_page_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    report = Report(Outputs(tmp_path))
    report.add(done(0))
    with pytest.raises(FileExistsError, match=r"index\.html"):
        report.write_page()
    assert (tmp_path / "index.html").read_text() == "mine"
