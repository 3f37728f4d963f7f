"""Grade-school mathematics with a number as the answer (Shi et al. 2022)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_EXTRACTED, EXTRACTED, Benchmark

MGSM = Benchmark(
    name="MGSM",
    choices_kind="number",
    scoring="gold_contained",
    metrics=(ACCURACY, ACCURACY_EXTRACTED, EXTRACTED),
)
