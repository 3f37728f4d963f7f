"""MKQA (Longpre et al. 2021): 10,000 questions, each with its answers in 26 languages in one line of one file.

Questions without an answer and those with a long one are left out, as in the paper: 6,758 remain. The gold answers are
every text and alias as they stand: dates in ISO form, numbers with a decimal point, `yes` and `no` in English.
"""

from typing import Any

from cc_tuning.evaluation.sources.source import Fault, ItemSource, LeftOut, RemoteFile, Row, SourceItem

LEFT_OUT = ("unanswerable", "long_answer")
_FILE = RemoteFile(
    host="github",
    repository="apple/ml-mkqa",
    revision="651b8cc85c407270b024157aff06ee6ab8c4fc6d",
    path="dataset/mkqa.jsonl.gz",
    format="jsonl.gz",
    columns=("example_id", "queries", "answers"),
    rows=10_000,
)
_KEYS = {"zh": "zh_cn"}
_LANGUAGES = "ar da de en es fi fr he hu it ja km ko ms nl no pl pt ru sv th tr vi zh"


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault | LeftOut:
    """The item of a row: `queries` and `answers` by language, an answer being a type, a text and aliases."""
    key = _KEYS.get(language, language)
    given: list[dict[str, Any]] = row["answers"][key]
    types = [answer["type"] for answer in given]
    for reason in LEFT_OUT:
        if reason in types:
            return LeftOut(reason)
    texts = [text for answer in given for text in [answer.get("text"), *_aliases(answer)]]
    answers = tuple(dict.fromkeys(text.strip() for text in texts if text and text.strip()))
    if not answers:
        return Fault("no_answer", f"answers of the types {types} without a text")
    return SourceItem(
        item_id=f"mkqa:{row['example_id']}",
        number=number,
        fields={"question": row["queries"][key]},
        answers=answers,
        group=types[0],
    )


def _aliases(answer: dict[str, Any]) -> list[str]:
    """The other texts of an answer; a text in their place would be taken for a list of its characters."""
    aliases = answer.get("aliases") or []
    if not isinstance(aliases, list):
        raise TypeError(f"aliases {aliases!r}, expected a list")
    return aliases


MKQA = ItemSource(
    benchmark="MKQA",
    files=dict.fromkeys(_LANGUAGES.split(), _FILE),
    read=read_item,
    licence="CC BY-SA 3.0",
    licence_note="The readme of its repository; the card of the hub says CC BY 3.0.",
    citation="Longpre et al. 2021, MKQA: A Linguistically Diverse Benchmark for Multilingual Open Domain Question "
    "Answering",
    url="https://aclanthology.org/2021.tacl-1.82",
)
