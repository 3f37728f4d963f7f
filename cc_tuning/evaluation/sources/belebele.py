"""BELEBELE (Bandarkar et al. 2024): 900 questions about 488 passages of FLORES, joined by passage and number."""

from dataclasses import replace

from cc_tuning.evaluation.sources.source import (
    LETTERS,
    Fault,
    ItemSource,
    Row,
    SourceItem,
    files_by_language,
    name_of_text,
)
from cc_tuning.text.languages import all_languages

_LANGUAGES = [
    "ar",
    "bn",
    "de",
    "el",
    "en",
    "es",
    "eu",
    "fr",
    "hi",
    "id",
    "ja",
    "ko",
    "pt",
    "ru",
    "sw",
    "te",
    "th",
    "tr",
    "ur",
    "vi",
    "yo",
    "zh",
]
# Files are called by FLORES codes. Where a language has two scripts (zh), the first row of the table is read.
_NAMES = {row.iso639_1: row.flores_code for row in reversed(all_languages()) if row.iso639_1 in _LANGUAGES}
_OPTIONS = ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: a passage, a question, four answers, and the number of the right one as text."""
    right = str(row["correct_answer_num"])
    if right not in ("1", "2", "3", "4"):
        return Fault("answer_unknown", f"correct_answer_num {right!r}, expected 1 to 4")
    options = tuple(row[name] for name in _OPTIONS)
    return SourceItem(
        item_id=f"belebele-{name_of_text(row['link'])}-{row['question_number']}",
        number=number,
        fields={"passage": row["flores_passage"], "question": row["question"], "options": options},
        answers=(LETTERS[int(right) - 1],),
        choices=options,
        cluster=row["link"],
    )


BELEBELE = ItemSource(
    benchmark="BELEBELE",
    files=files_by_language(
        _NAMES,
        "data/{name}.jsonl",
        repository="facebook/belebele",
        revision="7899cdfa4e1e0d733fd77c848e2c273cb1d32be2",
        format="jsonl",
        columns=("link", "question_number", "flores_passage", "question", *_OPTIONS, "correct_answer_num"),
        rows=900,
    ),
    read=read_item,
    has_equal_answers=True,
    licence="CC BY-SA 4.0",
    citation="Bandarkar et al. 2024, The Belebele Benchmark: a Parallel Reading Comprehension Dataset in 122 Language "
    "Variants",
    url="https://aclanthology.org/2024.acl-long.44",
)

BELEBELE_FIELDS = replace(BELEBELE, benchmark="BELEBELE-fields")
"""The same rows, with the prompts of Lee et al. 2025."""
