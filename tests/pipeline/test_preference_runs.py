"""CLO and what it is compared with, as runs of a recipe: what they share, what they start from, what is refused."""

from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.estimates import estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, RunPlan, plan_recipe
from cc_tuning.pipeline.runs import KNOWN_RUNS
from cc_tuning.runtime.step import Step

SMALLEST = Path(__file__).parents[1] / "flows" / "smallest.yaml"
ALL = "[sft, sft-eng, sft-tgt, sft+dpo, clo, clo+cc]"


def plan(runs: str, *overrides: str) -> Plan:
    held_out = "training.validation_fraction=0.1"
    return plan_recipe(load_recipe(SMALLEST, [f"runs={runs}", held_out, *overrides]), sources_may_be_missing=True)


def labels(planned: Plan, stage: str) -> list[str]:
    return [step.label for step in planned if step.stage.name == stage]


def train_of(run: RunPlan) -> Step:
    assert run.train
    return run.train


def test_the_runs_of_clo_are_read_from_a_table_on_the_same_rows() -> None:
    runs = [run for run in KNOWN_RUNS.values() if run.data == "preference"]
    assert [(run.name, run.objective, run.connected, run.start, run.baseline) for run in runs] == [
        ("sft", "sft-both", False, "", "base"),
        ("sft-eng", "sft-eng", False, "", "sft"),
        ("sft-tgt", "sft-tgt", False, "", "sft"),
        ("sft+dpo", "dpo", False, "sft", "sft"),
        ("clo", "clo", False, "", "sft"),
        ("clo+cc", "clo", True, "", "clo"),
    ]


def test_all_runs_share_their_rows_and_those_of_one_base_its_reference_values() -> None:
    planned = plan(ALL)
    assert labels(planned, "materialize") == ["materialize preference"]
    assert labels(planned, "reference") == ["reference sft+dpo", "reference clo"]
    assert labels(planned, "transform") == ["transform clo+cc"]
    order = [step.label for step in planned]
    assert order.index("train sft") < order.index("reference sft+dpo") < order.index("train sft+dpo")
    assert set(planned.report.inputs) >= {"reference/clo", "reference/clo+cc", "reference/sft+dpo", "train/sft+dpo"}
    assert set(estimate_steps(planned)) == {step.fingerprint for step in planned}


def test_dpo_starts_from_the_fine_tuned_model_and_is_held_against_it() -> None:
    planned = plan("[sft, sft+dpo]")
    fine_tuned, preferring = planned.runs
    assert preferring.reference
    assert preferring.reference.inputs["base"] == train_of(preferring).inputs["base"]
    assert train_of(preferring).inputs["base"] == train_of(fine_tuned).ref.at("checkpoint")


def test_what_a_run_starts_from_is_made_though_the_recipe_does_not_name_it() -> None:
    alone, beside = plan("[sft+dpo]"), plan("[sft, sft+dpo]")
    assert [step.label for step in alone.up_to("train", "sft+dpo")] == [
        "world", "base_model", "translator", "select", "translate", "materialize preference", "train sft",
        "reference sft+dpo", "train sft+dpo",
    ]  # fmt: skip
    assert train_of(alone.runs[0]).fingerprint == train_of(beside.runs[1]).fingerprint


def test_each_seed_starts_from_the_run_of_its_own_seed() -> None:
    planned = plan("[sft, sft+dpo, clo]", "seeds=[3, 5]")
    checkpoints = {run.name: train_of(run).ref.at("checkpoint") for run in planned.runs}
    starts = {run.name: train_of(run).inputs["base"] for run in planned.runs}
    assert starts["sft+dpo-seed3"] == checkpoints["sft-seed3"]
    assert starts["sft+dpo-seed5"] == checkpoints["sft-seed5"]
    assert labels(planned, "reference") == ["reference sft+dpo-seed3", "reference sft+dpo-seed5", "reference clo-seed3"]


def test_a_key_moves_the_runs_whose_objective_reads_it_and_no_other() -> None:
    def trained(*overrides: str) -> dict[str, str]:
        return {run.name: train_of(run).fingerprint for run in plan(ALL, *overrides).runs}

    before = trained()
    for key, moved in (
        ("preference.beta=0.2", {"clo", "clo+cc", "sft+dpo"}),
        ("preference.sft_weight=0.9", {"clo", "clo+cc"}),
        ("preference.sft_on=both", {"clo", "clo+cc"}),
    ):
        after = trained(key)
        assert {name for name in before if before[name] != after[name]} == moved


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("[{name: a, like: clo, data: plain}]", r"objective 'clo' cannot read the rows of `data: plain`"),
        ("[{name: a, like: ml-sft, data: preference}]", r"objective 'sft' cannot read .* objectives sft-eng, sft-tgt"),
        ("[{name: a, like: sft-eng, set: {preference.beta: 1}}]", r"objective 'sft-eng' reads none of them"),
        ("[{name: a, like: sft+dpo, set: {preference.sft_on: both}}]", r"objective 'dpo' reads preference\.beta"),
        ("[{name: a, like: clo, set: {preference.betta: 1}}]", r"unknown key `preference\.betta`; did you mean `beta`"),
        ("[{name: a, like: clo, start: b}]", "run a starts from 'b', which is no run"),
        ("[{name: a, like: clo, start: a}]", "run a starts from 'a', which starts from it"),
        ("[{name: a, like: clo, start: base}]", "run a starts from 'base'; expected a run that is trained here"),
        ("[{name: a, like: clo, start: cc-tuning}]", "run a starts from 'cc-tuning'; expected .* without a connection"),
        ("[{name: a, like: base, start: sft}]", "run a starts from run 'sft', but it is not trained"),
        ("[{name: a, like: clo, set: {training.lora.rank: 4}}]", r"objective 'clo' with training\.lora\.rank 4"),
        ("[{name: a, like: clo, set: {training.validation_fraction: 0}}]", "'clo' with training.validation_fraction 0"),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_its_name(runs: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(runs)


def test_adapters_train_in_the_place_of_all_weights() -> None:
    planned = plan("[{name: a, like: clo, objective: clo-all, set: {training.lora.rank: 4}}]")
    assert labels(planned, "train") == ["train a"]
