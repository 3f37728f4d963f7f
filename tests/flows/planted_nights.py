"""A flow that closes nights whose reports were planted: many that differ by chance, then one ten points lower."""

import sys
from datetime import date, timedelta
from pathlib import Path

from prefect import flow

from cc_tuning.report.nights.history import Night
from flows.nightly import close_night, report_of
from flows.score_drops import tell_drop
from tests.report.planted_reports import plant_report

FIRST = date(2026, 10, 1)
GOOD_NIGHTS = 21
MOVED = 4


@flow(persist_result=False)
def close_planted_nights(folder: Path) -> None:
    """Close the good nights and then the bad one, each as the nightly does."""
    for index in range(GOOD_NIGHTS + 1):
        night = Night("planted", str(FIRST + timedelta(index)), f"run-{index}", "c" * 40, f"{index:064}", "good")
        share = 0.7 if index < GOOD_NIGHTS else 0.6
        plant_report(report_of(folder / "store", night), share, moved=MOVED, seed=index)
        tell_drop(night, close_night(folder / "store", night, folder / "nights.html"))


if __name__ == "__main__":
    close_planted_nights(Path(sys.argv[1]))
