"""MMLU, translated and checked by people, with cultural labels (Singh et al. 2024)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_EXTRACTED, EXTRACTED, Benchmark

GLOBAL_MMLU = Benchmark(
    name="GlobalMMLU",
    choices_kind="option_letter_A_D",
    scoring="only_option",
    options=("A", "B", "C", "D"),
    metrics=(ACCURACY, ACCURACY_EXTRACTED, EXTRACTED),
)
