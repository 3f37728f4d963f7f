"""Natural language inference: does the premise entail the hypothesis? (Conneau et al. 2018)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_EXTRACTED, EXTRACTED, Benchmark

XNLI = Benchmark(
    name="XNLI",
    choices_kind="option_number_1_3",
    scoring="only_option",
    options=("1", "2", "3"),
    metrics=(ACCURACY, ACCURACY_EXTRACTED, EXTRACTED),
    paper_items=1000,
    paper_languages=("en", "ar", "el", "hi", "ru", "sw", "th", "tr", "ur", "zh"),
)
