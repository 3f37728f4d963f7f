"""XL-Sum's test split (Hasan et al. 2021): articles of the BBC with a summary; no two languages have the same ones.

Its main branch holds a script, which is never run; the files are those that the hub made of it, at one commit.
"""

from cc_tuning.evaluation.sources.source import ItemSource, Row, SourceItem, files_by_language

_NAMES = {
    "ar": "arabic", "bn": "bengali", "en": "english", "es": "spanish", "fr": "french", "hi": "hindi",
    "id": "indonesian", "ja": "japanese", "ko": "korean", "pt": "portuguese", "ru": "russian", "sw": "swahili",
    "te": "telugu", "th": "thai", "tr": "turkish", "ur": "urdu", "vi": "vietnamese", "yo": "yoruba",
    "zh": "chinese_simplified",
}  # fmt: skip
_ROWS = {
    "ar": 4689, "bn": 1012, "en": 11535, "es": 4763, "fr": 1086, "hi": 8847, "id": 4780, "ko": 550, "pt": 7175,
    "ru": 7780, "sw": 987, "te": 1302, "th": 826, "tr": 3397, "ur": 8458, "vi": 4013, "yo": 793, "zh": 4670,
}  # fmt: skip


def read_item(row: Row, number: int, language: str) -> SourceItem:
    """The item of a row: `id`, `title`, `text`, and its gold answer `summary`."""
    return SourceItem(
        item_id=f"xlsum-{language}-{row['id']}",
        number=number,
        fields={"title": row["title"], "text": row["text"]},
        answers=(row["summary"],),
    )


XLSUM = ItemSource(
    benchmark="XLSum",
    files=files_by_language(
        _NAMES,
        "{name}/test/0000.parquet",
        repository="csebuetnlp/xlsum",
        revision="0708ec9598e9205e0144c5e62b64905c9922fb87",
        format="parquet",
        columns=("id", "title", "summary", "text"),
        rows=_ROWS,
    ),
    read=read_item,
    is_parallel=False,
    licence="CC BY-NC-SA 4.0",
    is_non_commercial=True,
    citation="Hasan et al. 2021, XL-Sum: Large-Scale Multilingual Abstractive Summarization for 44 Languages",
    url="https://aclanthology.org/2021.findings-acl.413",
)
