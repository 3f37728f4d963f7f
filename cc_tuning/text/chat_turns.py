"""What a chat template writes around a user's text and an answer, read from it once.

The template is rendered around markers. What it writes by the day or by a switch is fixed: dates are one date, and
thinking is off, so that equal prompts are equal on all days. What it writes must not depend on the text either.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Environment
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, UnsupportedModel, in_one_line
from cc_tuning.runtime.deadline import at_most_more_memory, done_within
from cc_tuning.text.chat_templates import CHAT_TEMPLATES

PROBES = ("Habari, dünya 你好?", "2", "def f(x):\n\treturn {'a': [x, 2]}\n\nWhy?")
"""Texts of several kinds, to see what a template and a tokenizer do with them."""

# Llama 3.1 and later write the date into the system turn, and take this one where none is given.
_FIXED_DATE = datetime(2024, 7, 26)
_DATE_FORMS = [f"%{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdHIjmMpSuUwWxXyYZeFTDR"]
_TEXT_MARKER, _ANSWER_MARKER = "\ue100text\ue101", "\ue100answer\ue101"
_RENDERING_SECONDS = 5.0  # a template that ends takes milliseconds
_RENDERING_BYTES = 2 << 30
_CONTROL_TOKEN_FORM = re.compile(r"<\|[^|<>]+\|>|<(?:start|end)_of_turn>")


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
        return self.prompt(text) + self.rest(answer)

    def rest(self, answer: str) -> str:
        """What follows the prompt in the rendered conversation."""
        return self.answer_lead + answer + self.answer_tail + self.after_answer


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
    for probe in PROBES:
        found = _rendered(tokenizer, name, probe)
        if found != turns.prompt(probe):
            raise UnsupportedModel(
                f"the chat template of {name} writes {found!r} for the text {probe!r}, expected "
                f"{turns.prompt(probe)!r} as for another text; choose a template that does not look into its messages"
            )
    return turns


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
        _refuse_powers(tokenizer.get_chat_template())
        with at_most_more_memory(_RENDERING_BYTES):
            rendered = done_within(_RENDERING_SECONDS, render)
    except Exception as error:  # a template is a program, can fail in every way, and need not end
        too_large = f"it takes more than {_RENDERING_BYTES >> 30} GiB of memory"
        reason = too_large if isinstance(error, MemoryError) else in_one_line(str(error))
        raise UnsupportedModel(
            f"the chat template of {name} cannot be rendered for a question: {reason}; mend it, or choose another"
        ) from error
    assert isinstance(rendered, str)
    return rendered


def _refuse_powers(template: str) -> None:
    """Refuse the operator `**`: no prompt needs it, and one power of a power computes for hours without a pause."""
    before = ""
    for _, kind, text in Environment().lex(template):
        if kind == "operator" and text == "**" and before not in ("(", ","):  # there it unpacks arguments
            raise ValueError("it computes a power (**)")
        if kind not in ("whitespace", "comment"):
            before = text


def _without_clock(template: str) -> str:
    """`template` with a `strftime_now` of its own, which tells the fixed date; transformers' tells today's.

    A macro, since transformers hands a template data alone, and no functions.
    """
    if "strftime_now" not in template:
        return template
    told = "".join(f"|replace({form!r}, {_FIXED_DATE.strftime(form)!r})" for form in _DATE_FORMS)
    return "{%- macro strftime_now(form) -%}{{- form" + told + " -}}{%- endmacro -%}" + template
