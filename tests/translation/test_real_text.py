"""Real text through selection and translation: every row is kept or set aside by a named rule, none is lost.

The translator has random weights, so its English means nothing: what is tried is the way around it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration

from cc_tuning.miniature.tokenizers import train_nllb_tokenizer
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import LocalSource
from cc_tuning.runtime.stage_table import SELECT, TRANSLATE
from cc_tuning.runtime.step import run_step
from cc_tuning.selection.config import SelectionConfig
from cc_tuning.text.languages import by_flores_code
from cc_tuning.translation.config import TranslationConfig
from data_contracts.layout import PAIRS
from data_contracts.parquet import read_parquet
from data_contracts.quarantine import QUARANTINE
from data_contracts.schemas import ParallelPair, QuarantinedRow
from data_contracts.store import ArtifactStore

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
Rows = list[dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here: real text cannot be tried"),
]


def aya_like() -> Rows:
    return pl.read_parquet(DATA / "aya_like" / "aya_like.parquet").to_dicts()


def oasst_like() -> Rows:
    """Each first turn with each of its answers."""
    lines = (DATA / "oasst_like" / "oasst_en_trees.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in lines]
    return [
        {"inputs": prompt["text"], "targets": reply["text"], "language_code": "eng"}
        for prompt in prompts
        for reply in prompt["replies"]
    ]


def parallel(name: str) -> Rows:
    """Each sentence as a prompt, with the one before it as its response."""
    sentences = pl.read_parquet(DATA / "parallel" / name)
    rows = []
    before = "-"
    for code, text in sentences.select("flores_code", "text").iter_rows():
        language = by_flores_code(code)
        named = {"language_code": language.aya_code, "language": language.name}
        rows.append({"inputs": text, "targets": before} | named)
        before = text
    return rows


SOURCES: dict[str, Callable[[], Rows]] = {
    "aya_like": aya_like,
    "oasst_like": oasst_like,
    "ntrex_200x22": lambda: parallel("ntrex_200x22.parquet"),
    "ntrex_40x63": lambda: parallel("ntrex_40x63.parquet"),
}


def save_random_nllb(folder: Path, texts: list[str]) -> Path:
    tokenizer = train_nllb_tokenizer(texts, 6000)
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=1, decoder_attention_heads=1, max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    M2M100ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", SOURCES)
def test_every_row_of_real_text_is_kept_or_set_aside_by_rule(name: str, tmp_path: Path) -> None:
    rows = SOURCES[name]()
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = save_random_nllb(tmp_path / "model", [row[side] for row in rows for side in ("inputs", "targets")])

    store, execution = ArtifactStore(tmp_path / "store"), Execution(quarantine_limit=1.0, translation_shard_rows=512)
    rows_file = LocalSource.of(source)
    select = SELECT.step(SelectionConfig(decontamination="none"), source=rows_file)
    selected = run_step(select, store, execution, no_progress).manifest.rows
    config = TranslationConfig(beams=1, max_new_tokens=8, retry=False)
    step = TRANSLATE.step(config, rows=select.ref, translator=LocalSource.of(model))
    translated = run_step(step, store, execution, no_progress).manifest.rows
    print(f"{name}: {len(rows)} rows; selection {selected}; translation {translated}")

    assert selected.read == len(rows) == selected.kept + sum(selected.quarantined.values()) + selected.not_selected
    assert translated.read == selected.kept == translated.kept + sum(translated.quarantined.values())
    assert set(selected.quarantined) <= {"duplicate"}
    assert set(translated.quarantined) <= {"empty_translation"}
    artifact = store.folder(step.ref)
    kept = set(read_parquet(artifact / PAIRS, ParallelPair)["pair_id"])
    aside = set(read_parquet(artifact / QUARANTINE, QuarantinedRow)["row_id"])
    assert len(kept) == translated.kept and not kept & aside
