"""Prefect is set alike in a clone and in any other folder."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flows.prefect_settings import PREFECT_SETTINGS

ROOT = Path(__file__).resolve().parents[2]


def flat(values: dict[str, Any], prefix: str = "PREFECT") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = f"{prefix}_{name.upper()}"
        if isinstance(value, dict):
            yield from flat(value, key)
        else:
            yield key, str(value).lower() if isinstance(value, bool) else str(value)


def test_the_variables_say_what_the_project_file_says() -> None:
    written = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prefect"]
    assert dict(flat(written)) == {**PREFECT_SETTINGS, "PREFECT_HOME": ".prefect"}


def test_a_deployed_run_which_starts_in_another_folder_is_given_them_by_its_deployment() -> None:
    pool = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["definitions"]["pool"]
    given = {name: value for name, value in pool["job_variables"]["env"].items() if name.startswith("PREFECT_")}
    of_a_server = ("PREFECT_SERVER_", "PREFECT_TELEMETRY_")
    assert given == {name: value for name, value in PREFECT_SETTINGS.items() if not name.startswith(of_a_server)}


def test_prefect_reads_them_in_another_folder_and_what_the_environment_says_stays(tmp_path: Path) -> None:
    code = (
        "from flows.prefect_settings import set_prefect; set_prefect()\n"
        "from prefect.settings import get_current_settings as get\n"
        "s = get(); print(s.server.analytics_enabled, s.server.ephemeral.startup_timeout_seconds,"
        " s.results.default_serializer)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": str(ROOT), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "77"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "77", "json"]
