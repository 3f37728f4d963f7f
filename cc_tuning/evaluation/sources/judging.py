"""Rows of one language as items, or set aside with the rule that they break: every row is one or the other.

What is known to be wrong with a source stands in its own file; the rules here hold for all of them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.scorers import normalised
from cc_tuning.evaluation.sources.source import Fault, ItemSource, LeftOut, RemoteFile, Row, SourceItem
from data_contracts.errors import ContractViolation

MOST_NAMED = 10


@dataclass
class JudgedRows:
    """One language of a source; counts are by rule."""

    language: str
    rows: int = 0
    items: list[SourceItem] = field(default_factory=list)
    faults: list[tuple[str, Fault, Mapping[str, Any]]] = field(default_factory=list)
    """Id or row, what is wrong, and the row itself."""
    left_out: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    repeated_prompts: int = 0
    """Items, all kept, whose prompt another one had before."""

    def set_aside(self, item: SourceItem, fault: Fault) -> None:
        """File an item under a rule; the caller takes it off the items."""
        texts = {**item.fields, "answers": item.answers, "row": item.number}
        self.faults.append((item.item_id, fault, texts))


def judge_rows(source: ItemSource, language: str, rows: Iterable[Row]) -> JudgedRows:
    """The rows of one language, each by itself.

    Raises:
        ContractViolation: a row is not of the shape that the source says.
    """
    judged, file = JudgedRows(language), source.files[language]
    seen: set[str] = set()
    for number, row in enumerate(rows):
        judged.rows += 1
        found = _item_of(source, file, language, row, number)
        if isinstance(found, LeftOut):
            judged.left_out[found.reason] += 1
        elif isinstance(found, Fault):
            judged.faults.append((f"row {number}", found, {name: row[name] for name in file.columns}))
        elif found.item_id in seen:
            judged.set_aside(found, Fault("id_given_twice"))
        else:
            seen.add(found.item_id)
            judged.items.append(found)
            judged.mended.update(found.mended)
    return judged


def align_with_english(source: ItemSource, judged: JudgedRows, english: Sequence[SourceItem]) -> None:
    """Mend and set aside what is known to differ from the English items; what else differs stops everything.

    Raises:
        ContractViolation: answers differ from the English ones in places that the source does not know of.
    """
    by_id = {item.item_id: item for item in english}
    aligned = source.align(judged.language, judged.items, by_id)
    judged.mended.update(aligned.mended)
    for item, fault in aligned.faults:
        judged.set_aside(item, fault)
    kept = []
    for item in aligned.items:
        if item.item_id in by_id:
            kept.append(item)
        else:
            judged.set_aside(item, Fault("no_english_version"))
    differing = [item.number for item in kept if item.answers != by_id[item.item_id].answers]
    if source.has_equal_answers and differing:
        raise ContractViolation(
            f"{source.benchmark}, {judged.language}: {len(differing)} answers differ from the English ones where they "
            f"must be equal, in rows {differing[:MOST_NAMED]} of {source.files[judged.language]}; what is known to "
            "differ is handled, this is not. Leave the language out of `evaluation.languages` until it is understood"
        )
    judged.items = kept


def judge_repeated_prompts(source: ItemSource, judged: JudgedRows) -> None:
    """Set aside items of one prompt with different options as answers, since one of them is wrong; count the others."""
    options = BENCHMARKS[source.benchmark].options
    by_prompt: dict[tuple[Any, ...], list[SourceItem]] = {}
    for item in judged.items:
        by_prompt.setdefault(tuple(item.fields.values()), []).append(item)
    contradictory: set[str] = set()
    for group in by_prompt.values():
        if options and len({item.answers for item in group}) > 1:
            contradictory.update(item.item_id for item in group)
        else:
            judged.repeated_prompts += len(group) - 1
    for item in judged.items:
        if item.item_id in contradictory:
            judged.set_aside(item, Fault("same_prompt_other_answer"))
    judged.items = [item for item in judged.items if item.item_id not in contradictory]


def _item_of(
    source: ItemSource, file: RemoteFile, language: str, row: Row, number: int
) -> SourceItem | Fault | LeftOut:
    if blank := [name for name in file.columns if _is_blank(row[name])]:
        return Fault("blank_text", ", ".join(blank))
    try:
        found = source.read(row, number, language)
        if isinstance(found, SourceItem):
            _check_texts(found)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ContractViolation(
            f"{source.benchmark}, {language}, row {number} of {file}: not as expected ({type(error).__name__}: "
            f"{error}); the file is of another version: {str(row)[:300]}"
        ) from error
    if not isinstance(found, SourceItem):
        return found
    if any(map(_is_blank, found.fields.values())):
        return Fault("blank_text", ", ".join(name for name, value in found.fields.items() if _is_blank(value)))
    if not BENCHMARKS[source.benchmark].options and not any(map(normalised, found.answers)):
        return Fault("answers_cannot_be_met", f"{found.answers!r}")
    return found


def _check_texts(item: SourceItem) -> None:
    """Raise a TypeError where a field or an answer is neither a text nor, in a field, several texts or none."""
    fields = (text for value in item.fields.values() for text in (value if isinstance(value, tuple) else (value,)))
    for text in (*fields, *item.answers):
        if not (text is None or isinstance(text, str)):
            raise TypeError(f"{text!r} is no text")


def _is_blank(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(item is None or (isinstance(item, str) and not item.strip()) for item in value)
    return value is None or (isinstance(value, str) and not value.strip())
