"""The report of a finished run of `hmrfit fit`, from its lines."""

from collections.abc import Iterable
from pathlib import Path

from hmrfit.cli.folder_report import FolderReport, Line
from hmrfit.cli.outputs import Outputs


def report_of(lines: Iterable[Line], folder: Path | None = None) -> FolderReport:
    """It writes no page by itself."""
    report = FolderReport(Outputs(folder or Path()))
    report._due = float("inf")
    for line in lines:
        report.add(line)
    return report
