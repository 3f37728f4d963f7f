"""Keys that nothing reads are named; those of the recipes that ship are read, or say themselves that they wait."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.unused import unused_keys
from flows.cli import app

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests" / "flows" / "smallest.yaml"


def unused(*overrides: str) -> set[str]:
    return {key for keys in unused_keys(load_recipe(SMALLEST, overrides)).values() for key in keys}


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_of_a_shipped_recipe_is_read(path: Path) -> None:
    keys = [key for keys in unused_keys(load_recipe(path)).values() for key in keys]
    assert all(key.startswith("distillation.") for key in keys)  # Qwen's waits for runs with +sdrrl, and says so
    assert not keys or path.stem == "qwen25_7b"


PLAIN = "runs=[ml-sft]"


@pytest.mark.parametrize(
    ("overrides", "used_with"),
    [
        (["evaluation.sample=first"], ["evaluation.items=hub"]),
        (["evaluation.sample_seed=3"], ["evaluation.items=hub"]),
        (["preference.beta=0.2"], ["runs=[sft, clo]", "training.validation_fraction=0.1"]),
        (["training.validations=3"], ["training.validation_fraction=0.1"]),
        (["training.lora.alpha=8"], ["training.lora.rank=4"]),
        (["distillation.shown_part=0.3"], ["runs=[ml-sft+sdrrl]"]),
        ([PLAIN, "connection.selector=mean"], ["runs=[cc-tuning]"]),
        ([PLAIN, "transform.pairs=8"], ["runs=[cc-tuning]"]),
        (
            ["runs=[cc-tuning]", "connection.selector=mean", "connection.temperature=2"],
            ["connection.selector=decision_maker"],
        ),
        (["data.decontamination_ngram=8"], ["data.decontamination=ngram"]),
        (["runs=[base]", "training.epochs=1"], ["runs=[ml-sft]"]),
        (["judge.max_tokens=32"], ["judge.kind=rule"]),
        (["execution.ray_address=ray://x:1"], ["execution.task_runner=ray"]),
    ],
)  # fmt: skip
def test_a_key_is_named_where_nothing_reads_it_and_only_there(overrides: list[str], used_with: list[str]) -> None:
    key = overrides[-1].partition("=")[0]
    assert key in unused(*overrides)
    assert key not in unused(*overrides, *used_with)


def test_a_key_that_has_its_default_is_not_named() -> None:
    assert not unused(PLAIN, "connection.selector=decision_maker", "preference.beta=0.1") & {
        "connection.selector", "preference.beta",
    }  # fmt: skip


def said(arguments: Iterable[Any]) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, " ".join(result.output.split())


def test_check_names_unused_keys_and_lets_the_recipe_run(tmp_path: Path) -> None:
    code, text = said(["check", SMALLEST, "--set", f"execution.store={tmp_path}", "--set", "evaluation.sample=whole"])
    assert code == 0
    assert "- evaluation.sample: nothing reads it, only `evaluation.items: hub` draws a sample" in text
