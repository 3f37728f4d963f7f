"""The stage `materialize`: parallel pairs become training rows, as text and as the token ids the model will see.

Data settings (Ye et al. 2025, Appendix A.1), for N pairs of which E are English:

| setting | rows | |
| --- | --- | --- |
| `plain` | N | `(x, y)` |
| `en` | 2N - E | and `(x_en, y_en)`; an English pair is its own parallel and is not repeated (the paper counts 2N) |
| `mt` | 2N - E | and the translation of `x_en` into `x`; there is nothing to translate in an English pair |
| `sdrrl` | about 1.2N | and the rows of the stage `distill`, after those of all pairs |

The setting `preference` makes rows of another kind (PreferenceRow) in a file of their own: both languages of a pair in
one row, N - E at most (Lee et al. 2025). They are never cut; `training/rows/preference.py` says what is set aside.

Every row has the English prompt that CC-Tuning reads beside it. For a row that is English already, and for a
translation task, whose instruction and input are English, it is the row's own prompt (`x_en = x`). So one artifact
serves ML-SFT and CC-Tuning of the same setting.

With `english: context` the prompts that are not English begin with that English prompt as text, so that a model without
a connection reads it too.

Lengths are settled here, once: a response that passes the cut-off is cut (and then not taught to end there: its
end-of-turn token is cut too), a prompt that does is quarantined, because its connection position would be lost.

Pairs whose translation is below `min_quality` are set aside here and not where they were made, so that another bound
translates nothing again. That is a choice and no damage, so the quarantine limit does not count it.

Rows are read, encoded and written batch by batch, so memory does not grow with their number.
"""

from collections.abc import Collection, Iterator

import polars as pl

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.step import Build
from cc_tuning.text.prompts import ChatPrompts, load_tokenizer
from cc_tuning.training.rows.config import MaterializationConfig
from cc_tuning.training.rows.examples import (
    BELOW_MIN_QUALITY,
    TEXT_COLUMNS,
    encode,
    split_by_length,
    split_by_quality,
    training_texts,
    with_english_in_context,
)
from cc_tuning.training.rows.preference import (
    BY_CHOICE,
    encode_preferences,
    preference_texts,
    split_by_content,
    split_by_sequence_length,
)
from cc_tuning.training.rows.tally import PreferenceTally, RowTally
from data_contracts.files import write_json
from data_contracts.layout import (
    DISTILLED_ROWS,
    PAIRS,
    PREFERENCE_ROWS,
    TOKENIZER,
    TRAINING_ROWS,
    TRAINING_ROWS_SUMMARY,
)
from data_contracts.manifest import RowCounts
from data_contracts.parquet_stream import read_batches, row_count, written_in_batches
from data_contracts.quarantine import QUARANTINE, check_quarantine_limit
from data_contracts.schemas import DistilledRow, ParallelPair, PreferenceRow, QuarantinedRow, TrainingRow


def build_training_rows(build: Build[MaterializationConfig]) -> RowCounts:
    """Writes the training rows, the quarantine, the tokenizer and a summary; counts are of training rows.

    Raises:
        ContractViolation: more than `quarantine_limit` of the rows have a prompt that is too long.
        ConfigError: no pair is as good as `min_quality` asks, or none makes a preference row.
        PromptNotFound: `offset` reaches beyond the beginning of a prompt.
    """
    if build.config.setting == "preference":
        return _build_preference_rows(build)
    config = build.config
    tokenizer = load_tokenizer(build.inputs["tokenizer"], config.chat_template)
    prompts, tally = ChatPrompts(tokenizer), RowTally()
    with (
        written_in_batches(build.folder / TRAINING_ROWS, TrainingRow) as rows,
        written_in_batches(build.folder / QUARANTINE, QuarantinedRow) as quarantine,
    ):
        for judged in _judged_texts(build, tally):
            enough, below = split_by_quality(judged, config.min_quality)
            if config.english == "context":
                enough = with_english_in_context(enough)
            fitting, too_long = split_by_length(encode(enough.select(TEXT_COLUMNS), prompts, config.offset), config)
            cut = fitting.with_columns(pl.col("input_ids").list.head(config.cutoff_tokens))
            set_aside = pl.concat([below, too_long])
            rows.write(cut)
            quarantine.write(set_aside)
            tally.add_rows(fitting, cut, set_aside)
    counts = dict(sorted(tally.quarantined.items()))
    read = rows.rows + quarantine.rows
    _check_quarantine(read, counts, tally.best_quality, {BELOW_MIN_QUALITY}, build)
    tokenizer.save_pretrained(build.folder / TOKENIZER)
    write_json(build.folder / TRAINING_ROWS_SUMMARY, tally.summary())
    return RowCounts(read=read, kept=rows.rows, quarantined=counts)


def _build_preference_rows(build: Build[MaterializationConfig]) -> RowCounts:
    """As `build_training_rows`, of the rows of the setting `preference`; counts are of pairs."""
    config = build.config
    tokenizer = load_tokenizer(build.inputs["tokenizer"], config.chat_template)
    prompts, tally = ChatPrompts(tokenizer), PreferenceTally()
    source = build.inputs["pairs"].path / PAIRS
    total = row_count(source)
    with (
        written_in_batches(build.folder / PREFERENCE_ROWS, PreferenceRow) as rows,
        written_in_batches(build.folder / QUARANTINE, QuarantinedRow) as quarantine,
    ):
        for pairs in read_batches(source, ParallelPair):
            enough, below = split_by_quality(preference_texts(pairs), config.min_quality)
            usable, unusable = split_by_content(enough)
            fitting, too_long = split_by_sequence_length(encode_preferences(usable, prompts, config.offset), config)
            set_aside = pl.concat([below, unusable, too_long])
            rows.write(fitting)
            quarantine.write(set_aside)
            tally.add(pairs, fitting, set_aside)
            build.progress(tally.pairs, total, "pairs")
    counts = dict(sorted(tally.quarantined.items()))
    _check_quarantine(tally.pairs, counts, tally.best_quality, {BELOW_MIN_QUALITY, *BY_CHOICE}, build)
    if not rows.rows:
        raise ConfigError(
            f"none of {tally.pairs} pairs makes a preference row: {counts}; it needs pairs of a language that is not "
            "English whose sides differ and fit `materialization.cutoff_tokens`: take other rows, or raise the cut-off"
        )
    tokenizer.save_pretrained(build.folder / TOKENIZER)
    write_json(build.folder / TRAINING_ROWS_SUMMARY, tally.summary())
    return RowCounts(read=tally.pairs, kept=rows.rows, quarantined=counts)


def _judged_texts(build: Build[MaterializationConfig], tally: RowTally) -> Iterator[pl.DataFrame]:
    """The texts of the setting with the quality and flags of the translations behind them, batch by batch."""
    source = build.inputs["pairs"].path / PAIRS
    total = row_count(source)
    for pairs in read_batches(source, ParallelPair):
        texts = training_texts(pairs, build.config.setting)
        yield texts.join(pairs.select("pair_id", "quality", "flags"), on="pair_id", how="left", maintain_order="left")
        tally.add_pairs(pairs)
        build.progress(tally.pairs, total, "pairs")
    if build.config.setting == "sdrrl":
        # Their tasks are words of another contract's list.
        for rows in read_batches(build.inputs["distilled"].path / DISTILLED_ROWS, DistilledRow):
            yield rows.with_columns(pl.col("task").cast(pl.String))


def _check_quarantine(
    read: int,
    counts: dict[str, int],
    best_quality: float,
    by_choice: Collection[str],
    build: Build[MaterializationConfig],
) -> None:
    below = counts.get(BELOW_MIN_QUALITY, 0)
    if read and below == read:
        raise ConfigError(
            f"none of {read} rows has a translation of quality {build.config.min_quality} or more, the best has "
            f"{best_quality:.2f}; lower `data.min_quality`, or use another translator"
        )
    damaged = {rule: number for rule, number in counts.items() if rule not in by_choice}
    check_quarantine_limit("materialize", read - below, damaged, build.execution.quarantine_limit)
