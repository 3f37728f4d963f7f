"""Open questions with the aliases of each answer (Longpre et al. 2021)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_ANY_DIGITS, MKQA_EM, MKQA_F1, Benchmark

MKQA = Benchmark(
    name="MKQA",
    choices_kind="answer_aliases",
    scoring="gold_contained",
    metrics=(ACCURACY, ACCURACY_ANY_DIGITS, MKQA_EM, MKQA_F1),
    paper_items=1000,
    paper_languages=("en", "ar", "de", "ja", "ko", "pt", "ru", "tr", "vi", "zh"),
)
