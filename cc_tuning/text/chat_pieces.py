"""A chat template taken apart once: the ids around a user's text and an answer, and how the two themselves are encoded.

The template is rendered around markers. What it writes by the day or by a switch is fixed: dates are one date, and
thinking is off, so that equal prompts are equal on all days. What it writes must not depend on the text either.

Tokenizers with word-start marks (those of SentencePiece) encode a text at the beginning of a string, after a control
token and inside of a line in different ways. So a blank that the template writes before a text belongs to the text, and
of the two encodings, with a mark before the text and without, the one is taken that gives what the tokenizer makes of
the whole conversation. Where neither does, the tokenizer is refused.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, UnsupportedModel, in_one_line
from cc_tuning.runtime.deadline import done_within
from cc_tuning.text.chat_templates import CHAT_TEMPLATES

# Llama 3.1 and later write the date into the system turn, and take this one where none is given.
_FIXED_DATE = datetime(2024, 7, 26)
_DATE_FORMS = [f"%{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdHIjmMpSuUwWxXyYZeFTDR"]
_TEXT_MARKER, _ANSWER_MARKER = "\ue100text\ue101", "\ue100answer\ue101"
_RENDERING_SECONDS = 10.0
_PROBES = ("Habari, dünya 你好?", "2", "def f(x):\n\treturn {'a': [x, 2]}\n\nWhy?")
_CONTROL_TOKEN_FORM = re.compile(r"<\|[^|<>]+\|>|<(?:start|end)_of_turn>")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Turns:
    """The text that a chat template writes around the user's text and the answer."""

    before_text: str
    before_answer: str
    answer_lead: str
    """Blanks before a given answer that a prompt for a new one does not end with: the model has to say them."""
    answer_tail: str
    """Blanks between an answer and the end of its turn."""
    after_answer: str

    def prompt(self, text: str) -> str:
        """The rendered prompt for `text`."""
        return self.before_text + text + self.before_answer

    def conversation(self, text: str, answer: str) -> str:
        """The rendered conversation."""
        return self.prompt(text) + self.answer_lead + answer + self.answer_tail + self.after_answer


@dataclass(frozen=True)
class TextEncoder:
    """Encodes what stands in one place of a conversation; control tokens in it are plain text."""

    plain: Tokenizer
    before: str = ""
    after: str = ""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text with the blanks that belong to it.

        Raises:
            ConfigError: a text is not valid Unicode.
        """
        for text in texts:
            if found := _SURROGATE.search(text):
                raise ConfigError(
                    f"character {found.start()} of a text is the lone surrogate U+{ord(found[0]):04X}, which is not "
                    f"valid Unicode; repair the text. It begins: {text[:60]!r}"
                )
        whole = [self.before + text + self.after for text in texts]
        return [encoding.ids for encoding in self.plain.encode_batch(whole, add_special_tokens=False)]


@dataclass(frozen=True)
class Pieces:
    """A prompt is `before_text`, the text and `before_answer`; an example goes on with the answer and the last id."""

    before_text: list[int]
    text: TextEncoder
    before_answer: list[int]
    answer: TextEncoder
    end_of_turn_id: int
    control_ids: frozenset[int]


def require_template(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a tokenizer that has no chat template, or several of which none is the default.

    Raises:
        ConfigError: names the project's templates, and the tokenizer's own.
    """
    shipped = ", ".join(sorted(path.stem for path in CHAT_TEMPLATES.glob("*.jinja")))
    template: Any = tokenizer.chat_template
    if not template:
        raise ConfigError(
            f"the tokenizer {name} has no chat template, as is usual for base models; name one of the project's: "
            + shipped
        )
    if isinstance(template, dict) and "default" not in template:
        raise ConfigError(
            f"the tokenizer {name} has several chat templates ({', '.join(sorted(template))}) and none is called "
            "default; write the right one to chat_template.jinja beside it, or set `materialization.chat_template` to "
            f"one of the project's: {shipped}"
        )


def read_template(tokenizer: PreTrainedTokenizerBase, name: str) -> Turns:
    """What the tokenizer's chat template writes around a text and its answer.

    Raises:
        ConfigError: it has none, or several.
        UnsupportedModel: what it writes depends on the text, or differs between a prompt and its example.
    """
    require_template(tokenizer, name)
    prompt = _rendered(tokenizer, name, _TEXT_MARKER)
    conversation = _rendered(tokenizer, name, _TEXT_MARKER, _ANSWER_MARKER)
    if prompt.count(_TEXT_MARKER) != 1 or conversation.count(_ANSWER_MARKER) != 1:
        raise UnsupportedModel(f"the chat template of {name} does not write each message exactly once; choose another")
    before_answer, _, after_answer = conversation.partition(_ANSWER_MARKER)
    lead = before_answer.removeprefix(prompt)
    if not before_answer.startswith(prompt) or lead.strip(" "):
        raise UnsupportedModel(
            f"the chat template of {name} writes {prompt!r} before a new answer but {before_answer!r} before a given "
            "one: training would see another prompt than inference; choose a template where they are equal"
        )
    unknown = sorted(set(_CONTROL_TOKEN_FORM.findall(conversation)) - set(tokenizer.get_added_vocab()))
    if unknown:
        raise UnsupportedModel(
            f"the chat template writes {unknown}, which the tokenizer {name} does not have as tokens; choose the chat "
            "template of this model's family"
        )
    before_text, _, between = prompt.partition(_TEXT_MARKER)
    after = after_answer.lstrip(" ")
    turns = Turns(before_text, between, lead, after_answer[: len(after_answer) - len(after)], after)
    for probe in _PROBES:
        found = _rendered(tokenizer, name, probe)
        if found != turns.prompt(probe):
            raise UnsupportedModel(
                f"the chat template of {name} writes {found!r} for the text {probe!r}, expected "
                f"{turns.prompt(probe)!r} as for another text; choose a template that does not look into its messages"
            )
    return turns


def find_pieces(tokenizer: PreTrainedTokenizerBase, turns: Turns, name: str) -> Pieces:
    """The ids around a text and an answer, checked against the tokenizer's own ids of whole conversations.

    Raises:
        UnsupportedModel: an answer ends without a control token, or no way to encode a text by itself gives these ids.
    """
    inside, marked = _plain_tokenizers(tokenizer, name)
    control_ids = frozenset(tokenizer.added_tokens_decoder)
    after_answer = _literal(tokenizer, turns.after_answer)
    if not after_answer or after_answer[0] not in control_ids:
        raise UnsupportedModel(
            f"the chat template of {name} ends an answer with {turns.after_answer!r}, which does not begin "
            "with a control token, so generation could not stop there; choose the template of this model's family"
        )
    head = turns.before_text.rstrip(" ")
    before_text, blanks = _literal(tokenizer, head), turns.before_text[len(head) :]
    _check_beginning(tokenizer, before_text, name)
    plain, literal = _split_at_control_token(tokenizer, turns.before_answer)
    between = TextEncoder(inside).encode([plain])[0] + _literal(tokenizer, literal)
    differences = []
    for of_text, of_answer in product((inside, marked), repeat=2):
        text = TextEncoder(of_text, blanks)
        answer = TextEncoder(of_answer, turns.answer_lead, turns.answer_tail)
        pieces = Pieces(before_text, text, between, answer, after_answer[0], control_ids)
        difference = _first_difference(tokenizer, turns, pieces)
        if difference is None:
            return pieces
        differences.append(difference)
    found, expected = differences[0]
    raise UnsupportedModel(
        f"the tokenizer {name} encodes a text by itself otherwise than inside a conversation: {found}, expected "
        f"{expected}; use a chat template that ends with a control token or a blank where a text begins"
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, name: str, text: str, answer: str | None = None) -> str:
    messages = [{"role": "user", "content": text}]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})

    def render() -> object:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=_without_clock(tokenizer.get_chat_template()),
            tokenize=False,
            add_generation_prompt=answer is None,
            enable_thinking=False,
            date_string=_FIXED_DATE.strftime("%d %b %Y"),
        )

    try:
        rendered = done_within(_RENDERING_SECONDS, render)
    except Exception as error:  # a template is a program, can fail in every way, and need not end
        reason = in_one_line(str(error))
        raise UnsupportedModel(
            f"the chat template of {name} cannot be rendered for a question: {reason}; mend it, or choose another"
        ) from error
    assert isinstance(rendered, str)
    return rendered


def _without_clock(template: str) -> str:
    """`template` with a `strftime_now` of its own, which tells the fixed date; transformers' tells today's.

    A macro, since transformers hands a template data alone, and no functions.
    """
    if "strftime_now" not in template:
        return template
    told = "".join(f"|replace({form!r}, {_FIXED_DATE.strftime(form)!r})" for form in _DATE_FORMS)
    return "{%- macro strftime_now(form) -%}{{- form" + told + " -}}{%- endmacro -%}" + template


def _first_difference(
    tokenizer: PreTrainedTokenizerBase, turns: Turns, pieces: Pieces
) -> tuple[list[int], list[int]] | None:
    """Of the first probe whose pieces joined are not what the tokenizer makes of the whole, both."""
    for probe in _PROBES[:2]:
        text, answer = pieces.text.encode([probe])[0], pieces.answer.encode([probe])[0]
        prompt = pieces.before_text + text + pieces.before_answer
        whole_prompt = _literal(tokenizer, turns.prompt(probe))
        if prompt != whole_prompt:
            return prompt, whole_prompt
        example = [*prompt, *answer, pieces.end_of_turn_id]
        whole = _literal(tokenizer, turns.conversation(probe, probe))[: len(example)]
        if example != whole:
            return example, whole
    return None


def _check_beginning(tokenizer: PreTrainedTokenizerBase, before_text: list[int], name: str) -> None:
    """Some families open every turn with the token that begins a text (SmolLM2), so only a run of them is a mistake."""
    bos, run = tokenizer.bos_token_id, 0
    while isinstance(bos, int) and before_text[run : run + 1] == [bos]:
        run += 1
    if run > 1:
        raise UnsupportedModel(
            f"the chat template of {name} writes the beginning-of-text token {run} times in a row, expected once; mend "
            "the template"
        )


def _literal(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a piece of the template: its control tokens are tokens, and nothing is added."""
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids) if text else []


def _split_at_control_token(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[str, str]:
    """What stands before the first control token of `text`, and the rest."""
    places = [text.find(token) for token in tokenizer.get_added_vocab()]
    first = min((place for place in places if place >= 0), default=len(text))
    return text[:first], text[first:]


def _plain_tokenizers(tokenizer: PreTrainedTokenizerBase, name: str) -> tuple[Tokenizer, Tokenizer]:
    """Copies without added tokens: one that encodes a text as inside of a line, and one as at its beginning."""
    if not tokenizer.is_fast:
        raise UnsupportedModel(f"{name} is not a fast tokenizer (it has no tokenizer.json); convert it to one")
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    specification |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    marked = Tokenizer.from_str(json.dumps(specification))
    for part in _parts(specification["normalizer"]):
        if part["type"] == "Prepend":
            part["prepend"] = ""
    for part in _parts(specification["pre_tokenizer"]):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    return Tokenizer.from_str(json.dumps(specification)), marked


def _parts(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A component of a tokenizer, or those of a sequence."""
    if component is None:
        return
    yield component
    for key in ("normalizers", "pretokenizers"):
        for part in component.get(key, []):
            yield from _parts(part)
