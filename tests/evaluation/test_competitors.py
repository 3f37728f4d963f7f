"""English as text and English by a translator: what a model is asked, and that only the English differs."""

from pathlib import Path

import polars as pl
import pytest
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.competitors import parts_of, with_competitors
from cc_tuning.evaluation.config import EvaluationConfig, RunEvaluation
from cc_tuning.inference.jobs import InferenceJob, OnAnswers
from cc_tuning.inference.transformers_engine import ANSWERING
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.pretrained import load_config
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_here
from cc_tuning.stages.evaluate import evaluate_with
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.files import read_json
from data_contracts.layout import PIVOT_PROMPTS
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import CandidateLikelihood, PivotPrompt, Prediction
from tests.checkpoints import save_connected_checkpoint, save_plain_checkpoint

KEY = ["benchmark", "language", "item_id"]
QUESTIONS = {"en": "Which town is in Kenya?", "hi": "केन्या में कौन सा नगर है?", "sw": "Mji upi uko Kenya?"}
ITEMS = [
    {
        "benchmark": benchmark,
        "language": language,
        "item_id": f"{benchmark}-{number}",
        "prompt": f"{number}. {question}",
        "prompt_en": f"{number}. {QUESTIONS['en']}",
        "answers": [answer],
        "choices_kind": kind,
    }
    for benchmark, answer, kind in (("MKQA", "Nairobi", "answer_aliases"), ("XNLI", "2", "option_number_1_3"))
    for language, question in QUESTIONS.items()
    for number in range(3)
]


class EngineHere:
    """The reference engine without its process."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        run_here(ANSWERING, job, lambda report: on_answers(report.answered))


def pivots_of(rows: list[dict[str, object]]) -> pl.DataFrame:
    """PivotPrompt rows of items, each its `prompt_en`."""
    frame = pl.DataFrame(rows).select(*KEY, "prompt_en", quality=pl.lit(1.0), flags=pl.lit([], pl.List(pl.String)))
    return PivotPrompt.validate(frame, cast=True)


def evaluate(
    folder: Path, checkpoint: Path, items: list[dict[str, object]], pivots: pl.DataFrame | None, *competitors: str
) -> tuple[pl.DataFrame, pl.DataFrame, Path]:
    """Predictions and likelihoods of `items`, and the artifact's folder."""
    (folder / "items").mkdir(parents=True)
    (folder / "run").mkdir()
    pl.DataFrame(items).write_parquet(folder / "items" / "items.parquet")
    inputs = {"items": Location(str(folder / "items")), "checkpoint": Location(str(checkpoint))}
    if pivots is not None:
        write_parquet(pivots, folder / "pivot" / PIVOT_PROMPTS, PivotPrompt)
        inputs["pivot"] = Location(str(folder / "pivot"))
    evaluation = EvaluationConfig.model_validate(
        {"benchmarks": ("MKQA", "XNLI"), "max_new_tokens": 5, "bootstrap_samples": 20, "competitors": competitors}
    )
    execution = Execution(device="cpu", threads=1, evaluation_batch_size=4)
    config = RunEvaluation(run="run", evaluation=evaluation)
    evaluate_with(EngineHere(), Build(config, inputs, folder / "run", execution, no_progress))
    return (
        read_parquet(folder / "run" / "predictions.parquet", Prediction),
        read_parquet(folder / "run" / "likelihoods.parquet", CandidateLikelihood),
        folder / "run",
    )


def of(rows: pl.DataFrame, connection: str) -> pl.DataFrame:
    """What was answered in one mode, without its name."""
    return rows.filter(pl.col("connection").cast(pl.String) == connection).drop("connection")


@pytest.fixture(scope="module")
def plain(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> Path:
    return save_plain_checkpoint(tmp_path_factory.mktemp("plain") / "plain", tiny_llama_directory, tiny_tokenizer)


@pytest.fixture(scope="module")
def connected(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> Path:
    folder = tmp_path_factory.mktemp("connected") / "connected"
    return save_connected_checkpoint(folder, tiny_llama_directory, tiny_tokenizer)


def test_context_is_what_the_same_model_says_to_english_and_prompt_in_one(tmp_path: Path, plain: Path) -> None:
    """By answers and by likelihood, with every English prompt once, since it is its own English."""
    by_hand = [
        item | {"prompt": item["prompt"] if item["language"] == "en" else f"{item['prompt_en']}\n\n{item['prompt']}"}
        for item in ITEMS
    ]
    answers, likelihoods, _ = evaluate(tmp_path / "asked", plain, ITEMS, None, "context")
    expected_answers, expected_likelihoods, _ = evaluate(tmp_path / "by_hand", plain, by_hand, None)
    assert of(answers, "context").equals(of(expected_answers, "off"))
    assert of(likelihoods, "context").equals(of(expected_likelihoods, "off"))
    assert not of(likelihoods, "context").equals(of(likelihoods, "off"))
    english = pl.col("language") == "en"
    assert of(likelihoods, "context").filter(english).equals(of(likelihoods, "off").filter(english))


def test_pivot_with_the_real_english_prompts_is_parallel(tmp_path: Path, connected: Path) -> None:
    foreign = [item for item in ITEMS if item["language"] != "en"]
    answers, likelihoods, folder = evaluate(tmp_path, connected, ITEMS, pivots_of(foreign), "pivot", "pivot_context")
    assert of(answers, "pivot").equals(of(answers, "parallel"))
    assert of(likelihoods, "pivot").equals(of(likelihoods, "parallel"))
    assert not of(likelihoods, "pivot").equals(of(likelihoods, "off"))
    assert read_json(folder / "scoring.json")["pivot"].startswith("0 of 12 prompts have no translation")


def test_items_without_a_translation_are_asked_with_the_connection_off_and_counted(
    tmp_path: Path, connected: Path
) -> None:
    """And without English of their own: a pivot needs none."""
    items = [item | {"prompt_en": None} for item in ITEMS]
    swahili = [item for item in ITEMS if item["language"] == "sw"]
    answers, likelihoods, folder = evaluate(tmp_path, connected, items, pivots_of(swahili), "pivot", "pivot_context")
    assert read_json(folder / "scoring.json")["pivot"].startswith("6 of 12 prompts have no translation")
    hindi = pl.col("language") == "hi"
    for mode in ("pivot", "pivot_context"):
        assert of(answers, mode).height == of(answers, "off").height == len(items)
        assert of(likelihoods, mode).filter(hindi).equals(of(likelihoods, "off").filter(hindi))
        assert not of(likelihoods, mode).filter(~hindi).equals(of(likelihoods, "off").filter(~hindi))
    assert not of(likelihoods, "pivot").equals(of(likelihoods, "pivot_context"))


def test_a_model_without_a_connection_has_every_competitor_but_the_pivot_through_it(
    tmp_path: Path, plain: Path
) -> None:
    foreign = [item for item in ITEMS if item["language"] != "en"]
    answers, likelihoods, _ = evaluate(tmp_path, plain, ITEMS, pivots_of(foreign), "context", "pivot", "pivot_context")
    assert set(answers["connection"].cast(pl.String)) == {"off", "context", "pivot_context"}
    # The translator said just what the items have.
    assert of(likelihoods, "pivot_context").equals(of(likelihoods, "context"))


def test_an_item_whose_longer_prompt_does_not_fit_is_left_out_of_every_mode(
    tmp_path: Path, plain: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    """The prompt takes more than half of the context, and its English version as much."""
    context, prompts = load_config(Location(str(plain))).max_position_embeddings, ChatPrompts(tiny_tokenizer)
    text = next(text for n in range(1, context) if len(prompts.encode_prompt(text := "word " * n)) > 0.6 * context)
    long = ITEMS[4] | {"prompt_en": f"{text}!", "prompt": text}
    items = [*ITEMS[:4], long, *ITEMS[5:]]
    answers, _, folder = evaluate(tmp_path, plain, items, None, "context")
    assert of(answers, "off").height == of(answers, "context").height == len(items) - 1
    rules = pl.read_parquet(folder / "quarantine.parquet")["rule"].to_list()
    assert rules == ["prompt_longer_than_context"]
    alone, _, _ = evaluate(tmp_path / "alone", plain, items, None)
    assert of(alone, "off").height == len(items)


def test_without_the_translators_prompts_the_pivot_is_refused(tmp_path: Path, connected: Path) -> None:
    with pytest.raises(ConfigError, match="the artifact of the stage `pivot`"):
        evaluate(tmp_path, connected, ITEMS, None, "pivot")


def test_a_pivot_of_another_item_is_taken_for_none() -> None:
    """Joined by benchmark, language and id, in whatever order the rows come."""
    items = pl.DataFrame(ITEMS)
    foreign = [item for item in ITEMS if item["language"] != "en"]
    shuffled = pivots_of(foreign).sample(fraction=1, shuffle=True, seed=3)
    encoded: list[str] = []

    def encode(texts: list[str]) -> list[list[int]]:
        encoded.extend(texts)
        return [[len(encoded)] for _ in texts]

    rows = with_competitors(items, ("pivot",), shuffled, encode)  # type: ignore[arg-type]
    assert encoded == [item["prompt"] if item["language"] == "en" else item["prompt_en"] for item in ITEMS]
    others = shuffled.with_columns(item_id=pl.col("item_id") + "!")
    lacking = with_competitors(items, ("pivot",), others, encode)  # type: ignore[arg-type]
    assert rows["pivot_ids"].null_count() == 0
    assert lacking["pivot_ids"].is_null().to_list() == [item["language"] != "en" for item in ITEMS]
    connected, off = parts_of("pivot", lacking.with_columns(input_ids=pl.lit([1]), english_input_ids=pl.lit([2])))
    assert (connected.connection, connected.rows.height, off.connection, off.rows.height) == ("parallel", 6, "off", 12)
