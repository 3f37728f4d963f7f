"""Summaries of news articles in one sentence (Hasan et al. 2021)."""

from cc_tuning.evaluation.benchmark import CHRF, ROUGE_L, ROUGE_L_ASCII, Benchmark

XLSUM = Benchmark(
    name="XLSum",
    choices_kind="reference_summary",
    scoring="summary_overlap",
    metrics=(ROUGE_L_ASCII, ROUGE_L, CHRF),
    paper_items=100,
    paper_languages=("en", "ar", "fr", "hi", "id", "ru", "sw", "tr", "ur", "vi"),
)
