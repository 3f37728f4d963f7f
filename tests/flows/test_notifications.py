"""Who is told of what: late and failed runs, nights whose scores dropped, and no others.

That a crashed run is told stands in `test_recovery`.
"""

from pathlib import Path

import pytest

from cc_tuning.report.nights.history import nights_of, read_history
from flows.nightly import history_of
from tests.flows.deployed import Server, running_worker, wait_until, webhook_receiver
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


STORE_A_BLOCK = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Block
Block(name="ops", url={address!r}, json_data={{"text": "{{{{subject}}}} | {{{{body}}}}"}}).save("ops", overwrite=True)
"""


def test_a_late_and_a_failed_run_are_told_once_to_a_webhook_and_to_a_block_of_prefect(
    server_on_postgres: Server, tmp_path: Path
) -> None:
    server = server_on_postgres  # with SQLite, Prefect finds its database locked, tries again, and tells some twice
    with webhook_receiver() as webhook, webhook_receiver() as block:
        server.python(STORE_A_BLOCK.format(address=block.address))
        server.command(
            "cc-tuning", "deploy", "report", "--webhook", webhook.address, "--notify", "custom-webhook/ops"
        )  # fmt: skip
        run = server.start_run("report/report", recipe="no-such-recipe.yaml")
        name = server.get(f"flow_runs/{run}")["name"]
        late = f"run {name}: Late"
        failed = "run report no-such-recipe.yaml: Failed"  # a run that has begun is called by what it does
        wait_until(lambda: bool(webhook.about(late) and block.about(late)), 600)  # there is no worker
        with running_worker(server, tmp_path / "worker.log"):
            wait_until(lambda: bool(webhook.about(failed) and block.about(failed)), 600)
        for receiver in (webhook, block):
            for what in (late, failed):
                (message,) = receiver.about(what)
                assert f"flow-run/{run}" in message["text"]
        assert "no-such-recipe.yaml" in webhook.about("Failed")[0]["text"]
        assert block.about("report: Failed | ")
