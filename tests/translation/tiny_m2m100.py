"""A real model of the M2M100 family, small enough to be made in a test, with a sentencepiece vocabulary of its own."""

import json
from pathlib import Path

import sentencepiece
from tiny_nllb import SENTENCES, make_model, train
from transformers import M2M100Tokenizer

from cc_tuning.text.languages import by_flores_code

MADE_UP_WORDS = 8
"""Unused ids at the end, as in the published models."""


def make_tokenizer(folder: Path) -> M2M100Tokenizer:
    """From files in `folder`: fairseq's control tokens, then the pieces of sentencepiece, whose own ids differ."""
    texts = [text for pairs in SENTENCES.values() for pair in pairs.items() for text in pair]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*texts, "你好。再见 0123456789 <>/_ abcdefghijklmnopqrstuvwxyz"]),
        model_prefix=str(folder / "sentencepiece.bpe"), model_type="bpe", vocab_size=150, character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    names = ["<s>", "<pad>", "</s>", "<unk>", *(pieces.id_to_piece(index) for index in range(3, len(pieces)))]
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({name: index for index, name in enumerate(names)}), encoding="utf-8")
    return M2M100Tokenizer(str(vocabulary), str(folder / "sentencepiece.bpe.model"), num_madeup_words=MADE_UP_WORDS)


def m2m100_code(flores_code: str) -> str:
    return by_flores_code(flores_code).m2m100_code


def save_tiny_m2m100(folder: Path, steps: int) -> Path:
    """A model directory, as a user would give it."""
    parts = folder.with_name(f"{folder.name}_parts")
    parts.mkdir()
    tokenizer = make_tokenizer(parts)
    model = make_model(len(tokenizer.encoder) + len(tokenizer.lang_code_to_id) + MADE_UP_WORDS)
    train(model, tokenizer, steps, m2m100_code)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
