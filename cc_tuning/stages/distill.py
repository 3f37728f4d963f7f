"""Stage `distill`: what the base model says in English becomes training rows in other languages (+SDRRL).

Rows are drawn before anything is computed, so their number and their ids are known; what becomes of an answer or a
translation decides only whether a row is made or set aside. Three kinds of work are kept through a kill: answers of the
base model and their translations in shards, and the switched words by language. The two models are never in memory
together.

Files: `answers.parquet` (DistilledAnswer), `distilled_rows.parquet` (DistilledRow, by pair and task),
`quarantine.parquet` (rows that were drawn and not made), `summary.json`, and the shards.
"""

import logging
import shutil
from collections import Counter

import polars as pl

from cc_tuning.distillation.answer_filters import LONGER_THAN_CONTEXT, RULES
from cc_tuning.distillation.answering import answer_pairs
from cc_tuning.distillation.config import ANSWERED, DistillConfig
from cc_tuning.distillation.tasks import draw_tasks, task_rows
from cc_tuning.distillation.translate_answers import (
    CARRIED,
    EMPTY_TRANSLATION,
    LACKS_LANGUAGE,
    NOTHING_SWITCHED,
    carry_over,
)
from cc_tuning.errors import ConfigError
from cc_tuning.inference.engines import ENGINES
from cc_tuning.inference.jobs import Engine
from cc_tuning.runtime.devices import limited_threads
from cc_tuning.runtime.jobs import WANTED
from cc_tuning.runtime.progress import counting
from cc_tuning.runtime.step import Build
from data_contracts.files import write_json
from data_contracts.layout import DISTILLATION_SUMMARY, DISTILLED_ANSWERS, DISTILLED_ROWS, PAIRS
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.quarantine import check_quarantine_limit, quarantine_judged, write_quarantine
from data_contracts.schemas import DistilledAnswer, DistilledRow, ParallelPair

logger = logging.getLogger(__name__)

_DETAILS = RULES | {
    LONGER_THAN_CONTEXT: "the rendered English prompt and a whole answer need more than the base model's context",
    LACKS_LANGUAGE: "the translator's tokenizer has no token for the pair's FLORES code",
    EMPTY_TRANSLATION: "the translator said nothing to some segment of the base model's answer",
    NOTHING_SWITCHED: "the translator has no usable word for any of the drawn words",
}
_DAMAGE = frozenset({LONGER_THAN_CONTEXT, LACKS_LANGUAGE, EMPTY_TRANSLATION})
"""Rules that the quarantine limit counts; by the others rows are chosen."""


def build_distillation(build: Build[DistillConfig]) -> RowCounts:
    """Write answers, rows and quarantine; counts are of rows.

    Raises:
        ConfigError: no pair can be used, no answer of the base model, or an engine that generates none.
        EvaluationFailed: the engine that answers stopped; what it finished is kept for the next try.
        TranslationFailed: the translator cannot be loaded or has no English.
        ContractViolation: more rows than the limit allows have a prompt that is too long or no translation.
    """
    engine = ENGINES[build.config.engine]
    engine.check_answers("generate", "+SDRRL")
    return distill_with(engine.load(), build)


def distill_with(engine: Engine, build: Build[DistillConfig]) -> RowCounts:
    """As `build_distillation`, the base model's answers by `engine`."""
    pairs = read_parquet(build.inputs["pairs"].path / PAIRS, ParallelPair)
    drawn = draw_tasks(pairs, build.config.distillation)
    if drawn.is_empty():
        raise ConfigError(
            f"distill: of {pairs.height} pairs none is drawn: too few are not English for the shares of "
            "`distillation`; use more rows, raise a share, or leave out the +sdrrl runs"
        )
    with limited_threads(build.execution.threads):
        of_answers = drawn.filter(pl.col("task").is_in(ANSWERED))
        asked = pairs.join(of_answers, on="pair_id", how="semi")
        total = asked.height + drawn.filter(pl.col("task").is_in(CARRIED)).height
        count = counting(build.progress, 0, total, "texts")
        answers = answer_pairs(engine, build, asked, count)
        _check_answers(answers)
        usable = pairs.join(answers.filter(pl.col("answer_rule") == ""), on="pair_id")
        carried = carry_over(build, usable, drawn, count)
    known = pairs.join(answers, on="pair_id", how="left").join(carried, on="pair_id", how="left")
    planned = _with_rule(drawn.join(known, on="pair_id", how="left", validate="m:1"))
    counts = write_quarantine(build.folder, [_set_aside(planned.filter(pl.col("rule") != ""))])
    damaged = {rule: number for rule, number in counts.items() if rule in _DAMAGE}
    check_quarantine_limit("distill", planned.height, damaged, build.execution.quarantine_limit)
    rows = _rows(planned.filter(pl.col("rule") == ""), build.config.distillation.shown_part)
    write_parquet(rows, build.folder / DISTILLED_ROWS, DistilledRow)
    kept_answers = known.filter(pl.col("answer_rule") == "").rename({"inputs_en": "english_prompt"}).sort("pair_id")
    write_parquet(kept_answers, build.folder / DISTILLED_ANSWERS, DistilledAnswer)
    write_json(build.folder / DISTILLATION_SUMMARY, _summary(pairs, drawn, answers, rows))
    shutil.rmtree(build.folder / WANTED, ignore_errors=True)
    return RowCounts(read=planned.height, kept=rows.height, quarantined=counts)


def _check_answers(answers: pl.DataFrame) -> None:
    rules = Counter(answers["answer_rule"].to_list())
    kept = rules.pop("", 0)
    if rules:
        logger.warning("distill: %d of %d answers are set aside: %s", rules.total(), answers.height, dict(rules))
    if answers.height and not kept:
        raise ConfigError(
            f"distill: none of {answers.height} answers of the base model can be learnt from: {dict(rules)}; raise "
            "`distillation.max_new_tokens`, use a base model that answers English prompts, or leave out the +sdrrl runs"
        )


def _with_rule(planned: pl.DataFrame) -> pl.DataFrame:
    """`planned` with the first rule that each row breaks, empty where it keeps all."""
    task = pl.col("task")
    rule = (
        pl.when(task.is_in(ANSWERED) & (pl.col("answer_rule") != ""))
        .then("answer_rule")
        .when((task == "translated_answer") & (pl.col("translation_rule") != ""))
        .then("translation_rule")
        .when((task == "code_switched") & (pl.col("switch_rule") != ""))
        .then("switch_rule")
        .otherwise(pl.lit(""))
    )
    return planned.with_columns(pl.format("{}:{}", "pair_id", "task").alias("row_id"), rule.alias("rule"))


def _set_aside(rows: pl.DataFrame) -> pl.DataFrame:
    columns = ["row_id", "pair_id", "task", "language_code", "inputs", "inputs_en", "text", "rule", "detail"]
    detail = pl.col("rule").replace_strict(_DETAILS, return_dtype=pl.String).alias("detail")
    return quarantine_judged(rows.with_columns(detail).select(columns), "row_id")


def _rows(planned: pl.DataFrame, shown_part: float) -> pl.DataFrame:
    order = DistilledRow.create_empty().schema["task"]
    made = [
        task_rows(str(task), rows, shown_part).select(DistilledRow.column_names())
        for (task,), rows in planned.group_by("task", maintain_order=True)
    ]
    # By pair, and within a pair in the order of the contract's list of tasks.
    rows = pl.concat([DistilledRow.create_empty().cast({"task": pl.String}), *made]).cast({"task": order})
    return rows.sort("pair_id", "task")


def _summary(pairs: pl.DataFrame, drawn: pl.DataFrame, answers: pl.DataFrame, rows: pl.DataFrame) -> dict[str, object]:
    rules = Counter(answers["answer_rule"].to_list())
    return {
        "pairs": pairs.height,
        "drawn_by_task": _counts(drawn),
        "rows_by_task": _counts(rows),
        "answers": answers.height,
        "answers_kept": rules.pop("", 0),
        "answers_set_aside": dict(sorted(rules.items())),
    }


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    return dict(sorted(Counter(rows["task"].to_list()).items()))
