"""The files of every stage's artifact: the one place that names them."""

# world, base_model, translator: the embedded default
WORLD_ROWS = "aya.parquet"
WORLD_ITEMS = "benchmarks"
WORLD_DEVELOPMENT_ITEMS = "development"
WORLD_CORPUS = "corpus.parquet"
WORLD_SENTENCES = "sentences.parquet"
LOSSES = "losses.jsonl"
PRACTICE_LOSSES = "practice_losses.jsonl"
HELD_OUT_TRANSLATIONS = "held_out.json"

# items
ITEM_SOURCES = "sources.json"


def items_file(benchmark: str) -> str:
    """The file with a benchmark's items."""
    return f"{benchmark}.parquet"


# select
SELECTED_ROWS = "rows.parquet"
SELECTION_SUMMARY = "selection.json"

# translate
PAIRS = "pairs.parquet"

# distill
DISTILLED_ANSWERS = "answers.parquet"
DISTILLED_ROWS = "distilled_rows.parquet"
DISTILLATION_SUMMARY = "summary.json"

# materialize
TRAINING_ROWS = "training_rows.parquet"
TOKENIZER = "tokenizer"
TRAINING_ROWS_SUMMARY = "summary.json"
PREFERENCE_ROWS = "preference_rows.parquet"
"""In the place of the training rows, for the data setting `preference`."""

# reference
REFERENCE_VALUES = "reference.parquet"
REFERENCE_SUMMARY = "summary.json"

# train
CHECKPOINT = "checkpoint"
ADAPTER = "adapter"
"""The adapter of a LoRA run, beside the checkpoint it was merged into."""
METRICS = "metrics.jsonl"
TRAINING_SUMMARY = "summary.json"

# transform
TRANSFORM_MATRIX = "transform_matrix.safetensors"
DIAGNOSTICS = "diagnostics.json"
TRANSFORM_PAIRS = "pairs.parquet"
EMBEDDING = "embedding.json"
"""Where prompts of three languages stand in the output space of the base model and of the tuned one."""

# pivot
PIVOT_PROMPTS = "pivot_prompts.parquet"

# evaluate
PREDICTIONS = "predictions.parquet"
LIKELIHOODS = "likelihoods.parquet"
ITEM_SCORES = "item_scores.parquet"
SCORES = "scores.parquet"
SCORING = "scoring.json"

# judge
JUDGEMENTS = "judgements.parquet"
WIN_RATES = "win_rates.parquet"
JUDGED_WITH = "judge.json"

# report
REPORT_PAGE = "index.html"
REPORT_MARKDOWN = "report.md"
REPORT_SCORES = "scores.csv"
REPORT_ITEM_SCORES = "item_scores.parquet"
REPORT_FIGURES = "figures"
REPORT_PREDICTIONS = "predictions.parquet"
REPORT_TABLES = "tables"

# nightly, beside the stores of the single nights and among the published results


def nights_file(store_name: str) -> str:
    """The table of all nights whose stores are called `store_name` and a date."""
    return f"{store_name}-nights.parquet"


TREND_PAGE = "nights.html"
