"""Documents and sentence pairs as token ids, in batches of like lengths: little padding, and no sequence sees another.

Packing several texts into one row would waste nothing, but a tiny model that learns for a minute then spends it on
telling neighbours apart: with the same number of tokens, it learned to look something up in its own text far later
(loss 0.94 against 0.46 on retold texts).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import NllbTokenizer, PreTrainedTokenizerFast

from cc_tuning.text.languages import ENGLISH_FLORES_CODE
from cc_tuning.text.prompts import ChatPrompts

IGNORED_LABEL = -100

# Sequences that are sorted together: enough for several batches of like lengths, few enough to keep batches random.
_STRETCH = 512
# Longer pairs of real rows would fill batches by themselves, and a tiny model could not learn them anyway.
_LONGEST_PAIR = 96


@dataclass(frozen=True)
class Document:
    """A text to read, or the answer to a prompt, which is then read in the chat format and not predicted."""

    text: str
    prompt: str | None = None


@dataclass(frozen=True)
class EncodedDocument:
    """Ids and as many labels."""

    input_ids: list[int]
    labels: list[int]


def encode_documents(
    documents: Sequence[Document], tokenizer: PreTrainedTokenizerFast, longest: int
) -> list[EncodedDocument]:
    """The documents as ids: plain text between the tokens that begin and end a text, conversations as in training.

    Of more than `longest` tokens one document becomes several.
    """
    plain = [document.text for document in documents if document.prompt is None]
    end: list[int] = [tokenizer.eos_token_id]
    encoded = []
    for encoding in tokenizer.backend_tokenizer.encode_batch(plain):
        ids = encoding.ids + end
        encoded.append(EncodedDocument(ids, ids))
    asked = [(document.prompt, document.text) for document in documents if document.prompt is not None]
    examples = ChatPrompts(tokenizer).encode_examples([prompt for prompt, _ in asked], [text for _, text in asked])
    for example in examples:
        given = [IGNORED_LABEL] * example.prompt_length
        encoded.append(EncodedDocument(example.input_ids, given + example.input_ids[example.prompt_length :]))
    return [
        EncodedDocument(document.input_ids[first : first + longest], document.labels[first : first + longest])
        for document in encoded
        for first in range(0, len(document.input_ids), longest)
    ]


def batches_of_documents(
    documents: Sequence[EncodedDocument], tokenizer: PreTrainedTokenizerFast, batch_tokens: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end: input_ids and labels, [B, T] int64. Padding is on the right, where causal attention from
    the text cannot see it, so no attention mask is needed."""
    padding: int = tokenizer.pad_token_id
    for positions in batches_of_like_length([len(document.input_ids) for document in documents], batch_tokens, seed):
        chosen = [documents[position] for position in positions]
        yield {
            "input_ids": padded([document.input_ids for document in chosen], padding),
            "labels": padded([document.labels for document in chosen], IGNORED_LABEL),
        }


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


def batches_of_like_length(lengths: Sequence[int], batch_tokens: int, seed: int) -> Iterator[list[int]]:
    """Positions of sequences, batch after batch without end; every sequence comes once per pass.

    A batch has at most `batch_tokens` tokens with its padding, and at least one sequence. Each pass has its own order.
    """
    generator = random.Random(f"batches/{seed}")
    while True:
        order = list(range(len(lengths)))
        generator.shuffle(order)
        batches: list[list[int]] = []
        for first in range(0, len(order), _STRETCH):
            alike = sorted(order[first : first + _STRETCH], key=lambda position: lengths[position])
            batch: list[int] = []
            for position in alike:
                if batch and (len(batch) + 1) * lengths[position] > batch_tokens:
                    batches.append(batch)
                    batch = []
                batch.append(position)
            batches.append(batch)
        generator.shuffle(batches)
        yield from batches


def padded(rows: Sequence[Sequence[int]], filling: int) -> Tensor:
    """Rows of ids as one tensor [B, T] int64, filled up on the right."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filling)
