"""Contracts of what passes between stages, one per kind of row. A rule's name is the error's name.

A contract says what every row of a file keeps; the column order here is the column order on disk. `None` is allowed
only where a column says so.

Names that a column may hold are written into its file as a list, so they are a part of what is on disk, in this order,
which is also the order of sorted rows. A new name goes to the end of its list: files without it stay readable.
"""

import dataframely as dy
import polars as pl

# What the method calls by these names is above this layer; tests hold the two lists of each equal.
BENCHMARKS = (
    "XNLI", "XStoryCloze", "MMMLU", "MKQA", "XQuAD", "XLSum", "BELEBELE", "GlobalMMLU", "INCLUDE", "MGSM",
    "BELEBELE-fields", "AlpacaEval",
)  # fmt: skip
CONNECTIONS = (
    "off", "transform", "parallel", "constant", "other", "identity", "context", "pivot", "pivot_context",
)  # fmt: skip
JUDGED_ORDERS = ("run_first", "baseline_first")
VERDICTS = ("run", "baseline", "tie", "refused", "open")
SDRRL_TASKS = ("distilled", "cross_lingual", "translated_answer", "code_switched", "partial_translation", "completion")
"""The tasks of self-distillation, in the order of `cc_tuning/distillation/tasks.py`."""
TASKS = ("native", "english", "translation", *SDRRL_TASKS)


class AyaRow(dy.Schema):
    """One instruction and its answer, as chosen from the source."""

    row_id = dy.String(primary_key=True, nullable=False, min_length=1)
    inputs = dy.String(nullable=False, min_length=1)
    targets = dy.String(nullable=False, min_length=1)
    language = dy.String(nullable=False)
    language_code = dy.String(nullable=False, min_length=2)
    annotation_type = dy.String(nullable=False)
    user_id = dy.String(nullable=False)
    inputs_en = dy.String(nullable=True)
    targets_en = dy.String(nullable=True)

    @dy.rule()
    def english_comes_in_pairs(cls) -> pl.Expr:
        return pl.col("inputs_en").is_null() == pl.col("targets_en").is_null()


class ParallelPair(dy.Schema):
    """An instruction and its answer beside their English versions; `pair_id` is the row's `row_id`.

    `quality` is what the checks of translations think of it, 1 without a suspicion; `flags` names the suspicions.
    Text that nobody translated is not judged.
    """

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    language = dy.String(nullable=False)
    language_code = dy.String(nullable=False, min_length=2)
    flores_code = dy.String(nullable=False, regex=r"^[a-z]{3}_[A-Z][a-z]{3}$")
    inputs = dy.String(nullable=False, min_length=1)
    targets = dy.String(nullable=False, min_length=1)
    inputs_en = dy.String(nullable=False, min_length=1)
    targets_en = dy.String(nullable=False, min_length=1)
    origin = dy.Enum(["english", "given", "translated"], nullable=False)
    quality = dy.Float64(nullable=False, min=0.0, max=1.0)
    flags = dy.List(dy.String(nullable=False), nullable=False)

    @dy.rule()
    def flags_are_sorted_and_distinct(cls) -> pl.Expr:
        return pl.col("flags") == pl.col("flags").list.unique().list.sort()

    @dy.rule()
    def only_translations_are_judged(cls) -> pl.Expr:
        is_unjudged = (pl.col("quality") == 1.0) & (pl.col("flags").list.len() == 0)
        return (pl.col("origin") == "translated") | is_unjudged


class DistilledAnswer(dy.Schema):
    """The base model's answer to the English prompt of a pair, and what was made of it.

    `answer` is the answer in the pair's language; where it is null, no row needed it. So is the prompt with words of
    that language in `switched_prompt`.
    """

    pair_id = dy.String(primary_key=True, nullable=False, min_length=1)
    language_code = dy.String(nullable=False, min_length=2)
    english_prompt = dy.String(nullable=False, min_length=1)
    english_answer = dy.String(nullable=False, min_length=1)
    new_tokens = dy.Int32(nullable=False, min=1)
    stopped = dy.Bool(nullable=False)
    answer = dy.String(nullable=True, min_length=1)
    switched_prompt = dy.String(nullable=True, min_length=1)


class DistilledRow(dy.Schema):
    """A training row of self-distillation as text; `quality` and `flags` are of the worst translation behind it."""

    row_id = dy.String(primary_key=True, nullable=False, min_length=1)
    pair_id = dy.String(nullable=False, min_length=1)
    task = dy.Enum(SDRRL_TASKS, nullable=False)
    language_code = dy.String(nullable=False, min_length=2)
    prompt = dy.String(nullable=False, min_length=1)
    response = dy.String(nullable=False, min_length=1)
    english_prompt = dy.String(nullable=False, min_length=1)
    quality = dy.Float64(nullable=False, min=0.0, max=1.0)
    flags = dy.List(dy.String(nullable=False), nullable=False)

    @dy.rule()
    def row_is_named_by_pair_and_task(cls) -> pl.Expr:
        return pl.col("row_id") == pl.format("{}:{}", pl.col("pair_id"), pl.col("task").cast(pl.String))


class TrainingRow(dy.Schema):
    """One training example, as text and as the token ids that the model sees.

    `input_ids` is the rendered prompt, the response and the end-of-turn token; the first `prompt_length` of them are
    the prompt. `english_input_ids` is the rendered English prompt alone.
    """

    row_id = dy.String(primary_key=True, nullable=False, min_length=1)
    pair_id = dy.String(nullable=False, min_length=1)
    task = dy.Enum(TASKS, nullable=False)
    language_code = dy.String(nullable=False, min_length=2)
    prompt = dy.String(nullable=False, min_length=1)
    response = dy.String(nullable=False, min_length=1)
    english_prompt = dy.String(nullable=False, min_length=1)
    input_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=2)
    prompt_length = dy.Int32(nullable=False, min=1)
    english_input_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=1)

    @dy.rule()
    def response_is_trained(cls) -> pl.Expr:
        return pl.col("prompt_length") < pl.col("input_ids").list.len()


class PreferenceRow(dy.Schema):
    """A prompt and its response in two languages, each prompt with the response it should have and with the other one.

    Each list of ids is a rendered prompt, a response and the end-of-turn token: `chosen_ids` (x, y), `rejected_ids`
    (x, y_en), `english_chosen_ids` (x_en, y_en), `english_rejected_ids` (x_en, y). The first `prompt_length` ids of the
    first two and the first `english_prompt_length` of the others are the prompt. `english_input_ids` is the rendered
    English prompt alone. Nothing is cut.
    """

    row_id = dy.String(primary_key=True, nullable=False, min_length=1)
    pair_id = dy.String(nullable=False, min_length=1)
    language_code = dy.String(nullable=False, min_length=2)
    prompt = dy.String(nullable=False, min_length=1)
    response = dy.String(nullable=False, min_length=1)
    english_prompt = dy.String(nullable=False, min_length=1)
    english_response = dy.String(nullable=False, min_length=1)
    chosen_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=2)
    rejected_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=2)
    english_chosen_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=2)
    english_rejected_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=2)
    prompt_length = dy.Int32(nullable=False, min=1)
    english_prompt_length = dy.Int32(nullable=False, min=1)
    english_input_ids = dy.List(dy.Int32(nullable=False), nullable=False, min_length=1)

    @dy.rule()
    def sides_differ(cls) -> pl.Expr:
        return (pl.col("prompt") != pl.col("english_prompt")) & (pl.col("response") != pl.col("english_response"))

    @dy.rule()
    def responses_follow_their_prompts(cls) -> pl.Expr:
        ends = [pl.col(f"{name}_ids").list.len() for name in ("chosen", "rejected")]
        english_ends = [pl.col(f"english_{name}_ids").list.len() for name in ("chosen", "rejected")]
        return (pl.col("prompt_length") < pl.min_horizontal(ends)) & (
            pl.col("english_prompt_length") < pl.min_horizontal(english_ends)
        )

    @dy.rule()
    def english_prompt_is_that_of_its_sequences(cls) -> pl.Expr:
        head = pl.col("english_chosen_ids").list.head(pl.col("english_prompt_length"))
        return head == pl.col("english_input_ids")


class ReferenceRow(dy.Schema):
    """How likely a reference model finds the four responses of a preference row: sums over their tokens, in nats."""

    row_id = dy.String(primary_key=True, nullable=False, min_length=1)
    chosen = dy.Float32(nullable=False, max=0.0)
    rejected = dy.Float32(nullable=False, max=0.0)
    english_chosen = dy.Float32(nullable=False, max=0.0)
    english_rejected = dy.Float32(nullable=False, max=0.0)


class BenchmarkItem(dy.Schema):
    """One test prompt with its gold answers; equal `item_id` is the same item in every language (XLSum excepted)."""

    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False, regex=r"^[a-z]{2,3}$")
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    prompt = dy.String(nullable=False, min_length=1)
    prompt_en = dy.String(nullable=True, min_length=1)
    answers = dy.List(dy.String(nullable=False), nullable=False, min_length=1)
    choices_kind = dy.String(nullable=False)
    choices = dy.List(dy.String(nullable=False), nullable=True)
    """The texts of the options in their order, where the item has options with a text of their own."""
    group = dy.String(nullable=True)
    cluster = dy.String(nullable=True)
    """What several items share (a premise, a passage, a paragraph), the same name in every language; null: nothing."""


class PivotPrompt(dy.Schema):
    """The prompt of a benchmark item in English, as a translator made it; `quality` and `flags` as of ParallelPair."""

    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False, regex=r"^[a-z]{2,3}$")
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    prompt_en = dy.String(nullable=False, min_length=1)
    quality = dy.Float64(nullable=False, min=0.0, max=1.0)
    flags = dy.List(dy.String(nullable=False), nullable=False)


class Prediction(dy.Schema):
    """A run's answer to one item through one kind of connection."""

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    connection = dy.Enum(CONNECTIONS, primary_key=True, nullable=False)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    response = dy.String(nullable=False)
    prompt_tokens = dy.Int32(nullable=False, min=1)
    new_tokens = dy.Int32(nullable=False, min=0)
    stopped = dy.Bool(nullable=False)
    selected_layer = dy.Int32(nullable=True, min=0)


class CandidateLikelihood(dy.Schema):
    """How likely a run finds one possible answer to an item: the gold answer, or an option.

    `candidate` is `gold`, or the option as the benchmark writes it; both where the gold answer is an option.
    """

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    connection = dy.Enum(CONNECTIONS, primary_key=True, nullable=False)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    candidate = dy.String(primary_key=True, nullable=False, min_length=1)
    log_likelihood = dy.Float64(nullable=False, max=0.0)
    """The sum over its tokens, in nats; the token that ends the turn is none of them."""
    tokens = dy.Int32(nullable=False, min=1)
    bytes = dy.Int32(nullable=False, min=1)
    """Of its text in UTF-8, as the prompt writes it: an option `1` is `١` in an Arabic prompt with such labels."""
    is_greedy = dy.Bool(nullable=False)
    selected_layer = dy.Int32(nullable=True, min=0)


class ItemScore(dy.Schema):
    """One item's score under one metric, in the metric's unit (percent for most of them)."""

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    connection = dy.Enum(CONNECTIONS, primary_key=True, nullable=False)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    metric = dy.String(primary_key=True, nullable=False)
    group = dy.String(nullable=True)
    cluster = dy.String(nullable=True)
    value = dy.Float64(nullable=False)


class Score(dy.Schema):
    """A benchmark's score in one language, or averaged over its languages (`avg`), in the metric's unit, with its
    interval."""

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    connection = dy.Enum(CONNECTIONS, primary_key=True, nullable=False)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    metric = dy.String(primary_key=True, nullable=False)
    items = dy.Int64(nullable=False, min=1)
    value = dy.Float64(nullable=False)
    ci_low = dy.Float64(nullable=False)
    ci_high = dy.Float64(nullable=False)


class Judgement(dy.Schema):
    """A judge's verdict on a run's answer beside its baseline's, in one order of the two."""

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    baseline = dy.String(primary_key=True, nullable=False, min_length=1)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    order = dy.Enum(JUDGED_ORDERS, primary_key=True, nullable=False)
    verdict = dy.Enum(VERDICTS, nullable=False)
    tries = dy.Int32(nullable=False, min=0)
    prompt_tokens = dy.Int64(nullable=False, min=0)
    completion_tokens = dy.Int64(nullable=False, min=0)
    detail = dy.String(nullable=False)


class WinRate(dy.Schema):
    """How often a run's answers to a benchmark in one language were judged better than its baseline's, in percent.

    `win_rate` counts a tie as half; rates are null where no verdict was given. `standard_error` is clustered by item.
    """

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    baseline = dy.String(primary_key=True, nullable=False, min_length=1)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    items = dy.Int64(nullable=False, min=1)
    judgements = dy.Int64(nullable=False, min=0)
    win_rate = dy.Float64(nullable=True, min=0.0, max=100.0)
    standard_error = dy.Float64(nullable=True, min=0.0)
    wins = dy.Int64(nullable=False, min=0)
    losses = dy.Int64(nullable=False, min=0)
    ties = dy.Int64(nullable=False, min=0)
    refused = dy.Int64(nullable=False, min=0)
    open = dy.Int64(nullable=False, min=0)
    agreement = dy.Float64(nullable=True, min=0.0, max=100.0)
    """Of the items judged in both orders, those with one verdict."""
    first_preferred = dy.Float64(nullable=True, min=0.0, max=100.0)
    """Of the verdicts that name a winner, those for the answer shown first."""
    prompt_tokens = dy.Int64(nullable=False, min=0)
    completion_tokens = dy.Int64(nullable=False, min=0)


class ReportedAnswer(dy.Schema):
    """An answer of a report beside what was asked and expected; the item's columns are null where it was not given."""

    run = dy.String(primary_key=True, nullable=False, min_length=1)
    connection = dy.Enum(CONNECTIONS, primary_key=True, nullable=False)
    benchmark = dy.Enum(BENCHMARKS, primary_key=True, nullable=False)
    language = dy.String(primary_key=True, nullable=False)
    item_id = dy.String(primary_key=True, nullable=False, min_length=1)
    prompt = dy.String(nullable=True)
    prompt_en = dy.String(nullable=True)
    answers = dy.List(dy.String(nullable=False), nullable=True)
    response = dy.String(nullable=False)
    metric = dy.String(nullable=True)
    """The benchmark's headline metric, where it was measured."""
    score = dy.Float64(nullable=True)
    gold_nll = dy.Float64(nullable=True)
    """Of the gold answer, nats per token."""
    selected_layer = dy.Int32(nullable=True, min=0)
    prompt_tokens = dy.Int32(nullable=False, min=1)
    new_tokens = dy.Int32(nullable=False, min=0)
    stopped = dy.Bool(nullable=False)


class QuarantinedRow(dy.Schema):
    """A row that was set aside: which, by what rule, and the row itself as JSON, so that nothing is lost."""

    row_id = dy.String(nullable=False)
    rule = dy.String(nullable=False, min_length=1)
    detail = dy.String(nullable=False)
    row_json = dy.String(nullable=False)
