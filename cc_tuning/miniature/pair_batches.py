"""Sentence pairs as token ids, in batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
from torch import Tensor
from transformers import NllbTokenizer

from cc_tuning.miniature.length_batches import IGNORED_LABEL, batches_of_like_length, padded
from cc_tuning.text.languages import ENGLISH_FLORES_CODE

# Longer pairs of real rows would fill batches by themselves, and a tiny model could not learn them anyway.
_LONGEST_PAIR = 96


@dataclass(frozen=True)
class EncodedPair:
    """A sentence and its English as a model of the NLLB family learns them: `<language> tokens </s>` each."""

    source: list[int]
    labels: list[int]


def encode_pairs(pairs: pl.DataFrame, tokenizer: NllbTokenizer) -> list[EncodedPair]:
    """The pairs of columns flores_code, text, english that are at most 96 tokens long on either side, in order."""
    sources = encode_sources(pairs, tokenizer)
    tokenizer.src_lang = ENGLISH_FLORES_CODE
    labels = tokenizer(pairs["english"].to_list())["input_ids"]
    return [
        EncodedPair(source, target)
        for source, target in zip(sources, labels, strict=True)
        if max(len(source), len(target)) <= _LONGEST_PAIR
    ]


def encode_sources(pairs: pl.DataFrame, tokenizer: NllbTokenizer) -> list[list[int]]:
    """The ids of column text, each with the code of its own language, in the order of the rows."""
    encoded: dict[int, list[int]] = {}
    numbered = pairs.with_row_index("position")
    for (flores_code,), group in numbered.group_by("flores_code", maintain_order=True):
        # The source language is the tokenizer's state, so one language after the other.
        tokenizer.src_lang = str(flores_code)
        encoded |= zip(group["position"], tokenizer(group["text"].to_list())["input_ids"], strict=True)
    return [encoded[position] for position in range(pairs.height)]


def batches_of_pairs(
    pairs: list[EncodedPair], batch_tokens: int, padding: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end: input_ids, attention_mask, labels, each [B, T] int64 with its own T."""
    lengths = [max(len(pair.source), len(pair.labels)) for pair in pairs]
    for positions in batches_of_like_length(lengths, batch_tokens, seed):
        sources = padded([pairs[position].source for position in positions], padding)
        labels = padded([pairs[position].labels for position in positions], IGNORED_LABEL)
        yield {"input_ids": sources, "attention_mask": (sources != padding).long(), "labels": labels}
