"""All stages, at the smallest size, without Prefect: from a recipe to a report and a checkpoint that answers."""

import io
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.items import load_items
from cc_tuning.inference.answer_one import GenerationRequest, generate_text
from cc_tuning.inference.generating import generate_answers
from cc_tuning.inference.jobs import Generate
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import CrossLingualModel
from cc_tuning.model.transform_file import read_transform_matrix
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.plan import Plan, plan_recipe
from cc_tuning.pipeline.publishing import publish
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.step import run_step
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from data_contracts.errors import ArtifactMismatch
from data_contracts.parquet import read_parquet
from data_contracts.schemas import ItemScore, Prediction, Score
from data_contracts.store import ArtifactStore

SMALLEST = Path(__file__).parent / "smallest.yaml"


def run_all(plan: Plan) -> dict[str, bool]:
    """Run every step; whether each was cached."""
    execution = plan.recipe.execution
    store = ArtifactStore(execution.store)
    return {step.label: run_step(step, store, execution, no_progress).was_cached for step in plan}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("pipeline")
    overrides = [f"execution.store={folder / 'store'}", f"execution.output={folder / 'runs'}"]
    plan = plan_recipe(load_recipe(SMALLEST, overrides))
    assert not any(run_all(plan).values())
    publish(plan, plan.recipe.execution)
    return plan


@pytest.fixture
def store(finished: Plan) -> ArtifactStore:
    return ArtifactStore(finished.recipe.execution.store)


def test_a_second_run_computes_nothing(finished: Plan) -> None:
    assert all(run_all(finished).values())


def test_a_published_folder_is_mended_and_a_file_in_its_place_is_one_line(finished: Plan, tmp_path: Path) -> None:
    execution = finished.recipe.execution.model_copy(update={"output": tmp_path / "runs"})
    page = publish(finished, execution)
    weights = page.parents[1] / "checkpoints" / "cc-tuning" / "model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    page.unlink()
    publish(finished, execution)
    assert weights.read_bytes() == sound and page.is_file()
    shutil.rmtree(page.parent)
    page.parent.write_text("mine")
    with pytest.raises(ConfigError, match=r"report: a file stands there; make room for a folder there"):
        publish(finished, execution)
    assert page.parent.read_text() == "mine"


def test_counts_add_up_from_stage_to_stage(finished: Plan, store: ArtifactStore) -> None:
    (data,) = finished.data
    select, translate = store.manifest(data.select.ref).rows, store.manifest(data.translate.ref).rows
    materialize = store.manifest(finished.runs[0].materialize.ref).rows
    train = store.manifest(finished.runs[0].train.ref).rows
    assert translate.read == select.kept
    assert materialize.read == translate.kept
    assert train.read == materialize.kept


def test_a_cc_run_is_scored_three_ways_and_a_baseline_one_way(finished: Plan, store: ArtifactStore) -> None:
    for run, connections in ((finished.runs[0], {"off"}), (finished.runs[1], {"off", "transform", "parallel"})):
        folder = store.path(run.evaluate.ref)
        scores = read_parquet(folder / "scores.parquet", Score)
        items = read_parquet(folder / "item_scores.parquet", ItemScore)
        predictions = read_parquet(folder / "predictions.parquet", Prediction)
        controls = {"constant", "other"} if len(connections) > 1 else set()
        assert set(scores.filter(metric="gold_nll")["connection"]) == connections | controls
        # What XNLI and XLSum are scored by, over the same items.
        scored = items.filter(pl.col("metric").is_in(["accuracy", "rougeL"]))
        assert set(scored["connection"]) == connections and scored.height == predictions.height
        connected = predictions.filter(pl.col("connection") != "off")
        assert connected["selected_layer"].null_count() == 0


def answer(checkpoint: Path, prompt: str, **settings: Any) -> str:
    """What `cc-tuning generate` prints; without settings, four greedy tokens with the connection off."""
    asked: dict[str, Any] = {
        "english_prompt": "", "connection": "off", "max_new_tokens": 4, "temperature": 0.0, "seed": 0, **settings,
    }  # fmt: skip
    output = io.StringIO()
    generate_text(GenerationRequest(checkpoint=checkpoint, prompt=prompt, **asked), output)
    return output.getvalue()


def test_the_published_checkpoint_is_an_ordinary_model_and_answers(finished: Plan) -> None:
    checkpoint = finished.recipe.execution.output / "smallest" / "checkpoints" / "cc-tuning"
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert model.generation_config.eos_token_id
    for connection, english in (("transform", ""), ("parallel", "Where was Asha born?"), ("off", "")):
        spoken = answer(checkpoint, "Asha alizaliwa wapi?", connection=connection, english_prompt=english)
        assert spoken.endswith("\n")


def test_sampling_repeats_with_its_seed(finished: Plan) -> None:
    checkpoint = finished.recipe.execution.output / "smallest" / "checkpoints" / "cc-tuning"
    sampling = {"connection": "transform", "max_new_tokens": 12, "temperature": 1.5, "seed": 7}
    assert answer(checkpoint, "Asha?", **sampling) == answer(checkpoint, "Asha?", **sampling)


def test_a_baseline_has_no_connection_to_use(finished: Plan) -> None:
    baseline = finished.recipe.execution.output / "smallest" / "checkpoints" / "ml-sft"
    with pytest.raises(ConfigError, match="has no connection"):
        answer(baseline, "x", connection="parallel", english_prompt="y")


@pytest.mark.parametrize(("matrix", "intercept"), [("per_layer", False), ("shared", True), ("per_layer", True)])
def test_every_form_of_the_matrix_is_evaluated_and_published(finished: Plan, matrix: str, intercept: bool) -> None:
    execution = finished.recipe.execution
    overrides = [
        f"execution.store={execution.store}", f"execution.output={execution.output}", "name=forms",
        "transform.ridge=gcv", f"transform.matrix={matrix}", f"transform.intercept={str(intercept).lower()}",
    ]  # fmt: skip
    plan = plan_recipe(load_recipe(SMALLEST, overrides))
    made = {label for label, was_cached in run_all(plan).items() if not was_cached}
    assert made == {"transform cc-tuning", "evaluate cc-tuning", "report"}
    publish(plan, execution)
    checkpoint, run = execution.output / "forms" / "checkpoints" / "cc-tuning", plan.runs[1]
    model = CrossLingualModel.from_pretrained(checkpoint)
    size, layers = model.config.hidden_size, (model.config.num_hidden_layers,) if matrix == "per_layer" else ()
    assert model.transform is not None and run.transform is not None
    assert model.transform.matrix.shape == (*layers, size, size)
    assert (model.transform.intercept is None) is not intercept
    fitted = read_transform_matrix(
        ArtifactStore(execution.store).path(run.transform.ref) / "transform_matrix.safetensors"
    )
    assert fitted.tensors.keys() == model.transform.tensors.keys()
    assert all(torch.equal(tensor, model.transform.tensors[name]) for name, tensor in fitted.tensors.items())

    (folder,) = execution.store.glob("*/*/benchmarks")
    asked = load_items(folder).items.filter(benchmark="XLSum", language="sw").sort("item_id")
    tokenizer = load_tokenizer(checkpoint)
    chat = ChatPrompts(tokenizer)
    prompts = [Prompt("", ids) for ids in chat.encode_prompts(asked["prompt"].to_list())]
    greedy = Generate(max_new_tokens=4, stop_token_ids=chat.stop_token_ids)
    answers = generate_answers(model, prompts, "transform", greedy)
    evaluated = ArtifactStore(execution.store).path(run.evaluate.ref) / "predictions.parquet"
    predictions = read_parquet(evaluated, Prediction).filter(
        connection="transform", benchmark="XLSum", language="sw"
    ).sort("item_id")  # fmt: skip
    assert predictions["item_id"].equals(asked["item_id"]) and predictions.height
    assert predictions["selected_layer"].to_list() == [answer.selected_layer for answer in answers]
    assert predictions["response"].to_list() == [
        tokenizer.decode(answer.token_ids, skip_special_tokens=True) for answer in answers
    ]


def test_a_truncated_published_checkpoint_is_named_and_published_again(finished: Plan) -> None:
    checkpoint = finished.recipe.execution.output / "smallest" / "checkpoints" / "cc-tuning"
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(ArtifactMismatch, match=str(checkpoint)):
        answer(checkpoint, "x")
    weights.write_bytes(whole)


def test_a_damaged_file_remakes_its_stage_and_what_depends_on_it_only(finished: Plan, store: ArtifactStore) -> None:
    scores = {run.name: read_parquet(store.path(run.evaluate.ref) / "scores.parquet", Score) for run in finished.runs}
    transform = finished.runs[1].transform
    assert transform is not None
    path = store.path(transform.ref) / "transform_matrix.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    remade = {label for label, was_cached in run_all(finished).items() if not was_cached}
    assert remade == {"transform cc-tuning", "evaluate cc-tuning", "report"}
    for run in finished.runs:
        assert read_parquet(store.path(run.evaluate.ref) / "scores.parquet", Score).equals(scores[run.name])
