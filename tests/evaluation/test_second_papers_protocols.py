"""How Lee et al. 2025 ask: fields by name, likelihoods of options, answers drawn again until one can be read."""

from pathlib import Path

import polars as pl
import pytest
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.evaluation.config import EvaluationConfig, RunEvaluation
from cc_tuning.evaluation.prompts import languages_of, option_labels, render
from cc_tuning.evaluation.requests import generate_request
from cc_tuning.evaluation.sources.config import items_config
from cc_tuning.inference.generating import Answer
from cc_tuning.inference.job_files import read_requests, write_generated
from cc_tuning.inference.jobs import Engine, Generate, InferenceJob, OnAnswers
from cc_tuning.inference.transformers_engine import ANSWERING
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.runtime.threads import RunAll
from cc_tuning.runtime.workers import run_here
from cc_tuning.stages.evaluate import evaluate_with
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.parquet import read_parquet
from data_contracts.schemas import CandidateLikelihood, ItemScore, Prediction
from tests.checkpoints import save_plain_checkpoint

TABLE_7 = {
    "zh": ("文档", "问题", "答案"), "de": ("Dokument", "Frage", "Antwort"), "ko": ("문서", "질문", "정답"),
    "id": ("Dokumen", "Pertanyaan", "Jawaban"), "sw": ("Hati", "Swali", "Jibu"), "yo": ("Iwe", "Ibèèrè", "Idahun"),
}  # fmt: skip
"""Lee et al. 2025, Table 7: the words for passage, question and answer."""
FIELDS = {"passage": "P", "question": "Q", "options": ("w", "x", "y", "z")}


class EngineHere:
    """The reference engine without its process."""

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        run_here(ANSWERING, job, lambda report: on_answers(report.answered))


class LaterAndLater:
    """An engine whose item number n first names an option, the right one, in its try n; before, it says nothing so."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.asked: list[tuple[str, int, Generate]] = []

    def answer(self, job: InferenceJob, on_answers: OnAnswers, run_all: RunAll) -> None:
        for shard in job.shards:
            assert isinstance(shard.request, Generate)
            ids = read_requests(job, shard)["item_id"].to_list()
            attempt = int(shard.name[3]) if shard.name.startswith("try") else 1
            self.asked.append((shard.name, len(ids), shard.request))
            texts = ["The answer is C." if int(item_id[-4:]) <= attempt else "I am not sure." for item_id in ids]
            answers = [Answer(self._tokenizer.encode(text, add_special_tokens=False), True, None) for text in texts]
            write_generated(job, shard, ids, answers)
            on_answers(len(ids))


def evaluated(
    folder: Path,
    items: list[dict[str, object]],
    checkpoint: Path,
    engine: Engine,
    instructions: Path | None = None,
    **settings: object,
) -> Path:
    """The stage's folder after `items` were answered."""
    (folder / "items").mkdir(parents=True)
    pl.DataFrame(items).write_parquet(folder / "items" / "items.parquet")
    names = tuple(dict.fromkeys(str(item["benchmark"]) for item in items))
    config = EvaluationConfig(**{"benchmarks": names, "bootstrap_samples": 50} | settings)  # type: ignore[arg-type]
    inputs = {"items": Location(str(folder / "items")), "checkpoint": Location(str(checkpoint))}
    if instructions is not None:
        inputs["instructions"] = Location(str(instructions))
    execution = Execution(device="cpu", threads=1, evaluation_batch_size=2)
    (folder / "evaluate").mkdir()
    build = Build(RunEvaluation(run="clo", evaluation=config), inputs, folder / "evaluate", execution, no_progress)
    evaluate_with(engine, build)
    return folder / "evaluate"


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> Path:
    return save_plain_checkpoint(tmp_path / "plain", tiny_llama_directory, tiny_tokenizer)


def choice(number: int, benchmark: str = "MMMLU", **changes: object) -> dict[str, object]:
    return {
        "benchmark": benchmark, "language": "sw", "item_id": f"item-{number:04d}", "prompt": f"Swali {number}?",
        "prompt_en": None, "answers": ["C"], "choices_kind": "option_letter_A_D", "choices": ["w", "x", "y", "z"],
        "group": "stem", "cluster": None,
    } | changes  # fmt: skip


@pytest.mark.parametrize("language", TABLE_7)
def test_fields_and_labels_are_those_of_the_papers_table(language: str) -> None:
    passage, question, answer = TABLE_7[language]
    labels = ["가) ", "나) ", "다) ", "라) "] if language == "ko" else ["A. ", "B. ", "C. ", "D. "]
    options = "\n".join(label + text for label, text in zip(labels, FIELDS["options"], strict=True))
    assert render("BELEBELE-fields", language, FIELDS) == f"{passage}: P\n{question}: Q\n{options}\n{answer}:"


def test_a_language_without_names_is_refused() -> None:
    assert languages_of("BELEBELE-fields") == ("de", "en", "id", "ko", "sw", "yo", "zh")
    with pytest.raises(ConfigError, match="no words in language 'fr'"):
        render("BELEBELE-fields", "fr", FIELDS)
    made = items_config(["BELEBELE-fields"], ["ko", "en"], 10, {"sample": "seeded", "sample_seed": 0})
    assert made.languages["BELEBELE-fields"] == ("en", "ko")


def test_korean_options_are_asked_for_by_their_own_labels(
    tmp_path: Path, checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    prompt = render("BELEBELE-fields", "ko", FIELDS)
    item = choice(1, "BELEBELE-fields", language="ko", prompt=prompt)
    folder = evaluated(tmp_path / "ko", [item], checkpoint, EngineHere())
    prompts, labels = ChatPrompts(tiny_tokenizer), option_labels("BELEBELE-fields", "ko")
    lengths = [
        len(prompts.encode_example(prompt, label).input_ids) - len(prompts.encode_prompt(prompt)) for label in labels
    ]
    assert min(lengths) > 2, "a label and the end of the turn are several tokens"
    rows = read_parquet(folder / "likelihoods.parquet", CandidateLikelihood).filter(pl.col("candidate") != "gold")
    assert dict(rows.select("candidate", "tokens").iter_rows()) == {
        name: length - 1 for name, length in zip("ABCD", lengths, strict=True)
    }
    (answer,) = read_parquet(folder / "predictions.parquet", Prediction).iter_rows(named=True)
    assert answer["new_tokens"] == lengths["ABCD".index(answer["response"])]


def test_answers_are_drawn_again_until_an_option_can_be_read_three_times_at_most(
    tmp_path: Path, checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    engine = LaterAndLater(tiny_tokenizer)
    items = [choice(number) for number in range(1, 6)]
    folder = evaluated(tmp_path / "tries", items, checkpoint, engine, tries=3, likelihoods=False, max_new_tokens=12)
    assert [count for _, count, _ in engine.asked] == [5, 4, 3]
    first, *later = [request for _, _, request in engine.asked]
    assert first.sampling is None and len({request.sampling.seed for request in later if request.sampling}) == 2
    scores = read_parquet(folder / "item_scores.parquet", ItemScore)
    assert dict(scores.filter(pl.col("metric") == "accuracy").select("item_id", "value").iter_rows()) == {
        "item-0001": 100.0, "item-0002": 100.0, "item-0003": 100.0, "item-0004": 0.0, "item-0005": 0.0,
    }  # fmt: skip
    read = scores.filter(pl.col("metric") == "extracted")
    assert read["value"].mean() == 60.0, "two of five stay without an option, and count as wrong"
    assert set(read["group"]) == {"stem"}


def test_one_try_asks_once(tmp_path: Path, checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    engine = LaterAndLater(tiny_tokenizer)
    evaluated(tmp_path / "once", [choice(3)], checkpoint, engine, likelihoods=False)
    assert [count for _, count, _ in engine.asked] == [1]


def test_only_instructions_are_drawn_and_long_unless_the_recipe_says_so() -> None:
    config = EvaluationConfig(benchmarks=("MMMLU", "AlpacaEval"))
    short, long = (generate_request(config, name, (1,)) for name in config.benchmarks)
    assert short.sampling is None and short.max_new_tokens == 40
    assert long.sampling is not None and long.max_new_tokens == 512
    assert (long.sampling.temperature, long.sampling.top_p) == (0.6, 0.9)
    assert generate_request(config.model_copy(update={"sampled": True}), "MMMLU", (1,)).sampling is not None


def test_instructions_in_a_folder_of_their_own_are_answered_beside_the_items(tmp_path: Path, checkpoint: Path) -> None:
    instruction = choice(1, "AlpacaEval", choices_kind="instruction", choices=None, answers=["Reference."])
    (tmp_path / "instructions").mkdir()
    pl.DataFrame([instruction]).write_parquet(tmp_path / "instructions" / "alpaca.parquet")
    folder = evaluated(
        tmp_path / "both", [choice(1)], checkpoint, EngineHere(), tmp_path / "instructions",
        benchmarks=("MMMLU", "AlpacaEval"), max_new_tokens=2, instruction_max_new_tokens=3,
    )  # fmt: skip
    written = read_parquet(folder / "predictions.parquet", Prediction)
    assert set(written["benchmark"].cast(pl.String)) == {"MMMLU", "AlpacaEval"}


def test_answers_to_instructions_have_a_language_and_no_right_or_wrong(tmp_path: Path, checkpoint: Path) -> None:
    item = choice(1, "AlpacaEval", choices_kind="instruction", choices=None, answers=["Reference."])
    folder = evaluated(tmp_path / "alpaca", [item], checkpoint, EngineHere(), instruction_max_new_tokens=6)
    metrics = set(read_parquet(folder / "item_scores.parquet", ItemScore)["metric"])
    assert "accuracy" not in metrics and {"cut", "empty"} <= metrics
