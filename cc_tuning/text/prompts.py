"""A chat prompt as token ids, the same ones in training and at inference.

A chat template is read once, by rendering it around a marker, and becomes three constants: what comes before the user's
text, what comes between it and the answer, and the token that ends a turn. A prompt is then `before + text + between`,
so its length, and with it the connection position, is known when it is built; nothing is searched for later.

The user's text is encoded by a copy of the tokenizer that has no added tokens. A control token typed in a prompt or an
answer (`<|eot_id|>`, `<|im_end|>`, `<think>`) therefore stays text, and decodes to what was typed. The switch that
transformers 5.23 has for this, `sanitize_control_tokens`, is off by default and raises for added tokens that are not
marked special. Text is not trimmed: what a template would strip from a message stays in it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, PromptNotFound, UnsupportedModel
from cc_tuning.runtime.pretrained import refusing_remote_code
from cc_tuning.runtime.sources import Location
from cc_tuning.text.chat_templates import CHAT_TEMPLATES, ChatTemplate

_TEXT_MARKER, _ANSWER_MARKER = "\ue100text\ue101", "\ue100answer\ue101"
# Llama 3.1 and later write the date into the system turn; a fixed one keeps equal prompts equal on all days.
_FIXED_DATE = "26 Jul 2024"
# transformers writes these into the saved tokenizer, which would then depend on how it was loaded.
PLACE_OF_LOADING = ("is_local", "local_files_only")
_CONTROL_TOKEN_FORM = re.compile(r"<\|[^|<>]+\|>")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Example:
    """A prompt with its answer: the first `prompt_length` of `input_ids` are the prompt, the last one ends the turn."""

    input_ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class _Turns:
    """The text that a chat template writes around the user's text and the answer."""

    before_text: str
    before_answer: str
    after_answer: str


class ChatPrompts:
    """Encodes prompts and examples in the chat format of one tokenizer.

    Raises:
        ConfigError: the tokenizer has no chat template.
        UnsupportedModel: the template or the tokenizer cannot be taken apart without changing the ids, see the message.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._name = str(tokenizer.name_or_path) or type(tokenizer).__name__
        turns = _read_template(tokenizer, self._name)
        self._plain = _without_added_tokens(tokenizer, self._name)
        self._control_ids = frozenset(tokenizer.added_tokens_decoder)
        self._before_text = _encode_literal(tokenizer, turns.before_text)
        self._before_answer = _encode_literal(tokenizer, turns.before_answer)
        self.end_of_turn_id = self._find_end_of_turn(tokenizer, turns)
        eos = tokenizer.eos_token_id
        self.stop_token_ids: tuple[int, ...] = tuple(
            dict.fromkeys([self.end_of_turn_id] + ([eos] if isinstance(eos, int) else []))
        )
        self._check_pieces(tokenizer, turns)

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of the rendered generation prompt for `text`.

        Raises:
            ConfigError: `text` is not valid Unicode, or a control token cannot be kept as text.
        """
        return self.encode_prompts([text])[0]

    def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_prompt` for many texts, in parallel."""
        return [self._before_text + ids + self._before_answer for ids in self._encode_texts(texts)]

    def encode_example(self, text: str, response: str) -> Example:
        """The ids of prompt, `response` and end-of-turn token; `encode_prompt(text)` is a strict prefix of them."""
        return self.encode_examples([text], [response])[0]

    def encode_examples(self, texts: Sequence[str], responses: Sequence[str]) -> list[Example]:
        """`encode_example` for many texts and their responses, in parallel."""
        prompts, answers = self.encode_prompts(texts), self._encode_texts(responses)
        return [
            Example([*prompt, *answer, self.end_of_turn_id], len(prompt))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def _encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        for text in texts:
            if found := _SURROGATE.search(text):
                raise ConfigError(
                    f"character {found.start()} of a text is the lone surrogate U+{ord(found[0]):04X}, which is not "
                    f"valid Unicode; repair the text. It begins: {text[:60]!r}"
                )
        encoded = [encoding.ids for encoding in self._plain.encode_batch(list(texts), add_special_tokens=False)]
        for text, ids in zip(texts, encoded, strict=True):
            if not self._control_ids.isdisjoint(ids):
                raise ConfigError(
                    f"a control token typed in a text cannot stay text: the tokenizer {self._name} makes it from plain "
                    f"characters; remove it from the text. It begins: {text[:60]!r}"
                )
        return encoded

    def _find_end_of_turn(self, tokenizer: PreTrainedTokenizerBase, turns: _Turns) -> int:
        ids = _encode_literal(tokenizer, turns.after_answer)
        if not ids or ids[0] not in self._control_ids:
            raise UnsupportedModel(
                f"the chat template of {self._name} ends an answer with {turns.after_answer!r}, which does not begin "
                "with a control token, so generation could not stop there; choose the template of this model's family"
            )
        return ids[0]

    def _check_pieces(self, tokenizer: PreTrainedTokenizerBase, turns: _Turns) -> None:
        """Pieces joined must be what the tokenizer makes of the whole (it is not for SentencePiece's word starts)."""
        probe = "Habari, dünya 你好?"
        whole = _encode_literal(tokenizer, turns.before_text + probe + turns.before_answer)
        pieces = self.encode_prompt(probe)
        if whole != pieces:
            raise UnsupportedModel(
                f"the tokenizer {self._name} encodes a text by itself otherwise than inside a conversation: {pieces}, "
                f"expected {whole}; use a byte-level tokenizer, such as those of Llama 3 and Qwen 2.5"
            )
        bos = tokenizer.bos_token_id
        if isinstance(bos, int) and pieces.count(bos) > 1:
            raise UnsupportedModel(
                f"the chat template of {self._name} writes the beginning-of-text token {pieces.count(bos)} times, "
                "expected once; mend the template"
            )


def connection_position(prompt_length: int, offset: int) -> int:
    """The connection position `t* = prompt_length - 1 - offset` in a sequence that starts with the prompt.

    Raises:
        PromptNotFound: the prompt has no such token.
    """
    position = prompt_length - 1 - offset
    if offset < 0 or position < 0:
        raise PromptNotFound(
            f"a prompt of {prompt_length} tokens has no token {offset} before its last, where the connection belongs; "
            "expected a whole rendered prompt and an offset from 0"
        )
    return position


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that end generation: the template's end of turn, then the tokenizer's end of text when it is another."""
    return ChatPrompts(tokenizer).stop_token_ids


def load_tokenizer(
    location: Location | Path | str, chat_template: ChatTemplate = "tokenizer"
) -> PreTrainedTokenizerBase:
    """The tokenizer at `location` (a directory or a hub id) with a chat template and a padding token.

    `chat_template` names one of the project's templates, for base models, which come without; `tokenizer` keeps the
    tokenizer's own. Padding is always masked, so a tokenizer without a padding token pads with its end of text.

    Raises:
        ConfigError: `tokenizer` was asked for and the tokenizer has no template.
        UnsupportedModel: there is no tokenizer at `location`, it needs code of its own, or it is not a fast one.
    """
    place = location if isinstance(location, Location) else Location(str(location))
    try:
        with refusing_remote_code(place.name):
            tokenizer = AutoTokenizer.from_pretrained(
                place.name, revision=place.revision or "main", trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")  # transformers spreads it over lines
        raise UnsupportedModel(
            f"no tokenizer could be loaded from {place.name}: {reason}; expected tokenizer.json beside the model"
        ) from error
    for key in PLACE_OF_LOADING:
        tokenizer.init_kwargs.pop(key, None)
    if chat_template != "tokenizer":
        tokenizer.chat_template = (CHAT_TEMPLATES / f"{chat_template}.jinja").read_text(encoding="utf-8")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    _require_template(tokenizer, place.name)
    return tokenizer


def _require_template(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    if not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer {name} has no chat template, as is usual for base models; name one of the project's: "
            + ", ".join(sorted(path.stem for path in CHAT_TEMPLATES.glob("*.jinja")))
        )


def _read_template(tokenizer: PreTrainedTokenizerBase, name: str) -> _Turns:
    _require_template(tokenizer, name)
    user = {"role": "user", "content": _TEXT_MARKER}
    answer = {"role": "assistant", "content": _ANSWER_MARKER}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True, date_string=_FIXED_DATE)
    conversation = tokenizer.apply_chat_template([user, answer], tokenize=False, date_string=_FIXED_DATE)
    assert isinstance(prompt, str) and isinstance(conversation, str)
    if prompt.count(_TEXT_MARKER) != 1 or conversation.count(_ANSWER_MARKER) != 1:
        raise UnsupportedModel(f"the chat template of {name} does not write each message exactly once; choose another")
    before_answer, _, after_answer = conversation.partition(_ANSWER_MARKER)
    if before_answer != prompt:
        raise UnsupportedModel(
            f"the chat template of {name} writes {prompt!r} before a new answer but {before_answer!r} before a given "
            "one: training would see another prompt than inference; choose a template where they are equal"
        )
    known = set(tokenizer.get_added_vocab())
    if unknown := sorted(set(_CONTROL_TOKEN_FORM.findall(conversation)) - known):
        raise UnsupportedModel(
            f"the chat template writes {unknown}, which the tokenizer {name} does not have as tokens; choose the chat "
            "template of this model's family"
        )
    before_text, _, between = prompt.partition(_TEXT_MARKER)
    return _Turns(before_text, between, after_answer)


def _encode_literal(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a piece of the template: its control tokens are tokens, and nothing is added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _without_added_tokens(tokenizer: PreTrainedTokenizerBase, name: str) -> Tokenizer:
    if not tokenizer.is_fast:
        raise UnsupportedModel(f"{name} is not a fast tokenizer (it has no tokenizer.json); convert it to one")
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    specification |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    return Tokenizer.from_str(json.dumps(specification))
