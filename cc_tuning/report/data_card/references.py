"""Translations beside references of the user's: chrF++ and BLEU by language, as sacrebleu counts them.

A file of references is parquet or JSON Lines. Its column `reference_en` is an English version of a prompt; which
prompt, is told by `pair_id` (or `row_id`, the same id), or by `language_code` and `inputs` together. Only prompts that
the translator translated are scored: given English is not its work.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from cc_tuning.errors import ConfigError
from cc_tuning.report.data_card.collecting import with_language
from cc_tuning.report.data_card.counts import ALL
from data_contracts.parquet import read_verified
from data_contracts.parquet_stream import verified_batches

REFERENCE = "reference_en"

_KEYS = (["pair_id"], ["row_id"], ["language_code", "inputs"])
_SUFFIXES = (".parquet", ".jsonl")


@dataclass(frozen=True)
class TranslationScore:
    """How close the translations of a language are to their references, 0 to 100."""

    prompts: int
    chrf: float
    """chrF++: characters up to 6-grams and words up to 2-grams."""
    bleu: float


@dataclass(frozen=True)
class ReferenceScores:
    """Scores by language, with `ALL`, and what they were counted with."""

    by_language: Mapping[str, TranslationScore]
    unmatched: int
    """References of no translated prompt."""
    signatures: tuple[str, ...]


def read_references(path: Path) -> pl.DataFrame:
    """Columns `reference_en` and a key: `pair_id`, or `language` and `inputs`.

    Raises:
        ConfigError: the file is not there or of another kind, lacks columns, or has a prompt twice.
        ArtifactMismatch: the file is damaged.
    """
    if not path.is_file() or path.suffix not in _SUFFIXES:
        raise ConfigError(f"{path}: expected a file of references that ends in {' or '.join(_SUFFIXES)}")
    rows = read_verified(path) if path.suffix == ".parquet" else _read_lines(path)
    key = next((names for names in _KEYS if set(names) <= set(rows.columns)), None)
    if key is None or REFERENCE not in rows.columns:
        raise ConfigError(
            f"{path}: expected the column {REFERENCE} and one of pair_id, row_id, or language_code with inputs; "
            f"got {rows.columns}"
        )
    texts = rows.select(pl.col(*key, REFERENCE).cast(pl.String)).drop_nulls()
    is_by_text = len(key) == 2
    texts = with_language(texts).drop("language_code") if is_by_text else texts.rename({key[0]: "pair_id"})
    repeated = texts.filter(texts.drop(REFERENCE).is_duplicated())
    if repeated.height:
        raise ConfigError(
            f"{path}: {repeated.height} rows name a prompt twice, one reference each is expected; "
            f"first: {repeated.row(0, named=True)}"
        )
    return texts


def score_references(pairs: Path, references: pl.DataFrame) -> ReferenceScores:
    """The prompts of a file of pairs beside their references.

    Raises:
        ArtifactMismatch: the file of pairs is missing or damaged.
        ConfigError: no reference belongs to a translated prompt.
    """
    key = [name for name in references.columns if name != REFERENCE]
    columns = ["pair_id", "language_code", "inputs", "inputs_en", "origin"]
    is_translated = pl.col("origin").cast(pl.String) == "translated"
    found = [
        with_language(batch).filter(is_translated).join(references, on=key, how="inner", maintain_order="left")
        for batch in verified_batches(pairs, columns)
    ]
    matched = pl.concat(found) if found else references.head(0)
    if matched.is_empty():
        raise ConfigError(f"none of {references.height} references belongs to a translated prompt; compare its {key}")
    bleu, chrf = BLEU(), CHRF(word_order=2)
    by_language = {ALL: _score(matched, bleu, chrf)}
    for (language,), group in matched.group_by("language", maintain_order=True):
        by_language[str(language)] = _score(group, bleu, chrf)
    unmatched = references.join(matched, on=key, how="anti").height
    signatures = (f"chrF++ {chrf.get_signature()}", f"BLEU {bleu.get_signature()}")
    return ReferenceScores(by_language, unmatched, signatures)


def _score(matched: pl.DataFrame, bleu: BLEU, chrf: CHRF) -> TranslationScore:
    translations, references = matched["inputs_en"].to_list(), [matched[REFERENCE].to_list()]
    return TranslationScore(
        prompts=matched.height,
        chrf=chrf.corpus_score(translations, references).score,
        bleu=bleu.corpus_score(translations, references).score,
    )


def _read_lines(path: Path) -> pl.DataFrame:
    rows = []
    # Bytes are split, because a text may hold U+2028, at which `str.splitlines` would split too.
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: not JSON ({error}); expected one object per line") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
        rows.append({name: value for name, value in row.items() if isinstance(value, str)})
    return pl.DataFrame(rows, infer_schema_length=None)
