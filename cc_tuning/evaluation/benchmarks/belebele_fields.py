"""BELEBELE as Lee et al. 2025 ask it: fields and options named in the language, the likeliest option is the answer."""

from cc_tuning.evaluation.benchmark import ACCURACY, Benchmark

BELEBELE_FIELDS = Benchmark(
    name="BELEBELE-fields",
    choices_kind="option_letter_A_D",
    request="loglikelihood",
    scoring="only_option",
    options=("A", "B", "C", "D"),
    metrics=(ACCURACY,),
)
