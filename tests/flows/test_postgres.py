"""A deployed nightly whose Prefect server has its data in Postgres, through everything that dies in a real month.

The worker and its run are killed, then the database and the server restart in the middle of the next run.
"""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.flows.databases import Postgres
from tests.flows.deployed import Server, free_port, kill_all, running_server, running_worker, wait_until
from tests.flows.killing import finished_work

MINUTES_UNTIL_CRASHED = 5
SECONDS_WITHOUT_A_DATABASE = 10

pytestmark = pytest.mark.slow


class Timetable:
    """What happened when, in seconds since the last entry; printed as it grows (`-s` shows it)."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def add(self, what: str, state: str) -> None:
        now = time.monotonic()
        print(f"{now - self._last:6.1f} s | {what} | {state}", flush=True)
        self._last = now


def begun(tmp_path: Path, stage: str) -> bool:
    """Whether an artifact of the stage is being made in the store of a night."""
    return any(tmp_path.glob(f"store-*/{stage}/*.partial"))


def start_nightly(server: Server, tmp_path: Path) -> str:
    """The nightly as deployed, but for its recipe and the place of its store."""
    places = [f"execution.store={tmp_path / 'store'}", f"execution.output={tmp_path / 'runs'}"]
    return server.start_run("reproduce/nightly", recipe="tests/flows/smallest.yaml", overrides=places, fresh=True)


def test_a_nightly_on_postgres_is_finished_by_the_next_run_though_worker_database_and_server_die(
    database: Postgres, tmp_path: Path
) -> None:
    home, port, log = tmp_path / "prefect", free_port(), tmp_path / "worker.log"
    home.mkdir()
    table = Timetable()
    with ExitStack() as serving:
        server = serving.enter_context(running_server(home, port, **database.settings))
        server.command("cc-tuning", "deploy", "--all")
        table.add("deploy --all on a server with an empty Postgres", "ready")

        killed = start_nightly(server, tmp_path)
        with running_worker(server, log) as worker:
            wait_until(lambda: begun(tmp_path, "translator"), 900)
            table.add("nightly, up to its stage translator", server.state(killed))
            kill_all(worker.pid)
        assert server.state(killed) == "Running"
        wait_until(lambda: server.state(killed) == "Crashed", 60 * MINUTES_UNTIL_CRASHED)
        table.add("worker and run killed", server.state(killed))
        (store,) = tmp_path.glob("store-*[0-9]")
        finished = finished_work(store)

        following = start_nightly(server, tmp_path)
        with running_worker(server, log):
            wait_until(lambda: begun(tmp_path, "train"), 900)
            table.add("next nightly, up to its stage train", server.state(following))
            database.stop()
            time.sleep(SECONDS_WITHOUT_A_DATABASE)
            database.start()
            wait_until(lambda: server.state(following) == "Running", 120)
            table.add(f"database away for {SECONDS_WITHOUT_A_DATABASE} s", server.state(following))
            wait_until(lambda: begun(tmp_path, "evaluate"), 900)
            table.add("up to its stage evaluate", server.state(following))
            serving.close()
            serving.enter_context(running_server(home, port, **database.settings))
            table.add("server ended and started again", server.state(following))
            wait_until(lambda: server.has_ended(following), 900)
            table.add("up to its end", server.state(following))

        run = server.get(f"flow_runs/{following}")
        assert (run["state"]["name"], run["run_count"]) == ("Completed", 1), run["state"]
        assert finished and finished_work(store).items() >= finished.items(), "finished work was done twice"
        assert server.state(killed) == "Crashed"
        assert (tmp_path / "runs" / "smallest" / "report" / "index.html").is_file()
        assert (tmp_path / "runs" / "smallest" / "nights.html").is_file()
