"""From the columns that a source has to the ones that are learnt from, one raw row at a time.

Three layouts are common beside Aya's: Alpaca's instruction with an input, ShareGPT's list of turns, and the list of
messages of the chat interfaces. Of a conversation the first exchange is taken; the turns after it are counted, so that
nobody takes such a source for one of single questions. OpenAssistant's trees are for `trees`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cc_tuning.text.languages import UnknownLanguage, find_language

TEXT_COLUMNS = ("inputs", "targets", "language_code", "inputs_en", "targets_en")
LABEL_COLUMNS = ("language", "annotation_type", "user_id")
Layout = Literal["aya", "alpaca", "sharegpt", "messages", "oasst"]

_OF_LAYOUT: Mapping[str, tuple[str, ...]] = {
    "aya": ("inputs", "targets"),
    "alpaca": ("instruction", "input", "output"),
    "sharegpt": ("conversations",),
    "messages": ("messages",),
    "oasst": ("prompt",),
}
_OPTIONAL = {"input", "language", "annotation_type", "user_id", "inputs_en", "targets_en"}
_TURN_KEYS = {"sharegpt": ("from", "value"), "messages": ("role", "content")}
_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

NOT_A_CONVERSATION = "not_a_conversation"


class SourceColumns(BaseModel):
    """How the columns of the source are called, and what its rows look like."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Layout = Field(
        default="aya",
        description="`aya`: inputs and targets; `alpaca`: instruction, input and output, the first two joined by a "
        "line end; `sharegpt`: conversations of `from` and `value`; `messages`: messages of `role` and `content`. Of a "
        "conversation the first exchange is taken, a system turn before it joined to the question by a blank line. "
        "`oasst`: OpenAssistant's message trees, the first question with each of its answers, chosen in the order of "
        "their ranks.",
    )
    names: dict[str, str] = Field(
        default_factory=dict,
        description="The source's own name for a column, as in `{inputs: question, language_code: lang}`; without one "
        "a column is called as the layout or Aya calls it.",
    )
    language_code: str = Field(
        default="", description="The language of all rows, such as `spa`, for a source without a column that says it."
    )

    @model_validator(mode="after")
    def _names_are_of_columns(self) -> "SourceColumns":
        known = (*_OF_LAYOUT[self.layout], *TEXT_COLUMNS[2:], *LABEL_COLUMNS)
        if unknown := sorted(set(self.names) - set(known)):
            raise ValueError(f"the layout {self.layout!r} has no columns {unknown}; it has {', '.join(known)}")
        if self.layout == "oasst" and (self.language_code or set(self.names) - {"prompt"}):
            raise ValueError("message trees say themselves what their language is; leave out language_code and names")
        if self.language_code and "language_code" in self.names:
            raise ValueError("language_code is given twice, as a column's name and for all rows; leave one out")
        if self.language_code:
            try:
                find_language(self.language_code)
            except UnknownLanguage as error:
                raise ValueError(str(error)) from error
        return self

    @property
    def wanted(self) -> dict[str, str]:
        """The source's name of every column that is read, by its name here."""
        if self.layout == "oasst":
            return {"prompt": self.names.get("prompt", "prompt")}
        columns = [*_OF_LAYOUT[self.layout], *TEXT_COLUMNS[2:], *LABEL_COLUMNS]
        if self.language_code:
            columns.remove("language_code")
        return {name: self.names.get(name, name) for name in columns}

    @property
    def needed(self) -> tuple[str, ...]:
        """The source's names of the columns that it must have."""
        return tuple(theirs for ours, theirs in self.wanted.items() if ours not in _OPTIONAL)

    @property
    def is_plain(self) -> bool:
        """Whether a row is Aya's but for the names of its columns."""
        return self.layout == "aya" and not self.language_code


def taken(raw: Mapping[Any, Any], columns: SourceColumns) -> tuple[dict[str, Any], str | None, int]:
    """A raw row under our names, what is wrong with its form (a rule's name), and its turns after the first exchange.

    Values stay as they are; a row of another form keeps its turns as its inputs, so that it can be looked at.
    """
    row = {ours: raw.get(theirs) for ours, theirs in columns.wanted.items()}
    if columns.language_code:
        row["language_code"] = columns.language_code
    if columns.layout == "alpaca":
        return _of_alpaca(row), None, 0
    if columns.layout in _TURN_KEYS:
        (column,) = _OF_LAYOUT[columns.layout]
        return _of_turns(row, row.pop(column), *_TURN_KEYS[columns.layout])
    return row, None, 0


def _of_alpaca(row: dict[str, Any]) -> dict[str, Any]:
    instruction, context = row.pop("instruction"), row.pop("input")
    joins = isinstance(instruction, str) and isinstance(context, str) and context.strip()
    row["inputs"] = f"{instruction}\n{context}" if joins else instruction
    row["targets"] = row.pop("output")
    return row


def _of_turns(
    row: dict[str, Any], turns: Any, speaker_key: str, text_key: str
) -> tuple[dict[str, Any], str | None, int]:
    spoken = [
        (_SPEAKERS.get(str(turn.get(speaker_key))), turn.get(text_key))
        for turn in (turns if isinstance(turns, list) else [])
        if isinstance(turn, dict)
    ]
    system = [text for speaker, text in spoken[:1] if speaker == "system"]
    exchange = spoken[len(system) :]
    if [speaker for speaker, _ in exchange[:2]] != ["user", "assistant"]:
        return row | {"inputs": turns, "targets": None}, NOT_A_CONVERSATION, 0
    question, answer = exchange[0][1], exchange[1][1]
    if system and isinstance(system[0], str) and system[0].strip() and isinstance(question, str):
        question = f"{system[0]}\n\n{question}"
    return row | {"inputs": question, "targets": answer}, None, len(exchange) - 2
