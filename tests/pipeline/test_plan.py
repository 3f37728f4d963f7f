"""The plan: every fingerprint known before anything runs, and moved by what matters only."""

from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.estimates import estimate_steps
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.model_shapes import parameters_of
from cc_tuning.pipeline.plan import Plan, plan_recipe
from data_contracts.layout import WORLD_DEVELOPMENT_ITEMS
from data_contracts.store import ArtifactRef

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "tests" / "flows" / "smallest.yaml"


def plan(*overrides: str, recipe: Path = SMALLEST) -> Plan:
    return plan_recipe(load_recipe(recipe, overrides), sources_may_be_missing=True)


def changed(*overrides: str) -> set[str]:
    """The labels of the steps whose fingerprint an override moves."""
    before = {step.fingerprint for step in plan()}
    return {step.label for step in plan(*overrides) if step.fingerprint not in before}


EVERY_RUN = {
    "train ml-sft", "evaluate ml-sft", "train cc-tuning", "transform cc-tuning", "evaluate cc-tuning", "report",
}  # fmt: skip


def test_changing_worker_count_device_or_place_keeps_every_fingerprint() -> None:
    assert not changed(
        "execution.processes=4", "execution.threads=3", "execution.device=cuda", "execution.store=/elsewhere",
        "execution.device_batch_size=4", "execution.device_batch_tokens=100", "execution.max_padding=0.5",
        "execution.report_to=[tensorboard]", "execution.translation_shard_rows=7", "execution.quarantine_limit=0.9",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("evaluation.max_new_tokens=3", {"evaluate ml-sft", "evaluate cc-tuning", "report"}),
        ("transform.ridge=0", {"transform cc-tuning", "evaluate cc-tuning", "report"}),
        ("connection.selector=mean", {"train cc-tuning", "transform cc-tuning", "evaluate cc-tuning", "report"}),
        ("training.seed=1", EVERY_RUN),
        (
            "training.decision_maker_learning_rate=0.001",
            {"train cc-tuning", "transform cc-tuning", "evaluate cc-tuning", "report"},
        ),
        ("materialization.cutoff_tokens=99", EVERY_RUN | {"materialize plain"}),
        ("data.decontamination=none", EVERY_RUN | {"materialize plain", "select", "translate"}),
        ("data.seed=1", EVERY_RUN | {"materialize plain", "select", "translate"}),
    ],
)
def test_a_change_moves_its_stage_and_what_depends_on_it_only(override: str, expected: set[str]) -> None:
    assert changed(override) == expected


def test_inputs_come_before_the_steps_that_read_them() -> None:
    seen = set()
    for step in plan("runs=[ml-sft, ml-sft+en, ml-sft+mt, ml-sft+sdrrl, cc-tuning, cc-tuning+en, cc-tuning+sdrrl]"):
        for source in step.inputs.values():
            if isinstance(source, ArtifactRef):
                assert source.at("") in seen, step.label
        seen.add(step.ref)


def test_runs_with_the_same_data_share_their_training_rows() -> None:
    labels = [step.label for step in plan("runs=[ml-sft, cc-tuning, ml-sft+en, cc-tuning+en]")]
    assert labels.count("materialize plain") == labels.count("materialize en") == 1


SDRRL = "runs=[ml-sft, ml-sft+sdrrl, cc-tuning+sdrrl]"


def test_only_runs_with_self_distillation_need_its_stage() -> None:
    assert plan().data[0].distill is None
    planned = plan(SDRRL)
    labels = [step.label for step in planned]
    assert labels.count("distill") == labels.count("materialize sdrrl") == 1
    assert "distill" not in [step.label for step in planned.up_to("train", "ml-sft")]
    needed = [step.label for step in planned.up_to("train", "cc-tuning+sdrrl")]
    assert needed == [
        "world", "base_model", "translator", "select", "translate", "distill", "materialize sdrrl",
        "train cc-tuning+sdrrl",
    ]  # fmt: skip


def test_the_tiny_translator_learns_from_english_only_where_it_is_asked_to() -> None:
    ways = {
        runs: next(step for step in plan(runs) if step.stage.name == "translator").config.model_dump()["both_ways"]
        for runs in ("runs=[ml-sft, cc-tuning+en]", SDRRL)
    }
    assert list(ways.values()) == [False, True]


@pytest.mark.parametrize("asked", ["evaluation.competitors=[pivot]", "pivot of a run"])
@pytest.mark.parametrize("has_own_rows", [True, False])
def test_the_tiny_translator_of_own_rows_is_told_that_a_pivot_reads_prompts(
    asked: str, has_own_rows: bool, tmp_path: Path
) -> None:
    """The world's rows need a translator in any case."""
    of_run = "runs=[{name: x, like: cc-tuning, set: {evaluation.competitors: [pivot]}}]"
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        '{"inputs": "Où ?", "targets": "Ici.", "language": "French", "language_code": "fra"}\n', encoding="utf-8"
    )
    source = [f"data.source={rows}"] if has_own_rows else []
    (translator,) = (
        step
        for step in plan(of_run if asked == "pivot of a run" else asked, *source)
        if step.stage.name == "translator"
    )
    assert translator.config.model_dump()["reads_prompts"] is has_own_rows


def test_settings_of_self_distillation_move_its_rows_and_nothing_else() -> None:
    before = {step.fingerprint for step in plan(SDRRL)}
    moved = {step.label for step in plan(SDRRL, "distillation.completion=0.1") if step.fingerprint not in before}
    assert moved == {
        "distill", "materialize sdrrl", "train ml-sft+sdrrl", "evaluate ml-sft+sdrrl", "train cc-tuning+sdrrl",
        "transform cc-tuning+sdrrl", "evaluate cc-tuning+sdrrl", "report",
    }  # fmt: skip
    assert changed("distillation.completion=0.1") == {"report"}, "the report prints the whole recipe"
    assert plan(SDRRL, "execution.distillation_shard_rows=7").report.fingerprint in before


@pytest.mark.parametrize(("name", "size"), [("llama31_8b", 1.2), ("qwen25_7b", 1.6)])
def test_self_distillation_makes_the_papers_number_of_rows(name: str, size: float) -> None:
    planned = plan("runs=[ml-sft+sdrrl]", recipe=ROOT / "recipes" / f"{name}.yaml")
    estimates = estimate_steps(planned)
    materialize = planned.runs[0].materialize
    assert materialize is not None
    rows = estimates[materialize.fingerprint].rows
    assert rows is not None and abs(rows / 20_236 - size) < 0.001
    distill = planned.data[0].distill
    assert distill is not None
    assert estimates[distill.fingerprint].rows == rows - 20_236


def test_a_stage_of_one_run_needs_only_its_own_inputs() -> None:
    steps = plan("runs=[ml-sft, cc-tuning, ml-sft+en]").up_to("train", "cc-tuning")
    assert [step.label for step in steps] == [
        "world", "base_model", "translator", "select", "translate", "materialize plain", "train cc-tuning",
    ]  # fmt: skip


@pytest.mark.parametrize(("stage", "run"), [("polish", None), ("train", "cc-tuning+mt"), ("transform", "ml-sft")])
def test_an_unknown_stage_or_run_is_named_with_the_known_ones(stage: str, run: str | None) -> None:
    with pytest.raises(ConfigError, match=r"this recipe has no (stage|run)"):
        plan().up_to(stage, run)


@pytest.mark.parametrize("name", ["llama31_8b", "qwen25_7b"])
def test_the_papers_recipes_are_planned_without_a_network(name: str) -> None:
    planned = plan(recipe=ROOT / "recipes" / f"{name}.yaml")
    estimates = estimate_steps(planned)
    assert len(planned.runs) == 6
    assert estimates[planned.data[0].select.fingerprint].rows == 20_236
    # 8.03 and 7.62 billion parameters by their cards, 2 bytes each; the name says 8 and 7.
    train = planned.runs[0].train
    assert train is not None
    disk = estimates[train.fingerprint].disk_bytes
    assert disk is not None and 14e9 <= disk <= 17e9


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("meta-llama/Llama-3.1-8B", 8_000_000_000),
        ("Qwen/Qwen2.5-7B", 7_000_000_000),
        ("HuggingFaceTB/SmolLM2-135M", 135_000_000),
        ("openai-community/gpt2", None),
    ],
)
def test_the_size_of_a_model_is_read_from_its_name_or_unknown(place: str, expected: int | None) -> None:
    assert parameters_of(place) == expected


def test_a_local_source_that_is_missing_is_refused_when_it_matters(tmp_path: Path) -> None:
    recipe = load_recipe(SMALLEST, [f"data.source={tmp_path / 'rows.parquet'}"])
    with pytest.raises(ConfigError, match=r"rows\.parquet does not exist"):
        plan_recipe(recipe)


def test_a_local_source_moves_fingerprints_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    first = plan(f"data.source={path}").data[0].select.fingerprint
    path.write_text("{} \n")
    assert plan(f"data.source={path}").data[0].select.fingerprint != first


def test_what_answers_the_items_answers_for_self_distillation_too() -> None:
    (data,) = plan(SDRRL).data
    assert data.distill is not None
    evaluation = plan(SDRRL).runs[0].evaluate.config.model_dump()["evaluation"]
    assert data.distill.config.model_dump()["engine"] == evaluation["engine"] == "transformers"


def test_development_items_are_asked_of_the_models_that_test_items_are_asked_of() -> None:
    assert changed("evaluation.items=miniature/development") == {"evaluate ml-sft", "evaluate cc-tuning", "report"}


def test_development_items_are_those_of_their_folder_and_test_items_stay_out_of_the_rows() -> None:
    planned = plan("evaluation.items=miniature/development")
    asked = {source.subpath for run in planned.runs if isinstance(source := run.evaluate.inputs["items"], ArtifactRef)}
    assert asked == {WORLD_DEVELOPMENT_ITEMS}
    assert planned.data[0].select.inputs["items"] == plan().data[0].select.inputs["items"]
    assert isinstance(planned.data[0].select.inputs["items"], ArtifactRef)
