"""A chat prompt as token ids, the same ones in training and at inference.

A prompt is `before + text + between`, of pieces that `chat_pieces` finds once for a tokenizer; where pieces depend on
their neighbours, as SentencePiece's do, it is encoded as one string (`whole_conversations`). Its length, and with it
the connection position, is known when it is built; nothing is searched for later.

The user's text is encoded by a copy of the tokenizer that has no added tokens, or has them under other names. A control
token typed in a prompt or an answer (`<|eot_id|>`, `<|im_end|>`, `<think>`) therefore stays text, and decodes to what
was typed. The switch that transformers 5.23 has for this, `sanitize_control_tokens`, is off by default and raises for
added tokens that are not marked special. Text is not trimmed: what a template would strip from a message stays in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from cc_tuning.errors import CcTuningError, PromptNotFound, UnsupportedModel, in_one_line
from cc_tuning.runtime.pretrained import refusing_remote_code
from cc_tuning.runtime.sources import Location
from cc_tuning.text.chat_pieces import find_pieces
from cc_tuning.text.chat_templates import CHAT_TEMPLATES, ChatTemplate
from cc_tuning.text.chat_turns import read_template, require_template
from cc_tuning.text.whole_conversations import find_whole

# transformers writes these into the saved tokenizer, which would then depend on how it was loaded.
PLACE_OF_LOADING = ("is_local", "local_files_only")


@dataclass(frozen=True)
class Example:
    """A prompt with its answer: the first `prompt_length` of `input_ids` are the prompt, the last one ends the turn."""

    input_ids: list[int]
    prompt_length: int


class ChatPrompts:
    """Encodes prompts and examples in the chat format of one tokenizer.

    Raises:
        ConfigError: the tokenizer has no chat template.
        UnsupportedModel: the template or the tokenizer cannot be taken apart without changing the ids, see the message.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._name = str(tokenizer.name_or_path) or type(tokenizer).__name__
        turns = read_template(tokenizer, self._name)
        self._encoder = find_whole(tokenizer, turns, self._name) or find_pieces(tokenizer, turns, self._name)
        self.end_of_turn_id = self._encoder.end_of_turn_id
        eos = tokenizer.eos_token_id
        self.stop_token_ids: tuple[int, ...] = tuple(
            dict.fromkeys([self.end_of_turn_id] + ([eos] if isinstance(eos, int) else []))
        )

    def encode_prompt(self, text: str) -> list[int]:
        """The ids of the rendered generation prompt for `text`.

        Raises:
            ConfigError: `text` is not valid Unicode, or a control token cannot be kept as text.
        """
        return self.encode_prompts([text])[0]

    def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_prompt` for many texts, in parallel."""
        return self._encoder.prompts(texts)

    def encode_example(self, text: str, response: str) -> Example:
        """The ids of prompt, `response` and end-of-turn token; `encode_prompt(text)` is a strict prefix of them."""
        return self.encode_examples([text], [response])[0]

    def encode_examples(self, texts: Sequence[str], responses: Sequence[str]) -> list[Example]:
        """`encode_example` for many texts and their responses, in parallel."""
        return [Example(*encoded) for encoded in self._encoder.examples(texts, responses)]


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


def in_context(text: str, english: str) -> str:
    """`text` with its English version before it, a blank line between them; `text` alone where both are one.

    What a prompt looks like in training with `english: context` and in the evaluation's modes of that name.
    """
    return text if text == english else f"{english}\n\n{text}"


def stop_token_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that end generation: the template's end of turn, then the tokenizer's end of text when it is another."""
    return ChatPrompts(tokenizer).stop_token_ids


def embeddings_needed(tokenizer: PreTrainedTokenizerBase) -> int:
    """The rows that a model's embedding needs for every id of the tokenizer: the highest id, and one for 0.

    `len(tokenizer)` counts tokens, and their ids may have gaps.
    """
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def load_tokenizer(
    location: Location | Path | str, chat_template: ChatTemplate = "tokenizer"
) -> PreTrainedTokenizerBase:
    """The tokenizer at `location` (a directory or a hub id) with a chat template and a padding token.

    `chat_template` names one of the project's templates, for base models, which come without; `tokenizer` keeps the
    tokenizer's own. Padding is always masked, so a tokenizer without a padding token pads with its end of text.

    Raises:
        ConfigError: `tokenizer` was asked for and the tokenizer has no template.
        UnsupportedModel: there is no tokenizer at `location`, it needs code of its own, it is not a fast one, or it has
            no token to pad with.
    """
    place = location if isinstance(location, Location) else Location(str(location))
    try:
        with refusing_remote_code(place.name):
            tokenizer = AutoTokenizer.from_pretrained(
                place.name, revision=place.revision or "main", trust_remote_code=False
            )
    except CcTuningError:
        raise
    except Exception as error:  # of a file that somebody wrote by hand, tokenizers and transformers raise any
        reason = in_one_line(str(error), 1_000).rstrip(".")  # transformers spreads it over lines
        raise UnsupportedModel(
            f"no tokenizer could be loaded from {place.name}: {reason}; expected tokenizer.json beside the model"
        ) from error
    for key in PLACE_OF_LOADING:
        tokenizer.init_kwargs.pop(key, None)
    if tokenizer.is_fast:  # trainers save the lengths of their last batch in tokenizer.json
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    if chat_template != "tokenizer":
        tokenizer.chat_template = (CHAT_TEMPLATES / f"{chat_template}.jinja").read_text(encoding="utf-8")
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise UnsupportedModel(
                f"the tokenizer {place.name} has neither a padding token nor an end of text; name one of its control "
                "tokens as `pad_token` or `eos_token` in its tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    require_template(tokenizer, place.name)
    return tokenizer
