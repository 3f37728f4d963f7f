"""The ids around a user's text and an answer in a chat template, and how the two themselves are encoded.

Tokenizers with word-start marks (those of SentencePiece) encode a text at the beginning of a string, after a control
token and inside of a line in different ways. Most of them are for `whole_conversations`. For the others a blank that
the template writes before a text belongs to the text, and of the two encodings, with a mark before the text and
without, the one is taken that gives what the tokenizer makes of the whole conversation. Where neither does, it is
refused.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.text.chat_turns import PROBES, Turns

_SURROGATE = re.compile(r"[\ud800-\udfff]")


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
            check_unicode(text)
        whole = [self.before + text + self.after for text in texts]
        return [encoding.ids for encoding in self.plain.encode_batch(whole, add_special_tokens=False)]


@dataclass(frozen=True)
class Pieces:
    """A prompt is `before_text`, the text and `before_answer`; an example goes on with the answer and the last id."""

    name: str
    """The tokenizer's, for errors."""
    before_text: list[int]
    text: TextEncoder
    before_answer: list[int]
    answer: TextEncoder
    end_of_turn_id: int
    control_ids: frozenset[int]

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the rendered prompts; raises as `examples`."""
        return [self.before_text + ids + self.before_answer for ids in self._encoded(self.text, texts)]

    def examples(self, texts: Sequence[str], answers: Sequence[str]) -> list[tuple[list[int], int]]:
        """The ids of each conversation up to the end of its turn, and how many of them are the prompt.

        Raises:
            ConfigError: a text is not valid Unicode, or a control token typed in it cannot be kept as text.
        """
        spoken = zip(self.prompts(texts), self._encoded(self.answer, answers), strict=True)
        return [([*prompt, *answer, self.end_of_turn_id], len(prompt)) for prompt, answer in spoken]

    def _encoded(self, encoder: TextEncoder, texts: Sequence[str]) -> list[list[int]]:
        encoded = encoder.encode(texts)
        for text, ids in zip(texts, encoded, strict=True):
            if not self.control_ids.isdisjoint(ids):
                raise ConfigError(
                    f"a control token typed in a text cannot stay text: the tokenizer {self.name} makes it from plain "
                    f"characters; remove it from the text. It begins: {text[:60]!r}"
                )
        return encoded


def check_unicode(text: str) -> None:
    """Refuse a text with a lone surrogate, which no encoding has.

    Raises:
        ConfigError: says where it stands.
    """
    if found := _SURROGATE.search(text):
        raise ConfigError(
            f"character {found.start()} of a text is the lone surrogate U+{ord(found[0]):04X}, which is not "
            f"valid Unicode; repair the text. It begins: {text[:60]!r}"
        )


def find_pieces(tokenizer: PreTrainedTokenizerBase, turns: Turns, name: str) -> Pieces:
    """The ids around a text and an answer, checked against the tokenizer's own ids of whole conversations.

    Raises:
        UnsupportedModel: an answer ends without a control token, or no way to encode a text by itself gives these ids.
    """
    inside, marked = _plain_tokenizers(tokenizer, name)
    control_ids = frozenset(tokenizer.added_tokens_decoder)
    end_of_turn_id = check_end(tokenizer, turns, _literal(tokenizer, turns.after_answer), name)
    head = turns.before_text.rstrip(" ")
    before_text, blanks = _literal(tokenizer, head), turns.before_text[len(head) :]
    check_beginning(tokenizer, before_text, name)
    plain, literal = _split_at_control_token(tokenizer, turns.before_answer)
    between = TextEncoder(inside).encode([plain])[0] + _literal(tokenizer, literal)
    differences = []
    for of_text, of_answer in product((inside, marked), repeat=2):
        text = TextEncoder(of_text, blanks)
        answer = TextEncoder(of_answer, turns.answer_lead, turns.answer_tail)
        pieces = Pieces(name, before_text, text, between, answer, end_of_turn_id, control_ids)
        difference = _first_difference(tokenizer, turns, pieces)
        if difference is None:
            return pieces
        differences.append(difference)
    found, expected = differences[0]
    raise UnsupportedModel(
        f"the tokenizer {name} encodes a text by itself otherwise than inside a conversation: {found}, expected "
        f"{expected}; use a chat template that ends with a control token or a blank where a text begins"
    )


def _first_difference(
    tokenizer: PreTrainedTokenizerBase, turns: Turns, pieces: Pieces
) -> tuple[list[int], list[int]] | None:
    """Of the first probe whose pieces joined are not what the tokenizer makes of the whole, both."""
    for probe in PROBES[:2]:
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


def check_end(tokenizer: PreTrainedTokenizerBase, turns: Turns, after_answer: list[int], name: str) -> int:
    """The control token that ends an answer, the first of the ids after it.

    Raises:
        UnsupportedModel: there is none.
    """
    if not after_answer or after_answer[0] not in tokenizer.added_tokens_decoder:
        raise UnsupportedModel(
            f"the chat template of {name} ends an answer with {turns.after_answer!r}, which does not begin "
            "with a control token, so generation could not stop there; choose the template of this model's family"
        )
    return after_answer[0]


def check_beginning(tokenizer: PreTrainedTokenizerBase, before_text: list[int], name: str) -> None:
    """Refuse the id that begins a text several times in a row.

    Some families open every turn with the token that begins a text (SmolLM2), so only a run of them is a mistake.

    Raises:
        UnsupportedModel: the template writes it itself, and something else does too.
    """
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
    for part in components(specification["normalizer"]):
        if part["type"] == "Prepend":
            part["prepend"] = ""
    for part in components(specification["pre_tokenizer"]):
        if part["type"] == "Metaspace":
            part["prepend_scheme"] = "never"
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
    return Tokenizer.from_str(json.dumps(specification)), marked


def components(component: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The parts of a tokenizer's normalizer or pre-tokenizer: a sequence and what is in it."""
    if component is None:
        return
    yield component
    for key in ("normalizers", "pretokenizers"):
        for part in component.get(key, []):
            yield from components(part)
