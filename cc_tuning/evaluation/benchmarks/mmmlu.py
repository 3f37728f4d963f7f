"""Knowledge questions with four options, MMLU translated by people (OpenAI 2024)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_EXTRACTED, EXTRACTED, Benchmark

MMMLU = Benchmark(
    name="MMMLU",
    choices_kind="option_letter_A_D",
    scoring="only_option",
    options=("A", "B", "C", "D"),
    metrics=(ACCURACY, ACCURACY_EXTRACTED, EXTRACTED),
    paper_items=1000,
    paper_languages=("en", "ar", "bn", "es", "hi", "id", "ko", "pt", "sw", "yo"),
)
