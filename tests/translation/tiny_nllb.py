"""A real model of the NLLB architecture, small enough to be made in a test: eight Spanish and Swahili sentences."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

CODES = ["eng_Latn", "spa_Latn", "swh_Latn", "zho_Hans"]
SENTENCES = {
    "spa_Latn": {
        "El gato come pan.": "The cat eats bread.",
        "La casa es roja.": "The house is red.",
        "Hola, Ana.": "Hello, Ana.",
        "El perro bebe agua.": "The dog drinks water.",
    },
    "swh_Latn": {
        "Paka anakula mkate.": "The cat eats bread.",
        "Nyumba ni nyekundu.": "The house is red.",
        # The same words as in Spanish, with another meaning: only the language token tells them apart.
        "Hola, Ana.": "The dog drinks water.",
        "Mbwa anakunywa maji.": "The dog drinks water.",
    },
}
FROM_ENGLISH = {code: {english: text for text, english in pairs.items()} for code, pairs in SENTENCES.items()}
"""The other direction; where two texts have one English, the later one."""


def make_tokenizer() -> NllbTokenizer:
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False)
    texts = [text for pairs in SENTENCES.values() for pair in pairs.items() for text in pair]
    bpe.train_from_iterator([*texts, "你好。再见 0123456789 </s> eng_Latn abcdefghijklmnopqrstuvwxyz"], trainer)
    vocabulary = bpe.get_vocab(with_added_tokens=True)
    merges = [tuple(merge) for merge in json.loads(bpe.to_str())["model"]["merges"]]
    return NllbTokenizer(vocab=vocabulary, merges=merges, additional_special_tokens=CODES)


def make_model(vocabulary_size: int) -> M2M100ForConditionalGeneration:
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=vocabulary_size, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, dropout=0.0, attention_dropout=0.0,
        activation_dropout=0.0, encoder_layerdrop=0.0, decoder_layerdrop=0.0, max_position_embeddings=256,
    )  # fmt: skip
    return M2M100ForConditionalGeneration(config)


def train(model: M2M100ForConditionalGeneration, tokenizer: Any, steps: int, name: Callable[[str], str] = str) -> None:
    """Fit the sentences in both directions, with source prefix and target labels as both families are trained.

    `name` is what the tokenizer calls a FLORES code.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batches = []
    directions = [(code, "eng_Latn", pairs) for code, pairs in SENTENCES.items()]
    directions += [("eng_Latn", code, pairs) for code, pairs in FROM_ENGLISH.items()]
    for source, target, pairs in directions:
        tokenizer.src_lang, tokenizer.tgt_lang = name(source), name(target)
        batch = tokenizer(list(pairs), text_target=list(pairs.values()), padding=True, return_tensors="pt")
        batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
        batches.append(batch)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        sum(model(**batch).loss for batch in batches).backward()
        optimizer.step()


def save_tiny_nllb(folder: Path, steps: int) -> Path:
    """A model directory, as a user would give it."""
    tokenizer = make_tokenizer()
    model = make_model(len(tokenizer))
    train(model, tokenizer, steps)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
