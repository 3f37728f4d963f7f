"""Items from published files: one file a benchmark says where its rows lie and how a row becomes an item.

`SOURCES` is the table of them. Files are found, checked, read and made into items by the modules beside them; one more
benchmark is one more file and its row here (docs/benchmarks.md).
"""

from cc_tuning.evaluation.sources.belebele import BELEBELE, BELEBELE_FIELDS
from cc_tuning.evaluation.sources.global_mmlu import GLOBAL_MMLU
from cc_tuning.evaluation.sources.include import INCLUDE
from cc_tuning.evaluation.sources.mgsm import MGSM
from cc_tuning.evaluation.sources.mkqa import MKQA
from cc_tuning.evaluation.sources.mmmlu import MMMLU
from cc_tuning.evaluation.sources.source import ItemSource
from cc_tuning.evaluation.sources.xlsum import XLSUM
from cc_tuning.evaluation.sources.xnli import XNLI
from cc_tuning.evaluation.sources.xquad import XQUAD
from cc_tuning.evaluation.sources.xstorycloze import XSTORYCLOZE

_ROWS = (XNLI, XSTORYCLOZE, MMMLU, MKQA, XQUAD, XLSUM, BELEBELE, GLOBAL_MMLU, INCLUDE, MGSM, BELEBELE_FIELDS)

SOURCES: dict[str, ItemSource] = {row.benchmark: row for row in _ROWS}
"""By benchmark, in the order of the tables."""
