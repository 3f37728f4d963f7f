"""Runs as values: written in a recipe, planned once per seed, sharing what they have in common."""

from pathlib import Path

import pytest
import yaml

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.runs import KNOWN_RUNS, RunSpec, baseline_of, read_runs

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests" / "flows" / "smallest.yaml"


def plan(runs: str, *overrides: str) -> Plan:
    return plan_recipe(load_recipe(SMALLEST, [f"runs={runs}", *overrides]), sources_may_be_missing=True)


def labels(planned: Plan, stage: str) -> list[str]:
    return [step.label for step in planned if step.stage.name == stage]


def fingerprints(planned: Plan) -> dict[str, str]:
    return {step.label: step.fingerprint for step in planned}


def test_the_papers_table_is_eight_rows_each_with_its_baseline() -> None:
    """Ye et al. 2025, Table 1: each CC-Tuning row beside ML-SFT on the same data."""
    rows = [run for run in KNOWN_RUNS.values() if run.is_trained and (run.objective, run.english) == ("sft", "none")]
    assert [(run.label, run.data, run.connected, run.baseline) for run in rows] == [
        ("ML-SFT", "plain", False, "base"),
        ("ML-SFT +EN", "en", False, "ml-sft"),
        ("ML-SFT +MT", "mt", False, "ml-sft"),
        ("ML-SFT +SDRRL", "sdrrl", False, "ml-sft"),
        ("CC-Tuning", "plain", True, "ml-sft"),
        ("CC-Tuning +EN", "en", True, "ml-sft+en"),
        ("CC-Tuning +MT", "mt", True, "ml-sft+mt"),
        ("CC-Tuning +SDRRL", "sdrrl", True, "ml-sft+sdrrl"),
    ]


@pytest.mark.parametrize(
    ("name", "names", "baseline"),
    [
        ("cc-tuning+en", ["ml-sft", "ml-sft+en", "cc-tuning+en"], "ml-sft+en"),
        ("cc-tuning+en", ["ml-sft", "cc-tuning+en"], "ml-sft"),
        ("cc-tuning+en", ["base", "cc-tuning+en"], "base"),
        ("cc-tuning", ["cc-tuning"], ""),
        ("base", ["base", "ml-sft"], ""),
    ],
)
def test_a_run_is_held_against_the_nearest_baseline_that_the_recipe_has(
    name: str, names: list[str], baseline: str
) -> None:
    assert baseline_of(KNOWN_RUNS[name], read_runs(names)) == baseline


def test_a_run_like_another_has_what_that_one_has_but_for_what_it_says() -> None:
    changed = {"name": "b", "like": "a", "set": {"training.epochs": 2}, "label": "B"}
    first, second = read_runs([{"name": "a", "like": "cc-tuning+en", "set": {"connection.selector": "mean"}}, changed])
    assert (first.data, first.connected, first.baseline, first.title) == ("en", True, "ml-sft+en", "a")
    assert second.set == {"connection.selector": "mean", "training.epochs": 2}
    assert (second.data, second.title) == ("en", "B")


def test_a_section_in_set_changes_the_keys_that_it_names_and_no_other() -> None:
    nested = plan("[{name: a, like: ml-sft, set: {training: {epochs: 2, lora: {rank: 4}}}}]")
    dotted = plan("[{name: a, like: ml-sft, set: {training.epochs: 2, training.lora.rank: 4}}]")
    assert fingerprints(nested) == fingerprints(dotted)
    assert nested.runs[0].recipe.training.learning_rate == nested.recipe.training.learning_rate == 1e-3


def test_runs_are_written_as_they_are_read() -> None:
    runs = read_runs(
        ["base", "cc-tuning", {"name": "mean", "like": "cc-tuning", "set": {"connection.selector": "mean"}}]
    )
    places = {"model": {"base": "miniature"}, "data": {"source": "miniature"}, "translation": {"model": "miniature"}}
    recipe = Recipe.model_validate({"name": "x", "runs": runs, **places})
    written = recipe.model_dump(mode="json")["runs"]
    assert written[:2] == ["base", "cc-tuning"]
    assert read_runs(yaml.safe_load(yaml.safe_dump(written))) == runs


def test_runs_share_every_step_that_their_keys_do_not_touch() -> None:
    planned = plan("[cc-tuning, {name: ridge, like: cc-tuning, set: {transform.ridge: 0.1}}]")
    assert labels(planned, "train") == ["train cc-tuning"]
    assert labels(planned, "transform") == ["transform cc-tuning", "transform ridge"]
    assert labels(planned, "evaluate") == ["evaluate cc-tuning", "evaluate ridge"]


def test_changing_the_ridge_of_one_run_moves_its_transform_its_evaluation_and_the_report_only() -> None:
    runs = "[ml-sft, cc-tuning, {{name: ridge, like: cc-tuning, set: {{transform.ridge: {}}}}}]"
    before, after = fingerprints(plan(runs.format(0.1))), fingerprints(plan(runs.format(0.2)))
    assert {label for label in after if before.get(label) != after[label]} == {
        "transform ridge", "evaluate ridge", "report",
    }  # fmt: skip


def test_a_run_that_changes_its_data_has_steps_of_its_own_from_there_on() -> None:
    planned = plan("[ml-sft, {name: few, like: ml-sft, set: {data.rows: 7}}]")
    assert len(labels(planned, "select")) == len(labels(planned, "translate")) == 2
    assert len(planned.data) == 2
    assert set(planned.report.inputs) >= {"select", "translate", "select/few", "translate/few"}


def test_two_runs_with_other_distilled_rows_keep_both() -> None:
    planned = plan("[ml-sft+sdrrl, {name: more, like: ml-sft+sdrrl, set: {distillation.completion: 0.1}}, ml-sft]")
    assert len(labels(planned, "distill")) == 2
    assert len(labels(planned, "translate")) == 1


def test_each_trained_run_is_planned_once_per_seed_and_the_base_model_once() -> None:
    planned = plan("[base, ml-sft, cc-tuning]", "seeds=[0, 1]")
    assert [run.name for run in planned.runs] == [
        "base", "ml-sft-seed0", "ml-sft-seed1", "cc-tuning-seed0", "cc-tuning-seed1",
    ]  # fmt: skip
    seeds = [run.train.config.model_dump()["training"]["seed"] for run in planned.runs if run.train]
    assert seeds == [0, 1, 0, 1]
    assert labels(planned, "materialize") == ["materialize plain"]


def test_a_seed_that_is_the_recipes_own_is_trained_once() -> None:
    alone, among = plan("[ml-sft]", "training.seed=3"), plan("[ml-sft]", "seeds=[2, 3]")
    trained = {run.name: run.train.fingerprint for run in among.runs if run.train}
    assert alone.runs[0].train is not None
    assert trained["ml-sft-seed3"] == alone.runs[0].train.fingerprint


def test_a_command_for_one_run_takes_all_of_its_seeds_or_the_one_it_names() -> None:
    planned = plan("[ml-sft, cc-tuning]", "seeds=[0, 1]")
    assert [step.label for step in planned.up_to("train", "ml-sft")][-2:] == [
        "train ml-sft-seed0",
        "train ml-sft-seed1",
    ]
    assert [step.label for step in planned.up_to("train", "ml-sft-seed1")][-1] == "train ml-sft-seed1"


def test_the_base_model_alone_needs_no_data() -> None:
    assert [step.label for step in plan("[base]")] == ["world", "base_model", "evaluate base", "report"]


def test_a_checkpoint_from_elsewhere_is_evaluated_and_not_trained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    planned = plan(f"[{{name: theirs, checkpoint: '{tmp_path}'}}]")
    assert [step.label for step in planned] == ["world", "evaluate theirs", "report"]
    assert planned.runs[0].train is None and not planned.runs[0].spec.is_trained


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"has no config\.json and no \*\.safetensors; expected the folder of a model"),
        (("config.json", "pytorch_model.bin"), r"has no \*\.safetensors; .*weights in pickles are never read"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_before_anything_is_trained(
    files: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ConfigError, match=message):
        plan(f"[ml-sft, {{name: theirs, checkpoint: '{tmp_path}'}}]")


def test_ablations_of_selector_and_source_are_one_recipe() -> None:
    planned = plan(
        "[cc-tuning, {name: mean, like: cc-tuning, set: {connection.selector: mean}},"
        " {name: random, like: cc-tuning, set: {connection.selector: random}},"
        " {name: attention, like: cc-tuning, set: {connection.source: attention}},"
        " {name: block, like: cc-tuning, set: {connection.source: block}}]",
        "training.decision_maker_learning_rate=0.01",
    )
    rates = {
        run.name: run.train.config.model_dump()["training"]["decision_maker_learning_rate"]
        for run in planned.runs
        if run.train
    }
    assert rates == {"cc-tuning": 0.01, "mean": None, "random": None, "attention": 0.01, "block": 0.01}


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("[{name: a, like: a}]", "run a is like itself"),
        ("[{name: a, like: b}, {name: b, like: ml-sft}]", "run a is like 'b', which is not known before it"),
        ("[{name: a, like: ml-sft}, {name: a, like: cc-tuning}]", "run a stands twice"),
        ("[{like: ml-sft}]", "a mapping with a `name`"),
        ("[{name: a, like: ml-sft, sets: {}}]", "sets"),
        ("[{name: A b, like: ml-sft}]", "name"),
        ("ml-sft", "expected a list of runs"),
        ("[{name: a, like: ml-sft, baseline: c}]", "held against 'c', which is no run"),
        ("[{name: a, like: ml-sft, set: {execution.device: cpu}}]", "execution.device, but where and how fast"),
        (
            "[{name: a, like: ml-sft, set: {training.epoch: 1}}]",
            r"unknown key `training\.epoch`; did you mean `epochs`",
        ),
        ("[{name: a, like: ml-sft, set: {trainning.epochs: 1}}]", r"unknown key `trainning`; did you mean `training`"),
        ("[{name: a, like: ml-sft, set: {training: 1}}]", r"run a: .*training"),
        ("[{name: a, like: ml-sft, set: {training.epochs.x: 1}}]", "'epochs' is a value"),
        ("[{name: a, like: ml-sft, set: {training.epochs: many}}]", r"run a: training\.epochs.*got 'many'"),
        (
            "[{name: a, like: ml-sft, set: {connection.selector: mean}}]",
            "connection.selector, but it has no connection",
        ),
        ("[{name: a, like: ml-sft, set: {transform.ridge: 1}}]", "transform.ridge, but it has no connection"),
        (
            "[{name: a, like: ml-sft, set: {evaluation.controls: [other]}}]",
            "evaluation.controls, but it has no connection to control",
        ),
        ("[{name: a, like: ml-sft, set: {distillation.completion: 0.1}}]", "its rows are those of 'plain'"),
        ("[{name: a, like: base, set: {training.epochs: 1}}]", "training.epochs, but it is not trained"),
        ("[{name: a, like: ml-sft, set: {seeds: [1]}}]", "seeds, but that key is of the whole recipe"),
        (
            "[{name: a, like: cc-tuning, set: {connection.selector: mean, training.decision_maker_learning_rate: 1}}]",
            "only connection.selector 'decision_maker' reads it, and this run's is 'mean'",
        ),
        (
            "[{name: a, like: cc-tuning, set: {connection.selector: random, connection.temperature: 0.5}}]",
            "only connection.selector 'decision_maker' reads it, and this run's is 'random'",
        ),
        (
            "[{name: a, like: cc-tuning, set: {connection.seed: 1}}]",
            "only connection.selector 'random' reads it, and this run's is 'decision_maker'",
        ),
        (
            "[{name: a, like: ml-sft, set: {training.decision_maker_learning_rate: 1}}]",
            "this run's is 'none'",
        ),
        (
            "[{name: a, like: cc-tuning, set: {connection.selector: mean, transform.matrix: per_layer, "
            "transform.intercept: true, transform.targets: chosen}}]",
            "connection.selector is 'mean', which chooses no layer by the prompt",
        ),
        ("[{name: a, checkpoint: owner/model}]", "run a: revision is missing: pin the commit"),
        ("[{name: a, like: ml-sft, objective: sorting}]", r"runs\.0\.objective"),
        (
            "[base, {name: a, like: ml-sft, objectiv: sft}]",
            r"unknown key `runs\.1\.objectiv`; did you mean `objective`",
        ),
        ("[]", "runs: the list is empty"),
        (f"[{{name: {'a' * 101}, like: ml-sft}}]", "at most 100 characters"),
        ("[{name: .., like: ml-sft}]", r"runs\.0\.name"),
        ("[{name: a, like: [ml-sft]}]", r"run a is like \['ml-sft'\], which is not known before it"),
        ("[{name: a, like: ml-sft, set: [1]}]", "run a: `set` is a mapping of keys.*got \\[1\\]"),
        ("[{name: a, like: ml-sft, set: epochs}]", "run a: `set` is a mapping of keys.*got 'epochs'"),
        ("[{name: a, like: ml-sft, set: {training: {1: 2}}}]", "run a: `set` is a mapping of keys"),
        ("[{name: a, like: ml-sft, set: {execution: {threads: 2}}}]", "execution.threads, but where and how fast"),
        ("[{name: a, like: ml-sft, baseline: a}]", "run a is held against itself"),
        ("[{name: cc-tuning, connected: true, data: mt}]", "run cc-tuning is not the run that this name has"),
        ("[{name: a, like: cc-tuning, checkpoint: tests}]", "run a has a checkpoint, so it is not trained here"),
        ("[{name: a, checkpoint: tests, connected: true}]", "run a is not trained here, so it has no training rows"),
        ("[{name: a, like: base, data: mt}]", "run a is not trained here, so it has no training rows"),
        ("[{name: a, like: ml-sft, revision: abc}]", "run a has a revision, but no checkpoint"),
    ],
)
def test_a_run_that_cannot_be_is_refused_with_its_name(runs: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(runs)


@pytest.mark.parametrize(
    ("runs", "seeds", "message"),
    [
        ("[base]", "[1]", "seeds are of trained runs"),
        ("[ml-sft]", "[1, 1]", "expected different numbers"),
        ("[ml-sft]", "[true, false]", "seeds"),
        ("[ml-sft]", "[-1]", "expected different numbers"),
        ("[{name: a, like: ml-sft, set: {training.seed: 1}}]", "[2, 3]", "run a sets training.seed, and so do `seeds`"),
        ("[ml-sft, {name: ml-sft-seed1, like: base}]", "[1]", "would both be called ml-sft-seed1"),
        ("[ml-sft, {name: ml-sft-seed1, like: cc-tuning}]", "[1]", "would both be called ml-sft-seed1"),
        ("[ml-sft]", "[0, 4294967296]", r"run ml-sft: training\.seed: .*less than 4294967296"),
        ("[{name: a, like: ml-sft, set: {training: {seed: 1}}}]", "[2, 3]", "run a sets training.seed, and so do"),
    ],
)
def test_seeds_that_cannot_be_are_refused(runs: str, seeds: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(runs, f"seeds={seeds}")


def test_a_run_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        KNOWN_RUNS["ml-sft"].data = "en"  # type: ignore[misc]


def test_a_known_run_spelled_out_is_that_run() -> None:
    spelled = KNOWN_RUNS["cc-tuning+mt"].model_dump(exclude_defaults=True)
    assert read_runs([spelled]) == (KNOWN_RUNS["cc-tuning+mt"],)
    assert isinstance(read_runs(["base"])[0], RunSpec)


def test_the_report_is_told_what_a_run_stands_for() -> None:
    """Whatever the recipe leaves out: a run's name says it, or what it is like."""
    planned = plan("[ml-sft, {name: mine, like: cc-tuning, set: {connection.selector: mean}}]")
    told = planned.report.config.model_dump()["recipe"]["runs"]
    assert [(run["name"], run["objective"], run["data"], run["connected"]) for run in told] == [
        ("ml-sft", "sft", "plain", False),
        ("mine", "sft", "plain", True),
    ]
