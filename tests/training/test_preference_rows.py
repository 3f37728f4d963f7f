"""Preference rows: four sequences that are exactly what a conversation would be, and what is set aside instead."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from transformers import AutoTokenizer

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.materialize import build_training_rows
from cc_tuning.training.rows.config import MaterializationConfig
from data_contracts.errors import ContractViolation
from data_contracts.files import read_json
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.parquet_stream import BATCH_ROWS
from data_contracts.schemas import ParallelPair, PreferenceRow, QuarantinedRow


def pair(pair_id: str, **changes: Any) -> dict[str, Any]:
    values = {
        "pair_id": pair_id,
        "language": "Swahili",
        "language_code": "swh",
        "flores_code": "swh_Latn",
        "inputs": "Habari gani?",
        "targets": "Nzuri sana.",
        "inputs_en": "How are you?",
        "targets_en": "Very well.",
        "origin": "given",
        "quality": 1.0,
        "flags": [],
    }
    return values | changes


HINDI = {"language": "Hindi", "language_code": "hin", "flores_code": "hin_Deva"}
GOOD = [pair("p1"), pair("p2", **HINDI, inputs="नमस्ते", targets="हाँ, 12", inputs_en="Hello", targets_en="Yes, 12")]
ENGLISH = {"language": "English", "language_code": "eng", "flores_code": "eng_Latn", "origin": "english"}
BROKEN = {
    "english_pair": pair("b1", **ENGLISH, inputs="Who?", inputs_en="Who?", targets="Me.", targets_en="Me."),
    "empty_side": pair("b2", targets_en=" \n"),
    "equal_sides": pair("b3", targets="Nairobi  City", targets_en="nairobi city"),
    "wrong_language": pair("b4", **HINDI, inputs="नमस्ते", targets="No translation was made"),
}


def build(
    folder: Path, tokenizer: Path, pairs: list[dict[str, Any]], limit: float = 1.0, **settings: Any
) -> tuple[RowCounts, pl.DataFrame, pl.DataFrame]:
    frame = pl.DataFrame(pairs, schema=ParallelPair.create_empty().schema)
    write_parquet(frame, folder / "translate" / "pairs.parquet", ParallelPair)
    rows = folder / "materialize"
    rows.mkdir()
    config = MaterializationConfig.model_validate({"chat_template": "llama3", "setting": "preference", **settings})
    inputs = {"pairs": Location(str(folder / "translate")), "tokenizer": Location(str(tokenizer))}
    counts = build_training_rows(Build(config, inputs, rows, Execution(quarantine_limit=limit), no_progress))
    made = read_parquet(rows / "preference_rows.parquet", PreferenceRow)
    return counts, made, read_parquet(rows / "quarantine.parquet", QuarantinedRow)


def test_each_prompt_stands_before_both_responses(tmp_path: Path, tiny_llama_directory: Path) -> None:
    counts, rows, quarantine = build(tmp_path, tiny_llama_directory, GOOD)
    assert counts == RowCounts(read=2, kept=2) and quarantine.is_empty()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "materialize" / "tokenizer")
    for row, source in zip(rows.to_dicts(), GOOD, strict=True):
        assert row["row_id"] == f"{source['pair_id']}:preference"
        for name, prompt, response, length in (
            ("chosen_ids", "inputs", "targets", "prompt_length"),
            ("rejected_ids", "inputs", "targets_en", "prompt_length"),
            ("english_chosen_ids", "inputs_en", "targets_en", "english_prompt_length"),
            ("english_rejected_ids", "inputs_en", "targets", "english_prompt_length"),
        ):
            question = [{"role": "user", "content": source[prompt]}]
            whole = [*question, {"role": "assistant", "content": source[response]}]
            ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
            assert row[name] == tokenizer.apply_chat_template(whole, return_dict=False)
            assert row[name][: row[length]] == ids
        assert row["english_input_ids"] == row["english_chosen_ids"][: row["english_prompt_length"]]
    summary = read_json(tmp_path / "materialize" / "summary.json")
    names = ("chosen_ids", "rejected_ids", "english_chosen_ids", "english_rejected_ids")
    tokens = sum(len(row[name]) for row in rows.to_dicts() for name in names)
    assert summary == {"pairs": 2, "rows": 2, "tokens": tokens}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_pair_that_does_not_say_which_language_to_answer_in_is_set_aside(
    rule: str, tmp_path: Path, tiny_llama_directory: Path
) -> None:
    broken = BROKEN[rule]
    counts, rows, quarantine = build(tmp_path, tiny_llama_directory, [*GOOD, broken])
    assert (counts.quarantined, rows.height) == ({rule: 1}, 2)
    assert quarantine["rule"].to_list() == [rule]
    assert quarantine["row_id"].to_list() == [f"{broken['pair_id']}:preference"]


@pytest.mark.parametrize("flag", ["not_english", "wrong_language"])
def test_a_side_that_the_checks_of_translations_find_in_another_language_is_set_aside(
    flag: str, tmp_path: Path, tiny_llama_directory: Path
) -> None:
    judged = pair("b", origin="translated", quality=0.25, flags=sorted([flag, "repetition"]))
    other = pair("c", origin="translated", quality=0.25, flags=["repetition"])
    counts, rows, _ = build(tmp_path, tiny_llama_directory, [*GOOD, judged, other])
    assert counts.quarantined == {"wrong_language": 1}
    assert rows["pair_id"].to_list() == ["p1", "p2", "c"]


@pytest.mark.parametrize("side", ["inputs", "targets", "inputs_en", "targets_en"])
def test_a_row_that_is_too_long_on_either_side_is_set_aside_and_never_cut(
    side: str, tmp_path: Path, tiny_llama_directory: Path
) -> None:
    text = "Swali refu sana. " * 40
    counts, rows, _ = build(tmp_path, tiny_llama_directory, [*GOOD, pair("b", **{side: text})], cutoff_tokens=300)
    assert counts.quarantined == {"longer_than_cutoff": 1}
    assert rows["pair_id"].to_list() == ["p1", "p2"]


def test_a_row_of_just_the_cutoff_is_kept(tmp_path: Path, tiny_llama_directory: Path) -> None:
    _, rows, _ = build(tmp_path, tiny_llama_directory, GOOD[:1])
    longest = max(len(rows[name][0]) for name in rows.columns if name.endswith(("chosen_ids", "rejected_ids")))
    for cutoff, kept in ((longest, 2), (longest - 1, 1)):
        folder = tmp_path / str(cutoff)
        pairs = [*GOOD[:1], pair("short", inputs="Je?", targets="Ndio", inputs_en="So?", targets_en="Yes")]
        counts, _, _ = build(folder, tiny_llama_directory, pairs, cutoff_tokens=cutoff)
        assert counts.kept == kept


def test_only_damage_counts_against_the_limit(tmp_path: Path, tiny_llama_directory: Path) -> None:
    chosen = [BROKEN["english_pair"], BROKEN["equal_sides"]]
    counts, _, _ = build(tmp_path / "chosen", tiny_llama_directory, [*GOOD, *chosen], limit=0.1)
    assert sum(counts.quarantined.values()) == 2
    with pytest.raises(ContractViolation, match=r"1 of 3 rows .*'wrong_language': 1"):
        build(tmp_path / "damaged", tiny_llama_directory, [*GOOD, BROKEN["wrong_language"]], limit=0.1)


def test_pairs_that_make_no_row_are_an_error_that_says_why(tmp_path: Path, tiny_llama_directory: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of 1 pairs makes a preference row: \{'english_pair': 1\}"):
        build(tmp_path, tiny_llama_directory, [BROKEN["english_pair"]])


def test_a_connection_before_the_prompt_is_refused(tmp_path: Path, tiny_llama_directory: Path) -> None:
    with pytest.raises(PromptNotFound):
        build(tmp_path, tiny_llama_directory, GOOD, offset=400)


def test_rows_do_not_depend_on_where_a_batch_ends(tmp_path: Path, tiny_llama_directory: Path) -> None:
    pairs = [
        pair(f"p{number:05d}", inputs=f"Swali {number}", inputs_en=f"No. {number}") for number in range(BATCH_ROWS + 3)
    ]
    counts, rows, _ = build(tmp_path, tiny_llama_directory, pairs)
    assert counts.kept == BATCH_ROWS + 3
    assert rows["pair_id"].to_list() == [each["pair_id"] for each in pairs]
