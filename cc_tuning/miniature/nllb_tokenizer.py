"""An NLLB tokenizer with a small vocabulary: the same class, the same control tokens, all 202 language codes."""

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import NllbTokenizer

from cc_tuning.text.languages import ENGLISH_FLORES_CODE

# NLLB's first ids, in its order.
_CONTROL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_WORD_START = "▁"


def train_nllb_tokenizer(texts: Iterable[str], vocabulary_size: int) -> NllbTokenizer:
    """A tokenizer whose characters and merges come from `texts`; other characters are unknown, as in NLLB.

    Args:
        texts: what to learn from, in all languages.
        vocabulary_size: control tokens, characters and merges; the language codes come on top.
    """
    learner = Tokenizer(models.BPE(unk_token=_CONTROL_TOKENS[3], fuse_unk=True))
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_WORD_START, prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(_CONTROL_TOKENS),
        initial_alphabet=[_WORD_START],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    model = json.loads(learner.to_str())["model"]
    merges = [(left, right) for left, right in model["merges"]]
    english: dict[str, Any] = {"src_lang": ENGLISH_FLORES_CODE, "tgt_lang": ENGLISH_FLORES_CODE}
    return NllbTokenizer(model["vocab"], **{"merges": merges} | english)
