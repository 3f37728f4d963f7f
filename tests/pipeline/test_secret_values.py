"""Secrets in overrides: their names travel, their values do not."""

from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe

SMALLEST = Path(__file__).resolve().parents[1] / "flows" / "smallest.yaml"


def test_a_value_of_execution_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_PLACE", "ray://user:secret@head:10001")
    recipe = load_recipe(SMALLEST, ["execution.ray_address=env:RAY_PLACE"])
    assert recipe.execution.ray_address == "ray://user:secret@head:10001"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match="the environment variable NOWHERE_SET is not set"):
        load_recipe(SMALLEST, ["execution.ray_address=env:NOWHERE_SET"])


def test_what_stands_in_manifests_and_reports_never_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "secret")
    with pytest.raises(ConfigError, match="only values of `execution`") as refused:
        load_recipe(SMALLEST, ["data.source=env:PLACE"])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("execution.ray_address", "ray://user:hunter2hunter2@head:10001"),
        ("data.source", "https://me:hunter2hunter2@host/rows.parquet"),
        ("model.revision", "hf_" + "hunter2" * 5),
        ("execution", "{ray_address: 'ray://user:hunter2hunter2@head'}"),
        ("runs", "[{name: x, checkpoint: 'https://me:hunter2hunter2@host/m'}]"),
        ("model.revision", "ghp_" + "hunter2" * 5),
    ],
)
def test_a_secret_that_is_written_out_is_refused_and_not_repeated(key: str, secret: str) -> None:
    with pytest.raises(ConfigError, match=r"what looks like a password or a token.*env:NAME") as refused:
        load_recipe(SMALLEST, [f"{key}={secret}"])
    assert "hunter2" not in str(refused.value)


def test_ordinary_values_are_no_secrets() -> None:
    recipe = load_recipe(SMALLEST, ["execution.ray_address=head:10001", "training.epochs=2"])
    assert (recipe.execution.ray_address, recipe.training.epochs) == ("head:10001", 2)
