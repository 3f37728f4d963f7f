"""The deployments as people run them: a server on loopback, a worker, `deploy --all`, a run to its end, a cron."""

from pathlib import Path

import pytest

from cc_tuning.runtime.stage_table import PIPELINE
from tests.flows.deployed import Server, running_worker, wait_until

SECONDS_FOR_A_SCHEDULE = 180

pytestmark = pytest.mark.slow


def test_a_deployed_nightly_runs_to_its_end_and_its_cron_makes_scheduled_runs(server: Server, tmp_path: Path) -> None:
    server.command("cc-tuning", "deploy", "--all")
    deployments = server.post("deployments/filter")
    names = {deployment["name"] for deployment in deployments}
    assert names == {"nightly", *(stage.name for stage in PIPELINE)}

    with running_worker(server, tmp_path / "worker.log"):
        overrides = f'["execution.store={tmp_path / "store"}", "execution.output={tmp_path / "runs"}"]'
        printed = server.command(
            "prefect", "deployment", "run", "reproduce/nightly", "--watch",
            "--param", "recipe=tests/flows/smallest.yaml", "--param", f"overrides={overrides}",
            "--param", "fresh=false", seconds=600,
        )  # fmt: skip
        assert "Completed" in printed
        assert (tmp_path / "runs" / "smallest" / "report" / "index.html").is_file()

        query = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        wait_until(lambda: bool(server.post("flow_runs/filter", query)), SECONDS_FOR_A_SCHEDULE)
