"""Sentence pairs as token ids, in batches of like lengths."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import NllbTokenizer

from cc_tuning.languages import ENGLISH_FLORES_CODE

_IGNORED_LABEL = -100
# Longer pairs of real rows would fill a batch with padding, and a tiny model could not learn them anyway.
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
    pairs: list[EncodedPair], batch_pairs: int, padding: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end: input_ids, attention_mask, labels, each [B, T] int64, padded to the longest of the batch.

    Each pass shuffles the pairs, then sorts stretches of several batches by length, then shuffles the batches: little
    padding, and never the same batches twice.
    """
    generator = random.Random(f"batches/{seed}")
    while True:
        order = list(range(len(pairs)))
        generator.shuffle(order)
        batches = []
        stretch = 16 * batch_pairs
        for first in range(0, len(order), stretch):
            alike = sorted(order[first : first + stretch], key=lambda position: len(pairs[position].source))
            batches += [alike[start : start + batch_pairs] for start in range(0, len(alike), batch_pairs)]
        generator.shuffle(batches)
        for batch in batches:
            sources = padded([pairs[position].source for position in batch], padding)
            labels = padded([pairs[position].labels for position in batch], _IGNORED_LABEL)
            yield {"input_ids": sources, "attention_mask": (sources != padding).long(), "labels": labels}


def padded(rows: list[list[int]], filling: int) -> Tensor:
    """Rows of ids as one tensor [B, T], filled up on the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filling)
