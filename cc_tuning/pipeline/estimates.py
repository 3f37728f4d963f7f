"""What a recipe will take, before anything is downloaded or computed: rows, tokens and disk of each step.

These are orders of magnitude for planning. Rows come from the recipe, or from a local parquet file: its footer, or the
columns that the recipe chooses by;
tokens from `TOKENS_PER_TEXT`; the size of a model from the number in its name (`Llama-3.1-8B`), or from the headers of
the weights in its folder.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cc_tuning.distillation.config import ANSWERED
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.sources import SOURCES
from cc_tuning.evaluation.sources.config import languages_asked
from cc_tuning.pipeline.model_shapes import parameters_of
from cc_tuning.pipeline.plan import Plan, RunPlan
from cc_tuning.pipeline.recipe import DEVELOPMENT, HUB, MINIATURE, Recipe
from cc_tuning.runtime.provenance import readable_bytes
from cc_tuning.runtime.weight_files import json_value
from cc_tuning.text.languages import UnknownLanguage, find_language

TOKENS_PER_TEXT = 100  # an assumption: a prompt or a response of a few sentences
BYTES_PER_TOKEN = 4  # of UTF-8 text; token ids take as much
_BYTES_PER_PARAMETER = {"bfloat16": 2, "float32": 4}  # of saved weights, by `training.dtype`
_BYTES_PER_ITEM = 600  # a prompt and its English version, compressed
_BYTES_PER_ANSWER = 400  # of predictions and item scores, compressed
_BYTES_PER_LIKELIHOOD = 100  # of the candidates of an item, compressed
_WIDEST_HIDDEN_SIZE = 8192  # of the matrix, when the model is not there to ask
_MOST_LAYERS = 80  # of a model of that width


@dataclass(frozen=True)
class Estimate:
    """Of one step; None is unknown, and is shown as a question mark."""

    rows: int | None
    tokens: int | None
    disk_bytes: int | None

    @property
    def rows_text(self) -> str:
        return _text(self.rows)

    @property
    def tokens_text(self) -> str:
        return _text(self.tokens)

    @property
    def disk_text(self) -> str:
        return "?" if self.disk_bytes is None else f"~{readable_bytes(self.disk_bytes)}"


def estimate_steps(plan: Plan) -> dict[str, Estimate]:
    """An estimate for each step, by fingerprint."""
    estimates = {step.fingerprint: Estimate(None, None, None) for step in plan}
    for run in plan.runs:
        rows = chosen_rows(run.recipe)
        estimates |= _estimate_data(run, rows) | _estimate_run(run, rows)
        if run.items:
            items = evaluation_items(run.recipe)
            estimates[run.items.fingerprint] = Estimate(items, None, items * _BYTES_PER_ITEM)
    estimates[plan.report.fingerprint] = Estimate(None, None, 2 << 20)
    return estimates


def chosen_rows(recipe: Recipe) -> int:
    """The rows that the recipe learns from."""
    rows = _source_rows(recipe)
    return recipe.data.rows if rows is None else min(recipe.data.rows, rows)


def _estimate_data(run: RunPlan, rows: int) -> dict[str, Estimate]:
    if run.data is None:
        return {}
    texts = rows * 2  # a prompt and a response
    text_bytes = texts * TOKENS_PER_TEXT * BYTES_PER_TOKEN
    estimates = {
        run.data.select.fingerprint: Estimate(rows, None, text_bytes),
        run.data.translate.fingerprint: Estimate(rows, texts * TOKENS_PER_TEXT, 2 * text_bytes),
    }
    if run.data.distill:
        estimates[run.data.distill.fingerprint] = _estimate_distillation(run.recipe, rows)
    return estimates


def _estimate_run(run: RunPlan, rows: int) -> dict[str, Estimate]:
    recipe = run.recipe
    examples = rows + added_rows(run, recipe, rows)
    sequence = min(2 * TOKENS_PER_TEXT, recipe.materialization.cutoff_tokens)
    english = TOKENS_PER_TEXT if run.transform else 0  # the English pass reads prompts only
    tokens = int(examples * (sequence + english) * recipe.training.epochs)
    parameters = parameters_of(recipe.model.base)
    model_bytes = None if parameters is None else parameters * _BYTES_PER_PARAMETER[recipe.training.dtype]
    materialized = examples * sequence * (BYTES_PER_TOKEN + BYTES_PER_TOKEN)
    estimates = {run.evaluate.fingerprint: _estimate_evaluation(run)}
    if run.spec.data == "preference":  # four sequences a row
        tokens, sequence, materialized = 4 * tokens, 4 * sequence, 4 * materialized
    if run.pivot:
        items = evaluation_items(recipe)
        estimates[run.pivot.fingerprint] = Estimate(items, items * TOKENS_PER_TEXT, items * _BYTES_PER_ITEM)
    if run.reference:
        estimates[run.reference.fingerprint] = Estimate(examples, examples * sequence, examples * _BYTES_PER_ANSWER)
    if run.materialize:
        estimates[run.materialize.fingerprint] = Estimate(examples, examples * sequence, materialized)
    if run.train:
        estimates[run.train.fingerprint] = Estimate(examples, tokens, model_bytes)
    if run.transform:
        pairs = min(recipe.transform.pairs, rows)
        estimates[run.transform.fingerprint] = Estimate(pairs, pairs * 2 * TOKENS_PER_TEXT, _bytes_of_map(recipe))
    return estimates


def _bytes_of_map(recipe: Recipe) -> int:
    """Of a transform's float32 matrices: one, one per layer, or two factors; of a large model where it is unseen."""
    fit, config = recipe.transform, json_value(Path(recipe.model.base) / "config.json")
    sizes = {**config, **config.get("text_config", {})} if isinstance(config, dict) else {}
    width, layers = sizes.get("hidden_size", _WIDEST_HIDDEN_SIZE), sizes.get("num_hidden_layers", _MOST_LAYERS)
    if fit.features != "layer":
        return int(4 * 2 * layers * width * min(fit.rank, fit.pairs))
    return int(4 * width**2 * (layers if fit.matrix == "per_layer" else 1))


def _estimate_evaluation(run: RunPlan) -> Estimate:
    """Answers, and the likelihoods beside them: a prompt is read for its answer, and once for all of its candidates."""
    evaluation, (answers, asked) = run.recipe.evaluation, questions(run)
    tokens = answers * (TOKENS_PER_TEXT + evaluation.max_new_tokens) + asked * TOKENS_PER_TEXT
    return Estimate(answers, tokens, answers * _BYTES_PER_ANSWER + asked * _BYTES_PER_LIKELIHOOD)


def questions(run: RunPlan) -> tuple[int, int]:
    """How many answers a run is asked for, through all its connections, and how many prompts' likelihoods."""
    evaluation = run.recipe.evaluation
    items = evaluation_items(run.recipe)
    connections = (3 if run.transform else 1) + len(evaluation.competitors)
    controls = len(evaluation.controls) if run.transform else 0
    return items * connections, items * (connections + controls) if evaluation.likelihoods else 0


def added_rows(run: RunPlan, recipe: Recipe, rows: int) -> int:
    """The rows that a run learns from beside the pairs."""
    if run.spec.data == "sdrrl":
        return sum(round(share * rows) for share in recipe.distillation.shares.values())
    return 0 if run.spec.data in ("plain", "preference") else rows  # +EN and +MT add up to one row for each


def _estimate_distillation(recipe: Recipe, rows: int) -> Estimate:
    config = recipe.distillation
    made = sum(round(share * rows) for share in config.shares.values())
    answers = round(max(config.shares[task] for task in ANSWERED) * rows)  # one serves all tasks that need one
    tokens = answers * (TOKENS_PER_TEXT + config.max_new_tokens) + made * TOKENS_PER_TEXT
    return Estimate(made, tokens, 3 * made * TOKENS_PER_TEXT * BYTES_PER_TOKEN)


def _source_rows(recipe: Recipe) -> int | None:
    path = Path(recipe.data.source)
    if recipe.data.source == MINIATURE:
        return recipe.miniature.world.instruction_rows
    if recipe.data.source != MINIATURE and path.suffix == ".parquet" and path.is_file():
        return _rows_to_choose_from(path, recipe)
    return None


def _rows_to_choose_from(path: Path, recipe: Recipe) -> int | None:
    """The rows of a parquet file that languages, annotation types and lengths of the recipe leave; None if not told."""
    data = recipe.data
    measured = data.max_characters is not None or data.min_characters > 1
    if not (data.languages or data.annotation_types or measured or data.max_rows_per_language is not None):
        return _rows_in_footer(path)
    kinds = ("annotation_type",) if data.annotation_types else ()
    texts = ("inputs", "targets") if measured else ()
    counts, read = Counter[str](), 0
    for code, *values in _values_of(path, "language_code", *kinds, *texts):
        read += 1
        language, lengths = _language(code), [len(text) for text in values[len(kinds) :]]
        in_bounds = all(data.min_characters <= n <= (data.max_characters or n) for n in lengths)
        of_kind = not kinds or values[0] in data.annotation_types
        if in_bounds and of_kind and (not data.languages or language in data.languages):
            counts[language] += 1
    found = sum(min(count, data.max_rows_per_language or count) for count in counts.values())
    return found if read else None


@cache
def _language(code: str) -> str:
    try:
        return find_language(code).aya_code
    except UnknownLanguage:
        return code


def evaluation_items(recipe: Recipe) -> int:
    """The items that are asked, instructions included."""
    given = recipe.evaluation.instructions
    return _items(recipe) + (_rows_in(Path(given)) if given else 0)


def _items(recipe: Recipe) -> int:
    if recipe.evaluation.items == HUB:
        return sum(_published_items(recipe, name) for name in recipe.evaluation.benchmarks if name in SOURCES)
    folder = Path(recipe.evaluation.items)
    if recipe.evaluation.items in (MINIATURE, DEVELOPMENT) or not folder.is_dir():
        limit = recipe.evaluation.items_per_language
        asked = [BENCHMARKS[name] for name in recipe.evaluation.benchmarks]
        return sum(min(limit, row.paper_items) * len(row.paper_languages) for row in asked)
    return _items_in(folder, recipe)


def _rows_in(folder: Path) -> int:
    """All of a folder's rows: every instruction is asked."""
    counts = [_rows_in_footer(path) for path in sorted(folder.glob("*.parquet"))]
    return sum(count for count in counts if count is not None)


def _items_in(folder: Path, recipe: Recipe) -> int:
    """How many items of a folder the recipe asks for: of its benchmarks and languages, up to the number of each."""
    asked, counts = recipe.evaluation, Counter[tuple[str, ...]]()
    for path in sorted(folder.glob("*.parquet")):
        counts.update(_values_of(path, "benchmark", "language"))
    return sum(
        min(count, asked.items_per_language)
        for (benchmark, language), count in counts.items()
        if benchmark in asked.benchmarks and (not asked.languages or language in asked.languages)
    )


def _published_items(recipe: Recipe, benchmark: str) -> int:
    evaluation, files = recipe.evaluation, SOURCES[benchmark].files
    most = evaluation.items_per_language
    if evaluation.sample != "whole":
        most = min(most, BENCHMARKS[benchmark].paper_items or most)
    languages = languages_asked(benchmark, evaluation.languages)
    return sum(min(most, files[language].rows or most) for language in languages)


def _rows_in_footer(path: Path) -> int | None:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):
        return None  # the stage that reads the file says what is wrong with it


def _values_of(path: Path, *columns: str) -> Iterator[tuple[str, ...]]:
    """The values of some columns, row by row; none where the file lacks them, of which its stage says what is wrong."""
    try:
        table = pq.read_table(path, columns=list(columns))
        yield from zip(*(map(str, table.column(name).to_pylist()) for name in columns), strict=True)
    except (pa.ArrowException, OSError, KeyError):
        return


def _text(count: int | None) -> str:
    return "?" if count is None else f"~{count:,}"
