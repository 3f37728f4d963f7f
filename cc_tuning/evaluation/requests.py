"""From items to what an engine is asked, and from its answers to predictions.

A shard is one connection, benchmark and language. A benchmark of the kind `generate` is answered by what the model
writes. One of the kind `loglikelihood` is answered by the option that it finds most likely, the end of the turn after
it included, and the first of equals.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
from transformers import PreTrainedTokenizerBase

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.candidates import turn_ids, with_candidates
from cc_tuning.evaluation.competitors import ENGLISH, EvaluationMode, id_columns, parts_of, with_competitors
from cc_tuning.evaluation.config import Competitor, EvaluationConfig
from cc_tuning.evaluation.items import ITEM_KEY, flores_code_of
from cc_tuning.evaluation.measures.choices import extract_choice
from cc_tuning.evaluation.other_prompts import other_items
from cc_tuning.evaluation.prompts import NAMED_FIELDS, option_labels
from cc_tuning.inference.job_files import read_answers, write_requests
from cc_tuning.inference.jobs import Generate, InferenceJob, InferenceShard, LogLikelihood, Request, Sampling
from cc_tuning.model.config import NEED_ENGLISH
from cc_tuning.text.prompts import ChatPrompts
from data_contracts.quarantine import quarantine_rows
from data_contracts.schemas import PivotPrompt

LONGER_THAN_CONTEXT = "prompt_longer_than_context"
_SEEDS_OF_TRIES = 1_000
"""Seeds of recipes are so far apart that no try of one draws what the first try of another does."""
_TOKENS = pl.List(pl.Int32)
_RENDERED = (*ITEM_KEY, "input_ids", "english_input_ids")
_FOR_LIKELIHOODS = ("other", "gold", "candidates", "candidate_bytes", "continuation_ids")


@dataclass(frozen=True)
class Requests:
    """The items that can be asked with the token ids of their prompts, and those set aside for their length."""

    rows: pl.DataFrame
    """`ITEM_KEY`, `input_ids`, and `english_input_ids` (null where there is no English prompt). For likelihoods also
    `other`, the id of the item whose English prompt stands in for its own, and the columns of `with_candidates`; for
    competitors those of `with_competitors`."""
    quarantined: pl.DataFrame
    """In the form of `QuarantinedRow`."""


def render_requests(
    items: pl.DataFrame,
    prompts: ChatPrompts,
    *,
    with_english: bool,
    context_tokens: int,
    max_new_tokens: Callable[[str], int],
    with_likelihoods: bool = True,
    seed: int = 0,
    competitors: Sequence[Competitor] = (),
    pivots: pl.DataFrame | None = None,
) -> Requests:
    """The rendered prompts of BenchmarkItem rows; `with_english` adds the English prompts where an item has one,
    `competitors` what they read, of which some are made of `pivots` (PivotPrompt).

    An item one of whose prompts leaves no room within `context_tokens` for the `max_new_tokens` of its benchmark, or
    for the longest candidate `with_likelihoods`, is set aside for all connections and all that is asked, so that scores
    are about the same items. `seed` decides whose English prompt stands in for another's.
    """
    english: list[list[int] | None] = [None] * items.height
    if with_english:
        texts = items["prompt_en"].to_list()
        encoded = iter(prompts.encode_prompts([text for text in texts if text is not None]))
        english = [None if text is None else next(encoded) for text in texts]
    ids = prompts.encode_prompts(items["prompt"].to_list())
    rows = (with_candidates(items, prompts) if with_likelihoods else items).with_columns(
        input_ids=pl.Series(ids, dtype=_TOKENS), english_input_ids=pl.Series(english, dtype=_TOKENS)
    )
    added = id_columns(competitors)
    rows = with_competitors(
        rows, competitors, PivotPrompt.create_empty() if pivots is None else pivots, prompts.encode_prompts
    )
    longest = pl.max_horizontal(pl.col("input_ids", "english_input_ids", *added).list.len())  # ignores a missing one
    benchmarks = items["benchmark"].cast(pl.String)
    rows = rows.with_columns(_room=pl.Series([max_new_tokens(name) for name in benchmarks], dtype=pl.Int64))
    room = pl.col("_room")
    if with_likelihoods:
        room = pl.max_horizontal(room, pl.col("continuation_ids").list.eval(pl.element().list.len()).list.max())
    fits = longest + room <= context_tokens
    quarantined = quarantine_rows(
        rows.filter(~fits).select(items.columns),
        "item_id",
        LONGER_THAN_CONTEXT,
        "a rendered prompt with the new tokens of an answer, or with an answer whose likelihood is asked for, needs "
        f"more than the model's {context_tokens}",
    )
    fitting = rows.filter(fits)
    if with_likelihoods:
        return Requests(
            fitting.with_columns(other_items(fitting, seed)).select(*_RENDERED, *added, *_FOR_LIKELIHOODS), quarantined
        )
    return Requests(fitting.select(*_RENDERED, *added), quarantined)


@dataclass(frozen=True)
class PlannedShard:
    """A shard and the items it is about."""

    shard: InferenceShard
    mode: EvaluationMode
    """What its answers are called; an engine knows the shard's connection alone."""
    benchmark: str
    language: str
    rows: pl.DataFrame
    """As in `Requests`, with the prompts that the mode reads."""


Group = tuple[str, str, pl.DataFrame]
"""A benchmark, a language, and their rows of `Requests`."""


def grouped(requests: pl.DataFrame) -> list[Group]:
    """The rows of each benchmark and language, in a fixed order."""
    groups = requests.sort(*ITEM_KEY).group_by("benchmark", "language", maintain_order=True)
    return [(str(name), str(language), rows) for (name, language), rows in groups]


def generate_request(config: EvaluationConfig, benchmark: str, stop_ids: tuple[int, ...], attempt: int = 0) -> Generate:
    """How an item of `benchmark` is answered; `attempt` counts the tries before this one."""
    is_drawn = config.sampled or attempt or BENCHMARKS[benchmark].is_instruction
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, seed=_SEEDS_OF_TRIES * config.seed + attempt
    )
    return Generate(
        max_new_tokens=config.new_tokens_of(benchmark),
        stop_token_ids=stop_ids,
        sampling=sampling if is_drawn else None,
    )


def plan_answers(
    groups: Sequence[Group],
    modes: Sequence[EvaluationMode],
    generate: Callable[[str], Generate],
    prompts: ChatPrompts,
) -> Iterator[PlannedShard]:
    """The shards of the answers, for each mode, benchmark and language that has something to answer."""
    for mode in modes:
        for benchmark, language, rows in groups:
            request: Request = generate(benchmark)
            if BENCHMARKS[benchmark].request == "loglikelihood":
                request, rows = LogLikelihood(), _with_turns(rows, prompts, _labels(benchmark, language))
            yield from planned_shards(mode, mode, request, (benchmark, language, rows))


def plan_again(
    planned: Sequence[PlannedShard],
    answers: Sequence[pl.DataFrame],
    items: pl.DataFrame,
    attempt: int,
    generate: Callable[[str], Generate],
) -> dict[int, PlannedShard]:
    """For the place of each shard that needs it, the shard of those items out of whose answers no option can be read.

    `answers` are the Prediction rows of the planned shards; benchmarks without options need no other try.
    """
    choices = {tuple(key): texts for *key, texts in items.select(*ITEM_KEY, "choices").iter_rows()}
    again: dict[int, PlannedShard] = {}
    for place, (shard, rows) in enumerate(zip(planned, answers, strict=True)):
        options = BENCHMARKS[shard.benchmark].options
        if not options or shard.shard.request.kind != "generate":
            continue
        unread = [
            item_id
            for item_id, response in rows.select("item_id", "response").iter_rows()
            if extract_choice(response, options, choices[shard.benchmark, shard.language, item_id]).option is None
        ]
        if unread:
            left = shard.rows.filter(pl.col("item_id").is_in(unread))
            name = f"try{attempt + 1}/{shard.shard.name}"
            update = {"name": name, "request": generate(shard.benchmark), "prompts": left.height}
            again[place] = replace(shard, shard=shard.shard.model_copy(update=update), rows=left)
    return again


def with_later_tries(first: pl.DataFrame, later: pl.DataFrame) -> pl.DataFrame:
    """Prediction rows of a shard in which those of `later` stand for their items."""
    return pl.concat([first.join(later.select("item_id"), on="item_id", how="anti"), later]).sort("item_id")


def _labels(benchmark: str, language: str) -> tuple[str, ...]:
    """The options as the answer writes them, where the benchmark's prompts call them otherwise than the data does."""
    options = BENCHMARKS[benchmark].options
    return option_labels(benchmark, language) if benchmark in NAMED_FIELDS else options


def _with_turns(rows: pl.DataFrame, prompts: ChatPrompts, options: Sequence[str]) -> pl.DataFrame:
    turns = pl.Series([turn_ids(prompts, options)] * rows.height, dtype=pl.List(_TOKENS))
    return rows.with_columns(continuation_ids=turns)


def planned_shards(folder: str, mode: EvaluationMode, request: Request, group: Group) -> Iterator[PlannedShard]:
    """The shards of a benchmark and language in a mode, below `folder`; none when no item takes part in it."""
    benchmark, language, of_group = group
    for suffix, connection, rows in parts_of(mode, of_group):
        if rows.height:
            shard = InferenceShard(
                name=f"{folder}/{benchmark}-{language}{suffix}.parquet",
                connection=connection,
                request=request,
                is_english=language == ENGLISH,
                language=flores_code_of(language),
                prompts=rows.height,
            )
            yield PlannedShard(shard, mode, benchmark, language, rows)


def write_shard(job: InferenceJob, planned: PlannedShard) -> None:
    """Write what the engine is asked in one shard."""
    write_requests(job, planned.shard, _with_english_side(planned))


def _with_english_side(planned: PlannedShard) -> pl.DataFrame:
    """The rows of a shard with the English prompt that its connection reads: the item's own, another's, or none."""
    rows, connection = planned.rows, planned.shard.connection
    if connection == "other":
        english = rows.select(other="item_id", of_other="english_input_ids")
        rows = rows.join(english, on="other", how="left", validate="m:1", maintain_order="left")
        return rows.drop("english_input_ids").rename({"of_other": "english_input_ids"})
    if connection in NEED_ENGLISH:
        return rows
    return rows.with_columns(pl.lit(None, _TOKENS).alias("english_input_ids"))


def read_predictions(
    job: InferenceJob, planned: PlannedShard, run: str, tokenizer: PreTrainedTokenizerBase
) -> pl.DataFrame:
    """The Prediction rows of one shard.

    Raises:
        EvaluationFailed: the engine did not answer what it was asked.
    """
    shard, rows = planned.shard, planned.rows
    read = _most_likely if shard.request.kind == "loglikelihood" else _written
    return rows.select(
        pl.lit(run).alias("run"),
        pl.lit(planned.mode).alias("connection"),
        *ITEM_KEY,
        pl.col("input_ids").list.len().alias("prompt_tokens"),
    ).hstack(read(job, planned, tokenizer))


def _written(job: InferenceJob, planned: PlannedShard, tokenizer: PreTrainedTokenizerBase) -> pl.DataFrame:
    answers = read_answers(job, planned.shard, planned.rows["item_id"].to_list())
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in answers["token_ids"].to_list()]
    return answers.select(
        pl.Series("response", texts, dtype=pl.String),
        pl.col("token_ids").list.len().cast(pl.Int32).alias("new_tokens") + pl.col("stopped").cast(pl.Int32),
        "stopped",
        "selected_layer",
    )


def _most_likely(job: InferenceJob, planned: PlannedShard, tokenizer: PreTrainedTokenizerBase) -> pl.DataFrame:
    options = BENCHMARKS[planned.benchmark].options
    labels = _labels(planned.benchmark, planned.language)
    tokens = [len(ids) for ids in turn_ids(ChatPrompts(tokenizer), labels)]
    scores = read_answers(job, planned.shard, planned.rows["item_id"].to_list())
    chosen = [values.index(max(values)) for values in scores["log_likelihoods"].to_list()]
    return scores.select(
        pl.Series("response", [options[place] for place in chosen], dtype=pl.String),
        pl.Series("new_tokens", [tokens[place] for place in chosen], dtype=pl.Int32),
        pl.lit(True).alias("stopped"),
        "selected_layer",
    )
