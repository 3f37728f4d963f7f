"""MMMLU (OpenAI 2024), MMLU's test split translated by people; its English is MMLU itself (Hendrycks et al. 2021).

Rows are parallel by their number, with what is known to be wrong:

- the block of high_school_world_history stands in another order in Korean and Chinese, so it is set aside there;
- Swahili and Yoruba have subjects with a file's name behind them, which is cut off;
- one item of jurisprudence has another answer in German than in English, and is set aside.

Cells such as `None` or `NA` are texts of options, so the files are read by a reader that knows no null words.
"""

from collections.abc import Mapping, Sequence

from cc_tuning.evaluation.sources.source import (
    LETTERS,
    Alignment,
    Fault,
    ItemSource,
    RemoteFile,
    Row,
    SourceItem,
    files_by_language,
)
from cc_tuning.evaluation.sources.subjects import CATEGORIES
from data_contracts.errors import ContractViolation

ROWS = 14_042
REORDERED_SUBJECT = "high_school_world_history"
REORDERED_LANGUAGES = ("ko", "zh")
OTHER_ANSWERS: Mapping[str, tuple[str, int]] = {"de": ("jurisprudence", 1)}
"""By language: the subject in which the answers of so many items at most are known to differ from MMLU's."""


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row of either repository: MMLU's has a list of choices and the answer's index."""
    if "choices" in row:
        question, options, subject = row["question"], tuple(row["choices"]), row["subject"]
        answer = LETTERS[row["answer"]] if row["answer"] in range(len(LETTERS)) else str(row["answer"])
    else:
        question, options, subject = row["Question"], tuple(row[name] for name in LETTERS), row["Subject"]
        answer = row["Answer"].strip()
    if answer not in LETTERS:
        return Fault("answer_unknown", f"answer {answer!r}, expected A, B, C or D")
    if (name := subject.partition("_test")[0]) not in CATEGORIES:
        return Fault("subject_unknown", f"subject {subject!r}")
    return SourceItem(
        item_id=f"mmlu-test-{number:05d}-{name}",
        number=number,
        fields={"question": question, "options": options},
        answers=(answer,),
        choices=options,
        group=CATEGORIES[name],
        mended=() if name == subject else ("subject_with_file_name",),
    )


def set_known_differences_aside(
    language: str, items: Sequence[SourceItem], english: Mapping[str, SourceItem]
) -> Alignment:
    """The items without those that are known to differ from the English ones.

    Raises:
        ContractViolation: a row is of another subject than the English row of its number.
    """
    subjects = {item.number: item.item_id for item in english.values()}
    for item in items:
        if item.item_id != subjects.get(item.number, item.item_id):
            raise ContractViolation(
                f"MMMLU, {language}, row {item.number}: the item is {item.item_id}, in English it is "
                f"{subjects[item.number]}; rows are joined by their number, so the file is in another order"
            )
    aligned = Alignment([])
    other_subject, most = OTHER_ANSWERS.get(language, ("", 0))
    other = [
        item.item_id
        for item in items
        if item.item_id.endswith(f"-{other_subject}") and _has_another_answer(item, english)
    ]
    known = set(other) if other_subject and len(other) <= most else set()
    kept = []
    for item in items:
        if language in REORDERED_LANGUAGES and item.item_id.endswith(f"-{REORDERED_SUBJECT}"):
            aligned.faults.append((item, Fault("block_in_another_order", REORDERED_SUBJECT)))
        elif item.item_id in known:
            aligned.faults.append((item, Fault("answer_differs_from_english", other_subject)))
        else:
            kept.append(item)
    aligned.items = kept
    return aligned


def _has_another_answer(item: SourceItem, english: Mapping[str, SourceItem]) -> bool:
    return item.item_id in english and english[item.item_id].answers != item.answers


MMLU_TEST = RemoteFile(
    repository="cais/mmlu",
    revision="c30699e8356da336a370243923dbaf21066bb9fe",
    path="all/test-00000-of-00001.parquet",
    format="parquet",
    columns=("question", "choices", "answer", "subject"),
    rows=ROWS,
    sha256="74a41822ce7d3def56e1682f958469c04642a5336a5ce912fa375fdb90fb25d7",
)
_NAMES = {
    "ar": "AR-XY", "bn": "BN-BD", "de": "DE-DE", "es": "ES-LA", "fr": "FR-FR", "hi": "HI-IN", "id": "ID-ID",
    "it": "IT-IT", "ja": "JA-JP", "ko": "KO-KR", "pt": "PT-BR", "sw": "SW-KE", "yo": "YO-NG", "zh": "ZH-CN",
}  # fmt: skip

MMMLU = ItemSource(
    benchmark="MMMLU",
    files={
        "en": MMLU_TEST,
        **files_by_language(
            _NAMES,
            "test/mmlu_{name}.csv",
            repository="openai/MMMLU",
            revision="325a01dc3e173cac1578df94120499aaca2e2504",
            format="csv",
            columns=("Question", *LETTERS, "Answer", "Subject"),
            rows=ROWS,
        ),
    },
    read=read_item,
    has_equal_answers=True,
    align=set_known_differences_aside,
    licence="MIT",
    citation="Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding; translations: OpenAI 2024",
    url="https://huggingface.co/datasets/openai/MMMLU",
)
