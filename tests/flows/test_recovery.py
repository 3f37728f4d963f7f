"""A worker and its run are killed: the server says so within minutes, somebody is told, and the next run goes on."""

import re
import time
from pathlib import Path

import pytest

from tests.flows.deployed import Server, kill_all, running_worker, wait_until, webhook_receiver

MINUTES_UNTIL_CRASHED = 5
STARTED, FINISHED = re.compile(r"(\S.*\S): started, fingerprint"), re.compile(r"(\S.*\S): finished in")

pytestmark = pytest.mark.slow


def lines(server: Server, run: str) -> list[str]:
    query = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200, "sort": "TIMESTAMP_ASC"}
    return [entry["message"] for entry in server.post("logs/filter", query)]


def matching(pattern: re.Pattern[str], server: Server, run: str) -> list[str]:
    return [found[1] for line in lines(server, run) if (found := pattern.search(line))]


def test_a_killed_run_is_marked_as_crashed_and_the_next_one_goes_on_from_the_store(
    server: Server, tmp_path: Path
) -> None:
    with webhook_receiver() as receiver:
        server.command("cc-tuning", "deploy", "translate", "--crashed-after", "60", "--webhook", receiver.address)
        parameters = {
            "recipe": "tests/flows/smallest.yaml",
            "overrides": [f"execution.store={tmp_path / 'store'}", "miniature.translator.steps=10"],
        }  # fmt: skip
        killed = server.start_run("translate/translate", **parameters)
        with running_worker(server, tmp_path / "worker.log") as worker:
            wait_until(lambda: "translate" in matching(STARTED, server, killed), 900)
            kill_all(worker.pid)
        died = time.monotonic()
        assert server.state(killed) == "Running"
        wait_until(lambda: server.state(killed) == "Crashed", 60 * MINUTES_UNTIL_CRASHED)
        print(f"marked as crashed {time.monotonic() - died:.0f} s after it was killed")
        wait_until(lambda: bool(receiver.about("Crashed")), 60)
        (message,) = receiver.about("Crashed")
        assert "no heartbeat" in message["text"]

        finished = matching(FINISHED, server, killed)
        assert finished
        following = server.start_run("translate/translate", **parameters)
        with running_worker(server, tmp_path / "worker.log"):
            wait_until(lambda: server.state(following) in ("Completed", "Failed", "Crashed"), 900)
        assert server.state(following) == "Completed"
        assert not set(finished) & set(matching(FINISHED, server, following)), "a finished stage ran twice"
        assert server.state(killed) == "Crashed"
        assert len(receiver.about("Crashed")) == 1
