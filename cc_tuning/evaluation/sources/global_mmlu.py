"""Global-MMLU's test split (Singh et al. 2024): MMLU in 42 languages, joined by the id of each item.

A few items of some languages have an option without text; they are set aside there.
"""

from cc_tuning.evaluation.sources.source import (
    LETTERS,
    Fault,
    ItemSource,
    Row,
    SourceItem,
    files_by_language,
    same_names,
)

_OPTIONS = ("option_a", "option_b", "option_c", "option_d")


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: `sample_id`, `question`, four options, the right one's letter, and the subject's category."""
    answer = str(row["answer"]).strip()
    if answer not in LETTERS:
        return Fault("answer_unknown", f"answer {answer!r}, expected A, B, C or D")
    options = tuple(row[name] for name in _OPTIONS)
    return SourceItem(
        item_id=row["sample_id"],
        number=number,
        fields={"question": row["question"], "options": options},
        answers=(answer,),
        choices=options,
        group=row["subject_category"],
    )


GLOBAL_MMLU = ItemSource(
    benchmark="GlobalMMLU",
    files=files_by_language(
        same_names("ar bn de el en es fr hi id ja ko pt ru sw te tr vi yo zh"),
        "{name}/test-00000-of-00001.parquet",
        repository="CohereLabs/Global-MMLU",
        revision="0e619dbeb34206cd48705a1a0ea7fb21cae09993",
        format="parquet",
        columns=("sample_id", "subject_category", "question", *_OPTIONS, "answer"),
        rows=14_042,
    ),
    read=read_item,
    has_equal_answers=True,
    licence="Apache-2.0",
    citation="Singh et al. 2024, Global MMLU: Understanding and Addressing Cultural and Linguistic Biases in "
    "Multilingual Evaluation",
    url="https://arxiv.org/abs/2412.03304",
)
