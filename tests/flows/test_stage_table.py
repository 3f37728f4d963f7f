"""What is made from the table of stages: commands, tasks, flows and deployments."""

from pathlib import Path

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Failed
from typer.main import get_command

from cc_tuning.errors import ConfigError, TrainingFailed
from cc_tuning.runtime.stage_table import PIPELINE, STAGES
from flows.cli import app
from tasks.perform import watch_worker
from tasks.stages import TASKS, worth_retrying

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
NAMES = [stage.name for stage in PIPELINE]


def test_the_command_line_lists_the_stages_in_the_order_of_the_pipeline() -> None:
    commands = get_command(app).commands
    assert [name for name in commands if name in STAGES] == NAMES
    assert all(stage.sentence in (commands[stage.name].help or "") for stage in PIPELINE)


def test_there_is_a_deployment_of_each_stage_and_of_the_nightly() -> None:
    entrypoints = {row["name"]: row["entrypoint"] for row in DEPLOYMENTS}
    assert entrypoints == {
        "nightly": "flows/reproduce.py:reproduce",
        **{name: f"flows/stages.py:{name}" for name in NAMES},
    }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda row: row["name"])
def test_prefect_finds_the_flow_of_a_deployment_and_its_parameters(deployment: dict[str, object]) -> None:
    entrypoint = str(ROOT / str(deployment["entrypoint"]))
    flow = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    assert flow.name == entrypoint.rpartition(":")[2]
    assert flow.validate_parameters(deployment["parameters"])
    recipe, overrides = (deployment["parameters"].get(name) for name in ("recipe", "overrides"))
    assert (ROOT / recipe).is_file() and isinstance(overrides or [], list)


def test_a_task_takes_its_tags_and_retries_from_the_table() -> None:
    assert list(TASKS) == list(STAGES)
    for name, stage in STAGES.items():
        task = TASKS[name]
        assert (task.tags, task.retries) == (set(stage.tags), stage.retries)
        assert task.retry_delay_seconds == [10, 60][: stage.retries]
    assert TASKS["train"].name == "train model"
    assert not watch_worker.tags, "a worker would wait for a limit that its own stage holds"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(TrainingFailed("rank 1 died"), True), (ConnectionError("hub"), True), (ConfigError("a typo"), False)],
    ids=["worker", "network", "mistake"],
)
def test_a_dead_worker_is_tried_again_and_a_mistake_is_not(error: Exception, expected: bool) -> None:
    assert worth_retrying(None, None, Failed(data=error)) is expected
