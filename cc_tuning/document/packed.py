"""Records of an explorer as the page holds them: compact JSON in which each text stands once, compressed.

The page's script unpacks it. Base64 has no character that means anything in HTML, so no text can leave its element.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cc_tuning.document.blocks import Explorer, Facet, Passage, Record
from cc_tuning.document.visible import visible

MAX_BYTES = 3_000_000
"""Of packed records in one page, which with everything else stays below 5 MB."""


def packed(explorer: Explorer) -> str:
    """Base64 of zlib of the JSON that `templates/explorer.js` reads."""
    content = json.dumps(_content(explorer), ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(content.encode(), 9)).decode()


def fitted(explorer: Explorer, max_bytes: int = MAX_BYTES) -> Explorer:
    """The explorer with as many of its first records as fit in `max_bytes` when packed."""
    while explorer.records and (size := len(packed(explorer))) > max_bytes:
        kept = min(len(explorer.records) * max_bytes // size, len(explorer.records) - 1)
        explorer = replace(explorer, records=explorer.records[:kept])
    return explorer


class _Strings:
    """Texts by their place; an equal text has the place of the first."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self._places.setdefault(visible(text), len(self._places))

    @property
    def texts(self) -> list[str]:
        return list(self._places)


def _content(explorer: Explorer) -> dict[str, Any]:
    strings = _Strings()
    return {
        "facets": [_facet(facet) for facet in explorer.facets],
        "answerers": list(map(visible, explorer.answerers)),
        "compared": explorer.compared,
        "records": [_record(record, explorer.facets, strings) for record in explorer.records],
        "strings": strings.texts,
    }


def _facet(facet: Facet) -> list[Any]:
    return [visible(facet.title), [visible(label) for _, label in facet.values]]


def _record(record: Record, facets: Sequence[Facet], strings: _Strings) -> list[Any]:
    """`[name, facet places, language, direction, passages, expected, answers]`; texts are places."""
    places = [[value for value, _ in facet.values].index(own) for facet, own in zip(facets, record.facets, strict=True)]
    answers = [
        None if answer is None else [*map(strings.place, (answer.text, answer.score_text, answer.note)), answer.score]
        for answer in record.answers
    ]
    passages = [_passage(passage, strings) for passage in record.passages]
    expected = list(map(strings.place, record.expected))
    return [strings.place(record.name), places, record.language, record.direction, passages, expected, answers]


def _passage(passage: Passage, strings: _Strings) -> list[Any]:
    return [strings.place(passage.label), strings.place(passage.text), passage.language, passage.direction]
