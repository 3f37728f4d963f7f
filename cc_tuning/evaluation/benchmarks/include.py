"""Examination questions that were written in each language (Romanou et al. 2024)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_EXTRACTED, EXTRACTED, Benchmark

INCLUDE = Benchmark(
    name="INCLUDE",
    choices_kind="option_letter_A_D",
    scoring="only_option",
    options=("A", "B", "C", "D"),
    metrics=(ACCURACY, ACCURACY_EXTRACTED, EXTRACTED),
)
