"""MGSM's test split (Shi et al. 2022): 250 problems of GSM8K, parallel by the rows' numbers; the answer is a number."""

from cc_tuning.evaluation.sources.source import Fault, ItemSource, Row, SourceItem, files_by_language, same_names


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: `question` and `answer_number`."""
    if not isinstance(row["answer_number"], int):
        return Fault("answer_unknown", f"answer_number {row['answer_number']!r}, expected a whole number")
    return SourceItem(
        item_id=f"mgsm-test-{number:03d}",
        number=number,
        fields={"question": row["question"]},
        answers=(str(row["answer_number"]),),
    )


MGSM = ItemSource(
    benchmark="MGSM",
    files=files_by_language(
        same_names("bn de en es fr ja ru sw te th zh"),
        "{name}/test-00000-of-00001.parquet",
        repository="juletxara/mgsm",
        revision="b2f13d426afe3be8d69a7e739b36724db8b66bbc",
        format="parquet",
        columns=("question", "answer_number"),
        rows=250,
    ),
    read=read_item,
    has_equal_answers=True,
    licence="CC BY-SA 4.0",
    citation="Shi et al. 2022, Language Models are Multilingual Chain-of-Thought Reasoners",
    url="https://arxiv.org/abs/2210.03057",
)
