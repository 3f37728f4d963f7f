"""XNLI's test split (Conneau et al. 2018): rows are parallel by their number, three in a row share a premise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from cc_tuning.evaluation.prompts import relation_words
from cc_tuning.evaluation.sources.source import (
    Alignment,
    Fault,
    ItemSource,
    Row,
    SourceItem,
    files_by_language,
    name_of_text,
    same_names,
)

EXCHANGED_ROWS: Mapping[str, tuple[int, int]] = {"ru": (2805, 2806)}
"""Two rows of one premise that stand in each other's place; each label fits the text of its own row."""
_ANSWERS = ("1", "2", "3")  # entailment, neutral, contradiction: the order of the labels and of the prompt's options


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: `premise`, `hypothesis`, `label` (0 to 2)."""
    if row["label"] not in range(len(_ANSWERS)):
        return Fault("answer_unknown", f"label {row['label']!r}, expected 0, 1 or 2")
    return SourceItem(
        item_id=f"xnli-test-{number:04d}",
        number=number,
        fields={"premise": row["premise"], "hypothesis": row["hypothesis"]},
        answers=(_ANSWERS[row["label"]],),
        choices=relation_words(language),
        cluster=f"premise-{name_of_text(row['premise'])}",
    )


def put_back_exchanged(
    language: str,
    items: Sequence[SourceItem],
    english: Mapping[str, SourceItem],
    *,
    exchanged: Mapping[str, tuple[int, int]] = EXCHANGED_ROWS,
) -> Alignment:
    """The items with the exchanged pair of the language put back, if its golds show that it is exchanged."""
    first, second = exchanged.get(language, (-1, -1))
    pair = {item.number: item for item in items if item.number in (first, second)}
    differs = [item.answers != english[item.item_id].answers for item in pair.values() if item.item_id in english]
    if len(pair) != 2 or differs != [True, True]:
        return Alignment(items)
    put_back = {
        number: replace(pair[other], number=number, item_id=pair[number].item_id)
        for number, other in ((first, second), (second, first))
    }
    return Alignment([put_back.get(item.number, item) for item in items], mended={"exchanged_rows": 2})


XNLI = ItemSource(
    benchmark="XNLI",
    files=files_by_language(
        same_names("ar bg de el en es fr hi ru sw th tr ur vi zh"),
        "{name}/test-00000-of-00001.parquet",
        repository="facebook/xnli",
        revision="b8dd5d7af51114dbda02c0e3f6133f332186418e",
        format="parquet",
        columns=("premise", "hypothesis", "label"),
        rows=5010,
    ),
    read=read_item,
    has_equal_answers=True,
    align=partial(put_back_exchanged, exchanged=EXCHANGED_ROWS),
    licence="CC BY-NC 4.0",
    is_non_commercial=True,
    licence_note="Stated in the repository of the corpus on GitHub; the card of the hub names none.",
    citation="Conneau et al. 2018, XNLI: Evaluating Cross-lingual Sentence Representations",
    url="https://aclanthology.org/D18-1269",
)
