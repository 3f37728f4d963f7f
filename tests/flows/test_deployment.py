"""The deployments as people run them: a server on loopback, a worker, `deploy --all`, a run to its end, a cron."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cc_tuning.runtime.stage_table import PIPELINE

ROOT = Path(__file__).resolve().parent.parent.parent
PREFECT = str(Path(sys.executable).with_name("prefect"))
SECONDS_FOR_A_SCHEDULE = 180

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a shell that talks to a running server of its own."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    variables = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "DO_NOT_TRACK": "1",
    }
    command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True, cwd=ROOT)
    try:
        wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/api/health").status_code == 200, 120)
        yield variables
    finally:
        end(server)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; a worker of a run that failed may not, and must not outlive the test."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(is_so, seconds: float) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if is_so():
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    raise AssertionError(f"not so after {seconds} s")


def prefect(environment: dict[str, str], *arguments: str, seconds: float = 300) -> str:
    result = subprocess.run(
        [PREFECT, "--no-prompt", *arguments],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=seconds,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_a_deployed_nightly_runs_to_its_end_and_its_cron_makes_scheduled_runs(
    environment: dict[str, str], tmp_path: Path
) -> None:
    prefect(environment, "work-pool", "create", "cc-tuning", "--type", "process")
    prefect(environment, "deploy", "--all")
    api = environment["PREFECT_API_URL"]
    deployments = httpx.post(f"{api}/deployments/filter", json={}).json()
    names = {deployment["name"] for deployment in deployments}
    assert names == {"nightly", *(stage.name for stage in PIPELINE)}

    command = [PREFECT, "worker", "start", "--pool", "cc-tuning", "--limit", "1"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    try:
        overrides = f'["execution.store={tmp_path / "store"}", "execution.output={tmp_path / "runs"}"]'
        printed = prefect(
            environment, "deployment", "run", "reproduce/nightly", "--watch",
            "--param", "recipe=tests/flows/smallest.yaml", "--param", f"overrides={overrides}",
            "--param", "fresh=false", seconds=600,
        )  # fmt: skip
        assert "Completed" in printed
        assert (tmp_path / "runs" / "smallest" / "report" / "index.html").is_file()

        query = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        wait_until(lambda: bool(httpx.post(f"{api}/flow_runs/filter", json=query).json()), SECONDS_FOR_A_SCHEDULE)
    finally:
        end(worker)
