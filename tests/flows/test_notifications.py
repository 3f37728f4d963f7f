"""Who is told of what: nights whose scores dropped, and no others."""

from pathlib import Path

import pytest

from cc_tuning.report.nights.history import nights_of, read_history
from flows.nightly import history_of
from tests.flows.deployed import Server, wait_until, webhook_receiver
from tests.flows.planted_nights import FIRST, GOOD_NIGHTS

pytestmark = pytest.mark.slow


def test_a_night_that_dropped_ten_points_is_told_with_its_comparison_and_twenty_others_are_not(
    server: Server, tmp_path: Path
) -> None:
    with webhook_receiver() as receiver:
        server.command("cc-tuning", "deploy", "report", "--webhook", receiver.address)
        server.command("python", "-m", "tests.flows.planted_nights", str(tmp_path))
        took = wait_until(lambda: bool(receiver.about("show a drop")), 300)
        print(f"told {took:.0f} s after the night")
        (message,) = receiver.messages
    nights = nights_of(read_history(history_of(tmp_path / "store")), "planted")
    assert [night.verdict for night in nights] == ["dropped", *["good"] * GOOD_NIGHTS]
    assert nights[-1].date == str(FIRST)
    assert f"planted, {nights[0].date}: 1 of 1 comparisons with {nights[1].date}" in message["text"]
    assert "70.0 to 60.0" in message["text"] and "10.0 points below" in message["text"]
    (change,) = message["comparison"]["changes"]
    assert change["difference"] == pytest.approx(-10)
    assert change["low"] < -10 < change["high"] < 0
    assert (tmp_path / "nights.html").is_file()
