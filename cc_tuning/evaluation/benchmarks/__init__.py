"""The benchmarks in the order of the tables, one file each.

One more is a file beside these with a `Benchmark` in it, its row in `_ROWS`, its name in the data contracts' list, and
items (docs/extending.md). `PAPER_BENCHMARKS`, the default of a recipe, stays: a recipe that names no benchmark is
evaluated on the paper's six, and its artifacts are found again.
"""

from collections.abc import Mapping

from cc_tuning.evaluation.benchmark import Benchmark
from cc_tuning.evaluation.benchmarks.alpaca_eval import ALPACA_EVAL
from cc_tuning.evaluation.benchmarks.belebele import BELEBELE
from cc_tuning.evaluation.benchmarks.belebele_fields import BELEBELE_FIELDS
from cc_tuning.evaluation.benchmarks.global_mmlu import GLOBAL_MMLU
from cc_tuning.evaluation.benchmarks.include import INCLUDE
from cc_tuning.evaluation.benchmarks.mgsm import MGSM
from cc_tuning.evaluation.benchmarks.mkqa import MKQA
from cc_tuning.evaluation.benchmarks.mmmlu import MMMLU
from cc_tuning.evaluation.benchmarks.xlsum import XLSUM
from cc_tuning.evaluation.benchmarks.xnli import XNLI
from cc_tuning.evaluation.benchmarks.xquad import XQUAD
from cc_tuning.evaluation.benchmarks.xstorycloze import XSTORYCLOZE

_ROWS = (
    *(XNLI, XSTORYCLOZE, MMMLU, MKQA, XQUAD, XLSUM, BELEBELE, GLOBAL_MMLU, INCLUDE, MGSM),
    *(BELEBELE_FIELDS, ALPACA_EVAL),
)

BENCHMARKS: Mapping[str, Benchmark] = {row.name: row for row in _ROWS}
PAPER_BENCHMARKS = ("XNLI", "XStoryCloze", "MMMLU", "MKQA", "XQuAD", "XLSum")
"""Those of Ye et al. 2025, appendix A.2."""
