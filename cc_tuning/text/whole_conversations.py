"""Conversations encoded at once, for tokenizers whose pieces depend on what stands beside them (SentencePiece).

Such a tokenizer cuts a stretch between two control tokens as one: blanks at the end of a text join the template's own
blank, and a text after `[INST] ` has no beginning of its own. So a prompt cannot be put together from pieces; it is
encoded whole, by a copy of the tokenizer whose control tokens have other names, which nobody can type. The template is
written with these names, so `</s>` in a text is what SentencePiece makes of it: three characters of text.

Training and inference see one prompt if a prompt's ids begin those of its example. They do where no piece of the
vocabulary reaches over the seam between the two, as `]▁` would; `find_whole` says whether a tokenizer and a template
are so. Where a prompt ends with a line break, which Gemma joins with those that follow, an answer that begins with one
is encoded by itself. The prompt's length, and with it the connection position, is then the number of its own ids.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.text.chat_pieces import check_beginning, check_end, check_unicode, components
from cc_tuning.text.chat_turns import Turns

# Noncharacters, which Unicode keeps for a process's own use: no text that is exchanged holds one.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARK = "▁"
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_NORMALISERS = {"Prepend", "Replace"}


@dataclass(frozen=True)
class WholeConversations:
    """Encodes prompts and examples, each as one string; control tokens in a text are plain text."""

    turns: Turns
    """With the control tokens under their other names; nothing stands after the one that ends an answer."""
    tokenizer: Tokenizer
    """Knows the control tokens by these names alone."""
    end_of_turn_id: int

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the rendered prompts; raises as `examples`."""
        for text in texts:
            _check_text(text)
        return self._encoded([self.turns.prompt(text) for text in texts])

    def examples(self, texts: Sequence[str], answers: Sequence[str]) -> list[tuple[list[int], int]]:
        """The ids of each conversation up to the end of its turn, and how many of them are the prompt.

        Raises:
            ConfigError: a text is not valid Unicode, or holds one of two noncharacters.
        """
        prompts = self.prompts(texts)
        for answer in answers:
            _check_text(answer)
        whole = self._encoded([self.turns.conversation(*spoken) for spoken in zip(texts, answers, strict=True)])
        for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            if whole[place][: len(prompt)] != prompt:
                whole[place] = prompt + self._encoded([self.turns.rest(answer)])[0]
            assert whole[place][-1] == self.end_of_turn_id
        return [(ids, len(prompt)) for prompt, ids in zip(prompts, whole, strict=True)]

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def find_whole(tokenizer: PreTrainedTokenizerBase, turns: Turns, name: str) -> WholeConversations | None:
    """What encodes conversations at once; None for a tokenizer that cuts a text into words first, and where a piece
    could reach over the seam between a prompt and an answer.

    Raises:
        UnsupportedModel: an answer ends without a control token, or a text begins with several beginnings of text.
    """
    if not tokenizer.is_fast:
        return None
    specification = json.loads(tokenizer.backend_tokenizer.to_str())
    if not _marks_words(specification) or not _seam_is_safe(specification, tokenizer, turns):
        return None
    literal = tokenizer.backend_tokenizer.encode
    ids = {part: list(literal(part, add_special_tokens=False).ids) for part in (turns.before_text, turns.after_answer)}
    end_of_turn_id = check_end(tokenizer, turns, ids[turns.after_answer], name)
    check_beginning(tokenizer, ids[turns.before_text], name)
    names = {token: f"{_OPEN}{place}{_CLOSE}" for place, token in enumerate(sorted(_control_tokens(tokenizer, turns)))}
    renamed = Tokenizer.from_str(json.dumps(_renamed(specification, names)))
    if any(renamed.token_to_id(names[token]) != tokenizer.convert_tokens_to_ids(token) for token in names):
        raise UnsupportedModel(
            f"the tokenizer {name} lists control tokens under other ids than its vocabulary; save it again with "
            "`save_pretrained` of the library that made it"
        )
    end_of_turn = str(tokenizer.convert_ids_to_tokens(end_of_turn_id))
    written = {
        part: _with_names(getattr(turns, part), names) for part in ("before_text", "before_answer", "answer_lead")
    }
    return WholeConversations(
        Turns(**written, answer_tail=turns.answer_tail, after_answer=names[end_of_turn]), renamed, end_of_turn_id
    )


def _check_text(text: str) -> None:
    check_unicode(text)
    for character in (_OPEN, _CLOSE):
        if character in text:
            raise ConfigError(
                f"character {text.index(character)} of a text is the noncharacter U+{ord(character):04X}, which is not "
                f"for exchange between programs; remove it from the text. It begins: {text[:60]!r}"
            )


def _control_tokens(tokenizer: PreTrainedTokenizerBase, turns: Turns) -> set[str]:
    """The special tokens, and what else of the added ones the template writes.

    The others are text that a vocabulary lists so: bytes, white space, in Gemma's also `<b>` and other markup.
    """
    written = "".join((turns.before_text, turns.before_answer, turns.after_answer))
    return {
        added.content
        for added in tokenizer.added_tokens_decoder.values()
        if (added.special or added.content in written) and added.content.strip() and not _BYTE.fullmatch(added.content)
    }


def _marks_words(specification: dict[str, Any]) -> bool:
    """Whether blanks become marks inside of pieces, and nothing else is done to a text."""
    normalisers = list(components(specification["normalizer"]))
    cutters = list(components(specification["pre_tokenizer"]))
    kinds = {part["type"] for part in normalisers} - {"Sequence"}
    is_marking = any(part["type"] == "Replace" and part["content"] == _MARK for part in normalisers)
    if is_marking:  # no blank is left at which Gemma's could cut
        cutters = [part for part in cutters if part.get("pattern") != {"String": " "}]
    has_metaspace = [part["type"] for part in cutters] == ["Metaspace"]
    return kinds <= _NORMALISERS and (has_metaspace or (is_marking and not cutters))


def _seam_is_safe(specification: dict[str, Any], tokenizer: PreTrainedTokenizerBase, turns: Turns) -> bool:
    """Whether no piece holds a prompt's last character and one after it."""
    prompt = turns.prompt("")
    if any(prompt.endswith(token) for token in tokenizer.get_added_vocab()):
        return True
    last, lead = (text.replace(" ", _MARK) for text in (prompt[-1], turns.answer_lead[:1]))
    model = specification["model"]
    vocabulary = model["vocab"] if isinstance(model["vocab"], dict) else [piece for piece, _ in model["vocab"]]
    control = _control_tokens(tokenizer, turns)
    pieces = [piece for piece in vocabulary if piece not in control]
    # Without bytes a character that no piece has is unknown, and unknown neighbours become one.
    is_known = last in vocabulary or (model.get("byte_fallback") and "<0x0A>" in vocabulary)
    return bool(is_known) and not any(last + lead in (piece if lead else piece[:-1]) for piece in pieces)


def _renamed(specification: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The tokenizer with its control tokens under other names; what would make one from plain text is left out."""
    model = dict(specification["model"])
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): place for piece, place in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        model["merges"] = [
            [left, right]
            for left, right in pairs
            if not {left, right, left + right} & names.keys() and not _BYTE.fullmatch(left + right)
        ]
    if model.get("unk_token"):
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    added = [
        token | {"content": names.get(token["content"], token["content"])}
        for token in specification["added_tokens"]
        if not _BYTE.fullmatch(token["content"])
    ]
    cleared = {"post_processor": None, "truncation": None, "padding": None}
    return specification | {"model": model, "added_tokens": added} | cleared


def _with_names(text: str, names: dict[str, str]) -> str:
    """A piece of the template with its control tokens under their other names, of overlapping ones the longest."""
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.sub(pattern, lambda found: names[found[0]], text) if pattern else text
