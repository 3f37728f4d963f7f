"""Questions about a paragraph that holds the answer (Artetxe et al. 2020)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_ANY_DIGITS, EXACT_MATCH, F1, Benchmark

XQUAD = Benchmark(
    name="XQuAD",
    choices_kind="context_span",
    scoring="gold_contained",
    metrics=(ACCURACY, ACCURACY_ANY_DIGITS, EXACT_MATCH, F1),
    paper_items=1190,
    paper_languages=("en", "ar", "de", "el", "hi", "ru", "th", "tr", "vi", "zh"),
)
