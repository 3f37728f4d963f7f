"""INCLUDE's test split (Romanou et al. 2024): examination questions of each region, so no two languages share one.

Its ids are the rows' numbers within a language. A few items have an option without text; they are set aside.
"""

from cc_tuning.evaluation.sources.source import LETTERS, Fault, ItemSource, Row, SourceItem, files_by_language

_NAMES = {
    "ar": "Arabic", "bn": "Bengali", "de": "German", "el": "Greek", "es": "Spanish", "eu": "Basque", "fr": "French",
    "hi": "Hindi", "id": "Indonesian", "ja": "Japanese", "ko": "Korean", "pt": "Portuguese", "ru": "Russian",
    "te": "Telugu", "tr": "Turkish", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_OPTIONS = ("option_a", "option_b", "option_c", "option_d")


def read_item(row: Row, number: int, language: str) -> SourceItem | Fault:
    """The item of a row: `question`, four options, the right one's index (0 to 3), and the domain."""
    if row["answer"] not in range(len(LETTERS)):
        return Fault("answer_unknown", f"answer {row['answer']!r}, expected 0 to 3")
    options = tuple(row[name] for name in _OPTIONS)
    return SourceItem(
        item_id=f"include-{language}-{number:03d}",
        number=number,
        fields={"question": row["question"], "options": options},
        answers=(LETTERS[row["answer"]],),
        choices=options,
        group=row["domain"],
    )


INCLUDE = ItemSource(
    benchmark="INCLUDE",
    files=files_by_language(
        _NAMES,
        "{name}/test-00000-of-00001.parquet",
        repository="CohereLabs/include-base-44",
        revision="d2e1f6015f67a43c02a9a68db98e2298e2d6a660",
        format="parquet",
        columns=("question", *_OPTIONS, "answer", "domain"),
    ),
    read=read_item,
    is_parallel=False,
    licence="Apache-2.0",
    citation="Romanou et al. 2024, INCLUDE: Evaluating Multilingual Language Understanding with Regional Knowledge",
    url="https://arxiv.org/abs/2411.19799",
)
