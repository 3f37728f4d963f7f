"""XQuAD (Artetxe et al. 2020): 1,190 questions about 240 paragraphs, items joined by their id.

Some texts hold U+FEFF, an invisible mark that no reader of the language would type. It is taken out of question,
paragraph and answers alike, and whether an answer stands in its paragraph is checked afterwards.
"""

from cc_tuning.evaluation.sources.source import (
    Fault,
    ItemSource,
    Row,
    SourceItem,
    files_by_language,
    name_of_text,
    same_names,
)

_MARK = "\ufeff"


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: `id`, `context`, `question` and `answers` with a list `text`."""
    context, question = row["context"].replace(_MARK, ""), row["question"].replace(_MARK, "")
    answers = tuple(dict.fromkeys(text.replace(_MARK, "") for text in row["answers"]["text"]))
    if absent := [text for text in answers if text not in context]:
        return Fault("answer_not_in_context", f"{absent[0]!r}")
    has_mark = _MARK in row["context"] + row["question"] + "".join(row["answers"]["text"])
    return SourceItem(
        item_id=row["id"],
        number=number,
        fields={"context": context, "question": question},
        answers=answers,
        cluster=f"paragraph-{name_of_text(context)}",
        mended=("invisible_mark",) if has_mark else (),
    )


XQUAD = ItemSource(
    benchmark="XQuAD",
    files=files_by_language(
        same_names("ar de el en es hi ro ru th tr vi zh"),
        "xquad.{name}/validation-00000-of-00001.parquet",
        repository="google/xquad",
        revision="51adfef1c1287aab1d2d91b5bead9bcfb9c68583",
        format="parquet",
        columns=("id", "context", "question", "answers"),
        rows=1190,
    ),
    read=read_item,
    licence="CC BY-SA 4.0",
    citation="Artetxe et al. 2020, On the Cross-lingual Transferability of Monolingual Representations",
    url="https://aclanthology.org/2020.acl-main.421",
)
