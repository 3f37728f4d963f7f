r"""Which option an answer chooses, in whatever form it says so.

The paper's rule asks for the option's own character and no other. Models also answer with the letter of their own
alphabet, with `**B**`, `Answer: b)`, `\boxed{B}`, with the option's text, or after a paragraph that weighs all options.
The first of these that the answer has decides:

1. `boxed`: the last `\boxed{}`.
2. `text`: the whole answer is the text of one option.
3. `label`: a first line that is nothing but a label. What a model writes after it is often a question of its own.
4. `stated`: the last place where a word for "answer" or "I choose" (22 languages) is followed by a label, or a last
   line that is nothing but a label.
5. `label`: labels written as labels: `(B)`, `B)`, a line that begins `B.` or `B:`, `option B`, `2번`.
6. `mentioned`: a plain label that stands alone in a sentence, unless it is a word of it (`A dog`, `C'est`).
7. `text`: the text of one option within the answer, and of no other.

Two different labels on a step are `several`, and nothing is chosen. So are a label and after it the text of another
option. A label that is denied (`not B`, `B is wrong`) is none.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

from cc_tuning.evaluation.measures.labels import labels_of
from cc_tuning.evaluation.scorers import folded, normalised, with_ascii_digits

Reason = Literal["boxed", "stated", "label", "mentioned", "text", "several", "nothing"]

_MARKUP = regex.compile(
    r"[*`$#]+|\\(?:text|textbf|mathbf|mathrm|boxed)\b|\\[()\[\]]|(?<!\w)_+|_+(?!\w)"
    r"|[\uFE0E\uFE0F\u20E3]"  # a key around a digit: 2\uFE0F\u20E3
    r"|№|\b[Nn]\.?[º°]\.?(?=\s?\d)"  # NFKC would make a denial of a sign for "number"
)
_BOXED = regex.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_REASONING = regex.compile(r".*</think>", regex.DOTALL)
_INNER = regex.compile(r"[^\W_](?:.*[^\W_])?", regex.DOTALL)
_LONGEST_LABEL = 3  # `(B)`


@dataclass(frozen=True)
class Choice:
    """What an answer chooses, and what decided; or why it chooses nothing."""

    option: str | None
    reason: Reason


def extract_choice(response: str, options: Sequence[str], texts: Sequence[str] | None = None) -> Choice:
    """The one of `options` (single characters) that `response` chooses; `texts` are theirs, in the same order.

    `option` is None with the reason `several` where the answer names two options, or `nothing` where it names none.
    """
    answer, labels, named = after_reasoning(response), labels_of(tuple(options)), _OptionTexts(options, texts or ())
    if (inside := boxed(answer)) is not None:
        text = _plain(inside)
        return _one((labels.written_as_labels(text) or labels.mentioned(text)) | set(named.equal(text)), "boxed")
    text = _plain(answer)
    if whole := named.equal(text):
        return _one(whole, "text")
    steps: tuple[tuple[Reason, Callable[[str], set[str]]], ...] = (
        ("label", labels.opening),
        ("stated", labels.stated),
        ("label", labels.written_as_labels),
        ("mentioned", labels.mentioned),
    )
    for reason, options_in in steps:
        if found := options_in(text):
            return named.unless_contradicted(_one(found, reason), text)
    return _one(named.within(text), "text")


def after_reasoning(response: str) -> str:
    """What follows a model's marked reasoning; all of it where none is marked."""
    return _REASONING.sub("", response)


def boxed(answer: str) -> str | None:
    r"""What the last `\boxed{}` holds; None without one."""
    found = _BOXED.findall(answer)
    return found[-1] if found else None


def _one(found: Iterable[str], reason: Reason) -> Choice:
    options = sorted(set(found))
    if len(options) == 1:
        return Choice(options[0], reason)
    return Choice(None, "several" if options else "nothing")


def _plain(text: str) -> str:
    """Lines without mark-up, each normalised and with ASCII digits; empty lines are left out."""
    lines = (with_ascii_digits(normalised(_MARKUP.sub("", line))) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


class _OptionTexts:
    """The texts of an item's options, as far as they can be told apart."""

    def __init__(self, options: Sequence[str], texts: Sequence[str]) -> None:
        keys, labels = [_key(text) for text in texts], set(map(folded, options))
        pairs = zip(options, keys, strict=False)
        # A text that reads as a label (blood group B as option C) is taken for the label, which was asked for.
        self._options = {key: option for option, key in pairs if key and keys.count(key) == 1 and key not in labels}

    def equal(self, text: str) -> list[str]:
        """The option whose text is `text`."""
        key = _key(text) if self._options else ""
        return [self._options[key]] if key in self._options else []

    def within(self, text: str) -> list[str]:
        """The options whose texts stand in `text`, but for those within the text of another that does too."""
        answer = _key(text) if self._options else ""
        found = [key for key in self._options if _stands_in(key, answer)]
        return [self._options[key] for key in found if not any(key != other and key in other for other in found)]

    def unless_contradicted(self, choice: Choice, text: str) -> Choice:
        """`choice`, or none where the answer is a label followed by the text of another option."""
        label, _, rest = text.lstrip("([（【 ").partition(" ")
        others = set(self.equal(rest)) - {choice.option}
        return Choice(None, "several") if others and len(label) <= _LONGEST_LABEL else choice


def _key(text: str) -> str:
    """`text` without case and without what is no letter or digit at either end."""
    inner = _INNER.search(folded(text))
    return inner[0] if inner else ""


def _stands_in(key: str, text: str) -> bool:
    """Whether `key` is in `text` and, where its script has case or is digits, not a part of a word or number there."""
    if unicodedata.category(key[0]) == "Lo":
        return key in text
    edge = r"[\p{L}\p{M}\p{N}]"
    return bool(regex.search(rf"(?<!{edge}){regex.escape(key)}(?!{edge})", text))
