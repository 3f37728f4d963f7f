"""OpenAssistant's message trees as rows: the first question of a tree with each of its answers (Köpf et al. 2023).

Replies to one message are ranked by people, 0 the best; a reply without siblings, or of a tree that was not ranked, has
no rank. Lee et al. 2025 take 6,400 English pairs "in order of highest ranking": more than the 3,670 English trees of
the export they name, so an instruction comes again with its second answer once all best answers are taken. The draw
(`selection/draw.py`) keeps that order, so fewer rows are the beginning of more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cc_tuning.selection.columns import NOT_A_CONVERSATION
from cc_tuning.text.languages import UnknownLanguage, by_iso639_1

WITHDRAWN = "withdrawn_message"
OTHER_LANGUAGE = "answer_in_other_language"
TREE_RULES = {
    WITHDRAWN: "the question or the answer was deleted, or people did not accept it",
    OTHER_LANGUAGE: "the answer is marked as of another language than the question",
}
HUB_FILES = "*_oasst_ready.trees.jsonl.gz"
"""The file of finished trees in the repository of the data set."""
_RANKED = "ranked"


@dataclass(frozen=True)
class TreeRow:
    """A question with one of its answers."""

    values: Mapping[str, Any]
    """By our names; values as they stand in the tree."""
    problem: str | None
    """The name of the rule that it breaks."""
    further_turns: int
    """Messages below the answer."""
    rank: int | None


def rows_of_tree(question: object) -> Iterator[TreeRow]:
    """A row for each answer to the message at the root, in the order of the file; one row at least.

    A root that asks nothing, or that nobody answered, is a row without an answer, so that it can be looked at.
    """
    replies = question.get("replies") if isinstance(question, Mapping) else None
    answers = [reply for reply in replies if isinstance(reply, Mapping)] if isinstance(replies, list) else []
    if not isinstance(question, Mapping) or question.get("role") != "prompter" or not answers:
        yield TreeRow({"inputs": question, "targets": None}, NOT_A_CONVERSATION, 0, None)
        return
    for answer in answers:
        rank = answer.get("rank")
        values = {
            "inputs": question.get("text"),
            "targets": answer.get("text"),
            "language_code": _aya_code(question.get("lang")),
            "annotation_type": _RANKED if _is_rank(rank) else None,
            "user_id": answer.get("user_id"),
        }
        yield TreeRow(values, _problem(question, answer), _messages_below(answer), rank if _is_rank(rank) else None)


def _problem(question: Mapping[str, Any], answer: Mapping[str, Any]) -> str | None:
    if answer.get("role") != "assistant":
        return NOT_A_CONVERSATION
    if any(message.get("deleted") is True or message.get("review_result") is False for message in (question, answer)):
        return WITHDRAWN
    return OTHER_LANGUAGE if answer.get("lang") != question.get("lang") else None


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _aya_code(written: object) -> object:
    """`en` as `eng`, `pt-BR` as `por`; what is not in the table stays as it is, and is set aside by its rule."""
    try:
        return by_iso639_1(str(written).partition("-")[0]).aya_code
    except UnknownLanguage:
        return written


def _messages_below(message: Mapping[str, Any]) -> int:
    count, waiting = -1, [message]
    while waiting:
        replies = waiting.pop().get("replies")
        count += 1
        waiting += [reply for reply in replies if isinstance(reply, Mapping)] if isinstance(replies, list) else []
    return count
