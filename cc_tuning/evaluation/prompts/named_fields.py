"""BELEBELE's prompts as Lee et al. 2025 write them: nothing is asked in words, fields and options are named.

The names are those of the paper's Table 7 (`belebele_fields.csv`), and English ones beside them; Korean options have
labels of their own, of several tokens. How name, text and label are joined the paper does not say: here by a colon, and
a full stop after a letter.
"""

import csv
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from cc_tuning.evaluation.prompts.layouts import LETTERS, Layout
from cc_tuning.evaluation.prompts.vocabulary import Vocabulary, vocabulary_of

_TABLE = Path(__file__).with_name("belebele_fields.csv")

NAMED_FIELDS: Mapping[str, Layout] = {
    "BELEBELE-fields": Layout(
        text="""\
<passage>{passage}
<question>{question}
{options}
<answer>""",
        options=LETTERS,
        sizes={"options": 4},
    )
}
"""By benchmark."""


@cache
def named_fields() -> Mapping[str, Vocabulary]:
    """The words of each language (ISO 639-1) of the table."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["language"]: _vocabulary(row) for row in rows}


def _vocabulary(row: Mapping[str, str]) -> Vocabulary:
    own, labels = vocabulary_of(row["language"]), tuple(row["labels"].split())
    names = {name: row[name] for name in ("passage", "question", "answer")}
    return replace(
        own,
        colon=": ",
        names={**own.names, **names},
        letters=labels,
        option_opening="",
        option_closing=". " if labels == LETTERS else " ",
    )
