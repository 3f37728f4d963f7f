"""Counts of each data setting, and what happens to rows that do not fit."""

from pathlib import Path

import polars as pl
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.materialize import build_training_rows
from cc_tuning.training.rows.config import MaterializationConfig
from cc_tuning.training.rows.examples import training_texts
from data_contracts.errors import ContractViolation
from data_contracts.files import read_json
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.parquet_stream import BATCH_ROWS
from data_contracts.schemas import DistilledRow, ParallelPair, QuarantinedRow, TrainingRow

PAIRS = pl.DataFrame(
    [
        ("p1", "Swahili", "swh", "swh_Latn", "Habari?", "Nzuri.", "How are you?", "Fine.", "translated", 1.0, []),
        ("p2", "Hindi", "hin", "hin_Deva", "नमस्ते", "हाँ", "Hello", "Yes", "given", 1.0, []),
        ("p3", "English", "eng", "eng_Latn", "Who?", "Me.", "Who?", "Me.", "english", 1.0, []),
    ],
    schema=ParallelPair.column_names(),
    orient="row",
)


def build(
    tmp_path: Path,
    tokenizer: Path,
    pairs: pl.DataFrame = PAIRS,
    limit: float = 1.0,
    distilled: pl.DataFrame | None = None,
    **settings: object,
) -> tuple[RowCounts, pl.DataFrame, Path]:
    source, folder = tmp_path / "translate", tmp_path / "materialize"
    write_parquet(pairs, source / "pairs.parquet", ParallelPair)
    folder.mkdir()
    config = MaterializationConfig.model_validate({"chat_template": "llama3", **settings})
    inputs = {"pairs": Location(str(source)), "tokenizer": Location(str(tokenizer))}
    if distilled is not None:
        write_parquet(distilled, tmp_path / "distill" / "distilled_rows.parquet", DistilledRow)
        inputs["distilled"] = Location(str(tmp_path / "distill"))
    counts = build_training_rows(Build(config, inputs, folder, Execution(quarantine_limit=limit), no_progress))
    return counts, read_parquet(folder / "training_rows.parquet", TrainingRow), folder


@pytest.mark.parametrize(
    ("setting", "by_task"),
    [
        ("plain", {"native": 3}),
        ("en", {"english": 2, "native": 3}),
        ("mt", {"native": 3, "translation": 2}),
    ],
)
def test_each_setting_makes_the_rows_of_the_paper(
    tmp_path: Path, tiny_llama_directory: Path, setting: str, by_task: dict[str, int]
) -> None:
    counts, rows, folder = build(tmp_path, tiny_llama_directory, setting=setting)
    assert counts == RowCounts(read=sum(by_task.values()), kept=rows.height)
    summary = read_json(folder / "summary.json")
    assert summary["rows_by_task"] == by_task
    assert (summary["pairs"], summary["english_pairs"], summary["responses_cut"]) == (3, 1, 0)


def distilled_rows(*qualities: float) -> pl.DataFrame:
    """Rows of `distill` about p1 and p2, of these qualities."""
    columns = {"language_code": "eng", "prompt": "How are you?", "response": "I am fine.", "english_prompt": "How?"}
    rows = [
        {"row_id": f"{pair_id}:{task}", "pair_id": pair_id, "task": task, **columns, "quality": quality, "flags": []}
        for (pair_id, task), quality in zip(
            [("p1", "distilled"), ("p1", "completion"), ("p2", "code_switched")], qualities, strict=True
        )
    ]
    return DistilledRow.validate(pl.DataFrame(rows, schema_overrides={"flags": pl.List(pl.String)}), cast=True)


def test_self_distilled_rows_come_after_those_of_all_pairs(tmp_path: Path, tiny_llama_directory: Path) -> None:
    distilled = distilled_rows(1.0, 0.5, 1.0)
    counts, rows, folder = build(tmp_path, tiny_llama_directory, setting="sdrrl", distilled=distilled)
    assert counts == RowCounts(read=6, kept=6)
    assert rows["row_id"].to_list() == [
        "p1:native", "p2:native", "p3:native", "p1:distilled", "p1:completion", "p2:code_switched",
    ]  # fmt: skip
    texts = ["row_id", "prompt", "response", "english_prompt"]
    assert rows.tail(3).select(texts).equals(distilled.select(texts))
    summary = read_json(folder / "summary.json")
    assert summary["rows_by_task"] == {"code_switched": 1, "completion": 1, "distilled": 1, "native": 3}
    assert summary["pairs"] == 3


def test_the_quality_bound_holds_for_self_distilled_rows(tmp_path: Path, tiny_llama_directory: Path) -> None:
    counts, rows, _ = build(
        tmp_path, tiny_llama_directory, setting="sdrrl", min_quality=0.75, distilled=distilled_rows(1.0, 0.5, 0.75)
    )
    assert counts.quarantined == {"translation_below_min_quality": 1}
    assert "p1:completion" not in rows["row_id"] and "p2:code_switched" in rows["row_id"]


def test_english_rows_and_translation_tasks_are_their_own_english() -> None:
    english = training_texts(PAIRS, "en").filter(pl.col("task") == "english")
    assert english.row(0, named=True) == {
        "row_id": "p1:english", "pair_id": "p1", "task": "english", "language_code": "eng",
        "prompt": "How are you?", "response": "Fine.", "english_prompt": "How are you?",
    }  # fmt: skip
    task = training_texts(PAIRS, "mt").filter(pl.col("task") == "translation").row(0, named=True)
    assert task["prompt"] == "Translate the following sentence from English to Swahili.\nHow are you?"
    assert (task["response"], task["english_prompt"]) == ("Habari?", task["prompt"])
    native = training_texts(PAIRS, "plain")["english_prompt"].to_list()
    assert native == ["How are you?", "Hello", "Who?"]


def test_ids_are_prompt_response_and_end_of_turn(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    _, rows, folder = build(tmp_path, tiny_llama_directory)
    row = rows.row(0, named=True)
    prompt, answer = row["input_ids"][: row["prompt_length"]], row["input_ids"][row["prompt_length"] :]
    assert tiny_tokenizer.decode(prompt).endswith("Habari?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")
    assert tiny_tokenizer.decode(answer) == "Nzuri.<|eot_id|>"
    assert tiny_tokenizer.decode(row["english_input_ids"], skip_special_tokens=True).startswith("user\n\nHow are you?")
    saved = AutoTokenizer.from_pretrained(folder / "tokenizer")
    assert saved.chat_template == tiny_tokenizer.chat_template


def test_prompt_longer_than_the_cutoff_is_quarantined_with_its_text(tmp_path: Path, tiny_llama_directory: Path) -> None:
    long = PAIRS.with_columns(inputs=pl.when(pl.col("pair_id") == "p1").then(pl.lit("ndio " * 60)).otherwise("inputs"))
    long = long.with_columns(
        inputs_en=pl.when(pl.col("pair_id") == "p2").then(pl.lit("yes " * 60)).otherwise("inputs_en")
    )
    counts, rows, folder = build(tmp_path, tiny_llama_directory, long, cutoff_tokens=100, english_cutoff_tokens=100)
    assert counts.quarantined == {"prompt_longer_than_cutoff": 1, "english_prompt_longer_than_cutoff": 1}
    assert rows["pair_id"].to_list() == ["p3"]
    quarantine = read_parquet(folder / "quarantine.parquet", QuarantinedRow)
    assert sorted(quarantine["row_id"]) == ["p1:native", "p2:native"]
    assert "ndio ndio" in quarantine.filter(pl.col("row_id") == "p1:native")["row_json"][0]


def test_too_many_long_prompts_stop_the_stage_with_counts(tmp_path: Path, tiny_llama_directory: Path) -> None:
    with pytest.raises(ContractViolation, match=r"3 of 3 rows .*prompt_longer_than_cutoff': 3"):
        build(tmp_path, tiny_llama_directory, limit=0.05, cutoff_tokens=8)


def test_long_response_is_cut_counted_and_not_taught_to_end(
    tmp_path: Path, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> None:
    long = PAIRS.with_columns(
        targets=pl.when(pl.col("pair_id") == "p1").then(pl.lit("sana " * 60)).otherwise("targets")
    )
    counts, rows, folder = build(tmp_path, tiny_llama_directory, long, cutoff_tokens=100)
    assert counts == RowCounts(read=3, kept=3)
    assert read_json(folder / "summary.json")["responses_cut"] == 1
    ids = rows["input_ids"][0].to_list()
    assert len(ids) == 100
    assert tiny_tokenizer.decode(ids).endswith("sana") or "sana" in tiny_tokenizer.decode(ids[-12:])
    assert ids[-1] != tiny_tokenizer.convert_tokens_to_ids("<|eot_id|>")


def judged(*qualities: float) -> pl.DataFrame:
    """The pairs as translations of these qualities; the last pair is English and cannot be judged."""
    scores = pl.Series([*qualities, 1.0])
    return PAIRS.with_columns(
        quality=scores,
        flags=pl.when(scores < 1).then(pl.lit(["numbers"])).otherwise(pl.lit([], dtype=pl.List(pl.String))),
        origin=pl.when(pl.col("origin") == "given").then(pl.lit("translated")).otherwise("origin"),
    )


def test_pairs_below_the_quality_bound_are_set_aside_without_counting_as_damage(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    counts, rows, folder = build(
        tmp_path, tiny_llama_directory, judged(0.4, 0.75), limit=0.0, setting="en", min_quality=0.75
    )
    assert counts == RowCounts(read=5, kept=3, quarantined={"translation_below_min_quality": 2})
    assert rows["row_id"].to_list() == ["p2:native", "p2:english", "p3:native"]
    quarantine = read_parquet(folder / "quarantine.parquet", QuarantinedRow)
    assert quarantine["row_id"].to_list() == ["p1:native", "p1:english"]
    assert '"flags": ["numbers"]' in quarantine["row_json"][0]


def test_every_pair_is_kept_unless_a_bound_is_set(tmp_path: Path, tiny_llama_directory: Path) -> None:
    counts, _, _ = build(tmp_path, tiny_llama_directory, judged(0.0, 0.5))
    assert counts == RowCounts(read=3, kept=3)


def test_bound_that_no_pair_reaches_is_an_error(tmp_path: Path, tiny_llama_directory: Path) -> None:
    foreign = judged(0.4, 0.5).filter(pl.col("origin") != "english")
    with pytest.raises(ConfigError, match=r"none of 2 rows .* 0.9 or more, the best has 0.50; lower `data.min_qual"):
        build(tmp_path, tiny_llama_directory, foreign, min_quality=0.9)


def test_offset_beyond_the_prompt_is_an_error(tmp_path: Path, tiny_llama_directory: Path) -> None:
    with pytest.raises(PromptNotFound):
        build(tmp_path, tiny_llama_directory, offset=500)


def test_equal_inputs_give_equal_bytes(tmp_path: Path, tiny_llama_directory: Path) -> None:
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        folders.append(build(tmp_path / name, tiny_llama_directory, setting="mt")[2])
    files = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in folders]
    assert files[0] == files[1]


def test_rows_do_not_depend_on_where_a_batch_of_pairs_ends(tmp_path: Path, tiny_llama_directory: Path) -> None:
    ids = [f"p{index}" for index in range(2 * BATCH_ROWS + 3)]
    pairs = pl.DataFrame({"pair_id": ids}).join(PAIRS.slice(1, 1).drop("pair_id"), how="cross")
    pairs = pairs.select(ParallelPair.column_names())
    counts, rows, folder = build(tmp_path, tiny_llama_directory, pairs, setting="en")
    assert rows["row_id"].to_list() == [f"{pair_id}:{task}" for pair_id in ids for task in ("native", "english")]
    assert counts.kept == 2 * len(ids)
    summary = read_json(folder / "summary.json")
    assert summary["rows_by_task"] == {"english": len(ids), "native": len(ids)}
    assert summary["tokens"] == sum(map(len, rows["input_ids"].to_list()))


def test_with_english_in_context_each_foreign_prompt_begins_with_its_english_version(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    """Responses, English prompts and rows that are English already are those of the rows without it."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "context").mkdir()
    _, plain, _ = build(tmp_path / "plain", tiny_llama_directory, setting="mt")
    counts, rows, _ = build(tmp_path / "context", tiny_llama_directory, setting="mt", english="context")
    assert counts == RowCounts(read=5, kept=5)
    prompts = dict(rows.select("row_id", "prompt").iter_rows())
    assert prompts["p1:native"] == "How are you?\n\nHabari?"
    assert prompts["p2:native"] == "Hello\n\nनमस्ते"
    assert prompts["p3:native"] == "Who?"
    unchanged = pl.col("row_id").is_in(["p1:native", "p2:native"]).not_()
    assert rows.filter(unchanged).equals(plain.filter(unchanged))
    same = ["row_id", "response", "english_prompt", "english_input_ids"]
    assert rows.select(same).equals(plain.select(same))
    for longer, shorter in zip(rows.iter_rows(named=True), plain.iter_rows(named=True), strict=True):
        answer = longer["input_ids"][longer["prompt_length"] :]
        assert answer == shorter["input_ids"][shorter["prompt_length"] :]


def test_a_prompt_that_is_too_long_with_its_english_version_is_set_aside(
    tmp_path: Path, tiny_llama_directory: Path
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "context").mkdir()
    _, plain, _ = build(tmp_path / "plain", tiny_llama_directory)
    longest = int(plain["prompt_length"].max())  # type: ignore[arg-type]
    counts, rows, _ = build(tmp_path / "context", tiny_llama_directory, english="context", cutoff_tokens=longest + 2)
    assert counts.quarantined == {"prompt_longer_than_cutoff": 2}
    assert rows["row_id"].to_list() == ["p3:native"]


def test_preference_rows_take_no_english_into_their_prompts() -> None:
    with pytest.raises(ValueError, match="'context' with the setting 'preference'"):
        MaterializationConfig(setting="preference", english="context")
