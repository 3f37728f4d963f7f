"""Two tokenizers trained on given text: that of the tiny base model, and that of the tiny translator.

The first is byte-level, with the control tokens and the chat template of Llama 3; the second is of NLLB's own class,
with its control tokens and all 202 language codes.
"""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import NllbTokenizer, PreTrainedTokenizerFast

from cc_tuning.text.chat_templates import CHAT_TEMPLATES
from cc_tuning.text.languages import ENGLISH_FLORES_CODE

BEGIN_OF_TEXT, END_OF_TEXT, END_OF_TURN = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
PADDING = "<|finetune_right_pad_id|>"
_CONTROL_TOKENS = (BEGIN_OF_TEXT, END_OF_TEXT, PADDING, "<|start_header_id|>", "<|end_header_id|>", END_OF_TURN)

# Llama 3's words are runs of letters; here marks belong to them, since vowel signs would cut every Hindi word apart.
# Line ends stand alone, so that a text is encoded alike inside and outside of a chat template.
_WORDS = Regex(r"\n+|[^\S\n]?[\p{L}\p{M}]+|\p{N}{1,3}|[^\S\n]?[^\s\p{L}\p{M}\p{N}]+|[^\S\n]+")
_CHAT_TEMPLATE = CHAT_TEMPLATES / "llama3.jinja"

# NLLB's first ids, in its order.
_NLLB_CONTROL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_WORD_START = "▁"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, longest_prompt: int) -> PreTrainedTokenizerFast:
    """A tokenizer with at most `vocabulary_size` entries; every text can be encoded, since the alphabet is bytes.

    Args:
        texts: what to learn merges from.
        vocabulary_size: 256 bytes, the control tokens, and merges.
        longest_prompt: the model's number of positions.
    """
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(_WORDS, behavior="isolated")
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, in_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_CONTROL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN_OF_TEXT} $A",
        pair=f"{BEGIN_OF_TEXT} $A {BEGIN_OF_TEXT} $B",
        special_tokens=[(BEGIN_OF_TEXT, tokenizer.token_to_id(BEGIN_OF_TEXT))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        chat_template=_CHAT_TEMPLATE.read_text(encoding="utf-8"),
        model_max_length=longest_prompt,
        clean_up_tokenization_spaces=False,
    )


def train_nllb_tokenizer(texts: Iterable[str], vocabulary_size: int) -> NllbTokenizer:
    """A tokenizer whose characters and merges come from `texts`; other characters are unknown, as in NLLB.

    Args:
        texts: what to learn from, in all languages.
        vocabulary_size: control tokens, characters and merges; the language codes come on top.
    """
    learner = Tokenizer(models.BPE(unk_token=_NLLB_CONTROL_TOKENS[3], fuse_unk=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_WORD_START, prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_NLLB_CONTROL_TOKENS),
        initial_alphabet=[_WORD_START],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    english: dict[str, Any] = {"src_lang": ENGLISH_FLORES_CODE, "tgt_lang": ENGLISH_FLORES_CODE}
    return NllbTokenizer(model["vocab"], **{"merges": merges} | english)
