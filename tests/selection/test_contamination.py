"""Decontamination: what counts as the same words, and which rows repeat a benchmark item."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cc_tuning.errors import ConfigError
from cc_tuning.miniature.config import WorldConfig
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import SELECT, WORLD
from cc_tuning.runtime.step import run_step
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.selection.contamination import ContaminationIndex
from cc_tuning.selection.normalisation import normalise
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import QuarantinedRow
from data_contracts.store import ArtifactStore
from tests.reference.selection import share_a_run, words_of

PROMPT = "Which river, they asked, flows through the old town of Passau before it meets the Danube?"
ALPHABET = "aB1ßİé.,-' \n\t\u200b你の가ราำ်မकि٣Ａ"


def item(**changes: object) -> dict[str, object]:
    return {
        "benchmark": "MKQA", "language": "de", "item_id": "mkqa-7", "prompt": PROMPT, "prompt_en": None,
        "answers": ["Inn"], "choices_kind": "answer_aliases", "group": None,
    } | changes  # fmt: skip


def found(rows: list[tuple[str, str]], items: list[dict[str, object]], ngram: int | None = None) -> dict[int, str]:
    """The findings of prompts and responses against items, by row number: `rule (detail)`."""
    schema = {"benchmark": pl.String, "language": pl.String, "item_id": pl.String, "prompt": pl.String,
              "prompt_en": pl.String, "answers": pl.List(pl.String)}  # fmt: skip
    index = ContaminationIndex(pl.DataFrame([{name: each[name] for name in schema} for each in items], schema), ngram)
    texts = pl.DataFrame(rows, schema={"inputs": pl.String, "targets": pl.String}, orient="row")
    english = [pl.Series(name, [None] * len(rows), pl.String) for name in ("inputs_en", "targets_en")]
    findings = index.find(pl.DataFrame([*(normalise(texts[name]) for name in texts.columns), *english]))
    return {row: f"{finding.rule} ({finding.detail})" for row, finding in findings.items()}


@settings(deadline=None)
@given(st.lists(st.text(ALPHABET, max_size=30), max_size=5))
def test_words_are_those_of_the_reference(texts: list[str]) -> None:
    assert normalise(pl.Series(texts, dtype=pl.String)).to_list() == [" ".join(words_of(text)) for text in texts]


@settings(deadline=None)
@given(st.lists(st.text("ab ", max_size=25), min_size=1, max_size=4), st.text("ab ", min_size=1, max_size=25),
       st.integers(1, 5))  # fmt: skip
def test_ngrams_find_what_a_search_for_every_run_finds(texts: list[str], prompt: str, ngram: int) -> None:
    findings = found([(text, "no") for text in texts], [item(prompt=prompt, answers=["x"])], ngram)
    expected = {
        row for row, text in enumerate(texts)
        if share_a_run(words_of(text), words_of(prompt), ngram) or (words_of(text) == words_of(prompt) != [])
    }  # fmt: skip
    assert set(findings) == expected


def test_exact_means_equal_words_of_a_prompt_or_a_long_answer() -> None:
    long_answer = "It rises in Switzerland and joins the Danube at Passau."
    items = [item(answers=["Inn"]), item(item_id="mkqa-8", prompt="Other?", answers=[long_answer])]
    rows = [
        (PROMPT.upper().replace(",", " —"), "Inn"),
        (f"Answer: {PROMPT}", "Inn"),
        ("Inn", "Inn"),
        ("Tell me about it", long_answer.lower()),
        ("!?", "…"),
    ]
    assert found(rows, items) == {
        0: "contaminated_exact (MKQA/de/mkqa-7: all of inputs)",
        3: "contaminated_exact (MKQA/de/mkqa-8: all of targets)",
    }


def test_a_shared_run_is_named_with_the_first_item_that_has_it() -> None:
    items = [item(item_id="mkqa-9", prompt="又问：流经帕绍老城的是哪条河？"), item(), item(item_id="mkqa-99")]
    rows = [(f"Question. {PROMPT}", "Inn"), ("请回答：流经帕绍老城的是哪条河", "因河"), ("Which river flows?", "Inn")]
    findings = found(rows, items, ngram=11)
    assert findings == {
        0: "contaminated_ngram (MKQA/de/mkqa-7: in inputs, "
        '"which river they asked flows through the old town of passau")',
        1: 'contaminated_ngram (MKQA/de/mkqa-9: in inputs, "流 经 帕 绍 老 城 的 是 哪 条 河")',
    }


@pytest.mark.parametrize(("mode", "rule"), [("none", None), ("exact", None), ("ngram", "contaminated_ngram")])
def test_contaminated_rows_are_set_aside_and_not_held_against_the_limit(
    tmp_path: Path, mode: str, rule: str | None
) -> None:
    (tmp_path / "items").mkdir()
    # The second item breaks its contract (no such language), so it is no item to compare with.
    items = [item(prompt_en=PROMPT, prompt="Welcher Fluss?"), item(language="German", prompt="Frage 3")]
    pl.DataFrame(items, schema_overrides={"group": pl.String}).write_parquet(tmp_path / "items" / "mkqa.parquet")
    rows = [{"inputs": f"Frage {number}", "targets": "Ja", "language_code": "deu"} for number in range(4)]
    rows += [{"inputs": f"{number}. {PROMPT}", "targets": "Inn", "language_code": "eng"} for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    step = SELECT.step(
        SelectionConfig.model_validate({"decontamination": mode}),
        source=LocalSource.of(tmp_path / "rows.jsonl"),
        items=None if mode == "none" else LocalSource.of(tmp_path / "items"),
    )
    store = ArtifactStore(tmp_path / "store")
    outcome = run_step(step, store, Execution(quarantine_limit=0), no_progress)
    assert outcome.manifest.rows.quarantined == ({rule: 4} if rule else {})
    assert outcome.manifest.rows.kept == (4 if rule else 8)
    assert ("items" in outcome.manifest.inputs) == (mode != "none")
    quarantined = read_parquet(store.path(outcome.ref) / QUARANTINE, QuarantinedRow)
    assert all("MKQA/de/mkqa-7: in inputs" in detail for detail in quarantined["detail"])


def test_a_folder_without_items_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"inputs": "a", "targets": "b", "language_code": "eng"}))
    (tmp_path / "items").mkdir()
    step = SELECT.step(
        SelectionConfig(), source=LocalSource.of(tmp_path / "rows.jsonl"), items=LocalSource.of(tmp_path / "items")
    )
    with pytest.raises(ConfigError, match="holds no parquet file"):
        run_step(step, ArtifactStore(tmp_path / "store"), Execution(), no_progress)


def test_the_embedded_world_repeats_no_item_exactly_and_keeps_all_rows(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    world = run_step(WORLD.step(WorldConfig()), store, Execution(), no_progress).ref
    step = SELECT.step(
        SelectionConfig(decontamination="exact"), source=world.at("aya.parquet"), items=world.at("benchmarks")
    )
    rows = run_step(step, store, Execution(), no_progress).manifest.rows
    assert rows.kept == rows.read
