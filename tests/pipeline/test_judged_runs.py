"""Judges in the plan: who is held against whom, what decides a verdict, and that inputs come first."""

from pathlib import Path

import polars as pl
import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.estimates import estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from data_contracts.store import ArtifactRef

SMALLEST = Path(__file__).parents[1] / "flows" / "smallest.yaml"
RECIPE = Path(__file__).parents[2] / "recipes" / "clo_llama3_8b.yaml"
OF_PAIRS = ["runs=[sft, sft+dpo, clo]", "training.validation_fraction=0.2"]


def plan(*overrides: str, judge: str = "rule") -> Plan:
    settings = [*OF_PAIRS, f"judge.kind={judge}", "judge.benchmarks=[MKQA]", *overrides]
    return plan_recipe(load_recipe(SMALLEST, settings))


def test_each_run_is_judged_beside_its_baseline_of_the_same_seed() -> None:
    planned = plan("seeds=[3, 4]")
    held = {
        run.name: (run.judge.config.model_dump()["baseline"], run.judge.inputs["baseline"])
        for run in planned.runs
        if run.judge
    }
    evaluations = {run.name: run.evaluate.ref for run in planned.runs}
    assert held == {
        f"{name}-seed{seed}": (f"sft-seed{seed}", evaluations[f"sft-seed{seed}"])
        for name in ("sft+dpo", "clo")
        for seed in (3, 4)
    }
    assert {f"judge/{name}" for name in held} <= set(planned.report.inputs)


def test_a_recipe_without_a_judge_has_no_such_step() -> None:
    assert "judge" not in {step.stage.name for step in plan(judge="none")}


def test_another_judge_answers_nothing_again() -> None:
    one, other = plan(), plan("judge.model=someone", judge="openai")
    for before, after in zip(one.runs, other.runs, strict=True):
        assert before.evaluate.ref == after.evaluate.ref
        assert before.judge is None or (after.judge is not None and before.judge.ref != after.judge.ref)
    moved = plan("judge.model=someone", "execution.judge_address=http://localhost:1/v1", judge="openai")
    assert [step.ref for step in moved] == [step.ref for step in other], "where a judge answers decides nothing"


def test_every_input_stands_before_the_step_that_reads_it() -> None:
    seen: set[ArtifactRef] = set()
    for step in plan():
        needed = {source.at("") for source in step.inputs.values() if isinstance(source, ArtifactRef)}
        assert needed <= seen, step.label
        seen.add(step.ref)


def test_a_judge_of_one_run_brings_the_answers_of_its_baseline() -> None:
    labels = [step.label for step in plan().up_to("judge", "clo")]
    assert labels[-1] == "judge clo" and {"evaluate sft", "evaluate clo"} <= set(labels)
    assert "judge sft+dpo" not in labels


def test_instructions_are_items_of_every_run_and_of_its_judge(tmp_path: Path) -> None:
    (tmp_path / "alpaca.parquet").write_bytes(b"rows")
    planned = plan(f"evaluation.instructions={tmp_path}")
    assert all("instructions" in run.evaluate.inputs for run in planned.runs)
    assert all("instructions" in run.judge.inputs for run in planned.runs if run.judge)


def test_published_items_and_given_instructions_go_together(tmp_path: Path) -> None:
    pl.DataFrame({"prompt": ["Swali"] * 7}).write_parquet(tmp_path / "alpaca.parquet")
    settings = [
        "evaluation.benchmarks=[BELEBELE-fields, AlpacaEval]", f"evaluation.instructions={tmp_path}",
        "judge.kind=openai", "judge.model=someone",
    ]  # fmt: skip
    planned = plan_recipe(load_recipe(RECIPE, settings), sources_may_be_missing=True)
    (items,) = planned.items
    assert list(items.config.model_dump()["languages"]) == ["BELEBELE-fields"]
    clo = planned.of_run("clo")[0]
    assert clo.judge is not None and "instructions" in clo.judge.inputs
    assert estimate_steps(planned)[clo.evaluate.fingerprint].rows == 2 * 900 + 7


def test_a_target_needs_english_rows_and_is_another_language() -> None:
    with pytest.raises(ConfigError, match=r"expected \[eng\]"):
        plan("translation.target=swh", "data.languages=[swh]")
    with pytest.raises(ConfigError, match="the language of the source"):
        plan("translation.target=eng", "data.languages=[eng]")


def test_a_target_translates_again_and_its_translator_learns_both_ways() -> None:
    english = plan("data.languages=[eng]")
    into = plan("data.languages=[eng]", "translation.target=swh")
    assert english.data[0].select.ref == into.data[0].select.ref
    assert english.data[0].translate.ref != into.data[0].translate.ref
    (translator,) = (step for step in into.embedded if step.stage.name == "translator")
    assert translator.config.model_dump()["both_ways"] is True
    assert {run.target for run in into.report.config.runs} == {"sw"}  # type: ignore[attr-defined]
