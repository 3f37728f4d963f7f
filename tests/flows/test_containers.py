"""The files for containers, Kubernetes and Slurm: checked by their own validators, and by what the pipeline needs.

No test builds an image: `docker/replay.py` replays what one installs.
"""

import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cc_tuning.runtime.subprocesses import GRACE_SECONDS
from tests.flows.deployed import PROGRAMS, ROOT, running_server

REPLAY = runpy.run_path(str(ROOT / "docker" / "replay.py"))  # `docker` is a package of others
instructions, commands, is_replayed = (REPLAY[name] for name in ("instructions", "commands", "is_replayed"))
COMPOSE_FILE = ROOT / "docker" / "compose.yaml"
KUBERNETES = ROOT / "configs" / "kubernetes" / "run.yaml"
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"]
SECRETS = {name: f"{name}: a'b\"c$d #e@/%{{}}" for name in ("POSTGRES_PASSWORD", "PREFECT_PASSWORD", "RAY_AUTH_TOKEN")}


def check(*command: str | Path) -> str:
    done = subprocess.run([*command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def needs_package(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def program(name: str) -> str:
    found = shutil.which(name, path=f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    return found or pytest.skip(f"{name} is not installed")


def seconds(duration: str) -> int:
    """Compose's `90s` and `10m`."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def test_the_compose_file_is_one_by_the_schema_of_its_specification() -> None:
    needs_package("check_jsonschema")
    check(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE)


def test_the_kubernetes_example_is_one_by_the_schemas_of_its_api() -> None:
    needs_package("kubernetes_validate")
    said = check(sys.executable, "-m", "kubernetes_validate", "--strict", KUBERNETES)
    assert "job/cc-tuning" in said and "persistentvolumeclaim/cc-tuning" in said


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say_of_a_dockerfile(dockerfile: Path) -> None:
    check(program("hadolint"), "--config", ROOT / "docker" / "hadolint.yaml", dockerfile)


@pytest.mark.parametrize("script", sorted((ROOT / "configs" / "slurm").glob("*.sbatch")), ids=lambda path: path.name)
def test_a_slurm_script_is_one_that_bash_and_shellcheck_take(script: Path) -> None:
    check("bash", "-n", script)
    check(program("shellcheck"), "--shell", "bash", script)


def test_docker_compose_hands_on_passwords_of_any_character(tmp_path: Path) -> None:
    docker = program("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker has no compose here")
    quoted = {name: value.replace("'", "\\'") for name, value in SECRETS.items()}
    (tmp_path / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in quoted.items()))
    said = check(
        docker, "compose", "--file", COMPOSE_FILE, "--env-file", tmp_path / ".env", "--profile", "*",
        "config", "--format", "json",
    )  # fmt: skip
    found = yaml.safe_load(said)["services"]  # JSON is YAML; compose writes `$` as `$$`
    given = found["server"]["environment"]["PREFECT_SERVER_DATABASE_PASSWORD"].replace("$$", "$")
    assert given == SECRETS["POSTGRES_PASSWORD"]
    assert found["database"]["environment"]["POSTGRES_PASSWORD"].replace("$$", "$") == given


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_comes_back_by_itself_and_may_finish_what_it_writes_when_it_is_stopped(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    if name != "server":
        assert seconds(SERVICES[name]["stop_grace_period"]) > GRACE_SECONDS


def test_no_password_stands_within_an_address_where_its_characters_would_have_a_meaning() -> None:
    for service in SERVICES.values():
        assert not [value for value in service["environment"].values() if re.search(r"://.*PASSWORD", str(value))]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_a_numbered_user_from_an_image_of_one_version(dockerfile: Path) -> None:
    """Kubernetes takes `runAsNonRoot` only of a user with a number."""
    found = dict(instructions(dockerfile))
    assert re.search(r":[^:]*\d", found["FROM"]) and "latest" not in found["FROM"]
    runs = [command for name, arguments in instructions(dockerfile) if name == "RUN" for command in commands(arguments)]
    (user,) = [re.search(r"--uid (\d+)", command)[1] for command in runs if command.startswith("useradd")]  # type: ignore[index]
    assert found["USER"] == user != "0"
    assert any(is_replayed(command) for command in runs)


def test_the_job_of_kubernetes_runs_as_the_user_of_the_gpu_image() -> None:
    _, job = yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8"))
    user = dict(instructions(ROOT / "docker" / "gpu.Dockerfile"))["USER"]
    context = job["spec"]["template"]["spec"]["securityContext"]
    assert {str(context[key]) for key in ("runAsUser", "runAsGroup", "fsGroup")} == {user}
    assert job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE_SECONDS


@pytest.mark.slow
def test_prefects_server_takes_a_password_of_any_character(tmp_path: Path) -> None:
    login = f"admin:{SECRETS['PREFECT_PASSWORD']}"
    variables = {"PREFECT_SERVER_API_AUTH_STRING": login, "PREFECT_API_AUTH_STRING": login}
    with running_server(tmp_path, **variables) as server:
        server.command("prefect", "work-pool", "ls")
        refused = subprocess.run(
            [PROGRAMS / "prefect", "work-pool", "ls"], env=server.variables | {"PREFECT_API_AUTH_STRING": f"{login}."},
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
    assert refused.returncode and "401" in refused.stdout + refused.stderr
