"""Which of two endings belongs to a story of four sentences? (Lin et al. 2022)."""

from cc_tuning.evaluation.benchmark import ACCURACY, ACCURACY_EXTRACTED, EXTRACTED, Benchmark

XSTORYCLOZE = Benchmark(
    name="XStoryCloze",
    choices_kind="option_number_1_2",
    scoring="only_option",
    options=("1", "2"),
    metrics=(ACCURACY, ACCURACY_EXTRACTED, EXTRACTED),
    paper_items=1511,
    paper_languages=("en", "ar", "es", "eu", "hi", "id", "ru", "sw", "te", "zh"),
)
